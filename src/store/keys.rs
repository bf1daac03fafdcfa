//! Virtual keys as they are kept: who may call, what, until when.

mod accounts;
mod changes;
mod credentials;
mod follow;
mod list;
mod row;

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde::Serialize;

pub use self::accounts::PayingKey;
pub use self::changes::{KeyChange, KeyChanges, LoadedKeys};
pub use self::credentials::{KeptPair, MAX_PAIRS_PER_KEY, SealedPair};
pub use self::follow::follow_keys;
pub use self::list::{KeyFilter, KeyOrder, KeyPage, KeyPlace, MAX_PAGE_SIZE, SortedBy};
use self::row::{DeletedKeyRow, KeyRow};
use super::audit::AuditRow;
pub use super::audit::Change;
use super::error::{StoreError, TakenName};
use super::limit_set::{LimitPatch, LimitSet, SpendReset};
use super::schema::{audit_log, deleted_keys, key_credentials, keys, revisions};
use super::{Store, on_reader, on_writer};
use crate::domain::{KeyHash, NanoUsd, UnixMicros};

/// The most keys that one call deletes.
pub const MAX_DELETED_AT_ONCE: usize = 1_000;

/// A virtual key: what authentication must know of it. The key itself is never stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KeyRecord {
    /// SHA-256 of the key: its identity.
    #[serde(serialize_with = "as_text")]
    pub hash: KeyHash,
    /// The account that what it spends belongs to, where that is not named by its own hash ([`KeyRecord::payer`]).
    #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    pub payer: Option<KeyHash>,
    /// `sk-...` and the last four characters: what people recognise it by.
    pub key_name: String,
    /// A unique name given by its maker.
    pub key_alias: Option<String>,
    /// The team that pays.
    pub team_id: Option<String>,
    /// The user that pays.
    pub user_id: Option<String>,
    /// Model names and patterns it may use; empty: all.
    pub models: Vec<String>,
    /// Routes and operations it may call; empty: the default ones.
    pub allowed_routes: Vec<String>,
    /// Tags put on each of its events.
    pub tags: Vec<String>,
    /// Free JSON object of its maker (without `tags`).
    pub metadata: serde_json::Value,
    /// From this moment on it is refused.
    pub expires_at: Option<UnixMicros>,
    /// Refused while set.
    pub blocked: bool,
    /// When it was made.
    pub created_at: UnixMicros,
    /// When it was last changed.
    pub updated_at: UnixMicros,
    /// Who made it: a payer's name, or `None` for keys from before this was kept.
    pub created_by: Option<String>,
    /// The store's change counter when it was last written: a higher one is newer.
    pub revision: i64,
    /// What it may spend and how fast.
    pub limits: LimitSet,
    /// The budget that holds where its own limits are silent.
    pub budget_id: Option<String>,
    /// What it spent before its requests are counted.
    pub spend_carried: NanoUsd,
    /// Requests that began earlier are not counted in what it is shown to have spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend_since: Option<UnixMicros>,
}

impl KeyRecord {
    /// The account that it spends from. An account outlives the values of its key: it has the name of the first one, and so what
    /// is in flight under an earlier value goes on counting, everywhere.
    #[must_use]
    pub fn payer(&self) -> KeyHash {
        self.payer.unwrap_or(self.hash)
    }
}

fn as_text<S: serde::Serializer>(hash: &KeyHash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

#[expect(clippy::ref_option, reason = "what serde hands over")]
fn as_optional_text<S: serde::Serializer>(hash: &Option<KeyHash>, serializer: S) -> Result<S::Ok, S::Error> {
    match hash {
        Some(hash) => serializer.collect_str(hash),
        None => serializer.serialize_none(),
    }
}

/// A key with what only people ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyDetails {
    /// The key.
    pub record: KeyRecord,
    /// Who changed it last.
    pub updated_by: Option<String>,
    /// What it has spent: what was carried over, and its events.
    pub spend: NanoUsd,
}

