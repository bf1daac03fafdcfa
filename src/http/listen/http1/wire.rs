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

use super::super::socket::Abort;
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
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(stream: T, buffer: Rc<ReadBuffer>) -> Self {
        Self { stream, buffer, received: Bytes::new(), upload: BodyFraming::Ended, unsaid: b"" }
    }

    /// A request's head was read: its body may follow.
    pub(super) fn begin_upload(&mut self, framing: BodyFraming, expects_continue: bool) {
        self.upload = framing;
        self.unsaid = if expects_continue { CONTINUE } else { b"" };
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

    /// Has the end of the connection be seen as none.
    pub(super) fn abort(&self)
    where
        T: Abort,
    {
        self.stream.abort();
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
            if !self.unsaid.is_empty() {
                let mut unsaid = self.unsaid;
                let said = self.poll_send(&mut unsaid, cx);
                self.unsaid = unsaid;
                ready!(said)?;
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
pub(super) struct Upload<T>(pub(super) Rc<RefCell<Wire<T>>>);

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Upload<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_upload(cx).map_err(PayloadError::Io)
    }
}
