//! Spend as it is kept: one row a request, and sums per day that move with them.

mod copy_batch;
mod daily;
mod id_range;
mod insert_sqlite;
mod logs;
mod new_row;
mod reprice;
mod rollup;
mod row;
mod since;
mod tags;
mod texts;

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::EventId;
use crate::event::{EventView, PackedEvent, SpendEvent};

pub use self::copy_batch::CopyBatch;
pub use self::daily::{DayOfName, DaySpend};
pub(super) use self::insert_sqlite::SpendLine;
pub use self::logs::{Days, EventPlace, MAX_PAGE_SIZE, SpendFilter, SpendLogPage, SpendSum};
pub(super) use self::new_row::COLUMNS;
pub use self::rollup::Scope;
pub(super) use self::rollup::{RollupKey, RollupTotals, statement_that_raises};
pub use self::row::SpendRow;
pub use self::since::{SpendOf, SpendSince, Spent};
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
        self.ship_spend(Arc::new(events.iter().map(PackedEvent::from).collect())).await
    }

    /// The same for what the journal holds.
    ///
    /// # Errors
    ///
    /// Those of [`Store::insert_spend`].
    pub async fn ship_spend(&self, events: Arc<Vec<PackedEvent>>) -> Result<InsertedSpend, StoreError> {
        let count = events.len();
        let inserted = match self.backend.clone() {
            Backend::Postgres(pools) => {
                self.shipping.run(async move { copy_spend(&pools.copy_line, &events).await }).await?
            }
            Backend::Sqlite(pools) => {
                let shipping = self.shipping.clone();
                let writing = async move {
                    // Nobody else of this process writes meanwhile: SQLite would have them poll for their turn.
                    let turn = pools.writer.get().await?;
                    let write = async move { pools.spend_line.write(&events) };
                    let inserted = shipping.run(write).await;
                    drop(turn);
                    inserted
                };
                self.run(writing).await?
            }
        };
        Ok(InsertedSpend { inserted, already_there: count.saturating_sub(inserted) })
    }
}

/// Copies events into Postgres, those that are there left out, and says how many were new.
async fn copy_spend(line: &CopyLine, events: &[PackedEvent]) -> Result<usize, StoreError> {
    let mut events = in_order(events);
    for _ in 0..LOOKS {
        if events.is_empty() {
            return Ok(0);
        }
        let batch = CopyBatch::of(&events)?;
        match line.copy(&batch).await? {
            Copied::All => return Ok(events.len()),
            Copied::SomeWereThere(ids) => {
                let ids: HashSet<EventId> = ids.into_iter().collect();
                events.retain(|event| !ids.contains(&event.id()));
            }
        }
    }
    Err(StoreError::Failed("other instances write the same events".to_owned()))
}

/// Events in the one order in which everybody writes them, each once: or two instances that ship the same events wait for
/// one another forever.
fn in_order(events: &[PackedEvent]) -> Vec<&PackedEvent> {
    let mut events: Vec<&PackedEvent> = events.iter().collect();
    events.sort_by_key(|event| event.id());
    events.dedup_by_key(|event| event.id());
    events
}

/// What an event says. The journal's reader has seen that it can be read; if not, it must not hold up the others.
fn view_of(event: &PackedEvent) -> Result<EventView<'_>, StoreError> {
    let unreadable = || StoreError::Refused(format!("the event {} cannot be read", event.id()));
    event.view().ok_or_else(unreadable)
}
