//! An event on its way into a database: its columns in their order, borrowed from the event where they can be.

use std::borrow::Cow;

use crate::event::{Outcome, Payer, SpendEvent};
use crate::pricing::Price;
use crate::store::columns::{StoredEventId, storable_text, stored_cost, stored_count, to_json};
use crate::store::spend::row::{tier_name, units_json};
use crate::usage::Usage;

/// A text of a row.
pub(super) type RowText<'e> = Cow<'e, str>;

/// A row of `spend_events` that is to be written; what the columns mean says [`super::SpendRow`].
#[derive(Debug)]
pub(super) struct NewRow<'e> {
    pub(super) id: StoredEventId,
    pub(super) started_at: i64,
    pub(super) payer: RowText<'e>,
    pub(super) team_id: Option<RowText<'e>>,
    pub(super) user_id: Option<RowText<'e>>,
    pub(super) end_user: Option<RowText<'e>>,
    tags: RowText<'e>,
    session_id: Option<RowText<'e>>,
    call_id: Option<RowText<'e>>,
    service: RowText<'e>,
    operation: RowText<'e>,
    pub(super) requested_model: Option<RowText<'e>>,
    deployment: RowText<'e>,
    pub(super) model_id: Option<RowText<'e>>,
    region: RowText<'e>,
    pub(super) estimate_nano: Option<i64>,
    outcome: RowText<'e>,
    status: i32,
    attempts: RowText<'e>,
    pub(super) input_tokens: Option<i64>,
    pub(super) output_tokens: Option<i64>,
    pub(super) cache_read_tokens: Option<i64>,
    pub(super) cache_write_5m_tokens: Option<i64>,
    pub(super) cache_write_1h_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    units: Option<RowText<'e>>,
    tier: Option<RowText<'e>>,
    latency_optimised: Option<bool>,
    cost_basis: RowText<'e>,
    price: Option<RowText<'e>>,
    pub(super) cost_nano: Option<i64>,
    latency_us: i64,
    time_to_first_byte_us: Option<i64>,
    aws_request_id: Option<RowText<'e>>,
}

/// The columns in the order in which [`NewRow::write`] tells their values.
pub(in crate::store) const COLUMNS: &str = "id, started_at, payer, team_id, user_id, end_user, tags, session_id, call_id, \
    service, operation, requested_model, deployment, model_id, region, estimate_nano, outcome, status, attempts, \
    input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, \
    reasoning_tokens, units, tier, latency_optimised, cost_basis, price, cost_nano, latency_us, \
    time_to_first_byte_us, aws_request_id";

/// How many they are.
pub(super) const COLUMN_COUNT: i16 = 34;

