//! Spend for people: single requests, and sums.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::id_range;
use super::rollup::Scope;
use super::row::SpendRow;
use crate::domain::{EventId, NanoUsd, UnixMicros};
use crate::store::columns::StoredEventId;
use crate::store::error::StoreError;
use crate::store::schema::{spend_events, spend_rollups};
use crate::store::{Store, on_reader};

/// The most events on one page.
pub const MAX_PAGE_SIZE: u32 = 1_000;

/// Sums of whole numbers as whole numbers: Postgres makes them NUMERIC.
const SUM_OF_REQUESTS: &str = "CAST(coalesce(sum(requests), 0) AS BIGINT)";
const SUM_OF_TOKENS: &str =
    "CAST(coalesce(sum(input_tokens + output_tokens + cache_read_tokens + cache_write_tokens), 0) AS BIGINT)";
pub(super) const SUM_OF_COST: &str = "CAST(coalesce(sum(cost_nano), 0) AS BIGINT)";

/// Which events; an empty filter is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendFilter {
    /// A payer's name: the hash of a key, or a fixed name.
    pub payer: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The event's id, or the id by which the client knows the call.
    pub request_id: Option<String>,
    /// Started at this moment or later.
    pub from: Option<UnixMicros>,
    /// Started before this moment.
    pub until: Option<UnixMicros>,
}

/// Where a page of events begins.
#[derive(Clone, Copy, Debug)]
enum PageStart {
    /// Behind so many.
    Skipping(i64),
    /// Behind this one.
    After(EventPlace),
}

/// An event's place among all, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPlace {
    started_at: i64,
    id: StoredEventId,
}

/// Whole days, UTC, as days since the epoch; both ends belong to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days {
    /// The first; `None`: from the beginning.
    pub first: Option<i32>,
    /// The last; `None`: until now.
    pub last: Option<i32>,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendLogPage {
    /// Newest first.
    pub events: Vec<SpendRow>,
    /// Whether older ones follow.
    pub more: bool,
}

impl SpendLogPage {
    /// Where the next page begins, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<EventPlace> {
        let last = self.events.last().filter(|_| self.more)?;
        Some(EventPlace { started_at: last.started_at, id: last.id })
    }
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendSum {
    /// Requests.
    pub requests: i64,
    /// Tokens: input, output, and those of the cache.
    pub tokens: i64,
    /// Cost, as far as it is known.
    pub cost: NanoUsd,
}

