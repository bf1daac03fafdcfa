//! An answer on its way to the client: each chunk leaves as it comes, small ones that are there together by one write,
//! large ones from where they are.

use std::cell::RefCell;
use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::body::MessageBody;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::response_head::Encoding;
use super::wire::Wire;
use crate::http1::READ_BYTES;

/// A chunk up to this size is copied behind what is to be sent; a larger one is sent from where it is.
const COPIED_CHUNK_BYTES: usize = READ_BYTES;
/// So many bytes that wait to be sent are enough: more is not asked of the body before they are.
const GATHERED_BYTES: usize = 2 * READ_BYTES;

/// What is left to send of an answer.
pub(super) struct Answering<'a, B> {
    /// Head, small chunks, and the framing of large ones.
    gathered: Vec<u8>,
    /// Sent of what is gathered.
    sent: usize,
    /// A large chunk, behind what is gathered.
    large: Bytes,
    /// Whether the line break after a large chunk is still to be sent.
    owes_line_break: bool,
    encoding: Encoding,
    body: Pin<&'a mut B>,
    is_over: bool,
    /// Why the body ended early.
    broke_off: Option<io::Error>,
    /// Where `gathered` is kept while nothing is gathered.
    spare: &'a RefCell<Vec<u8>>,
}

impl<'a, B: MessageBody> Answering<'a, B> {
    /// The answer whose head is in `gathered`.
    pub(super) fn new(
        gathered: Vec<u8>,
        encoding: Encoding,
        body: Pin<&'a mut B>,
        spare: &'a RefCell<Vec<u8>>,
    ) -> Self {
        let is_over = encoding.is_over();
        Self {
            gathered,
            sent: 0,
            large: Bytes::new(),
            owes_line_break: false,
            encoding,
            body,
            is_over,
            broke_off: None,
            spare,
        }
    }

    /// Ready when all was sent.
    ///
    /// # Errors
    /// The body ended early, or the client has gone: the connection must not end cleanly.
    pub(super) fn poll<T>(&mut self, wire: &RefCell<Wire<T>>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let waits = self.gather(cx);
            ready!(self.poll_sent(&mut wire.borrow_mut(), cx))?;
            if let Some(error) = self.broke_off.take() {
                return Poll::Ready(Err(error));
            }
            if self.is_over {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return wire.borrow_mut().poll_gone(cx).map(Err);
            }
        }
    }

    /// Asks the body for what it has; `true` where it has nothing more now.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.is_over && self.large.is_empty() && self.gathered.len() < GATHERED_BYTES {
            let taken = match self.body.as_mut().poll_next(cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(chunk))) => self.encode(chunk),
                Poll::Ready(Some(Err(error))) => Err(broke_off(error.into())),
                Poll::Ready(None) => self.end(),
            };
            if let Err(error) = taken {
                (self.is_over, self.broke_off) = (true, Some(error));
            }
        }
        false
    }

    fn encode(&mut self, chunk: Bytes) -> io::Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.make_room();
        match &mut self.encoding {
            Encoding::Sized(left) => {
                let length = chunk.len() as u64;
                *left = left
                    .checked_sub(length)
                    .ok_or_else(|| broke_off("it is longer than it was announced"))?;
                self.is_over = *left == 0;
                self.append(chunk);
            }
            Encoding::UntilClose => self.append(chunk),
            Encoding::Chunked => {
                use io::Write as _;
                write!(self.gathered, "{:x}\r\n", chunk.len())?;
                self.owes_line_break = true;
                self.append(chunk);
                if self.large.is_empty() {
                    self.make_room();
                }
            }
        }
        Ok(())
    }

    /// Takes the worker's buffer, and pays what is owed.
    fn make_room(&mut self) {
        if self.gathered.capacity() == 0 {
            self.gathered = self.spare.take();
            self.gathered.clear();
        }
        if std::mem::take(&mut self.owes_line_break) {
            self.gathered.extend_from_slice(b"\r\n");
        }
    }

    fn append(&mut self, chunk: Bytes) {
        if chunk.len() <= COPIED_CHUNK_BYTES {
            self.gathered.extend_from_slice(&chunk);
        } else {
            self.large = chunk;
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.is_over = true;
        match self.encoding {
            Encoding::Sized(left) if left > 0 => return Err(broke_off(format!("{left} bytes are missing"))),
            Encoding::Sized(_) | Encoding::UntilClose => {}
            Encoding::Chunked => {
                self.make_room();
                self.gathered.extend_from_slice(b"0\r\n\r\n");
            }
        }
        Ok(())
    }

    fn poll_sent<T>(&mut self, wire: &mut Wire<T>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if self.gathered.is_empty() && self.large.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let gathered = self.gathered.get(self.sent..).unwrap_or_default();
        let length = gathered.len();
        let mut outgoing = gathered.chain(&mut self.large);
        let polled = wire.poll_send(&mut outgoing, cx);
        self.sent += length - outgoing.first_ref().len();
        ready!(polled)?;
        self.sent = 0;
        self.gathered.clear();
        self.spare.replace(std::mem::take(&mut self.gathered));
        Poll::Ready(Ok(()))
    }
}

fn broke_off(reason: impl Display) -> io::Error {
    io::Error::other(format!("the answer broke off: {reason}"))
}