/// What to change of a key; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyPatch {
    /// A new alias, or none.
    pub key_alias: Option<Option<String>>,
    /// Another team, or none.
    pub team_id: Option<Option<String>>,
    /// Another user, or none.
    pub user_id: Option<Option<String>>,
    /// Other models.
    pub models: Option<Vec<String>>,
    /// Other routes.
    pub allowed_routes: Option<Vec<String>>,
    /// Other tags.
    pub tags: Option<Vec<String>>,
    /// Another JSON object.
    pub metadata: Option<serde_json::Value>,
    /// Another end, or none.
    pub expires_at: Option<Option<UnixMicros>>,
    /// Blocked or not.
    pub blocked: Option<bool>,
    /// Other limits.
    pub limits: LimitPatch,
    /// Another budget, or none.
    pub budget_id: Option<Option<String>>,
    /// It is taken to have spent this much, and what began before the moment no longer counts.
    pub spent: Option<SpendReset>,
}

impl KeyPatch {
    /// Changes what is named.
    pub(crate) fn apply(self, record: &mut KeyRecord, now: UnixMicros) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut record.key_alias, self.key_alias);
        set(&mut record.team_id, self.team_id);
        set(&mut record.user_id, self.user_id);
        set(&mut record.models, self.models);
        set(&mut record.allowed_routes, self.allowed_routes);
        set(&mut record.tags, self.tags);
        set(&mut record.metadata, self.metadata);
        set(&mut record.expires_at, self.expires_at);
        set(&mut record.blocked, self.blocked);
        set(&mut record.budget_id, self.budget_id);
        if let Some(spent) = self.spent {
            (record.spend_carried, record.spend_since) = (spent.to, Some(spent.at));
        }
        let limits = LimitPatch { reset: self.spent.or(self.limits.reset), ..self.limits };
        limits.apply(&mut record.limits, now);
    }
}

/// Raises the counter of key changes and says its new value. The counter's row stays locked until the transaction
/// ends, so changes become visible in the order of their revisions.
macro_rules! next_revision {
    ($conn:expr) => {{
        diesel::update(revisions::table.filter(revisions::name.eq(changes::COUNTER)))
            .set(revisions::value.eq(revisions::value + 1))
            .execute($conn)
            .await?;
        let counter = revisions::table.filter(revisions::name.eq(changes::COUNTER));
        counter.select(revisions::value).first::<i64>($conn).await?
    }};
}

use next_revision;

/// Whether a key had this value that was deleted, or has another one now.
macro_rules! was_key {
    ($conn:expr, $hash:expr) => {{
        use $crate::store::schema::deleted_keys;
        let archived = deleted_keys::table.filter(deleted_keys::hash.eq($hash.to_string()));
        diesel::select(diesel::dsl::exists(archived)).get_result::<bool>($conn).await?
    }};
}

pub(super) use was_key;

/// What becomes of a value that a key had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormerValues {
    /// It may be a key's again, with an account of its own: somebody asked for it.
    MayComeBack,
    /// It is refused.
    StayRevoked,
}

impl Store {
    /// Keeps a new key. Its `revision` is set by the store, and its `payer` where the value was some key's before: nobody
    /// inherits what that one spent. `carried` is what it spent elsewhere.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when the key or its alias exists.
    pub async fn create_key(
        &self,
        record: KeyRecord,
        carried: NanoUsd,
        change: Change,
    ) -> Result<KeyRecord, StoreError> {
        self.keep_key(record, carried, change, FormerValues::MayComeBack).await
    }

    /// [`Store::create_key`] for a key that another gateway had, which knows nothing of what was revoked here.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when the key or its alias exists, or a key had this value before.
    pub async fn import_key(
        &self,
        record: KeyRecord,
        carried: NanoUsd,
        change: Change,
    ) -> Result<KeyRecord, StoreError> {
        self.keep_key(record, carried, change, FormerValues::StayRevoked).await
    }

