//! Checks a client's own Signature Version 4, as AWS would: the canonical request is made from what arrived, signed
//! again with the secret of the pair, and compared. Pure.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::SystemTime;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use subtle::ConstantTimeEq;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::domain::{Secret, Service, UnixMicros};
use crate::sign::canonical::CanonicalHead;
use crate::sign::event_chain::{EventChain, SIGNED_EVENTS};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// How far a client's clock may be off, as at AWS.
const MAX_SKEW: time::Duration = time::Duration::minutes(5);
/// The longest `Authorization` that is read, in bytes; that of an SDK has a few hundred.
const MAX_AUTHORIZATION: usize = 8 * 1024;
/// Headers of these families count only if they were signed, so that nobody can add one on the way.
const MUST_BE_SIGNED: [&str; 2] = ["x-amz-", "x-amzn-bedrock-"];
/// Of them, what others than the client add: CloudFront, to what it passes on.
const ADDED_ON_THE_WAY: [&str; 1] = ["x-amz-cf-id"];
/// One of these must be signed; clients that speak HTTP/2 may sign its pseudo-header.
const HOST_HEADERS: [&str; 2] = ["host", ":authority"];
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// SHA-256 of nothing: what some SDKs sign in the head of a request whose events are signed one by one.
pub(super) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What an unknown access key id is checked with, so that it takes as long as a known one.
const DUMMY_SECRET: &str = "nobody's secret, of forty characters ---";

/// Why a signature is not accepted, in AWS's words.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureFault {
    /// It lacks a part, or is not written as it should be.
    #[error("{0}")]
    Incomplete(String),
    /// It is whole, and not good.
    #[error("{0}")]
    Invalid(String),
}

/// A request's head as it was received.
#[derive(Clone, Debug)]
pub struct ReceivedHead<'r> {
    /// The method.
    pub method: &'r str,
    /// The path as it came, percent-encoded.
    pub path: &'r str,
    /// The query as it came, without the `?`.
    pub query: &'r str,
    /// Every header, names in lower case, `host` among them, and `:authority` where it came over HTTP/2.
    pub headers: Vec<(&'r str, &'r [u8])>,
    /// Whether its body is a stream of events, each with a signature of its own.
    pub is_event_stream: bool,
}

/// What a client says of its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PayloadClaim {
    /// That it has this SHA-256, lower-case hexadecimal.
    Sha256(String),
    /// Nothing; and the gateway is configured to accept that.
    Unsigned,
    /// Nothing by itself: what it signed is the hash of the body, which is still to come.
    OfTheBody,
    /// That each event has a signature of its own; this stands in the place of the body's hash.
    Events(&'static str),
}

/// A signature that is written well, for this request and this time; still to be checked with a secret.
#[derive(Clone, Debug)]
pub(super) struct ClientSignature {
    pub(super) access_key_id: String,
    pub(super) payload: PayloadClaim,
    region: String,
    service: String,
    amz_date: String,
    signed_at: SystemTime,
    head: CanonicalHead,
    signature: String,
}

impl ClientSignature {
    /// Reads the signature in `Authorization` against the request it came with.
    pub(super) fn read(
        authorization: &str,
        received: &ReceivedHead<'_>,
        now: UnixMicros,
        allow_unsigned_payload: bool,
    ) -> Result<Self, SignatureFault> {
        let written = Written::parse(authorization)?;
        if is_presigned(received.query) {
            return Err(incomplete(
                "a request is signed in its Authorization header or in its query, not in both",
            ));
        }
        let amz_date = single(received, "x-amz-date")?.ok_or_else(|| {
            incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        })?;
        let signed_at = date_of(amz_date)?;
        written.check_scope(amz_date)?;
        check_skew(amz_date, signed_at, now)?;
        let headers = written.signed_headers(received)?;
        let payload = payload_claim(received, allow_unsigned_payload)?;
        Ok(Self {
            access_key_id: written.access_key_id.to_owned(),
            payload,
            region: written.region.to_owned(),
            service: written.service.to_owned(),
            amz_date: amz_date.to_owned(),
            signed_at: signed_at.into(),
            head: CanonicalHead::of(received.method, received.path, received.query, headers),
            signature: written.signature.to_owned(),
        })
    }

