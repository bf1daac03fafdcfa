//! Where an HTTP/1.1 body ends: by a length, in chunks, or with the connection. Pure; what is cut short is known to be
//! short.
//! <https://www.rfc-editor.org/rfc/rfc9112.html#section-6.3>

use bytes::Bytes;

/// A chunk-size line longer than this, extensions included, is refused.
const MAX_CHUNK_LINE_BYTES: usize = 1024;
/// Trailers longer than this, all together, are refused.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// The peer does not speak HTTP/1.1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed HTTP/1.1: {0}")]
pub struct Malformed(pub &'static str);

/// Where in its body a message is.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// So many bytes are left.
    Sized(u64),
    /// A chunk-size line; what came of it, where it came in pieces.
    ChunkSize(Vec<u8>),
    /// So many bytes of the chunk are left.
    ChunkData(u64),
    /// The line break after a chunk: so many bytes of it have come.
    ChunkEnd(usize),
    /// After the last chunk.
    Trailers {
        /// Bytes of the line that is not over yet.
        line: usize,
        /// The last one of them.
        last: u8,
        /// Bytes of all lines.
        all: usize,
    },
    /// All that comes until the connection ends.
    UntilClose,
    /// Nothing follows.
    Ended,
    /// What came was no body: what follows cannot be told from it.
    Broken,
}

impl BodyFraming {
    /// A body in chunks, at its beginning.
    pub fn chunked() -> Self {
        Self::ChunkSize(Vec::new())
    }

    /// Whether all of the body has come.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended | Self::Sized(0))
    }

    /// Whether the connection may end here without cutting the body short.
    pub fn may_end_here(&self) -> bool {
        self.has_ended() || matches!(self, Self::UntilClose)
    }

    /// Takes the next bytes of the body from the front of what was received, as a part of it, not a copy. `None`: more
    /// must come, or the body has ended.
    ///
    /// # Errors
    /// What was received is no body of this kind.
    pub fn take_data(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        let taken = self.take(received);
        if taken.is_err() {
            *self = Self::Broken;
        }
        taken
    }

    fn take(&mut self, received: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        while !received.is_empty() {
            match self {
                Self::Ended | Self::Sized(0) => return Ok(None),
                Self::Broken => return Err(Malformed("what follows a malformed body")),
                Self::UntilClose => return Ok(Some(std::mem::take(received))),
                Self::Sized(left) => return Ok(Some(up_to(left, received))),
                Self::ChunkData(left) => {
                    let data = up_to(left, received);
                    if *left == 0 {
                        *self = Self::ChunkEnd(0);
                    }
                    return Ok(Some(data));
                }
                Self::ChunkSize(_) => self.read_size(received)?,
                Self::ChunkEnd(_) => self.read_chunk_end(received)?,
                Self::Trailers { .. } => self.read_trailers(received)?,
            }
        }
        Ok(None)
    }

    fn read_size(&mut self, received: &mut Bytes) -> Result<(), Malformed> {
        let Self::ChunkSize(line) = self else { return Ok(()) };
        let end = memchr::memchr(b'\n', received).map(|at| at + 1);
        let taken = end.unwrap_or(received.len());
        if line.len() + taken > MAX_CHUNK_LINE_BYTES {
            return Err(Malformed("chunk size line too long"));
        }
        let now = received.split_to(taken);
        // Mostly the whole line is there at once, and nothing is copied.
        let is_whole_at_once = line.is_empty() && end.is_some();
        if !is_whole_at_once {
            line.extend_from_slice(&now);
        }
        if end.is_some() {
            *self = match chunk_size(if is_whole_at_once { &now } else { line })? {
                0 => Self::Trailers { line: 0, last: 0, all: 0 },
                size => Self::ChunkData(size),
            };
        }
        Ok(())
    }

    fn read_chunk_end(&mut self, received: &mut Bytes) -> Result<(), Malformed> {
        let Self::ChunkEnd(seen) = self else { return Ok(()) };
        if b"\r\n".get(*seen) != received.first() {
            return Err(Malformed("a chunk longer than its size"));
        }
        drop(received.split_to(1));
        *seen += 1;
        if *seen == 2 {
            *self = Self::chunked();
        }
        Ok(())
    }

    fn read_trailers(&mut self, received: &mut Bytes) -> Result<(), Malformed> {
        let Self::Trailers { line, last, all } = self else { return Ok(()) };
        let end = memchr::memchr(b'\n', received);
        let now = received.split_to(end.map_or(received.len(), |at| at + 1));
        *all += now.len();
        if *all > MAX_TRAILER_BYTES {
            return Err(Malformed("trailers too long"));
        }
        let Some(at) = end else {
            *line += now.len();
            *last = now.last().copied().unwrap_or(*last);
            return Ok(());
        };
        let before = at.checked_sub(1).and_then(|before| now.get(before)).copied().unwrap_or(*last);
        if before != b'\r' {
            return Err(Malformed("a trailer that ends with a lone line feed"));
        }
        // An empty line is `\r\n`.
        let is_last_line = *line + at == 1;
        (*line, *last) = (0, 0);
        if is_last_line {
            *self = Self::Ended;
        }
        Ok(())
    }
}

