//! Spend per day: who paid it, for whom, and for which models.

use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::id_range;
use super::logs::{Days, SUM_OF_COST, SpendFilter};
use super::rollup::{MICROS_PER_DAY, Scope};
use crate::domain::{EventId, NanoUsd, UnixMicros};
use crate::store::columns::StoredEventId;
use crate::store::error::StoreError;
use crate::store::schema::spend_rollups;
use crate::store::{Store, on_reader};

/// What the requests of one day, UTC, cost, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySpend {
    /// All of them.
    pub cost: NanoUsd,
    /// By payer: the hash of a key, or a fixed name.
    pub payers: BTreeMap<String, NanoUsd>,
    /// By user; under the empty name what no user is known for.
    pub users: BTreeMap<String, NanoUsd>,
    /// By model id; under the empty name what went to no model.
    pub models: BTreeMap<String, NanoUsd>,
}

/// What counted for one name on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayOfName {
    /// The day, in days since the epoch, UTC.
    pub day: i32,
    /// The name, as the scope has it.
    pub name: String,
    /// The cost, as far as it is known.
    pub cost: NanoUsd,
    requests: i64,
}

/// Days with their spend; those without a request are left out.
type ByDay = BTreeMap<i32, DaySpend>;

#[derive(QueryableByName)]
struct GroupRow {
    #[diesel(sql_type = Integer)]
    day: i32,
    #[diesel(sql_type = Text)]
    payer: String,
    #[diesel(sql_type = Text)]
    user: String,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = BigInt)]
    cost: i64,
}

fn add(sums: &mut BTreeMap<String, NanoUsd>, name: String, cost: NanoUsd) {
    let sum = sums.entry(name).or_default();
    *sum = sum.saturating_add(cost);
}

