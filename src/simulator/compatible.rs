//! The bodies and server-sent events of OpenAI's and Anthropic's own formats, which Bedrock also speaks.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Call, Turn, json, server_sent_events};
use super::frames::server_sent;
use super::wire::Reply;

pub(super) fn chat(turn: &Turn<'_>) -> Reply {
    json(chat_body(turn))
}

pub(super) fn chat_body(turn: &Turn<'_>) -> Value {
    let mut answer = json!({
        "id": format!("chatcmpl-{}", turn.call.request_id),
        "object": "chat.completion",
        "created": turn.call.now.unix_timestamp(),
        "model": turn.call.model(),
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "logprobs": null,
            "message": { "role": "assistant", "content": turn.text(), "refusal": null },
        }],
    });
    turn.report(&mut answer, "usage", chat_usage(turn));
    answer
}

pub(super) fn chat_stream(turn: &Turn<'_>) -> Reply {
    let asked = turn.call.json.pointer("/stream_options/include_usage").and_then(Value::as_bool);
    let mut events: Vec<Bytes> = chat_chunks(turn, asked.unwrap_or(false))
        .iter()
        .map(|chunk| server_sent(None, &chunk.to_string()))
        .collect();
    events.push(server_sent(None, "[DONE]"));
    server_sent_events(events)
}

/// Chunks as of a chat completion; the last one reports usage where that is asked for.
pub(super) fn chat_chunks(turn: &Turn<'_>, with_usage: bool) -> Vec<Value> {
    let chunk = |choices: Value| {
        json!({
            "id": format!("chatcmpl-{}", turn.call.request_id),
            "object": "chat.completion.chunk",
            "created": turn.call.now.unix_timestamp(),
            "model": turn.call.model(),
            "choices": choices,
        })
    };
    let choice =
        |delta: Value, reason: Value| json!([{ "index": 0, "delta": delta, "finish_reason": reason }]);
    let mut chunks = vec![chunk(choice(json!({ "role": "assistant", "content": "" }), Value::Null))];
    chunks
        .extend(turn.pieces().into_iter().map(|text| chunk(choice(json!({ "content": text }), Value::Null))));
    chunks.push(chunk(choice(json!({}), json!("stop"))));
    if with_usage {
        let mut last = chunk(json!([]));
        turn.report(&mut last, "usage", chat_usage(turn));
        chunks.push(last);
    }
    chunks
}

fn chat_usage(turn: &Turn<'_>) -> Value {
    let usage = turn.usage;
    let prompt = usage.total().saturating_sub(usage.output);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": { "cached_tokens": usage.cache_read },
    })
}

/// The models that the endpoint has.
pub(super) fn models(call: &Call<'_>) -> Reply {
    let model = |id: &str| json!({ "id": id, "object": "model", "created": call.now.unix_timestamp(), "owned_by": "amazon-bedrock" });
    let ids = ["openai.gpt-oss-120b", "openai.gpt-oss-20b"];
    json(json!({ "object": "list", "data": ids.map(model) }))
}

/// A response that is kept, whatever its id.
pub(super) fn stored(turn: &Turn<'_>, id: &str) -> Reply {
    let mut body = response_body(turn, true);
    if let Some(members) = body.as_object_mut() {
        members.insert("id".to_owned(), id.into());
    }
    json(body)
}

pub(super) fn responses(turn: &Turn<'_>) -> Reply {
    json(response_body(turn, true))
}

fn response_body(turn: &Turn<'_>, is_complete: bool) -> Value {
    let item = response_item(turn, is_complete);
    let mut answer = json!({
        "id": format!("resp_{}", turn.call.request_id.replace('-', "")),
        "object": "response",
        "created_at": turn.call.now.unix_timestamp(),
        "status": if is_complete { "completed" } else { "in_progress" },
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "model": turn.call.model(),
        "output": if is_complete { json!([item]) } else { json!([]) },
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": null,
    });
    if is_complete {
        let usage = turn.usage;
        let input = usage.total().saturating_sub(usage.output);
        let reported = json!({
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": usage.cache_read },
            "output_tokens": usage.output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": usage.total(),
        });
        turn.report(&mut answer, "usage", reported);
    }
    answer
}

