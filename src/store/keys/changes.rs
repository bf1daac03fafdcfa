//! How instances follow one another's changes: each has a revision, and revisions become visible in their order.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::credentials::PairRow;
use super::row::KeyRow;
use super::{KeyRecord, SealedPair};
use crate::domain::KeyHash;
use crate::store::error::StoreError;
use crate::store::schema::{deleted_keys, key_credentials, keys, revisions};
use crate::store::{Store, on_reader};

/// The counter's name in `revisions`.
pub(super) const COUNTER: &str = "keys";
/// The most changes that one poll brings; the next one brings more.
const MAX_CHANGES: i64 = 10_000;

/// All keys at some moment.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedKeys {
    /// The keys, in no order. Some may be newer than `revision`.
    pub keys: Vec<KeyRecord>,
    /// Ask [`Store::key_changes_since`] from here on.
    pub revision: i64,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyChanges {
    /// In the order in which they happened.
    pub changes: Vec<KeyChange>,
    /// Ask from here on next time.
    pub revision: i64,
}

/// One change of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyChange {
    /// It was made or changed, and is now this.
    Put(Box<KeyRecord>),
    /// It was deleted.
    Removed {
        /// Which key.
        hash: KeyHash,
        /// When, as the store counts.
        revision: i64,
    },
    /// An AWS credential pair of a key was made or revoked, and is now this.
    Pair(Box<SealedPair>),
}

impl KeyChange {
    /// A key that was made or changed.
    #[must_use]
    pub fn put(key: KeyRecord) -> Self {
        Self::Put(Box::new(key))
    }

    fn revision(&self) -> i64 {
        match self {
            Self::Put(record) => record.revision,
            Self::Removed { revision, .. } => *revision,
            Self::Pair(pair) => pair.revision,
        }
    }
}

/// A row that cannot be read is left out, so that one bad row does not lock everybody out, and the log says so.
fn readable(row: KeyRow) -> Option<KeyRecord> {
    row.into_record().map_err(|error| log::error!("a key is left out: {error}")).ok()
}

impl Store {
    /// Every key.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn load_keys(&self) -> Result<LoadedKeys, StoreError> {
        on_reader!(self, |conn| {
            // The counter first: what changes while the keys are read is then asked for again.
            let counter = revisions::table.find(COUNTER).select(revisions::value);
            let revision = counter.first::<i64>(conn).await?;
            let rows = keys::table.select(KeyRow::as_select()).load::<KeyRow>(conn).await?;
            Ok(LoadedKeys { keys: rows.into_iter().filter_map(readable).collect(), revision })
        })
    }

    /// What changed after this revision. Cheap when nothing did: one row is read.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn key_changes_since(&self, revision: i64) -> Result<KeyChanges, StoreError> {
        on_reader!(self, |conn| {
            let counter = revisions::table.find(COUNTER).select(revisions::value);
            let newest = counter.first::<i64>(conn).await?;
            // Every revision is one change at the most. What is raised beyond `until` meanwhile is read next time.
            let until = newest.min(revision.saturating_add(MAX_CHANGES));
            if until <= revision {
                return Ok(KeyChanges { changes: Vec::new(), revision: newest });
            }
            let put = keys::table.filter(keys::revision.gt(revision)).filter(keys::revision.le(until));
            let put = put.select(KeyRow::as_select()).load::<KeyRow>(conn).await?;
            let removed = deleted_keys::table
                .filter(deleted_keys::revision.gt(revision))
                .filter(deleted_keys::revision.le(until))
                .select((deleted_keys::hash, deleted_keys::revision))
                .load::<(String, i64)>(conn)
                .await?;
            let removed = removed.into_iter().filter_map(|(hash, revision)| {
                Some(KeyChange::Removed { hash: KeyHash::from_hex(&hash)?, revision })
            });
            let pairs = key_credentials::table
                .filter(key_credentials::revision.gt(revision))
                .filter(key_credentials::revision.le(until))
                .select(PairRow::as_select())
                .load::<PairRow>(conn)
                .await?;
            let pairs = pairs.into_iter().filter_map(PairRow::into_pair);
            let mut changes: Vec<KeyChange> =
                put.into_iter().filter_map(readable).map(KeyChange::put).chain(removed).collect();
            changes.extend(pairs.map(|pair| KeyChange::Pair(Box::new(pair))));
            changes.sort_by_key(KeyChange::revision);
            Ok(KeyChanges { changes, revision: until })
        })
    }
}
