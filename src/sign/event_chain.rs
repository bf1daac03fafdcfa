//! The chain of signatures over the events of a request: each event is wrapped in a frame whose signature covers the
//! event, its time and the signature before it, the first one that of the request's head. Pure; used to sign what goes to
//! AWS and to check what clients signed.
//! <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html>

use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use bytes::{BufMut as _, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::sigv4::amz_date;
use crate::domain::{Secret, UnixMicros, lower_hex};

/// What stands for the body's hash in the head of a request whose events are signed one by one.
pub const SIGNED_EVENTS: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";

/// The header of a wrapping frame that holds its time.
pub const DATE: &str = ":date";
/// The header of a wrapping frame that holds its signature.
pub const CHUNK_SIGNATURE: &str = ":chunk-signature";

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 32;

/// Types of header values.
const BYTE_ARRAY: u8 = 6;
const TIMESTAMP: u8 = 8;

/// One side's chain. It keeps the secret because the derived key is that of a day, and streams may live over midnight.
#[derive(Debug)]
pub struct EventChain {
    secret: Secret,
    region: String,
    service: String,
    derived: Option<Derived>,
    /// The signature before the next one, lower-case hexadecimal.
    previous: String,
}

struct Derived {
    /// `20261122`.
    day: String,
    key: [u8; 32],
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Derived").field("day", &self.day).finish_non_exhaustive()
    }
}

impl EventChain {
    /// The chain that begins with the signature of a request's head (lower-case hexadecimal), made with this secret for
    /// this region and signing name.
    #[must_use]
    pub fn new(secret: Secret, region: &str, service: &str, head_signature: &str) -> Self {
        let (region, service) = (region.to_owned(), service.to_owned());
        Self { secret, region, service, derived: None, previous: head_signature.to_owned() }
    }

    /// The next event in its wrapping frame; an event of no bytes is the end of the request's events. `None`: there is no
    /// signature of it.
    pub fn wrap(&mut self, event: &[u8], now: UnixMicros) -> Option<Bytes> {
        // AWS's own signers write whole seconds.
        let millis = now.0.div_euclid(1_000_000).saturating_mul(1_000);
        let signature = self.next_signature(event, millis)?;
        let frame = wrapping_frame(event, millis, &signature);
        self.previous = lower_hex(&signature);
        Some(frame)
    }

    /// Whether this is the signature of the next event, said to be of this time. Only then the chain goes on.
    pub fn accepts(&mut self, event: &[u8], millis: i64, signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let Some(expected) = self.next_signature(event, millis) else { return false };
        let is_equal = bool::from(expected.ct_eq(signature));
        if is_equal {
            self.previous = lower_hex(signature);
        }
        is_equal
    }

    fn next_signature(&mut self, event: &[u8], millis: i64) -> Option<[u8; SIGNATURE_BYTES]> {
        let date = amz_date(UnixMicros(millis.saturating_mul(1_000)));
        let day = date.get(..8).unwrap_or_default();
        let scope = [day, "/", &self.region, "/", &self.service, "/aws4_request"].concat();
        let headers = lower_hex(&Sha256::digest(date_header(millis)));
        let payload = lower_hex(&Sha256::digest(event));
        let parts = ["AWS4-HMAC-SHA256-PAYLOAD", &date, &scope, &self.previous, &headers, &payload];
        let to_sign = parts.join("\n");
        let mut signature = [0; SIGNATURE_BYTES];
        let hexadecimal = calculate_signature(self.key(day, millis), to_sign.as_bytes());
        hex::decode_to_slice(hexadecimal, &mut signature).ok()?;
        Some(signature)
    }

