//! Which HTTP a plain connection speaks, told from its first bytes, which stay where they are: HTTP/1.1 pays one look
//! at a connection for it, and nothing at a request.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// What HTTP/2 with prior knowledge begins with; no method of HTTP/1.1 does.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How soon to look again where the preface came in part: bytes that were seen and not taken wake nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    /// It was closed before it said anything.
    Nothing,
}

/// Waits until it is clear; the caller bounds the wait.
///
/// # Errors
/// The connection broke.
pub(super) async fn peek(stream: &TcpStream) -> io::Result<Spoken> {
    let mut first = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        if let Some(spoken) = tell(first.get(..length).unwrap_or_default()) {
            return Ok(spoken);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// `None` while the bytes may become the preface.
fn tell(first: &[u8]) -> Option<Spoken> {
    match first {
        [] => Some(Spoken::Nothing),
        PREFACE => Some(Spoken::Http2),
        part if PREFACE.starts_with(part) => None,
        _ => Some(Spoken::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_preface_is_http2_and_the_first_other_byte_is_http1() {
        let cases: [(&[u8], Option<Spoken>); 10] = [
            (b"", Some(Spoken::Nothing)),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, Some(Spoken::Http2)),
            (b"PO", Some(Spoken::Http1)),
            (b"POST /bedrock HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", Some(Spoken::Http1)),
            (b"PRI * HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"G", Some(Spoken::Http1)),
            (b"\x16\x03\x01", Some(Spoken::Http1)),
        ];
        for (first, expected) in cases {
            assert_eq!(tell(first), expected, "{:?}", String::from_utf8_lossy(first));
        }
    }
}
