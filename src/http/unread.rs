//! Requests whose body was not read to its end: while the rest is held, actix takes it for unread, and closes the connection
//! soon after the answer. Let go of before, it would be read and thrown away for as long as the client likes to send.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpResponse, web};
use bytes::Bytes;
use futures_util::Stream;

/// An answer that holds what was not read of its request.
pub(super) fn with_unread(answer: HttpResponse, unread: web::Payload) -> HttpResponse {
    answer.map_body(|_, answer| BoxBody::new(WithUnread { answer, _unread: unread }))
}

/// Holds the bodies of requests to the gateway's own endpoints until their answers are sent. Bedrock's paths do so
/// themselves, where it is needed.
///
/// # Errors
/// Those of the endpoint.
pub async fn hold_unread(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if super::proxy::is_bedrock(request.path()) {
        return next.call(request).await;
    }
    match request.take_payload() {
        Payload::None => next.call(request).await,
        payload => {
            let held = Rc::new(RefCell::new(payload));
            let stream: Pin<Box<dyn Stream<Item = _>>> = Box::pin(SharedPayload(Rc::clone(&held)));
            request.set_payload(Payload::Stream { payload: stream });
            let answer = next.call(request).await?;
            Ok(answer.map_body(|_, answer| BoxBody::new(WithUnread { answer, _unread: held })))
        }
    }
}

/// A payload that somebody else holds, too.
struct SharedPayload(Rc<RefCell<Payload>>);

impl Stream for SharedPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

struct WithUnread<U> {
    answer: BoxBody,
    _unread: U,
}

impl<U: Unpin> MessageBody for WithUnread<U> {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}
