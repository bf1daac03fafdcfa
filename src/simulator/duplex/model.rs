//! A model that hears and speaks, as Nova Sonic does: it repeats what it is told, and states what it used.
//! <https://docs.aws.amazon.com/nova/latest/userguide/speech-bidirection.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::frames::{event, padded};
use super::super::tokens::SimulatedUsage;

/// Tokens that one event is counted with, of text and of speech, in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tokens {
    text_in: u64,
    text_out: u64,
    speech_in: u64,
    speech_out: u64,
}

const OF_TEXT: Tokens = Tokens { text_in: 7, text_out: 3, speech_in: 0, speech_out: 0 };
const OF_SPEECH: Tokens = Tokens { text_in: 0, text_out: 0, speech_in: 25, speech_out: 30 };

/// One conversation.
#[derive(Debug)]
pub(super) struct Model {
    used: Tokens,
    frames: usize,
    completion_id: String,
    /// What each event counts, where that was asked for.
    each: Option<SimulatedUsage>,
    reports_usage: bool,
}

impl Model {
    pub(super) fn new(each: Option<SimulatedUsage>, reports_usage: bool) -> Self {
        let completion_id = uuid::Uuid::new_v4().to_string();
        Self { used: Tokens::default(), frames: 0, completion_id, each, reports_usage }
    }

    /// The answers to an event, of which this is the payload.
    pub(super) fn hear(&mut self, payload: &[u8]) -> Vec<Bytes> {
        let outer: Value = serde_json::from_slice(payload).unwrap_or_default();
        let bytes = outer.get("bytes").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let heard: Value = serde_json::from_str(&text).unwrap_or_default();
        let sound = heard.pointer("/event/audioInput/content").cloned();
        let mut answers = Vec::with_capacity(3);
        if self.frames == 0 {
            answers.push(self.event("completionStart", json!({})));
        }
        let is_speech = sound.is_some();
        answers.push(match sound {
            Some(sound) => self.event("audioOutput", json!({ "content": sound })),
            None => self.event("textOutput", json!({ "content": text, "role": "ASSISTANT" })),
        });
        self.count(if is_speech { OF_SPEECH } else { OF_TEXT });
        if self.reports_usage {
            answers.push(self.usage());
        }
        answers
    }

    /// The answer to the end of all events.
    pub(super) fn end(&mut self) -> Bytes {
        self.event("completionEnd", json!({ "stopReason": "END_TURN" }))
    }

    fn count(&mut self, usual: Tokens) {
        let asked = |each: SimulatedUsage| Tokens {
            text_in: each.input,
            text_out: each.output,
            speech_in: each.cache_read,
            speech_out: each.cache_write_5m,
        };
        let counted = self.each.map_or(usual, asked);
        self.used = Tokens {
            text_in: self.used.text_in.saturating_add(counted.text_in),
            text_out: self.used.text_out.saturating_add(counted.text_out),
            speech_in: self.used.speech_in.saturating_add(counted.speech_in),
            speech_out: self.used.speech_out.saturating_add(counted.speech_out),
        };
    }

    fn usage(&mut self) -> Bytes {
        let Tokens { text_in, text_out, speech_in, speech_out } = self.used;
        let kinds = |speech: u64, text: u64| json!({ "speechTokens": speech, "textTokens": text });
        let total = json!({ "input": kinds(speech_in, text_in), "output": kinds(speech_out, text_out) });
        let (input, output) = (text_in.saturating_add(speech_in), text_out.saturating_add(speech_out));
        self.event(
            "usageEvent",
            json!({
                "details": { "total": total },
                "totalInputTokens": input,
                "totalOutputTokens": output,
                "totalTokens": input.saturating_add(output),
            }),
        )
    }

    fn event(&mut self, name: &str, mut content: Value) -> Bytes {
        if let Some(members) = content.as_object_mut() {
            members.insert("completionId".to_owned(), self.completion_id.as_str().into());
        }
        let said = json!({ "event": { name: content } }).to_string();
        let frame = event("chunk", &padded(json!({ "bytes": STANDARD.encode(said) }), self.frames));
        self.frames = self.frames.saturating_add(1);
        frame
    }
}
