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
//! | Llama, Titan, Cohere `billed_units` | no cache | |
//! | `amazon-bedrock-invocationMetrics`, token-count headers | excludes cache | as in Converse; no split |

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::{ServiceTier, Unit, Usage};

/// A count: any JSON number that is a whole one and not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

/// The `usage` object of every shape in one: the members that are there tell which it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
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
    input_tokens_details: Option<PromptDetails>,
    output_tokens_details: Option<OutputDetails>,
    service_tier: Option<String>,

    prompt_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<OutputDetails>,

    billed_units: Option<BilledUnits>,

    #[serde(flatten)]
    guardrail: GuardrailMembers,
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

/// ApplyGuardrail's `usage`. Word filters and `sensitiveInformationPolicyFreeUnits` are free and not read.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailUsage.html>
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GuardrailMembers {
    content_policy_units: Option<Count>,
    content_policy_image_units: Option<Count>,
    topic_policy_units: Option<Count>,
    word_policy_units: Option<Count>,
    sensitive_information_policy_units: Option<Count>,
    contextual_grounding_policy_units: Option<Count>,
    automated_reasoning_policy_units: Option<Count>,
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
            .or_else(|| self.guardrail.stated())
    }

    /// The tier it names, in Anthropic's shape.
    pub(crate) fn tier(&self) -> Option<ServiceTier> {
        self.service_tier.as_deref().and_then(ServiceTier::from_name)
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
            self.prompt_tokens,
            self.completion_tokens,
            self.prompt_tokens_details.as_ref(),
            self.completion_tokens_details.as_ref(),
        ))
    }

    fn responses_or_anthropic(&self) -> Option<Stated> {
        self.input_tokens.or(self.output_tokens)?;
        if self.input_tokens_details.is_some() {
            return Some(openai(
                self.input_tokens,
                self.output_tokens,
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

impl GuardrailMembers {
    fn stated(&self) -> Option<Stated> {
        let counts = [
            (Unit::GuardrailContentUnit, self.content_policy_units),
            (Unit::GuardrailContentImage, self.content_policy_image_units),
            (Unit::GuardrailTopicUnit, self.topic_policy_units),
            (Unit::GuardrailSensitiveInformationUnit, self.sensitive_information_policy_units),
            (Unit::GuardrailGroundingUnit, self.contextual_grounding_policy_units),
            (Unit::GuardrailAutomatedReasoningUnit, self.automated_reasoning_policy_units),
        ];
        let says_nothing =
            counts.iter().all(|(_, count)| count.is_none()) && self.word_policy_units.is_none();
        if says_nothing {
            return None;
        }
        let used = counts.into_iter().map(|(unit, count)| (unit, value(count)));
        let units = used.filter(|(_, count)| *count > 0).collect();
        Some(Stated { usage: Usage { units, ..Usage::default() }, split_stated: true })
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
    input: Option<Count>,
    output: Option<Count>,
    input_details: Option<&PromptDetails>,
    output_details: Option<&OutputDetails>,
) -> Stated {
    let read = value(input_details.and_then(|details| details.cached_tokens));
    let written =
        input_details.and_then(|details| details.cache_write_tokens.or(details.cache_creation_tokens));
    let uncached = value(input).saturating_sub(read).saturating_sub(value(written));
    let mut stated = Stated::tokens(uncached, value(output)).with_cache(read, value(written)).split(0);
    stated.usage.reasoning_tokens = value(output_details.and_then(|details| details.reasoning_tokens));
    stated
}

pub(crate) fn value(count: Option<Count>) -> u64 {
    count.map_or(0, |count| count.0)
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Count, E> {
                Ok(Count(number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Count, E> {
                u64::try_from(number).map(Count).map_err(|_| E::custom("a count is not negative"))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Count, E> {
                let is_count = (0.0..9e15).contains(&number) && number.fract() == 0.0;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
                let count = is_count.then_some(Count(number as u64));
                count.ok_or_else(|| E::custom("a count is whole and not negative"))
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}
