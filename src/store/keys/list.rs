//! Pages of keys for people, with what each has spent.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::KeyDetails;
use super::row::KeyRow;
use crate::domain::{KeyHash, NanoUsd};
use crate::store::error::StoreError;
use crate::store::schema::keys;
use crate::store::{Backend, Store, on_reader};

/// The most keys on one page.
pub const MAX_PAGE_SIZE: u32 = 100;

/// Which keys; an empty filter is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// This key only.
    pub hash: Option<KeyHash>,
    /// The key with this alias only.
    pub key_alias: Option<String>,
    /// Those of one team.
    pub team_id: Option<String>,
    /// Those of one user.
    pub user_id: Option<String>,
}

/// In which order keys are listed; keys that are alike in it stand in the order of their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOrder {
    /// What they are compared by.
    pub by: SortedBy,
    /// Whether what is least comes first.
    pub ascending: bool,
}

/// What keys are compared by; a key that lacks it comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub enum SortedBy {
    CreatedAt,
    UpdatedAt,
    KeyAlias,
    Hash,
    Spend,
    MaxBudget,
}

impl Default for KeyOrder {
    /// Newest first.
    fn default() -> Self {
        Self { by: SortedBy::CreatedAt, ascending: false }
    }
}

/// What a key has spent: what it is taken to have spent before `spend_since`, and what its account's requests cost since: whole
/// days from the roll-ups, the rest of a day begun from its events.
const SPEND: &str = "CAST(keys.spend_carried_nano
    + coalesce((SELECT sum(sums.cost_nano) FROM bedgate.spend_rollups AS sums
        WHERE sums.scope = 'key' AND sums.name = coalesce(keys.payer, keys.hash)
        AND sums.day >= coalesce((keys.spend_since + 86399999999) / 86400000000, -2147483648)), 0)
    + coalesce((SELECT sum(events.cost_nano) FROM bedgate.spend_events AS events
        WHERE events.payer = coalesce(keys.payer, keys.hash) AND events.started_at >= keys.spend_since
        AND events.started_at < (keys.spend_since + 86399999999) / 86400000000 * 86400000000), 0)
    AS BIGINT)";

/// A key's place among all, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    created_at: i64,
    hash: String,
}

/// Where a page of keys begins.
#[derive(Debug)]
enum PageStart {
    /// Behind so many, in this order.
    Skipping(i64, KeyOrder),
    /// Behind this one, newest first.
    After(KeyPlace),
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPage {
    /// The page's keys, newest first.
    pub keys: Vec<KeyDetails>,
    /// How many there are on all pages.
    pub total: u64,
}

impl Store {
    /// A page of keys, newest first; pages count from 1. Sizes above [`MAX_PAGE_SIZE`] are cut to it.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn list_keys(&self, filter: KeyFilter, page: u32, size: u32) -> Result<KeyPage, StoreError> {
        self.list_keys_by(KeyOrder::default(), filter, page, size).await
    }

    /// The same in another order.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn list_keys_by(
        &self,
        order: KeyOrder,
        filter: KeyFilter,
        page: u32,
        size: u32,
    ) -> Result<KeyPage, StoreError> {
        let size = size.clamp(1, MAX_PAGE_SIZE);
        let offset = i64::from(page.saturating_sub(1)).saturating_mul(i64::from(size));
        self.page_of_keys(filter, PageStart::Skipping(offset, order), size).await
    }

    /// The keys that follow a place, or the first, newest first, and where the next ones begin.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn keys_after(
        &self,
        filter: KeyFilter,
        after: Option<KeyPlace>,
    ) -> Result<(Vec<KeyDetails>, Option<KeyPlace>), StoreError> {
        let start = after.map_or_else(|| PageStart::Skipping(0, KeyOrder::default()), PageStart::After);
        let keys = self.page_of_keys(filter, start, MAX_PAGE_SIZE).await?.keys;
        let is_full = keys.len() >= usize::try_from(MAX_PAGE_SIZE).unwrap_or_default();
        let place = |last: &KeyDetails| KeyPlace {
            created_at: last.record.created_at.0,
            hash: last.record.hash.to_string(),
        };
        let next = keys.last().filter(|_| is_full).map(place);
        Ok((keys, next))
    }

    async fn page_of_keys(
        &self,
        filter: KeyFilter,
        start: PageStart,
        size: u32,
    ) -> Result<KeyPage, StoreError> {
        let size = i64::from(size);
        let order = match &start {
            PageStart::Skipping(_, order) => *order,
            PageStart::After(_) => KeyOrder::default(),
        };
        let order = self.order_of_keys(order);
        on_reader!(self, |conn| {
            let matching = || {
                let mut query = keys::table.into_boxed();
                if let Some(hash) = &filter.hash {
                    query = query.filter(keys::hash.eq(hash.to_string()));
                }
                if let Some(alias) = &filter.key_alias {
                    query = query.filter(keys::key_alias.eq(alias.clone()));
                }
                if let Some(team) = &filter.team_id {
                    query = query.filter(keys::team_id.eq(team.clone()));
                }
                if let Some(user) = &filter.user_id {
                    query = query.filter(keys::user_id.eq(user.clone()));
                }
                query
            };
            let total: i64 = matching().count().get_result(conn).await?;
            let mut page = matching();
            let mut offset = 0;
            match start {
                PageStart::Skipping(count, _) => offset = count,
                PageStart::After(place) => {
                    let is_as_old = keys::created_at.eq(place.created_at).and(keys::hash.gt(place.hash));
                    page = page.filter(keys::created_at.lt(place.created_at).or(is_as_old));
                }
            }
            let rows = page
                .order(sql::<BigInt>(&order))
                .limit(size)
                .offset(offset)
                .select((KeyRow::as_select(), sql::<BigInt>(SPEND)))
                .load::<(KeyRow, i64)>(conn)
                .await?;
            let details = |(row, spend): (KeyRow, i64)| {
                let updated_by = row.updated_by.clone();
                Ok::<_, StoreError>(KeyDetails {
                    record: row.into_record()?,
                    updated_by,
                    spend: NanoUsd(spend),
                })
            };
            let keys = rows.into_iter().map(details).collect::<Result<_, _>>()?;
            let total = u64::try_from(total).unwrap_or_default();
            Ok(KeyPage { keys, total })
        })
    }

    /// As it stands behind `ORDER BY`: made of nothing but fixed words.
    fn order_of_keys(&self, KeyOrder { by, ascending }: KeyOrder) -> String {
        let by = match (by, &self.backend) {
            (SortedBy::CreatedAt, _) => "created_at",
            (SortedBy::UpdatedAt, _) => "updated_at",
            (SortedBy::KeyAlias, _) => "key_alias",
            (SortedBy::Hash, _) => "hash",
            (SortedBy::Spend, _) => SPEND,
            (SortedBy::MaxBudget, Backend::Postgres(_)) => "(limits::jsonb ->> 'max_budget')::bigint",
            (SortedBy::MaxBudget, Backend::Sqlite(_)) => "json_extract(limits, '$.max_budget')",
        };
        let direction = if ascending { "ASC" } else { "DESC" };
        format!("{by} {direction} NULLS LAST, hash ASC")
    }
}
