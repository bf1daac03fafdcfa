//! The most a request can cost at a deployment, and the tokens it will likely use.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::domain::{NanoUsd, Service};
use crate::pricing::Quote;
use crate::usage::{AnswerFacts, AnswerKind, ChargedBy, RequestFacts, ServiceTier, is_disguised};

/// Tokens that a model adds to what the request says: its own system prompt for tools and the like.
const ADDED_INPUT_TOKENS: u64 = 1_024;
/// Tokens that a model adds for each tool built into it, which the request names by type and date only. Anthropic
/// states up to 735 for one.
/// <https://docs.claude.com/en/docs/agents-and-tools/tool-use/computer-use-tool#pricing>
const ADDED_TOKENS_OF_BUILT_IN_TOOL: u64 = 2_048;
/// The answer's tokens where the request does not bound them, for rate limits.
const USUAL_OUTPUT_TOKENS: u64 = 1_024;

/// What tells a request's cost before it is sent.
#[derive(Clone, Copy, Debug)]
pub struct CostQuestion<'a> {
    /// The service.
    pub service: Service,
    /// The operation's name.
    pub operation: &'a str,
    /// The model that is asked, by the deployment's `base_model` if it has one.
    pub model_id: &'a str,
    /// What the body says.
    pub facts: &'a RequestFacts,
    /// The body.
    pub body: &'a [u8],
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
/// model allows, at the dearest prices that may apply; of a reranker the most queries that its documents can make. `None`
/// where that bounds nothing: no price, another unit than these, another tier, pictures or documents, a guardrail, or a
/// body that may hold what was not read here.
#[must_use]
pub fn could_cost(quote: &Quote<'_>, question: &CostQuestion<'_>) -> Option<NanoUsd> {
    let facts = question.facts;
    match charged_by(question.service, question.operation, Some(question.model_id)) {
        ChargedBy::Nothing => return Some(NanoUsd::ZERO),
        ChargedBy::Tokens | ChargedBy::Embedding => {}
        ChargedBy::Queries if facts.hides_members || facts.asks_for_more => return None,
        ChargedBy::Queries => return facts.queries().and_then(|_| quote.of_queries(facts.most_queries())),
        _ => return None,
    }
    let is_dearer = facts.asks_for_more
        || facts.tier == Some(ServiceTier::Priority)
        || facts.latency_optimised == Some(true);
    let has_media =
        facts.input_images > 0 || facts.timed_media || facts.image.is_some() || facts.unmeasured_input;
    let is_open = is_dearer || has_media || facts.guardrail || facts.hides_members;
    if is_open || is_disguised(question.body) {
        return None;
    }
    let tools = ADDED_TOKENS_OF_BUILT_IN_TOOL.saturating_mul(built_in_tools(question.body));
    let input = facts.most_input_tokens().saturating_add(ADDED_INPUT_TOKENS).saturating_add(tools);
    quote.worst_case(input, facts.longest_answer(question.operation))
}

/// What a request is taken to have cost where its cost stays unknown: its likely input and the longest answer, at the same
/// prices as [`could_cost`] and so never above it; of a reranker the queries that its documents make, or the most they can
/// where the body may hide some. `None` where no price is known, or nothing bounds the answer.
#[must_use]
pub fn likely_cost(quote: &Quote<'_>, question: &CostQuestion<'_>) -> Option<NanoUsd> {
    let CostQuestion { service, operation, model_id, facts, .. } = *question;
    if is_free(service, operation) {
        return Some(NanoUsd::ZERO);
    }
    // Few requests hold documents: the others need not be asked for their model.
    let may_rank = facts.documents.is_some() || facts.hides_members;
    if may_rank && charged_by(service, operation, Some(model_id)) == ChargedBy::Queries {
        let counted = facts.queries().filter(|_| !facts.hides_members);
        return quote.of_queries(counted.unwrap_or(facts.most_queries()));
    }
    quote.worst_case(facts.likely_input_tokens(), facts.longest_answer(operation))
}

