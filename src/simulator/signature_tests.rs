//! The check agrees with AWS's own signer on any request, and refuses in AWS's words what AWS refuses.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: OffsetDateTime = datetime!(2026-11-22 10:47:32 UTC);

fn expected() -> Expectation<'static> {
    Expectation {
        services: &["bedrock"],
        region: Some("eu-west-1"),
        now: NOW,
        clock_skew: Duration::from_secs(300),
    }
}

/// A head signed by AWS's own crate.
fn signed(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8], checksum_header: bool) -> Head {
    let identity = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    if checksum_header {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let params = SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("bedrock")
        .time(SystemTime::from(NOW))
        .settings(settings)
        .build()
        .unwrap();
    let host = ("host", "bedrock-runtime.eu-west-1.amazonaws.com");
    let all: Vec<(&str, &str)> = std::iter::once(host).chain(headers.iter().copied()).collect();
    let uri = format!("https://{}{target}", host.1);
    let signable = SignableRequest::new(method, uri, all.iter().copied(), SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    head.headers.extend(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
    head
}

fn verdict(head: &Head, body: &[u8], expected: &Expectation<'_>) -> Result<(), Refusal> {
    Authorization::parse(head.header("authorization").unwrap())?.verify(head, body, SECRET, expected)
}

fn a_signed_head() -> Head {
    let headers = [("content-type", "application/json"), ("x-amz-client-token", "a  b")];
    signed("POST", "/model/amazon.nova-pro-v1%3A0/converse", &headers, b"{}", false)
}

proptest! {
    #[test]
    fn what_aws_signs_is_accepted_and_one_changed_byte_is_not(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "DELETE"]),
        segments in prop::collection::vec("([A-Za-z0-9._~:@!$&'()*+,;=-]|%3A|%2F|%20|%E2%82%AC){1,12}", 0..5),
        trailing in any::<bool>(),
        pairs in prop::collection::vec(("[A-Za-z0-9._~-]{1,5}", "([A-Za-z0-9._~:/-]|%3A|%20|%2B){0,8}"), 0..4),
        value in "[ -~]{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        checksum_header in any::<bool>(),
    ) {
        // The gateway lets no dot segment through, and AWS takes them out of the path it signs.
        prop_assume!(!segments.iter().any(|segment| segment == "." || segment == ".."));
        let mut target = format!("/{}", segments.join("/"));
        if trailing && !segments.is_empty() {
            target.push('/');
        }
        if !pairs.is_empty() {
            let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            target = format!("{target}?{}", pairs.join("&"));
        }
        let headers = [("content-type", "application/json"), ("x-amz-thing", value.as_str())];
        let mut head = signed(method, &target, &headers, &body, checksum_header);
        prop_assert_eq!(verdict(&head, &body, &expected()), Ok(()));

        let mut other_body = body.clone();
        other_body.push(b'!');
        prop_assert!(verdict(&head, &other_body, &expected()).is_err());
        head.path.push('x');
        prop_assert!(verdict(&head, &body, &expected()).is_err());
    }
}

#[test]
fn each_refusal_has_the_type_and_the_words_of_aws() {
    type Change = fn(&mut Head, &mut Expectation<'static>);
    let cases: [(Change, &str, &str); 10] = [
        (
            |head, _| head.path.push('x'),
            "InvalidSignatureException",
            "The request signature we calculated does not match",
        ),
        (
            |_, expected| expected.services = &["bedrock-agentcore"],
            "InvalidSignatureException",
            "scoped to correct service: 'bedrock-agentcore'",
        ),
        (
            |_, expected| expected.region = Some("us-east-1"),
            "InvalidSignatureException",
            "scoped to a valid region, not 'eu-west-1'",
        ),
        (
            |_, expected| expected.now += Duration::from_secs(301),
            "InvalidSignatureException",
            "Signature expired: 20261122T104732Z is now earlier than 20261122T104733Z (20261122T105233Z - 5 min.)",
        ),
        (
            |_, expected| expected.now -= Duration::from_secs(301),
            "InvalidSignatureException",
            "Signature not yet current",
        ),
        (
            |head, _| head.headers.push(("X-Amz-Added".to_owned(), "1".to_owned())),
            "InvalidSignatureException",
            "'x-amz-added' must be a 'SignedHeader'",
        ),
        (
            |head, _| replace(head, ";host;", ";"),
            "InvalidSignatureException",
            "'Host' or ':authority' must be a 'SignedHeader'",
        ),
        (
            |head, _| replace(head, "aws4_request", "aws5_request"),
            "InvalidSignatureException",
            "valid terminator: 'aws4_request', not 'aws5_request'",
        ),
        (
            |head, _| replace(head, "Signature=", "Sig="),
            "IncompleteSignatureException",
            "requires 'Signature' parameter",
        ),
        (
            |head, _| head.headers.retain(|(name, _)| name != "x-amz-date"),
            "IncompleteSignatureException",
            "'X-Amz-Date'",
        ),
    ];
    for (change, error_type, words) in cases {
        let (mut head, mut expected) = (a_signed_head(), expected());
        assert_eq!(verdict(&head, b"{}", &expected), Ok(()));
        change(&mut head, &mut expected);
        let refusal = verdict(&head, b"{}", &expected).unwrap_err();
        assert_eq!(refusal.error_type, error_type, "{}", refusal.message);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
}

fn replace(head: &mut Head, from: &str, to: &str) {
    let (_, value) = head.headers.iter_mut().find(|(name, _)| name == "authorization").unwrap();
    assert!(value.contains(from), "{value}");
    *value = value.replace(from, to);
}

#[test]
fn paths_and_queries_take_their_canonical_form() {
    for (path, canonical) in [
        ("/", "/"),
        ("", "/"),
        ("/a//b/", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/model/x%3A0/converse", "/model/x%253A0/converse"),
        ("/model/x:0/converse", "/model/x%3A0/converse"),
    ] {
        assert_eq!(encode(normalized(path).as_bytes(), true), canonical, "{path}");
    }
    for (query, canonical) in [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a", "a="),
        ("a=x%2fy&a=%7E", "a=x%2Fy&a=~"),
        ("a=1+2", "a=1%202"),
    ] {
        assert_eq!(canonical_query(query), canonical, "{query}");
    }
}