    /// Whether this secret made the signature, for a payload of this hash. Takes as long for an unknown access key
    /// id (no secret) as for a known one, and for a signature that is wrong early as for one that is wrong late.
    pub(super) fn verify(&self, secret: Option<&Secret>, payload_hash: &str) -> Result<(), SignatureFault> {
        let payload_hash = match &self.payload {
            PayloadClaim::Unsigned => UNSIGNED_PAYLOAD,
            PayloadClaim::Sha256(claimed) => claimed,
            PayloadClaim::Events(literal) => literal,
            PayloadClaim::OfTheBody => payload_hash,
        };
        let day = self.amz_date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/{TERMINATOR}", self.region, self.service);
        let hashed = self.head.hash_with(payload_hash);
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{hashed}", self.amz_date);
        let used = secret.map_or(DUMMY_SECRET, Secret::expose);
        let key = generate_signing_key(used, self.signed_at, &self.region, &self.service);
        let expected = calculate_signature(key, to_sign.as_bytes());
        let is_equal = bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes()));
        if is_equal && secret.is_some() {
            return Ok(());
        }
        Err(invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        ))
    }

    /// What the signatures of the request's events go on from, once that of the head was checked with this secret.
    pub(super) fn chain(&self, secret: &Secret) -> EventChain {
        EventChain::new(secret.clone(), &self.region, &self.service, &self.signature)
    }
}

/// Whether a query carries a signature of its own, as presigned URLs do.
pub(super) fn is_presigned(query: &str) -> bool {
    if query.is_empty() {
        return false;
    }
    let mut names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.any(|name| {
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        ["X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Security-Token"]
            .iter()
            .any(|known| decoded.eq_ignore_ascii_case(known))
    })
}

