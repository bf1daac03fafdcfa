//! Frames of event streams, encoded by AWS's own crate, and server-sent events.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::Value;

const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// An `event` frame with a JSON payload.
pub(super) fn event(event_type: &str, payload: &Value) -> Bytes {
    encode(
        &[(":event-type", event_type), (":content-type", "application/json"), (":message-type", "event")],
        Bytes::from(payload.to_string()),
    )
}

/// An `exception` frame: a modelled error in the stream.
pub(super) fn exception(exception_type: &str, message: &str) -> Bytes {
    let payload = serde_json::json!({ "message": message });
    encode(
        &[
            (":exception-type", exception_type),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ],
        Bytes::from(payload.to_string()),
    )
}

/// An `error` frame: an error in the stream that is not modelled.
pub(super) fn error(code: &str, message: &str) -> Bytes {
    encode(&[(":error-code", code), (":error-message", message), (":message-type", "error")], Bytes::new())
}

/// A server-sent event; OpenAI's have no name.
pub(super) fn server_sent(name: Option<&str>, data: &str) -> Bytes {
    Bytes::from(match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    })
}

/// Bedrock pads the payload of stream events with a member `p` of changing length.
pub(super) fn padded(mut payload: Value, index: usize) -> Value {
    let length = index.wrapping_mul(7).wrapping_add(3) % PADDING.len();
    if let Some(members) = payload.as_object_mut() {
        members.insert("p".to_owned(), PADDING.get(..length).unwrap_or_default().into());
    }
    payload
}

fn encode(headers: &[(&str, &str)], payload: Bytes) -> Bytes {
    let headers = headers
        .iter()
        .map(|(name, value)| Header::new((*name).to_owned(), HeaderValue::String((*value).to_owned().into())))
        .collect();
    let mut frame = Vec::new();
    match write_message_to(&Message::new_from_parts(headers, payload), &mut frame) {
        Ok(()) => Bytes::from(frame),
        Err(failure) => {
            log::error!("an event-stream frame could not be encoded: {failure}");
            Bytes::new()
        }
    }
}
