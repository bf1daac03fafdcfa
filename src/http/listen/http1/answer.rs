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
    /// Whether something was sent that the connection may still hold: TLS does.
    is_unflushed: bool,
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
            is_unflushed: false,
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
        if self.gathered.is_empty() && self.large.is_empty() && !self.is_unflushed {
            return Poll::Ready(Ok(()));
        }
        self.is_unflushed = true;
        let gathered = self.gathered.get(self.sent..).unwrap_or_default();
        let length = gathered.len();
        let mut outgoing = gathered.chain(&mut self.large);
        let polled = wire.poll_send(&mut outgoing, cx);
        self.sent += length - outgoing.first_ref().len();
        ready!(polled)?;
        self.is_unflushed = false;
        self.sent = 0;
        self.gathered.clear();
        self.spare.replace(std::mem::take(&mut self.gathered));
        Poll::Ready(Ok(()))
    }
}

fn broke_off(reason: impl Display) -> io::Error {
    io::Error::other(format!("the answer broke off: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::rc::Rc;

    use actix_http::body::BodyStream;
    use futures_util::{stream, task::noop_waker_ref};
    use tokio::io::ReadBuf;

    use super::*;

    /// Takes all that is written, and passes it on only when it may: as TLS does whose connection takes nothing.
    #[derive(Clone, Default)]
    struct Holding {
        held: Rc<Cell<usize>>,
        passed_on: Rc<Cell<usize>>,
        may_pass: Rc<Cell<bool>>,
    }

    impl AsyncWrite for Holding {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.held.set(self.held.get() + bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.may_pass.get() {
                return Poll::Pending;
            }
            self.passed_on.set(self.held.get());
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Holding {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn an_answer_is_sent_when_the_connection_has_passed_it_on() {
        for length in [1, COPIED_CHUNK_BYTES, COPIED_CHUNK_BYTES + 1] {
            let connection = Holding::default();
            let wire = RefCell::new(Wire::new(connection.clone(), Rc::default()));
            let chunk = Bytes::from(vec![b'x'; length]);
            let body = pin!(BodyStream::new(stream::iter([Ok::<_, io::Error>(chunk)])));
            let spare = RefCell::default();
            let mut answering = Answering::new(Vec::new(), Encoding::Sized(length as u64), body, &spare);
            let mut cx = Context::from_waker(noop_waker_ref());
            for _ in 0..3 {
                assert!(answering.poll(&wire, &mut cx).is_pending(), "{length}");
            }
            connection.may_pass.set(true);
            assert!(matches!(answering.poll(&wire, &mut cx), Poll::Ready(Ok(()))));
            assert_eq!(connection.passed_on.get(), length);
        }
    }

    #[test]
    fn chunks_are_framed_whatever_their_size_and_a_body_that_breaks_ends_nothing() {
        let chunks = [3, COPIED_CHUNK_BYTES + 1, 1];
        let framing: usize = chunks.iter().map(|length| format!("{length:x}").len() + 4).sum();
        let data: usize = chunks.iter().sum();
        for (is_broken, tail) in [(false, "0\r\n\r\n".len()), (true, 0)] {
            let connection = Holding { may_pass: Rc::new(Cell::new(true)), ..Holding::default() };
            let wire = RefCell::new(Wire::new(connection.clone(), Rc::default()));
            let whole = chunks.map(|length| Ok(Bytes::from(vec![b'x'; length])));
            let end = is_broken.then(|| Err(io::Error::other("broken")));
            let body = pin!(BodyStream::new(stream::iter(whole.into_iter().chain(end))));
            let spare = RefCell::default();
            let mut answering = Answering::new(Vec::new(), Encoding::Chunked, body, &spare);
            let polled = answering.poll(&wire, &mut Context::from_waker(noop_waker_ref()));
            assert!(
                matches!(polled, Poll::Ready(Ok(())) if !is_broken)
                    || matches!(polled, Poll::Ready(Err(_)) if is_broken)
            );
            assert_eq!(connection.passed_on.get(), data + framing + tail);
        }
    }
}
