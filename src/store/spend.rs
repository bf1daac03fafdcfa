//! Spend as it is kept: one row a request, and sums per day that move with them.

mod insert_postgres;
mod insert_sqlite;
mod logs;
mod reprice;
mod rollup;
mod row;
mod since;
mod tags;

use crate::event::SpendEvent;

pub(super) use self::logs::SUM_OF_COST;
pub use self::logs::{Days, MAX_PAGE_SIZE, SpendFilter, SpendLogPage, SpendSum};
pub use self::rollup::Scope;
pub use self::row::SpendRow;
pub use self::since::{SpendOf, SpendSince, Spent};
use super::error::StoreError;
use super::{Backend, Store};

/// Events written by one statement, in one transaction: many enough to amortise the round trip, few enough that
/// another instance does not wait long for the roll-ups' rows (a few tens of milliseconds).
const EVENTS_PER_TRANSACTION: usize = 4_000;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InsertedSpend {
    /// Events that are new, and now in the sums.
    pub inserted: usize,
    /// Events that were there already, from an earlier try.
    pub already_there: usize,
}

impl Store {
    /// Writes events and raises the sums of those that are new. Whatever was shipped before may be shipped again.
    ///
    /// Longer batches are written in several transactions, in the order of the events' ids; after an error some of
    /// them may stand, so the caller ships the batch again.
    ///
    /// # Errors
    ///
    /// [`StoreError::is_transient`] says whether to try again; the error of a row that the database refuses is not.
    pub async fn insert_spend(&self, events: &[SpendEvent]) -> Result<InsertedSpend, StoreError> {
        let mut rows: Vec<SpendRow> = events.iter().map(SpendRow::from).collect();
        // One order for everybody, or two instances that ship the same events wait for one another forever.
        rows.sort_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        let mut inserted = 0;
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(EVENTS_PER_TRANSACTION));
            inserted += self.insert_rows(rows).await?;
            rows = rest;
        }
        Ok(InsertedSpend { inserted, already_there: events.len().saturating_sub(inserted) })
    }

    /// How many of the rows were new.
    async fn insert_rows(&self, rows: Vec<SpendRow>) -> Result<usize, StoreError> {
        match self.backend.clone() {
            Backend::Postgres(pool) => self.run(insert_postgres::insert(pool, rows)).await,
            Backend::Sqlite(pools) => self.run(insert_sqlite::insert(pools.writer, rows)).await,
        }
    }
}