    fn key(&mut self, day: &str, millis: i64) -> [u8; 32] {
        if let Some(derived) = self.derived.as_ref().filter(|derived| derived.day == day) {
            return derived.key;
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        let made = generate_signing_key(self.secret.expose(), time, &self.region, &self.service);
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
        self.derived = Some(Derived { day: day.to_owned(), key });
        key
    }
}

/// The header `:date` as it stands in a frame, which is also what of the headers is signed.
fn date_header(millis: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(DATE.len() + 10);
    put_name(&mut bytes, DATE);
    bytes.put_u8(TIMESTAMP);
    bytes.put_i64(millis);
    bytes
}

fn put_name(to: &mut impl bytes::BufMut, name: &str) {
    to.put_u8(u8::try_from(name.len()).unwrap_or_default());
    to.put_slice(name.as_bytes());
}

/// <https://smithy.io/2.0/aws/amazon-eventstream.html>
fn wrapping_frame(event: &[u8], millis: i64, signature: &[u8; SIGNATURE_BYTES]) -> Bytes {
    let mut headers = date_header(millis);
    put_name(&mut headers, CHUNK_SIGNATURE);
    headers.put_u8(BYTE_ARRAY);
    headers.put_u16(u16::try_from(signature.len()).unwrap_or_default());
    headers.put_slice(signature);
    let total = 12 + headers.len() + event.len() + 4;
    let mut frame = BytesMut::with_capacity(total);
    frame.put_u32(u32::try_from(total).unwrap_or_default());
    frame.put_u32(u32::try_from(headers.len()).unwrap_or_default());
    frame.put_u32(crc32fast::hash(&frame));
    frame.put_slice(&headers);
    frame.put_slice(event);
    frame.put_u32(crc32fast::hash(&frame));
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::event_stream::{SigningParams, sign_empty_message, sign_message};
    use aws_sigv4::sign::v4;
    use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
    use aws_smithy_runtime_api::client::identity::Identity;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SEED: &str = "298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550000000";

    fn chain() -> EventChain {
        EventChain::new(Secret::new(SECRET), "us-east-1", "bedrock", SEED)
    }

    fn params(identity: &Identity, seconds: i64) -> SigningParams<'_> {
        v4::SigningParams::builder()
            .identity(identity)
            .region("us-east-1")
            .name("bedrock")
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds as u64))
            .settings(())
            .build()
            .unwrap()
    }

    fn event(payload: &[u8]) -> Message {
        let name = Header::new(":event-type", HeaderValue::String("chunk".into()));
        Message::new(payload.to_vec()).add_header(name)
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_message_to(message, &mut bytes).unwrap();
        bytes
    }

    /// Headers by name, and the payload.
    fn parts(message: &Message) -> (Vec<(String, HeaderValue)>, Bytes) {
        let headers = message.headers().iter();
        let mut named: Vec<_> =
            headers.map(|header| (header.name().as_str().to_owned(), header.value().clone())).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        (named, message.payload().clone())
    }

    proptest! {
        #[test]
        fn wrapped_events_equal_those_of_aws_sigv4_also_over_midnight(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            start in 1_000_000_000i64..2_000_000_000,
            step in 0i64..60_000,
            micros in 0i64..1_000_000,
        ) {
            let identity: Identity = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test").into();
            let (mut ours, mut last) = (chain(), SEED.to_owned());
            for (index, payload) in payloads.iter().enumerate() {
                let seconds = start + step * index as i64;
                let message = event(payload);
                let wrapped = ours.wrap(&encoded(&message), UnixMicros(seconds * 1_000_000 + micros)).unwrap();
                let (theirs, signature) = sign_message(&message, &last, &params(&identity, seconds)).unwrap().into_parts();
                prop_assert_eq!(parts(&read_message_from(&mut &wrapped[..]).unwrap()), parts(&theirs));
                last = signature;
            }
            let end = ours.wrap(&[], UnixMicros(start * 1_000_000)).unwrap();
            let (theirs, _) = sign_empty_message(&last, &params(&identity, start)).unwrap().into_parts();
            prop_assert_eq!(parts(&read_message_from(&mut &end[..]).unwrap()), parts(&theirs));
        }

        #[test]
        fn a_chain_accepts_what_another_wrapped_and_nothing_that_was_changed(
            payload in proptest::collection::vec(any::<u8>(), 1..40),
            at in any::<prop::sample::Index>(),
            millis in 1_000_000_000_000i64..2_000_000_000_000,
        ) {
            let signature = chain().next_signature(&payload, millis).unwrap();
            let mut checking = chain();
            let mut changed = payload.clone();
            changed[at.index(payload.len())] ^= 1;
            prop_assert!(!checking.accepts(&changed, millis, &signature));
            prop_assert!(!checking.accepts(&payload, millis + 1, &signature), "milliseconds are signed, too");
            let mut other = signature;
            other[at.index(SIGNATURE_BYTES)] ^= 1;
            prop_assert!(!checking.accepts(&payload, millis, &other));
            prop_assert!(checking.accepts(&payload, millis, &signature), "what was refused changed nothing");
            prop_assert!(!checking.accepts(&payload, millis, &signature), "an event that comes again");
        }
    }
}
