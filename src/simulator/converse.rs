//! Converse and ConverseStream.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::{LATENCY_MS, Turn, event_stream, json};
use super::frames::{event, padded};
use super::wire::Reply;

pub(super) fn answer(turn: &Turn<'_>) -> Reply {
    let tool = asked_tool(turn);
    let content = match &tool {
        Some(name) => {
            json!([{ "toolUse": { "toolUseId": tool_use_id(turn), "name": name, "input": { "simulated": true } } }])
        }
        None => json!([{ "text": turn.text() }]),
    };
    let mut answer = json!({
        "metrics": { "latencyMs": LATENCY_MS },
        "output": { "message": { "content": content, "role": "assistant" } },
        "stopReason": stop_reason(&tool),
    });
    turn.report(&mut answer, "usage", usage(turn));
    with_tiers(turn, &mut answer);
    json(answer)
}

pub(super) fn stream(turn: &Turn<'_>) -> Reply {
    let tool = asked_tool(turn);
    let mut events = vec![("messageStart", json!({ "role": "assistant" }))];
    match &tool {
        Some(name) => {
            let start = json!({ "toolUse": { "toolUseId": tool_use_id(turn), "name": name } });
            events.push(("contentBlockStart", json!({ "contentBlockIndex": 0, "start": start })));
            for part in ["{\"simulated\":", " true}"] {
                let delta = json!({ "toolUse": { "input": part } });
                events.push(("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": delta })));
            }
        }
        None => {
            events.extend(turn.pieces().into_iter().map(|text| {
                ("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": text } }))
            }))
        }
    }
    events.push(("contentBlockStop", json!({ "contentBlockIndex": 0 })));
    events.push(("messageStop", json!({ "stopReason": stop_reason(&tool) })));
    let mut metadata = json!({ "metrics": { "latencyMs": LATENCY_MS } });
    turn.report(&mut metadata, "usage", usage(turn));
    with_tiers(turn, &mut metadata);
    events.push(("metadata", metadata));
    let frame =
        |(index, (name, payload)): (usize, (&str, Value))| -> Bytes { event(name, &padded(payload, index)) };
    event_stream(events.into_iter().enumerate().map(frame).collect())
}

/// Recorded answers name the cache's tokens twice, under old and new names.
fn usage(turn: &Turn<'_>) -> Value {
    let usage = turn.usage;
    let mut members = Map::new();
    members.insert("inputTokens".to_owned(), usage.input.into());
    members.insert("outputTokens".to_owned(), usage.output.into());
    members.insert("totalTokens".to_owned(), usage.total().into());
    for (name, count) in
        [("cacheReadInputToken", usage.cache_read), ("cacheWriteInputToken", usage.cache_write())]
    {
        members.insert(format!("{name}s"), count.into());
        members.insert(format!("{name}Count"), count.into());
    }
    if usage.cache_write() > 0 {
        let written = [("5m", usage.cache_write_5m), ("1h", usage.cache_write_1h)];
        let details = written
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(ttl, count)| json!({ "inputTokens": count, "ttl": ttl }));
        members.insert("cacheDetails".to_owned(), details.collect());
    }
    Value::Object(members)
}

fn with_tiers(turn: &Turn<'_>, answer: &mut Value) {
    let Some(members) = answer.as_object_mut() else { return };
    for name in ["serviceTier", "performanceConfig"] {
        if let Some(asked) = turn.call.json.get(name) {
            members.insert(name.to_owned(), asked.clone());
        }
    }
}

/// The tool that the request insists on, if it does.
fn asked_tool(turn: &Turn<'_>) -> Option<String> {
    let config = turn.call.json.get("toolConfig")?;
    let choice = config.get("toolChoice")?;
    let named = choice.pointer("/tool/name");
    let first = choice.get("any").and_then(|_| config.pointer("/tools/0/toolSpec/name"));
    named.or(first)?.as_str().map(str::to_owned)
}

fn tool_use_id(turn: &Turn<'_>) -> String {
    format!("tooluse_{}", turn.call.request_id.replace('-', ""))
}

fn stop_reason(tool: &Option<String>) -> &'static str {
    if tool.is_some() { "tool_use" } else { "end_turn" }
}
