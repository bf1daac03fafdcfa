//! The `chunk` events of InvokeModelWithResponseStream: a model's own JSON in base64, of which only the few
//! that state usage are decoded.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem::Finder;

/// `amazon-bedrock-invocationMetrics` as it appears inside base64, by where in a group of three bytes it
/// starts; the bytes at either edge, which mix with the neighbours, are left off.
const METRICS_NEEDLES: [&[u8]; 3] = [
    b"YW1hem9uLWJlZHJvY2staW52b2NhdGlvbk1ldHJpY3",
    b"FtYXpvbi1iZWRyb2NrLWludm9jYXRpb25NZXRyaWNz",
    b"hbWF6b24tYmVkcm9jay1pbnZvY2F0aW9uTWV0cmljc",
];

/// `{"type":"` in base64: how Anthropic's events begin as they are usually written.
const ANTHROPIC_EVENT: &[u8] = b"eyJ0eXBlIjoi";

/// `{"type":"messag` in base64: how `message_start`, `message_delta` and `message_stop` begin then, and none of the
/// events of content.
const ANTHROPIC_MESSAGE: &[u8] = b"eyJ0eXBlIjoibWVzc2Fn";

/// `"message_` inside base64, as [`METRICS_NEEDLES`]: the same events in any other spelling.
const MESSAGE_NEEDLES: [&[u8]; 3] = [b"Im1lc3NhZ2Vf", b"JtZXNzYWdlX", b"ibWVzc2FnZV"];

/// The base64 text of a chunk event's payload, `{"bytes":"…","p":"…"}`.
pub(crate) fn base64_text(payload: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"\"bytes\"";
    let after_name = match payload.strip_prefix(b"{\"bytes\":\"") {
        Some(text) => return until_quote(text),
        None => payload.get(memchr::memmem::find(payload, NAME)? + NAME.len()..)?,
    };
    until_quote(after_name.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?)
}

/// Whether the chunk may state usage, or a part of it.
pub(crate) fn states_usage(base64_text: &[u8]) -> bool {
    let is_message = if base64_text.starts_with(ANTHROPIC_EVENT) {
        base64_text.starts_with(ANTHROPIC_MESSAGE)
    } else {
        names_message(base64_text)
    };
    is_message || holds_metrics(base64_text)
}

fn names_message(base64_text: &[u8]) -> bool {
    static FINDERS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| MESSAGE_NEEDLES.map(Finder::new));
    FINDERS.iter().any(|finder| finder.find(base64_text).is_some())
}

/// Whether the chunk holds invocation metrics, which only the last one does.
pub(crate) fn holds_metrics(base64_text: &[u8]) -> bool {
    static FINDERS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| METRICS_NEEDLES.map(Finder::new));
    FINDERS.iter().any(|finder| finder.find(base64_text).is_some())
}

/// The model's own JSON.
pub(crate) fn decode(base64_text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(base64_text).ok()
}

fn until_quote(text: &[u8]) -> Option<&[u8]> {
    text.get(..memchr::memchr(b'"', text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(json: &str) -> Vec<u8> {
        format!(r#"{{"bytes":"{}","p":"abcd"}}"#, STANDARD.encode(json)).into_bytes()
    }

    #[test]
    fn metrics_are_found_wherever_they_stand() {
        for padding in 0..9 {
            let json = format!(
                r#"{{"t":"{}","amazon-bedrock-invocationMetrics":{{"inputTokenCount":1}}}}"#,
                "x".repeat(padding)
            );
            let payload = payload(&json);
            let text = base64_text(&payload).unwrap();
            assert!(holds_metrics(text), "{padding}");
            assert_eq!(decode(text).unwrap(), json.as_bytes());
        }
    }

    #[test]
    fn content_states_nothing() {
        let delta =
            payload(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#);
        assert!(!states_usage(base64_text(&delta).unwrap()));
        let delta = payload(r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":1}}"#);
        assert!(states_usage(base64_text(&delta).unwrap()));
    }

    #[test]
    fn statements_are_found_however_their_json_is_written() {
        for name in ["message_start", "message_delta", "message_stop"] {
            for json in [
                format!(r#"{{"type":"{name}"}}"#),
                format!(r#"{{"type": "{name}"}}"#),
                format!(r#"{{ "type" :"{name}" }}"#),
                format!("{{\n  \"type\": \"{name}\"\n}}"),
                format!(r#"{{"delta":{{}},"type":"{name}"}}"#),
                format!(r#"{{"index":0, "type":"{name}"}}"#),
            ] {
                assert!(states_usage(STANDARD.encode(&json).as_bytes()), "{json}");
            }
        }
        for json in [r#"{"generation":"a message_"}"#, r#"{ "type": "content_block_delta", "index": 0 }"#] {
            assert!(!states_usage(STANDARD.encode(json).as_bytes()), "{json}");
        }
    }

    #[test]
    fn the_base64_text_is_found_in_any_spelling_of_the_payload() {
        for payload in [&br#"{"bytes":"QQ==","p":"a"}"#[..], br#"{"p": "a", "bytes" : "QQ=="}"#] {
            assert_eq!(base64_text(payload), Some(&b"QQ=="[..]));
        }
        for payload in [&b""[..], b"{}", br#"{"bytes":1}"#, br#"{"bytes":"QQ"#] {
            assert_eq!(base64_text(payload), None);
        }
    }
}
