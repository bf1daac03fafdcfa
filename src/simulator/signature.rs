//! Signature Version 4 as AWS checks it: the canonical request is built from what arrived, signed again, and compared.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::wire::Head;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// Stands for the body's hash where each event of the body is signed.
const SIGNED_EVENTS: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";

/// Why AWS would not serve a call: the error's type and its wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error_type: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(error_type: &'static str, message: impl Into<String>) -> Self {
        Self { error_type, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", message)
    }
}

/// The parts of an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) access_key_id: String,
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    terminator: String,
    signed_headers: Vec<String>,
    signature: String,
}

/// What a scope must say for a call to be served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expectation<'a> {
    /// Signing names that may serve the path; empty for any.
    pub(super) services: &'a [&'static str],
    pub(super) region: Option<&'a str>,
    pub(super) now: OffsetDateTime,
    pub(super) clock_skew: Duration,
}

impl Authorization {
    pub(super) fn parse(header: &str) -> Result<Self, Refusal> {
        let incomplete = |what: &str| {
            let text = format!("Authorization header requires '{what}' parameter. Authorization={header}");
            Refusal::new("IncompleteSignatureException", text)
        };
        let Some(parameters) = header.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')) else {
            let text = format!("Unsupported AWS 'algorithm': '{header}'.");
            return Err(Refusal::new("IncompleteSignatureException", text));
        };
        let parameter = |name: &str| {
            parameters
                .split(',')
                .filter_map(|parameter| parameter.trim().split_once('='))
                .find(|(held, _)| *held == name)
                .map(|(_, value)| value.to_owned())
                .ok_or_else(|| incomplete(name))
        };
        let credential = parameter("Credential")?;
        let mut parts = credential.rsplitn(5, '/').map(str::to_owned);
        let mut part = || parts.next().ok_or_else(|| incomplete("Credential"));
        let (terminator, service, region, date) = (part()?, part()?, part()?, part()?);
        Ok(Self {
            access_key_id: part()?,
            date,
            region,
            service,
            terminator,
            signed_headers: parameter("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: parameter("Signature")?,
        })
    }

    /// The signature, in lower-case hex.
    pub(super) fn signature(&self) -> &str {
        &self.signature
    }

