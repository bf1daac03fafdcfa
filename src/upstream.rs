//! Step 8: the way to AWS. awc sends one request and hands back the response as it comes: no redirect is
//! followed, nothing is decompressed, nothing is retried. The connections beneath awc are our own (`transport`). Streams
//! that go both ways take another way, over HTTP/2 (`http2`).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use awc::FrozenClientRequest;
use awc::error::{ConnectError, SendRequestError};
use bytes::Bytes;

use crate::config::AwsConfig;
use crate::domain::FastMap;
use crate::duplex::UploadBody;
use crate::route::Endpoint;
use crate::sign::UpstreamHead;
use crate::timers::Timers;

mod connection;
mod exchange;
mod heads;
mod http2;
mod pool;
mod tls;
mod transport;
mod written;

pub use tls::tls_config;
use written::WriteBuffer;

/// AWS's answer: its head, and its body as a stream.
pub type Answer = awc::ClientResponse;
/// The body of an answer alone.
pub type AnswerBody = actix_http::Payload;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    /// No connection could be made: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection failed before the response's head.
    #[error("the connection failed before the answer: {0}")]
    BrokeOff(String),
    /// No head came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
}

/// A worker's connections to AWS.
#[derive(Clone)]
pub struct UpstreamClient {
    plain: awc::Client,
    tls: awc::Client,
    requests: Rc<Requests>,
    written: Rc<WriteBuffer>,
    streams: http2::StreamClient,
    timers: Timers,
}

/// What awc is asked, by the authority of an endpoint: there are as many as the configuration has endpoints.
#[derive(Default)]
struct Requests {
    plain: RefCell<FastMap<String, FrozenClientRequest>>,
    tls: RefCell<FastMap<String, FrozenClientRequest>>,
}

impl std::fmt::Debug for UpstreamClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamClient")
    }
}

impl UpstreamClient {
    /// The connections of this worker thread.
    #[must_use]
    pub fn new(config: &AwsConfig, tls: &Arc<rustls::ClientConfig>) -> Self {
        let plain = transport::client(config, None);
        let streams = http2::StreamClient::new(config, tls);
        let tls = transport::client(config, Some(Arc::clone(tls)));
        Self {
            plain,
            tls,
            requests: Rc::default(),
            written: Rc::default(),
            streams,
            timers: Timers::default(),
        }
    }

    /// Sends a request whose body goes on after its answer has begun, over a connection of HTTP/2 that is its own, and
    /// waits for the head of the answer.
    ///
    /// # Errors
    /// No answer came.
    pub async fn open_stream(
        &self,
        endpoint: &Endpoint,
        head: UpstreamHead,
        body: UploadBody,
        timeout: Duration,
    ) -> Result<Answer, SendFailure> {
        let opening = self.streams.open(endpoint, head, body);
        self.timers.limit(timeout, opening).await.unwrap_or(Err(SendFailure::Timeout(timeout)))
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// No answer came.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        head: UpstreamHead,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, SendFailure> {
        let request = self.request_to(endpoint)?;
        let sending = request.send_body(self.written.write(&head, body));
        match self.timers.limit(timeout, sending).await {
            Some(answer) => answer.map_err(failure),
            None => Err(SendFailure::Timeout(timeout)),
        }
    }
}

impl UpstreamClient {
    /// A request to an endpoint, for awc: all but the endpoint is in its body.
    fn request_to(&self, endpoint: &Endpoint) -> Result<FrozenClientRequest, SendFailure> {
        let (client, requests) =
            if endpoint.tls { (&self.tls, &self.requests.tls) } else { (&self.plain, &self.requests.plain) };
        if let Some(request) = requests.borrow().get(&endpoint.authority) {
            return Ok(request.clone());
        }
        // Always http: where TLS is wanted, the connections beneath that client speak it.
        let request = client.post(["http://", &endpoint.authority, "/"].concat()).freeze();
        let request = request.map_err(|error| SendFailure::Unsendable(error.to_string()))?;
        requests.borrow_mut().insert(endpoint.authority.clone(), request.clone());
        Ok(request)
    }
}

fn failure(error: SendRequestError) -> SendFailure {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => {
            SendFailure::BrokeOff("it was closed by the other side".to_owned())
        }
        SendRequestError::Connect(error) => SendFailure::Connect(error.to_string()),
        SendRequestError::Url(error) => SendFailure::Unsendable(error.to_string()),
        error => SendFailure::BrokeOff(error.to_string()),
    }
}
