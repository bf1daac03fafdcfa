//! Callers that sign: what becomes of their claim with the head, and with the body.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::pairs::PairDirectory;
use super::*;
use crate::sign::canonical::CanonicalHead;
use crate::store::keys::SealedPair;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const NOW: UnixMicros = UnixMicros(1_768_478_400_000_000);
const BODY: &str = "{}";

/// A gateway that knows one key with one pair.
fn authenticator(key: KeyRecord, config: &AuthConfig) -> Authenticator {
    let vault = || Vault::new(&Secret::new("an operator's secret")).unwrap();
    let keys = KeyDirectory::with_vault(Some(vault()));
    let pair = SealedPair {
        access_key_id: ID.into(),
        key_hash: key.hash,
        sealed: vault().seal(ID, &Secret::new("the secret"), [3; 12]).unwrap(),
        sealed_by: vault().id().to_owned(),
        revision: 1,
        ..SealedPair::default()
    };
    keys.put(key);
    keys.apply(vec![KeyChange::Pair(Box::new(pair))]);
    Authenticator::new(Some(&Secret::new("sk-master")), None, config, Arc::new(keys))
}

fn alice() -> KeyRecord {
    KeyRecord { hash: KeyHash::of("sk-alice-0001"), key_name: "sk-...0001".into(), ..KeyRecord::default() }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The headers of a POST to `/bedrock/x`, signed.
fn signed(id: &str, secret: &str, more: &[(&str, &str)]) -> HeaderMap {
    let payload = more.iter().find(|(name, _)| *name == "x-amz-content-sha256").map(|(_, value)| *value);
    signed_for(id, secret, more, payload.unwrap_or(&sha256(BODY)))
}

/// The same with this in the place of the body's hash.
fn signed_for(id: &str, secret: &str, more: &[(&str, &str)], payload: &str) -> HeaderMap {
    let mut listed = vec![("host", "h"), ("x-amz-date", "20260115T120000Z")];
    listed.extend(more);
    let bytes = listed.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = CanonicalHead::of("POST", "/bedrock/x", "", bytes);
    let scope = "20260115/us-west-2/bedrock/aws4_request";
    let hashed = head.hash_with(payload);
    let to_sign = format!("AWS4-HMAC-SHA256\n20260115T120000Z\n{scope}\n{hashed}");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_micros(NOW.0 as u64);
    let key = aws_sigv4::sign::v4::generate_signing_key(secret, time, "us-west-2", "bedrock");
    let signature = aws_sigv4::sign::v4::calculate_signature(key, to_sign.as_bytes());
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={}, Signature={signature}",
        head.signed_headers
    );
    listed.push(("authorization", &authorization));
    let mut headers = HeaderMap::new();
    for (name, value) in listed {
        headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// As [`received`], of a request whose body is a stream of events.
fn received_stream(headers: &HeaderMap) -> ReceivedHead<'_> {
    ReceivedHead { is_event_stream: true, ..received(headers) }
}

#[test]
fn who_signs_events_is_known_by_the_head_and_gets_a_chain_to_check_them_with() {
    const EVENTS: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";
    let authenticator = authenticator(alice(), &AuthConfig::default());
    let empty = sha256("");
    let claims = |secret: &str, more: &[(&str, &str)], payload: &str| {
        let headers = signed_for(ID, secret, more, payload);
        authenticator.claim(&headers, "", || received_stream(&headers), NOW)
    };
    for (more, payload) in [(&[("x-amz-content-sha256", EVENTS)][..], EVENTS), (&[], empty.as_str())] {
        let mut claim = claims("the secret", more, payload).unwrap();
        assert!(matches!(claim.caller(), Some(Caller::Key(key)) if key.key_name == "sk-...0001"));
        assert!(claim.take_chain().is_some() && claim.take_chain().is_none(), "once");
        assert!(matches!(claims("another", more, payload), Err(GatewayError::InvalidSignature(_))));
    }
    for payload in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &sha256(BODY)] {
        let claim = claims("the secret", &[("x-amz-content-sha256", payload)], payload);
        assert!(matches!(claim, Err(GatewayError::InvalidSignature(_))), "{payload}");
    }
    let headers = signed_for(ID, "the secret", &[("x-amz-content-sha256", EVENTS)], EVENTS);
    let of_a_body = authenticator.claim(&headers, "", || received(&headers), NOW);
    assert!(matches!(of_a_body, Err(GatewayError::InvalidSignature(_))), "for this operation alone");
}

fn received(headers: &HeaderMap) -> ReceivedHead<'_> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    ReceivedHead { method: "POST", path: "/bedrock/x", query: "", headers, is_event_stream: false }
}

/// What the head says (`later`, a key, or the error), and what the body then does.
fn outcome(authenticator: &Authenticator, headers: &HeaderMap, body: &str) -> (String, String) {
    let name =
        |caller: &Caller| caller.key().map_or_else(|| format!("{caller:?}"), |key| key.key_name.clone());
    match authenticator.claim(headers, "", || received(headers), NOW) {
        Err(error) => (error.error_type().to_owned(), String::new()),
        Ok(claim) => {
            let first = claim.caller().map_or_else(|| "later".to_owned(), name);
            let then = claim.settle(&sha256(body));
            (first, then.map_or_else(|error| error.error_type().to_owned(), |caller| name(&caller)))
        }
    }
}

