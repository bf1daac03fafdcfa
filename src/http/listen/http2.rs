//! HTTP/2 of clients: one connection with its bounds, its idle time and its graceful end; each stream goes to the same
//! handlers as a request of HTTP/1.1.
//! <https://www.rfc-editor.org/rfc/rfc9113>

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::{Request, Response};
use actix_server::GracefulShutdownSignal;
use actix_service::Service;
use futures_util::future::LocalBoxFuture;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::{Connections, HEAD_TIMEOUT, Shared};

mod exchange;
mod patience;

pub use exchange::UnsizedBody;
use exchange::{AnswerBody, Upload};
use patience::Patience;

/// Bytes of one answer that wait to be sent, at the most; then its source waits, too.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that a client took back before they were looked at, before its connection is closed: who opens and resets
/// streams as fast as it can (CVE-2023-44487) is stopped here.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that the gateway reset because of a client's faults, before its connection is closed (RUSTSEC-2024-0003).
const MAX_RESETS_OF_FAULTS: usize = 256;
/// How long an idle connection may take to close once it was told to.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Answers a request; nothing it does ends before its time because a client left.
type Handler = Rc<dyn Fn(Request) -> LocalBoxFuture<'static, Response<BoxBody>>>;

/// How a worker serves HTTP/2.
pub(super) struct Http2 {
    handler: Handler,
    builder: http2::Builder<OnThisWorker>,
    max_streams: usize,
    idle_timeout: Duration,
    stopping: GracefulShutdownSignal,
    connections: Connections,
}

impl Http2 {
    pub(super) fn new<A, B>(app: Rc<A>, shared: &Shared) -> Self
    where
        A: Service<Request, Error = actix_web::Error> + 'static,
        A::Response: Into<Response<B>> + 'static,
        B: MessageBody + 'static,
    {
        let config = &shared.http2;
        let mut builder = http2::Builder::new(OnThisWorker(Patience::new(shared.client_write_timeout)));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(config.max_header_list_bytes)
            .adaptive_window(false)
            .initial_stream_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_RESETS_OF_FAULTS)
            .keep_alive_interval(config.ping_interval)
            .keep_alive_timeout(config.ping_timeout);
        let handler: Handler = Rc::new(move |request| {
            let answering = app.call(request);
            Box::pin(async move {
                match answering.await {
                    Ok(answer) => answer.into().map_into_boxed_body(),
                    Err(error) => error.into(),
                }
            })
        });
        let max_streams = usize::try_from(config.max_concurrent_streams).unwrap_or(Semaphore::MAX_PERMITS);
        let (stopping, connections) = (shared.stopping.clone(), shared.connections.clone());
        Self { handler, builder, max_streams, idle_timeout: shared.keep_alive, stopping, connections }
    }

    /// Serves a connection until it is closed: by the client, because it was idle for too long, or, once its streams
    /// are through, because the gateway stops.
    pub(super) async fn serve<T>(&self, stream: T, peer: Option<SocketAddr>)
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let activity = Rc::new(Activity::new());
        let exchanges = Exchanges {
            handler: Rc::clone(&self.handler),
            running: Arc::new(Semaphore::new(self.max_streams)),
            activity: Rc::clone(&activity),
            connections: self.connections.clone(),
            peer,
        };
        let service = service_fn(move |request| exchanges.clone().answer(request));
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = pin!(self.stopping.notified());
        let mut timer = pin!(sleep_until(Instant::now() + HEAD_TIMEOUT.min(self.idle_timeout)));
        let mut is_cut = pin!(self.connections.is_cut());
        let mut is_closing = false;
        loop {
            tokio::select! {
                () = is_cut.as_mut() => return,
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        log::debug!("a connection of HTTP/2 ended: {error}");
                    }
                    return;
                }
                () = stopping.as_mut(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = timer.as_mut() => {
                    let wait = activity.wait(if is_closing { CLOSE_GRACE } else { self.idle_timeout });
                    if wait.is_zero() && is_closing {
                        return;
                    }
                    if wait.is_zero() {
                        is_closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    let next = if wait.is_zero() { CLOSE_GRACE } else { wait };
                    timer.as_mut().reset(Instant::now() + next);
                }
            }
        }
    }
}

/// When a connection was last used.
#[derive(Debug)]
struct Activity {
    opened: Instant,
    streams: Cell<usize>,
    idle_since: Cell<Option<Instant>>,
}

impl Activity {
    fn new() -> Self {
        Self { opened: Instant::now(), streams: Cell::new(0), idle_since: Cell::new(None) }
    }

    fn enter(self: &Rc<Self>) -> OpenStream {
        self.streams.set(self.streams.get() + 1);
        OpenStream(Rc::clone(self))
    }

    /// How much longer it may be idle; zero where it was for long enough.
    fn wait(&self, longest: Duration) -> Duration {
        if self.streams.get() > 0 {
            return longest;
        }
        let (longest, since) = match self.idle_since.get() {
            Some(since) => (longest, since),
            None => (HEAD_TIMEOUT, self.opened),
        };
        longest.saturating_sub(since.elapsed())
    }
}

/// A stream, from its request's head to the last byte of its answer.
#[derive(Debug)]
struct OpenStream(Rc<Activity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.idle_since.set(Some(Instant::now()));
    }
}

/// The requests of one connection.
#[derive(Clone)]
struct Exchanges {
    handler: Handler,
    /// Handlers that run, also those whose client took its stream back: without a bound it could start any number.
    running: Arc<Semaphore>,
    activity: Rc<Activity>,
    connections: Connections,
    peer: Option<SocketAddr>,
}

impl Exchanges {
    /// Answers one request. The handler runs to its end as it does over HTTP/1.1, also when the client takes the
    /// stream back: what was asked of AWS has its price, and the event of it is written in full.
    async fn answer(
        self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<AnswerBody>, AnswerLost> {
        let stream = self.activity.enter();
        let is_head = request.method() == hyper::Method::HEAD;
        let (parts, body) = request.into_parts();
        let upload = Upload::new(body);
        let Some(request) = exchange::received(parts, &upload, self.peer) else {
            return Ok(exchange::malformed(upload, stream));
        };
        let permit = self.running.acquire_owned().await.map_err(|_| AnswerLost)?;
        let (answering, connections) = ((self.handler)(request), self.connections);
        let answer = actix_rt::spawn(async move {
            let _permit = permit;
            tokio::select! {
                biased;
                answer = answering => Some(answer),
                () = connections.is_cut() => None,
            }
        });
        let answer = answer.await.ok().flatten().ok_or(AnswerLost)?;
        Ok(exchange::answered(answer, is_head, upload, stream))
    }
}

/// The handler did not come to an end: the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the handler did not come to an end")]
struct AnswerLost;

/// Runs the tasks of connections, one for each stream, on their worker's thread, as long as their clients take something.
#[derive(Clone, Debug)]
struct OnThisWorker(Patience);

impl<F: Future + 'static> Executor<F> for OnThisWorker {
    fn execute(&self, task: F) {
        actix_rt::spawn(self.0.clone().serve(task));
    }
}
