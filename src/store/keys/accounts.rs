//! Accounts: what a key spends belongs to one, which goes on under the key's next value and outlives the key.
//!
//! An account is named as its key's first value is stored; events, roll-ups, budgets and the owners of responses know its name only.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::row::{DeletedKeyRow, KeyRow};
use super::{KeyPatch, KeyRecord, changes, next_revision};
use crate::domain::KeyHash;
use crate::store::audit::{AuditRow, Change};
use crate::store::error::{StoreError, TakenName};
use crate::store::schema::{audit_log, deleted_keys, key_credentials, keys, revisions};
use crate::store::{Store, on_reader, on_writer};

/// Names asked for by one query.
const NAMES_AT_ONCE: usize = 1_000;

/// The key of an account, as people know it.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct PayingKey {
    /// The hash of its value; of a deleted key, of its last one.
    pub hash: String,
    /// What people recognise it by.
    pub key_name: String,
    /// Its alias.
    pub key_alias: Option<String>,
    /// Its team.
    pub team_id: Option<String>,
    /// Its user.
    pub user_id: Option<String>,
}

/// A name that no account has: a number of 256 bits by chance.
pub(super) fn new_account() -> KeyHash {
    KeyHash(rand::random())
}

/// Whether something is, or was, or may still be spent under this name: by a key that there is, by one that there was, or by
/// nobody who is known.
macro_rules! is_account {
    ($conn:expr, $hash:expr) => {{
        use $crate::store::schema::{deleted_keys, keys, spend_rollups};
        let name = $hash.to_string();
        let of_key = keys::table.filter(keys::payer.eq(&name));
        let of_deleted =
            deleted_keys::table.filter(deleted_keys::hash.eq(&name).or(deleted_keys::payer.eq(&name)));
        let spent = spend_rollups::table
            .filter(spend_rollups::scope.eq($crate::store::spend::Scope::Key.as_str()))
            .filter(spend_rollups::name.eq(&name));
        let of_somebody = diesel::dsl::exists(of_key).or(diesel::dsl::exists(of_deleted));
        diesel::select(of_somebody.or(diesel::dsl::exists(spent))).get_result::<bool>($conn).await?
    }};
}

pub(super) use is_account;

/// What is shown of keys.
macro_rules! shown_of {
    ($table:ident) => {
        ($table::hash, $table::key_name, $table::key_alias, $table::team_id, $table::user_id)
    };
}

impl Store {
    /// Gives a key another value: its record goes on under another hash, with the same account; the old value goes into the
    /// archive, its AWS credential pairs are deleted. `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when the new key exists, or another key has the new alias.
    pub async fn replace_key(
        &self,
        old: KeyHash,
        (new, key_name): (KeyHash, String),
        patch: KeyPatch,
        change: Change,
    ) -> Result<Option<KeyRecord>, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let deletion = next_revision!(conn);
                let found = keys::table.find(old.to_string()).select(KeyRow::as_select());
                let Some(row) = found.first(conn).await.optional()? else { return Ok(None) };
                let same_key = keys::table.find(new.to_string());
                if diesel::select(diesel::dsl::exists(same_key)).get_result(conn).await? {
                    return Err(StoreError::Taken(TakenName::Key));
                }
                let before = row.into_record()?;
                let payer = Some(before.payer());
                let mut after =
                    KeyRecord { hash: new, payer, key_name, updated_at: change.at, ..before.clone() };
                patch.apply(&mut after, change.at);
                let archived = DeletedKeyRow::new(&before, deletion, &change);
                diesel::insert_into(deleted_keys::table).values(archived).execute(conn).await?;
                diesel::delete(keys::table.find(old.to_string())).execute(conn).await?;
                if let Some(alias) = &after.key_alias {
                    let same_alias = keys::table.filter(keys::key_alias.eq(alias));
                    if diesel::select(diesel::dsl::exists(same_alias)).get_result(conn).await? {
                        return Err(StoreError::Taken(TakenName::Alias(alias.clone())));
                    }
                }
                let pairs = key_credentials::table.filter(key_credentials::key_hash.eq(old.to_string()));
                diesel::delete(pairs).execute(conn).await?;
                after.revision = next_revision!(conn);
                let row = KeyRow::new(&after, after.spend_carried, &change);
                diesel::insert_into(keys::table).values(&row).execute(conn).await?;
                let object = old.to_string();
                let entry = AuditRow::new(&change, "key.regenerate", object, Some(&before), Some(&after));
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(Some(after))
            })
            .await
        })
    }

    /// The account of the key with this hash: of one that there is, else of the last one that there was; where nobody knows of
    /// either, the account of this name.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn payer_of(&self, hash: KeyHash) -> Result<String, StoreError> {
        let name = hash.to_string();
        on_reader!(self, |conn| {
            let of_key = keys::table.find(&name).select(keys::payer);
            if let Some(payer) = of_key.first::<Option<String>>(conn).await.optional()? {
                return Ok(payer.unwrap_or(name));
            }
            let of_deleted = deleted_keys::table
                .filter(deleted_keys::hash.eq(&name))
                .order(deleted_keys::revision.desc())
                .select(deleted_keys::payer);
            let payer = of_deleted.first::<Option<String>>(conn).await.optional()?;
            Ok(payer.flatten().unwrap_or(name))
        })
    }

    /// The keys of these accounts: those that there are, else the last that there were. Accounts without a key are left out.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn keys_of_payers(
        &self,
        payers: Vec<String>,
    ) -> Result<HashMap<String, PayingKey>, StoreError> {
        on_reader!(self, |conn| {
            let mut found: HashMap<String, PayingKey> = HashMap::with_capacity(payers.len());
            for names in payers.chunks(NAMES_AT_ONCE) {
                // What is read later takes the place of what was read before: the newest of the deleted, then what there is.
                let deleted = deleted_keys::table.order(deleted_keys::revision.asc());
                let rows = deleted
                    .filter(deleted_keys::payer.is_null().and(deleted_keys::hash.eq_any(names)))
                    .or_filter(deleted_keys::payer.eq_any(names))
                    .select((deleted_keys::payer, shown_of!(deleted_keys)))
                    .load::<(Option<String>, PayingKey)>(conn)
                    .await?;
                let living = keys::table
                    .filter(keys::payer.is_null().and(keys::hash.eq_any(names)))
                    .or_filter(keys::payer.eq_any(names))
                    .select((keys::payer, shown_of!(keys)))
                    .load::<(Option<String>, PayingKey)>(conn)
                    .await?;
                let by_payer = |(payer, key): (Option<String>, PayingKey)| {
                    (payer.unwrap_or_else(|| key.hash.clone()), key)
                };
                found.extend(rows.into_iter().chain(living).map(by_payer));
            }
            Ok(found)
        })
    }
}
