//! Agents, flows, knowledge bases, guardrails, reranking, and the invocations that run on their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::answer::{Turn, event_stream, json, server_sent_events};
use super::frames::{event, server_sent};
use super::models::ranking;
use super::wire::Reply;

/// Characters of text that make one unit of a guardrail's policy.
/// <https://aws.amazon.com/bedrock/pricing/>
const CHARACTERS_PER_TEXT_UNIT: u64 = 1_000;
/// A guardrail blocks text that holds this.
const BLOCKED: &str = "forbidden";

pub(super) fn apply_guardrail(turn: &Turn<'_>) -> Reply {
    let content = turn.call.json.get("content").and_then(Value::as_array);
    let texts: Vec<&str> = content
        .into_iter()
        .flatten()
        .filter_map(|block| block.pointer("/text/text").and_then(Value::as_str))
        .collect();
    let characters = texts.iter().map(|text| text.chars().count() as u64).fold(0, u64::saturating_add);
    let units = characters.div_ceil(CHARACTERS_PER_TEXT_UNIT);
    let is_blocked = texts.iter().any(|text| text.contains(BLOCKED));
    let outputs =
        if is_blocked { json!([{ "text": "Sorry, the model cannot answer this." }]) } else { json!([]) };
    let mut answer = json!({
        "action": if is_blocked { "GUARDRAIL_INTERVENED" } else { "NONE" },
        "actionReason": if is_blocked { "Guardrail blocked." } else { "No action." },
        "assessments": [{ "invocationMetrics": {
            "guardrailProcessingLatency": 42,
            "guardrailCoverage": { "textCharacters": { "guarded": characters, "total": characters } },
        } }],
        "guardrailCoverage": { "textCharacters": { "guarded": characters, "total": characters } },
        "outputs": outputs,
    });
    let usage = json!({
        "topicPolicyUnits": units,
        "contentPolicyUnits": units,
        "wordPolicyUnits": units,
        "sensitiveInformationPolicyUnits": units,
        "sensitiveInformationPolicyFreeUnits": units,
        "contextualGroundingPolicyUnits": 0,
        "contentPolicyImageUnits": 0,
        "automatedReasoningPolicyUnits": 0,
        "automatedReasoningPolicies": 0,
    });
    turn.report(&mut answer, "usage", usage);
    json(answer)
}

pub(super) fn retrieve(turn: &Turn<'_>) -> Reply {
    json(json!({ "retrievalResults": [reference(turn)] }))
}

fn reference(turn: &Turn<'_>) -> Value {
    json!({
        "content": { "type": "TEXT", "text": turn.text() },
        "location": { "type": "S3", "s3Location": { "uri": "s3://simulated/document.txt" } },
        "metadata": { "x-amz-bedrock-kb-source-uri": "s3://simulated/document.txt" },
        "score": 0.75,
    })
}

fn session_id(turn: &Turn<'_>) -> String {
    let asked = turn.call.json.get("sessionId").and_then(Value::as_str);
    asked.unwrap_or(&turn.call.request_id).to_owned()
}

fn citation(turn: &Turn<'_>) -> Value {
    let text = turn.text();
    let mut reference = reference(turn);
    if let Some(members) = reference.as_object_mut() {
        members.remove("score");
    }
    let span = json!({ "start": 0, "end": text.len() });
    json!({
        "generatedResponsePart": { "textResponsePart": { "text": text, "span": span } },
        "retrievedReferences": [reference],
    })
}

pub(super) fn retrieve_and_generate(turn: &Turn<'_>) -> Reply {
    json(json!({
        "sessionId": session_id(turn),
        "output": { "text": turn.text() },
        "citations": [citation(turn)],
    }))
}

pub(super) fn retrieve_and_generate_stream(turn: &Turn<'_>) -> Reply {
    let mut frames: Vec<Bytes> =
        turn.pieces().into_iter().map(|text| event("output", &json!({ "text": text }))).collect();
    frames.push(event("citation", &json!({ "citation": citation(turn) })));
    frames.push(event("guardrail", &json!({ "action": "NONE" })));
    let mut reply = event_stream(frames);
    reply.headers.push(("x-amzn-bedrock-knowledge-base-session-id", session_id(turn)));
    reply
}

