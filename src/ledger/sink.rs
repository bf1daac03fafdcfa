//! What the ledger knows of the store: it takes a batch, or says why not.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::event::PackedEvent;

/// Where events go: idempotent by event id, all of a batch or nothing. Returns how many were new.
pub type SpendSink =
    Arc<dyn Fn(Arc<Vec<PackedEvent>>) -> BoxFuture<'static, Result<u64, ShipError>> + Send + Sync>;

/// Why the store did not take a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// It is away, busy, or had no time: the same batch may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It will never take this batch: at least one event of it is at fault.
    #[error("the store rejects the batch: {0}")]
    Rejected(String),
}
