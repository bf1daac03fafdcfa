//! AWS Signature Version 4 of a request head whose body hash is known. Pure: credentials, time and request come
//! in, header values go out.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::generate_signing_key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::OffsetDateTime;

use super::canonical::CanonicalHead;
use crate::domain::{FastMap, Region, UnixMicros, lower_hex};

/// Derived keys kept at the most; they change once a day, so this many means many identities and regions.
const MAX_CACHED_KEYS: usize = 4096;

/// What is signed.
#[derive(Debug)]
pub struct Signable<'r> {
    /// As it goes over the wire.
    pub method: &'r str,
    /// As it goes over the wire, percent-encoded.
    pub path: &'r str,
    /// As it goes over the wire, without the `?`.
    pub query: &'r str,
    /// The headers to sign, `host` among them: lower-case names, in any order.
    pub headers: Vec<(&'r str, &'r [u8])>,
    /// SHA-256 of the body, lower-case hexadecimal.
    pub body_sha256: &'r str,
    /// Of the credential scope.
    pub region: &'r Region,
    /// `signingName` of the service.
    pub service: &'static str,
    /// Time of the signature.
    pub now: UnixMicros,
}

/// Keys that were derived from secrets, one per access key, region, service and day.
#[derive(Debug, Default)]
pub struct SigningKeys {
    by_access_key: FastMap<String, Vec<SigningKey>>,
    count: usize,
}

/// A derived key, and what it is for.
#[derive(Debug)]
struct SigningKey {
    region: Region,
    service: &'static str,
    /// `20261122`.
    day: String,
    /// With the key taken in: what is left for a signature is half the work.
    keyed: Hmac<Sha256>,
}

impl SigningKeys {
    /// The value of `Authorization` for a request that carries `x-amz-date: amz_date` among its headers.
    #[must_use]
    pub fn authorization(
        &mut self,
        access_key_id: &str,
        secret: &str,
        request: Signable<'_>,
        amz_date: &str,
    ) -> String {
        let day = amz_date.get(..8).unwrap_or_default();
        let scope = [day, "/", request.region.as_str(), "/", request.service, "/aws4_request"].concat();
        let mut keyed = self.keyed(access_key_id, secret, &request, day);
        let head = CanonicalHead::of(request.method, request.path, request.query, request.headers);
        let hashed = head.hash_with(request.body_sha256);
        let to_sign = ["AWS4-HMAC-SHA256\n", amz_date, "\n", &scope, "\n", &hashed];
        to_sign.iter().for_each(|part| keyed.update(part.as_bytes()));
        let signature = lower_hex(&keyed.finalize().into_bytes());
        let names = &head.signed_headers;
        let credential = ["AWS4-HMAC-SHA256 Credential=", access_key_id, "/", &scope];
        let rest = [", SignedHeaders=", names, ", Signature=", &signature];
        [credential, rest].as_flattened().concat()
    }

    fn keyed(
        &mut self,
        access_key_id: &str,
        secret: &str,
        request: &Signable<'_>,
        day: &str,
    ) -> Hmac<Sha256> {
        let is_for = |known: &&SigningKey| {
            known.day == day && known.service == request.service && known.region == *request.region
        };
        if let Some(known) = self.by_access_key.get(access_key_id).and_then(|keys| keys.iter().find(is_for)) {
            return known.keyed.clone();
        }
        let time =
            SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(request.now.0).unwrap_or_default());
        let derived = generate_signing_key(secret, time, request.region.as_str(), request.service);
        // A shorter key is filled with zeros to the length of a block.
        let mut key = [0; 64];
        for (to, from) in key.iter_mut().zip(derived.as_ref()) {
            *to = *from;
        }
        let keyed = Hmac::<Sha256>::new(&key.into());
        if self.count >= MAX_CACHED_KEYS {
            self.by_access_key.clear();
            self.count = 0;
        }
        let (region, service, day) = (request.region.clone(), request.service, day.to_owned());
        let keys = self.by_access_key.entry(access_key_id.to_owned()).or_default();
        // Those of yesterday sign nothing any more.
        let before = keys.len();
        keys.retain(|known| known.day == day);
        self.count = self.count + keys.len() + 1 - before;
        keys.push(SigningKey { region, service, day, keyed: keyed.clone() });
        keyed
    }
}

