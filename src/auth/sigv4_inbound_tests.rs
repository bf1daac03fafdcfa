//! Signatures as AWS's own crate makes them, whole and changed, and texts that are none.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2026-01-15T12:00:00Z.
const NOON: i64 = 1_768_478_400;

/// A request that can be changed after it was signed.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn new(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Self { method, path, query, headers, body: body.to_vec() }
    }

    fn usual() -> Self {
        let headers = [("host", "gateway.example:4000"), ("content-type", "application/json")];
        Self::new("POST", "/bedrock/model/a.b%3A0/converse", "", &headers, b"{}")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(held, _)| held != name);
        self
    }

    /// Signed by AWS's crate; `payload` stands in for the body's hash.
    fn signed(self, secret: &str, seconds: i64, payload: Option<&str>) -> Self {
        let identity = Credentials::new(ID, secret, None, None, "test").into();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-central-1")
            .name("bedrock")
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let mark = if self.query.is_empty() { "" } else { "?" };
        let uri = format!("http://gateway.example{}{mark}{}", self.path, self.query);
        let body = match payload {
            Some(payload) => SignableBody::Precomputed(payload.to_owned()),
            None => SignableBody::Bytes(&self.body),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new(&self.method, uri, headers, body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let added: Vec<(String, String)> =
            instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut sent = self;
        sent.headers.extend(added);
        sent
    }

    fn authorization(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == "authorization").map_or("", |(_, value)| value)
    }

    fn set_authorization(mut self, change: impl FnOnce(&str) -> String) -> Self {
        let changed = change(self.authorization());
        self = self.without("authorization");
        self.with("authorization", &changed)
    }

    fn head(&self) -> ReceivedHead<'_> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        ReceivedHead {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers,
            is_event_stream: false,
        }
    }

    fn check_with(&self, allow_unsigned: bool) -> Result<(), SignatureFault> {
        let now = UnixMicros(NOON * 1_000_000);
        let read = ClientSignature::read(self.authorization(), &self.head(), now, allow_unsigned)?;
        assert_eq!(read.access_key_id, ID);
        let body = hex::encode(Sha256::digest(&self.body));
        if let PayloadClaim::Sha256(claimed) = &read.payload
            && *claimed != body
        {
            return Err(invalid("the payload"));
        }
        read.verify(Some(&Secret::new(SECRET)), &body)
    }

    fn check(&self) -> Result<(), SignatureFault> {
        self.check_with(false)
    }
}

fn text_of(result: Result<(), SignatureFault>) -> String {
    result.map_or_else(|fault| fault.to_string(), |()| "good".to_owned())
}

/// A character of a path, value or name, made another one.
fn turned(byte: u8) -> u8 {
    if byte == b'q' { b'w' } else { b'q' }
}

/// One changed byte at a place that is not inside a percent-escape.
fn change_one(text: &mut String, place: usize) -> bool {
    let mut bytes = text.clone().into_bytes();
    let is_plain = |at: usize| {
        let near = bytes.get(at.saturating_sub(2)..=at).unwrap_or_default();
        bytes[at].is_ascii_alphanumeric() && !near.contains(&b'%')
    };
    let places: Vec<usize> = (0..bytes.len()).filter(|at| is_plain(*at)).collect();
    let Some(at) = places.get(place % places.len().max(1)) else { return false };
    bytes[*at] = turned(bytes[*at]);
    *text = String::from_utf8(bytes).unwrap();
    true
}

#[test]
fn over_http2_the_host_may_be_signed_as_the_pseudo_header_it_came_in() {
    let host = "gateway.example:4000";
    let without_host = Sent::usual().without("host").with(":authority", host);
    let sent = Sent { headers: without_host.headers.clone(), ..Sent::usual() };
    let signed = signed_by_hand(&sent);
    assert_eq!(text_of(signed.check()), "good");
    assert_eq!(text_of(signed.clone().with("host", host).check()), "good", "bedgate adds a host, unsigned");
    let elsewhere = signed.clone().without(":authority").with(":authority", "elsewhere.example");
    assert!(text_of(elsewhere.check()).contains("does not match"));
    assert!(text_of(signed.without(":authority").check()).contains("did not arrive"));
}

