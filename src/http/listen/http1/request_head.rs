//! The head of a request: read in the one way that cannot be misread, or refused. Pure.
//! <https://www.rfc-editor.org/rfc/rfc9112.html#section-3>

use std::mem::MaybeUninit;

use actix_http::header::{self, HeaderMap};
use actix_http::{Method, RequestHead, StatusCode, Uri, Version};
use bytes::Bytes;

use crate::http1::{BodyFraming, closes, copied_headers, declared_framing, in_copy, options};

/// A head larger than this is refused: 431.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// A head with more headers than this is refused: 431.
const MAX_HEADERS: usize = 96;

/// What a request's head says to the connection it came on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Where its body ends.
    pub(super) framing: BodyFraming,
    /// Whether nothing but a head may answer it.
    pub(super) is_head: bool,
    /// Whether the client understands chunks.
    pub(super) knows_chunks: bool,
    /// Whether the client wants to use the connection again.
    pub(super) keeps_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// A head that is not served, by the status that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) StatusCode);

/// Reads the head at the front of `received` into `into`, which is empty: what it asks for, and how many bytes it
/// took, or `None` where more must come.
///
/// # Errors
/// It is malformed, ambiguous or too large.
pub(super) fn read_request(
    received: &[u8],
    into: &mut RequestHead,
) -> Result<Option<(Asked, usize)>, Refused> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(received, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if received.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        Err(_) => return Err(Refused(StatusCode::BAD_REQUEST)),
    };
    let head = received.get(..length).unwrap_or_default();
    fill(&request, head, into).map(|asked| Some((asked, length)))
}

fn fill(request: &httparse::Request<'_, '_>, head: &[u8], into: &mut RequestHead) -> Result<Asked, Refused> {
    let malformed = Refused(StatusCode::BAD_REQUEST);
    if has_bare_line_feed(head) {
        return Err(malformed);
    }
    let copy = Bytes::copy_from_slice(head);
    let target = in_copy(&copy, head, request.path.unwrap_or_default().as_bytes());
    into.method = Method::from_bytes(request.method.unwrap_or_default().as_bytes()).map_err(|_| malformed)?;
    into.uri = Uri::from_maybe_shared(target).map_err(|_| malformed)?;
    let is_http_1_1 = request.version == Some(1);
    into.version = if is_http_1_1 { Version::HTTP_11 } else { Version::HTTP_10 };
    copied_headers(request.headers, head, &copy, &mut into.headers).map_err(|_| malformed)?;
    asked(into, is_http_1_1).ok_or(malformed)
}

/// httparse takes a lone line feed for the end of a line, and others may not.
fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head)
        .any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
}

/// `None` where the headers are ambiguous.
fn asked(head: &RequestHead, is_http_1_1: bool) -> Option<Asked> {
    let headers = &head.headers;
    let hosts = headers.get_all(header::HOST).take(2).count();
    if hosts > 1 || (is_http_1_1 && hosts == 0) {
        return None;
    }
    if !is_http_1_1 && headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let framing = declared_framing(headers).ok()?.unwrap_or(BodyFraming::Ended);
    let asks_to_keep = || options(headers).any(|option| option.eq_ignore_ascii_case("keep-alive"));
    let keeps_alive = !closes(headers) && !wants_websocket(headers) && (is_http_1_1 || asks_to_keep());
    Some(Asked {
        is_head: head.method == Method::HEAD,
        knows_chunks: is_http_1_1,
        keeps_alive,
        expects_continue: is_http_1_1 && !framing.has_ended() && expects_continue(headers),
        framing,
    })
}

/// What such a client sends next may be no HTTP, whatever it is answered.
fn wants_websocket(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .any(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// <https://www.rfc-editor.org/rfc/rfc9110.html#section-10.1.1>
fn expects_continue(headers: &HeaderMap) -> bool {
    let mut expectations =
        headers.get_all(header::EXPECT).flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    expectations.any(|expectation| expectation.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Option<(Asked, usize)>, Refused> {
        read_request(text.as_bytes(), &mut RequestHead::default())
    }

    fn asked_of(headers: &str) -> Result<Asked, Refused> {
        let text = format!("POST /a?b HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        read(&text).map(|found| {
            let (asked, length) = found.unwrap();
            assert_eq!(length, text.len());
            asked
        })
    }

    #[test]
    fn a_head_is_read_into_method_target_and_headers() {
        let text =
            "PUT /a%20b/?x=%2F HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nx-a:  two \r\nContent-Length: 3\r\n\r\nabc";
        let mut head = RequestHead::default();
        let (asked, length) = read_request(text.as_bytes(), &mut head).unwrap().unwrap();
        assert_eq!(&text[length..], "abc");
        assert_eq!(asked.framing, BodyFraming::Sized(3));
        assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("PUT", "/a%20b/?x=%2F"));
        let values: Vec<_> = head.headers.get_all("x-a").map(|value| value.as_bytes()).collect();
        assert_eq!(values, [b"1".as_slice(), b"two"]);
    }

    #[test]
    fn what_a_client_wants_of_the_connection_is_told_by_version_and_headers() {
        for (version, headers, keeps_alive, knows_chunks) in [
            ("1.1", "", true, true),
            ("1.1", "Connection: x, Close\r\n", false, true),
            ("1.1", "Connection: Upgrade\r\nUpgrade: WebSocket\r\n", false, true),
            ("1.0", "", false, false),
            ("1.0", "Connection: keep-alive\r\n", true, false),
            ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false, false),
        ] {
            let (asked, _) =
                read(&format!("GET / HTTP/{version}\r\nHost: h\r\n{headers}\r\n")).unwrap().unwrap();
            assert_eq!(
                (asked.keeps_alive, asked.knows_chunks),
                (keeps_alive, knows_chunks),
                "{version} {headers}"
            );
        }
        assert!(read("GET / HTTP/1.0\r\n\r\n").unwrap().is_some(), "HTTP/1.0 needs no Host");
    }

    #[test]
    fn continue_is_expected_only_where_a_body_follows() {
        assert!(asked_of("Expect: x, 100-Continue\r\nContent-Length: 1\r\n").unwrap().expects_continue);
        assert!(!asked_of("Expect: 100-continue\r\nContent-Length: 0\r\n").unwrap().expects_continue);
        assert!(!asked_of("Content-Length: 1\r\n").unwrap().expects_continue);
    }

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_refused() {
        for headers in [
            "Host: i\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X-A: 1\nX-B: 2\r\n",
            "X-A: 1\r\n folded\r\n",
            "X-A : 1\r\n",
        ] {
            assert_eq!(asked_of(headers), Err(Refused(StatusCode::BAD_REQUEST)), "{headers:?}");
        }
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / x HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
        ] {
            assert_eq!(read(text), Err(Refused(StatusCode::BAD_REQUEST)), "{text:?}");
        }
    }

    #[test]
    fn too_many_headers_and_too_large_ones_are_refused_by_their_status() {
        let too_large = Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(asked_of(&"a: b\r\n".repeat(MAX_HEADERS)), Err(too_large));
        assert!(asked_of(&"a: b\r\n".repeat(MAX_HEADERS - 1)).is_ok());
        assert_eq!(read(&format!("GET / HTTP/1.1\r\na: {}", "a".repeat(MAX_HEAD_BYTES))), Err(too_large));
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for() {
        let whole = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(None), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_request(&bytes, &mut RequestHead::default());
            let _ = read_request(&[b"GET / HTTP/1.1\r\n", bytes.as_slice()].concat(), &mut RequestHead::default());
        }
    }
}