    /// Checks everything but who the key belongs to.
    pub(super) fn verify(
        &self,
        head: &Head,
        body: &[u8],
        secret_access_key: &str,
        expected: &Expectation<'_>,
    ) -> Result<(), Refusal> {
        let amz_date = head.header("x-amz-date").ok_or_else(|| {
            let text = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
            Refusal::new("IncompleteSignatureException", text)
        })?;
        self.check_scope(amz_date, expected)?;
        check_date(amz_date, expected)?;
        self.check_signed_headers(head)?;
        let claimed = head.header("x-amz-content-sha256");
        let payload_hash = if claimed == Some(SIGNED_EVENTS) && head.path.ends_with(super::duplex::PATH_END) {
            SIGNED_EVENTS.to_owned()
        } else {
            hex::encode(Sha256::digest(body))
        };
        if claimed.is_some_and(|claimed| claimed != payload_hash) {
            return Err(Refusal::invalid(
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        let canonical = canonical_request(head, &self.signed_headers, &payload_hash);
        let to_sign = string_to_sign(amz_date, &self.scope(), &canonical);
        let signature = self.signature_of(&to_sign, secret_access_key);
        if bool::from(signature.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for \
             this request should have been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
        )))
    }

    fn scope(&self) -> String {
        format!("{}/{}/{}/{}", self.date, self.region, self.service, self.terminator)
    }

    fn check_scope(&self, amz_date: &str, expected: &Expectation<'_>) -> Result<(), Refusal> {
        if self.terminator != TERMINATOR {
            return Err(Refusal::invalid(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
                self.terminator
            )));
        }
        if !expected.services.is_empty() && !expected.services.contains(&self.service.as_str()) {
            return Err(Refusal::invalid(format!(
                "Credential should be scoped to correct service: '{}'. ",
                expected.services.join("' or '")
            )));
        }
        if self.region.is_empty() || expected.region.is_some_and(|region| region != self.region) {
            let text = format!("Credential should be scoped to a valid region, not '{}'. ", self.region);
            return Err(Refusal::invalid(text));
        }
        let day = amz_date.get(..8).unwrap_or_default();
        if self.date != day {
            return Err(Refusal::invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{amz_date}'.",
                self.date
            )));
        }
        Ok(())
    }

    fn check_signed_headers(&self, head: &Head) -> Result<(), Refusal> {
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !is_signed("host") && !is_signed(":authority") {
            return Err(Refusal::invalid(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        for (name, _) in &head.headers {
            let name = name.to_ascii_lowercase();
            let must_be_signed = name.starts_with("x-amz-") || name == "content-type";
            if must_be_signed && !is_signed(&name) {
                let text = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
                return Err(Refusal::invalid(text));
            }
        }
        if let Some(absent) = self.signed_headers.iter().find(|name| head.header(name).is_none()) {
            let text = format!("The signed header '{absent}' is not part of the request.");
            return Err(Refusal::invalid(text));
        }
        if !self.signed_headers.is_sorted() {
            return Err(Refusal::invalid("SignedHeaders are not sorted."));
        }
        Ok(())
    }

    fn signature_of(&self, to_sign: &str, secret_access_key: &str) -> String {
        let seed = format!("AWS4{secret_access_key}");
        let parts = [&self.date, &self.region, &self.service, &self.terminator];
        let key = parts.iter().fold(seed.into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()));
        hex::encode(hmac_sha256(&key, to_sign.as_bytes()))
    }
}

fn check_date(amz_date: &str, expected: &Expectation<'_>) -> Result<(), Refusal> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let signed_at =
        PrimitiveDateTime::parse(amz_date, format).map(PrimitiveDateTime::assume_utc).map_err(|_| {
            let text = format!("Date must be in ISO-8601 'basic format'. Got '{amz_date}'.");
            Refusal::new("IncompleteSignatureException", text)
        })?;
    let text = |moment: OffsetDateTime| moment.format(format).unwrap_or_default();
    let minutes = expected.clock_skew.as_secs() / 60;
    let (earliest, latest) = (expected.now - expected.clock_skew, expected.now + expected.clock_skew);
    let now = text(expected.now);
    if signed_at < earliest {
        return Err(Refusal::invalid(format!(
            "Signature expired: {amz_date} is now earlier than {} ({now} - {minutes} min.)",
            text(earliest)
        )));
    }
    if signed_at > latest {
        return Err(Refusal::invalid(format!(
            "Signature not yet current: {amz_date} is still later than {} ({now} + {minutes} min.)",
            text(latest)
        )));
    }
    Ok(())
}

fn canonical_request(head: &Head, signed_headers: &[String], payload_hash: &str) -> String {
    let headers: String = signed_headers
        .iter()
        .map(|name| {
            let values: Vec<String> = head
                .headers
                .iter()
                .filter(|(held, _)| held.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            format!("{name}:{}\n", values.join(","))
        })
        .collect();
    let path = encode(normalized(&head.path).as_bytes(), true);
    let query = canonical_query(&head.query);
    let names = signed_headers.join(";");
    format!("{}\n{path}\n{query}\n{headers}\n{names}\n{payload_hash}", head.method)
}

fn string_to_sign(amz_date: &str, scope: &str, canonical_request: &str) -> String {
    let digest = hex::encode(Sha256::digest(canonical_request.as_bytes()));
    format!("{ALGORITHM}\n{amz_date}\n{scope}\n{digest}")
}

/// The path without empty, `.` and `..` segments (RFC 3986, 6.2.2.3); a trailing slash stays.
fn normalized(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// Parameters decoded once (so that any spelling of a character is the same), encoded AWS's way, and sorted.
fn canonical_query(query: &str) -> String {
    let recode = |text: &str| {
        let spaced = text.replace('+', "%20");
        encode(&percent_encoding::percent_decode_str(&spaced).collect::<Vec<u8>>(), false)
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recode(name), recode(value))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// AWS's `UriEncode`: all but unreserved characters become `%XX`. A path is encoded from its spelling on the wire,
/// which makes a percent sign of it `%25`: twice encoded, as all services but S3 ask.
fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        if unreserved || (keep_slash && *byte == b'/') {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // An HMAC key may have any length: `new_from_slice` cannot fail.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