/// Takes the values of a row, column by column.
pub(super) trait ColumnWriter<'r> {
    /// Why a value cannot be taken.
    type Error;
    fn id(&mut self, value: &'r StoredEventId) -> Result<(), Self::Error>;
    fn text(&mut self, value: &'r RowText<'r>) -> Result<(), Self::Error>;
    fn optional_text(&mut self, value: &'r Option<RowText<'r>>) -> Result<(), Self::Error>;
    fn number(&mut self, value: &'r i64) -> Result<(), Self::Error>;
    fn optional_number(&mut self, value: &'r Option<i64>) -> Result<(), Self::Error>;
    fn small_number(&mut self, value: &'r i32) -> Result<(), Self::Error>;
    fn optional_flag(&mut self, value: &'r Option<bool>) -> Result<(), Self::Error>;
}

impl<'e> NewRow<'e> {
    /// The row of an event.
    pub(super) fn of(event: &'e SpendEvent) -> Self {
        let SpendEvent { begun, ended } = event;
        let text = |text: &'e Option<String>| text.as_deref().map(storable_text);
        let usage = ended.usage.as_ref();
        let count = |of: fn(&Usage) -> u64| usage.map(|usage| stored_count(of(usage)));
        // The deployment that answered; the first one chosen is the first of the attempts.
        let deployment = ended.attempts.last().map_or(&begun.deployment, |attempt| &attempt.deployment);
        Self {
            id: StoredEventId(begun.id),
            started_at: begun.started_at.0,
            payer: payer_name(&begun.payer),
            team_id: text(&begun.team_id),
            user_id: text(&begun.user_id),
            end_user: text(&begun.end_user),
            tags: tags_json(&begun.tags),
            session_id: text(&begun.session_id),
            call_id: text(&begun.call_id),
            service: begun.service.host_prefix().into(),
            operation: storable_text(&begun.operation),
            requested_model: text(&begun.requested_model),
            deployment: storable_text(deployment),
            model_id: event.model_id().map(storable_text),
            region: storable_text(event.region()),
            estimate_nano: begun.estimate.map(stored_cost),
            outcome: ended.outcome.as_str().into(),
            status: i32::from(ended.status),
            attempts: attempts_json(event).into(),
            input_tokens: count(|usage| usage.input_tokens),
            output_tokens: count(|usage| usage.output_tokens),
            cache_read_tokens: count(|usage| usage.cache_read_tokens),
            cache_write_5m_tokens: count(|usage| usage.cache_write_5m_tokens),
            cache_write_1h_tokens: count(|usage| usage.cache_write_1h_tokens),
            reasoning_tokens: count(|usage| usage.reasoning_tokens),
            units: usage.filter(|usage| !usage.units.is_empty()).map(|usage| units_json(&usage.units).into()),
            tier: usage.map(|usage| tier_name(usage.tier).into()),
            latency_optimised: usage.map(|usage| usage.latency_optimised),
            cost_basis: ended.basis.as_str().into(),
            price: ended.price.as_ref().map(|price: &Price| to_json(price).into()),
            cost_nano: ended.cost.map(stored_cost),
            latency_us: stored_count(ended.latency_us),
            time_to_first_byte_us: ended.time_to_first_byte_us.map(stored_count),
            aws_request_id: text(&ended.aws_request_id),
        }
    }

    /// Whether it counts as incomplete.
    pub(super) fn is_incomplete(&self) -> bool {
        self.outcome != Outcome::Complete.as_str()
    }

    /// Tells every value, in the order of [`COLUMNS`].
    pub(super) fn write<'r, W: ColumnWriter<'r>>(&'r self, to: &mut W) -> Result<(), W::Error> {
        to.id(&self.id)?;
        to.number(&self.started_at)?;
        to.text(&self.payer)?;
        to.optional_text(&self.team_id)?;
        to.optional_text(&self.user_id)?;
        to.optional_text(&self.end_user)?;
        to.text(&self.tags)?;
        to.optional_text(&self.session_id)?;
        to.optional_text(&self.call_id)?;
        to.text(&self.service)?;
        to.text(&self.operation)?;
        to.optional_text(&self.requested_model)?;
        to.text(&self.deployment)?;
        to.optional_text(&self.model_id)?;
        to.text(&self.region)?;
        to.optional_number(&self.estimate_nano)?;
        to.text(&self.outcome)?;
        to.small_number(&self.status)?;
        to.text(&self.attempts)?;
        to.optional_number(&self.input_tokens)?;
        to.optional_number(&self.output_tokens)?;
        to.optional_number(&self.cache_read_tokens)?;
        to.optional_number(&self.cache_write_5m_tokens)?;
        to.optional_number(&self.cache_write_1h_tokens)?;
        to.optional_number(&self.reasoning_tokens)?;
        to.optional_text(&self.units)?;
        to.optional_text(&self.tier)?;
        to.optional_flag(&self.latency_optimised)?;
        to.text(&self.cost_basis)?;
        to.optional_text(&self.price)?;
        to.optional_number(&self.cost_nano)?;
        to.number(&self.latency_us)?;
        to.optional_number(&self.time_to_first_byte_us)?;
        to.optional_text(&self.aws_request_id)
    }
}

fn payer_name(payer: &Payer) -> RowText<'static> {
    match payer {
        Payer::Key(hash) => hex::encode(hash.0).into(),
        Payer::Master => Payer::MASTER.into(),
        Payer::Anonymous => Payer::ANONYMOUS.into(),
    }
}

fn tags_json(tags: &[String]) -> RowText<'_> {
    if tags.is_empty() {
        return "[]".into();
    }
    to_json(&tags.iter().map(|tag| storable_text(tag)).collect::<Vec<_>>()).into()
}

/// `[["deployment",200],…]`.
fn attempts_json(event: &SpendEvent) -> String {
    let attempts = event.ended.attempts.iter().map(|attempt| (&attempt.deployment, attempt.status));
    to_json(&attempts.collect::<Vec<_>>())
}
