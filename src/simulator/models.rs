//! InvokeModel and its stream: each family of models has bodies of its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{LATENCY_MS, Turn, event_stream, json};
use super::compatible::{chat_body, chat_chunks, message_body, message_events};
use super::frames::{event, padded};
use super::tokens::{PIXEL, vector};
use super::wire::Reply;

/// Dimensions of an embedding where the request names none.
const DIMENSIONS: u64 = 1024;
/// The most dimensions and the most images or vectors in one answer.
const MAX_DIMENSIONS: u64 = 4096;
const MAX_ITEMS: usize = 128;

/// How a family of models spells its bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Anthropic,
    Nova,
    NovaEmbed,
    TitanText,
    TitanEmbed,
    Llama,
    MistralText,
    CohereCommand,
    CohereEmbed,
    Marengo,
    Rerank,
    DeepSeekText,
    Images,
    StabilityImages,
    /// Chat completions: AI21, DeepSeek, Mistral, Qwen, OpenAI, Writer, and all that is new.
    Chat,
}

impl Family {
    fn of(turn: &Turn<'_>) -> Self {
        let model = turn.call.model();
        let has_prompt = turn.call.json.get("prompt").is_some();
        let table = [
            ("anthropic.", Self::Anthropic),
            ("rerank", Self::Rerank),
            ("canvas", Self::Images),
            ("titan-image", Self::Images),
            ("titan-embed", Self::TitanEmbed),
            ("titan", Self::TitanText),
            ("multimodal-embeddings", Self::NovaEmbed),
            ("nova", Self::Nova),
            ("llama", Self::Llama),
            ("cohere.embed", Self::CohereEmbed),
            ("cohere.", Self::CohereCommand),
            ("marengo", Self::Marengo),
            ("stability.", Self::StabilityImages),
        ];
        let known = table.iter().find(|(part, _)| model.contains(part)).map(|(_, family)| *family);
        match known {
            Some(family) => family,
            None if has_prompt && model.contains("mistral") => Self::MistralText,
            None if has_prompt && model.contains("deepseek") => Self::DeepSeekText,
            None => Self::Chat,
        }
    }

    fn counts_tokens(self) -> bool {
        !matches!(self, Self::Images | Self::StabilityImages | Self::Rerank)
    }

    fn writes_text(self) -> bool {
        let embeds = matches!(self, Self::NovaEmbed | Self::TitanEmbed | Self::CohereEmbed | Self::Marengo);
        self.counts_tokens() && !embeds
    }
}

pub(super) fn answer(turn: &Turn<'_>) -> Reply {
    let family = Family::of(turn);
    let mut reply = json(body(turn, family));
    if turn.reports_usage && family.counts_tokens() {
        let usage = turn.usage;
        let mut counts = vec![("X-Amzn-Bedrock-Input-Token-Count", usage.input)];
        if family.writes_text() {
            counts.push(("X-Amzn-Bedrock-Output-Token-Count", usage.output));
        }
        if usage.cache_read > 0 {
            counts.push(("X-Amzn-Bedrock-Cache-Read-Input-Token-Count", usage.cache_read));
        }
        if usage.cache_write() > 0 {
            counts.push(("X-Amzn-Bedrock-Cache-Write-Input-Token-Count", usage.cache_write()));
        }
        reply.headers.extend(counts.into_iter().map(|(name, count)| (name, count.to_string())));
    }
    reply.headers.push(("X-Amzn-Bedrock-Invocation-Latency", LATENCY_MS.to_string()));
    if let Some(tier) = turn.call.head.header("x-amzn-bedrock-service-tier") {
        reply.headers.push(("X-Amzn-Bedrock-Service-Tier", tier.to_owned()));
    }
    reply
}

fn body(turn: &Turn<'_>, family: Family) -> Value {
    let (usage, text) = (turn.usage, || turn.text());
    match family {
        Family::Anthropic => message_body(turn),
        Family::Nova => {
            let mut answer = json!({
                "output": { "message": { "content": [{ "text": text() }], "role": "assistant" } },
                "stopReason": "end_turn",
            });
            turn.report(&mut answer, "usage", nova_usage(turn));
            answer
        }
        Family::TitanText => json!({
            "inputTextTokenCount": usage.input,
            "results": [{ "tokenCount": usage.output, "outputText": text(), "completionReason": "FINISH" }],
        }),
        Family::TitanEmbed => {
            let vector = embedding(turn);
            json!({ "embedding": vector, "embeddingsByType": { "float": vector }, "inputTextTokenCount": usage.input })
        }
        Family::NovaEmbed => {
            json!({ "embeddings": [{ "embeddingType": "TEXT", "embedding": embedding(turn) }] })
        }
        Family::Marengo => {
            json!({ "data": [{ "embedding": embedding(turn), "embeddingOption": "visual-text" }] })
        }
        Family::Llama => json!({
            "generation": text(),
            "prompt_token_count": usage.input,
            "generation_token_count": usage.output,
            "stop_reason": "stop",
        }),
        Family::MistralText => json!({ "outputs": [{ "text": text(), "stop_reason": "stop" }] }),
        Family::DeepSeekText => json!({ "choices": [{ "text": text(), "stop_reason": "stop" }] }),
        Family::CohereCommand => json!({
            "response_id": turn.call.request_id,
            "generation_id": turn.call.request_id,
            "text": text(),
            "chat_history": [],
            "finish_reason": "COMPLETE",
        }),
        Family::CohereEmbed => {
            let texts = turn.call.json.get("texts").cloned().unwrap_or_else(|| json!([]));
            let count = texts.as_array().map_or(1, Vec::len).clamp(1, MAX_ITEMS);
            let vectors: Vec<Vec<f64>> = std::iter::repeat_n(embedding(turn), count).collect();
            json!({ "id": turn.call.request_id, "response_type": "embeddings_floats", "embeddings": vectors, "texts": texts })
        }
        Family::Rerank => json!({ "results": ranking(turn.call.json.get("documents")) }),
        Family::Images => json!({ "images": images(turn), "error": null }),
        Family::StabilityImages => json!({ "seeds": [0], "finish_reasons": [null], "images": [PIXEL] }),
        Family::Chat => chat_body(turn),
    }
}

