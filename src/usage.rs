//! What AWS says a call used, read on the side of the response.

pub mod answer_kind;
mod chunk_frames;
mod count;
pub mod event_stream;
mod guardrail;
mod json_members;
mod mentions;
mod name_table;
mod output_bound;
pub mod reader;
pub mod request_facts;
mod shapes;
mod speech;
mod sse;
mod statements;

use serde::{Deserialize, Serialize};

pub use answer_kind::{AnswerFacts, AnswerKind, ChargedBy, Framing};
pub(crate) use mentions::is_disguised;
pub use reader::{Progress, Reading, UsageReader};
pub use request_facts::{RequestFacts, request_estimate};

/// The tier a call was served in; it changes the price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceTier {
    /// The default tier.
    #[default]
    Default,
    /// Paid for faster answers.
    Priority,
    /// Cheaper, slower.
    Flex,
    /// Bought ahead.
    Reserved,
}

/// What one call used. Counts of tokens do not overlap: input excludes what was read from or written to
/// the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens charged at the full input price.
    pub input_tokens: u64,
    /// Output tokens, reasoning included.
    pub output_tokens: u64,
    /// Input tokens read from the prompt cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the prompt cache for five minutes.
    pub cache_write_5m_tokens: u64,
    /// Input tokens written to the prompt cache for one hour.
    pub cache_write_1h_tokens: u64,
    /// Part of the output that was reasoning, where the model says so.
    pub reasoning_tokens: u64,
    /// Other billed units, such as images or queries.
    pub units: Vec<(Unit, u64)>,
    /// The tier it was served in.
    pub tier: ServiceTier,
    /// Served by latency-optimised inference.
    pub latency_optimised: bool,
    /// Size and steps of the images made, as the request asked for them; some models charge by them.
    pub image: Option<ImageShape>,
}

impl Usage {
    /// All tokens, those of the cache and of speech included.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        let written = self.cache_write_5m_tokens.saturating_add(self.cache_write_1h_tokens);
        let input = self.input_tokens.saturating_add(self.cache_read_tokens).saturating_add(written);
        let is_speech = |unit: &Unit| matches!(unit, Unit::InputSpeechToken | Unit::OutputSpeechToken);
        let speech = self.units.iter().filter(|(unit, _)| is_speech(unit)).map(|(_, count)| *count);
        speech.fold(input.saturating_add(self.output_tokens), u64::saturating_add)
    }

    /// Whether it counts nothing that was read.
    #[must_use]
    pub fn is_without_prompt(&self) -> bool {
        let tokens = [
            self.input_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
        ];
        tokens.iter().all(|count| *count == 0)
    }

    /// Whether it is the usage of a guardrail.
    #[must_use]
    pub fn is_of_guardrail(&self) -> bool {
        self.units.iter().any(|(unit, _)| unit.is_of_guardrail())
    }
}

impl Unit {
    /// Whether guardrails are billed by it.
    #[must_use]
    pub fn is_of_guardrail(self) -> bool {
        match self {
            Self::GuardrailTextUnit
            | Self::GuardrailContentUnit
            | Self::GuardrailContentImage
            | Self::GuardrailTopicUnit
            | Self::GuardrailSensitiveInformationUnit
            | Self::GuardrailGroundingUnit
            | Self::GuardrailAutomatedReasoningUnit => true,
            Self::OutputImage
            | Self::InputImage
            | Self::Query
            | Self::VideoMillis
            | Self::AudioMillis
            | Self::InputSpeechToken
            | Self::OutputSpeechToken => false,
        }
    }
}

/// What an image was asked to be; what the request left to the model is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// In pixels.
    pub width: Option<u32>,
    /// In pixels.
    pub height: Option<u32>,
    /// Diffusion steps.
    pub steps: Option<u32>,
}

/// Units other than text tokens that AWS bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// Images made.
    OutputImage,
    /// Images read.
    InputImage,
    /// Rerank or search queries.
    Query,
    /// Milliseconds of video read or made.
    VideoMillis,
    /// Milliseconds of audio read or made.
    AudioMillis,
    /// Guardrail text units of no stated policy.
    GuardrailTextUnit,
    /// Guardrail text units of content filters.
    GuardrailContentUnit,
    /// Images checked by a guardrail's content filters.
    GuardrailContentImage,
    /// Guardrail text units of denied topics.
    GuardrailTopicUnit,
    /// Guardrail text units of sensitive information filters.
    GuardrailSensitiveInformationUnit,
    /// Guardrail text units of contextual grounding checks.
    GuardrailGroundingUnit,
    /// Guardrail text units of automated reasoning checks.
    GuardrailAutomatedReasoningUnit,
    /// Input tokens of speech.
    InputSpeechToken,
    /// Output tokens of speech.
    OutputSpeechToken,
}