/// Signs every header there is, by the book: AWS's crate adds a `host` of its own where it finds none.
fn signed_by_hand(sent: &Sent) -> Sent {
    let sent = sent.clone().with("x-amz-date", "20260115T120000Z");
    let mut headers = sent.headers.clone();
    headers.sort();
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let body = hex::encode(Sha256::digest(&sent.body));
    let path = sent.path.replace('%', "%25");
    let canonical = format!("{}\n{path}\n{}\n{lines}\n{names}\n{body}", sent.method, sent.query);
    let scope = "20260115/eu-central-1/bedrock/aws4_request";
    let hashed = hex::encode(Sha256::digest(canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n20260115T120000Z\n{scope}\n{hashed}");
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(NOON as u64);
    let key = generate_signing_key(SECRET, time, "eu-central-1", "bedrock");
    let signature = calculate_signature(key, to_sign.as_bytes());
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders={names}, Signature={signature}");
    sent.with("authorization", &authorization)
}

proptest! {
    #[test]
    fn what_awss_crate_signs_verifies_and_one_changed_byte_does_not(
        method in "GET|POST|PUT|DELETE|HEAD",
        path in "(/[a-zA-Z0-9._~:-]{0,3}[a-z0-9]|/%2F|/%3A|/a%20b){1,5}/?",
        query in "([a-z]{1,4}=([a-zA-Z0-9._-]|%2F|%20|\\+){0,4}(&|)){0,3}",
        value in "[a-z] {0,3}[a-z]",
        body in proptest::collection::vec(any::<u8>(), 0..50),
        skew in -300i64..=300,
        hash_is_sent: bool,
        place in 0usize..50,
    ) {
        prop_assume!(!path.split('/').any(|s| s == "." || s == ".."));
        let headers = [
            ("host", "gateway.example:4000"),
            ("x-amzn-bedrock-trace", value.as_str()),
            ("user-agent", "sdk"),
            ("x-amzn-trace-id", "1"),
        ];
        let mut sent = Sent::new(&method, &path, &query, &headers, &body);
        if hash_is_sent {
            sent = sent.with("x-amz-content-sha256", &hex::encode(Sha256::digest(&body)));
        }
        let sent = sent.signed(SECRET, NOON + skew, None);
        prop_assert_eq!(text_of(sent.check()), "good");

        let patched = Sent { method: "PATCH".into(), ..sent.clone() };
        prop_assert!(patched.check().is_err());
        let mut other = sent.clone();
        prop_assert!(!change_one(&mut other.path, place) || other.check().is_err());
        let mut other = sent.clone();
        prop_assert!(!change_one(&mut other.query, place) || other.check().is_err());
        for name in ["host", "x-amzn-bedrock-trace", "x-amz-date", "x-amz-content-sha256"] {
            let mut other = sent.clone();
            if let Some((_, value)) = other.headers.iter_mut().find(|(held, _)| held == name)
                && change_one(value, place)
            {
                prop_assert!(other.check().is_err(), "{}", name);
            }
            if other.headers.iter().any(|(held, _)| held == name) {
                prop_assert!(sent.clone().without(name).check().is_err(), "without {}", name);
            }
        }
        let mut other = sent.clone();
        match other.body.len() {
            0 => other.body.push(0),
            length => other.body[place % length] ^= 1,
        }
        prop_assert!(other.check().is_err());
        let unsigned = sent.clone().without("user-agent").with("user-agent", "another");
        prop_assert_eq!(text_of(unsigned.check()), "good");
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        authorization in "(AWS4-HMAC-SHA256 |)(Credential=|SignedHeaders=|Signature=|[,;/= ]|[a-z0-9]|\\PC){0,30}",
        query in "\\PC{0,20}",
        date in "(20260115T120000Z|\\PC{0,20})",
        value in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let headers = vec![
            ("host", value.as_slice()),
            ("x-amz-date", date.as_bytes()),
            ("x-amz-content-sha256", value.as_slice()),
        ];
        let head = ReceivedHead { method: "GET", path: "/", query: &query, headers, is_event_stream: false };
        let good = format!("AWS4-HMAC-SHA256 Credential={ID}/20260115/r/bedrock/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={authorization}");
        for text in [&authorization, &good] {
            if let Ok(signature) = ClientSignature::read(text, &head, UnixMicros(NOON * 1_000_000), false) {
                prop_assert!(signature.verify(Some(&Secret::new(SECRET)), "").is_err());
            }
        }
    }
}

#[test]
fn the_secret_must_be_the_pairs_and_an_unknown_id_never_verifies() {
    assert!(text_of(Sent::usual().signed("another secret", NOON, None).check()).contains("does not match"));
    let sent = Sent::usual().signed(DUMMY_SECRET, NOON, None);
    let read = ClientSignature::read(sent.authorization(), &sent.head(), UnixMicros(NOON * 1_000_000), false);
    let body = hex::encode(Sha256::digest(&sent.body));
    assert!(read.unwrap().verify(None, &body).is_err());
}

#[test]
fn a_clock_that_is_off_by_more_than_five_minutes_is_told_so() {
    for (seconds, expected) in [
        (NOON - 300, "good"),
        (NOON + 300, "good"),
        (
            NOON - 301,
            "Signature expired: 20260115T115459Z is now earlier than 20260115T115500Z (20260115T120000Z - 5 min.)",
        ),
        (
            NOON + 301,
            "Signature not yet current: 20260115T120501Z is still later than 20260115T120500Z (20260115T120000Z + 5 min.)",
        ),
    ] {
        assert_eq!(text_of(Sent::usual().signed(SECRET, seconds, None).check()), expected);
    }
}

#[test]
fn a_payload_is_signed_or_openly_unsigned_where_that_is_allowed() {
    let unsigned = Sent::usual().with("x-amz-content-sha256", UNSIGNED_PAYLOAD);
    let unsigned = unsigned.signed(SECRET, NOON, Some(UNSIGNED_PAYLOAD));
    assert!(text_of(unsigned.check()).contains("allow_unsigned_payload"));
    assert_eq!(text_of(unsigned.check_with(true)), "good");
    let streaming = "STREAMING-AWS4-HMAC-SHA256-EVENTS";
    let streaming =
        Sent::usual().with("x-amz-content-sha256", streaming).signed(SECRET, NOON, Some(streaming));
    assert!(text_of(streaming.check_with(true)).contains("bidirectional streams alone"));
    let nonsense = Sent::usual().with("x-amz-content-sha256", "00").signed(SECRET, NOON, Some("00"));
    assert!(text_of(nonsense.check()).contains("lower-case hexadecimal"));
    // Not said in a header, so that the body's hash must be what was signed.
    let silent = Sent::usual().signed(SECRET, NOON, Some(UNSIGNED_PAYLOAD));
    assert!(text_of(silent.check_with(true)).contains("does not match"));
}

#[test]
fn headers_that_count_must_be_signed_and_signed_headers_must_arrive() {
    let good = || Sent::usual().signed(SECRET, NOON, None);
    for (sent, expected) in [
        (good(), "good"),
        (good().with("x-amz-target", "Another.Operation"), "'x-amz-target' must be a 'SignedHeader'"),
        (good().with("x-amzn-bedrock-trace", "ENABLED"), "'x-amzn-bedrock-trace' must be a 'SignedHeader'"),
        (good().with("x-amz-cf-id", "added by CloudFront"), "good"),
        (good().with("x-forwarded-for", "10.0.0.1"), "good"),
        (good().with("x-amz-date", "20260115T120000Z"), "'x-amz-date' must be there once"),
        (good().with("host", "elsewhere"), "'host' must be there once"),
        (good().without("x-amz-date"), "X-Amz-Date"),
        (good().without("content-type"), "did not arrive"),
        (good().set_authorization(|text| text.replace(";host", "")), "must be a 'SignedHeader'"),
        (good().set_authorization(|text| text.replace("content-type;host", "host;content-type")), "sorted"),
        (good().set_authorization(|text| text.replace("content-type;host", "host;host")), "sorted"),
    ] {
        let found = text_of(sent.check());
        assert!(found.contains(expected), "{found}\n{sent:?}");
    }
}

#[test]
fn an_authorization_that_is_not_written_as_it_should_be_is_refused_with_the_reason() {
    let replace = |from: &'static str, to: &'static str| move |text: &str| text.replace(from, to);
    type Change = Box<dyn FnOnce(&str) -> String>;
    let cases: [(Change, &str); 12] = [
        (Box::new(replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")), "Unsupported AWS 'algorithm'"),
        (Box::new(replace("Signature=", "Signed=")), "not known"),
        (Box::new(replace("Credential=", "Credential=, Credential=")), "one 'Credential'"),
        (Box::new(|text| format!("{text}, Signature=00")), "one 'Signature'"),
        (Box::new(|text| format!("{text},")), "not known"),
        (Box::new(|text| text.split(", Signature").next().unwrap().to_owned()), "requires 'Signature'"),
        (Box::new(replace("/aws4_request", "/aws4_requests")), "5 slash-delimited"),
        (Box::new(replace("/eu-central-1/", "/eu-central-1/x/")), "5 slash-delimited"),
        (Box::new(replace("/eu-central-1/", "//")), "valid region"),
        (Box::new(replace("/bedrock/", "/s3/")), "scoped to correct service"),
        (Box::new(replace("/20260115/", "/20260114/")), "Date in Credential scope"),
        (Box::new(|text| format!("{text}{}", "0".repeat(MAX_AUTHORIZATION))), "too long"),
    ];
    for (change, expected) in cases {
        let found = text_of(Sent::usual().signed(SECRET, NOON, None).set_authorization(change).check());
        assert!(found.contains(expected), "{found} is not {expected}");
    }
    let mut twice = Sent::usual().signed(SECRET, NOON, None);
    twice.query = "X-Amz%2dSignature=00".into();
    assert!(text_of(twice.check()).contains("not in both"));
}

#[test]
fn parameters_may_stand_in_any_order_and_without_spaces() {
    let sent = Sent::usual().signed(SECRET, NOON, None).set_authorization(|text| {
        let (algorithm, rest) = text.split_once(' ').unwrap();
        let mut parts: Vec<&str> = rest.split(", ").collect();
        parts.reverse();
        format!("{algorithm} {}", parts.join(","))
    });
    assert_eq!(text_of(sent.check()), "good");
}