    async fn keep_key(
        &self,
        mut record: KeyRecord,
        carried: NanoUsd,
        change: Change,
        former: FormerValues,
    ) -> Result<KeyRecord, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                record.revision = next_revision!(conn);
                let same_key = keys::table.find(record.hash.to_string());
                if diesel::select(diesel::dsl::exists(same_key)).get_result(conn).await? {
                    return Err(StoreError::Taken(TakenName::Key));
                }
                if former == FormerValues::StayRevoked && was_key!(conn, record.hash) {
                    return Err(StoreError::Taken(TakenName::FormerKey));
                }
                if let Some(alias) = &record.key_alias {
                    let same_alias = keys::table.filter(keys::key_alias.eq(alias));
                    if diesel::select(diesel::dsl::exists(same_alias)).get_result(conn).await? {
                        return Err(StoreError::Taken(TakenName::Alias(alias.clone())));
                    }
                }
                if accounts::is_account!(conn, record.hash) {
                    record.payer = Some(accounts::new_account());
                }
                record.spend_carried = carried;
                let row = KeyRow::new(&record, carried, &change);
                diesel::insert_into(keys::table).values(&row).execute(conn).await?;
                let object = record.hash.to_string();
                let entry = AuditRow::new(&change, "key.create", object, None::<&KeyRecord>, Some(&record));
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(record)
            })
            .await
        })
    }

    /// Changes a key; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when another key has the new alias.
    pub async fn update_key(
        &self,
        hash: KeyHash,
        patch: KeyPatch,
        action: &'static str,
        change: Change,
    ) -> Result<Option<KeyRecord>, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let revision = next_revision!(conn);
                let found = keys::table.find(hash.to_string()).select(KeyRow::as_select());
                let Some(row) = found.first(conn).await.optional()? else { return Ok(None) };
                let before = row.into_record()?;
                let mut after = before.clone();
                patch.apply(&mut after, change.at);
                after.updated_at = change.at;
                after.revision = revision;
                if let Some(alias) = after.key_alias.as_ref().filter(|_| after.key_alias != before.key_alias)
                {
                    let same_alias = keys::table.filter(keys::key_alias.eq(alias));
                    if diesel::select(diesel::dsl::exists(same_alias)).get_result(conn).await? {
                        return Err(StoreError::Taken(TakenName::Alias(alias.clone())));
                    }
                }
                let row = KeyRow::new(&after, after.spend_carried, &change);
                diesel::update(keys::table.find(hash.to_string())).set(&row).execute(conn).await?;
                let entry = AuditRow::new(&change, action, hash.to_string(), Some(&before), Some(&after));
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(Some(after))
            })
            .await
        })
    }

    /// Moves keys into the archive, forgets their AWS credential pairs, and says which of them existed. At most [`MAX_DELETED_AT_ONCE`].
    ///
    /// # Errors
    ///
    /// Those of the database; then none is deleted.
    pub async fn delete_keys(
        &self,
        hashes: Vec<KeyHash>,
        change: Change,
    ) -> Result<Vec<KeyHash>, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let mut deleted = Vec::new();
                for hash in hashes.into_iter().take(MAX_DELETED_AT_ONCE) {
                    let revision = next_revision!(conn);
                    let found = keys::table.find(hash.to_string()).select(KeyRow::as_select());
                    let Some(row) = found.first(conn).await.optional()? else { continue };
                    let before = row.into_record()?;
                    let archived = DeletedKeyRow::new(&before, revision, &change);
                    diesel::insert_into(deleted_keys::table).values(archived).execute(conn).await?;
                    diesel::delete(keys::table.find(hash.to_string())).execute(conn).await?;
                    let pairs = key_credentials::table.filter(key_credentials::key_hash.eq(hash.to_string()));
                    diesel::delete(pairs).execute(conn).await?;
                    let object = hash.to_string();
                    let entry =
                        AuditRow::new(&change, "key.delete", object, Some(&before), None::<&KeyRecord>);
                    diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                    deleted.push(hash);
                }
                Ok(deleted)
            })
            .await
        })
    }

    /// A key with its spend.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn find_key(&self, hash: KeyHash) -> Result<Option<KeyDetails>, StoreError> {
        let filter = KeyFilter { hash: Some(hash), ..KeyFilter::default() };
        Ok(self.list_keys(filter, 1, 1).await?.keys.pop())
    }

    /// The keys that have one of these aliases.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn key_hashes_by_alias(&self, aliases: Vec<String>) -> Result<Vec<KeyHash>, StoreError> {
        on_reader!(self, |conn| {
            let found = keys::table.filter(keys::key_alias.eq_any(aliases)).select(keys::hash);
            let hashes = found.load::<String>(conn).await?;
            Ok(hashes.iter().filter_map(|hash| KeyHash::from_hex(hash)).collect())
        })
    }
}
