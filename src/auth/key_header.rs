//! Where a client may put its key: every header that LiteLLM reads, in LiteLLM's order, and the credential of
//! a SigV4 signature.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::pairs::is_access_key_id;

/// Headers that hold nothing but the key, before `Authorization`.
const BEFORE_AUTHORIZATION: HeaderName = HeaderName::from_static("x-litellm-api-key");
/// Read before all others, also where another is configured.
const USER_API_KEY: HeaderName = HeaderName::from_static("litellm_user_api_key");
/// Headers that hold nothing but the key, after `Authorization`.
const AFTER_AUTHORIZATION: [&str; 4] =
    ["api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"];

/// How a client shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'h> {
    /// By its key.
    Key(&'h str),
    /// By its key in place of the access key id of a signature that nobody can check: LiteLLM's form.
    KeyAsAccessKeyId(&'h str),
    /// By a signature with an AWS access key id: the value of `Authorization`.
    Signature(&'h str),
}

/// What a client shows: the first header that is present and not empty counts, and a bad key in it is not made good
/// by a later one.
///
/// `configured` is `general_settings.litellm_key_header_name`; where it is set, only it and
/// `litellm_user_api_key` are read.
#[must_use]
pub fn presented<'h>(headers: &'h HeaderMap, configured: Option<&str>) -> Option<Presented<'h>> {
    let text = |value: &'h HeaderValue| value.to_str().ok().map(str::trim).filter(|value| !value.is_empty());
    let read = |name: &str| headers.get(name).and_then(text);
    if let Some(value) = headers.get(USER_API_KEY).and_then(text) {
        return key_in(value);
    }
    if let Some(name) = configured {
        return read(name).and_then(key_in);
    }
    if let Some(value) = headers.get(BEFORE_AUTHORIZATION).and_then(text) {
        return key_in(value);
    }
    if let Some(value) = headers.get(header::AUTHORIZATION).and_then(text) {
        return match key_in(value) {
            Some(Presented::KeyAsAccessKeyId(id)) if is_access_key_id(id) => {
                Some(Presented::Signature(value))
            }
            other => other,
        };
    }
    AFTER_AUTHORIZATION.iter().find_map(|name| read(name)).and_then(key_in)
}

/// The key inside a header's value: raw, after `Bearer` or `Basic` in any case, or the access key id of a
/// SigV4 credential.
fn key_in(value: &str) -> Option<Presented<'_>> {
    if let Some(parameters) = value.strip_prefix("AWS4-HMAC-SHA256") {
        return access_key_id(parameters).map(Presented::KeyAsAccessKeyId);
    }
    let key = strip_scheme(value, "bearer").or_else(|| strip_scheme(value, "basic")).unwrap_or(value);
    (!key.is_empty() && first_space(key).is_none()).then_some(Presented::Key(key))
}

fn strip_scheme<'v>(value: &'v str, scheme: &str) -> Option<&'v str> {
    let (head, rest) = value.split_at_checked(first_space(value)?)?;
    head.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Where the first space or tab stands: a header that is text holds no other white space.
fn first_space(value: &str) -> Option<usize> {
    memchr::memchr2(b' ', b'\t', value.as_bytes())
}

/// `Credential=<access key id>/<date>/<region>/<service>/aws4_request`, read from its end, since a virtual key
/// may itself hold a slash.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html>
fn access_key_id(parameters: &str) -> Option<&str> {
    let credential = parameters.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
    let id = credential.rsplitn(5, '/').nth(4)?;
    let id = strip_scheme(id, "bearer").unwrap_or(id);
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn check(headers: &[(&str, &str)], configured: Option<&str>, expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let key = match presented(&map, configured) {
            Some(Presented::Key(key) | Presented::KeyAsAccessKeyId(key)) => Some(key),
            Some(Presented::Signature(_)) => Some("a signature"),
            None => None,
        };
        assert_eq!(key, expected, "{headers:?}");
    }

    #[test]
    fn every_header_of_litellm_is_read_with_and_without_bearer() {
        for name in [
            "litellm_user_api_key",
            "x-litellm-api-key",
            "authorization",
            "api-key",
            "x-api-key",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
        ] {
            for value in ["sk-1", "Bearer sk-1", "bearer sk-1", "BEARER  sk-1", "Basic sk-1"] {
                check(&[(name, value)], None, Some("sk-1"));
            }
        }
    }

    #[test]
    fn a_sigv4_credential_holds_the_key_as_access_key_id() {
        let scope = "20260101/us-west-2/bedrock/aws4_request, SignedHeaders=host, Signature=0";
        check(&[("authorization", &format!("AWS4-HMAC-SHA256 Credential=sk-1/{scope}"))], None, Some("sk-1"));
        check(
            &[("authorization", &format!("AWS4-HMAC-SHA256 Credential=Bearer sk-1/{scope}"))],
            None,
            Some("sk-1"),
        );
        check(&[("authorization", "AWS4-HMAC-SHA256 Credential=sk-1")], None, None);
    }

    #[test]
    fn a_signature_with_an_aws_access_key_id_is_one_to_check() {
        let scope = "20260101/us-west-2/bedrock/aws4_request, SignedHeaders=host, Signature=0";
        let signature = format!("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{scope}");
        check(&[("authorization", &signature)], None, Some("a signature"));
        check(&[("authorization", &signature), ("x-api-key", "sk-1")], None, Some("a signature"));
        check(&[("authorization", &signature), ("litellm_user_api_key", "sk-1")], None, Some("sk-1"));
    }

    #[test]
    fn the_first_header_present_counts() {
        let fake_signature =
            "AWS4-HMAC-SHA256 Credential=fake/20260101/us-west-2/bedrock/aws4_request, Signature=0";
        check(
            &[("authorization", fake_signature), ("litellm_user_api_key", "Bearer sk-1")],
            None,
            Some("sk-1"),
        );
        check(&[("authorization", "Bearer sk-1"), ("x-api-key", "sk-2")], None, Some("sk-1"));
        check(&[("authorization", ""), ("x-api-key", "sk-2")], None, Some("sk-2"));
        check(
            &[("authorization", "Bearer sk-1"), ("x-company-key", "Bearer sk-2")],
            Some("x-company-key"),
            Some("sk-2"),
        );
        check(&[("authorization", "Bearer sk-1")], Some("x-company-key"), None);
        check(&[], None, None);
    }
}