/// The front of what was received, as far as it is left to come.
fn up_to(left: &mut u64, received: &mut Bytes) -> Bytes {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(received.len());
    *left -= taken as u64;
    received.split_to(taken)
}

/// `1a2b;extension\r\n`.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let malformed = Malformed("chunk size");
    let Some(line) = line.strip_suffix(b"\r\n") else { return Err(malformed) };
    let length = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at_checked(length).unwrap_or((line, &[]));
    let spaces = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let extension = extension.get(spaces..).unwrap_or_default();
    let is_extension = extension.is_empty() || extension.starts_with(b";");
    let is_text = extension.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    let Some(digits) = std::str::from_utf8(digits).ok().filter(|_| is_extension && is_text) else {
        return Err(malformed);
    };
    u64::from_str_radix(digits, 16).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNKED: &[u8] = b"5;x=y\r\nhello\r\n1\r\n0\r\n0\r\nDigest: a\r\n\r\n";

    /// The body's data, and the framing afterwards.
    fn read(mut framing: BodyFraming, pieces: &[&[u8]]) -> Result<(Vec<u8>, BodyFraming), Malformed> {
        let mut data = Vec::new();
        for piece in pieces {
            let mut received = Bytes::copy_from_slice(piece);
            while let Some(part) = framing.take_data(&mut received)? {
                assert!(!part.is_empty());
                data.extend_from_slice(&part);
            }
        }
        Ok((data, framing))
    }

    #[test]
    fn every_truncation_is_seen_and_only_the_whole_is_whole() {
        for cut in 0..CHUNKED.len() {
            let (_, framing) = read(BodyFraming::chunked(), &[&CHUNKED[..cut]]).unwrap();
            assert!(!framing.may_end_here(), "cut at {cut}");
        }
        let (data, framing) = read(BodyFraming::chunked(), &[CHUNKED]).unwrap();
        assert_eq!((data.as_slice(), framing.has_ended()), (b"hello0".as_slice(), true));
        for cut in 0..5 {
            assert!(!read(BodyFraming::Sized(5), &[&b"hello"[..cut]]).unwrap().1.may_end_here());
        }
        assert!(read(BodyFraming::Sized(5), &[b"hel", b"lo"]).unwrap().1.has_ended());
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let (data, framing) = read(BodyFraming::UntilClose, &[b"so", b"me"]).unwrap();
        assert_eq!(data, b"some");
        assert!(framing.may_end_here() && !framing.has_ended());
    }

    #[test]
    fn what_follows_the_body_is_left() {
        for (mut framing, body) in [(BodyFraming::chunked(), CHUNKED), (BodyFraming::Sized(2), b"ab")] {
            let mut received = Bytes::from([body, b"HTTP"].concat());
            while framing.take_data(&mut received).unwrap().is_some() {}
            assert!(framing.has_ended());
            assert_eq!(received.as_ref(), b"HTTP");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = format!("1;{}\r\n", "x".repeat(MAX_CHUNK_LINE_BYTES));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MAX_TRAILER_BYTES / 6 + 1));
        for body in
            ["x\r\n", "\r\n", "+5\r\nhello\r\n", "-1\r\n", "5\nhello", "fffffffffffffffff\r\n", "1\r\nab\r\n"]
                .into_iter()
                .chain(["5 12\r\nhello\r\n", "5;a\rb\r\n", "5\r;a\r\n", "5;\x0b\r\n"])
                .chain(["0\r\n\n", "0\r\nx\n", "0\r\na: b\n\r\n", "0\r\na: b\r\n\n"])
                .chain([long.as_str(), trailers.as_str()])
        {
            assert!(read(BodyFraming::chunked(), &[body.as_bytes()]).is_err(), "{body:.20?}");
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
            assert!(read(BodyFraming::chunked(), &pieces).is_err(), "{body:.20?} byte by byte");
        }
        for body in ["5 ;a=b\r\nhello\r\n0\r\n\r\n", "05\t\r\nhello\r\n00\r\na: b\r\n\r\n"] {
            assert!(read(BodyFraming::chunked(), &[body.as_bytes()]).unwrap().1.has_ended(), "{body:?}");
        }
    }

    #[test]
    fn after_what_is_no_chunk_nothing_is_a_body_any_more() {
        let mut framing = BodyFraming::chunked();
        let mut received = Bytes::from_static(b"x\r\n0\r\n\r\n");
        while !received.is_empty() {
            assert!(framing.take_data(&mut received).is_err());
            if framing == BodyFraming::Broken {
                break;
            }
        }
        assert!(framing.take_data(&mut received).is_err() && !framing.has_ended());
    }

    proptest! {
        #[test]
        fn the_cut_into_reads_does_not_matter(cuts in proptest::collection::vec(1usize..9, 1..60)) {
            let mut pieces = Vec::new();
            let mut rest = CHUNKED;
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                pieces.push(now);
                rest = later;
            }
            let (data, framing) = read(BodyFraming::chunked(), &pieces).unwrap();
            prop_assert!(b"hello0".starts_with(&data));
            prop_assert_eq!(framing.has_ended(), rest.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(BodyFraming::chunked(), &[&bytes]);
            let _ = read(BodyFraming::Trailers { line: 0, last: 0, all: 0 }, &[&bytes]);
        }
    }
}
