//! Answers as they go out: at their pace, with their silences, to their end or the cut that was asked for.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{Body, Connection, Delivered, Delivery, End, Reply};

/// How many bytes that are ready at once leave in one write.
const COALESCE_BYTES: usize = 16 * 1024;
/// How long bytes get to arrive before the connection under them is reset.
const BEFORE_RESET: Duration = Duration::from_millis(20);

impl Connection {
    /// Sends an answer; `keep_alive` says whether the head promises another.
    pub(in crate::simulator) async fn deliver(
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
        let half = body.len() / 2;
        self.push(body.get(..half).unwrap_or_default()).await?;
        if let Some((_, silence)) = delivery.stall {
            self.flush().await?;
            self.connection.pause(silence).await?;
        }
        let is_reset = matches!(delivery.end, End::AfterPieces { reset: true, .. });
        if matches!(delivery.end, End::Complete | End::BeforeHead { .. }) {
            self.push(body.get(half..).unwrap_or_default()).await?;
            self.flush().await?;
            return Ok(true);
        }
        self.flush().await?;
        self.cut(is_reset).await
    }

    async fn deliver_pieces(&mut self, pieces: &[Bytes], delivery: &Delivery) -> io::Result<bool> {
        for (index, piece) in pieces.iter().enumerate() {
            self.stall(delivery, index).await?;
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
        self.stall(delivery, pieces.len()).await?;
        if let End::AfterPieces { reset, .. } = delivery.end {
            self.flush().await?;
            return self.cut(reset).await;
        }
        self.push(b"0\r\n\r\n").await?;
        self.flush().await?;
        Ok(true)
    }

    /// Falls silent after so many pieces, where a fault wants it; after the last one, before the body's end.
    async fn stall(&mut self, delivery: &Delivery, after: usize) -> io::Result<()> {
        let Some((_, silence)) = delivery.stall.filter(|(pieces, _)| *pieces == after) else { return Ok(()) };
        self.flush().await?;
        self.connection.pause(silence).await
    }

    async fn push_chunk(&mut self, piece: &[u8], announced: usize) -> io::Result<()> {
        self.push(format!("{announced:x}\r\n").as_bytes()).await?;
        self.push(piece).await?;
        if piece.len() == announced { self.push(b"\r\n").await } else { Ok(()) }
    }

    async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= COALESCE_BYTES {
            self.flush().await?;
            self.connection.stream.write_all(bytes).await?;
            self.delivered.bytes = self.delivered.bytes.saturating_add(bytes.len() as u64);
            return Ok(());
        }
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
