//! A batch of events in the binary form that `COPY` takes, with what it adds to the sums.
//!
//! The form: <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4>.

use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::new_row::{COLUMN_COUNT, ColumnWriter, NewRow};
use super::rollup::{RollupKey, RollupTotals, Sums};
use super::texts::Texts;
use super::{in_order, view_of};
use crate::domain::EventId;
use crate::event::PackedEvent;
use crate::priority::Pace;
use crate::store::error::StoreError;

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
    ///
    /// # Errors
    ///
    /// Those of [`crate::store::Store::ship_spend`].
    pub fn of_events(events: &[PackedEvent]) -> Result<Self, StoreError> {
        Self::of(&in_order(events))
    }

    /// Bytes that go to the server.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Of events that are sorted by id, each once.
    pub(super) fn of(events: &[&PackedEvent]) -> Result<Self, StoreError> {
        let mut bytes = BytesMut::with_capacity(USUAL_ROW * (events.len() + 1));
        bytes.put_slice(SIGNATURE);
        bytes.put_slice(&FLAGS_AND_EXTENSION);
        let (mut texts, mut sums) = (Texts::default(), Sums::default());
        let mut pace = Pace::of_batch(events.len());
        for event in events {
            pace.step();
            let row = NewRow::of(view_of(event)?, &mut texts);
            bytes.put_i16(COLUMN_COUNT);
            let Ok(()) = row.write(&mut Fields(&mut bytes));
            sums.add(&row);
        }
        bytes.put_i16(END);
        let ids = events.iter().map(|event| event.id()).collect();
        Ok(Self { ids, rows: bytes.freeze(), sums: sums.into_rollups().into_iter().collect() })
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
}

impl ColumnWriter for Fields<'_> {
    type Error = Infallible;

    fn id(&mut self, value: EventId) -> Result<(), Infallible> {
        self.field(value.0.as_bytes());
        Ok(())
    }

    fn text(&mut self, value: &str) -> Result<(), Infallible> {
        self.field(value.as_bytes());
        Ok(())
    }

    fn number(&mut self, value: i64) -> Result<(), Infallible> {
        self.field(&value.to_be_bytes());
        Ok(())
    }

    fn small_number(&mut self, value: i32) -> Result<(), Infallible> {
        self.field(&value.to_be_bytes());
        Ok(())
    }

    fn flag(&mut self, value: bool) -> Result<(), Infallible> {
        self.field(&[u8::from(value)]);
        Ok(())
    }

    fn null(&mut self) -> Result<(), Infallible> {
        self.0.put_i32(NULL);
        Ok(())
    }
}
