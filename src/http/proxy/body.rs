//! Step 5: the request's body, read after the key was checked, bounded, hashed while it arrives.

use std::ops::Range;
use std::sync::Arc;

use actix_http::header;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use sha2::{Digest, Sha256};

use crate::auth::{Caller, Claim};
use crate::domain::lower_hex;
use crate::error::GatewayError;
use crate::http::Worker;
use crate::limits::{BufferIsFull, BufferedBytes, Holder};

/// A whole body.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// Lower-case hexadecimal.
    pub(super) sha256: Arc<str>,
    /// Gives the bytes back to the common budget when the request is done.
    held: BufferedBytes,
}

/// A body up to this size is copied out of the buffer it was read into.
const COPIED_BYTES: usize = 16 * 1024;

/// What goes to AWS: bytes and their hash.
pub(super) type Sent = (Bytes, Arc<str>);

impl Body {
    /// Of a request that is not read whole.
    pub(super) fn of_a_stream(worker: &Worker) -> Self {
        let held = worker.shared.buffer.account(Holder::Unlimited);
        Self { bytes: Bytes::new(), sha256: "".into(), held }
    }

    /// Says whose bytes these are, now that it is proven.
    pub(super) fn belongs_to(&mut self, caller: &Caller) -> Result<(), GatewayError> {
        self.held.belongs_to(Holder::of(caller)).map_err(is_full)
    }

    /// The body as it came.
    pub(super) fn as_it_is(&self) -> Sent {
        (self.bytes.clone(), Arc::clone(&self.sha256))
    }

    /// The body with another text in place of the JSON string that stands at `span`; every other byte stays.
    pub(super) fn with_string(&self, span: Range<usize>, text: &str) -> Sent {
        let literal = serde_json::Value::from(text).to_string();
        let before = self.bytes.get(..span.start).unwrap_or_default();
        let after = self.bytes.get(span.end..).unwrap_or_default();
        let bytes = Bytes::from([before, literal.as_bytes(), after].concat());
        let sha256 = lower_hex(&Sha256::digest(&bytes)).into();
        (bytes, sha256)
    }
}

/// Reads the body of a request whose head claims this.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    claim: &Claim,
) -> Result<Body, GatewayError> {
    let limits = &worker.shared.config.limits;
    let useless = claim.max_useless_body();
    let limit = useless.map_or(limits.max_body_bytes, |most| most.min(limits.max_body_bytes));
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = if declared.is_some_and(|length: usize| length > limit) {
        Err(GatewayError::BodyTooLarge { limit })
    } else {
        let holder = claim.caller().map_or(Holder::Unproven, Holder::of);
        let reading = collect(payload, worker.shared.buffer.account(holder), limit, declared);
        let in_time = worker.body_timers.limit(limits.body_timeout, reading).await;
        in_time.unwrap_or(Err(GatewayError::BodyTimeout(limits.body_timeout)))
    };
    match body {
        // Nobody has shown the secret: so this is what AWS says of an access key that is switched off.
        Err(GatewayError::BodyTooLarge { .. }) if useless.is_some() => Err(GatewayError::UnknownAccessKeyId),
        body => body,
    }
}

async fn collect(
    payload: &mut web::Payload,
    mut held: BufferedBytes,
    limit: usize,
    declared: Option<usize>,
) -> Result<Body, GatewayError> {
    let mut hash = Sha256::new();
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| GatewayError::BodyBroken(error.to_string()))?;
        length += chunk.len();
        if length > limit {
            return Err(GatewayError::BodyTooLarge { limit });
        }
        held.take(chunk.len()).map_err(is_full)?;
        hash.update(&chunk);
        // Most bodies come in one piece. A small one is a part of a buffer that would be held with it.
        if length == chunk.len() {
            first = if chunk.len() <= COPIED_BYTES { Bytes::copy_from_slice(&chunk) } else { chunk };
        } else {
            if gathered.is_empty() {
                gathered.reserve(declared.unwrap_or(2 * length).min(limit));
                gathered.extend_from_slice(&std::mem::take(&mut first));
            }
            gathered.extend_from_slice(&chunk);
        }
    }
    let bytes = if gathered.is_empty() { first } else { gathered.freeze() };
    Ok(Body { bytes, sha256: lower_hex(&hash.finalize()).into(), held })
}

fn is_full(bound: BufferIsFull) -> GatewayError {
    GatewayError::Overloaded {
        reason: bound.to_string().into(),
        retry_after: std::time::Duration::from_secs(1),
    }
}
