//! A key as its row, and back.

use diesel::prelude::*;

use super::KeyRecord;
use crate::domain::{KeyHash, NanoUsd, UnixMicros};
use crate::store::audit::Change;
use crate::store::columns::{from_json, storable, to_json};
use crate::store::error::StoreError;
use crate::store::schema::{deleted_keys, keys};

/// A row of `keys`.
#[derive(Clone, Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = keys, treat_none_as_null = true)]
pub(super) struct KeyRow {
    hash: String,
    key_name: String,
    key_alias: Option<String>,
    team_id: Option<String>,
    user_id: Option<String>,
    models: String,
    allowed_routes: String,
    tags: String,
    metadata: String,
    expires_at: Option<i64>,
    blocked: bool,
    spend_carried_nano: i64,
    created_at: i64,
    created_by: Option<String>,
    updated_at: i64,
    pub(super) updated_by: Option<String>,
    pub(super) revision: i64,
    limits: String,
    budget_id: Option<String>,
    payer: Option<String>,
    spend_since: Option<i64>,
}

impl KeyRow {
    /// The row of a key that this change makes or changes.
    pub(super) fn new(record: &KeyRecord, carried: NanoUsd, change: &Change) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(storable);
        Self {
            hash: record.hash.to_string(),
            key_name: storable(&record.key_name),
            key_alias: text(&record.key_alias),
            team_id: text(&record.team_id),
            user_id: text(&record.user_id),
            models: to_json(&record.models),
            allowed_routes: to_json(&record.allowed_routes),
            tags: to_json(&record.tags),
            metadata: to_json(&record.metadata),
            expires_at: record.expires_at.map(|at| at.0),
            blocked: record.blocked,
            spend_carried_nano: carried.0,
            created_at: record.created_at.0,
            created_by: text(&record.created_by),
            updated_at: record.updated_at.0,
            updated_by: Some(storable(&change.actor)),
            revision: record.revision,
            limits: to_json(&record.limits),
            budget_id: text(&record.budget_id),
            payer: record.payer.map(|payer| payer.to_string()),
            spend_since: record.spend_since.map(|at| at.0),
        }
    }

    /// The key. Fails on a hash that is none: a key that cannot be told apart must not be guessed, nor who pays.
    pub(super) fn into_record(self) -> Result<KeyRecord, StoreError> {
        let hash = hash_in(&self.hash, "hash")?;
        let payer = self.payer.map(|payer| hash_in(&payer, "payer")).transpose()?;
        Ok(KeyRecord {
            hash,
            payer,
            key_name: self.key_name,
            key_alias: self.key_alias,
            team_id: self.team_id,
            user_id: self.user_id,
            models: restricting(&self.models, "models")?,
            allowed_routes: restricting(&self.allowed_routes, "allowed_routes")?,
            tags: from_json(&self.tags),
            metadata: from_json(&self.metadata),
            expires_at: self.expires_at.map(UnixMicros),
            blocked: self.blocked,
            created_at: UnixMicros(self.created_at),
            updated_at: UnixMicros(self.updated_at),
            created_by: self.created_by,
            revision: self.revision,
            limits: serde_json::from_str(&self.limits)
                .map_err(|error| StoreError::Refused(format!("keys.limits cannot be read: {error}")))?,
            budget_id: self.budget_id,
            spend_carried: NanoUsd(self.spend_carried_nano),
            spend_since: self.spend_since.map(UnixMicros),
        })
    }
}

fn hash_in(text: &str, column: &str) -> Result<KeyHash, StoreError> {
    let unreadable = || StoreError::Refused(format!("{text:?} in keys.{column} is no key hash"));
    KeyHash::from_hex(text).ok_or_else(unreadable)
}

/// A list that restricts: one that cannot be read must not become an empty one, which allows everything.
fn restricting(text: &str, column: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Refused(format!("keys.{column} holds no list of texts: {error}")))
}

/// A deleted key on its way into the archive.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = deleted_keys)]
pub(super) struct DeletedKeyRow {
    revision: i64,
    hash: String,
    key_name: String,
    key_alias: Option<String>,
    team_id: Option<String>,
    user_id: Option<String>,
    contents: String,
    deleted_at: i64,
    deleted_by: Option<String>,
    payer: Option<String>,
}

impl DeletedKeyRow {
    /// The archive's row of a key that this change deletes.
    pub(super) fn new(record: &KeyRecord, revision: i64, change: &Change) -> Self {
        Self {
            revision,
            hash: record.hash.to_string(),
            key_name: record.key_name.clone(),
            key_alias: record.key_alias.clone(),
            team_id: record.team_id.clone(),
            user_id: record.user_id.clone(),
            contents: to_json(record),
            deleted_at: change.at.0,
            deleted_by: Some(storable(&change.actor)),
            payer: record.payer.map(|payer| payer.to_string()),
        }
    }
}
