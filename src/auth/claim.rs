//! What a request's head proves of its caller, and what only its body can.

use std::sync::Arc;

use super::pairs::AwsPair;
use super::sigv4_inbound::{ClientSignature, EMPTY_SHA256, PayloadClaim};
use super::{Caller, usable};
use crate::domain::UnixMicros;
use crate::error::GatewayError;
use crate::sign::event_chain::EventChain;
use crate::store::KeyRecord;

/// A claim to be a certain caller. A key proves it at once; a signature only together with the body it covers, so
/// that nothing may be done in the caller's name before [`Claim::settle`].
#[derive(Debug)]
pub struct Claim(State);

#[derive(Debug)]
enum State {
    /// The caller is known; if it signed a hash of its body, the body must have it, and if it signs its events, they must
    /// go on from the head's signature.
    Known { caller: Caller, body_sha256: Option<String>, chain: Option<Box<EventChain>> },
    /// The signature cannot be checked before the body's hash is known.
    AwaitsBody(Box<Awaiting>),
}

#[derive(Debug)]
struct Awaiting {
    signature: ClientSignature,
    pair: Arc<AwsPair>,
    record: Arc<KeyRecord>,
    now: UnixMicros,
}

impl Claim {
    /// A caller who showed a key.
    pub(super) fn known(caller: Caller) -> Self {
        Self(State::Known { caller, body_sha256: None, chain: None })
    }

    /// A caller who signed. The pair and its key are looked up by the caller of this; an unknown one is refused
    /// after as much work as a known one with a wrong secret.
    pub(super) fn signed(
        signature: ClientSignature,
        found: Option<(Arc<AwsPair>, Arc<KeyRecord>)>,
        now: UnixMicros,
    ) -> Result<Self, GatewayError> {
        let Some((pair, record)) = found else {
            // Without a secret this always fails.
            let _ = signature.verify(None, EMPTY_SHA256);
            return Err(GatewayError::UnknownAccessKeyId);
        };
        if signature.payload == PayloadClaim::OfTheBody {
            return Ok(Self(State::AwaitsBody(Box::new(Awaiting { signature, pair, record, now }))));
        }
        signature.verify(Some(&pair.secret), EMPTY_SHA256)?;
        let body_sha256 = match signature.payload {
            PayloadClaim::Sha256(claimed) => Some(claimed),
            PayloadClaim::Events(_) => {
                let chain = Some(Box::new(signature.chain(&pair.secret)));
                return Ok(Self(State::Known { caller: usable(record, now)?, body_sha256: None, chain }));
            }
            PayloadClaim::Unsigned | PayloadClaim::OfTheBody => None,
        };
        Ok(Self(State::Known { caller: usable(record, now)?, body_sha256, chain: None }))
    }

    /// The caller, where the head alone proves who it is.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        match &self.0 {
            State::Known { caller, .. } => Some(caller),
            State::AwaitsBody(_) => None,
        }
    }

    /// What the signatures of the request's events are checked with, where the caller signs them; only once.
    pub fn take_chain(&mut self) -> Option<EventChain> {
        match &mut self.0 {
            State::Known { chain, .. } => chain.take().map(|chain| *chain),
            State::AwaitsBody(_) => None,
        }
    }

    /// How much of a body may be read to prove the claim, where it is of no use: the key is blocked or has expired. Who
    /// holds the secret is told so, if the body is of a common size.
    #[must_use]
    pub fn max_useless_body(&self) -> Option<usize> {
        match &self.0 {
            State::Known { .. } => None,
            State::AwaitsBody(awaiting) => {
                let is_usable = usable(Arc::clone(&awaiting.record), awaiting.now).is_ok();
                (!is_usable).then_some(MAX_USELESS_BODY)
            }
        }
    }

    /// The caller, once the body has this SHA-256 (lower-case hexadecimal).
    ///
    /// # Errors
    /// The body is not the one that was signed, the signature is wrong, or the key is blocked or expired.
    pub fn settle(self, body_sha256: &str) -> Result<Caller, GatewayError> {
        match self.0 {
            State::Known { caller, body_sha256: claimed, .. } => {
                if claimed.is_some_and(|claimed| claimed != body_sha256) {
                    return Err(GatewayError::InvalidSignature(
                        "The provided 'x-amz-content-sha256' header does not match what was computed.".into(),
                    ));
                }
                Ok(caller)
            }
            State::AwaitsBody(awaiting) => {
                awaiting.signature.verify(Some(&awaiting.pair.secret), body_sha256)?;
                usable(awaiting.record, awaiting.now)
            }
        }
    }
}

/// See [`Claim::max_useless_body`]; in bytes.
const MAX_USELESS_BODY: usize = 64 << 10;
