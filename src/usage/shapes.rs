//! The shapes in which models and APIs state what a call used, and what each of their counts includes.
//!
//! A statement is told by its member names, not by the model's name, so that an opaque ARN or a new model
//! of a known family is read right:
//!
//! | shape | input count | cache |
//! |---|---|---|
//! | Converse, Nova: `inputTokens`, `outputTokens` | excludes cache | `cacheRead…`, `cacheWrite…`, each under two names; `cacheDetails` splits writes by TTL |
//! | Anthropic: `input_tokens`, `output_tokens` | excludes cache | `cache_read_input_tokens`, `cache_creation_input_tokens`; `cache_creation` splits writes by TTL |
//! | OpenAI chat: `prompt_tokens`, `completion_tokens` | **includes** cache: subtracted | `prompt_tokens_details` |
//! | OpenAI Responses: `input_tokens`, `input_tokens_details` | **includes** cache: subtracted | `input_tokens_details` |
//! | OpenAI shapes whose `total_tokens` is input, output and reasoning together (Grok) | as above; reasoning stands beside the output: added | as above |
//! | Llama, Titan, Cohere `billed_units` | no cache | |
//! | `amazon-bedrock-invocationMetrics`, token-count headers | excludes cache | as in Converse; no split |

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::count::{Count, value};
use super::guardrail::GuardrailMembers;
use super::{ServiceTier, Unit, Usage};

/// The `usage` object of every shape in one: the members that are there tell which it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(crate) struct UsageMembers {
    #[serde(rename = "inputTokens")]
    bedrock_input: Option<Count>,
    #[serde(rename = "outputTokens")]
    bedrock_output: Option<Count>,
    #[serde(rename = "cacheReadInputTokens")]
    bedrock_cache_read: Option<Count>,
    #[serde(rename = "cacheReadInputTokenCount")]
    bedrock_cache_read_twin: Option<Count>,
    #[serde(rename = "cacheWriteInputTokens")]
    bedrock_cache_write: Option<Count>,
    #[serde(rename = "cacheWriteInputTokenCount")]
    bedrock_cache_write_twin: Option<Count>,
    #[serde(rename = "cacheDetails")]
    bedrock_cache_details: Option<Vec<CacheDetail>>,

    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<CacheCreation>,
    total_tokens: Option<Count>,
    input_tokens_details: Option<PromptDetails>,
    output_tokens_details: Option<OutputDetails>,
    service_tier: Option<String>,

    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<OutputDetails>,

    billed_units: Option<BilledUnits>,

    #[serde(rename = "contentPolicyUnits")]
    content_policy_units: Option<Count>,
    #[serde(rename = "contentPolicyImageUnits")]
    content_policy_image_units: Option<Count>,
    #[serde(rename = "topicPolicyUnits")]
    topic_policy_units: Option<Count>,
    #[serde(rename = "wordPolicyUnits")]
    word_policy_units: Option<Count>,
    #[serde(rename = "sensitiveInformationPolicyUnits")]
    sensitive_information_policy_units: Option<Count>,
    #[serde(rename = "contextualGroundingPolicyUnits")]
    contextual_grounding_policy_units: Option<Count>,
    #[serde(rename = "automatedReasoningPolicyUnits")]
    automated_reasoning_policy_units: Option<Count>,
}

/// From an object alone: what serde derives would take the members of an array in their order, too.
impl<'de> Deserialize<'de> for UsageMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = UsageMembers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UsageMembers, A::Error> {
                UsageMembers::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheDetail {
    ttl: Option<String>,
    #[serde(rename = "inputTokens")]
    input_tokens: Option<Count>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<Count>,
    ephemeral_1h_input_tokens: Option<Count>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
    cache_creation_tokens: Option<Count>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<Count>,
}

/// Cohere's statement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BilledUnits {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    search_units: Option<Count>,
}

/// `amazon-bedrock-invocationMetrics`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct InvocationMetrics {
    input_token_count: Option<Count>,
    output_token_count: Option<Count>,
    cache_read_input_token_count: Option<Count>,
    cache_write_input_token_count: Option<Count>,
}

/// One of Titan's `results`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TitanResult {
    pub(crate) token_count: Option<Count>,
}

/// What a statement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) usage: Usage,
    /// Whether the cache writes were told apart by their time to live (or there were none).
    pub(crate) split_stated: bool,
}

impl Stated {
    pub(crate) fn tokens(input: u64, output: u64) -> Self {
        Self {
            usage: Usage { input_tokens: input, output_tokens: output, ..Usage::default() },
            split_stated: true,
        }
    }

    /// Adds cache counts that come without a split: all writes count as five-minute ones for now.
    pub(crate) fn with_cache(mut self, read: u64, written: u64) -> Self {
        self.usage.cache_read_tokens = read;
        self.usage.cache_write_5m_tokens = written;
        self.split_stated = written == 0;
        self
    }

    fn split(mut self, one_hour: u64) -> Self {
        let written = self.usage.cache_write_5m_tokens;
        self.usage.cache_write_1h_tokens = one_hour.min(written);
        self.usage.cache_write_5m_tokens = written - one_hour.min(written);
        self.split_stated = true;
        self
    }
}

