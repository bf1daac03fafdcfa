//! A client's connection while it speaks HTTP/1.1: what came and was not taken yet, where in its upload the client is,
//! and what goes back.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::error::PayloadError;
use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::socket::Abrupt;
use crate::http1::{BodyFraming, ReadBuffer, poll_send};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The connection.
#[derive(Debug)]
pub(super) struct Wire<T> {
    stream: T,
    buffer: Rc<ReadBuffer>,
    /// What came and was not taken yet.
    pub(super) received: Bytes,
    /// Where in the body of its request the client is.
    pub(super) upload: BodyFraming,
    /// What is still to be said before the client sends its body.
    unsaid: &'static [u8],
    /// Whether all of it was said, and the connection may still hold some.
    is_unflushed: bool,
    /// Which request of the connection this is: the body of an earlier one can no longer be read.
    request: u64,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(stream: T, buffer: Rc<ReadBuffer>) -> Self {
        Self {
            stream,
            buffer,
            received: Bytes::new(),
            upload: BodyFraming::Ended,
            unsaid: b"",
            is_unflushed: false,
            request: 0,
        }
    }

    /// A request's head, of so many bytes, was read: its body may follow. Returns the request's number.
    pub(super) fn begin_upload(&mut self, head: usize, framing: BodyFraming, expects_continue: bool) -> u64 {
        drop(self.received.split_to(head.min(self.received.len())));
        self.upload = framing;
        self.unsaid = if expects_continue { CONTINUE } else { b"" };
        self.request += 1;
        self.request
    }

    /// What must be sent before an answer: the rest of what was said in part. Nobody waits for what was not begun.
    pub(super) fn take_half_said(&mut self) -> &'static [u8] {
        let unsaid = std::mem::take(&mut self.unsaid);
        if unsaid.len() < CONTINUE.len() { unsaid } else { b"" }
    }

    /// Keeps what came of a head in memory of its own: it may be long until the rest comes.
    pub(super) fn keep_part_of_head(&mut self) {
        self.received = Bytes::copy_from_slice(&self.received);
    }

    /// More of what the client sends, behind what came before; `false` at its end.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let more = ready!(self.buffer.poll_receive(&mut self.stream, cx))?;
        let is_open = !more.is_empty();
        if self.received.is_empty() {
            self.received = more;
        } else if is_open {
            self.received = [&self.received[..], &more[..]].concat().into();
        }
        Poll::Ready(Ok(is_open))
    }

    /// Ready when the client has gone. What it sends meanwhile is kept for later; then nobody looks.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.received.is_empty() || !self.upload.has_ended() {
            return Poll::Pending;
        }
        match ready!(self.poll_more(cx)) {
            Ok(true) => Poll::Pending,
            Ok(false) => Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has gone")),
            Err(error) => Poll::Ready(error),
        }
    }

    /// Passes over what is left of an upload, as far as it has come; `true` where that is all.
    pub(super) fn skip_upload(&mut self) -> bool {
        while let Ok(Some(_)) = self.upload.take_data(&mut self.received) {}
        self.upload.has_ended()
    }

    /// Sends all of it.
    pub(super) fn poll_send(
        &mut self,
        outgoing: &mut impl Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        poll_send(&mut self.stream, outgoing, cx)
    }

    /// How the end of the connection is seen from now on, whatever ends it.
    pub(super) fn set_abrupt(&self, is_abrupt: bool)
    where
        T: Abrupt,
    {
        self.stream.set_abrupt(is_abrupt);
    }

    /// Says that nothing more is sent.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads and throws away until the client ends the connection.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.buffer.poll_receive(&mut self.stream, cx)) {
                Ok(thrown_away) if !thrown_away.is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let taken = self.upload.take_data(&mut self.received);
            match taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) if self.upload.has_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if !self.unsaid.is_empty() || self.is_unflushed {
                self.is_unflushed = true;
                let mut unsaid = self.unsaid;
                let said = self.poll_send(&mut unsaid, cx);
                self.unsaid = unsaid;
                ready!(said)?;
                self.is_unflushed = false;
            }
            if !ready!(self.poll_more(cx))? {
                let text = "the connection ended before the request did";
                return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))));
            }
        }
    }
}

/// The body of a request, as the handlers read it.
#[derive(Debug)]
pub(super) struct Upload<T> {
    pub(super) wire: Rc<RefCell<Wire<T>>>,
    /// The number of its request.
    pub(super) request: u64,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Upload<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut wire = self.wire.borrow_mut();
        if wire.request != self.request {
            return Poll::Ready(Some(Err(PayloadError::Incomplete(None))));
        }
        wire.poll_upload(cx).map_err(PayloadError::Io)
    }
}