impl Store {
    /// Everybody's spend on each of these days, from the roll-ups: all of it as of one moment.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spend_by_day(&self, days: Days) -> Result<ByDay, StoreError> {
        let scopes = [Scope::Key, Scope::User, Scope::Model];
        let [payers, users, models] = self.days_of_names(scopes, days).await?;
        let mut by_day = ByDay::new();
        // How many requests of a day no user is known for.
        let mut userless: BTreeMap<i32, (i64, NanoUsd)> = BTreeMap::new();
        for DayOfName { day, name, cost, requests } in models {
            let spend = by_day.entry(day).or_default();
            // Each request has exactly one model.
            spend.cost = spend.cost.saturating_add(cost);
            let rest = userless.entry(day).or_default();
            *rest = (rest.0.saturating_add(requests), rest.1.saturating_add(cost));
            add(&mut spend.models, name, cost);
        }
        for DayOfName { day, name, cost, .. } in payers {
            add(&mut by_day.entry(day).or_default().payers, name, cost);
        }
        for DayOfName { day, name, cost, requests } in users {
            let rest = userless.entry(day).or_default();
            *rest = (rest.0.saturating_sub(requests), NanoUsd(rest.1.0.saturating_sub(cost.0)));
            add(&mut by_day.entry(day).or_default().users, name, cost);
        }
        for (day, (_, cost)) in userless.into_iter().filter(|(_, (requests, _))| *requests > 0) {
            add(&mut by_day.entry(day).or_default().users, String::new(), cost);
        }
        Ok(by_day)
    }

    /// The spend of some events on each day, from the events themselves.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spend_by_day_of(&self, filter: SpendFilter) -> Result<ByDay, StoreError> {
        let SpendFilter { payer, user_id, request_id, from, until } = filter;
        let (from, until) = (from.unwrap_or(UnixMicros(i64::MIN)), until.unwrap_or(UnixMicros(i64::MAX)));
        let mut conditions = format!("started_at >= {} AND started_at < {}", from.0, until.0);
        // Numbers of parameters in the order in which they come: SQLite takes `$1` for a name.
        let mut values = Vec::new();
        let mut condition = |column: &str, value: Option<String>| {
            let Some(value) = value else { return String::new() };
            values.push(value);
            format!("{column} = ${}", values.len())
        };
        let of_payer = condition("payer", payer);
        let of_user = condition("user_id", user_id);
        let request_uuid = request_id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
        let of_call = condition("call_id", request_id);
        let of_request = match request_uuid {
            Some(id) => format!("({of_call} OR id = {})", self.literal(StoredEventId(EventId(id)))),
            None => of_call,
        };
        if of_payer.is_empty() && of_user.is_empty() && of_request.is_empty() {
            let (first, end) = (self.literal(id_range::from(from)), self.literal(id_range::until(until)));
            conditions.push_str(&format!(" AND id >= {first} AND id < {end}"));
        }
        for condition in [of_payer, of_user, of_request].iter().filter(|condition| !condition.is_empty()) {
            conditions.push_str(&format!(" AND {condition}"));
        }
        // Nothing but numbers, ids and fixed words is put into the text.
        let query = format!(
            "SELECT CAST(started_at / {MICROS_PER_DAY} AS INTEGER) AS day, payer,
                coalesce(user_id, '') AS \"user\", coalesce(model_id, '') AS model, {SUM_OF_COST} AS cost
            FROM bedgate.spend_events WHERE {conditions} GROUP BY 1, 2, 3, 4"
        );
        on_reader!(self, |conn| {
            let mut query = sql_query(query).into_boxed();
            for value in values {
                query = query.bind::<Text, _>(value);
            }
            let mut by_day = ByDay::new();
            for GroupRow { day, payer, user, model, cost } in query.load::<GroupRow>(conn).await? {
                let (spend, cost) = (by_day.entry(day).or_default(), NanoUsd(cost));
                spend.cost = spend.cost.saturating_add(cost);
                add(&mut spend.payers, payer, cost);
                add(&mut spend.users, user, cost);
                add(&mut spend.models, model, cost);
            }
            Ok(by_day)
        })
    }

    /// What counted for each name of these scopes on each day, in the order of days: all of it as of one moment.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn days_of_names<const N: usize>(
        &self,
        scopes: [Scope; N],
        days: Days,
    ) -> Result<[Vec<DayOfName>; N], StoreError> {
        use spend_rollups::dsl;
        on_reader!(self, |conn| {
            let rows = spend_rollups::table
                .filter(dsl::scope.eq_any(scopes.map(Scope::as_str)))
                .filter(dsl::day.ge(days.first.unwrap_or(i32::MIN)))
                .filter(dsl::day.le(days.last.unwrap_or(i32::MAX)))
                .order((dsl::day.asc(), dsl::name.asc()))
                .select((dsl::scope, dsl::day, dsl::name, dsl::cost_nano, dsl::requests))
                .load::<(String, i32, String, i64, i64)>(conn)
                .await?;
            let mut sorted: [Vec<DayOfName>; N] = std::array::from_fn(|_| Vec::new());
            for (scope, day, name, cost, requests) in rows {
                let of_scope = scopes.iter().zip(&mut sorted).find(|(known, _)| known.as_str() == scope);
                if let Some((_, of_scope)) = of_scope {
                    of_scope.push(DayOfName { day, name, cost: NanoUsd(cost), requests });
                }
            }
            Ok(sorted)
        })
    }

    /// What everything cost on each of these days, or what one payer spent; days without a request are left out.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn cost_by_day(
        &self,
        payer: Option<String>,
        days: Days,
    ) -> Result<Vec<(i32, NanoUsd)>, StoreError> {
        use spend_rollups::dsl;
        on_reader!(self, |conn| {
            let mut query = spend_rollups::table
                .filter(dsl::day.ge(days.first.unwrap_or(i32::MIN)))
                .filter(dsl::day.le(days.last.unwrap_or(i32::MAX)))
                .group_by(dsl::day)
                .select((dsl::day, sql::<BigInt>(SUM_OF_COST)))
                .order(dsl::day.asc())
                .into_boxed();
            query = match payer {
                Some(payer) => query.filter(dsl::scope.eq(Scope::Key.as_str())).filter(dsl::name.eq(payer)),
                None => query.filter(dsl::scope.eq(Scope::Model.as_str())),
            };
            let rows = query.load::<(i32, i64)>(conn).await?;
            Ok(rows.into_iter().map(|(day, cost)| (day, NanoUsd(cost))).collect())
        })
    }

    /// The first day that anything counted on, and the last.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn days_with_spend(&self, days: Days) -> Result<Option<(i32, i32)>, StoreError> {
        use spend_rollups::dsl;
        on_reader!(self, |conn| {
            let of_models = spend_rollups::table
                .filter(dsl::scope.eq(Scope::Model.as_str()))
                .filter(dsl::day.ge(days.first.unwrap_or(i32::MIN)))
                .filter(dsl::day.le(days.last.unwrap_or(i32::MAX)));
            let bounds = (diesel::dsl::min(dsl::day), diesel::dsl::max(dsl::day));
            let (first, last): (Option<i32>, Option<i32>) = of_models.select(bounds).first(conn).await?;
            Ok(first.zip(last))
        })
    }
}
