//! One request over one connection: out go head and body, in comes the head of the answer and then its body, as it
//! comes. Nothing is sent twice.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::error::PayloadError;
use bytes::{Buf as _, Bytes};
use futures_util::Stream;

use super::connection::Connection;
use super::heads::{self, ResponseStart};
use super::pool::Place;
use super::written::Written;
use crate::http1::{BodyFraming, Malformed, ReadBuffer, poll_send};

/// A connection in use, and its place.
#[derive(Debug)]
pub(super) struct InUse {
    pub(super) connection: Connection,
    pub(super) place: Place,
}

/// Sends a request and waits for the head of its answer. That may come before all of the request was sent: then the
/// rest is not.
///
/// # Errors
/// The connection failed, ended, or speaks something else.
pub(super) async fn exchange(
    mut used: InUse,
    buffer: Rc<ReadBuffer>,
    request: Written,
) -> io::Result<(ResponseStart, AnswerBody)> {
    let request_was_head = request.is_head();
    let mut outgoing = request.first.chain(request.rest);
    let mut incoming = Incoming { gathered: Vec::new(), request_was_head };
    let mut is_sent = false;
    let connection = &mut used.connection;
    let (mut start, unread) = poll_fn(|cx| {
        let mut failure = None;
        if !is_sent {
            match poll_send(connection, &mut outgoing, cx) {
                Poll::Ready(Ok(())) => {
                    is_sent = true;
                    // Nothing of it is held while the answer is waited for.
                    outgoing = Bytes::new().chain(Bytes::new());
                }
                Poll::Ready(Err(error)) => failure = Some(error),
                Poll::Pending => {}
            }
        }
        // Also where sending failed: AWS may have said why before it closed the connection.
        match (incoming.poll_head(connection, &buffer, cx), failure) {
            (Poll::Ready(Ok(start)), _) => Poll::Ready(Ok(start)),
            (_, Some(failure)) => Poll::Ready(Err(failure)),
            (otherwise, None) => otherwise,
        }
    })
    .await?;
    start.keeps_alive &= is_sent;
    let framing = std::mem::replace(&mut start.framing, BodyFraming::Ended);
    let mut body = AnswerBody { used: Some(used), buffer, framing, unread, keeps_alive: start.keeps_alive };
    body.let_go_at_end();
    Ok((start, body))
}

/// The head of an answer while it comes.
struct Incoming {
    /// What came of it, where it came in pieces.
    gathered: Vec<u8>,
    request_was_head: bool,
}

impl Incoming {
    /// The head, and what came of the body with it.
    fn poll_head(
        &mut self,
        connection: &mut Connection,
        buffer: &ReadBuffer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(ResponseStart, Bytes)>> {
        loop {
            let mut received = std::task::ready!(buffer.poll_receive(connection, cx))?;
            if received.is_empty() {
                let text = "it was closed before the answer";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            if !self.gathered.is_empty() {
                self.gathered.extend_from_slice(&received);
                received = Bytes::copy_from_slice(&self.gathered);
            }
            if let Some((start, length)) =
                heads::read_response(&received, self.request_was_head).map_err(invalid)?
            {
                drop(received.split_to(length));
                return Poll::Ready(Ok((start, received)));
            }
            if self.gathered.is_empty() {
                self.gathered.extend_from_slice(&received);
            }
        }
    }
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The body of an answer as it comes. Whole, it gives its connection back; dropped before, it closes it.
#[derive(Debug)]
pub(super) struct AnswerBody {
    used: Option<InUse>,
    buffer: Rc<ReadBuffer>,
    framing: BodyFraming,
    /// Received, and not passed on.
    unread: Bytes,
    keeps_alive: bool,
}

impl AnswerBody {
    /// Whether nothing is left to come.
    pub(super) fn has_ended(&self) -> bool {
        self.used.is_none()
    }

    /// Gives the connection back once it is at the body's end.
    fn let_go_at_end(&mut self) {
        if !self.framing.has_ended() {
            return;
        }
        let is_reusable = self.keeps_alive && self.unread.is_empty();
        if let Some(InUse { connection, place }) = self.used.take()
            && is_reusable
        {
            place.keep(connection);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(data) = self.framing.take_data(&mut self.unread).map_err(invalid)? {
                self.let_go_at_end();
                return Poll::Ready(Some(Ok(data)));
            }
            self.let_go_at_end();
            let Some(used) = &mut self.used else { return Poll::Ready(None) };
            let received = std::task::ready!(self.buffer.poll_receive(&mut used.connection, cx))?;
            if received.is_empty() {
                self.used = None;
                if self.framing.may_end_here() {
                    return Poll::Ready(None);
                }
                let text = "the connection ended before the response did";
                return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))));
            }
            self.unread = received;
        }
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_data(cx).map_err(PayloadError::Io)
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
