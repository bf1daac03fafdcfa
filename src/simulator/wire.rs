//! One HTTP/1.1 connection with the socket in hand: heads and bodies in, and out again at a pace, whole or cut.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// The largest request head that is read, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most headers a request may have.
const MAX_HEADERS: usize = 128;
/// How long a kept-alive connection may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// How long an upload may be silent.
const BODY_LIMIT: Duration = Duration::from_secs(60);
/// How many bytes that are ready at once leave in one write.
const COALESCE_BYTES: usize = 16 * 1024;
/// How long bytes get to arrive before the connection under them is reset.
const BEFORE_RESET: Duration = Duration::from_millis(20);

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

/// Why a request could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the request head is malformed: {0}")]
    Malformed(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
}

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

    /// The next head, or `None` when the peer has closed or stayed silent too long.
    pub(super) async fn read_head(&mut self) -> Result<Option<Head>, ReadError> {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer)? {
                self.buffer.advance(length);
                return Ok(Some(head));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(ReadError::Malformed("too long".to_owned()));
            }
            match timeout(IDLE_LIMIT, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Ok(None),
                Ok(read) => {
                    if read? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The body that follows a head.
    pub(super) async fn read_body(&mut self, head: &Head, limit: usize) -> Result<Bytes, ReadError> {
        let chunked = head.names_token("transfer-encoding", "chunked");
        let length = match head.header("content-length") {
            _ if chunked => 0,
            None => 0,
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| ReadError::Malformed(format!("content-length {text:?} is no number")))?,
        };
        if length > limit {
            return Err(ReadError::TooLarge(limit));
        }
        let expects_continue = head.names_token("expect", "100-continue");
        if expects_continue && (chunked || length > 0) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if chunked { self.read_chunks(limit).await } else { self.take(length).await }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, ReadError> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn read_chunks(&mut self, limit: usize) -> Result<Bytes, ReadError> {
        let mut body = BytesMut::new();
        loop {
            let line = self.take_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16)
                .map_err(|_| ReadError::Malformed(format!("chunk size {digits:?}")))?;
            if size == 0 {
                while !self.take_line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            if size > limit.saturating_sub(body.len()) {
                return Err(ReadError::TooLarge(limit));
            }
            body.extend_from_slice(&self.take(size).await?);
            self.take_line().await?;
        }
    }

    async fn take_line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end.saturating_add(1));
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(ReadError::Malformed("a chunk line is too long".to_owned()));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        let read = timeout(BODY_LIMIT, self.stream.read_buf(&mut self.buffer))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if read == 0 { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(()) }
    }

    /// Sends an answer; `keep_alive` says whether the head promises another.
    pub(super) async fn deliver(
        &mut self,
        reply: &Reply,
        delivery: &Delivery,
        head_only: bool,
        keep_alive: bool,
    ) -> Delivered {
        let mut out =
            Outgoing { connection: self, pending: BytesMut::new(), delivered: Delivered::default() };
        let outcome = out.deliver(reply, delivery, head_only, keep_alive).await;
        let mut delivered = out.delivered;
        delivered.peer_left |= outcome.is_err();
        delivered.reusable = matches!(outcome, Ok(true)) && keep_alive;
        delivered
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

struct Outgoing<'a> {
    connection: &'a mut Connection,
    pending: BytesMut,
    delivered: Delivered,
}