pub(super) fn stream(turn: &Turn<'_>) -> Reply {
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
    let pieces = turn.pieces();
    let last = pieces.len().saturating_sub(1);
    let enumerated = pieces.into_iter().enumerate();
    match family {
        Family::Anthropic => message_events(turn),
        Family::Nova => nova_events(turn),
        Family::TitanText => enumerated
            .map(|(index, text)| {
                json!({
                    "outputText": text,
                    "index": 0,
                    "totalOutputTextTokenCount": (index == last).then_some(usage.output),
                    "completionReason": (index == last).then_some("FINISH"),
                    "inputTextTokenCount": (index == 0).then_some(usage.input),
                })
            })
            .collect(),
        Family::Llama => enumerated
            .map(|(index, text)| {
                json!({
                    "generation": text,
                    "prompt_token_count": (index == 0).then_some(usage.input),
                    "generation_token_count": index.saturating_add(1),
                    "stop_reason": (index == last).then_some("stop"),
                })
            })
            .collect(),
        Family::MistralText => enumerated
            .map(|(index, text)| {
                json!({ "outputs": [{ "text": text, "stop_reason": (index == last).then_some("stop") }] })
            })
            .collect(),
        Family::DeepSeekText => enumerated
            .map(|(index, text)| {
                json!({ "choices": [{ "text": text, "stop_reason": (index == last).then_some("stop") }] })
            })
            .collect(),
        Family::CohereCommand => {
            let mut events: Vec<Value> = enumerated
                .map(|(_, text)| json!({ "is_finished": false, "event_type": "text-generation", "text": text }))
                .collect();
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

fn nova_usage(turn: &Turn<'_>) -> Value {
    let usage = turn.usage;
    json!({
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": usage.total(),
        "cacheReadInputTokenCount": usage.cache_read,
        "cacheWriteInputTokenCount": usage.cache_write(),
    })
}

fn embedding(turn: &Turn<'_>) -> Vec<f64> {
    let pointers = [
        "/dimensions",
        "/embeddingConfig/outputEmbeddingLength",
        "/singleEmbeddingParams/embeddingDimension",
        "/output_dimension",
    ];
    let asked = pointers.iter().find_map(|pointer| turn.call.json.pointer(pointer)?.as_u64());
    vector(usize::try_from(asked.unwrap_or(DIMENSIONS).min(MAX_DIMENSIONS)).unwrap_or(0))
}

fn images(turn: &Turn<'_>) -> Vec<&'static str> {
    let asked = turn.call.json.pointer("/imageGenerationConfig/numberOfImages").and_then(Value::as_u64);
    let count = usize::try_from(asked.unwrap_or(1)).unwrap_or(MAX_ITEMS).min(MAX_ITEMS);
    vec![PIXEL; count]
}

/// Documents ranked in the order they came.
pub(super) fn ranking(documents: Option<&Value>) -> Vec<Value> {
    let count = documents.and_then(Value::as_array).map_or(0, Vec::len);
    (0..count).map(|index| json!({ "index": index, "relevance_score": 1.0 / (index as f64 + 1.0) })).collect()
}

/// A few foundation models.
pub(super) fn list(turn: &Turn<'_>) -> Reply {
    let region = turn.call.region;
    let summary = |id: &str, provider: &str, output: &str| {
        json!({
            "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{id}"),
            "modelId": id,
            "modelName": id,
            "providerName": provider,
            "inputModalities": ["TEXT"],
            "outputModalities": [output],
            "responseStreamingSupported": output == "TEXT",
            "customizationsSupported": [],
            "inferenceTypesSupported": ["ON_DEMAND"],
            "modelLifecycle": { "status": "ACTIVE" },
        })
    };
    json(json!({ "modelSummaries": [
        summary("anthropic.claude-sonnet-4-5-20250929-v1:0", "Anthropic", "TEXT"),
        summary("amazon.nova-pro-v1:0", "Amazon", "TEXT"),
        summary("amazon.titan-embed-text-v2:0", "Amazon", "EMBEDDING"),
        summary("meta.llama3-3-70b-instruct-v1:0", "Meta", "TEXT"),
        summary("openai.gpt-oss-120b-1:0", "OpenAI", "TEXT"),
    ] }))
}

/// An inference profile over regions.
pub(super) fn list_profiles(turn: &Turn<'_>) -> Reply {
    let (region, account) = (turn.call.region, turn.call.account_id);
    let id = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let model = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    json(json!({ "inferenceProfileSummaries": [{
        "inferenceProfileId": id,
        "inferenceProfileArn": format!("arn:aws:bedrock:{region}:{account}:inference-profile/{id}"),
        "inferenceProfileName": "US Claude Sonnet 4.5",
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
        "models": [{ "modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{model}") }],
    }] }))
}
