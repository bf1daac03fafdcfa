//! A holder of limits as its row, and back.

use diesel::prelude::*;

use super::{HolderKind, HolderRecord};
use crate::domain::UnixMicros;
use crate::store::audit::Change;
use crate::store::columns::{from_json, storable, to_json};
use crate::store::error::StoreError;
use crate::store::schema::limit_holders;

/// A row of `limit_holders`.
#[derive(Clone, Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = limit_holders, treat_none_as_null = true)]
pub(super) struct HolderRow {
    kind: String,
    id: String,
    alias: Option<String>,
    blocked: bool,
    models: String,
    limits: String,
    budget_id: Option<String>,
    metadata: String,
    deleted: bool,
    created_at: i64,
    created_by: Option<String>,
    updated_at: i64,
    updated_by: Option<String>,
    revision: i64,
}

impl HolderRow {
    /// The row of a holder that this change makes or changes.
    pub(super) fn new(record: &HolderRecord, change: &Change) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(storable);
        Self {
            kind: record.kind.as_str().to_owned(),
            id: storable(&record.id),
            alias: text(&record.alias),
            blocked: record.blocked,
            models: to_json(&record.models),
            limits: to_json(&record.limits),
            budget_id: text(&record.budget_id),
            metadata: to_json(&record.metadata),
            deleted: record.deleted,
            created_at: record.created_at.0,
            created_by: text(&record.created_by),
            updated_at: record.updated_at.0,
            updated_by: Some(storable(&change.actor)),
            revision: record.revision,
        }
    }

    /// The holder. Fails on limits that cannot be read: they must not become none.
    pub(super) fn into_record(self) -> Result<HolderRecord, StoreError> {
        let bad = |what: &str| StoreError::Refused(format!("limit_holders.{what} of {:?}", self.id));
        Ok(HolderRecord {
            kind: HolderKind::from_name(&self.kind).ok_or_else(|| bad("kind"))?,
            models: serde_json::from_str(&self.models).map_err(|_| bad("models"))?,
            limits: serde_json::from_str(&self.limits).map_err(|_| bad("limits"))?,
            id: self.id,
            alias: self.alias,
            blocked: self.blocked,
            budget_id: self.budget_id,
            metadata: from_json(&self.metadata),
            created_at: UnixMicros(self.created_at),
            created_by: self.created_by,
            updated_at: UnixMicros(self.updated_at),
            revision: self.revision,
            deleted: self.deleted,
        })
    }
}