/// How many tools the body names by a type that ends in a date, such as `computer_20250124`.
fn built_in_tools(body: &[u8]) -> u64 {
    static CENTURY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"_20"));
    let is_dated = |at: &usize| {
        let date = body.get(at + 3..at + 9).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
        date && body.get(at + 9) == Some(&b'"')
    };
    CENTURY.find_iter(body).filter(is_dated).count() as u64
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
    use crate::domain::UnixMicros;
    use crate::pricing::{PriceBook, PriceQuery};

    #[test]
    fn what_is_charged_by_tokens_of_text_has_a_bound_and_nothing_else_has() {
        let own = BTreeMap::new();
        let bound = |operation: &str, model_id: &str, body: &str, tier: Option<&str>| {
            let (multipliers, at) = (&[], UnixMicros(0));
            let query =
                PriceQuery { model_id, region: "us-west-2", base_model: None, own: &own, multipliers, at };
            let mut facts = RequestFacts::of(body.as_bytes());
            facts.complete_from_headers(|name| tier.filter(|_| name.ends_with("tier")).into_iter());
            let question = CostQuestion {
                service: Service::BedrockRuntime,
                operation,
                model_id,
                facts: &facts,
                body: body.as_bytes(),
            };
            let quote = PriceBook::builtin().quote(&query);
            let most = could_cost(&quote, &question);
            let likely = likely_cost(&quote, &question);
            let is_free = most == Some(NanoUsd::ZERO);
            assert!(most.is_none() || is_free || (likely.is_some() && likely <= most), "{operation} {body}");
            most
        };
        let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
        let text = r#"{"messages":[],"inferenceConfig":{"maxTokens":10}}"#;
        // 0.25 and 1.25 dollars a million; a cache write is 0.30 for five minutes and 0.50 for an hour.
        let most = bound("Converse", haiku, text, None).unwrap().0;
        let input = i64::try_from(text.len()).unwrap() + 1_024;
        assert!((input * 250 + 10 * 1_250..=input * 500 + 10 * 1_250).contains(&most), "{most}");
        assert_eq!(bound("Converse", haiku, text, Some("flex")), Some(NanoUsd(most)));
        assert_eq!(bound("Converse", haiku, text, Some("priority")), None);
        assert_eq!(bound("Converse", haiku, r#"{"maxTokens":1,"x":{"image":{}}}"#, None), None);
        assert_eq!(bound("Converse", haiku, r#"{"serviceTier":{"type":"priority"}}"#, None), None);
        assert_eq!(bound("Converse", "nobody.knows-v1:0", text, None), None);
        assert_eq!(bound("InvokeModel", "amazon.titan-image-generator-v1", "{}", None), None);
        assert_eq!(bound("CountTokens", haiku, text, None), Some(NanoUsd::ZERO));
        // What could hide a longer answer or more input than the bytes tell.
        for body in [
            r#"{"max_tokens":1,"max\u005ftokens":9999}"#,
            r#"{"max_tokens":1,"x":{"im\u0061ge":{}}}"#,
            r#"{"max_tokens":1,"max_tokens":9999}"#,
            r#"{"max_tokens":1,"previous_response_id":"r"}"#,
            r#"{"max_tokens":1,"conversation":"c"}"#,
            r#"{"max_tokens":1,"input":[{"type":"input_file","file_id":"f"}]}"#,
            r#"{"max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
            r#"{"max_tokens":1,"amazon-bedrock-guardrailConfig":{}}"#,
            "{\0\"\0m\0a\0x\0",
        ] {
            assert_eq!(bound("InvokeModel", haiku, body, None), None, "{body}");
        }
        // A text may tell of escapes and names.
        let told = r#"{"messages":[{"content":"\\u0061 \"image\" \u00e4 \u0027"}],"max_tokens":1}"#;
        assert!(bound("InvokeModel", haiku, told, None).is_some());
        // A member that Converse does not heed leaves the model's own bound: 4,096 tokens.
        let not_heeded = bound("Converse", haiku, r#"{"max_tokens":1}"#, None).unwrap().0;
        assert!(not_heeded > 4_096 * 1_250, "{not_heeded}");
        assert!(bound("Converse", haiku, r#"{"max_tokens":999999999}"#, None).unwrap().0 < 2 * not_heeded);
        let tools = r#"{"max_tokens":1,"tools":[{"type":"bash_20250124"},{"type":"computer_20250124"}]}"#;
        let with_tools = bound("InvokeModel", haiku, tools, None).unwrap().0;
        assert!(with_tools >= (1_024 + 2 * 2_048) * 250, "{with_tools}");
        // A query of a reranker costs two thousandths of a dollar.
        let rerank = "cohere.rerank-v3-5:0";
        let documents = |count: usize, more: &str| {
            let documents = vec![r#""a""#; count].join(",");
            format!(r#"{{"query":"q","documents":[{documents}]{more}}}"#)
        };
        for (body, queries) in [
            (documents(2, ""), Some(1)),
            (documents(1_000, ""), Some(11)),
            (documents(2, r#","document\u0073":[]"#), None),
            (documents(2, r#","documents":[]"#), None),
            ("{}".to_owned(), None),
        ] {
            let most = bound("InvokeModel", rerank, &body, None);
            assert_eq!(
                most,
                queries.map(|queries: i64| NanoUsd(queries * 2_000_000)),
                "{}",
                &body[..30.min(body.len())]
            );
        }
        assert!(is_free(Service::BedrockRuntime, "CountTokens"));
        assert!(!is_free(Service::BedrockRuntime, "Converse"));
    }

    #[test]
    fn a_rerank_likely_costs_the_queries_that_are_counted_or_the_most_where_it_may_hide_some() {
        let (own, multipliers) = (BTreeMap::new(), &[]);
        let model_id = "arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0";
        let (region, at) = ("us-west-2", UnixMicros(0));
        let query = PriceQuery { model_id, region, base_model: None, own: &own, multipliers, at };
        let sources = vec![r#"{"a":1}"#; 1_000].join(",");
        for (body, queries) in [
            (format!(r#"{{"sources":[{sources}]}}"#), 10),
            (format!(r#"{{"sources":[1],"source\u0073":[{sources}]}}"#), 11),
            (format!(r#"{{"sources":[1],"source\u0073":["{}"]}}"#, "x".repeat(512 * 150)), 12),
            (r#"{"sources":[1],"source\u0073":[1,1]}"#.to_owned(), 1),
        ] {
            let facts = RequestFacts::of(body.as_bytes());
            let question = CostQuestion {
                service: Service::BedrockAgentRuntime,
                operation: "Rerank",
                model_id,
                facts: &facts,
                body: body.as_bytes(),
            };
            let cost = likely_cost(&PriceBook::builtin().quote(&query), &question);
            assert_eq!(cost, Some(NanoUsd(queries * 2_000_000)), "{queries}");
        }
    }
}
