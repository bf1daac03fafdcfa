//! Pages of keys for people, with what each has spent.

use std::collections::HashMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::row::KeyRow;
use super::{KeyDetails, KeyRecord};
use crate::domain::{KeyHash, NanoUsd};
use crate::store::error::StoreError;
use crate::store::schema::{keys, spend_rollups};
use crate::store::spend::{SUM_OF_COST, Scope};
use crate::store::{Store, on_reader};

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

/// A page of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPage {
    /// The page's keys, newest first.
    pub keys: Vec<KeyDetails>,
    /// How many there are on all pages.
    pub total: u64,
}

impl Store {
    /// A page of keys; pages count from 1. Sizes above [`MAX_PAGE_SIZE`] are cut to it.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn list_keys(&self, filter: KeyFilter, page: u32, size: u32) -> Result<KeyPage, StoreError> {
        let size = i64::from(size.clamp(1, MAX_PAGE_SIZE));
        let offset = i64::from(page.saturating_sub(1)).saturating_mul(size);
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
            let rows = matching()
                .order((keys::created_at.desc(), keys::hash.asc()))
                .limit(size)
                .offset(offset)
                .select(KeyRow::as_select())
                .load::<KeyRow>(conn)
                .await?;
            let mut listed = Vec::with_capacity(rows.len());
            for row in rows {
                let carried = row.spend_carried_nano;
                let updated_by = row.updated_by.clone();
                listed.push((row.into_record()?, carried, updated_by));
            }
            let names: Vec<String> = listed.iter().map(|(record, ..)| record.hash.to_string()).collect();
            let spent: HashMap<String, i64> = spend_rollups::table
                .filter(spend_rollups::scope.eq(Scope::Key.as_str()))
                .filter(spend_rollups::name.eq_any(names))
                .group_by(spend_rollups::name)
                .select((spend_rollups::name, sql::<BigInt>(SUM_OF_COST)))
                .load::<(String, i64)>(conn)
                .await?
                .into_iter()
                .collect();
            let details = |(record, carried, updated_by): (KeyRecord, i64, Option<String>)| {
                let spent = spent.get(&record.hash.to_string()).copied().unwrap_or_default();
                KeyDetails { record, updated_by, spend: NanoUsd(carried).saturating_add(NanoUsd(spent)) }
            };
            let total = u64::try_from(total).unwrap_or_default();
            Ok(KeyPage { keys: listed.into_iter().map(details).collect(), total })
        })
    }
}
