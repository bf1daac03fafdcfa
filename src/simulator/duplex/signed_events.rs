//! The signatures of a caller's events, each made anew by AWS's own signer and compared.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::event_stream::{SigningParams, sign_empty_message, sign_message};
use aws_sigv4::sign::v4::{self, calculate_signature, generate_signing_key};
use aws_smithy_eventstream::frame::{read_message_from, write_headers_to};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::super::signature::Authorization;

/// The signatures that a caller's events must have.
pub(super) struct SignedEvents {
    identity: Identity,
    secret: String,
    region: String,
    service: String,
    last: String,
    clock_skew: Duration,
}

impl SignedEvents {
    /// They go on from the signature of the head.
    pub(super) fn new(authorization: &Authorization, secret: &str, clock_skew: Duration) -> Self {
        let credentials = Credentials::new(&authorization.access_key_id, secret, None, None, "simulator");
        Self {
            identity: credentials.into(),
            secret: secret.to_owned(),
            region: authorization.region.clone(),
            service: authorization.service.clone(),
            last: authorization.signature().to_owned(),
            clock_skew,
        }
    }

    /// The event in an envelope whose signature is the next one; empty at the end.
    pub(super) fn open(&mut self, envelope: &Message) -> Result<Bytes, String> {
        let header = |name: &str| {
            let mut found = envelope.headers().iter().filter(|header| header.name().as_str() == name);
            found.next().map(Header::value)
        };
        let date = header(":date").and_then(|value| value.as_timestamp().ok());
        let date = date.ok_or("an event has no :date")?;
        let signature = header(":chunk-signature").and_then(|value| value.as_byte_array().ok());
        let signature = hex::encode(signature.ok_or("an event has no :chunk-signature")?);
        if envelope.headers().len() != 2 {
            return Err("an envelope has other headers".to_owned());
        }
        let time = SystemTime::try_from(date).map_err(|_| "a :date cannot be read")?;
        let off = time.duration_since(SystemTime::now()).unwrap_or_else(|error| error.duration());
        if off > self.clock_skew {
            return Err(format!("an event is of {date}, too far from now"));
        }
        let event = envelope.payload();
        if signature != self.signature_of(event, date, time)? {
            return Err("the signature of an event does not match".to_owned());
        }
        self.last = signature;
        Ok(event.clone())
    }

    fn signature_of(&self, event: &Bytes, date: DateTime, time: SystemTime) -> Result<String, String> {
        let expected = self.by_the_book(event, date, time)?;
        // AWS's crate signs whole seconds alone; the SDK for JavaScript signs milliseconds.
        if date.subsec_nanos() == 0 && self.by_the_crate(event, time)? != expected {
            return Err("the simulator and aws-sigv4 do not agree".to_owned());
        }
        Ok(expected)
    }

    fn by_the_crate(&self, event: &Bytes, time: SystemTime) -> Result<String, String> {
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(&self.service)
            .time(time)
            .settings(())
            .build()
            .map_err(|error| error.to_string())?;
        let signed = if event.is_empty() {
            sign_empty_message(&self.last, &params).map_err(|error| error.to_string())?
        } else {
            let message = read_message_from(&mut &event[..]).map_err(|error| error.to_string())?;
            sign_message(&message, &self.last, &params).map_err(|error| error.to_string())?
        };
        Ok(signed.into_parts().1)
    }

    /// <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html>
    fn by_the_book(&self, event: &Bytes, date: DateTime, time: SystemTime) -> Result<String, String> {
        let mut headers = Vec::new();
        write_headers_to(&[Header::new(":date", HeaderValue::Timestamp(date))], &mut headers)
            .map_err(|error| error.to_string())?;
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let moment = OffsetDateTime::from(time).format(format).map_err(|error| error.to_string())?;
        let day = moment.get(..8).unwrap_or_default();
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{moment}\n{day}/{}/{}/aws4_request\n{}\n{}\n{}",
            self.region,
            self.service,
            self.last,
            hex::encode(Sha256::digest(&headers)),
            hex::encode(Sha256::digest(event)),
        );
        let key = generate_signing_key(&self.secret, time, &self.region, &self.service);
        Ok(calculate_signature(key, to_sign.as_bytes()))
    }
}
