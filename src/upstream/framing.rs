//! Follows the framing of HTTP/1.1 responses on a connection, so that a response which ends short is known to
//! be short. awc alone reports several of these as a clean end.
//! <https://www.rfc-editor.org/rfc/rfc9112.html#section-6.3>

/// A response head larger than this is refused.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// A response with more headers than this is refused.
const MAX_HEADERS: usize = 128;
/// A chunk-size line longer than this is refused.
const MAX_CHUNK_LINE_BYTES: usize = 1024;

/// Where in a response a connection is.
#[derive(Debug)]
pub(super) struct ResponseFraming {
    state: State,
    request_was_head: bool,
}

#[derive(Debug)]
enum State {
    /// Between exchanges.
    Idle,
    Head(Vec<u8>),
    Sized(u64),
    ChunkSize {
        line: Vec<u8>,
    },
    ChunkData(u64),
    ChunkEnd,
    Trailers {
        line_bytes: usize,
    },
    UntilClose,
}

/// The peer does not speak HTTP/1.1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed response: {0}")]
pub(super) struct Malformed(&'static str);

impl ResponseFraming {
    pub(super) fn new() -> Self {
        Self { state: State::Idle, request_was_head: false }
    }

    /// The first bytes of a request, or more of its body, are sent.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Idle) && !bytes.is_empty() {
            self.request_was_head = bytes.starts_with(b"HEAD ");
            self.state = State::Head(Vec::new());
        }
    }

    /// Whether the peer may close the connection now without cutting a response short.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Idle | State::UntilClose)
    }

    /// Bytes arrived.
    ///
    /// # Errors
    /// They are no HTTP/1.1 response.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let taken = self.step(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            // Bytes outside of any exchange are awc's to judge.
            if taken == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let request_was_head = self.request_was_head;
        match &mut self.state {
            State::Idle | State::UntilClose => Ok(0),
            // Mostly the whole head is there at once, and nothing is copied.
            State::Head(head)
                if head.is_empty()
                    && let Some(end) = end_of_head(bytes) =>
            {
                self.state = after_head(bytes.get(..end).unwrap_or_default(), request_was_head)?;
                Ok(end)
            }
            State::Head(_) => self.gather_head(bytes),
            State::Sized(left) | State::ChunkData(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state =
                        if matches!(self.state, State::Sized(_)) { State::Idle } else { State::ChunkEnd };
                }
                Ok(taken)
            }
            State::ChunkSize { line } => {
                let end = memchr::memchr(b'\n', bytes);
                let taken = end.map_or(bytes.len(), |at| at + 1);
                let more = bytes.get(..taken).unwrap_or_default();
                if line.len() + more.len() > MAX_CHUNK_LINE_BYTES {
                    return Err(Malformed("chunk size line too long"));
                }
                let is_whole_at_once = line.is_empty() && end.is_some();
                if !is_whole_at_once {
                    line.extend_from_slice(more);
                }
                if end.is_some() {
                    self.state = match chunk_size(if is_whole_at_once { more } else { line })? {
                        0 => State::Trailers { line_bytes: 0 },
                        size => State::ChunkData(size),
                    };
                }
                Ok(taken)
            }
            State::ChunkEnd => {
                let end = memchr::memchr(b'\n', bytes);
                if end.is_some() {
                    self.state = State::ChunkSize { line: Vec::new() };
                }
                Ok(end.map_or(bytes.len(), |at| at + 1))
            }
            State::Trailers { line_bytes } => {
                let Some(at) = memchr::memchr(b'\n', bytes) else {
                    *line_bytes += bytes.len();
                    return Ok(bytes.len());
                };
                let is_empty_line = *line_bytes + at <= 1;
                self.state = if is_empty_line { State::Idle } else { State::Trailers { line_bytes: 0 } };
                Ok(at + 1)
            }
        }
    }
}

