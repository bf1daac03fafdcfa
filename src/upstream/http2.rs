//! HTTP/2 to AWS, for requests that stream events both ways: each has a connection of its own, as in the AWS SDK for
//! JavaScript, so that no stream waits for another's windows, or goes down with it.
//! <https://www.rfc-editor.org/rfc/rfc9113>

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::PayloadError;
use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_http::{BoxedPayloadStream, Payload, StatusCode};
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::connection::{Connection, Dialler};
use super::{Answer, SendFailure};
use crate::config::AwsConfig;
use crate::duplex::UploadBody;
use crate::route::Endpoint;
use crate::sign::UpstreamHead;

/// Bytes of an answer that may arrive before the client has taken those before them. Too low slows answers over long
/// distances; a slow client holds so much.
const WINDOW: u32 = 256 << 10;
/// Bytes of events that wait to be sent, at the most; then the client waits, too.
const SEND_BUFFER: usize = 64 << 10;
/// How often AWS is asked whether the connection still lives, and how long it may take to say so: a stream may be silent
/// for long.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection whose stream is over may take to say so to AWS.
const FAREWELL: Duration = Duration::from_secs(1);

/// Makes connections for streams.
#[derive(Clone)]
pub(super) struct StreamClient {
    plain: Rc<Dialler>,
    tls: Rc<Dialler>,
    /// Connections at once.
    room: Arc<Semaphore>,
    connect_timeout: Duration,
}

impl StreamClient {
    pub(super) fn new(config: &AwsConfig, tls: &rustls::ClientConfig) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let dialler = |tls| Rc::new(Dialler::new(tls, config.connect_timeout));
        Self {
            plain: dialler(None),
            tls: dialler(Some(Arc::new(tls))),
            room: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            connect_timeout: config.connect_timeout,
        }
    }

    /// Sends the head, has the body follow as it comes, and waits for the head of the answer.
    pub(super) async fn open(
        &self,
        endpoint: &Endpoint,
        head: UpstreamHead,
        body: UploadBody,
    ) -> Result<Answer, SendFailure> {
        let request = request(endpoint, head, body)?;
        let place = tokio::time::timeout(self.connect_timeout, Arc::clone(&self.room).acquire_owned());
        let full = || SendFailure::Connect("as many streams are open as may be".to_owned());
        let place = place.await.map_err(|_| full())?.map_err(|_| full())?;
        let connection = self.connect(endpoint).await?;
        let (mut sender, let_go) = begin(connection, place).await?;
        let answer = sender.send_request(request).await;
        let (start, body) = answer.map_err(|error| SendFailure::BrokeOff(described(&error)))?.into_parts();
        // A stream goes on until both are let go of.
        Ok(answer_of(&start, StreamBody { body, _sender: sender, _let_go: let_go }))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, SendFailure> {
        let dialler = if endpoint.tls { &self.tls } else { &self.plain };
        let uri = actix_http::Uri::try_from(format!("http://{}", endpoint.authority));
        let uri = uri.map_err(|error| SendFailure::Unsendable(error.to_string()))?;
        let connection = dialler.connect(uri).await;
        let connection = connection.map_err(|error| SendFailure::Connect(error.to_string()))?;
        if connection.takes_http2() {
            Ok(connection)
        } else {
            Err(SendFailure::Connect("the other side does not speak HTTP/2".to_owned()))
        }
    }
}

/// Starts to speak HTTP/2. The connection ends a moment after what is returned is let go of.
async fn begin(
    connection: Connection,
    place: OwnedSemaphorePermit,
) -> Result<(SendRequest<UploadBody>, oneshot::Sender<()>), SendFailure> {
    let (cut, is_cut) = watch::channel(());
    let mut builder = Builder::new(Tasks(is_cut));
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(0)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, driver) = builder
        .handshake(TokioIo::new(connection))
        .await
        .map_err(|error| SendFailure::Connect(described(&error)))?;
    let (let_go, is_let_go) = oneshot::channel();
    actix_rt::spawn(async move {
        let _place = place;
        drive(driver, is_let_go, cut).await;
    });
    Ok((sender, let_go))
}

/// Drives a connection until it is let go of, then for as long as it takes to say so to AWS; who takes nothing cannot
/// hold it for longer.
async fn drive(
    driver: impl Future<Output = hyper::Result<()>>,
    mut is_let_go: oneshot::Receiver<()>,
    cut: watch::Sender<()>,
) {
    let mut driver = Box::pin(driver);
    let left = tokio::select! {
        ended = driver.as_mut() => {
            if let Err(error) = ended {
                log::debug!("a connection of HTTP/2 to AWS ended: {}", described(&error));
            }
            drop(driver);
            // Its sender is dropped, and nothing ever sent.
            let _ = is_let_go.await;
            None
        }
        _ = &mut is_let_go => Some(driver),
    };
    let farewell = async {
        if let Some(driver) = left {
            let _ = driver.await;
        }
        cut.closed().await;
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

fn request(
    endpoint: &Endpoint,
    head: UpstreamHead,
    body: UploadBody,
) -> Result<hyper::Request<UploadBody>, SendFailure> {
    let unsendable = |error: hyper::http::Error| SendFailure::Unsendable(error.to_string());
    let scheme = if endpoint.tls { "https" } else { "http" };
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
    let uri = format!("{scheme}://{}{}{query}", endpoint.host, head.path);
    let mut request = hyper::Request::builder().method(head.method.as_str()).uri(uri);
    for (name, value) in &head.headers {
        // The host goes as `:authority`.
        if name != actix_http::header::HOST {
            request = request.header(name.as_str(), value.as_bytes());
        }
    }
    request.header("accept-encoding", "identity").body(body).map_err(unsendable)
}

/// awc makes no answers for others but in its test helpers, which do no more than this.
fn answer_of(start: &hyper::http::response::Parts, body: StreamBody) -> Answer {
    awc::test::TestResponse::default().finish().map_body(|head, _| {
        head.status = StatusCode::from_u16(start.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
        head.headers = HeaderMap::with_capacity(start.headers.len());
        for (name, value) in &start.headers {
            let name = HeaderName::from_bytes(name.as_str().as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                head.headers.append(name, value);
            }
        }
        let payload: BoxedPayloadStream = Box::pin(body);
        Payload::from(payload)
    })
}

/// The body of an answer, and what keeps its connection.
struct StreamBody {
    body: Incoming,
    _sender: SendRequest<UploadBody>,
    _let_go: oneshot::Sender<()>,
}

impl Stream for StreamBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => Poll::Ready(None),
                Some(Err(error)) => {
                    Poll::Ready(Some(Err(PayloadError::Io(std::io::Error::other(described(&error))))))
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    // Trailers: an event stream has none.
                    Err(_) => continue,
                },
            };
        }
    }
}

/// An error with what it comes from: hyper's own text says where, not what.
fn described(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Runs the tasks of one connection on its worker's thread, until the other end of this is dropped. hyper leaves a
/// connection to a task that waits for its streams, and a stream to one that waits for AWS to take more.
#[derive(Clone, Debug)]
struct Tasks(watch::Receiver<()>);

impl<F: Future + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let mut is_cut = self.0.clone();
        actix_rt::spawn(async move {
            tokio::select! {
                _ = task => {}
                _ = is_cut.changed() => {}
            }
        });
    }
}
