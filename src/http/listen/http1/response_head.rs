//! The head of an answer, and how the body behind it is framed. Pure.
//! <https://www.rfc-editor.org/rfc/rfc9112.html#section-6>

use actix_http::body::BodySize;
use actix_http::header;
use actix_http::{ConnectionType, ResponseHead, StatusCode};

use super::request_head::Asked;
use crate::http1::{closes, write_header};

/// Where a body ends for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// After so many bytes more.
    Sized(u64),
    /// With an empty chunk.
    Chunked,
    /// With the connection: the client understands nothing else.
    UntilClose,
}

impl Encoding {
    /// Whether nothing is left to send.
    pub(super) fn is_over(self) -> bool {
        self == Self::Sized(0)
    }
}

/// Writes the head of an answer whose body has this size; says how the body is to be encoded, and whether the connection
/// can be used again, which `keeps_alive` allows.
pub(super) fn write_response(
    bytes: &mut Vec<u8>,
    head: &ResponseHead,
    size: BodySize,
    asked: &Asked,
    keeps_alive: bool,
    date: &[u8],
) -> (Encoding, bool) {
    for part in [b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", head.reason().as_bytes(), b"\r\n"] {
        bytes.extend_from_slice(part);
    }
    let has_no_body = asked.is_head || is_bodiless(head.status);
    let encoding = match size {
        _ if has_no_body => Encoding::Sized(0),
        BodySize::None => Encoding::Sized(0),
        BodySize::Sized(length) => Encoding::Sized(length),
        BodySize::Stream if asked.knows_chunks => Encoding::Chunked,
        BodySize::Stream => Encoding::UntilClose,
    };
    let closes = head.connection_type() == ConnectionType::Close || closes(&head.headers);
    let keeps_alive = keeps_alive && encoding != Encoding::UntilClose && !closes;
    write_length(bytes, head, size, encoding, has_no_body);
    match (keeps_alive, asked.knows_chunks) {
        (false, true) => write_header(bytes, "connection", b"close"),
        (true, false) => write_header(bytes, "connection", b"keep-alive"),
        _ => {}
    }
    let mut has_date = false;
    for (name, value) in &head.headers {
        has_date |= name == header::DATE;
        let is_of_the_connection =
            matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::CONTENT_LENGTH);
        if !is_of_the_connection {
            write_header(bytes, name.as_str(), value.as_bytes());
        }
    }
    if !has_date {
        write_header(bytes, "date", date);
    }
    bytes.extend_from_slice(b"\r\n");
    (encoding, keeps_alive)
}

/// <https://www.rfc-editor.org/rfc/rfc9110.html#section-6.4.1>
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// How long the body is; where only the head is sent, what the handler said of it.
fn write_length(
    bytes: &mut Vec<u8>,
    head: &ResponseHead,
    size: BodySize,
    encoding: Encoding,
    has_no_body: bool,
) {
    if has_no_body {
        let stated = head.headers.get(header::CONTENT_LENGTH);
        match (stated, size) {
            _ if head.status == StatusCode::NO_CONTENT || head.status.is_informational() => {}
            (Some(length), _) => write_header(bytes, "content-length", length.as_bytes()),
            (None, BodySize::Sized(length)) if head.status != StatusCode::NOT_MODIFIED => {
                write_header(bytes, "content-length", length.to_string().as_bytes());
            }
            _ => {}
        }
        return;
    }
    match encoding {
        Encoding::Sized(length) => write_header(bytes, "content-length", length.to_string().as_bytes()),
        Encoding::Chunked => write_header(bytes, "transfer-encoding", b"chunked"),
        Encoding::UntilClose => {}
    }
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;
    use crate::http1::BodyFraming;

    fn asked(is_head: bool, knows_chunks: bool) -> Asked {
        Asked {
            framing: BodyFraming::Ended,
            is_head,
            knows_chunks,
            keeps_alive: true,
            expects_continue: false,
        }
    }

    /// The header lines that are written, and what is said of body and connection.
    fn written(status: u16, size: BodySize, asked: &Asked, stated: Option<&str>) -> (String, Encoding, bool) {
        let mut head = ResponseHead::new(StatusCode::from_u16(status).unwrap());
        if let Some(length) = stated {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_str(length).unwrap());
        }
        let mut bytes = Vec::new();
        let (encoding, keeps_alive) = write_response(&mut bytes, &head, size, asked, true, b"today");
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.strip_suffix("date: today\r\n\r\n").unwrap();
        (lines.split_once("\r\n").unwrap().1.trim_end().to_owned(), encoding, keeps_alive)
    }

    #[test]
    fn the_length_is_told_in_the_way_the_client_understands() {
        let (new, old) = (asked(false, true), asked(false, false));
        for (size, asked, lines, encoding, keeps_alive) in [
            (BodySize::Sized(5), &new, "content-length: 5", Encoding::Sized(5), true),
            (BodySize::None, &new, "content-length: 0", Encoding::Sized(0), true),
            (BodySize::Stream, &new, "transfer-encoding: chunked", Encoding::Chunked, true),
            (
                BodySize::Sized(5),
                &old,
                "content-length: 5\r\nconnection: keep-alive",
                Encoding::Sized(5),
                true,
            ),
            (BodySize::Stream, &old, "", Encoding::UntilClose, false),
        ] {
            assert_eq!(
                written(200, size, asked, None),
                (lines.to_owned(), encoding, keeps_alive),
                "{size:?}"
            );
        }
    }

    #[test]
    fn an_answer_without_a_body_says_how_long_it_would_be_where_it_may() {
        let (get, head) = (asked(false, true), asked(true, true));
        for (status, size, asked, stated, lines) in [
            (200, BodySize::Stream, &head, None, ""),
            (200, BodySize::Sized(0), &head, Some("7"), "content-length: 7"),
            (200, BodySize::Sized(7), &head, None, "content-length: 7"),
            (204, BodySize::Sized(0), &get, None, ""),
            (304, BodySize::Sized(0), &get, Some("7"), "content-length: 7"),
            (304, BodySize::Sized(0), &get, None, ""),
        ] {
            let found = written(status, size, asked, stated);
            assert_eq!(found, (lines.to_owned(), Encoding::Sized(0), true), "{status} {size:?}");
        }
    }

    #[test]
    fn what_a_handler_says_of_the_connection_is_written_once_and_kept_to() {
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        head.headers.append(header::SET_COOKIE, HeaderValue::from_static("a"));
        head.headers.append(header::SET_COOKIE, HeaderValue::from_static("b"));
        head.headers.insert(header::DATE, HeaderValue::from_static("then"));
        let mut bytes = Vec::new();
        let size = BodySize::Sized(1);
        let (_, keeps_alive) = write_response(&mut bytes, &head, size, &asked(false, true), true, b"today");
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.remove(0), "HTTP/1.1 200 OK");
        lines.sort_unstable();
        let expected =
            ["", "connection: close", "content-length: 1", "date: then", "set-cookie: a", "set-cookie: b"];
        assert_eq!(lines, expected);
        assert!(!keeps_alive);
    }
}