impl ResponseFraming {
    /// A head that comes in pieces.
    fn gather_head(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let State::Head(head) = &mut self.state else { return Ok(0) };
        let before = head.len();
        let from = before.saturating_sub(3);
        head.extend_from_slice(bytes);
        let Some(length) = end_of_head(head.get(from..).unwrap_or_default()) else {
            return if head.len() > MAX_HEAD_BYTES {
                Err(Malformed("head too large"))
            } else {
                Ok(bytes.len())
            };
        };
        let end = from + length;
        head.truncate(end);
        self.state = after_head(head, self.request_was_head)?;
        Ok(end - before)
    }
}

/// How long the head is, its empty line included, if all of it is there.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes)
        .find(|at| at.checked_sub(3).and_then(|from| bytes.get(from..=*at)) == Some(b"\r\n\r\n"))
        .map(|at| at + 1)
}

fn after_head(head: &[u8], request_was_head: bool) -> Result<State, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|_| Malformed("head"))?;
    let status = response.code.unwrap_or_default();
    if (100..200).contains(&status) && status != 101 {
        return Ok(State::Head(Vec::new()));
    }
    if request_was_head || status == 204 || status == 304 {
        return Ok(State::Idle);
    }
    let value =
        |name: &str| response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if let Some(coding) = value("transfer-encoding") {
        let is_chunked = coding.to_ascii_lowercase().ends_with(b"chunked");
        return Ok(if is_chunked { State::ChunkSize { line: Vec::new() } } else { State::UntilClose });
    }
    match value("content-length") {
        None => Ok(State::UntilClose),
        Some(length) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.trim().parse().ok());
            match length.ok_or(Malformed("content-length"))? {
                0 => Ok(State::Idle),
                length => Ok(State::Sized(length)),
            }
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits =
        line.split(|byte| matches!(byte, b';' | b'\r' | b'\n' | b' ' | b'\t')).next().unwrap_or_default();
    let digits = std::str::from_utf8(digits).map_err(|_| Malformed("chunk size"))?;
    u64::from_str_radix(digits, 16).map_err(|_| Malformed("chunk size"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n0\r\n0\r\nDigest: a\r\n\r\n";
    const SIZED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

    fn may_end_after(request: &[u8], response: &[u8]) -> bool {
        let mut framing = ResponseFraming::new();
        framing.sent(request);
        framing.received(response).unwrap();
        framing.may_end()
    }

    #[test]
    fn every_truncation_is_seen_and_only_the_whole_is_whole() {
        for whole in [CHUNKED, SIZED] {
            for cut in 0..whole.len() {
                assert!(!may_end_after(b"POST / HTTP/1.1", &whole[..cut]), "cut at {cut}");
            }
            assert!(may_end_after(b"POST / HTTP/1.1", whole));
        }
    }

    #[test]
    fn answers_without_a_body_end_with_their_head() {
        for (request, response) in [
            ("HEAD / HTTP/1.1", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            ("DELETE / HTTP/1.1", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET / HTTP/1.1", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ] {
            assert!(may_end_after(request.as_bytes(), response.as_bytes()), "{request}");
        }
    }

    #[test]
    fn a_response_with_no_length_ends_when_the_connection_does() {
        assert!(may_end_after(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK\r\n\r\nsome"));
    }

    proptest! {
        #[test]
        fn the_cut_into_reads_does_not_matter(cuts in proptest::collection::vec(1usize..9, 1..60), chunked: bool) {
            let whole = if chunked { CHUNKED } else { SIZED };
            let mut framing = ResponseFraming::new();
            framing.sent(b"POST / HTTP/1.1");
            let mut rest = whole;
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                framing.received(now).unwrap();
                rest = later;
                prop_assert_eq!(framing.may_end(), rest.is_empty());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut framing = ResponseFraming::new();
            framing.sent(b"POST / HTTP/1.1");
            let _ = framing.received(&bytes);
        }
    }
}
