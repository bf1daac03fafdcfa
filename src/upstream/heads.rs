//! Heads of HTTP/1.1 messages: a request's is written, a response's is read.
//! <https://www.rfc-editor.org/rfc/rfc9112.html>

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_http::{RequestHead, StatusCode};
use bytes::Bytes;

use super::framing::{BodyFraming, Malformed};

/// A response head larger than this is refused.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// A response with more headers than this is refused.
const MAX_HEADERS: usize = 128;

/// Writes a request's head; `length` is that of its body, if it has one.
pub(super) fn write_request(bytes: &mut Vec<u8>, head: &RequestHead, length: Option<usize>) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    if let Some(length) = length {
        write_header(bytes, "content-length", length.to_string().as_bytes());
    }
    for (name, value) in &head.headers {
        write_header(bytes, name.as_str(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
}

fn write_header(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        bytes.extend_from_slice(part);
    }
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
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(rest).map_err(|_| Malformed("head"))?;
        let httparse::Status::Complete(length) = parsed else {
            return if rest.len() > MAX_HEAD_BYTES { Err(Malformed("head too large")) } else { Ok(None) };
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
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed("header name"))?;
        let value = HeaderValue::from_maybe_shared(in_copy(&copy, head, header.value));
        headers.append(name, value.map_err(|_| Malformed("header value"))?);
    }
    let has_no_body = request_was_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = if has_no_body { BodyFraming::Ended } else { framing_of(&headers)? };
    let closes = headers.get_all(header::CONNECTION).any(|value| {
        let options = value.to_str().unwrap_or("close");
        options.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    });
    let keeps_alive = response.version == Some(1) && !closes && framing != BodyFraming::UntilClose;
    Ok(ResponseStart { status, headers, framing, keeps_alive })
}

/// What the headers say about the body's end. Where they contradict themselves, the response is refused: it could be
/// another one to somebody else.
fn framing_of(headers: &HeaderMap) -> Result<BodyFraming, Malformed> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING);
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        let is_alone = codings.next().is_none() && !headers.contains_key(header::CONTENT_LENGTH);
        if !(is_chunked && is_alone) {
            return Err(Malformed("transfer-encoding"));
        }
        return Ok(BodyFraming::chunked());
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH);
    let Some(length) = lengths.next() else { return Ok(BodyFraming::UntilClose) };
    let digits = length.to_str().map_or("", str::trim);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(length) if is_number && lengths.next().is_none() => Ok(BodyFraming::Sized(length)),
        _ => Err(Malformed("content-length")),
    }
}

/// A part of some bytes as the same part of their copy.
fn in_copy(copy: &Bytes, original: &[u8], part: &[u8]) -> Bytes {
    let start = (part.as_ptr() as usize).saturating_sub(original.as_ptr() as usize);
    let end = start.saturating_add(part.len());
    if end <= copy.len() { copy.slice(start..end) } else { Bytes::copy_from_slice(part) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start(text: &str) -> ResponseStart {
        let (start, length) = read_response(text.as_bytes(), false).unwrap().unwrap();
        assert_eq!(length, text.len(), "{text}");
        start
    }

    #[test]
    fn a_request_is_written_line_by_line() {
        let mut head = RequestHead::default();
        head.uri = "http://h.example/a%20b?c=d".parse().unwrap();
        head.method = actix_http::Method::POST;
        head.headers.insert(header::HOST, HeaderValue::from_static("h.example"));
        let mut bytes = Vec::new();
        write_request(&mut bytes, &head, Some(3));
        let expected = "POST /a%20b?c=d HTTP/1.1\r\ncontent-length: 3\r\nhost: h.example\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
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
