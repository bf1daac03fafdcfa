//! Step 7: the Signer actor turns a request head into a signed one. It answers from memory: credentials are
//! fetched and refreshed ahead of their expiry by one task beside the workers.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult};
use actix_http::header::{self, HeaderName, HeaderValue};

use crate::domain::{IdentityId, Region, Service, UnixMicros};
use crate::operation::headers::must_sign;

pub(crate) mod canonical;
mod credentials;
pub mod event_chain;
mod providers;
pub mod sigv4;

pub use credentials::{CredentialTable, Credentials};
use event_chain::{EventChain, SIGNED_EVENTS};
pub use providers::{Provider, ProviderSettings};

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The head of a request to AWS.
#[derive(Clone, Debug)]
pub struct UpstreamHead {
    /// The client's method.
    pub method: actix_http::Method,
    /// Path as it goes over the wire.
    pub path: String,
    /// Query as it goes over the wire, without the `?`; empty where there is none.
    pub query: String,
    /// Headers in their order, `host` included; names in lower case.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What the Signer is asked.
#[derive(Clone, Debug)]
pub struct SigningOrder {
    /// Whose credentials.
    pub identity: IdentityId,
    /// Region of the credential scope.
    pub region: Region,
    /// The service of the credential scope.
    pub service: Service,
    /// What is signed.
    pub head: UpstreamHead,
    /// SHA-256 of the body, lower-case hexadecimal.
    pub body_sha256: Arc<str>,
    /// Time of the signature.
    pub now: UnixMicros,
}

/// A head that AWS accepts.
#[derive(Clone, Debug)]
pub struct SignedHead {
    /// The head with its `authorization`.
    pub head: UpstreamHead,
    /// Which credentials signed, to renew just those when AWS says they have expired.
    pub generation: u64,
}

/// A head that AWS accepts, of a request whose body is a stream of events.
#[derive(Debug)]
pub struct SignedStream {
    /// The head with its `authorization`.
    pub head: UpstreamHead,
    /// Which credentials signed.
    pub generation: u64,
    /// Signs the events; `None` where a Bedrock API key stands for all.
    pub chain: Option<EventChain>,
}

/// Why nothing was signed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignError {
    /// There are no credentials; the text says where they were looked for.
    #[error("{0}")]
    NoCredentials(String),
    /// The actor is gone: the worker is stopping.
    #[error("the gateway is stopping")]
    Stopped,
    /// Credentials hold bytes that no header can.
    #[error("the AWS credentials hold characters that a header cannot carry")]
    Malformed,
}

/// The handle of a worker's Signer.
#[derive(Clone, Debug)]
pub struct SignerHandle {
    signer: Addr<Signer>,
    credentials: Arc<CredentialTable>,
}

impl SignerHandle {
    /// Starts the Signer of this worker thread.
    #[must_use]
    pub fn start(credentials: Arc<CredentialTable>) -> Self {
        let signer =
            Signer { credentials: Arc::clone(&credentials), keys: sigv4::SigningKeys::default() }.start();
        Self { signer, credentials }
    }

    /// Signs a head. Waits only while an identity's first credentials are being fetched.
    ///
    /// # Errors
    /// No credentials, with the places that were looked in.
    pub async fn sign(&self, order: SigningOrder) -> Result<SignedHead, SignError> {
        let (identity, service) = (order.identity, order.service);
        if !self.credentials.is_ready(identity, service) {
            self.credentials.fetch(identity).await.map_err(SignError::NoCredentials)?;
        }
        #[expect(clippy::disallowed_methods, reason = "the actor's own file")]
        let answer = self.signer.send(Sign(order)).await;
        answer.unwrap_or(Err(SignError::Stopped))
    }

    /// Signs the head of a request whose events will be signed one by one, and hands back what signs them, so that their
    /// bytes need not come here. The order's `body_sha256` does not count.
    ///
    /// # Errors
    /// No credentials, with the places that were looked in.
    pub async fn sign_stream(&self, order: SigningOrder) -> Result<SignedStream, SignError> {
        let (identity, service) = (order.identity, order.service);
        if !self.credentials.is_ready(identity, service) {
            self.credentials.fetch(identity).await.map_err(SignError::NoCredentials)?;
        }
        #[expect(clippy::disallowed_methods, reason = "the actor's own file")]
        let answer = self.signer.send(SignStream(order)).await;
        answer.unwrap_or(Err(SignError::Stopped))
    }

