//! What a client is told inside a stream that the gateway must break off: an exception frame or an error event, in the
//! form of the stream, so that SDKs raise an error they know. The connection is broken off all the same: these bytes never
//! make a short answer look whole.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::Service;
use crate::usage::Framing;

/// Why a stream is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// AWS's answer broke off, or AWS fell silent.
    Upstream,
    /// The journal could not take down what the answer cost.
    NotRecorded,
}

impl Cause {
    /// The exception as the service models it: every stream has an `internalServerException`, and those of models have one
    /// for a model whose stream broke.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html>
    fn exception(self, service: Service) -> &'static str {
        match (self, service) {
            (Self::Upstream, Service::BedrockRuntime) => "modelStreamErrorException",
            _ => "internalServerException",
        }
    }
}

/// The bytes that say so, where the form of the stream has a way to.
pub(super) fn last_words(
    framing: Framing,
    service: Service,
    operation: &str,
    cause: Cause,
    message: &str,
) -> Option<Bytes> {
    match framing {
        Framing::ServerSentEvents => Some(error_event(operation, message)),
        Framing::Opaque | Framing::Json => None,
        _ => exception_frame(cause.exception(service), message),
    }
}

/// <https://smithy.io/2.0/aws/amazon-eventstream.html>
pub(super) fn exception_frame(exception: &'static str, message: &str) -> Option<Bytes> {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let headers = vec![
        Header::new(":exception-type", text(exception)),
        Header::new(":content-type", text("application/json")),
        Header::new(":message-type", text("exception")),
    ];
    let payload = Bytes::from(json!({ "message": message }).to_string());
    let mut frame = Vec::new();
    write_message_to(&Message::new_from_parts(headers, payload), &mut frame).ok()?;
    Some(frame.into())
}

/// OpenAI's and Anthropic's events of error, each as its API has it.
/// <https://docs.claude.com/en/docs/build-with-claude/streaming#error-events>
fn error_event(operation: &str, message: &str) -> Bytes {
    let named = |name: &str, data: Value| format!("event: {name}\ndata: {data}\n\n");
    let error = json!({ "type": "api_error", "code": "internal_error", "message": message, "param": null });
    let event = if operation.starts_with("Anthropic") {
        named("error", json!({ "type": "error", "error": { "type": "api_error", "message": message } }))
    } else if operation == "OpenAiResponses" {
        // Its own members for those who read events, `error` for the SDKs, which raise what stands there.
        let event = json!({
            "type": "error", "code": "internal_error", "message": message, "param": null,
            "sequence_number": 0, "error": error,
        });
        named("error", event)
    } else {
        format!("data: {}\n\n", json!({ "error": error }))
    };
    Bytes::from(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::event_stream::{EventStreamReader, FrameVisitor};

    struct Nobody;

    impl FrameVisitor for Nobody {
        fn wants(&self, _: &[u8]) -> bool {
            true
        }

        fn payload(&mut self, _: &[u8], _: &[u8]) {
            panic!("no event was sent");
        }
    }

    #[test]
    fn an_event_stream_ends_with_an_exception_that_its_service_models() {
        let cases = [
            (Service::BedrockRuntime, Cause::Upstream, "modelStreamErrorException"),
            (Service::BedrockRuntime, Cause::NotRecorded, "internalServerException"),
            (Service::BedrockAgentRuntime, Cause::Upstream, "internalServerException"),
            (Service::BedrockAgentcore, Cause::NotRecorded, "internalServerException"),
        ];
        for (service, cause, exception) in cases {
            let frame =
                last_words(Framing::OtherFrames, service, "Any", cause, "it broke off \"there\"").unwrap();
            let mut reader = EventStreamReader::new(1000);
            reader.feed(&frame, &mut Nobody);
            assert_eq!(reader.failure(), Some(exception));
            assert!(reader.on_frame_boundary());
            assert!(frame.windows(2).any(|two| two == b"\\\""), "the message is JSON");
        }
    }

    #[test]
    fn server_sent_events_end_with_the_error_of_their_api() {
        let event = |operation: &str| {
            let words = last_words(
                Framing::ServerSentEvents,
                Service::BedrockRuntime,
                operation,
                Cause::Upstream,
                "x\ny",
            );
            let text = String::from_utf8(words.unwrap().to_vec()).unwrap();
            assert!(text.ends_with("\n\n") && text.trim_end().lines().count() <= 2, "{text}");
            let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            (text.starts_with("event: error\n"), serde_json::from_str::<Value>(data).unwrap())
        };
        let (is_named, of_anthropic) = event("AnthropicMessages");
        assert!(is_named);
        assert_eq!(of_anthropic, json!({"type": "error", "error": {"type": "api_error", "message": "x\ny"}}));
        let (is_named, of_chat) = event("OpenAiChatCompletions");
        assert!(!is_named);
        assert_eq!(of_chat.pointer("/error/message"), Some(&json!("x\ny")));
        let (is_named, of_responses) = event("OpenAiResponses");
        assert!(is_named);
        assert_eq!(of_responses.pointer("/message"), of_responses.pointer("/error/message"));
    }

    #[test]
    fn what_is_no_stream_has_no_last_words() {
        for framing in [Framing::Json, Framing::Opaque] {
            assert_eq!(last_words(framing, Service::BedrockRuntime, "Converse", Cause::Upstream, "x"), None);
        }
    }
}