impl UsageMembers {
    /// What it says; `None` if it says nothing that is known.
    pub(crate) fn stated(&self) -> Option<Stated> {
        self.converse()
            .or_else(|| self.openai_chat())
            .or_else(|| self.responses_or_anthropic())
            .or_else(|| self.billed_units.as_ref().and_then(BilledUnits::stated))
            .or_else(|| self.guardrail().stated())
    }

    /// The tier it names, in Anthropic's shape.
    pub(crate) fn tier(&self) -> Option<StatedTier> {
        self.service_tier.as_deref().and_then(StatedTier::named)
    }

    /// Takes in a later, cumulative statement of the same answer (Anthropic's `message_delta` after
    /// `message_start`): what it states holds, what it leaves out stays.
    pub(crate) fn update(&mut self, later: Self) {
        if later.input_tokens.is_none() && later.output_tokens.is_none() {
            *self = later;
            return;
        }
        let largest = |mine: Option<Count>, theirs: Option<Count>| match (mine, theirs) {
            (Some(mine), Some(theirs)) => Some(Count(mine.0.max(theirs.0))),
            (mine, theirs) => mine.or(theirs),
        };
        self.input_tokens = largest(self.input_tokens, later.input_tokens);
        self.output_tokens = largest(self.output_tokens, later.output_tokens);
        self.cache_read_input_tokens = largest(self.cache_read_input_tokens, later.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            largest(self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation.take());
        self.input_tokens_details = later.input_tokens_details.or(self.input_tokens_details.take());
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details.take());
        self.service_tier = later.service_tier.or(self.service_tier.take());
    }

    fn guardrail(&self) -> GuardrailMembers {
        GuardrailMembers {
            content_policy_units: self.content_policy_units,
            content_policy_image_units: self.content_policy_image_units,
            topic_policy_units: self.topic_policy_units,
            word_policy_units: self.word_policy_units,
            sensitive_information_policy_units: self.sensitive_information_policy_units,
            contextual_grounding_policy_units: self.contextual_grounding_policy_units,
            automated_reasoning_policy_units: self.automated_reasoning_policy_units,
        }
    }

    fn converse(&self) -> Option<Stated> {
        self.bedrock_input.or(self.bedrock_output)?;
        let read = self.bedrock_cache_read.or(self.bedrock_cache_read_twin);
        let written = self.bedrock_cache_write.or(self.bedrock_cache_write_twin);
        let stated = Stated::tokens(value(self.bedrock_input), value(self.bedrock_output))
            .with_cache(value(read), value(written));
        let Some(details) = self.bedrock_cache_details.as_deref().filter(|details| !details.is_empty())
        else {
            return Some(stated);
        };
        let one_hour = details.iter().filter(|detail| detail.ttl.as_deref() == Some("1h"));
        Some(stated.split(one_hour.map(|detail| value(detail.input_tokens)).fold(0, u64::saturating_add)))
    }

    fn openai_chat(&self) -> Option<Stated> {
        self.prompt_tokens.or(self.completion_tokens)?;
        Some(openai(
            (self.prompt_tokens, self.completion_tokens, self.total_tokens),
            self.prompt_tokens_details.as_ref(),
            self.completion_tokens_details.as_ref(),
        ))
    }

    fn responses_or_anthropic(&self) -> Option<Stated> {
        self.input_tokens.or(self.output_tokens)?;
        if self.input_tokens_details.is_some() {
            return Some(openai(
                (self.input_tokens, self.output_tokens, self.total_tokens),
                self.input_tokens_details.as_ref(),
                self.output_tokens_details.as_ref(),
            ));
        }
        let split = self.cache_creation.as_ref();
        let five_minutes = value(split.and_then(|split| split.ephemeral_5m_input_tokens));
        let one_hour = value(split.and_then(|split| split.ephemeral_1h_input_tokens));
        let written = match self.cache_creation_input_tokens {
            Some(Count(written)) => written,
            None => five_minutes.saturating_add(one_hour),
        };
        let stated = Stated::tokens(value(self.input_tokens), value(self.output_tokens))
            .with_cache(value(self.cache_read_input_tokens), written);
        let split_adds_up = five_minutes.saturating_add(one_hour) == written;
        let mut stated = if split.is_some() && split_adds_up { stated.split(one_hour) } else { stated };
        let reasoning = self.output_tokens_details.as_ref().and_then(|details| details.reasoning_tokens);
        stated.usage.reasoning_tokens = value(reasoning);
        Some(stated)
    }
}

impl BilledUnits {
    pub(crate) fn stated(&self) -> Option<Stated> {
        self.input_tokens.or(self.output_tokens).or(self.search_units)?;
        let mut stated = Stated::tokens(value(self.input_tokens), value(self.output_tokens));
        if let Some(Count(queries)) = self.search_units {
            stated.usage.units.push((Unit::Query, queries));
        }
        Some(stated)
    }
}

impl InvocationMetrics {
    pub(crate) fn stated(&self) -> Option<Stated> {
        self.input_token_count.or(self.output_token_count)?;
        Some(
            Stated::tokens(value(self.input_token_count), value(self.output_token_count)).with_cache(
                value(self.cache_read_input_token_count),
                value(self.cache_write_input_token_count),
            ),
        )
    }
}

