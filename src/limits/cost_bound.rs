//! The most a request can cost at a deployment, and the tokens it will likely use.

use crate::domain::{NanoUsd, Service};
use crate::pricing::{PriceBook, PriceQuery};
use crate::usage::{AnswerFacts, AnswerKind, ChargedBy, RequestFacts, ServiceTier, mentions_any};

/// Tokens that a model adds to what the request says: its own system prompt for tools and the like.
const ADDED_INPUT_TOKENS: u64 = 1_024;
/// The answer's tokens where the request does not bound them, for rate limits.
const USUAL_OUTPUT_TOKENS: u64 = 1_024;
/// Members that hold or name more input than their bytes tell: pictures, documents, sounds, objects in S3.
const UNMEASURED: [&str; 8] =
    ["image", "image_url", "document", "video", "audio", "s3Location", "file", "input_audio"];

/// What tells a request's cost before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct CostQuestion<'a> {
    /// The service.
    pub service: Service,
    /// The operation's name.
    pub operation: &'a str,
    /// What the body says.
    pub facts: &'a RequestFacts,
    /// The body.
    pub body: &'a [u8],
    /// A header asks for a tier or for latency-optimised inference.
    pub asks_for_more: bool,
}

/// Whether AWS charges nothing for an operation.
#[must_use]
pub fn is_free(service: Service, operation: &str) -> bool {
    charged_by(service, operation, None) == ChargedBy::Nothing
}

fn charged_by(service: Service, operation: &str, model_id: Option<&str>) -> ChargedBy {
    let content_type = Some("application/json");
    AnswerKind::of(&AnswerFacts { service, operation, model_id, status: 200, content_type }).charged_by
}

/// The most a request can cost: a token of input for each byte of its body, and the longest answer that it or its
/// model allows, at the dearest prices that may apply. `None` where that bounds nothing: no price, another unit than
/// tokens, another tier, pictures or documents.
#[must_use]
pub fn could_cost(
    prices: &PriceBook,
    query: &PriceQuery<'_>,
    question: &CostQuestion<'_>,
) -> Option<NanoUsd> {
    let facts = question.facts;
    match charged_by(question.service, question.operation, query.base_model.or(Some(query.model_id))) {
        ChargedBy::Nothing => return Some(NanoUsd::ZERO),
        ChargedBy::Tokens | ChargedBy::Embedding => {}
        _ => return None,
    }
    let is_dearer = question.asks_for_more
        || facts.tier == Some(ServiceTier::Priority)
        || facts.latency_optimised == Some(true);
    let has_media = facts.input_images > 0 || facts.timed_media || facts.image.is_some();
    if is_dearer || has_media || mentions_any(question.body, &UNMEASURED) {
        return None;
    }
    let input = facts.most_input_tokens().saturating_add(ADDED_INPUT_TOKENS);
    prices.worst_case(query, input, facts.max_output_tokens)
}

/// Tokens a request will likely use, for rate limits.
#[must_use]
pub fn likely_tokens(facts: &RequestFacts) -> u64 {
    facts.likely_input_tokens().saturating_add(facts.max_output_tokens.unwrap_or(USUAL_OUTPUT_TOKENS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_charged_by_tokens_of_text_has_a_bound_and_nothing_else_has() {
        let own = BTreeMap::new();
        let bound = |operation: &str, model_id: &str, body: &str, asks_for_more: bool| {
            let query = PriceQuery { model_id, region: "us-west-2", base_model: None, own: &own };
            let facts = RequestFacts::of(body.as_bytes());
            let question = CostQuestion {
                service: Service::BedrockRuntime,
                operation,
                facts: &facts,
                body: body.as_bytes(),
                asks_for_more,
            };
            could_cost(PriceBook::builtin(), &query, &question)
        };
        let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
        let text = r#"{"messages":[],"inferenceConfig":{"maxTokens":10}}"#;
        // 0.25 and 1.25 dollars a million; a cache write is 0.30 for five minutes and 0.50 for an hour.
        let most = bound("Converse", haiku, text, false).unwrap().0;
        let input = i64::try_from(text.len()).unwrap() + 1_024;
        assert!((input * 250 + 10 * 1_250..=input * 500 + 10 * 1_250).contains(&most), "{most}");
        assert_eq!(bound("Converse", haiku, text, true), None);
        assert_eq!(bound("Converse", haiku, r#"{"maxTokens":1,"x":{"image":{}}}"#, false), None);
        assert_eq!(bound("Converse", haiku, r#"{"serviceTier":{"type":"priority"}}"#, false), None);
        assert_eq!(bound("Converse", "nobody.knows-v1:0", text, false), None);
        assert_eq!(bound("InvokeModel", "amazon.titan-image-generator-v1", "{}", false), None);
        assert_eq!(bound("CountTokens", haiku, text, false), Some(NanoUsd::ZERO));
        assert!(is_free(Service::BedrockRuntime, "CountTokens"));
        assert!(!is_free(Service::BedrockRuntime, "Converse"));
    }
}
