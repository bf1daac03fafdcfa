//! Step 5: the request's body, read after the key was checked, bounded, hashed while it arrives.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use sha2::{Digest, Sha256};

use crate::domain::lower_hex;
use crate::error::GatewayError;
use crate::http::Worker;
use crate::limits::BufferedBytes;

/// A whole body.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// Lower-case hexadecimal.
    pub(super) sha256: Arc<str>,
    /// Gives the bytes back to the common budget when the request is done.
    _held: BufferedBytes,
}

/// What goes to AWS: bytes and their hash.
pub(super) type Sent = (Bytes, Arc<str>);

impl Body {
    /// The body as it came.
    pub(super) fn as_it_is(&self) -> Sent {
        (self.bytes.clone(), Arc::clone(&self.sha256))
    }

    /// The body with another text in place of the JSON string that stands at `span`; every other byte stays.
    pub(super) fn with_string(&self, span: Range<usize>, text: &str) -> Sent {
        let literal = serde_json::Value::from(text).to_string();
        let before = self.bytes.get(..span.start).unwrap_or_default();
        let after = self.bytes.get(span.end..).unwrap_or_default();
        let bytes = Bytes::from([before, literal.as_bytes(), after].concat());
        let sha256 = lower_hex(&Sha256::digest(&bytes)).into();
        (bytes, sha256)
    }
}

/// Reads the body.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
) -> Result<Body, GatewayError> {
    let limits = &worker.shared.config.limits;
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > limits.max_body_bytes) {
        return Err(GatewayError::BodyTooLarge { limit: limits.max_body_bytes });
    }
    let held = worker.shared.buffer.account();
    let reading = collect(payload, held, limits.max_body_bytes, declared);
    match worker.body_timers.limit(limits.body_timeout, reading).await {
        Some(body) => body,
        None => Err(GatewayError::BodyTimeout(limits.body_timeout)),
    }
}

async fn collect(
    payload: &mut web::Payload,
    mut held: BufferedBytes,
    limit: usize,
    declared: Option<usize>,
) -> Result<Body, GatewayError> {
    let mut hash = Sha256::new();
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| GatewayError::BodyBroken(error.to_string()))?;
        length += chunk.len();
        if length > limit {
            return Err(GatewayError::BodyTooLarge { limit });
        }
        if !held.take(chunk.len()) {
            return Err(GatewayError::Overloaded {
                reason:
                    "the gateway holds as many request bytes as it may (bedgate_settings.limits.max_buffered)"
                        .into(),
                retry_after: std::time::Duration::from_secs(1),
            });
        }
        hash.update(&chunk);
        // Most bodies come in one piece, which is passed on as it is.
        if length == chunk.len() {
            first = chunk;
        } else {
            if gathered.is_empty() {
                gathered.reserve(declared.unwrap_or(2 * length).min(limit));
                gathered.extend_from_slice(&first);
            }
            gathered.extend_from_slice(&chunk);
        }
    }
    let bytes = if gathered.is_empty() { first } else { gathered.freeze() };
    Ok(Body { bytes, sha256: lower_hex(&hash.finalize()).into(), _held: held })
}

/// An answer to a request whose body may not have been read to its end: while the rest is held, actix takes it for
/// unread, and closes the connection soon after the answer. Let go of before, it would be read and thrown away for as
/// long as the client likes to send.
pub(super) fn with_unread(answer: HttpResponse, unread: web::Payload) -> HttpResponse {
    answer.map_body(|_, answer| BoxBody::new(WithUnread { answer, _unread: unread }))
}

struct WithUnread {
    answer: BoxBody,
    _unread: web::Payload,
}

impl MessageBody for WithUnread {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}
