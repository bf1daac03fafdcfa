//! What counts as spent since a moment, for budgets: whole days from the roll-ups, the rest of a day begun from its events.

use std::collections::{BTreeMap, HashMap};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::id_range;
use super::rollup::{MICROS_PER_DAY, Scope, day_of, key_model_name};
use crate::domain::{NanoUsd, UnixMicros};
use crate::store::error::StoreError;
use crate::store::schema::{spend_events, spend_rollups};
use crate::store::{Store, on_reader};

/// Names asked for by one query.
const NAMES_AT_ONCE: usize = 1_000;
/// Names with a time of its own each, asked for by one query: databases bound how much one may say.
const RESTS_AT_ONCE: usize = 256;
/// Sums that both databases give as 64-bit integers.
const SUM_OF_COST: &str = "CAST(COALESCE(SUM(cost_nano), 0) AS BIGINT)";
const SUM_OF_ESTIMATES: &str = "CAST(COALESCE(SUM(uncosted_nano), 0) AS BIGINT)";
const SUM_OF_EVENTS_ESTIMATES: &str =
    "CAST(COALESCE(SUM(CASE WHEN cost_nano IS NULL THEN estimate_nano END), 0) AS BIGINT)";

/// Whose spend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpendOf {
    /// A payer's, by its stored name.
    Payer(String),
    /// A payer's on one model name.
    PayerAndModel(String, String),
    /// A team's.
    Team(String),
    /// A customer's.
    EndUser(String),
    /// Everybody's.
    All,
}

/// Whose spend since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpendSince {
    /// Whose.
    pub of: SpendOf,
    /// Requests that began at this moment or later.
    pub since: UnixMicros,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// By requests whose cost is known.
    pub cost: NanoUsd,
    /// What those whose cost is not known are taken to have cost, until they are priced.
    pub estimated: NanoUsd,
}

impl Spent {
    /// What budgets count: something must count, also after a restart and on every instance.
    #[must_use]
    pub fn counted(self) -> NanoUsd {
        self.cost.saturating_add(self.estimated)
    }

    fn and(self, (cost, estimated): (i64, i64)) -> Self {
        Self {
            cost: self.cost.saturating_add(NanoUsd(cost)),
            estimated: self.estimated.saturating_add(NanoUsd(estimated)),
        }
    }
}

impl SpendOf {
    fn rollup(&self) -> (Scope, Option<String>) {
        match self {
            Self::Payer(payer) => (Scope::Key, Some(payer.clone())),
            Self::PayerAndModel(payer, model) => (Scope::KeyModel, Some(key_model_name(payer, model))),
            Self::Team(team) => (Scope::Team, Some(team.clone())),
            Self::EndUser(user) => (Scope::EndUser, Some(user.clone())),
            // Each request has exactly one model.
            Self::All => (Scope::Model, None),
        }
    }
}

/// A day begun, of which the sums of days tell nothing: which question wants it, and from when until when.
#[derive(Clone, Copy, Debug)]
struct RestOfDay {
    index: usize,
    since: UnixMicros,
    until: UnixMicros,
}

/// The days begun that questions want. Those of many keys, teams or customers are asked for together; each batch has a
/// name once.
#[derive(Debug, Default)]
struct Begun {
    payers: Vec<BTreeMap<String, RestOfDay>>,
    teams: Vec<BTreeMap<String, RestOfDay>>,
    end_users: Vec<BTreeMap<String, RestOfDay>>,
    /// Those that are asked for one by one.
    single: Vec<(SpendOf, RestOfDay)>,
}

impl Begun {
    fn ask(&mut self, of: &SpendOf, rest: RestOfDay) {
        let (batches, name) = match of {
            SpendOf::Payer(payer) => (&mut self.payers, payer),
            SpendOf::Team(team) => (&mut self.teams, team),
            SpendOf::EndUser(user) => (&mut self.end_users, user),
            SpendOf::PayerAndModel(..) | SpendOf::All => return self.single.push((of.clone(), rest)),
        };
        match batches.last_mut().filter(|batch| batch.len() < RESTS_AT_ONCE && !batch.contains_key(name)) {
            Some(batch) => drop(batch.insert(name.clone(), rest)),
            None => batches.push(BTreeMap::from([(name.clone(), rest)])),
        }
    }
}

