//! Sums of spend per day, for each of whom and what a request counts towards.

use std::collections::BTreeMap;

use super::row::SpendRow;
use crate::event::Outcome;

/// Microseconds of a day.
pub(super) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Requests of one key (or of the master key, or of nobody in open mode): each request has exactly one.
    Key,
    /// Requests of a team's keys.
    Team,
    /// Requests of a user's keys.
    User,
    /// Requests made on behalf of one customer.
    EndUser,
    /// Requests to one model id; those without a model count under the empty name, so each request has exactly one.
    Model,
    /// Requests of one key to one model name, as `payer:model`.
    KeyModel,
}

impl Scope {
    /// The name stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::User => "user",
            Self::EndUser => "end_user",
            Self::Model => "model",
            Self::KeyModel => "key_model",
        }
    }
}

/// One row of sums: ordered as rows are written.
pub(super) type RollupKey = (&'static str, String, i32);

/// What a row of sums goes up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RollupTotals {
    pub(super) requests: i64,
    pub(super) incomplete_requests: i64,
    pub(super) uncosted_requests: i64,
    pub(super) input_tokens: i64,
    pub(super) output_tokens: i64,
    pub(super) cache_read_tokens: i64,
    pub(super) cache_write_tokens: i64,
    pub(super) cost_nano: i64,
    /// The estimates of those whose cost is not known.
    pub(super) uncosted_nano: i64,
}

impl RollupTotals {
    fn add(&mut self, row: &SpendRow) {
        let count = |count: Option<i64>| count.unwrap_or_default();
        let written = count(row.cache_write_5m_tokens).saturating_add(count(row.cache_write_1h_tokens));
        for (sum, amount) in [
            (&mut self.requests, 1),
            (&mut self.incomplete_requests, i64::from(row.outcome != Outcome::Complete.as_str())),
            (&mut self.uncosted_requests, i64::from(row.cost_nano.is_none())),
            (&mut self.input_tokens, count(row.input_tokens)),
            (&mut self.output_tokens, count(row.output_tokens)),
            (&mut self.cache_read_tokens, count(row.cache_read_tokens)),
            (&mut self.cache_write_tokens, written),
            (&mut self.cost_nano, count(row.cost_nano)),
            (&mut self.uncosted_nano, row.uncosted_estimate()),
        ] {
            *sum = sum.saturating_add(amount);
        }
    }
}

/// The day of a moment, in days since the epoch, UTC.
pub(super) fn day_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX)
}

/// The name under which a payer's requests to a model name count.
pub(super) fn key_model_name(payer: &str, model: &str) -> String {
    format!("{payer}:{model}")
}

/// What these rows add to which sums, in the order in which every writer writes them.
pub(super) fn rollups_of(rows: &[SpendRow]) -> BTreeMap<RollupKey, RollupTotals> {
    let mut totals: BTreeMap<RollupKey, RollupTotals> = BTreeMap::new();
    for row in rows {
        let day = day_of(row.started_at);
        let key_model = row.requested_model.as_deref().map(|model| key_model_name(&row.payer, model));
        let names = [
            (Scope::Key, Some(row.payer.as_str())),
            (Scope::Team, row.team_id.as_deref()),
            (Scope::User, row.user_id.as_deref()),
            (Scope::EndUser, row.end_user.as_deref()),
            (Scope::Model, Some(row.model_id.as_deref().unwrap_or_default())),
            (Scope::KeyModel, key_model.as_deref()),
        ];
        for (scope, name) in names {
            let Some(name) = name else { continue };
            totals.entry((scope.as_str(), name.to_owned(), day)).or_default().add(row);
        }
    }
    totals
}
