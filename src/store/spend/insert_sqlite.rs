//! Events into SQLite: one transaction a batch, several rows a statement, whose parameters stay as the rows before left them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, Statement, Transaction, TransactionBehavior, params};

use super::new_row::{COLUMN_COUNT, COLUMNS, ColumnWriter, NewRow};
use super::rollup::{RollupKey, RollupTotals, Sums, statement_that_raises};
use super::texts::Texts;
use super::{in_order, view_of};
use crate::domain::EventId;
use crate::event::PackedEvent;
use crate::priority::Pace;
use crate::store::error::StoreError;
use crate::store::sqlite::{BUSY_TIMEOUT, SETTINGS_OF_SPEND_LINE};

/// Where sums go up by: one row.
const RAISED_BY: &str = "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

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

/// Rows that one statement inserts. A statement opens the table and all of its indexes, and walks down each from the top;
/// rows after the first find them open, at the place where the row before went. Too low: that is done again and again; too
/// high: nothing is left to save, and more parameters to go through.
const ROWS_AT_ONCE: usize = 8;
/// A shorter batch goes in row by row: the statement is prepared for each batch, which costs what it saves in some eighty rows.
const LONG_BATCH: usize = 64;

fn write(conn: &mut Connection, events: &[PackedEvent]) -> Result<usize, StoreError> {
    let events = in_order(events);
    let at_once = if events.len() < LONG_BATCH { 1 } else { ROWS_AT_ONCE };
    match write_by(conn, &events, at_once)? {
        Some(inserted) => Ok(inserted),
        // Rare: what a process that died, or a try whose answer was lost, had shipped already.
        None => Ok(write_by(conn, &events, 1)?.unwrap_or_default()),
    }
}

/// Writes events so many at once. `None`, and nothing written: some were there already, and which ones only inserting them
/// one by one tells.
fn write_by(
    conn: &mut Connection,
    events: &[&PackedEvent],
    at_once: usize,
) -> Result<Option<usize>, StoreError> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut batch = Batch::of(events.len());
    let (full, rest) = events.split_at(events.len() - events.len() % at_once);
    for (events, at_once) in [(full, at_once), (rest, 1)] {
        if !batch.insert(&transaction, events, at_once)? {
            return Ok(None);
        }
    }
    let mut raise = transaction.prepare(&statement_that_raises("spend_rollups", RAISED_BY))?;
    for (key, totals) in batch.sums.into_rollups() {
        raise_sum(&mut raise, key, totals)?;
    }
    drop(raise);
    transaction.commit()?;
    Ok(Some(batch.inserted))
}

/// What rows of a batch have in common, and what became of them.
struct Batch<'e> {
    texts: Texts<'e>,
    sums: Sums<'e>,
    inserted: usize,
    pace: Pace,
}

impl<'e> Batch<'e> {
    fn of(events: usize) -> Self {
        let (texts, sums) = Default::default();
        Self { texts, sums, inserted: 0, pace: Pace::of_batch(events) }
    }

    /// Inserts events, so many at once, of which there is a multiple. False: it cannot be told which of them were there.
    fn insert(
        &mut self,
        transaction: &Transaction<'_>,
        events: &[&'e PackedEvent],
        at_once: usize,
    ) -> Result<bool, StoreError> {
        if events.is_empty() {
            return Ok(true);
        }
        let mut statement = RowInsert::prepare(transaction, at_once)?;
        let mut rows = Vec::with_capacity(at_once);
        for events in events.chunks(at_once) {
            rows.clear();
            for event in events {
                self.pace.step();
                let row = NewRow::of(view_of(event)?, &mut self.texts);
                statement.bind(rows.len(), &row)?;
                rows.push(row);
            }
            let inserted = statement.execute()?;
            if inserted == rows.len() {
                rows.iter().for_each(|row| self.sums.add(row));
                self.inserted += inserted;
            } else if at_once > 1 {
                return Ok(false);
            }
        }
        Ok(true)
    }
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

/// The statement that inserts rows which are not there.
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

/// How many parameters a row has.
const PARAMETERS: usize = COLUMN_COUNT.unsigned_abs() as usize;

impl<'c> RowInsert<'c> {
    /// `OR FAIL`: a row that is refused ends the transaction, so SQLite need not be able to take back the statement alone,
    /// for which it would copy every page that the statement changes.
    fn prepare(transaction: &'c Transaction<'_>, rows: usize) -> rusqlite::Result<Self> {
        let row = format!("({})", vec!["?"; PARAMETERS].join(", "));
        let rows = vec![row; rows];
        let places = rows.join(", ");
        let insert = format!(
            "INSERT OR FAIL INTO spend_events ({COLUMNS}) VALUES {places} ON CONFLICT (id) DO NOTHING"
        );
        let bound = vec![Bound::Null; rows.len() * PARAMETERS];
        Ok(Self { statement: transaction.prepare(&insert)?, bound })
    }

    /// Sets one of the rows.
    fn bind(&mut self, place: usize, row: &NewRow<'_>) -> rusqlite::Result<()> {
        row.write(&mut Parameters { insert: self, index: place * PARAMETERS })
    }

    /// Inserts the rows and says how many were new.
    fn execute(&mut self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

/// The parameters of the statement, from the first of a row to its last. SQLite copies each text that is bound, so what
/// stands there already is not bound again: most columns say the same in most rows of a batch.
struct Parameters<'i, 'c> {
    insert: &'i mut RowInsert<'c>,
    index: usize,
}

impl Parameters<'_, '_> {
    /// Where the next parameter stands.
    fn next(&mut self) -> Option<&mut Bound> {
        self.index += 1;
        self.insert.bound.get_mut(self.index - 1)
    }

    /// Binds the parameter last asked for.
    #[inline(never)]
    fn bind(&mut self, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
        self.insert.statement.raw_bind_parameter(self.index, value)
    }
}

impl ColumnWriter for Parameters<'_, '_> {
    type Error = rusqlite::Error;

    fn id(&mut self, value: EventId) -> rusqlite::Result<()> {
        // No two rows have the same.
        let _not_compared = self.next();
        self.bind(value.0.as_bytes())
    }

    fn text(&mut self, value: &str) -> rusqlite::Result<()> {
        match self.next() {
            Some(Bound::Text(text)) if *text == value => return Ok(()),
            Some(Bound::Text(text)) => {
                text.clear();
                text.push_str(value);
            }
            Some(bound) => *bound = Bound::Text(value.to_owned()),
            None => {}
        }
        self.bind(value)
    }

    fn number(&mut self, value: i64) -> rusqlite::Result<()> {
        match self.next() {
            Some(Bound::Number(number)) if *number == value => return Ok(()),
            Some(bound) => *bound = Bound::Number(value),
            None => {}
        }
        self.bind(value)
    }

    fn small_number(&mut self, value: i32) -> rusqlite::Result<()> {
        self.number(value.into())
    }

    fn flag(&mut self, value: bool) -> rusqlite::Result<()> {
        self.number(value.into())
    }

    fn null(&mut self) -> rusqlite::Result<()> {
        match self.next() {
            Some(Bound::Null) => return Ok(()),
            Some(bound) => *bound = Bound::Null,
            None => {}
        }
        self.bind(rusqlite::types::Null)
    }
}