/// An `Authorization` header, taken apart.
struct Written<'a> {
    access_key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Written<'a> {
    /// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`: these three, once each, in any order.
    fn parse(authorization: &'a str) -> Result<Self, SignatureFault> {
        if authorization.len() > MAX_AUTHORIZATION {
            return Err(incomplete("the Authorization header is too long"));
        }
        let parameters = authorization
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| incomplete("Unsupported AWS 'algorithm': bedgate takes AWS4-HMAC-SHA256."))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.trim_matches(' ').split_once('=').unwrap_or((parameter, ""));
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("the Authorization header holds a parameter that is not known")),
            };
            if value.is_empty() || place.replace(value).is_some() {
                return Err(incomplete(&format!("Authorization header requires one '{name}' parameter.")));
            }
        }
        let required = |value: Option<&'a str>, name: &str| {
            value.ok_or_else(|| incomplete(&format!("Authorization header requires '{name}' parameter.")))
        };
        let credential = required(credential, "Credential")?;
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, day, region, service, TERMINATOR] = *parts.as_slice() else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/aws4_request.",
            ));
        };
        let signed_headers = required(signed_headers, "SignedHeaders")?;
        let signature = required(signature, "Signature")?;
        Ok(Self { access_key_id, day, region, service, signed_headers, signature })
    }

    /// Any region will do: bedgate has its own ways to find one.
    fn check_scope(&self, amz_date: &str) -> Result<(), SignatureFault> {
        let mut names = Service::ALL.into_iter().map(Service::signing_name);
        if !names.any(|name| name == self.service) {
            return Err(invalid("Credential should be scoped to correct service: 'bedrock'."));
        }
        if self.region.is_empty() {
            return Err(invalid("Credential should be scoped to a valid region."));
        }
        if amz_date.get(..8) != Some(self.day) {
            return Err(invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
            ));
        }
        Ok(())
    }

    /// The headers that were signed, as they were received.
    fn signed_headers<'r>(
        &self,
        received: &ReceivedHead<'r>,
    ) -> Result<Vec<(&'r str, &'r [u8])>, SignatureFault> {
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        if !names.is_sorted_by(|one, next| one < next) {
            return Err(incomplete("SignedHeaders must be sorted, each name once."));
        }
        if !HOST_HEADERS.iter().any(|host| names.contains(host)) {
            return Err(invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."));
        }
        for host in HOST_HEADERS {
            single(received, host)?;
        }
        let must_be_signed = |name: &str| {
            MUST_BE_SIGNED.iter().any(|family| name.starts_with(family)) && !ADDED_ON_THE_WAY.contains(&name)
        };
        let is_signed = |name: &str| names.binary_search(&name).is_ok();
        if let Some((name, _)) =
            received.headers.iter().find(|(name, _)| must_be_signed(name) && !is_signed(name))
        {
            return Err(invalid(&format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
        let signed: Vec<_> = received.headers.iter().copied().filter(|(name, _)| is_signed(name)).collect();
        let is_there = |name: &str| signed.iter().any(|(held, _)| *held == name);
        if !names.iter().all(|name| is_there(name)) {
            return Err(invalid("A header that is named in SignedHeaders did not arrive with the request."));
        }
        Ok(signed)
    }
}

fn payload_claim(
    received: &ReceivedHead<'_>,
    allow_unsigned_payload: bool,
) -> Result<PayloadClaim, SignatureFault> {
    let claimed = single(received, "x-amz-content-sha256")?;
    if received.is_event_stream {
        return events_claim(claimed);
    }
    let Some(claimed) = claimed else { return Ok(PayloadClaim::OfTheBody) };
    let is_hash = claimed.len() == 64
        && claimed.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match claimed {
        UNSIGNED_PAYLOAD if allow_unsigned_payload => Ok(PayloadClaim::Unsigned),
        UNSIGNED_PAYLOAD => Err(invalid(
            "x-amz-content-sha256: UNSIGNED-PAYLOAD is not accepted here (bedgate_settings.auth.allow_unsigned_payload); \
             sign the body's SHA-256.",
        )),
        _ if claimed.starts_with("STREAMING-") => Err(invalid(
            "x-amz-content-sha256: payloads that are signed chunk by chunk (STREAMING-…) are taken for bidirectional \
             streams alone; sign the body's SHA-256.",
        )),
        _ if is_hash => Ok(PayloadClaim::Sha256(claimed.to_owned())),
        _ => Err(invalid("x-amz-content-sha256 must be the SHA-256 of the body in lower-case hexadecimal.")),
    }
}

/// Of a request whose events are signed one by one: the AWS SDK for JavaScript says so in this header, that for Rust sends
/// none and signs the hash of nothing.
fn events_claim(claimed: Option<&str>) -> Result<PayloadClaim, SignatureFault> {
    match claimed {
        Some(SIGNED_EVENTS) => Ok(PayloadClaim::Events(SIGNED_EVENTS)),
        None | Some(EMPTY_SHA256) => Ok(PayloadClaim::Events(EMPTY_SHA256)),
        Some(_) => Err(invalid(
            "x-amz-content-sha256 of a bidirectional stream must be STREAMING-AWS4-HMAC-SHA256-EVENTS: its events are \
             signed one by one.",
        )),
    }
}

/// The text of a header that may be there once.
fn single<'r>(received: &ReceivedHead<'r>, name: &str) -> Result<Option<&'r str>, SignatureFault> {
    let mut values = received.headers.iter().filter(|(held, _)| *held == name).map(|(_, value)| *value);
    let first = values.next();
    if values.next().is_some() {
        return Err(incomplete(&format!("'{name}' must be there once.")));
    }
    let text = first.map(|value| std::str::from_utf8(value).map(str::trim));
    text.transpose().map_err(|_| incomplete(&format!("'{name}' holds bytes that are no text.")))
}

fn date_of(amz_date: &str) -> Result<OffsetDateTime, SignatureFault> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let is_plain = amz_date.len() == 16 && amz_date.is_ascii();
    let parsed = PrimitiveDateTime::parse(amz_date, format).ok().filter(|_| is_plain);
    let date = parsed.map(PrimitiveDateTime::assume_utc).filter(|date| *date >= OffsetDateTime::UNIX_EPOCH);
    date.ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format', such as 20260101T120000Z."))
}

fn check_skew(amz_date: &str, signed_at: OffsetDateTime, now: UnixMicros) -> Result<(), SignatureFault> {
    let nanos = i128::from(now.0.div_euclid(1_000_000)) * 1_000_000_000;
    let now = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let text = |moment: OffsetDateTime| moment.format(format).unwrap_or_default();
    let minutes = MAX_SKEW.whole_minutes();
    let (earliest, latest) = (now.saturating_sub(MAX_SKEW), now.saturating_add(MAX_SKEW));
    if signed_at < earliest {
        let (earliest, now) = (text(earliest), text(now));
        return Err(invalid(&format!(
            "Signature expired: {amz_date} is now earlier than {earliest} ({now} - {minutes} min.)"
        )));
    }
    if signed_at > latest {
        let (latest, now) = (text(latest), text(now));
        return Err(invalid(&format!(
            "Signature not yet current: {amz_date} is still later than {latest} ({now} + {minutes} min.)"
        )));
    }
    Ok(())
}

fn incomplete(what: &str) -> SignatureFault {
    SignatureFault::Incomplete(what.to_owned())
}

fn invalid(what: &str) -> SignatureFault {
    SignatureFault::Invalid(what.to_owned())
}

#[cfg(test)]
#[path = "sigv4_inbound_tests.rs"]
mod tests;
