//! HTTP/1.1 of clients: one connection, its requests one after the other, each to the app's handlers.
//!
//! actix-http's own dispatcher looks for a next request each time it is woken, clearing three KiB at each look, and keeps
//! buffers for each connection; hyper's takes heads that can be read in two ways. So this is ours, over the same parts as
//! the connections to AWS.
//! <https://www.rfc-editor.org/rfc/rfc9112.html>

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{BoxedPayloadStream, Payload, Request, Response, StatusCode};
use actix_server::GracefulShutdownSignal;
use actix_service::Service;
use bytes::Buf as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::socket::Abrupt;
use super::{HEAD_TIMEOUT, Shared};
use crate::http1::{BodyFraming, ReadBuffer};
use crate::timers::Timers;

mod answer;
mod date;
mod request_head;
mod response_head;
mod wire;

use answer::Answering;
use date::Date;
use request_head::{Asked, Refused, read_request};
use response_head::{Encoding, write_response};
use wire::{Upload, Wire};

/// How long what a client still sends is read and thrown away after an answer that did not wait for it. Closed earlier, its
/// system might throw the answer away unread (RST).
const LINGER: Duration = Duration::from_secs(3);
/// Room for the head of most answers and a body that is copied behind it.
const USUAL_ANSWER_BYTES: usize = 4 * 1024;

/// How a worker serves HTTP/1.1.
pub(super) struct Http1<A, B> {
    app: Rc<A>,
    keep_alive: Duration,
    stopping: GracefulShutdownSignal,
    timers: Timers,
    incoming: Rc<ReadBuffer>,
    outgoing: RefCell<Vec<u8>>,
    date: Date,
    body: PhantomData<fn() -> B>,
}

/// What comes next over a connection.
enum Next {
    Request(Request, Asked),
    Refused(Refused),
    /// Nothing: the client has gone, was idle for too long, or the gateway stops.
    Nothing,
}

