//! An event as its row reads.

use diesel::prelude::*;

use crate::domain::NanoUsd;
use crate::store::columns::{StoredEventId, to_json};
use crate::store::schema::spend_events;
use crate::usage::{ServiceTier, Unit, Usage};

/// A row of `spend_events`: texts as they are shown, money in nano-dollars, times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = spend_events)]
#[expect(missing_docs, reason = "columns are named after the fields of SpendEvent, which says what they are")]
pub struct SpendRow {
    pub id: StoredEventId,
    pub started_at: i64,
    pub payer: String,
    pub team_id: Option<String>,
    pub user_id: Option<String>,
    pub end_user: Option<String>,
    pub tags: String,
    pub session_id: Option<String>,
    pub call_id: Option<String>,
    pub service: String,
    pub operation: String,
    pub requested_model: Option<String>,
    pub deployment: String,
    pub model_id: Option<String>,
    pub region: String,
    pub estimate_nano: Option<i64>,
    pub outcome: String,
    pub status: i32,
    pub attempts: String,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cache_read_tokens: Option<i64>,
    pub cache_write_5m_tokens: Option<i64>,
    pub cache_write_1h_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub units: Option<String>,
    pub tier: Option<String>,
    pub latency_optimised: Option<bool>,
    pub cost_basis: String,
    pub price: Option<String>,
    pub cost_nano: Option<i64>,
    pub latency_us: i64,
    pub time_to_first_byte_us: Option<i64>,
    pub aws_request_id: Option<String>,
}

impl SpendRow {
    /// What it cost, where that is known.
    #[must_use]
    pub fn cost(&self) -> Option<NanoUsd> {
        self.cost_nano.map(NanoUsd)
    }

    /// What it is taken to have cost while that is not known, in nano-dollars; 0 once it is.
    pub(super) fn uncosted_estimate(&self) -> i64 {
        self.estimate_nano.filter(|_| self.cost_nano.is_none()).unwrap_or_default()
    }
}

impl SpendRow {
    /// What it used, as far as the row keeps it; `None` where it was never known, or names a unit or tier of a
    /// later release.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let count = |count: Option<i64>| count.map(|count| u64::try_from(count).unwrap_or_default());
        Some(Usage {
            input_tokens: count(self.input_tokens)?,
            output_tokens: count(self.output_tokens)?,
            cache_read_tokens: count(self.cache_read_tokens)?,
            cache_write_5m_tokens: count(self.cache_write_5m_tokens)?,
            cache_write_1h_tokens: count(self.cache_write_1h_tokens)?,
            reasoning_tokens: count(self.reasoning_tokens)?,
            units: self.units.as_deref().map_or_else(|| Some(Vec::new()), units_of_json)?,
            tier: TIERS.into_iter().find(|tier| Some(tier_name(*tier)) == self.tier.as_deref())?,
            latency_optimised: self.latency_optimised?,
            image: None,
        })
    }
}

/// `{"output_image":2}`.
pub(super) fn units_json(units: &[(Unit, u64)]) -> String {
    let named = units.iter().map(|(unit, count)| (unit_name(*unit).to_owned(), (*count).into()));
    to_json(&named.collect::<serde_json::Map<_, _>>())
}

fn units_of_json(text: &str) -> Option<Vec<(Unit, u64)>> {
    let named: std::collections::BTreeMap<String, u64> = serde_json::from_str(text).ok()?;
    let unit = |name: &str| UNITS.into_iter().find(|unit| unit_name(*unit) == name);
    named.iter().map(|(name, count)| Some((unit(name)?, *count))).collect()
}

const TIERS: [ServiceTier; 4] =
    [ServiceTier::Default, ServiceTier::Priority, ServiceTier::Flex, ServiceTier::Reserved];

const UNITS: [Unit; 14] = [
    Unit::OutputImage,
    Unit::InputImage,
    Unit::Query,
    Unit::VideoMillis,
    Unit::AudioMillis,
    Unit::GuardrailTextUnit,
    Unit::GuardrailContentUnit,
    Unit::GuardrailContentImage,
    Unit::GuardrailTopicUnit,
    Unit::GuardrailSensitiveInformationUnit,
    Unit::GuardrailGroundingUnit,
    Unit::GuardrailAutomatedReasoningUnit,
    Unit::InputSpeechToken,
    Unit::OutputSpeechToken,
];

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::OutputImage => "output_image",
        Unit::InputImage => "input_image",
        Unit::Query => "query",
        Unit::VideoMillis => "video_millis",
        Unit::AudioMillis => "audio_millis",
        Unit::GuardrailTextUnit => "guardrail_text_unit",
        Unit::GuardrailContentUnit => "guardrail_content_unit",
        Unit::GuardrailContentImage => "guardrail_content_image",
        Unit::GuardrailTopicUnit => "guardrail_topic_unit",
        Unit::GuardrailSensitiveInformationUnit => "guardrail_sensitive_information_unit",
        Unit::GuardrailGroundingUnit => "guardrail_grounding_unit",
        Unit::GuardrailAutomatedReasoningUnit => "guardrail_automated_reasoning_unit",
        Unit::InputSpeechToken => "input_speech_token",
        Unit::OutputSpeechToken => "output_speech_token",
    }
}

pub(super) fn tier_name(tier: ServiceTier) -> &'static str {
    match tier {
        ServiceTier::Default => "default",
        ServiceTier::Priority => "priority",
        ServiceTier::Flex => "flex",
        ServiceTier::Reserved => "reserved",
    }
}
