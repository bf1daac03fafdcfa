//! An event on its way into a database: its columns in their order, borrowed from its records where they can be.

use super::row::{tier_name, units_json};
use super::texts::{RowText, Texts};
use crate::domain::EventId;
use crate::event::{EventView, Outcome, Payer};
use crate::store::columns::{storable_text, stored_cost, stored_count};
use crate::usage::Usage;

/// A row of `spend_events` that is to be written; what the columns mean says [`super::SpendRow`].
#[derive(Debug)]
pub(super) struct NewRow<'e> {
    id: EventId,
    pub(super) started_at: i64,
    pub(super) payer: Payer,
    payer_name: RowText<'e>,
    pub(super) team_id: Option<RowText<'e>>,
    pub(super) user_id: Option<RowText<'e>>,
    pub(super) end_user: Option<RowText<'e>>,
    tags: RowText<'e>,
    session_id: Option<RowText<'e>>,
    call_id: Option<RowText<'e>>,
    service: &'static str,
    operation: RowText<'e>,
    pub(super) requested_model: Option<RowText<'e>>,
    deployment: RowText<'e>,
    pub(super) model_id: Option<RowText<'e>>,
    region: RowText<'e>,
    pub(super) estimate_nano: Option<i64>,
    outcome: Outcome,
    status: i32,
    attempts: RowText<'e>,
    pub(super) input_tokens: Option<i64>,
    pub(super) output_tokens: Option<i64>,
    pub(super) cache_read_tokens: Option<i64>,
    pub(super) cache_write_5m_tokens: Option<i64>,
    pub(super) cache_write_1h_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    units: Option<RowText<'e>>,
    tier: Option<&'static str>,
    latency_optimised: Option<bool>,
    cost_basis: &'static str,
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
pub(super) trait ColumnWriter {
    /// Why a value cannot be taken.
    type Error;
    fn id(&mut self, value: EventId) -> Result<(), Self::Error>;
    fn text(&mut self, value: &str) -> Result<(), Self::Error>;
    fn number(&mut self, value: i64) -> Result<(), Self::Error>;
    fn small_number(&mut self, value: i32) -> Result<(), Self::Error>;
    fn flag(&mut self, value: bool) -> Result<(), Self::Error>;
    fn null(&mut self) -> Result<(), Self::Error>;

    fn optional_text(&mut self, value: Option<&str>) -> Result<(), Self::Error> {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    fn optional_number(&mut self, value: Option<i64>) -> Result<(), Self::Error> {
        match value {
            Some(value) => self.number(value),
            None => self.null(),
        }
    }

    fn optional_flag(&mut self, value: Option<bool>) -> Result<(), Self::Error> {
        match value {
            Some(value) => self.flag(value),
            None => self.null(),
        }
    }
}

impl<'e> NewRow<'e> {
    /// The row of an event. `texts` has what other rows of the batch say in the same words.
    pub(super) fn of(event: EventView<'e>, texts: &mut Texts<'e>) -> Self {
        let text = |text: Option<&'e str>| text.map(|text| RowText::from(storable_text(text)));
        let (model_id, region) = (event.model_id(), event.region());
        let EventView { begun, ended } = event;
        let usage = ended.usage.as_ref();
        let count = |of: fn(&Usage) -> u64| usage.map(|usage| stored_count(of(usage)));
        // The deployment that answered; the first one chosen is the first of the attempts.
        let deployment = ended.attempts.iter().last().map_or(begun.deployment, |attempt| attempt.0);
        Self {
            id: begun.id,
            started_at: begun.started_at.0,
            payer: begun.payer,
            payer_name: texts.payer(begun.payer),
            team_id: text(begun.team_id),
            user_id: text(begun.user_id),
            end_user: text(begun.end_user),
            session_id: text(begun.session_id),
            call_id: text(begun.call_id),
            service: begun.service.host_prefix(),
            operation: storable_text(begun.operation).into(),
            requested_model: text(begun.requested_model),
            deployment: storable_text(deployment).into(),
            model_id: text(model_id),
            region: storable_text(region).into(),
            estimate_nano: begun.estimate.map(stored_cost),
            outcome: ended.outcome,
            status: i32::from(ended.status),
            input_tokens: count(|usage| usage.input_tokens),
            output_tokens: count(|usage| usage.output_tokens),
            cache_read_tokens: count(|usage| usage.cache_read_tokens),
            cache_write_5m_tokens: count(|usage| usage.cache_write_5m_tokens),
            cache_write_1h_tokens: count(|usage| usage.cache_write_1h_tokens),
            reasoning_tokens: count(|usage| usage.reasoning_tokens),
            units: usage.filter(|usage| !usage.units.is_empty()).map(|usage| units_json(&usage.units).into()),
            tier: usage.map(|usage| tier_name(usage.tier)),
            latency_optimised: usage.map(|usage| usage.latency_optimised),
            cost_basis: ended.basis.as_str(),
            cost_nano: ended.cost.map(stored_cost),
            latency_us: stored_count(ended.latency_us),
            time_to_first_byte_us: ended.time_to_first_byte_us.map(stored_count),
            aws_request_id: text(ended.aws_request_id),
            tags: texts.tags(begun.tags),
            attempts: texts.attempts(ended.attempts),
            price: ended.price.map(|price| texts.price(price)),
        }
    }

    /// Whether it counts as incomplete.
    pub(super) fn is_incomplete(&self) -> bool {
        self.outcome != Outcome::Complete
    }

    /// Tells every value, in the order of [`COLUMNS`].
    pub(super) fn write<W: ColumnWriter>(&self, to: &mut W) -> Result<(), W::Error> {
        to.id(self.id)?;
        to.number(self.started_at)?;
        to.text(&self.payer_name)?;
        to.optional_text(self.team_id.as_deref())?;
        to.optional_text(self.user_id.as_deref())?;
        to.optional_text(self.end_user.as_deref())?;
        to.text(&self.tags)?;
        to.optional_text(self.session_id.as_deref())?;
        to.optional_text(self.call_id.as_deref())?;
        to.text(self.service)?;
        to.text(&self.operation)?;
        to.optional_text(self.requested_model.as_deref())?;
        to.text(&self.deployment)?;
        to.optional_text(self.model_id.as_deref())?;
        to.text(&self.region)?;
        to.optional_number(self.estimate_nano)?;
        to.text(self.outcome.as_str())?;
        to.small_number(self.status)?;
        to.text(&self.attempts)?;
        to.optional_number(self.input_tokens)?;
        to.optional_number(self.output_tokens)?;
        to.optional_number(self.cache_read_tokens)?;
        to.optional_number(self.cache_write_5m_tokens)?;
        to.optional_number(self.cache_write_1h_tokens)?;
        to.optional_number(self.reasoning_tokens)?;
        to.optional_text(self.units.as_deref())?;
        to.optional_text(self.tier)?;
        to.optional_flag(self.latency_optimised)?;
        to.text(self.cost_basis)?;
        to.optional_text(self.price.as_deref())?;
        to.optional_number(self.cost_nano)?;
        to.number(self.latency_us)?;
        to.optional_number(self.time_to_first_byte_us)?;
        to.optional_text(self.aws_request_id.as_deref())
    }
}
