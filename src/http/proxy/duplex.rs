//! Requests that stream events both ways: the client's events on their way to AWS while the answer is on its way to the
//! client. All else is as for every other request.

use std::rc::Rc;

use actix_http::Version;
use actix_web::{FromRequest as _, HttpRequest, web};
use futures_util::TryStreamExt as _;

use super::Admitted;
use super::failure::TryFailure;
use super::relay::Attempts;
use crate::auth::{Caller, Claim};
use crate::domain::UnixMicros;
use crate::duplex::{Uplink, UplinkTerms, UploadBody};
use crate::error::GatewayError;
use crate::http::Worker;
use crate::limits::Holder;
use crate::meter::{Account, DuplexBody, DuplexLimits};
use crate::route::{Endpoint, Route};
use crate::sign::SigningOrder;
use crate::sign::event_chain::SIGNED_EVENTS;
use crate::upstream::{Answer, SendFailure};

/// Refuses what is to stream both ways and did not come over HTTP/2.
pub(super) fn require_http2(request: &HttpRequest) -> Result<(), GatewayError> {
    if request.version() == Version::HTTP_2 {
        return Ok(());
    }
    let reason = "this operation streams events both ways, which takes HTTP/2: send it over TLS, or over plain HTTP/2 \
                  with prior knowledge (h2c), without an upgrade from HTTP/1.1";
    Err(GatewayError::Validation(reason.to_owned()))
}

/// Takes over the client's body as a stream of events.
pub(super) fn open(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    claim: &mut Claim,
) -> Result<Rc<Uplink>, GatewayError> {
    let says_signed =
        request.headers().get("x-amz-content-sha256").is_some_and(|value| value == SIGNED_EVENTS);
    let terms = UplinkTerms {
        max_event: worker.shared.config.bidirectional.max_event_bytes,
        chain: claim.take_chain(),
        is_signed: says_signed,
        buffer: std::sync::Arc::clone(&worker.shared.buffer),
        holder: claim.caller().map_or(Holder::Unproven, Holder::of),
    };
    let incoming = taken(request, payload)?.map_err(|error| error.to_string());
    Ok(Rc::new(Uplink::new(Box::pin(incoming), terms)))
}

/// The payload, and an empty one in its place.
fn taken(request: &HttpRequest, payload: &mut web::Payload) -> Result<web::Payload, GatewayError> {
    let empty = web::Payload::from_request(request, &mut actix_web::dev::Payload::None).into_inner();
    let empty = empty.map_err(|error| GatewayError::Validation(error.to_string()))?;
    Ok(std::mem::replace(payload, empty))
}

/// The answer's body. From now on a key that may no more gets no further event to AWS.
pub(super) fn body(
    answer: Answer,
    account: Box<Account>,
    uplink: &Rc<Uplink>,
    caller: &Caller,
    length: Option<u64>,
    worker: &Worker,
) -> DuplexBody {
    if let Some(hash) = caller.key().map(|key| key.hash) {
        let authenticator = std::sync::Arc::clone(&worker.shared.authenticator);
        uplink.guard(Box::new(move || {
            let usable = authenticator.require_still_usable(&hash, UnixMicros::now());
            usable.map_err(|error| error.to_string())
        }));
    }
    let config = &worker.shared.config.bidirectional;
    let limits =
        DuplexLimits { idle: config.idle_timeout, max_duration: config.max_duration, meter: worker.meter };
    DuplexBody::new(answer, account, Rc::clone(uplink), length, limits, &worker.silence_timers)
}

impl Admitted<'_> {
    /// Whether all of the request is still there to be sent.
    pub(super) fn may_be_sent_again(&self) -> bool {
        self.uplink.as_ref().is_none_or(|uplink| uplink.may_begin_anew())
    }
}

impl Attempts<'_> {
    /// One try: the head goes to AWS and the events follow, from the first one that no earlier try took.
    pub(super) async fn open_stream(
        &mut self,
        route: &Route,
        endpoint: &Endpoint,
        order: SigningOrder,
        uplink: &Rc<Uplink>,
    ) -> Result<(Answer, u64), TryFailure> {
        let deployment = &route.deployment;
        let signed = self.worker.signer.sign_stream(order).await.map_err(TryFailure::Sign)?;
        self.open_account(route).map_err(TryFailure::Journal)?;
        if let Some(account) = &mut self.account {
            account.sending();
        }
        let body = UploadBody::new(uplink, signed.chain);
        let sent = self.worker.upstream.open_stream(endpoint, signed.head, body, deployment.timeout).await;
        if let Some(account) = &mut self.account {
            account.tried(deployment, &sent);
        }
        sent.map(|answer| (answer, signed.generation)).map_err(|failure| {
            log::warn!("request {}: deployment {}: {failure}", self.admitted.id, deployment.id);
            self.why(failure, uplink)
        })
    }

    /// Where the client's events were not good, that is why AWS was told to stop.
    fn why(&mut self, failure: SendFailure, uplink: &Uplink) -> TryFailure {
        let Some(fault) = uplink.fault() else { return TryFailure::Send(failure) };
        if fault.is_of_client_gone()
            && let Some(account) = &mut self.account
        {
            account.client_gone();
        }
        TryFailure::Upload(fault)
    }
}
