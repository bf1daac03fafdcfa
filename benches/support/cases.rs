//! The pure parts of a request's way, each as one small piece of work that can be repeated.

use std::collections::BTreeMap;
use std::hint::black_box;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bedgate::domain::{Region, Service, UnixMicros};
use bedgate::event::{PackedEvent, SpendEvent};
use bedgate::journal::{DataDir, Journal, JournalOptions};
use bedgate::operation::{self, RequestLine};
use bedgate::pricing::{PriceBook, PriceQuery};
use bedgate::sign::sigv4::{Signable, SigningKeys, amz_date};
use bedgate::store::spend::CopyBatch;
use bedgate::usage::event_stream::{EventStreamReader, FrameVisitor};
use bedgate::usage::{AnswerFacts, AnswerKind, RequestFacts, Usage, UsageReader};

use crate::events;

/// A piece of work.
pub(crate) struct Case {
    /// Stays as it is: baselines are kept under it.
    pub(crate) name: &'static str,
    /// Makes what the work needs, and gives the work.
    pub(crate) prepare: fn() -> Box<dyn FnMut()>,
}

/// All of them, in the order in which a request meets them.
pub(crate) const CASES: &[Case] = &[
    Case { name: "operation_lookup", prepare: operation_lookup },
    Case { name: "request_facts", prepare: request_facts },
    Case { name: "signing", prepare: signing },
    Case { name: "frames_passed_over", prepare: frames_passed_over },
    Case { name: "usage_of_json", prepare: usage_of_json },
    Case { name: "usage_of_stream", prepare: usage_of_stream },
    Case { name: "pricing", prepare: pricing },
    Case { name: "journal_append_and_read", prepare: journal_append_and_read },
    Case { name: "batch_of_100_encoded", prepare: batch_encoded },
];

const MODEL: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
/// 2026-01-15T12:00:00Z.
const NOON: UnixMicros = UnixMicros(1_768_478_400_000_000);
/// What a gateway keeps of an answer at the most.
const LIMIT: usize = 1 << 20;

fn operation_lookup() -> Box<dyn FnMut()> {
    let converse = format!("/model/{MODEL}/converse-stream");
    Box::new(move || {
        for (method, path) in
            [("POST", converse.as_str()), ("GET", "/foundation-models"), ("POST", "/nowhere")]
        {
            let line = RequestLine { method, path, has_body: Some(true), ..RequestLine::default() };
            let _call = black_box(operation::resolve(black_box(&line)));
        }
    })
}

fn request_facts() -> Box<dyn FnMut()> {
    let text = "What is the capital of France, and why is it not Lyon? ".repeat(40);
    let body = serde_json::json!({
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "inferenceConfig": {"maxTokens": 512, "temperature": 0.3},
    });
    let body = body.to_string();
    Box::new(move || {
        black_box(RequestFacts::of(black_box(body.as_bytes())));
    })
}

fn signing() -> Box<dyn FnMut()> {
    let region: Region = "us-west-2".parse().unwrap();
    let (mut keys, path) = (SigningKeys::default(), format!("/model/{MODEL}/converse"));
    let (hash, date) = ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", amz_date(NOON));
    Box::new(move || {
        let signable = Signable {
            method: "POST",
            path: &path,
            query: "",
            headers: vec![
                ("host", b"bedrock-runtime.us-west-2.amazonaws.com"),
                ("content-type", b"application/json"),
                ("x-amz-date", date.as_bytes()),
                ("x-amzn-bedrock-accept", b"application/json"),
                ("accept", b"*/*"),
            ],
            body_sha256: hash,
            region: &region,
            service: "bedrock",
            now: NOON,
        };
        black_box(keys.authorization("AKIAIOSFODNN7EXAMPLE", "a secret", black_box(signable), &date));
    })
}