    /// After AWS said that the credentials of `generation` have expired: fetches new ones, once for all who ask.
    ///
    /// # Errors
    /// The new ones could not be had.
    pub async fn renew(&self, identity: IdentityId, generation: u64) -> Result<(), SignError> {
        self.credentials.renew(identity, generation).await.map_err(SignError::NoCredentials)
    }
}

/// One per worker thread.
#[derive(Debug)]
struct Signer {
    credentials: Arc<CredentialTable>,
    keys: sigv4::SigningKeys,
}

impl Actor for Signer {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<SignedHead, SignError>")]
struct Sign(SigningOrder);

impl Handler<Sign> for Signer {
    type Result = MessageResult<Sign>;

    fn handle(&mut self, Sign(order): Sign, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.sign(order))
    }
}

#[derive(Message)]
#[rtype(result = "Result<SignedStream, SignError>")]
struct SignStream(SigningOrder);

impl Handler<SignStream> for Signer {
    type Result = MessageResult<SignStream>;

    fn handle(&mut self, SignStream(order): SignStream, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.sign_stream(order))
    }
}

impl Signer {
    fn sign(&mut self, order: SigningOrder) -> Result<SignedHead, SignError> {
        let current =
            self.credentials.current(order.identity, order.service).map_err(SignError::NoCredentials)?;
        self.sign_with(&current, order)
    }

    fn sign_stream(&mut self, mut order: SigningOrder) -> Result<SignedStream, SignError> {
        let current =
            self.credentials.current(order.identity, order.service).map_err(SignError::NoCredentials)?;
        let (region, service) = (order.region.clone(), order.service.signing_name());
        if matches!(*current, Credentials::Keys { .. }) {
            order.head.headers.push((AMZ_CONTENT_SHA256, HeaderValue::from_static(SIGNED_EVENTS)));
            order.body_sha256 = SIGNED_EVENTS.into();
        }
        let SignedHead { head, generation } = self.sign_with(&current, order)?;
        let Credentials::Keys { secret_access_key, .. } = &*current else {
            return Ok(SignedStream { head, generation, chain: None });
        };
        let authorization = head.headers.iter().find(|(name, _)| name == header::AUTHORIZATION);
        let signature = authorization
            .and_then(|(_, value)| value.to_str().ok()?.rsplit_once("Signature="))
            .map(|(_, signature)| signature);
        let chain = signature
            .map(|signature| EventChain::new(secret_access_key.clone(), region.as_str(), service, signature));
        chain.map(|chain| SignedStream { head, generation, chain: Some(chain) }).ok_or(SignError::Malformed)
    }

    fn sign_with(&mut self, current: &Credentials, order: SigningOrder) -> Result<SignedHead, SignError> {
        let SigningOrder { region, service, mut head, body_sha256, now, .. } = order;
        let value = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| SignError::Malformed)?;
            value.set_sensitive(true);
            Ok(value)
        };
        let authorization = match current {
            Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
            Credentials::Keys { access_key_id, secret_access_key, session_token, .. } => {
                let amz_date = sigv4::amz_date(now);
                head.headers.push((AMZ_DATE, value(&amz_date)?));
                if let Some(token) = session_token {
                    head.headers.push((AMZ_SECURITY_TOKEN, value(token.expose())?));
                }
                let signed = head.headers.iter().filter(|(name, _)| must_sign(name.as_str()));
                let signable = sigv4::Signable {
                    method: head.method.as_str(),
                    path: &head.path,
                    query: &head.query,
                    headers: signed.map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
                    body_sha256: &body_sha256,
                    region: &region,
                    service: service.signing_name(),
                    now,
                };
                self.keys.authorization(access_key_id, secret_access_key.expose(), signable, &amz_date)
            }
        };
        head.headers.push((header::AUTHORIZATION, value(&authorization)?));
        Ok(SignedHead { head, generation: current.generation() })
    }
}
