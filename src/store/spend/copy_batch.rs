//! A batch of events in the binary form that `COPY` takes, with what it adds to the sums.
//!
//! The form: <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4>.

use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::in_order;
use super::new_row::{COLUMN_COUNT, ColumnWriter, NewRow, RowText};
use super::rollup::{Counted, RollupKey, RollupTotals, rollups_of};
use crate::domain::EventId;
use crate::event::SpendEvent;
use crate::store::columns::StoredEventId;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// No flags, no header extension.
const FLAGS_AND_EXTENSION: [u8; 8] = [0; 8];
const NULL: i32 = -1;
const END: i16 = -1;
/// Of most rows, in bytes.
const USUAL_ROW: usize = 768;

/// What one transaction writes.
#[derive(Debug)]
pub struct CopyBatch {
    /// The events, in their order.
    pub(in crate::store) ids: Vec<EventId>,
    /// Their rows, as `COPY … (FORMAT binary)` takes them.
    pub(in crate::store) rows: Bytes,
    /// What they add to which sums, in the order in which every writer writes them.
    pub(in crate::store) sums: Vec<(RollupKey, RollupTotals)>,
}

impl CopyBatch {
    /// Of any events.
    #[must_use]
    pub fn of_events(events: &[SpendEvent]) -> Self {
        Self::of(&in_order(events))
    }

    /// Bytes that go to the server.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Of rows that are sorted by id, each once.
    pub(super) fn of(rows: &[NewRow<'_>]) -> Self {
        let mut bytes = BytesMut::with_capacity(USUAL_ROW * (rows.len() + 1));
        bytes.put_slice(SIGNATURE);
        bytes.put_slice(&FLAGS_AND_EXTENSION);
        for row in rows {
            bytes.put_i16(COLUMN_COUNT);
            let Ok(()) = row.write(&mut Fields(&mut bytes));
        }
        bytes.put_i16(END);
        Self {
            ids: rows.iter().map(|row| row.id.0).collect(),
            rows: bytes.freeze(),
            sums: rollups_of(rows.iter().map(Counted::from)).into_iter().collect(),
        }
    }
}

/// Each value with its length before it.
struct Fields<'b>(&'b mut BytesMut);

impl Fields<'_> {
    fn field(&mut self, value: &[u8]) {
        // Texts are bounded far below this by what may be stored.
        self.0.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.0.put_slice(value);
    }

    fn optional(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.field(value),
            None => self.0.put_i32(NULL),
        }
    }
}

impl<'r> ColumnWriter<'r> for Fields<'_> {
    type Error = Infallible;

    fn id(&mut self, value: &'r StoredEventId) -> Result<(), Infallible> {
        self.field(value.0.0.as_bytes());
        Ok(())
    }

    fn text(&mut self, value: &'r RowText<'r>) -> Result<(), Infallible> {
        self.field(value.as_bytes());
        Ok(())
    }

    fn optional_text(&mut self, value: &'r Option<RowText<'r>>) -> Result<(), Infallible> {
        self.optional(value.as_ref().map(|text| text.as_bytes()));
        Ok(())
    }

    fn number(&mut self, value: &'r i64) -> Result<(), Infallible> {
        self.field(&value.to_be_bytes());
        Ok(())
    }

    fn optional_number(&mut self, value: &'r Option<i64>) -> Result<(), Infallible> {
        self.optional(value.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        Ok(())
    }

    fn small_number(&mut self, value: &'r i32) -> Result<(), Infallible> {
        self.field(&value.to_be_bytes());
        Ok(())
    }

    fn optional_flag(&mut self, value: &'r Option<bool>) -> Result<(), Infallible> {
        self.optional(value.map(|flag| [u8::from(flag)]).as_ref().map(<[u8; 1]>::as_slice));
        Ok(())
    }
}
