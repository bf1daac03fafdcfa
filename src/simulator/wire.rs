//! One HTTP/1.1 connection with the socket in hand: heads and bodies in, and out again at a pace, whole or cut.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

mod incoming;
mod outgoing;

pub(super) use incoming::ReadError;

/// The largest request head that is read, in bytes; also how much is read ahead while an answer leaves.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A connection and what was read of it ahead.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(8 * 1024) })
    }

    /// Silence during which a peer that leaves is noticed.
    async fn pause(&mut self, duration: Duration) -> io::Result<()> {
        if duration.is_zero() {
            return Ok(());
        }
        let until = Instant::now() + duration;
        loop {
            let room_for_more = self.buffer.len() <= MAX_HEAD_BYTES;
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                read = self.stream.read_buf(&mut self.buffer), if room_for_more => if read? == 0 {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                },
            }
        }
    }

    /// Closes with FIN and stays to take what the peer still sends, so that the answer is not lost to a reset.
    pub(super) async fn close_gently(mut self, linger: Duration) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let until = Instant::now() + linger;
        let mut scrap = BytesMut::with_capacity(16 * 1024);
        while let Ok(Ok(read)) = tokio::time::timeout_at(until, self.stream.read_buf(&mut scrap)).await {
            if read == 0 {
                return;
            }
            scrap.clear();
        }
    }
}

/// The head of a request as it stood on the wire.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    pub(super) method: String,
    /// The path as sent: not decoded, not normalised.
    pub(super) path: String,
    /// What follows the first `?`, as sent.
    pub(super) query: String,
    /// Names as sent, in the order sent.
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn names_token(&self, header: &str, token: &str) -> bool {
        let tokens = self.header(header).unwrap_or_default();
        tokens.split(',').any(|held| held.trim().eq_ignore_ascii_case(token))
    }

    pub(super) fn wants_close(&self) -> bool {
        self.names_token("connection", "close")
    }
}

/// An answer before it is delivered.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

/// A body with its length known, or pieces that leave one by one in chunks of their own.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Whole(Bytes),
    Pieces(Vec<Bytes>),
}

/// How an answer is delivered.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    pub(super) before_head: Duration,
    pub(super) pace: Duration,
    /// After this many pieces, this much more silence.
    pub(super) stall: Option<(usize, Duration)>,
    pub(super) end: End,
}

/// Where an answer ends. Of a body that is whole, one half is sent where a number of pieces is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Complete,
    /// FIN (or RST) before any byte.
    BeforeHead { reset: bool },
    /// FIN (or RST) after some pieces, without the last chunk.
    AfterPieces { pieces: usize, reset: bool },
    /// Half of the next piece in a chunk of its own, then the last chunk if `clean`, else FIN.
    MidPiece { pieces: usize, clean: bool },
    /// A chunk that announces a piece and holds half of it, then FIN.
    MidChunk { pieces: usize },
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delivered {
    pub(super) bytes: u64,
    pub(super) first_byte: Option<Instant>,
    pub(super) peer_left: bool,
    /// Whether another request may follow on the connection.
    pub(super) reusable: bool,
}