/// A frame as ConverseStream sends it.
fn frame(event: &str, payload: &serde_json::Value) -> Vec<u8> {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(Header::new(":event-type", text(event)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text("event")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn delta(number: u64) -> Vec<u8> {
    let payload = serde_json::json!({"contentBlockIndex": 0, "delta": {"text": format!("word {number} ")}});
    frame("contentBlockDelta", &payload)
}

struct Nobody;

impl FrameVisitor for Nobody {
    fn wants(&self, _event_type: &[u8]) -> bool {
        false
    }

    fn payload(&mut self, _event_type: &[u8], _payload: &[u8]) {}
}

fn frames_passed_over() -> Box<dyn FnMut()> {
    let chunks: Vec<Vec<u8>> = (0..100).map(delta).collect();
    let mut reader = EventStreamReader::new(LIMIT);
    Box::new(move || {
        for chunk in &chunks {
            reader.feed(black_box(chunk), &mut Nobody);
        }
        assert!(reader.on_frame_boundary());
    })
}

fn kind(operation: &str, content_type: &'static str) -> AnswerKind {
    AnswerKind::of(&AnswerFacts {
        service: Service::BedrockRuntime,
        operation,
        model_id: Some(MODEL),
        status: 200,
        content_type: Some(content_type),
    })
}

fn usage_of_json() -> Box<dyn FnMut()> {
    let text = "Paris, since the Capetians lived there. ".repeat(20);
    let answer = serde_json::json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1_200, "outputTokens": 350, "totalTokens": 1_550},
        "metrics": {"latencyMs": 4_200},
    });
    let (answer, kind) = (answer.to_string(), kind("Converse", "application/json"));
    Box::new(move || {
        let mut reader = UsageReader::new(kind, LIMIT);
        let _progress = reader.feed(black_box(answer.as_bytes()));
        assert!(black_box(reader.finish()).usage.is_some());
    })
}

fn usage_of_stream() -> Box<dyn FnMut()> {
    let usage = serde_json::json!({"inputTokens": 1_200, "outputTokens": 350, "totalTokens": 1_550});
    let mut chunks: Vec<Vec<u8>> = (0..20).map(delta).collect();
    chunks.push(frame("messageStop", &serde_json::json!({"stopReason": "end_turn"})));
    chunks.push(frame("metadata", &serde_json::json!({"usage": usage, "metrics": {"latencyMs": 4_200}})));
    let kind = kind("ConverseStream", "application/vnd.amazon.eventstream");
    Box::new(move || {
        let mut reader = UsageReader::new(kind, LIMIT);
        for chunk in &chunks {
            let _progress = reader.feed(black_box(chunk));
        }
        assert!(black_box(reader.finish()).usage.is_some());
    })
}

fn pricing() -> Box<dyn FnMut()> {
    let own = BTreeMap::new();
    let usage =
        Usage { input_tokens: 1_200, output_tokens: 350, cache_read_tokens: 80_000, ..Usage::default() };
    Box::new(move || {
        let query = PriceQuery {
            model_id: MODEL,
            region: "us-west-2",
            base_model: None,
            own: &own,
            multipliers: &[],
            at: NOON,
        };
        assert!(PriceBook::builtin().price(black_box(&query), black_box(&usage)).cost.is_some());
    })
}

fn journal_append_and_read() -> Box<dyn FnMut()> {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::open(DataDir::open(directory.path()).unwrap(), JournalOptions::default()).unwrap();
    let (mut writer, mut reader) = (journal.writer(), journal.reader().unwrap());
    let (begun, ended) = events::usual(1);
    Box::new(move || {
        let _stays_until_the_end = &directory;
        writer.begin(black_box(&begun)).unwrap();
        writer.end(black_box(&ended)).unwrap();
        assert_eq!(black_box(reader.read(2)).entries.len(), 2);
    })
}

fn batch_encoded() -> Box<dyn FnMut()> {
    let packed = |(begun, ended)| PackedEvent::from(&SpendEvent { begun, ended });
    let batch: Vec<PackedEvent> = (0..100).map(|number| packed(events::usual(number))).collect();
    Box::new(move || {
        assert!(black_box(CopyBatch::of_events(black_box(&batch)).unwrap()).bytes() > 0);
    })
}
