//! Answers in the shapes AWS sends, and what each must cost to the nano-dollar.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;

use super::*;
use crate::domain::Service;
use crate::usage::{AnswerFacts, AnswerKind, RequestFacts, UsageReader};

enum Body {
    Json(&'static str),
    /// Events by type and payload.
    Frames(&'static [(&'static str, &'static str)]),
    /// A model's own JSON, to be wrapped in `chunk` events.
    Chunks(&'static [&'static str]),
    Sse(&'static str),
}
use Body::*;

struct Case {
    operation: &'static str,
    model: &'static str,
    headers: &'static [(&'static str, &'static str)],
    request: &'static str,
    body: Body,
}

const COUNTS: &[(&str, &str)] =
    &[("x-amzn-bedrock-input-token-count", "1000"), ("x-amzn-bedrock-output-token-count", "100")];

fn case(operation: &'static str, model: &'static str, body: Body) -> Case {
    Case { operation, model, headers: &[], request: "{}", body }
}

impl Case {
    fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    fn request(self, request: &'static str) -> Self {
        Self { request, ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Json(text) | Sse(text) => text.as_bytes().to_vec(),
            Frames(events) => events.iter().flat_map(|(name, payload)| frame(name, payload)).collect(),
            Chunks(chunks) => chunks.iter().flat_map(|json| frame("chunk", &chunk_payload(json))).collect(),
        }
    }

    fn reader(&self) -> UsageReader {
        let content_type = match self.body {
            Json(_) => "application/json",
            Frames(_) | Chunks(_) => "application/vnd.amazon.eventstream",
            Sse(_) => "text/event-stream; charset=utf-8",
        };
        let service = match self.operation {
            "Rerank" | "InvokeAgent" => Service::BedrockAgentRuntime,
            _ => Service::BedrockRuntime,
        };
        let kind = AnswerKind::of(&AnswerFacts {
            service,
            operation: self.operation,
            model_id: Some(self.model),
            status: 200,
            content_type: Some(content_type),
        });
        let mut reader =
            UsageReader::new(kind, 64 * 1024).with_request(RequestFacts::of(self.request.as_bytes()));
        reader
            .read_head(|name| self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value));
        reader
    }

    fn charge(&self, chunk: usize) -> Charge {
        let mut reader = self.reader();
        for part in self.bytes().chunks(chunk) {
            reader.feed(part);
        }
        let reading = reader.finish();
        assert!(reading.whole, "{} {}", self.operation, self.model);
        let own = BTreeMap::new();
        let (multipliers, at) = (&[], UnixMicros(0));
        let query = PriceQuery {
            model_id: self.model,
            region: "us-east-1",
            base_model: None,
            own: &own,
            multipliers,
            at,
        };
        PriceBook::builtin().charge(&query, &reading)
    }
}

fn frame(name: &str, payload: &str) -> Vec<u8> {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let message = Message::new(payload.as_bytes().to_vec())
        .add_header(Header::new(":event-type", text(name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text("event")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn chunk_payload(json: &str) -> String {
    format!(r#"{{"bytes":"{}","p":"abcdefg"}}"#, base64::engine::general_purpose::STANDARD.encode(json))
}

/// Every case must cost this much however its bytes are cut.
fn check(cases: Vec<(Case, i64)>) {
    for (case, nano_usd) in cases {
        for chunk in [1, 7, 64, 1 << 20] {
            let charge = case.charge(chunk);
            assert_eq!(charge.cost, Some(NanoUsd(nano_usd)), "{} {}: {charge:?}", case.operation, case.model);
            assert_eq!(charge.basis, CostBasis::Exact);
        }
    }
}

fn check_basis(cases: Vec<(Case, CostBasis)>) {
    for (case, basis) in cases {
        let charge = case.charge(50);
        assert_eq!(charge.basis, basis, "{} {}: {charge:?}", case.operation, case.model);
        assert_eq!(charge.cost, (basis == CostBasis::Free).then_some(NanoUsd::ZERO));
    }
}

const SONNET_4_5: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

#[test]
fn converse_answers_are_priced() {
    check(vec![
        (
            case(
                "Converse",
                "amazon.nova-lite-v1:0",
                Json(
                    r#"{"metrics":{"latencyMs":551},"output":{"message":{"content":[{"text":"\"usage\": {\"inputTokens\": 9}"}],"role":"assistant"}},"stopReason":"end_turn","usage":{"inputTokens":1000,"outputTokens":100,"totalTokens":1100,"serverToolUsage":{}}}"#,
                ),
            ),
            84_000,
        ),
        (
            // 10 × 3.3 + 20 × 16.5 + 1000 × 0.33 + 300 × 4.125 (5 min) + 200 × 6.6 (1 h) micro-dollars; twins count once.
            case(
                "Converse",
                SONNET_4_5,
                Json(
                    r#"{"usage":{"inputTokens":10,"outputTokens":20,"totalTokens":1530,"cacheReadInputTokens":1000,"cacheReadInputTokenCount":1000,"cacheWriteInputTokens":500,"cacheWriteInputTokenCount":500,"cacheDetails":[{"ttl":"1h","inputTokens":200},{"ttl":"5m","inputTokens":300}]},"serviceTier":{"type":"default"},"performanceConfig":{"latency":"standard"}}"#,
                ),
            ),
            33_000 + 330_000 + 330_000 + 1_237_500 + 1_320_000,
        ),
        (
            // 200,001 tokens of prompt, most of them from the cache: everything at the long-context price.
            case(
                "Converse",
                SONNET_4_5,
                Json(r#"{"usage":{"inputTokens":1,"outputTokens":10,"cacheReadInputTokens":200000}}"#),
            ),
            6_600 + 247_500 + 132_000_000,
        ),
        (
            case(
                "Converse",
                SONNET_4_5,
                Json(r#"{"usage":{"inputTokens":0,"outputTokens":10,"cacheReadInputTokens":200000}}"#),
            ),
            165_000 + 66_000_000,
        ),
        (
            case(
                "ConverseStream",
                "amazon.nova-pro-v1:0",
                Frames(&[
                    ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
                    (
                        "contentBlockDelta",
                        r#"{"contentBlockIndex":0,"delta":{"text":"hi"},"p":"abcdefghijk"}"#,
                    ),
                    ("messageStop", r#"{"p":"abcdef","stopReason":"end_turn"}"#),
                    (
                        "metadata",
                        r#"{"metrics":{"latencyMs":500},"p":"abc","usage":{"inputTokens":1000,"outputTokens":100,"totalTokens":1100}}"#,
                    ),
                ]),
            ),
            1_120_000,
        ),
    ]);
}

#[test]
fn a_model_whose_price_is_not_known_yet_is_not_free() {
    let answer = Json(r#"{"usage":{"inputTokens":10,"outputTokens":20}}"#);
    check_basis(vec![(case("Converse", "anthropic.claude-mythos-preview", answer), CostBasis::Unpriced)]);
}

/// Nova Lite costs 84,000 for 1,000 and 100 tokens; a topic unit and content unit 150,000 each.
#[test]
fn a_guardrail_beside_a_model_is_charged_with_it_or_leaves_the_cost_an_estimate() {
    const NOVA: &str = "amazon.nova-lite-v1:0";
    const REQUEST: &str = r#"{"guardrailConfig":{"guardrailIdentifier":"g"}}"#;
    const TRACED: &str = r#"{"usage":{"inputTokens":1000,"outputTokens":100},"trace":{"guardrail":{"inputAssessment":{"g":{"invocationMetrics":{"usage":{"topicPolicyUnits":1}}}},"outputAssessments":{"g":[{"invocationMetrics":{"usage":{"contentPolicyUnits":2}}}]}}}}"#;
    const BLOCKED: &str = r#"{"stopReason":"guardrail_intervened","usage":{"inputTokens":0,"outputTokens":0},"trace":{"guardrail":{"inputAssessment":{"g":{"invocationMetrics":{"usage":{"topicPolicyUnits":2}}}}}}}"#;
    const INVOKED: &str = r#"{"usage":{"inputTokens":1000,"outputTokens":100},"amazon-bedrock-guardrailAction":"NONE","amazon-bedrock-trace":{"guardrail":{"input":{"g":{"invocationMetrics":{"usage":{"contentPolicyUnits":1}}}}}}}"#;
    check(vec![
        (case("Converse", NOVA, Json(TRACED)).request(REQUEST), 84_000 + 450_000),
        (case("ConverseStream", NOVA, Frames(&[("metadata", TRACED)])).request(REQUEST), 84_000 + 450_000),
        (case("Converse", NOVA, Json(BLOCKED)).request(REQUEST), 300_000),
        (case("InvokeModel", NOVA, Json(INVOKED)), 84_000 + 150_000),
    ]);
    for case in [
        case("Converse", NOVA, Json(r#"{"usage":{"inputTokens":1000,"outputTokens":100}}"#)).request(REQUEST),
        case(
            "InvokeModel",
            NOVA,
            Json(
                r#"{"usage":{"inputTokens":1000,"outputTokens":100},"amazon-bedrock-guardrailAction":"NONE"}"#,
            ),
        ),
        case(
            "Converse",
            NOVA,
            Json(r#"{"stopReason":"guardrail_intervened","usage":{"inputTokens":1000,"outputTokens":100}}"#),
        ),
    ] {
        let charge = case.charge(50);
        assert_eq!(
            (charge.cost, charge.basis),
            (Some(NanoUsd(84_000)), CostBasis::Estimated),
            "{}",
            case.operation
        );
    }
    let charge = case("Converse", NOVA, Json(TRACED)).charge(50);
    assert_eq!(*charge.price.unwrap().entry, *format!("{NOVA}, bedrock/guardrails"));
}

#[test]
fn invoked_models_are_priced_in_every_family() {
    let invoke = |model, body| case("InvokeModel", model, Json(body));
    check(vec![
        (
            // 10 × 5 + 20 × 25 + 1000 × 0.5 + 300 × 6.25 + 200 × 10 micro-dollars; the headers say the same without the split.
            invoke("anthropic.claude-opus-5", r#"{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":1000,"cache_creation_input_tokens":500,"cache_creation":{"ephemeral_5m_input_tokens":300,"ephemeral_1h_input_tokens":200},"service_tier":"standard"}}"#)
                .headers(&[("x-amzn-bedrock-input-token-count", "10"), ("x-amzn-bedrock-output-token-count", "20"), ("x-amzn-bedrock-cache-read-input-token-count", "1000"), ("x-amzn-bedrock-cache-write-input-token-count", "500")])
                .request(r#"{"cache_control":{"type":"ephemeral","ttl":"1h"}}"#),
            50_000 + 500_000 + 500_000 + 1_875_000 + 2_000_000,
        ),
        (invoke("amazon.nova-lite-v1:0", r#"{"output":{"message":{}},"stopReason":"end_turn","usage":{"inputTokens":1000,"outputTokens":100,"totalTokens":1100,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":0}}"#), 84_000),
        (invoke("amazon.titan-text-express-v1", r#"{"inputTextTokenCount":1000,"results":[{"tokenCount":60,"outputText":"a","completionReason":"FINISH"},{"tokenCount":40,"outputText":"b"}]}"#), 1_470_000),
        (invoke("meta.llama3-70b-instruct-v1:0", r#"{"generation":"hi","prompt_token_count":1000,"generation_token_count":100,"stop_reason":"stop"}"#), 3_000_000),
        (invoke("mistral.mistral-7b-instruct-v0:2", r#"{"outputs":[{"text":"hi","stop_reason":"stop"}]}"#).headers(COUNTS), 170_000),
        (invoke("mistral.mistral-large-2407-v1:0", r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1000,"total_tokens":1100,"completion_tokens":100}}"#), 3_900_000),
        (invoke("cohere.command-r-v1:0", r#"{"text":"hi","meta":{"billed_units":{"input_tokens":1000.0,"output_tokens":100}}}"#), 650_000),
        (invoke("cohere.command-text-v14", r#"{"generations":[{"text":"hi"}],"id":"1","prompt":"x"}"#).headers(COUNTS), 1_700_000),
        (invoke("ai21.jamba-1-5-large-v1:0", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}"#), 2_800_000),
        (invoke("us.deepseek.r1-v1:0", r#"{"choices":[{"text":"hi","stop_reason":"stop"}]}"#).headers(COUNTS), 1_890_000),
        (invoke("deepseek.v3-v1:0", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 748_000),
        (invoke("qwen.qwen3-32b-v1:0", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 210_000),
        (invoke("openai.gpt-oss-120b-1:0", r#"{"choices":[],"service_tier":"default","usage":{"prompt_tokens":1000,"completion_tokens":100,"completion_tokens_details":{"reasoning_tokens":40}}}"#), 210_000),
        (invoke("us.writer.palmyra-x5-v1:0", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 1_200_000),
        (invoke("minimax.minimax-m2", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 420_000),
        (invoke("google.gemma-3-4b-it", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 48_000),
        (invoke("zai.glm-4.7", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 820_000),
        (invoke("nvidia.nemotron-nano-9b-v2", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 83_000),
        (invoke("moonshotai.kimi-k2.5", r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}"#), 900_000),
        (invoke("amazon.titan-embed-text-v2:0", r#"{"embedding":[0.1,-0.2],"embeddingsByType":{"float":[0.1]},"inputTextTokenCount":1000}"#), 20_000),
        (invoke("cohere.embed-english-v3", r#"{"embeddings":[[0.1,0.2]],"id":"1","texts":["x"]}"#).headers(&[("x-amzn-bedrock-input-token-count", "1000")]), 100_000),
        (
            invoke("amazon.titan-embed-image-v1", r#"{"embedding":[0.1],"inputTextTokenCount":10,"message":null}"#)
                .request(r#"{"inputText":"x","inputImage":"aGVsbG8="}"#),
            8_000 + 60_000,
        ),
        (invoke("us.twelvelabs.marengo-embed-3-0-v1:0", r#"{"data":[]}"#).request(r#"{"inputType":"text","text":{"inputText":"x"}}"#), 70_000),
        (
            invoke("cohere.rerank-v3-5:0", r#"{"results":[{"index":0,"relevance_score":0.9}]}"#)
                .request(r#"{"query":"q","documents":["a","b"],"api_version":2}"#),
            2_000_000,
        ),
        (case("Rerank", "amazon.rerank-v1:0", Json(r#"{"results":[]}"#)).request(r#"{"sources":[{"type":"INLINE"}],"queries":[]}"#), 1_000_000),
        (invoke("amazon.nova-canvas-v1:0", r#"{"images":["aGVsbG8=","aGVsbG8="],"maskImage":null}"#), 120_000_000),
        (invoke("amazon.titan-image-generator-v2:0", r#"{"images":["aGVsbG8="],"error":null}"#), 8_000_000),
        (invoke("stability.stable-image-ultra-v1:1", r#"{"seeds":[1],"finish_reasons":[null],"images":["aGVsbG8="]}"#), 140_000_000),
        (
            invoke("stability.stable-diffusion-xl-v1", r#"{"result":"success","artifacts":[{"seed":1,"base64":"aGk=","finishReason":"SUCCESS"}]}"#)
                .request(r#"{"text_prompts":[{"text":"x"}],"steps":60,"width":1024,"height":1024}"#),
            80_000_000,
        ),
    ]);
}

#[test]
fn invoked_streams_are_priced_in_every_family() {
    let invoke = |model, chunks| case("InvokeModelWithResponseStream", model, Chunks(chunks));
    check(vec![
        (
            invoke(
                "anthropic.claude-opus-5",
                &[
                    r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":10,"cache_creation_input_tokens":500,"cache_read_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":300,"ephemeral_1h_input_tokens":200},"output_tokens":1}}}"#,
                    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"amazon-bedrock-invocationMetrics"}}"#,
                    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":20}}"#,
                    r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":20,"invocationLatency":1,"firstByteLatency":1,"cacheReadInputTokenCount":1000,"cacheWriteInputTokenCount":500}}"#,
                ],
            ),
            50_000 + 500_000 + 500_000 + 1_875_000 + 2_000_000,
        ),
        (
            invoke(
                "meta.llama3-70b-instruct-v1:0",
                &[
                    r#"{"generation":"h","prompt_token_count":1000,"generation_token_count":1,"stop_reason":null}"#,
                    r#"{"generation":"i","prompt_token_count":null,"generation_token_count":100,"stop_reason":"stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":100,"invocationLatency":1,"firstByteLatency":1}}"#,
                ],
            ),
            3_000_000,
        ),
        (
            invoke(
                "openai.gpt-oss-120b-1:0",
                &[
                    r#"{"choices":[{"delta":{"content":"hi"}}],"object":"chat.completion.chunk"}"#,
                    r#"{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100},"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":100}}"#,
                ],
            ),
            210_000,
        ),
        (
            invoke(
                "amazon.nova-lite-v1:0",
                &[
                    r#"{"messageStart":{"role":"assistant"}}"#,
                    r#"{"contentBlockDelta":{"delta":{"text":"hi"}}}"#,
                    r#"{"metadata":{"usage":{"inputTokens":1000,"outputTokens":100},"metrics":{}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":100}}"#,
                ],
            ),
            84_000,
        ),
        (
            // No metrics: the last chunk's own statement.
            invoke(
                "amazon.nova-lite-v1:0",
                &[
                    r#"{"messageStart":{"role":"assistant"}}"#,
                    r#"{"metadata":{"usage":{"inputTokens":1000,"outputTokens":100}}}"#,
                ],
            ),
            84_000,
        ),
        (
            invoke(
                "mistral.mistral-7b-instruct-v0:2",
                &[
                    r#"{"outputs":[{"text":"hi","stop_reason":null}]}"#,
                    r#"{"outputs":[{"text":"","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":100}}"#,
                ],
            ),
            170_000,
        ),
    ]);
}

#[test]
fn openai_and_anthropic_answers_are_priced() {
    check(vec![
        (
            // 1000 of prompt, 400 of them from the cache.
            case(
                "OpenAiChatCompletions",
                "openai.gpt-5.5",
                Json(
                    r#"{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100,"prompt_tokens_details":{"cached_tokens":400,"audio_tokens":0}},"service_tier":"default"}"#,
                ),
            ),
            3_300_000 + 220_000 + 3_300_000,
        ),
        (
            case(
                "OpenAiChatCompletions",
                "openai.gpt-5.5",
                Sse(
                    "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":100,\"prompt_tokens_details\":{\"cached_tokens\":400}}}\n\ndata: [DONE]\n\n",
                ),
            ),
            3_300_000 + 220_000 + 3_300_000,
        ),
        (
            case(
                "OpenAiResponses",
                "openai.gpt-5.5",
                Json(
                    r#"{"object":"response","status":"completed","output":[],"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":400},"output_tokens":100,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":1100},"metadata":{}}"#,
                ),
            ),
            3_300_000 + 220_000 + 3_300_000,
        ),
        (
            case(
                "OpenAiResponses",
                "openai.gpt-5.5",
                Sse(
                    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\",\"error\":null,\"usage\":null}}\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":null,\"usage\":{\"input_tokens\":1000,\"input_tokens_details\":{\"cached_tokens\":400},\"output_tokens\":100}}}\n\n",
                ),
            ),
            3_300_000 + 220_000 + 3_300_000,
        ),
        (
            case(
                "AnthropicMessages",
                "anthropic.claude-opus-5",
                Json(
                    r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":1000,"cache_creation_input_tokens":0}}"#,
                ),
            ),
            50_000 + 500_000 + 500_000,
        ),
        (
            case(
                "AnthropicMessages",
                "anthropic.claude-opus-5",
                Sse(
                    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":200,\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":200},\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"message_stop\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":200,\"output_tokens\":20}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
                ),
            ),
            50_000 + 500_000 + 2_000_000,
        ),
    ]);
}

#[test]
fn what_has_no_price_or_no_usage_is_never_guessed() {
    use CostBasis::{Free, Unpriced, UsageUnknown};
    let usage = r#"{"usage":{"inputTokens":10,"outputTokens":20}}"#;
    check_basis(vec![
        (
            case(
                "Converse",
                "amazon.nova-lite-v1:0",
                Json(r#"{"usage":{"inputTokens":10,"outputTokens":20},"serviceTier":{"type":"flex"}}"#),
            ),
            Unpriced,
        ),
        (
            case(
                "Converse",
                "amazon.nova-lite-v1:0",
                Json(r#"{"usage":{"inputTokens":10,"outputTokens":20},"serviceTier":{"type":"priority"}}"#),
            ),
            Unpriced,
        ),
        (
            case(
                "Converse",
                "amazon.nova-lite-v1:0",
                Json(
                    r#"{"usage":{"inputTokens":10,"outputTokens":20},"performanceConfig":{"latency":"optimized"}}"#,
                ),
            ),
            Unpriced,
        ),
        (
            case("InvokeModel", "amazon.nova-lite-v1:0", Json(usage))
                .headers(&[("x-amzn-bedrock-service-tier", "priority")]),
            Unpriced,
        ),
        (
            case("InvokeModel", "amazon.nova-lite-v1:0", Json(usage))
                .headers(&[("x-amzn-bedrock-performanceconfig-latency", "optimized")]),
            Unpriced,
        ),
        // No price for an hour of cache, none for reading the cache.
        (
            case(
                "Converse",
                "anthropic.claude-3-haiku-20240307-v1:0",
                Json(
                    r#"{"usage":{"inputTokens":10,"outputTokens":20,"cacheWriteInputTokens":5,"cacheDetails":[{"ttl":"1h","inputTokens":5}]}}"#,
                ),
            ),
            Unpriced,
        ),
        (
            case(
                "Converse",
                "amazon.nova-lite-v1:0",
                Json(r#"{"usage":{"inputTokens":10,"outputTokens":20,"cacheReadInputTokens":5}}"#),
            ),
            Unpriced,
        ),
        (case("Converse", "vendor.unheard-of-v1:0", Json(usage)), Unpriced),
        (
            case(
                "Converse",
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
                Json(usage),
            ),
            Unpriced,
        ),
        // Headers count cache writes without their time to live, and the request asks for one hour.
        (
            case("InvokeModel", "anthropic.claude-opus-5", Json("{}"))
                .headers(&[
                    ("x-amzn-bedrock-input-token-count", "1"),
                    ("x-amzn-bedrock-cache-write-input-token-count", "5"),
                ])
                .request(r#"{"cache_control":{"ttl":"1h"}}"#),
            UsageUnknown,
        ),
        (case("Converse", "amazon.nova-lite-v1:0", Json(r#"{"output":{}}"#)), UsageUnknown),
        (case("Converse", "amazon.nova-lite-v1:0", Json(r#"{"usage":{"inputTokens":-5}}"#)), UsageUnknown),
        (case("ConverseStream", "amazon.nova-lite-v1:0", Frames(&[("messageStop", "{}")])), UsageUnknown),
        (
            case(
                "OpenAiChatCompletions",
                "openai.gpt-5.5",
                Sse("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"),
            ),
            UsageUnknown,
        ),
        // Broken off on a frame's boundary: what message_start stated is not the whole account.
        (
            case(
                "InvokeModelWithResponseStream",
                "anthropic.claude-opus-5",
                Chunks(&[
                    r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#,
                ]),
            ),
            UsageUnknown,
        ),
        (
            case("InvokeModel", "us.twelvelabs.pegasus-1-2-v1:0", Json(r#"{"message":"hi"}"#))
                .headers(COUNTS),
            UsageUnknown,
        ),
        (case("InvokeAgent", "", Frames(&[("chunk", "{}")])), UsageUnknown),
        (case("CountTokens", "anthropic.claude-opus-5", Json(r#"{"inputTokens":10}"#)), Free),
    ]);
}

#[test]
fn guardrails_are_priced_by_policy() {
    let usage = r#"{"action":"GUARDRAIL_INTERVENED","usage":{"topicPolicyUnits":1,"contentPolicyUnits":2,"wordPolicyUnits":9,"sensitiveInformationPolicyUnits":3,"sensitiveInformationPolicyFreeUnits":9,"contextualGroundingPolicyUnits":4,"contentPolicyImageUnits":5}}"#;
    let cost = 150_000 + 2 * 150_000 + 3 * 100_000 + 4 * 100_000 + 5 * 750_000;
    check(vec![(case("ApplyGuardrail", "", Json(usage)), cost)]);
}

#[test]
fn a_guardrail_of_word_filters_alone_costs_nothing() {
    check(vec![(
        case("ApplyGuardrail", "", Json(r#"{"usage":{"contentPolicyUnits":0,"wordPolicyUnits":3}}"#)),
        0,
    )]);
}
