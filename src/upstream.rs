//! Step 8: the way to AWS. awc sends one request and hands back the response as it comes: no redirect is
//! followed, nothing is decompressed, nothing is retried. The connections beneath awc are our own (`transport`). Streams
//! that go both ways take another way, over HTTP/2 (`http2`).

use std::sync::Arc;
use std::time::Duration;

use awc::error::{ConnectError, SendRequestError};
use bytes::Bytes;

use crate::config::AwsConfig;
use crate::duplex::UploadBody;
use crate::route::Endpoint;
use crate::sign::UpstreamHead;
use crate::timers::Timers;

mod connection;
mod exchange;
mod framing;
mod heads;
mod http2;
mod pool;
mod tls;
mod transport;

pub use tls::tls_config;

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
    streams: http2::StreamClient,
    timers: Timers,
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
        Self { plain, tls, streams, timers: Timers::default() }
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
        let client = if endpoint.tls { &self.tls } else { &self.plain };
        // Always http: where TLS is wanted, the connections beneath that client speak it.
        let parts = ["http://", &endpoint.authority, &head.path];
        let mut uri =
            String::with_capacity(16 + endpoint.authority.len() + head.path.len() + head.query.len());
        uri.extend(parts);
        if !head.query.is_empty() {
            uri.extend(["?", &head.query]);
        }
        let uri =
            actix_http::Uri::try_from(uri).map_err(|error| SendFailure::Unsendable(error.to_string()))?;
        let may_go_without_body = matches!(head.method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS");
        let mut request = client.request(head.method, uri);
        for (name, value) in head.headers {
            request.headers_mut().append(name, value);
        }
        let sending =
            if body.is_empty() && may_go_without_body { request.send() } else { request.send_body(body) };
        match self.timers.limit(timeout, sending).await {
            Some(answer) => answer.map_err(failure),
            None => Err(SendFailure::Timeout(timeout)),
        }
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
