//! AWS credential pairs of virtual keys, their secrets encrypted by who hands them over.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde::Serialize;

use super::{Change, changes, next_revision};
use crate::domain::{KeyHash, UnixMicros};
use crate::store::audit::AuditRow;
use crate::store::columns::storable;
use crate::store::error::StoreError;
use crate::store::schema::{audit_log, key_credentials, keys, revisions};
use crate::store::{Store, on_reader, on_writer};

/// The most pairs that a key may have at once: a client or two, and a change of each.
pub const MAX_PAIRS_PER_KEY: i64 = 10;

/// An AWS credential pair as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SealedPair {
    /// What the client shows.
    pub access_key_id: String,
    /// The key it stands for.
    #[serde(serialize_with = "super::as_text")]
    pub key_hash: KeyHash,
    /// The secret, encrypted.
    #[serde(skip)]
    pub sealed: String,
    /// Which encryption key the secret is encrypted with.
    pub sealed_by: String,
    /// When it was made.
    pub created_at: UnixMicros,
    /// Who made it.
    pub created_by: Option<String>,
    /// Since when it is refused.
    pub revoked_at: Option<UnixMicros>,
    /// The change counter of keys when it was last written.
    pub revision: i64,
}

/// What became of a pair that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptPair {
    /// It is kept, with its revision.
    Kept(SealedPair),
    /// There is no such key.
    NoSuchKey,
    /// The key has [`MAX_PAIRS_PER_KEY`] already.
    TooMany,
}

/// A row of `key_credentials`.
#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = key_credentials)]
pub(super) struct PairRow {
    access_key_id: String,
    key_hash: String,
    sealed: String,
    sealed_by: String,
    created_at: i64,
    created_by: Option<String>,
    revoked_at: Option<i64>,
    revision: i64,
}

impl PairRow {
    fn new(pair: &SealedPair) -> Self {
        Self {
            access_key_id: pair.access_key_id.clone(),
            key_hash: pair.key_hash.to_string(),
            sealed: pair.sealed.clone(),
            sealed_by: pair.sealed_by.clone(),
            created_at: pair.created_at.0,
            created_by: pair.created_by.as_deref().map(storable),
            revoked_at: pair.revoked_at.map(|at| at.0),
            revision: pair.revision,
        }
    }

    /// The pair; one whose key hash cannot be read belongs to nobody and is left out, and the log says so.
    pub(super) fn into_pair(self) -> Option<SealedPair> {
        let Some(key_hash) = KeyHash::from_hex(&self.key_hash) else {
            log::error!(
                "the AWS credential pair {} is left out: its key_hash is no key hash",
                self.access_key_id
            );
            return None;
        };
        Some(SealedPair {
            access_key_id: self.access_key_id,
            key_hash,
            sealed: self.sealed,
            sealed_by: self.sealed_by,
            created_at: UnixMicros(self.created_at),
            created_by: self.created_by,
            revoked_at: self.revoked_at.map(UnixMicros),
            revision: self.revision,
        })
    }
}

impl Store {
    /// Keeps a new pair of a key. Its `revision` is set by the store.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn create_pair(&self, mut pair: SealedPair, change: Change) -> Result<KeptPair, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                pair.revision = next_revision!(conn);
                let hash = pair.key_hash.to_string();
                let same_key = keys::table.find(&hash);
                if !diesel::select(diesel::dsl::exists(same_key)).get_result::<bool>(conn).await? {
                    return Ok(KeptPair::NoSuchKey);
                }
                let held = key_credentials::table
                    .filter(key_credentials::key_hash.eq(&hash))
                    .filter(key_credentials::revoked_at.is_null())
                    .count();
                if held.get_result::<i64>(conn).await? >= MAX_PAIRS_PER_KEY {
                    return Ok(KeptPair::TooMany);
                }
                diesel::insert_into(key_credentials::table).values(PairRow::new(&pair)).execute(conn).await?;
                let none = None::<&SealedPair>;
                let entry = AuditRow::new(&change, "key.aws_credentials.create", hash, none, Some(&pair));
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(KeptPair::Kept(pair))
            })
            .await
        })
    }

    /// Revokes a pair for good; `None` when there is none in force.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn revoke_pair(
        &self,
        access_key_id: String,
        change: Change,
    ) -> Result<Option<SealedPair>, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let revision = next_revision!(conn);
                let found = key_credentials::table
                    .find(&access_key_id)
                    .filter(key_credentials::revoked_at.is_null())
                    .select(PairRow::as_select());
                let row = found.first::<PairRow>(conn).await.optional()?;
                let Some(before) = row.and_then(PairRow::into_pair) else { return Ok(None) };
                let after = SealedPair {
                    sealed: String::new(),
                    sealed_by: String::new(),
                    revoked_at: Some(change.at),
                    revision,
                    ..before.clone()
                };
                diesel::update(key_credentials::table.find(&access_key_id))
                    .set((
                        key_credentials::sealed.eq(""),
                        key_credentials::sealed_by.eq(""),
                        key_credentials::revoked_at.eq(Some(change.at.0)),
                        key_credentials::revision.eq(revision),
                    ))
                    .execute(conn)
                    .await?;
                let object = after.key_hash.to_string();
                let entry =
                    AuditRow::new(&change, "key.aws_credentials.delete", object, Some(&before), Some(&after));
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(Some(after))
            })
            .await
        })
    }

    /// Puts the secrets of pairs, encrypted anew, in the place of those that are encrypted under another key; how many
    /// there were. What they stand for is the same, so no instance needs to hear of it.
    ///
    /// # Errors
    ///
    /// Those of the database; then nothing was changed.
    pub async fn reseal_pairs(&self, pairs: Vec<SealedPair>, change: Change) -> Result<usize, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let mut count = 0;
                for pair in &pairs {
                    let of_another_key = key_credentials::table
                        .find(&pair.access_key_id)
                        .filter(key_credentials::revoked_at.is_null())
                        .filter(key_credentials::sealed_by.ne(&pair.sealed_by));
                    let now = (
                        key_credentials::sealed.eq(&pair.sealed),
                        key_credentials::sealed_by.eq(&pair.sealed_by),
                    );
                    let changed = diesel::update(of_another_key).set(now).execute(conn).await?;
                    if changed > 0 {
                        let (action, object) = ("key.aws_credentials.reencrypt", pair.key_hash.to_string());
                        let entry = AuditRow::new(&change, action, object, None::<&SealedPair>, Some(pair));
                        diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                    }
                    count += changed;
                }
                Ok(count)
            })
            .await
        })
    }

    /// The pairs in force: all of them, or those of one key.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn load_pairs(&self, of: Option<KeyHash>) -> Result<Vec<SealedPair>, StoreError> {
        on_reader!(self, |conn| {
            let mut query = key_credentials::table
                .filter(key_credentials::revoked_at.is_null())
                .order((key_credentials::created_at, key_credentials::access_key_id))
                .select(PairRow::as_select())
                .into_boxed();
            if let Some(hash) = of {
                query = query.filter(key_credentials::key_hash.eq(hash.to_string()));
            }
            let rows = query.load::<PairRow>(conn).await?;
            Ok(rows.into_iter().filter_map(PairRow::into_pair).collect())
        })
    }
}
