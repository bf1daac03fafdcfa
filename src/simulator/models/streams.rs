//! InvokeModelWithResponseStream: the events of each family, in chunks of base64, the last with the metrics of the call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::answer::{LATENCY_MS, Turn, event_stream};
use super::super::compatible::{chat_chunks, message_events};
use super::super::frames::{event, padded};
use super::super::wire::Reply;
use super::{Family, body, nova_usage};

pub(in crate::simulator) fn stream(turn: &Turn<'_>) -> Reply {
    let mut payloads = stream_payloads(turn, Family::of(turn));
    let usage = turn.usage;
    let metrics = json!({
        "inputTokenCount": usage.input,
        "outputTokenCount": usage.output,
        "invocationLatency": LATENCY_MS,
        "firstByteLatency": LATENCY_MS / 2,
        "cacheReadInputTokenCount": usage.cache_read,
        "cacheWriteInputTokenCount": usage.cache_write(),
    });
    if let Some(last) = payloads.last_mut() {
        turn.report(last, "amazon-bedrock-invocationMetrics", metrics);
    }
    let chunk = |(index, payload): (usize, &Value)| -> Bytes {
        event("chunk", &padded(json!({ "bytes": STANDARD.encode(payload.to_string()) }), index))
    };
    let mut reply = event_stream(payloads.iter().enumerate().map(chunk).collect());
    reply.headers.push(("X-Amzn-Bedrock-Content-Type", "application/json".to_owned()));
    reply
}

fn stream_payloads(turn: &Turn<'_>, family: Family) -> Vec<Value> {
    let usage = turn.usage;
    match family {
        Family::Anthropic => message_events(turn),
        Family::Nova => nova_events(turn),
        Family::TitanText => each_piece(turn, |text, index, is_last| {
            json!({
                "outputText": text,
                "index": 0,
                "totalOutputTextTokenCount": is_last.then_some(usage.output),
                "completionReason": is_last.then_some("FINISH"),
                "inputTextTokenCount": (index == 0).then_some(usage.input),
            })
        }),
        Family::Llama => each_piece(turn, |text, index, is_last| {
            let so_far = u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
            json!({
                "generation": text,
                "prompt_token_count": (index == 0).then_some(usage.input),
                "generation_token_count": if is_last { usage.output } else { so_far.min(usage.output) },
                "stop_reason": is_last.then_some("stop"),
            })
        }),
        Family::MistralText => each_piece(
            turn,
            |text, _, is_last| json!({ "outputs": [{ "text": text, "stop_reason": is_last.then_some("stop") }] }),
        ),
        Family::DeepSeekText => each_piece(
            turn,
            |text, _, is_last| json!({ "choices": [{ "text": text, "stop_reason": is_last.then_some("stop") }] }),
        ),
        Family::CohereCommand => {
            let mut events = each_piece(
                turn,
                |text, _, _| json!({ "is_finished": false, "event_type": "text-generation", "text": text }),
            );
            events.push(json!({
                "is_finished": true,
                "event_type": "stream-end",
                "finish_reason": "COMPLETE",
                "response": { "text": turn.text(), "finish_reason": "COMPLETE" },
            }));
            events
        }
        Family::Chat => chat_chunks(turn, true),
        other => vec![body(turn, other)],
    }
}

/// An event for each piece of the text, told its index and whether it is the last.
fn each_piece(turn: &Turn<'_>, event: impl Fn(String, usize, bool) -> Value) -> Vec<Value> {
    let pieces = turn.pieces();
    let last = pieces.len().saturating_sub(1);
    pieces.into_iter().enumerate().map(|(index, text)| event(text, index, index == last)).collect()
}

fn nova_events(turn: &Turn<'_>) -> Vec<Value> {
    let mut events = vec![json!({ "messageStart": { "role": "assistant" } })];
    events.extend(
        turn.pieces().into_iter().map(
            |text| json!({ "contentBlockDelta": { "delta": { "text": text }, "contentBlockIndex": 0 } }),
        ),
    );
    events.push(json!({ "contentBlockStop": { "contentBlockIndex": 0 } }));
    events.push(json!({ "messageStop": { "stopReason": "end_turn" } }));
    let mut metadata = json!({ "metrics": {}, "trace": {} });
    turn.report(&mut metadata, "usage", nova_usage(turn));
    events.push(json!({ "metadata": metadata }));
    events
}
