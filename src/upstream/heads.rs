//! Heads of HTTP/1.1 messages: a request's is written, a response's is read.
//! <https://www.rfc-editor.org/rfc/rfc9112.html>

use std::mem::MaybeUninit;

use actix_http::StatusCode;
use actix_http::header::HeaderMap;
use bytes::{Bytes, BytesMut};

use crate::http1::{BodyFraming, Malformed, closes, copied_headers, declared_framing, write_header};
use crate::sign::UpstreamHead;

/// A response head larger than this is refused.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// A response with more headers than this is refused.
const MAX_HEADERS: usize = 128;

/// Room in the map of a response's headers for those that bedgate adds before it goes on to the client, so that the map
/// need not grow: growing moves all of it.
const ROOM_FOR_OWN: usize = 8;

/// Says that the answer is wanted as it is: whoever says nothing takes any coding.
/// <https://www.rfc-editor.org/rfc/rfc9110.html#section-12.5.3>
const AS_IT_IS: &[u8] = b"accept-encoding: identity\r\n";

/// Writes a request's head; `length` is that of its body, if it has one.
pub(super) fn write_request(bytes: &mut BytesMut, head: &UpstreamHead, length: Option<usize>) {
    let (mark, query) = if head.query.is_empty() { ("", "") } else { ("?", head.query.as_str()) };
    for part in [head.method.as_str(), " ", &head.path, mark, query, " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    if let Some(length) = length {
        write_header(bytes, "content-length", length.to_string().as_bytes());
    }
    for (name, value) in &head.headers {
        write_header(bytes, name.as_str(), value.as_bytes());
    }
    bytes.extend_from_slice(AS_IT_IS);
    bytes.extend_from_slice(b"\r\n");
}

/// A response's head.
#[derive(Debug)]
pub(super) struct ResponseStart {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: BodyFraming,
    /// Whether the connection may be used again after the body.
    pub(super) keeps_alive: bool,
}

/// Reads the response head at the front of `received`, informational ones (`100 Continue`) passed over: the head and
/// how many bytes it took, or `None` where more must come.
///
/// # Errors
/// The bytes are no HTTP/1.1 response.
pub(super) fn read_response(
    received: &[u8],
    request_was_head: bool,
) -> Result<Option<(ResponseStart, usize)>, Malformed> {
    let mut start = 0;
    loop {
        let rest = received.get(start..).unwrap_or_default();
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let parsed = parser.parse_response_with_uninit_headers(&mut response, rest, &mut headers);
        let parsed = parsed.map_err(|_| Malformed("head"))?;
        let httparse::Status::Complete(length) = parsed else {
            // Informational heads count, too: there may be any number of them.
            return if received.len() > MAX_HEAD_BYTES { Err(Malformed("head too large")) } else { Ok(None) };
        };
        let status = StatusCode::from_u16(response.code.unwrap_or_default());
        let status = status.map_err(|_| Malformed("status"))?;
        start += length;
        if !status.is_informational() {
            let head = rest.get(..length).unwrap_or_default();
            return response_start(&response, head, status, request_was_head).map(|head| Some((head, start)));
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Malformed("another protocol, which nobody asked for"));
        }
    }
}

fn response_start(
    response: &httparse::Response<'_, '_>,
    head: &[u8],
    status: StatusCode,
    request_was_head: bool,
) -> Result<ResponseStart, Malformed> {
    // The values are parts of one copy, so that they hold nothing else of what was received in memory.
    let copy = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(response.headers.len() + ROOM_FOR_OWN);
    copied_headers(response.headers, head, &copy, &mut headers)?;
    let has_no_body = request_was_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = if has_no_body {
        BodyFraming::Ended
    } else {
        declared_framing(&headers)?.unwrap_or(BodyFraming::UntilClose)
    };
    let keeps_alive = response.version == Some(1) && !closes(&headers) && framing != BodyFraming::UntilClose;
    Ok(ResponseStart { status, headers, framing, keeps_alive })
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn start(text: &str) -> ResponseStart {
        let (start, length) = read_response(text.as_bytes(), false).unwrap().unwrap();
        assert_eq!(length, text.len(), "{text}");
        start
    }

    #[test]
    fn the_headers_tell_where_the_body_ends() {
        for (headers, expected) in [
            ("content-length: 5\r\n", BodyFraming::Sized(5)),
            ("Transfer-Encoding: Chunked\r\n", BodyFraming::chunked()),
            ("", BodyFraming::UntilClose),
        ] {
            assert_eq!(start(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).framing, expected, "{headers}");
        }
        for status in ["204 No Content", "304 Not Modified"] {
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(start(&text).framing, BodyFraming::Ended);
        }
        let of_head = read_response(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true).unwrap().unwrap();
        assert_eq!(of_head.0.framing, BodyFraming::Ended);
    }

    #[test]
    fn values_of_one_name_and_bytes_beyond_ascii_stay() {
        let text = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=é\r\ncontent-length: 0\r\n\r\n";
        let found = start(text);
        let cookies: Vec<_> = found.headers.get_all("set-cookie").map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, [b"a=1".as_slice(), "b=é".as_bytes()]);
        assert!(found.framing.has_ended());
    }

    #[test]
    fn a_connection_is_kept_unless_the_response_says_otherwise() {
        for (version, headers, expected) in [
            ("1.1", "content-length: 1\r\n", true),
            ("1.1", "content-length: 1\r\nConnection: keep-alive, Close\r\n", false),
            ("1.0", "content-length: 1\r\n", false),
            ("1.1", "", false),
        ] {
            let found = start(&format!("HTTP/{version} 200 OK\r\n{headers}\r\n"));
            assert_eq!(found.keeps_alive, expected, "{version} {headers}");
        }
    }

    #[test]
    fn informational_responses_are_passed_over() {
        let found = start(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        );
        assert_eq!(found.status, StatusCode::OK);
        assert!(found.headers.is_empty());
    }

    #[test]
    fn responses_that_contradict_themselves_are_refused() {
        for headers in [
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: +5\r\n",
            "content-length: five\r\n",
            "content-length:\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            assert!(read_response(text.as_bytes(), false).is_err(), "{headers}");
        }
        assert!(read_response(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", false).is_err());
        assert!(read_response(b"SSH-2.0-OpenSSH\r\n", false).is_err());
        let endless = format!("HTTP/1.1 200 OK\r\na: {}", "a".repeat(MAX_HEAD_BYTES));
        assert!(read_response(endless.as_bytes(), false).is_err());
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for() {
        let whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        for cut in 0..whole.len() {
            assert!(read_response(&whole[..cut], false).unwrap().is_none(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_response(&bytes, false);
            let _ = read_response(&[b"HTTP/1.1 200 OK\r\n", bytes.as_slice()].concat(), false);
        }
    }
}