impl Outgoing<'_> {
    /// `true` when the answer ended as HTTP asks.
    async fn deliver(
        &mut self,
        reply: &Reply,
        delivery: &Delivery,
        head_only: bool,
        keep_alive: bool,
    ) -> io::Result<bool> {
        self.connection.pause(delivery.before_head).await?;
        if let End::BeforeHead { reset } = delivery.end {
            return self.cut(reset).await;
        }
        self.pending.extend_from_slice(render_head(reply, keep_alive).as_bytes());
        match &reply.body {
            _ if head_only => {
                self.flush().await?;
                Ok(true)
            }
            Body::Whole(body) => self.deliver_whole(body, delivery).await,
            Body::Pieces(pieces) => self.deliver_pieces(pieces, delivery).await,
        }
    }

    async fn deliver_whole(&mut self, body: &Bytes, delivery: &Delivery) -> io::Result<bool> {
        let half = body.get(..body.len() / 2).unwrap_or_default();
        if let Some((_, silence)) = delivery.stall {
            self.push(half).await?;
            self.flush().await?;
            self.connection.pause(silence).await?;
            self.push(body.get(half.len()..).unwrap_or_default()).await?;
            self.flush().await?;
            return Ok(true);
        }
        let reset = match delivery.end {
            End::Complete | End::BeforeHead { .. } => {
                self.push(body).await?;
                self.flush().await?;
                return Ok(true);
            }
            End::AfterPieces { reset, .. } => reset,
            End::MidPiece { .. } | End::MidChunk { .. } => false,
        };
        self.push(half).await?;
        self.flush().await?;
        self.cut(reset).await
    }

    async fn deliver_pieces(&mut self, pieces: &[Bytes], delivery: &Delivery) -> io::Result<bool> {
        for (index, piece) in pieces.iter().enumerate() {
            if let Some((_, silence)) = delivery.stall.filter(|(after, _)| *after == index) {
                self.flush().await?;
                self.connection.pause(silence).await?;
            }
            let half = piece.get(..piece.len() / 2).unwrap_or_default();
            match delivery.end {
                End::AfterPieces { pieces, reset } if pieces <= index => {
                    self.flush().await?;
                    return self.cut(reset).await;
                }
                End::MidPiece { pieces, clean } if pieces <= index => {
                    self.push_chunk(half, half.len()).await?;
                    if clean {
                        break;
                    }
                    self.flush().await?;
                    return self.cut(false).await;
                }
                End::MidChunk { pieces } if pieces <= index => {
                    self.push_chunk(half, piece.len()).await?;
                    self.flush().await?;
                    return self.cut(false).await;
                }
                _ => self.push_chunk(piece, piece.len()).await?,
            }
            let is_last = index.saturating_add(1) == pieces.len();
            if !delivery.pace.is_zero() {
                self.flush().await?;
                if !is_last {
                    self.connection.pause(delivery.pace).await?;
                }
            }
        }
        if let End::AfterPieces { reset, .. } = delivery.end {
            self.flush().await?;
            return self.cut(reset).await;
        }
        self.push(b"0\r\n\r\n").await?;
        self.flush().await?;
        Ok(true)
    }

    async fn push_chunk(&mut self, piece: &[u8], announced: usize) -> io::Result<()> {
        self.push(format!("{announced:x}\r\n").as_bytes()).await?;
        self.push(piece).await?;
        if piece.len() == announced { self.push(b"\r\n").await } else { Ok(()) }
    }

    async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= COALESCE_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let length = self.pending.len() as u64;
        self.connection.stream.write_all_buf(&mut self.pending).await?;
        self.delivered.first_byte.get_or_insert_with(Instant::now);
        self.delivered.bytes = self.delivered.bytes.saturating_add(length);
        Ok(())
    }

    async fn cut(&mut self, reset: bool) -> io::Result<bool> {
        if reset {
            self.connection.pause(BEFORE_RESET).await?;
            self.connection.stream.set_zero_linger()?;
        } else {
            self.connection.stream.shutdown().await?;
        }
        Ok(false)
    }
}

fn parse_head(buffer: &[u8]) -> Result<Option<(Head, usize)>, ReadError> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut storage);
    let status = request.parse(buffer).map_err(|error| ReadError::Malformed(error.to_string()))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let target = origin_form(request.path.unwrap_or("/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = request.headers.iter();
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers
            .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
            .collect(),
    };
    Ok(Some((head, length)))
}

fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|start| rest.get(start..)).unwrap_or("/")
        }
        _ => target,
    }
}

fn render_head(reply: &Reply, keep_alive: bool) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match &reply.body {
        Body::Whole(body) => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
        Body::Pieces(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    head.push_str(if keep_alive { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        424 => "Failed Dependency",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}
