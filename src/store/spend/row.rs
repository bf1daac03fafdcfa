//! An event as its row.

use diesel::prelude::*;

use crate::domain::NanoUsd;
use crate::event::SpendEvent;
use crate::store::columns::{StoredEventId, storable, stored_cost, stored_count, to_json};
use crate::store::schema::spend_events;
use crate::usage::{ServiceTier, Unit, Usage};

/// A row of `spend_events`: texts as they are shown, money in nano-dollars, times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
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

impl From<&SpendEvent> for SpendRow {
    fn from(event: &SpendEvent) -> Self {
        let SpendEvent { begun, ended } = event;
        let text = |text: &Option<String>| text.as_deref().map(storable);
        let usage = ended.usage.as_ref();
        let count = |of: fn(&Usage) -> u64| usage.map(|usage| stored_count(of(usage)));
        // The deployment that answered; the first one chosen is the first of the attempts.
        let deployment = ended.attempts.last().map_or(&begun.deployment, |attempt| &attempt.deployment);
        Self {
            id: StoredEventId(begun.id),
            started_at: begun.started_at.0,
            payer: begun.payer.to_string(),
            team_id: text(&begun.team_id),
            user_id: text(&begun.user_id),
            end_user: text(&begun.end_user),
            tags: to_json(&begun.tags.iter().map(|tag| storable(tag)).collect::<Vec<_>>()),
            session_id: text(&begun.session_id),
            call_id: text(&begun.call_id),
            service: begun.service.host_prefix().to_owned(),
            operation: storable(&begun.operation),
            requested_model: text(&begun.requested_model),
            deployment: storable(deployment),
            model_id: event.model_id().map(storable),
            region: storable(event.region()),
            estimate_nano: begun.estimate.map(stored_cost),
            outcome: ended.outcome.as_str().to_owned(),
            status: i32::from(ended.status),
            attempts: attempts_json(event),
            input_tokens: count(|usage| usage.input_tokens),
            output_tokens: count(|usage| usage.output_tokens),
            cache_read_tokens: count(|usage| usage.cache_read_tokens),
            cache_write_5m_tokens: count(|usage| usage.cache_write_5m_tokens),
            cache_write_1h_tokens: count(|usage| usage.cache_write_1h_tokens),
            reasoning_tokens: count(|usage| usage.reasoning_tokens),
            units: usage.filter(|usage| !usage.units.is_empty()).map(|usage| units_json(&usage.units)),
            tier: usage.map(|usage| tier_name(usage.tier).to_owned()),
            latency_optimised: usage.map(|usage| usage.latency_optimised),
            cost_basis: ended.basis.as_str().to_owned(),
            price: ended.price.as_ref().map(to_json),
            cost_nano: ended.cost.map(stored_cost),
            latency_us: stored_count(ended.latency_us),
            time_to_first_byte_us: ended.time_to_first_byte_us.map(stored_count),
            aws_request_id: text(&ended.aws_request_id),
        }
    }
}

/// `[["deployment",200],…]`.
fn attempts_json(event: &SpendEvent) -> String {
    let attempts = event.ended.attempts.iter().map(|attempt| (&attempt.deployment, attempt.status));
    to_json(&attempts.collect::<Vec<_>>())
}

/// `{"output_image":2}`.
fn units_json(units: &[(Unit, u64)]) -> String {
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

const UNITS: [Unit; 12] = [
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
    }
}

fn tier_name(tier: ServiceTier) -> &'static str {
    match tier {
        ServiceTier::Default => "default",
        ServiceTier::Priority => "priority",
        ServiceTier::Flex => "flex",
        ServiceTier::Reserved => "reserved",
    }
}