fn response_item(turn: &Turn<'_>, is_complete: bool) -> Value {
    let content = json!([{ "type": "output_text", "text": turn.text(), "annotations": [] }]);
    json!({
        "id": format!("msg_{}", turn.call.request_id.replace('-', "")),
        "type": "message",
        "role": "assistant",
        "status": if is_complete { "completed" } else { "in_progress" },
        "content": if is_complete { content } else { json!([]) },
    })
}

pub(super) fn responses_stream(turn: &Turn<'_>) -> Reply {
    let item = |is_complete| response_item(turn, is_complete);
    let id = item(false).get("id").cloned().unwrap_or_default();
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    let at = |mut event: Value, extra: Value| {
        if let (Some(event), Some(extra)) = (event.as_object_mut(), extra.as_object()) {
            event.extend(extra.clone());
        }
        event
    };
    let place = json!({ "item_id": id, "output_index": 0, "content_index": 0 });
    let mut events = vec![
        json!({ "type": "response.created", "response": response_body(turn, false) }),
        json!({ "type": "response.in_progress", "response": response_body(turn, false) }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item(false) }),
        at(json!({ "type": "response.content_part.added", "part": part("") }), place.clone()),
    ];
    let delta =
        |text: String| at(json!({ "type": "response.output_text.delta", "delta": text }), place.clone());
    events.extend(turn.pieces().into_iter().map(delta));
    events.push(at(json!({ "type": "response.output_text.done", "text": turn.text() }), place.clone()));
    events
        .push(at(json!({ "type": "response.content_part.done", "part": part(&turn.text()) }), place.clone()));
    events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": item(true) }));
    events.push(json!({ "type": "response.completed", "response": response_body(turn, true) }));
    let numbered = events.into_iter().enumerate().map(|(index, event)| {
        let event = at(event, json!({ "sequence_number": index }));
        let name = event.get("type").and_then(Value::as_str).map(str::to_owned);
        server_sent(name.as_deref(), &event.to_string())
    });
    server_sent_events(numbered.collect())
}

pub(super) fn messages(turn: &Turn<'_>) -> Reply {
    json(message_body(turn))
}

pub(super) fn message_body(turn: &Turn<'_>) -> Value {
    let mut answer = json!({
        "id": message_id(turn),
        "type": "message",
        "role": "assistant",
        "model": turn.call.model(),
        "content": [{ "type": "text", "text": turn.text() }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
    });
    turn.report(&mut answer, "usage", message_usage(turn, turn.usage.output));
    answer
}

pub(super) fn messages_stream(turn: &Turn<'_>) -> Reply {
    let named = message_events(turn).into_iter().map(|event| {
        let name = event.get("type").and_then(Value::as_str).map(str::to_owned);
        server_sent(name.as_deref(), &event.to_string())
    });
    server_sent_events(named.collect())
}

/// The events of a message; input is reported with the first, output with the last but one.
pub(super) fn message_events(turn: &Turn<'_>) -> Vec<Value> {
    let mut message = json!({
        "id": message_id(turn),
        "type": "message",
        "role": "assistant",
        "model": turn.call.model(),
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    });
    turn.report(&mut message, "usage", message_usage(turn, 1));
    let block = json!({ "type": "text", "text": "" });
    let mut events = vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "ping" }),
    ];
    events.extend(turn.pieces().into_iter().map(|text| {
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } })
    }));
    events.push(json!({ "type": "content_block_stop", "index": 0 }));
    let mut delta =
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null } });
    turn.report(&mut delta, "usage", json!({ "output_tokens": turn.usage.output }));
    events.push(delta);
    events.push(json!({ "type": "message_stop" }));
    events
}

fn message_usage(turn: &Turn<'_>, output: u64) -> Value {
    let usage = turn.usage;
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write(),
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
    })
}

fn message_id(turn: &Turn<'_>) -> String {
    format!("msg_bdrk_{}", turn.call.request_id.replace('-', ""))
}