/// The sums of days begun, one query a batch: the indices of the questions, and what each adds.
macro_rules! sums_of_begun {
    ($conn:expr, $batches:expr, $column:ident, $name:ty) => {{
        let mut sums: Vec<(usize, (i64, i64))> = Vec::new();
        for batch in &$batches {
            let both = (sql::<BigInt>(SUM_OF_COST), sql::<BigInt>(SUM_OF_EVENTS_ESTIMATES));
            let mut query = spend_events::table
                .group_by(spend_events::$column)
                .select((spend_events::$column, both))
                .into_boxed();
            // Some are said twice, so that databases keep few statements of different lengths.
            for (name, rest) in batch.iter().cycle().take(batch.len().next_power_of_two()) {
                query = query.or_filter(
                    spend_events::$column
                        .eq(name)
                        .and(spend_events::started_at.ge(rest.since.0))
                        .and(spend_events::started_at.lt(rest.until.0)),
                );
            }
            let rows: Vec<($name, (i64, i64))> = query.load($conn).await?;
            let index = |name| batch.get(&Option::<String>::from(name)?).map(|rest| rest.index);
            sums.extend(rows.into_iter().filter_map(|(name, sum)| Some((index(name)?, sum))));
        }
        sums
    }};
}

impl Store {
    /// What was spent, in the order of the questions.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spent_since(&self, questions: Vec<SpendSince>) -> Result<Vec<Spent>, StoreError> {
        on_reader!(self, |conn| {
            let first_day = |since: UnixMicros| day_of(since.0.saturating_add(MICROS_PER_DAY - 1));
            let mut groups: HashMap<(Scope, i32), Vec<String>> = HashMap::new();
            for question in &questions {
                let (scope, name) = question.of.rollup();
                groups.entry((scope, first_day(question.since))).or_default().extend(name);
            }
            let mut sums: HashMap<(Scope, i32, String), (i64, i64)> = HashMap::new();
            for ((scope, day), names) in groups {
                let of_scope = || {
                    spend_rollups::table
                        .filter(spend_rollups::scope.eq(scope.as_str()))
                        .filter(spend_rollups::day.ge(day))
                };
                let both = (sql::<BigInt>(SUM_OF_COST), sql::<BigInt>(SUM_OF_ESTIMATES));
                if scope == Scope::Model {
                    let sum = of_scope().select(both).get_result::<(i64, i64)>(conn).await?;
                    sums.insert((scope, day, String::new()), sum);
                    continue;
                }
                for names in names.chunks(NAMES_AT_ONCE) {
                    let rows: Vec<(String, (i64, i64))> = of_scope()
                        .filter(spend_rollups::name.eq_any(names))
                        .group_by(spend_rollups::name)
                        .select((spend_rollups::name, both.clone()))
                        .load(conn)
                        .await?;
                    sums.extend(rows.into_iter().map(|(name, sum)| ((scope, day, name), sum)));
                }
            }
            let mut answers = Vec::with_capacity(questions.len());
            let mut begun = Begun::default();
            for (index, SpendSince { of, since }) in questions.iter().enumerate() {
                let day = first_day(*since);
                let (scope, name) = of.rollup();
                let whole = sums.get(&(scope, day, name.unwrap_or_default())).copied().unwrap_or_default();
                answers.push(Spent::default().and(whole));
                let until = UnixMicros(i64::from(day).saturating_mul(MICROS_PER_DAY));
                if *since < until {
                    begun.ask(of, RestOfDay { index, since: *since, until });
                }
            }
            let mut found = sums_of_begun!(conn, begun.payers, payer, String);
            found.extend(sums_of_begun!(conn, begun.teams, team_id, Option<String>));
            found.extend(sums_of_begun!(conn, begun.end_users, end_user, Option<String>));
            for (of, rest) in begun.single {
                let query = spend_events::table
                    .filter(spend_events::started_at.ge(rest.since.0))
                    .filter(spend_events::started_at.lt(rest.until.0))
                    .select((sql::<BigInt>(SUM_OF_COST), sql::<BigInt>(SUM_OF_EVENTS_ESTIMATES)))
                    .into_boxed();
                let query = match of {
                    SpendOf::PayerAndModel(payer, model) => query
                        .filter(spend_events::payer.eq(payer))
                        .filter(spend_events::requested_model.eq(model)),
                    _ => query
                        .filter(spend_events::id.ge(id_range::from(rest.since)))
                        .filter(spend_events::id.lt(id_range::until(rest.until))),
                };
                found.push((rest.index, query.get_result::<(i64, i64)>(conn).await?));
            }
            for (index, sum) in found {
                if let Some(answer) = answers.get_mut(index) {
                    *answer = answer.and(sum);
                }
            }
            Ok(answers)
        })
    }
}