impl Store {
    /// A page of events; pages count from 1. Sizes above [`MAX_PAGE_SIZE`] are cut to it.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spend_logs(
        &self,
        filter: SpendFilter,
        page: u32,
        size: u32,
    ) -> Result<SpendLogPage, StoreError> {
        let size = size.clamp(1, MAX_PAGE_SIZE);
        let offset = i64::from(page.saturating_sub(1)).saturating_mul(i64::from(size));
        self.page_of_events(filter, PageStart::Skipping(offset), size).await
    }

    /// The page of events that follows a place, or the first. Neither what is read again nor what is written meanwhile
    /// moves the next page, and no page takes longer for those before it.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spend_logs_after(
        &self,
        filter: SpendFilter,
        after: Option<EventPlace>,
        size: u32,
    ) -> Result<SpendLogPage, StoreError> {
        let start = after.map_or(PageStart::Skipping(0), PageStart::After);
        self.page_of_events(filter, start, size.clamp(1, MAX_PAGE_SIZE)).await
    }

    async fn page_of_events(
        &self,
        filter: SpendFilter,
        start: PageStart,
        size: u32,
    ) -> Result<SpendLogPage, StoreError> {
        let size = i64::from(size);
        on_reader!(self, |conn| {
            let mut query = spend_events::table.into_boxed();
            // By an index of whose they are, or by that of ids.
            let is_of_somebody = filter.payer.is_some() || filter.user_id.is_some();
            if let Some(payer) = filter.payer {
                query = query.filter(spend_events::payer.eq(payer));
            }
            if let Some(user) = filter.user_id {
                query = query.filter(spend_events::user_id.eq(user));
            }
            if let Some(request) = filter.request_id {
                query = match Uuid::parse_str(&request) {
                    Ok(id) => query.filter(
                        spend_events::id
                            .eq(StoredEventId(EventId(id)))
                            .or(spend_events::call_id.is_not_null().and(spend_events::call_id.eq(request))),
                    ),
                    Err(_) => query.filter(spend_events::call_id.eq(request)),
                };
            }
            if let Some(from) = filter.from {
                query = query.filter(spend_events::started_at.ge(from.0));
            }
            if let Some(until) = filter.until {
                query = query.filter(spend_events::started_at.lt(until.0));
            }
            let mut offset = 0;
            match start {
                PageStart::Skipping(count) => offset = count,
                PageStart::After(place) if is_of_somebody => {
                    let earlier = spend_events::started_at.lt(place.started_at);
                    query = query.filter(spend_events::started_at.le(place.started_at));
                    query = query.filter(earlier.or(spend_events::id.lt(place.id)));
                }
                PageStart::After(place) => query = query.filter(spend_events::id.lt(place.id)),
            }
            if is_of_somebody {
                query = query.order((spend_events::started_at.desc(), spend_events::id.desc()));
            } else {
                let (from, until) = (filter.from.map(id_range::from), filter.until.map(id_range::until));
                query =
                    query.filter(spend_events::id.ge(from.unwrap_or(StoredEventId(EventId(Uuid::nil())))));
                query =
                    query.filter(spend_events::id.lt(until.unwrap_or(StoredEventId(EventId(Uuid::max())))));
                query = query.order(spend_events::id.desc());
            }
            let mut events = query
                .limit(size + 1)
                .offset(offset)
                .select(SpendRow::as_select())
                .load::<SpendRow>(conn)
                .await?;
            let wanted = usize::try_from(size).unwrap_or_default();
            let more = events.len() > wanted;
            events.truncate(wanted);
            Ok(SpendLogPage { events, more })
        })
    }

    /// The names of a scope that spent most, with their sums over these days; at most so many.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spend_sums(
        &self,
        scope: Scope,
        days: Days,
        limit: u32,
    ) -> Result<Vec<(String, SpendSum)>, StoreError> {
        use spend_rollups::dsl;
        let limit = i64::from(limit);
        on_reader!(self, |conn| {
            let rows = spend_rollups::table
                .filter(dsl::scope.eq(scope.as_str()))
                .filter(dsl::day.ge(days.first.unwrap_or(i32::MIN)))
                .filter(dsl::day.le(days.last.unwrap_or(i32::MAX)))
                .group_by(dsl::name)
                .select((
                    dsl::name,
                    sql::<BigInt>(SUM_OF_REQUESTS),
                    sql::<BigInt>(SUM_OF_TOKENS),
                    sql::<BigInt>(SUM_OF_COST),
                ))
                .order((sql::<BigInt>(SUM_OF_COST).desc(), dsl::name.asc()))
                .limit(limit)
                .load::<(String, i64, i64, i64)>(conn)
                .await?;
            let sum =
                |(name, requests, tokens, cost)| (name, SpendSum { requests, tokens, cost: NanoUsd(cost) });
            Ok(rows.into_iter().map(sum).collect())
        })
    }

    /// What everything cost on these days, as far as it is known.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn total_spend(&self, days: Days) -> Result<NanoUsd, StoreError> {
        on_reader!(self, |conn| {
            // Each request has exactly one model, and there are fewer models than keys.
            let total = spend_rollups::table
                .filter(spend_rollups::scope.eq(Scope::Model.as_str()))
                .filter(spend_rollups::day.ge(days.first.unwrap_or(i32::MIN)))
                .filter(spend_rollups::day.le(days.last.unwrap_or(i32::MAX)))
                .select(sql::<BigInt>(SUM_OF_COST))
                .first::<i64>(conn)
                .await?;
            Ok(NanoUsd(total))
        })
    }
}
