//! A client connection: writes prepared requests, reads answers, and believes nothing: a wrong status, a short
//! body or a broken frame is an error.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Options;
use crate::clock;
use crate::frames::stamp_of;
use crate::samples::Samples;

/// What is asked, the same each time.
pub struct Question {
    port: u16,
    bytes: Vec<u8>,
}

impl Question {
    /// From `port`, `path`, `key` and `body`.
    pub fn new(options: &Options) -> Self {
        let path = options.text("path").unwrap_or("/model/mock.unary/converse");
        let key = options.text("key").unwrap_or("sk-nobody");
        let text = "abcdefgh ".repeat(options.number("body", 500) / 9);
        let body = format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":[{{\"text\":\"{text}\"}}]}}],\"inferenceConfig\":{{\"maxTokens\":512}}}}"
        );
        let port = options.number("port", 0) as u16;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nAccept: application/json\r\nUser-Agent: bench-load\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self { port, bytes: [head.as_bytes(), body.as_bytes()].concat() }
    }
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer's head.
struct Head {
    length: Option<usize>,
    bytes: usize,
}

impl Connection {
    pub async fn open(question: &Question) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", question.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096) })
    }

    /// One request with a sized answer.
    pub async fn ask(&mut self, question: &Question) -> io::Result<()> {
        self.stream.write_all(&question.bytes).await?;
        self.received.clear();
        let head = self.head().await?;
        let Some(length) = head.length else { return Err(io::Error::other("the answer has no length")) };
        while self.received.len() < head.bytes + length {
            self.more().await?;
        }
        let is_whole = self.received.len() == head.bytes + length && self.received.ends_with(b"}");
        if is_whole { Ok(()) } else { Err(io::Error::other("the answer is not what was expected")) }
    }

    /// One request with a streamed answer: notes the time to the first byte, and each stamped frame's way.
    /// Returns the number of frames.
    pub async fn stream(&mut self, question: &Question, seen: &mut Seen) -> io::Result<usize> {
        let asked = clock::now();
        self.stream.write_all(&question.bytes).await?;
        self.received.clear();
        let head = self.head().await?;
        seen.first_byte.add(clock::now() - asked);
        if head.length.is_some() {
            return Err(io::Error::other("the stream has a length"));
        }
        self.received.drain(..head.bytes);
        let (mut body, mut frames) = (Vec::new(), 0);
        loop {
            let now = clock::now();
            let is_over = self.take_chunks(&mut body)?;
            frames += seen.take_frames(&mut body, now);
            if is_over {
                break;
            }
            self.more().await?;
        }
        if body.is_empty() { Ok(frames) } else { Err(io::Error::other("the stream ends within a frame")) }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn head(&mut self) -> io::Result<Head> {
        let bytes = loop {
            if let Some(at) = memchr::memmem::find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.received[..bytes]).map_err(io::Error::other)?;
        if !text.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&self.received).into_owned()));
        }
        let length = text
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        Ok(Head { length, bytes })
    }

    /// Moves whole chunks to `body`; says whether the last one was there.
    fn take_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let mut at = 0;
        let mut is_over = false;
        while let Some(line) = memchr::memmem::find(&self.received[at..], b"\r\n") {
            let size = std::str::from_utf8(&self.received[at..at + line])
                .ok()
                .and_then(|text| usize::from_str_radix(text, 16).ok())
                .ok_or_else(|| io::Error::other("no chunk size"))?;
            let data = at + line + 2;
            let Some(chunk) = self.received.get(data..data + size + 2) else { break };
            body.extend_from_slice(&chunk[..size]);
            at = data + size + 2;
            if size == 0 {
                is_over = true;
                break;
            }
        }
        self.received.drain(..at);
        Ok(is_over)
    }
}

/// What streams showed.
#[derive(Default)]
pub struct Seen {
    pub first_byte: Samples,
    pub transit: Samples,
}

impl Seen {
    /// Takes whole frames off the front.
    fn take_frames(&mut self, body: &mut Vec<u8>, now: u64) -> usize {
        let (mut at, mut frames) = (0, 0);
        while let Some(prelude) = body.get(at..at + 4) {
            let length = u32::from_be_bytes(prelude.try_into().expect("four bytes")) as usize;
            let Some(frame) = body.get(at..at + length) else { break };
            if let Some(stamp) = stamp_of(frame) {
                self.transit.add(now.saturating_sub(stamp));
            }
            at += length;
            frames += 1;
        }
        body.drain(..at);
        frames
    }
}
