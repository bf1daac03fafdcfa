//! Whether what is to be made would find its name taken: what a dry run asks in place of making it.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::{StoreError, TakenName};
use super::keys::was_key;
use super::schema::{keys, limit_holders};
use super::{HolderKind, Store, on_reader};
use crate::domain::KeyHash;

impl Store {
    /// What [`Store::import_key`] would refuse a key for.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn taken_by_key(
        &self,
        hash: KeyHash,
        alias: Option<String>,
    ) -> Result<Option<TakenName>, StoreError> {
        on_reader!(self, |conn| {
            let same_key = keys::table.find(hash.to_string());
            if diesel::select(diesel::dsl::exists(same_key)).get_result(conn).await? {
                return Ok(Some(TakenName::Key));
            }
            if was_key!(conn, hash) {
                return Ok(Some(TakenName::FormerKey));
            }
            let Some(alias) = alias else { return Ok(None) };
            let same_alias = keys::table.filter(keys::key_alias.eq(&alias));
            let is_taken: bool = diesel::select(diesel::dsl::exists(same_alias)).get_result(conn).await?;
            Ok(is_taken.then_some(TakenName::Alias(alias)))
        })
    }

    /// What [`Store::create_holder`] would refuse a team, a customer or a budget for.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn taken_by_holder(
        &self,
        kind: HolderKind,
        id: String,
    ) -> Result<Option<TakenName>, StoreError> {
        on_reader!(self, |conn| {
            let same =
                limit_holders::table.find((kind.as_str(), &id)).filter(limit_holders::deleted.eq(false));
            let is_taken: bool = diesel::select(diesel::dsl::exists(same)).get_result(conn).await?;
            Ok(is_taken.then_some(TakenName::Holder(kind, id)))
        })
    }
}