/// `20261122T103000Z`.
#[must_use]
pub fn amz_date(now: UnixMicros) -> String {
    let at = OffsetDateTime::from_unix_timestamp(now.0.div_euclid(1_000_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let month = u8::from(at.month());
    let mut text = Vec::with_capacity(16);
    text.extend(two_digits(at.year().div_euclid(100)));
    text.extend(two_digits(at.year().rem_euclid(100)));
    text.extend([month, at.day()].into_iter().flat_map(|part| two_digits(part.into())));
    text.push(b'T');
    text.extend([at.hour(), at.minute(), at.second()].into_iter().flat_map(|part| two_digits(part.into())));
    text.push(b'Z');
    String::from_utf8(text).unwrap_or_default()
}

fn two_digits(number: i32) -> [u8; 2] {
    let digit = |value: i32| b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or_default();
    [digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    type Headers<'h> = [(&'h str, &'h str)];

    fn ours(
        method: &str,
        path: &str,
        query: &str,
        headers: &Headers<'_>,
        body_sha256: &str,
        now: UnixMicros,
    ) -> String {
        let region: Region = "us-east-1".parse().unwrap();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let request =
            Signable { method, path, query, headers, body_sha256, region: &region, service: "bedrock", now };
        SigningKeys::default().authorization("AKIDEXAMPLE", SECRET, request, &amz_date(now))
    }

    fn crates(
        method: &str,
        path: &str,
        query: &str,
        headers: &Headers<'_>,
        body_sha256: &str,
        now: UnixMicros,
    ) -> String {
        let identity = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test").into();
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(now.0 as u64);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("bedrock")
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("http://h.example{path}{}{query}", if query.is_empty() { "" } else { "?" });
        let listed = headers.iter().copied().filter(|(name, _)| *name != "x-amz-date");
        let body = SignableBody::Precomputed(body_sha256.to_owned());
        let request = SignableRequest::new(method, uri, listed, body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let authorization = instructions.headers().find(|(name, _)| *name == "authorization");
        authorization.unwrap().1.to_owned()
    }

    proptest! {
        #[test]
        fn signatures_equal_those_of_aws_sigv4(
            path in "(/[a-zA-Z0-9._~:%-]{0,3}[a-z0-9]|/%2F|//x|/%3A){1,5}/?",
            query in "([a-z]{1,4}=[a-zA-Z0-9+%._-]{0,2}(&|)){0,3}",
            value in "[a-z] {0,3}[a-z]",
            body in proptest::collection::vec(any::<u8>(), 0..50),
            seconds in 1_000_000_000i64..4_000_000_000,
        ) {
            prop_assume!(!path.split('/').any(|s| s == "." || s == ".."));
            let valid_escapes = |t: &str| percent_encoding::percent_decode_str(t).decode_utf8().is_ok()
                && t.match_indices('%').all(|(i, _)| t.get(i + 1..i + 3).is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit())));
            prop_assume!(valid_escapes(&path) && valid_escapes(&query));
            let now = UnixMicros(seconds * 1_000_000);
            let date = amz_date(now);
            let headers = [
                ("x-amzn-bedrock-trace", value.as_str()),
                ("host", "h.example"),
                ("content-type", "application/json"),
                ("x-amz-date", date.as_str()),
            ];
            let hash = hex::encode(Sha256::digest(&body));
            prop_assert_eq!(
                ours("POST", &path, &query, &headers, &hash, now),
                crates("POST", &path, &query, &headers, &hash, now)
            );
        }
    }

    #[test]
    fn a_date_is_written_as_aws_reads_it() {
        assert_eq!(amz_date(UnixMicros(1_440_938_160_000_000)), "20150830T123600Z");
        assert_eq!(amz_date(UnixMicros(1_798_761_599_999_999)), "20261231T235959Z");
    }

    #[test]
    fn a_key_is_derived_once_a_day_for_each_region_and_service() {
        let region: Region = "us-east-1".parse().unwrap();
        let mut keys = SigningKeys::default();
        for (day, service, count) in [(0, "a", 1), (0, "b", 2), (0, "a", 2), (1, "a", 1), (1, "b", 2)] {
            let now = UnixMicros(1_440_938_160_000_000 + day * 86_400_000_000);
            let headers = vec![("host", b"h.example".as_slice())];
            let request = Signable {
                method: "GET",
                path: "/",
                query: "",
                headers,
                body_sha256: "",
                region: &region,
                service,
                now,
            };
            let _ = keys.authorization("AKIDEXAMPLE", SECRET, request, &amz_date(now));
            assert_eq!((keys.count, keys.by_access_key["AKIDEXAMPLE"].len()), (count, count));
        }
    }

    #[test]
    fn the_signature_of_awss_own_example_comes_out() {
        // get-vanilla of AWS's SigV4 test suite, as documented with its example credentials.
        let now = UnixMicros(1_440_938_160_000_000);
        let region: Region = "us-east-1".parse().unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let request = Signable {
            method: "GET",
            path: "/",
            query: "",
            headers: vec![("x-amz-date", b"20150830T123600Z"), ("host", b"example.amazonaws.com")],
            body_sha256: empty,
            region: &region,
            service: "service",
            now,
        };
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let authorization =
            SigningKeys::default().authorization("AKIDEXAMPLE", secret, request, &amz_date(now));
        let expected = "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert!(authorization.ends_with(expected), "{authorization}");
    }
}
