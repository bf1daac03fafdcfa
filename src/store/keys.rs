//! Virtual keys as they are kept: who may call, what, until when.

use crate::domain::{KeyHash, UnixMicros};

/// A virtual key: what authentication must know of it. The key itself is never stored.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// SHA-256 of the key: its identity.
    pub hash: KeyHash,
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
}
