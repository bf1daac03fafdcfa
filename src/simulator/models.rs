//! InvokeModel and its stream: each family of models has bodies of its own.

use serde_json::{Value, json};

use super::answer::{LATENCY_MS, Turn, json};
use super::compatible::{chat_body, message_body};
use super::tokens::{PIXEL, vector};
use super::wire::Reply;

mod catalogue;
mod streams;

pub(super) use catalogue::{list, list_profiles};
pub(super) use streams::stream;

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

#[cfg(test)]
mod tests {
    use super::super::SimulatorOptions;
    use super::super::answer::Call;
    use super::super::tokens::predicted_usage;
    use super::super::wire::{Body, Head};
    use super::*;

    #[test]
    fn each_family_answers_in_its_own_form() {
        let cases = [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "{}", "/content/0/text"),
            ("amazon.nova-pro-v1:0", "{}", "/output/message/content/0/text"),
            ("amazon.nova-canvas-v1:0", "{}", "/images/0"),
            ("amazon.nova-2-multimodal-embeddings-v1:0", "{}", "/embeddings/0/embedding/1023"),
            ("amazon.titan-text-premier-v1:0", "{}", "/results/0/tokenCount"),
            ("amazon.titan-embed-text-v2:0", r#"{"dimensions":256}"#, "/embedding/255"),
            ("amazon.titan-image-generator-v2:0", "{}", "/images/0"),
            ("amazon.rerank-v1:0", r#"{"documents":["a"]}"#, "/results/0/relevance_score"),
            ("us.meta.llama4-scout-17b-instruct-v1:0", "{}", "/generation_token_count"),
            ("mistral.mistral-7b-instruct-v0:2", r#"{"prompt":"x"}"#, "/outputs/0/text"),
            ("mistral.pixtral-large-2502-v1:0", "{}", "/choices/0/message/content"),
            ("cohere.command-r-plus-v1:0", "{}", "/text"),
            ("cohere.embed-v4:0", r#"{"texts":["a","b"]}"#, "/embeddings/1/0"),
            ("twelvelabs.marengo-embed-2-7-v1:0", "{}", "/data/0/embedding/0"),
            ("deepseek.r1-v1:0", r#"{"prompt":"x"}"#, "/choices/0/text"),
            ("stability.sd3-5-large-v1:0", "{}", "/images/0"),
            ("openai.gpt-oss-120b-1:0", "{}", "/usage/completion_tokens"),
            ("something.new-v1:0", "{}", "/choices/0/message/content"),
        ];
        let options = SimulatorOptions::default();
        for (model, request, member) in cases {
            let head = Head { path: format!("/model/{model}/invoke"), ..Head::default() };
            let call = Call::new(&head, request.into(), &options, "id".to_owned());
            let turn = Turn { call: &call, usage: predicted_usage(request.as_bytes()), reports_usage: true };
            let Body::Whole(body) = answer(&turn).body else { panic!("{model} streamed") };
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(body.pointer(member).is_some_and(|value| !value.is_null()), "{model}: {body}");
        }
    }
}
