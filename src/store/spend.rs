//! Spend as it is kept: one row a request, and sums per day that move with them.

mod copy_batch;
mod insert_sqlite;
mod logs;
mod new_row;
mod reprice;
mod rollup;
mod row;
mod since;

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::EventId;
use crate::event::SpendEvent;

pub use self::copy_batch::CopyBatch;
pub(super) use self::logs::SUM_OF_COST;
pub use self::logs::{MAX_PAGE_SIZE, SpendFilter, SpendLogPage, SpendSum};
pub(super) use self::new_row::COLUMNS;
use self::new_row::NewRow;
pub use self::rollup::Scope;
pub(super) use self::rollup::{RollupKey, RollupTotals};
pub use self::row::SpendRow;
pub use self::since::{SpendOf, SpendSince};
use super::error::StoreError;
use super::postgres::copy_line::{Copied, CopyLine};
use super::{Backend, Store};

/// How often a batch is tried of which ever more events turn out to be there: each time, some other instance has
/// written some of them since the look before. Then the database counts as busy.
const LOOKS: usize = 10;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InsertedSpend {
    /// Events that are new, and now in the sums.
    pub inserted: usize,
    /// Events that were there already, from an earlier try.
    pub already_there: usize,
}

impl Store {
    /// Writes events and raises the sums of those that are new, in one transaction. Whatever was shipped before may be
    /// shipped again.
    ///
    /// # Errors
    ///
    /// [`StoreError::is_transient`] says whether to try again; the error of a row that the database refuses is not.
    pub async fn insert_spend(&self, events: &[SpendEvent]) -> Result<InsertedSpend, StoreError> {
        self.ship_spend(Arc::new(events.to_vec())).await
    }

    /// The same for a batch that is shared already.
    ///
    /// # Errors
    ///
    /// Those of [`Store::insert_spend`].
    pub async fn ship_spend(&self, events: Arc<Vec<SpendEvent>>) -> Result<InsertedSpend, StoreError> {
        let count = events.len();
        let inserted = match self.backend.clone() {
            Backend::Postgres(postgres) => self.copy_spend(&postgres.copy_line, &events).await?,
            Backend::Sqlite(pools) => self.run(insert_sqlite::insert(pools.writer, events)).await?,
        };
        Ok(InsertedSpend { inserted, already_there: count.saturating_sub(inserted) })
    }

    /// Copies events into Postgres, those that are there left out, and says how many were new.
    async fn copy_spend(&self, line: &Arc<CopyLine>, events: &[SpendEvent]) -> Result<usize, StoreError> {
        let mut rows = in_order(events);
        for _ in 0..LOOKS {
            if rows.is_empty() {
                return Ok(0);
            }
            let (line, batch) = (Arc::clone(line), CopyBatch::of(&rows));
            match self.run(async move { line.copy(&batch).await }).await? {
                Copied::All => return Ok(rows.len()),
                Copied::SomeWereThere(ids) => {
                    let ids: HashSet<EventId> = ids.into_iter().collect();
                    rows.retain(|row| !ids.contains(&row.id.0));
                }
            }
        }
        Err(StoreError::Failed("other instances write the same events".to_owned()))
    }
}

/// The rows of events in the one order in which everybody writes them, each once: or two instances that ship the same
/// events wait for one another forever.
fn in_order(events: &[SpendEvent]) -> Vec<NewRow<'_>> {
    let mut events: Vec<&SpendEvent> = events.iter().collect();
    events.sort_by_key(|event| event.begun.id);
    events.dedup_by_key(|event| event.begun.id);
    events.into_iter().map(NewRow::of).collect()
}