/// The tier an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatedTier {
    Known(ServiceTier),
    /// A name nobody here has heard of: its price cannot be known.
    Unheard,
}

impl StatedTier {
    /// `None` for a name that leaves it open.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "" | "auto" => None,
            _ => Some(ServiceTier::from_name(name).map_or(Self::Unheard, Self::Known)),
        }
    }
}

impl ServiceTier {
    /// The tier by the names AWS, OpenAI and Anthropic give it; `None` for another name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "default" | "standard" => Some(Self::Default),
            "priority" => Some(Self::Priority),
            "flex" => Some(Self::Flex),
            "reserved" => Some(Self::Reserved),
            _ => None,
        }
    }
}

fn openai(
    (input, output, total): (Option<Count>, Option<Count>, Option<Count>),
    input_details: Option<&PromptDetails>,
    output_details: Option<&OutputDetails>,
) -> Stated {
    let read = value(input_details.and_then(|details| details.cached_tokens));
    let written =
        input_details.and_then(|details| details.cache_write_tokens.or(details.cache_creation_tokens));
    let uncached = value(input).saturating_sub(read).saturating_sub(value(written));
    let reasoning = value(output_details.and_then(|details| details.reasoning_tokens));
    let without_reasoning = value(output).saturating_add(value(input));
    let reasons_beside = reasoning > 0 && total == Some(Count(without_reasoning.saturating_add(reasoning)));
    let output = value(output).saturating_add(if reasons_beside { reasoning } else { 0 });
    let mut stated = Stated::tokens(uncached, output).with_cache(read, value(written)).split(0);
    stated.usage.reasoning_tokens = reasoning;
    stated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Option<Usage> {
        serde_json::from_str::<UsageMembers>(json).unwrap().stated().map(|stated| stated.usage)
    }

    #[test]
    fn counts_of_every_shape_do_not_overlap() {
        // input, output, cache read, five minutes, one hour, reasoning
        for (json, expected) in [
            (
                r#"{"inputTokens":1,"outputTokens":2,"cacheReadInputTokens":3,"cacheWriteInputTokenCount":4}"#,
                [1, 2, 3, 4, 0, 0],
            ),
            (r#"{"inputTokens":1,"cacheWriteInputTokens":4,"cacheDetails":[]}"#, [1, 0, 0, 4, 0, 0]),
            (
                r#"{"inputTokens":1,"cacheWriteInputTokens":4,"cacheDetails":[{"ttl":"1h","inputTokens":9}]}"#,
                [1, 0, 0, 0, 4, 0],
            ),
            (
                r#"{"input_tokens":1,"output_tokens":2,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}}"#,
                [1, 2, 0, 3, 4, 0],
            ),
            (
                r#"{"input_tokens":1,"cache_creation_input_tokens":null,"cache_creation":null}"#,
                [1, 0, 0, 0, 0, 0],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"completion_tokens_details":{"reasoning_tokens":3}}"#,
                [5, 5, 4, 1, 0, 3],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":18,"completion_tokens_details":{"reasoning_tokens":3}}"#,
                [10, 8, 0, 0, 0, 3],
            ),
            (
                r#"{"prompt_tokens":1,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}"#,
                [0, 5, 4, 0, 0, 0],
            ),
            (
                r#"{"input_tokens":10,"output_tokens":5,"input_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":2}}"#,
                [6, 5, 4, 0, 0, 2],
            ),
            (r#"{"prompt_tokens":7,"total_tokens":7}"#, [7, 0, 0, 0, 0, 0]),
            (r#"{"billed_units":{"input_tokens":3.0,"output_tokens":2}}"#, [3, 2, 0, 0, 0, 0]),
        ] {
            let usage = usage(json).unwrap();
            let counts = [
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_5m_tokens,
                usage.cache_write_1h_tokens,
                usage.reasoning_tokens,
            ];
            assert_eq!(counts, expected, "{json}");
        }
    }

    #[test]
    fn a_guardrails_units_are_read_beside_members_that_nobody_knows() {
        let json =
            r#"{"topicPolicyUnits":2,"wordPolicyUnits":5,"contentPolicyUnits":0,"other":[{"a":null}]}"#;
        assert_eq!(usage(json).unwrap().units, [(Unit::GuardrailTopicUnit, 2)]);
        assert_eq!(usage(r#"{"wordPolicyUnits":5}"#), Some(Usage::default()));
    }

    #[test]
    fn what_says_nothing_states_nothing() {
        for json in ["{}", r#"{"total_tokens":5}"#, r#"{"something":{"else":1}}"#] {
            assert_eq!(usage(json), None, "{json}");
        }
        for json in
            [r#"{"inputTokens":-1}"#, r#"{"inputTokens":1.5}"#, r#"{"inputTokens":"1"}"#, "[]", "[1,2]", "1"]
        {
            assert!(serde_json::from_str::<UsageMembers>(json).is_err() || usage(json).is_none(), "{json}");
        }
    }
}