pub(super) fn rerank(turn: &Turn<'_>) -> Reply {
    let results = ranking(turn.call.json.get("sources"));
    let limit = turn
        .call
        .json
        .pointer("/rerankingConfiguration/bedrockRerankingConfiguration/numberOfResults")
        .and_then(Value::as_u64)
        .and_then(|limit| usize::try_from(limit).ok());
    let spelled = results.into_iter().take(limit.unwrap_or(usize::MAX)).map(
        |result| json!({ "index": result.get("index"), "relevanceScore": result.get("relevance_score") }),
    );
    json(json!({ "results": spelled.collect::<Vec<_>>() }))
}

/// InvokeAgent and InvokeInlineAgent: the text in chunks, and what the model used in a trace where that is asked for.
pub(super) fn agent(turn: &Turn<'_>, session: &str) -> Reply {
    let call = turn.call;
    let mut frames = Vec::new();
    if call.json.get("enableTrace").and_then(Value::as_bool).unwrap_or(false) {
        frames.push(event("trace", &trace(turn, session)));
    }
    frames.extend(
        turn.pieces().into_iter().map(|text| event("chunk", &json!({ "bytes": STANDARD.encode(text) }))),
    );
    let mut reply = event_stream(frames);
    reply.headers.push(("x-amzn-bedrock-agent-content-type", "application/json".to_owned()));
    reply.headers.push(("x-amz-bedrock-agent-session-id", session.to_owned()));
    reply
}

fn trace(turn: &Turn<'_>, session: &str) -> Value {
    let segment = |index: usize| turn.call.segments.get(index).cloned().unwrap_or_default();
    let mut metadata = json!({});
    let usage = json!({ "inputTokens": turn.usage.input, "outputTokens": turn.usage.output });
    turn.report(&mut metadata, "usage", usage);
    let raw = json!({ "model": "anthropic.claude-sonnet-4-5-20250929-v1:0", "content": turn.text() });
    json!({
        "agentId": segment(1),
        "agentAliasId": segment(3),
        "agentVersion": "1",
        "sessionId": session,
        "trace": { "orchestrationTrace": { "modelInvocationOutput": {
            "traceId": format!("{}-0", turn.call.request_id),
            "metadata": metadata,
            "rawResponse": { "content": raw.to_string() },
        } } },
    })
}

pub(super) fn flow(turn: &Turn<'_>) -> Reply {
    let output = json!({ "content": { "document": turn.text() }, "nodeName": "FlowOutputNode", "nodeType": "FlowOutputNode" });
    let mut reply = event_stream(vec![
        event("flowOutputEvent", &output),
        event("flowCompletionEvent", &json!({ "completionReason": "SUCCESS" })),
    ]);
    reply.headers.push(("x-amz-bedrock-flow-execution-id", turn.call.request_id.clone()));
    reply
}

fn invocation_arn(turn: &Turn<'_>) -> String {
    let (region, account) = (turn.call.region, turn.call.account_id);
    let id: String = turn.call.request_id.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("arn:aws:bedrock:{region}:{account}:async-invoke/{id}")
}

pub(super) fn start_async_invoke(turn: &Turn<'_>) -> Reply {
    json(json!({ "invocationArn": invocation_arn(turn) }))
}

pub(super) fn async_invoke(turn: &Turn<'_>, arn: &str) -> Reply {
    let now =
        turn.call.now.replace_nanosecond(0).unwrap_or(turn.call.now).format(&Rfc3339).unwrap_or_default();
    json(json!({
        "invocationArn": arn,
        "modelArn": format!("arn:aws:bedrock:{}::foundation-model/amazon.nova-reel-v1:1", turn.call.region),
        "status": "Completed",
        "submitTime": now,
        "lastModifiedTime": now,
        "endTime": now,
        "outputDataConfig": { "s3OutputDataConfig": { "s3Uri": "s3://simulated/output" } },
    }))
}

/// An agent of AgentCore streams what it likes; here server-sent events where the caller accepts them.
pub(super) fn agent_runtime(turn: &Turn<'_>) -> Reply {
    let accepts_events =
        turn.call.head.header("accept").is_some_and(|accept| accept.contains("text/event-stream"));
    let mut reply = if accepts_events {
        let events = turn.pieces().into_iter().map(|text| server_sent(None, &json!(text).to_string()));
        server_sent_events(events.collect())
    } else {
        json(json!({ "result": turn.text() }))
    };
    let session = turn.call.head.header("x-amzn-bedrock-agentcore-runtime-session-id");
    let session = session.unwrap_or(&turn.call.request_id).to_owned();
    reply.headers.push(("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", session));
    reply
}
