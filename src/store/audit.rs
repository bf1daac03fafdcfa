//! Who changed what: one row a change, in the transaction of the change.

use diesel::Insertable;

use super::columns::{storable, to_json};
use super::schema::audit_log;
use crate::domain::UnixMicros;

/// One change on its way into the log. Holds no secret: keys appear by their hash.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = audit_log)]
pub(super) struct AuditRow {
    at: i64,
    actor: String,
    action: &'static str,
    object: String,
    before: Option<String>,
    after: Option<String>,
}

impl AuditRow {
    /// What an actor did to an object, which was this before and is that after.
    pub(super) fn new(
        change: &Change,
        action: &'static str,
        object: String,
        before: Option<&impl serde::Serialize>,
        after: Option<&impl serde::Serialize>,
    ) -> Self {
        Self {
            at: change.at.0,
            actor: storable(&change.actor),
            action,
            object,
            before: before.map(to_json),
            after: after.map(to_json),
        }
    }
}

/// Who changes something, and when.
#[derive(Clone, Debug)]
pub struct Change {
    /// A payer's name: the hash of a key, or that of the master key's calls.
    pub actor: String,
    /// The moment.
    pub at: UnixMicros,
}
