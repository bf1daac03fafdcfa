//! Sums of spend per day, for each of whom and what a request counts towards.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use super::new_row::NewRow;
use super::row::SpendRow;
use super::texts::RowText;
use crate::domain::FastMap;
use crate::event::Payer;

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
pub(in crate::store) type RollupKey = (&'static str, String, i32);

/// The columns of the sums, in the order of [`RollupTotals`].
const SUMS: [&str; 9] = [
    "requests",
    "incomplete_requests",
    "uncosted_requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_nano",
    "uncosted_nano",
];

/// The statement by which the sums of a table go up: `rows` says where they are taken from, scope, name and day first.
pub(in crate::store) fn statement_that_raises(table: &str, rows: &str) -> String {
    let raised = SUMS.map(|sum| format!("{sum} = kept.{sum} + excluded.{sum}")).join(", ");
    format!(
        "INSERT INTO {table} AS kept (scope, name, day, {}) {rows}
         ON CONFLICT (scope, name, day) DO UPDATE SET {raised}",
        SUMS.join(", ")
    )
}

/// What a row of sums goes up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct RollupTotals {
    pub(in crate::store) requests: i64,
    pub(in crate::store) incomplete_requests: i64,
    pub(in crate::store) uncosted_requests: i64,
    pub(in crate::store) input_tokens: i64,
    pub(in crate::store) output_tokens: i64,
    pub(in crate::store) cache_read_tokens: i64,
    pub(in crate::store) cache_write_tokens: i64,
    pub(in crate::store) cost_nano: i64,
    /// The estimates of those whose cost is not known.
    pub(in crate::store) uncosted_nano: i64,
}

impl RollupTotals {
    fn of(row: &NewRow<'_>) -> Self {
        let count = |count: Option<i64>| count.unwrap_or_default();
        Self {
            requests: 1,
            incomplete_requests: i64::from(row.is_incomplete()),
            uncosted_requests: i64::from(row.cost_nano.is_none()),
            input_tokens: count(row.input_tokens),
            output_tokens: count(row.output_tokens),
            cache_read_tokens: count(row.cache_read_tokens),
            cache_write_tokens: count(row.cache_write_5m_tokens)
                .saturating_add(count(row.cache_write_1h_tokens)),
            cost_nano: count(row.cost_nano),
            uncosted_nano: count(row.estimate_nano.filter(|_| row.cost_nano.is_none())),
        }
    }

    fn add(&mut self, more: &Self) {
        for (sum, amount) in [
            (&mut self.requests, more.requests),
            (&mut self.incomplete_requests, more.incomplete_requests),
            (&mut self.uncosted_requests, more.uncosted_requests),
            (&mut self.input_tokens, more.input_tokens),
            (&mut self.output_tokens, more.output_tokens),
            (&mut self.cache_read_tokens, more.cache_read_tokens),
            (&mut self.cache_write_tokens, more.cache_write_tokens),
            (&mut self.cost_nano, more.cost_nano),
            (&mut self.uncosted_nano, more.uncosted_nano),
        ] {
            *sum = sum.saturating_add(amount);
        }
    }
}

/// For whom a request counts.
#[derive(Debug, PartialEq, Eq)]
struct Subjects<'e> {
    payer: Payer,
    day: i32,
    team_id: Option<RowText<'e>>,
    user_id: Option<RowText<'e>>,
    end_user: Option<RowText<'e>>,
    model_id: Option<RowText<'e>>,
    requested_model: Option<RowText<'e>>,
}

/// The same by the names stored.
struct Names<'r> {
    payer: &'r str,
    day: i32,
    team_id: Option<&'r str>,
    user_id: Option<&'r str>,
    end_user: Option<&'r str>,
    model_id: Option<&'r str>,
    requested_model: Option<&'r str>,
}

/// What the rows of a batch add to sums.
#[derive(Default)]
pub(super) struct Sums<'e> {
    /// Most requests of a batch count for the same few: names are made and sorted for those only.
    by_subjects: FastMap<Subjects<'e>, RollupTotals>,
}

impl<'e> Sums<'e> {
    /// Counts one row more.
    pub(super) fn add(&mut self, row: &NewRow<'e>) {
        let subjects = Subjects {
            payer: row.payer,
            day: day_of(row.started_at),
            team_id: row.team_id.clone(),
            user_id: row.user_id.clone(),
            end_user: row.end_user.clone(),
            model_id: row.model_id.clone(),
            requested_model: row.requested_model.clone(),
        };
        self.by_subjects.entry(subjects).or_default().add(&RollupTotals::of(row));
    }

    /// By the rows they are kept in, in the order in which every writer writes them.
    pub(super) fn into_rollups(self) -> BTreeMap<RollupKey, RollupTotals> {
        let mut sums: BTreeMap<RollupKey, RollupTotals> = BTreeMap::new();
        for (subjects, totals) in self.by_subjects {
            let payer = subjects.payer.to_string();
            for key in subjects.names(&payer).keys() {
                sums.entry(key).or_default().add(&totals);
            }
        }
        sums
    }
}

/// By what tells most batches' subjects apart and nobody can choose at will, or is hashed whole: the rest is compared.
impl Hash for Subjects<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.payer.hash(state);
        self.requested_model.hash(state);
        self.end_user.hash(state);
    }
}

impl Subjects<'_> {
    fn names<'r>(&'r self, payer: &'r str) -> Names<'r> {
        Names {
            payer,
            day: self.day,
            team_id: self.team_id.as_deref(),
            user_id: self.user_id.as_deref(),
            end_user: self.end_user.as_deref(),
            model_id: self.model_id.as_deref(),
            requested_model: self.requested_model.as_deref(),
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

/// The sums that a row counts towards.
pub(super) fn rollup_keys_of(row: &SpendRow) -> impl Iterator<Item = RollupKey> {
    let names = Names {
        payer: &row.payer,
        day: day_of(row.started_at),
        team_id: row.team_id.as_deref(),
        user_id: row.user_id.as_deref(),
        end_user: row.end_user.as_deref(),
        model_id: row.model_id.as_deref(),
        requested_model: row.requested_model.as_deref(),
    };
    let keys: BTreeSet<RollupKey> = names.keys().collect();
    keys.into_iter()
}

impl Names<'_> {
    fn keys(&self) -> impl Iterator<Item = RollupKey> {
        let Self { payer, day, .. } = *self;
        let names = [
            (Scope::Key, Some(payer.to_owned())),
            (Scope::Team, self.team_id.map(str::to_owned)),
            (Scope::User, self.user_id.map(str::to_owned)),
            (Scope::EndUser, self.end_user.map(str::to_owned)),
            (Scope::Model, Some(self.model_id.unwrap_or_default().to_owned())),
            (Scope::KeyModel, self.requested_model.map(|model| key_model_name(payer, model))),
        ];
        names.into_iter().filter_map(move |(scope, name)| Some((scope.as_str(), name?, day)))
    }
}