#[test]
fn a_signature_proves_its_caller_once_what_it_covers_was_seen() {
    const KEY: &str = "sk-...0001";
    const MISMATCH: &str = "InvalidSignatureException";
    const UNKNOWN: &str = "UnrecognizedClientException";
    let hash = sha256(BODY);
    let hash = [("x-amz-content-sha256", hash.as_str())];
    let token = [("x-amz-security-token", "of a session")];
    let cases = [
        (signed(ID, "the secret", &[]), BODY, "later", KEY),
        (signed(ID, "the secret", &[]), "{ }", "later", MISMATCH),
        (signed(ID, "a wrong one", &[]), BODY, "later", MISMATCH),
        (signed(ID, "the secret", &hash), BODY, KEY, KEY),
        (signed(ID, "the secret", &hash), "{ }", KEY, MISMATCH),
        (signed(ID, "a wrong one", &hash), BODY, MISMATCH, ""),
        (signed("AKIAAAAAAAAAAAAAAAAA", "the secret", &[]), BODY, UNKNOWN, ""),
        (signed("AKIAAAAAAAAAAAAAAAAA", "the secret", &hash), BODY, UNKNOWN, ""),
        (signed(ID, "the secret", &token), BODY, UNKNOWN, ""),
        (signed("sk-alice-0001", "anything", &[]), "{ }", KEY, KEY),
    ];
    let authenticator = authenticator(alice(), &AuthConfig::default());
    for (headers, body, first, then) in cases {
        assert_eq!(outcome(&authenticator, &headers, body), (first.into(), then.into()), "{headers:?}");
    }
}

#[test]
fn a_blocked_key_is_refused_to_the_holder_of_the_secret_and_to_nobody_else_told() {
    let blocked = authenticator(KeyRecord { blocked: true, ..alice() }, &AuthConfig::default());
    let outcome = |secret| outcome(&blocked, &signed(ID, secret, &[]), BODY).1;
    assert_eq!(outcome("the secret"), "AccessDeniedException");
    assert_eq!(outcome("a wrong one"), "InvalidSignatureException");
    let claim = |authenticator: &Authenticator| {
        let headers = signed(ID, "the secret", &[]);
        authenticator.claim(&headers, "", || received(&headers), NOW).unwrap().max_useless_body()
    };
    assert_eq!(claim(&blocked), Some(64 << 10));
    assert_eq!(claim(&authenticator(alice(), &AuthConfig::default())), None);
}

#[test]
fn a_pair_goes_with_its_key() {
    let authenticator = authenticator(alice(), &AuthConfig::default());
    authenticator.keys.remove(&alice().hash);
    let headers = signed(ID, "the secret", &[]);
    assert_eq!(outcome(&authenticator, &headers, BODY).0, "UnrecognizedClientException");
    authenticator.keys.put(alice());
    assert_eq!(outcome(&authenticator, &headers, BODY).0, "UnrecognizedClientException", "not with another");
    assert_eq!(PairDirectory::default().find(ID), None);
}

#[test]
fn a_key_in_place_of_the_access_key_id_can_be_switched_off() {
    let strict = AuthConfig { allow_key_as_access_key_id: false, ..AuthConfig::default() };
    let authenticator = authenticator(alice(), &strict);
    let headers = signed("sk-alice-0001", "anything", &[]);
    assert_eq!(outcome(&authenticator, &headers, BODY).0, "AccessDeniedException");
    assert!(authenticator.authenticate(&headers, NOW).is_err());
    assert_eq!(outcome(&authenticator, &signed(ID, "the secret", &[]), BODY).1, "sk-...0001");
}

#[test]
fn two_authorizations_and_signatures_on_the_gateways_own_paths_are_refused() {
    let authenticator = authenticator(alice(), &AuthConfig::default());
    let mut headers = signed(ID, "the secret", &[]);
    assert!(matches!(authenticator.authenticate(&headers, NOW), Err(GatewayError::AccessDenied(_))));
    headers
        .append(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer sk-alice-0001"));
    assert_eq!(outcome(&authenticator, &headers, BODY).0, "IncompleteSignatureException");
}

#[test]
fn a_presigned_url_is_told_what_to_do() {
    let authenticator = authenticator(alice(), &AuthConfig::default());
    let headers = HeaderMap::new();
    let mut with_a_key = HeaderMap::new();
    with_a_key
        .insert(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer sk-alice-0001"));
    for headers in [&headers, &with_a_key] {
        for query in
            ["X-Amz-Algorithm=x&X-Amz-Signature=00", "a=b&x-amz%2Dcredential=c", "X-Amz-Security-Token="]
        {
            let refused = authenticator.claim(headers, query, || received(headers), NOW);
            assert!(matches!(refused, Err(GatewayError::IncompleteSignature(_))), "{query} {refused:?}");
        }
    }
    let refused = authenticator.claim(&headers, "", || received(&headers), NOW);
    assert!(matches!(refused, Err(GatewayError::MissingKey)));
}
