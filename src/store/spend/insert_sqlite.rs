//! Events into SQLite: one transaction a batch, through one statement whose parameters stay as the row before left them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, Statement, Transaction, TransactionBehavior, params};

use super::new_row::{COLUMN_COUNT, COLUMNS, ColumnWriter, NewRow};
use super::rollup::{RollupKey, RollupTotals, Sums};
use super::texts::Texts;
use super::{in_order, view_of};
use crate::domain::EventId;
use crate::event::PackedEvent;
use crate::priority::Pace;
use crate::store::error::StoreError;
use crate::store::sqlite::{BUSY_TIMEOUT, SETTINGS_OF_SPEND_LINE};

const RAISE: &str = "
INSERT INTO spend_rollups AS kept (
    scope, name, day, requests, incomplete_requests, uncosted_requests,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano, uncosted_nano
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, name, day) DO UPDATE SET
    requests = kept.requests + excluded.requests,
    incomplete_requests = kept.incomplete_requests + excluded.incomplete_requests,
    uncosted_requests = kept.uncosted_requests + excluded.uncosted_requests,
    input_tokens = kept.input_tokens + excluded.input_tokens,
    output_tokens = kept.output_tokens + excluded.output_tokens,
    cache_read_tokens = kept.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = kept.cache_write_tokens + excluded.cache_write_tokens,
    cost_nano = kept.cost_nano + excluded.cost_nano,
    uncosted_nano = kept.uncosted_nano + excluded.uncosted_nano";

/// One connection to the file, made when it is needed and kept: one batch at a time. diesel binds every value of every
/// row anew, which costs as much as the insert itself.
pub(in crate::store) struct SpendLine {
    file: PathBuf,
    open: Mutex<Option<Connection>>,
}

impl SpendLine {
    pub(in crate::store) fn new(file: PathBuf) -> Self {
        Self { file, open: Mutex::default() }
    }

    /// Writes events and raises the sums of those that are new, in one transaction; says how many were new. Blocks.
    pub(super) fn write(&self, events: &[PackedEvent]) -> Result<usize, StoreError> {
        let mut place = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: after a failure another one is made.
        let mut conn = match place.take() {
            Some(conn) => conn,
            None => open(&self.file)?,
        };
        let inserted = write(&mut conn, events)?;
        *place = Some(conn);
        Ok(inserted)
    }
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.execute_batch(BUSY_TIMEOUT)?;
    conn.execute_batch(SETTINGS_OF_SPEND_LINE)?;
    Ok(conn)
}

fn write(conn: &mut Connection, events: &[PackedEvent]) -> Result<usize, StoreError> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut texts, mut sums, mut inserted) = (Texts::default(), Sums::default(), 0);
    let mut rows = RowInsert::prepare(&transaction)?;
    let mut pace = Pace::of_batch(events.len());
    for event in in_order(events) {
        pace.step();
        let row = NewRow::of(view_of(event)?, &mut texts);
        if rows.insert(&row)? {
            sums.add(&row);
            inserted += 1;
        }
    }
    drop(rows);
    let mut raise = transaction.prepare(RAISE)?;
    for (key, totals) in sums.into_rollups() {
        raise_sum(&mut raise, key, totals)?;
    }
    drop(raise);
    transaction.commit()?;
    Ok(inserted)
}

fn raise_sum(
    raise: &mut Statement<'_>,
    (scope, name, day): RollupKey,
    totals: RollupTotals,
) -> rusqlite::Result<usize> {
    raise.execute(params![
        scope,
        name,
        day,
        totals.requests,
        totals.incomplete_requests,
        totals.uncosted_requests,
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_read_tokens,
        totals.cache_write_tokens,
        totals.cost_nano,
        totals.uncosted_nano,
    ])
}

/// The statement that inserts a row if it is not there.
struct RowInsert<'c> {
    statement: Statement<'c>,
    bound: Vec<Bound>,
}

/// What a parameter stands at.
#[derive(Clone, Default)]
enum Bound {
    /// As in the beginning.
    #[default]
    Null,
    Number(i64),
    Text(String),
}

impl<'c> RowInsert<'c> {
    fn prepare(transaction: &'c Transaction<'_>) -> rusqlite::Result<Self> {
        let columns = usize::from(COLUMN_COUNT.unsigned_abs());
        let places = vec!["?"; columns].join(", ");
        let insert =
            format!("INSERT INTO spend_events ({COLUMNS}) VALUES ({places}) ON CONFLICT (id) DO NOTHING");
        Ok(Self { statement: transaction.prepare(&insert)?, bound: vec![Bound::Null; columns] })
    }

    /// Whether it is new.
    fn insert(&mut self, row: &NewRow<'_>) -> rusqlite::Result<bool> {
        row.write(&mut Parameters { insert: self, index: 0 })?;
        Ok(self.statement.raw_execute()? == 1)
    }
}

/// The parameters of the statement, from the first to the last. SQLite copies each text that is bound, so what stands
/// there already is not bound again: most columns say the same in most rows of a batch.
struct Parameters<'i, 'c> {
    insert: &'i mut RowInsert<'c>,
    index: usize,
}

impl Parameters<'_, '_> {
    fn bind(
        &mut self,
        is_bound: impl FnOnce(&mut Bound) -> bool,
        value: impl rusqlite::ToSql,
    ) -> rusqlite::Result<()> {
        let bound = self.insert.bound.get_mut(self.index);
        self.index += 1;
        if bound.is_some_and(is_bound) {
            return Ok(());
        }
        self.insert.statement.raw_bind_parameter(self.index, value)
    }
}

impl ColumnWriter for Parameters<'_, '_> {
    type Error = rusqlite::Error;

    fn id(&mut self, value: EventId) -> rusqlite::Result<()> {
        self.bind(|_| false, value.0.as_bytes())
    }

    fn text(&mut self, value: &str) -> rusqlite::Result<()> {
        let is_bound = |bound: &mut Bound| match bound {
            Bound::Text(text) if *text == value => true,
            Bound::Text(text) => {
                text.clear();
                text.push_str(value);
                false
            }
            _ => {
                *bound = Bound::Text(value.to_owned());
                false
            }
        };
        self.bind(is_bound, value)
    }

    fn number(&mut self, value: i64) -> rusqlite::Result<()> {
        let is_bound = |bound: &mut Bound| {
            let is_bound = matches!(bound, Bound::Number(number) if *number == value);
            *bound = Bound::Number(value);
            is_bound
        };
        self.bind(is_bound, value)
    }

    fn small_number(&mut self, value: i32) -> rusqlite::Result<()> {
        self.number(value.into())
    }

    fn flag(&mut self, value: bool) -> rusqlite::Result<()> {
        self.number(value.into())
    }

    fn null(&mut self) -> rusqlite::Result<()> {
        let is_bound = |bound: &mut Bound| matches!(std::mem::take(bound), Bound::Null);
        self.bind(is_bound, rusqlite::types::Null)
    }
}