impl<A, B> Http1<A, B>
where
    A: Service<Request, Error = actix_web::Error> + 'static,
    A::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    pub(super) fn new(app: Rc<A>, shared: &Shared) -> Self {
        Self {
            app,
            keep_alive: shared.keep_alive,
            stopping: shared.stopping.clone(),
            timers: Timers::default(),
            incoming: Rc::default(),
            outgoing: RefCell::default(),
            date: Date::default(),
            body: PhantomData,
        }
    }

    /// Serves a connection until it is closed.
    ///
    /// # Errors
    /// It ended otherwise than HTTP/1.1 lets one end.
    pub(super) async fn serve<T>(self: Rc<Self>, stream: T, peer: Option<SocketAddr>) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Abrupt + Unpin + 'static,
    {
        let wire = Rc::new(RefCell::new(Wire::new(stream, Rc::clone(&self.incoming))));
        let coming = pin!(self.stopping.notified());
        let mut stop = Stop::new(coming);
        let mut patience = HEAD_TIMEOUT;
        loop {
            let (mut request, asked) = match self.next(&wire, &mut stop, patience).await? {
                Next::Request(request, asked) => (request, asked),
                Next::Refused(refused) => return self.refuse(&wire, refused).await,
                Next::Nothing => return self.close(&wire, false).await,
            };
            request.head_mut().peer_addr = peer;
            let keeps_alive = match self.app.call(request).await {
                Ok(response) => self.answer(&wire, response.into(), &asked, &mut stop).await?,
                Err(error) => self.answer(&wire, Response::from(error), &asked, &mut stop).await?,
            };
            if !keeps_alive {
                // Who asked to close sends nothing more; others may have sent a next request already.
                return self.close(&wire, asked.keeps_alive).await;
            }
            patience = self.keep_alive;
        }
    }

    /// Waits for the head of the next request.
    async fn next<T>(
        &self,
        wire: &Rc<RefCell<Wire<T>>>,
        stop: &mut Stop<impl Future<Output = ()> + Unpin>,
        patience: Duration,
    ) -> io::Result<Next>
    where
        T: AsyncRead + AsyncWrite + Abrupt + Unpin + 'static,
    {
        let begun = poll_fn(|cx| {
            let mut wire = wire.borrow_mut();
            if stop.has_come(cx) {
                return Poll::Ready(Ok(false));
            }
            if wire.received.is_empty() { wire.poll_more(cx) } else { Poll::Ready(Ok(true)) }
        });
        match self.timers.limit(patience, begun).await {
            Some(Ok(true)) => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(false)) | None => return Ok(Next::Nothing),
        }
        if let Some(next) = head_of(wire) {
            return Ok(next);
        }
        wire.borrow_mut().keep_part_of_head();
        let rest = async {
            loop {
                if !poll_fn(|cx| wire.borrow_mut().poll_more(cx)).await? {
                    return Ok(Next::Nothing);
                }
                if let Some(next) = head_of(wire) {
                    return Ok(next);
                }
            }
        };
        let in_time = self.timers.limit(HEAD_TIMEOUT, rest).await;
        in_time.unwrap_or(Ok(Next::Refused(Refused(StatusCode::REQUEST_TIMEOUT))))
    }

    /// Sends an answer; `false` where the connection ends with it.
    async fn answer<T, C>(
        &self,
        wire: &RefCell<Wire<T>>,
        response: Response<C>,
        asked: &Asked,
        stop: &mut Stop<impl Future<Output = ()> + Unpin>,
    ) -> io::Result<bool>
    where
        T: AsyncRead + AsyncWrite + Abrupt + Unpin,
        C: MessageBody,
    {
        let (head, body) = response.into_parts();
        let is_stopping = poll_fn(|cx| Poll::Ready(stop.has_come(cx))).await;
        let may_wait = !is_stopping && !self.keep_alive.is_zero();
        let may_keep = asked.keeps_alive && may_wait && wire.borrow_mut().skip_upload();
        let mut bytes = self.outgoing.take();
        bytes.clear();
        bytes.reserve(USUAL_ANSWER_BYTES);
        bytes.extend_from_slice(wire.borrow_mut().take_half_said());
        let date = self.date.now();
        let (encoding, keeps_alive) =
            write_response(&mut bytes, head.head(), body.size(), asked, may_keep, &date);
        drop(head);
        let body = pin!(body);
        let mut answering = Answering::new(bytes, encoding, body, &self.outgoing);
        // Until it is whole, no end of the connection may look as if it were: also where this task is dropped.
        let ends_with_connection = encoding == Encoding::UntilClose;
        if ends_with_connection {
            wire.borrow().set_abrupt(true);
        }
        poll_fn(|cx| answering.poll(wire, cx)).await?;
        if ends_with_connection {
            wire.borrow().set_abrupt(false);
        }
        Ok(keeps_alive)
    }

    /// What cannot be served has no request, so no handler says so.
    async fn refuse<T>(&self, wire: &RefCell<Wire<T>>, Refused(status): Refused) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let reason = status.canonical_reason().unwrap_or_default();
        let head =
            format!("HTTP/1.1 {} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n", status.as_str());
        let date = self.date.now();
        let mut bytes = head.as_bytes().chain(&b"date: "[..]).chain(&date[..]).chain(&b"\r\n\r\n"[..]);
        poll_fn(|cx| wire.borrow_mut().poll_send(&mut bytes, cx)).await?;
        self.close(wire, true).await
    }

    /// Ends the connection. Where the client may still send, it is read for a while: what was sent shall arrive.
    async fn close<T>(&self, wire: &RefCell<Wire<T>>, may_still_send: bool) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let closing = async {
            poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await?;
            if may_still_send || !wire.borrow().upload.has_ended() {
                poll_fn(|cx| wire.borrow_mut().poll_discard(cx)).await;
            }
            Ok(())
        };
        self.timers.limit(LINGER, closing).await.unwrap_or(Ok(()))
    }
}

/// The request at the front of what came, if its head is whole; its body comes through the wire.
fn head_of<T>(wire: &Rc<RefCell<Wire<T>>>) -> Option<Next>
where
    T: AsyncRead + AsyncWrite + Abrupt + Unpin + 'static,
{
    let mut open = wire.borrow_mut();
    let mut request = Request::new();
    let (mut asked, length) = match read_request(&open.received, request.head_mut()) {
        Ok(None) => return None,
        Ok(Some(read)) => read,
        Err(refused) => return Some(Next::Refused(refused)),
    };
    let framing = std::mem::replace(&mut asked.framing, BodyFraming::Ended);
    let has_body = !framing.has_ended();
    let number = open.begin_upload(length, framing, asked.expects_continue);
    if has_body {
        let upload: BoxedPayloadStream = Box::pin(Upload { wire: Rc::clone(wire), request: number });
        request = request.replace_payload(Payload::from(upload)).0;
    }
    Some(Next::Request(request, asked))
}

/// The stop of the gateway, as a connection sees it.
struct Stop<F> {
    coming: F,
    has_come: bool,
}

impl<F: Future<Output = ()> + Unpin> Stop<F> {
    fn new(coming: F) -> Self {
        Self { coming, has_come: false }
    }

    /// Whether it has come; otherwise its coming wakes the task.
    fn has_come(&mut self, cx: &mut Context<'_>) -> bool {
        self.has_come = self.has_come || Pin::new(&mut self.coming).poll(cx).is_ready();
        self.has_come
    }
}
