//! The canonical request of Signature Version 4, the text that both sides of a signature must agree on. Pure; used to
//! sign what goes to AWS and to check what clients signed.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::domain::lower_hex;

/// Room for most canonical requests; a session token takes more.
const USUAL_BYTES: usize = 1024;
/// Room for the names of most requests' signed headers.
const USUAL_NAMES_BYTES: usize = 128;

/// RFC 3986 unreserved characters stay.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path the slash stays too.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// A canonical request up to the hash of its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CanonicalHead {
    bytes: Vec<u8>,
    /// Names of the headers in it, `;` between them.
    pub(crate) signed_headers: String,
}

impl CanonicalHead {
    /// `path` and `query` are as they go over the wire, percent-encoded; `headers` are the signed ones, with
    /// lower-case names, in any order, values of one name in theirs.
    pub(crate) fn of(method: &str, path: &str, query: &str, mut headers: Vec<(&str, &[u8])>) -> Self {
        headers.sort_by_key(|(name, _)| *name);
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        for part in [method, &canonical_path(path), &canonical_query(query)] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(b'\n');
        }
        let mut signed_headers = String::with_capacity(USUAL_NAMES_BYTES);
        for group in headers.chunk_by(|(one, _), (next, _)| one == next) {
            let Some((name, _)) = group.first() else { continue };
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b':');
            for (index, (_, value)) in group.iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write_value(&mut bytes, value);
            }
            bytes.push(b'\n');
            if !signed_headers.is_empty() {
                signed_headers.push(';');
            }
            signed_headers.push_str(name);
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(signed_headers.as_bytes());
        bytes.push(b'\n');
        Self { bytes, signed_headers }
    }

    /// The SHA-256 of the whole canonical request, in lower-case hexadecimal.
    pub(crate) fn hash_with(&self, payload_hash: &str) -> String {
        lower_hex(&Sha256::new().chain_update(&self.bytes).chain_update(payload_hash).finalize())
    }
}

/// Every service but S3 encodes the path a second time and takes runs of slashes as one. Dot segments never
/// come this far.
fn canonical_path(path: &str) -> String {
    let mut single = String::with_capacity(path.len() + 16);
    if !path.starts_with('/') {
        single.push('/');
    }
    for part in utf8_percent_encode(path, PATH) {
        let has_run = part.contains("//") || (part.starts_with('/') && single.ends_with('/'));
        if !has_run {
            single.push_str(part);
            continue;
        }
        for character in part.chars() {
            if character != '/' || !single.ends_with('/') {
                single.push(character);
            }
        }
    }
    single
}

/// Each name and value decoded and encoded anew, sorted.
fn canonical_query(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let again = |text: &str| {
        let spaces = text.replace('+', " ");
        let decoded: Vec<u8> = percent_decode(spaces.as_bytes()).collect();
        percent_encode(&decoded, UNRESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (again(name), again(value)))
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Without spaces around, and runs of spaces inside as one.
fn write_value(bytes: &mut Vec<u8>, value: &[u8]) {
    if memchr::memchr(b' ', value).is_none() {
        return bytes.extend_from_slice(value);
    }
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            bytes.push(b' ');
        }
        bytes.extend_from_slice(word);
    }
}
