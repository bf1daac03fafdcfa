//! Follows every segment, oldest first: those of dead processes to their end, those of this one as they grow.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Journal;
use super::cursor::{CHUNK_BYTES, Cursor, Progress};
use super::record::Record;
use super::segment::{SegmentId, WriterId};

/// What the reader comes by, in the order of writing for each writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record of a segment.
    Record(SegmentId, Record),
    /// All of the segment was handed out and nothing will follow; what could not be read of it is told here.
    SegmentFinished {
        /// The segment.
        segment: SegmentId,
        /// It holds what is no record, beyond a torn tail: keep it for the operator.
        is_damaged: bool,
    },
    /// The writer is gone and all its segments are finished: no end will come for what it left open.
    WriterOver(WriterId),
}

/// What one look into the journal gave.
#[derive(Debug, Default)]
pub struct Reading {
    /// In order.
    pub entries: Vec<Entry>,
    /// Nothing is left to read right now.
    pub is_caught_up: bool,
    /// A segment could not be read, and will be tried again.
    pub has_failed: bool,
    /// Bytes met that are no records, torn tails included.
    pub unreadable_bytes: u64,
}

/// The one reader of a journal.
#[derive(Debug)]
pub struct JournalReader {
    journal: Journal,
    cursors: BTreeMap<SegmentId, Cursor>,
    writers: HashMap<WriterId, Arc<AtomicBool>>,
    chunk: Vec<u8>,
}

impl JournalReader {
    pub(super) fn open(journal: Journal) -> io::Result<Self> {
        let mut reader =
            Self { cursors: BTreeMap::new(), writers: HashMap::new(), chunk: vec![0; CHUNK_BYTES], journal };
        let run = reader.journal.shared.run;
        for segment in reader.journal.shared.data_dir.segments()? {
            if segment.writer.run < run {
                let path = reader.journal.dir().join(segment.file_name());
                reader.cursors.insert(segment, Cursor::left_behind(segment, path));
                let is_over = || Arc::new(AtomicBool::new(true));
                reader.writers.entry(segment.writer).or_insert_with(is_over);
            }
        }
        Ok(reader)
    }

    /// Whether segments of dead processes are still to be read.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.cursors.keys().next().is_some_and(|segment| segment.writer.run < self.journal.shared.run)
    }

    /// Hands out at most so many records (and the ends of segments and writers), oldest segments first.
    pub fn read(&mut self, max_records: usize) -> Reading {
        let mut reading = Reading { is_caught_up: true, ..Reading::default() };
        // In this order: a writer that is over has announced all its segments.
        let over = self.writers_that_are_over();
        self.meet_new_segments();
        let (mut done, mut room) = (Vec::new(), max_records);
        let mut blocked = None;
        for (&segment, cursor) in &mut self.cursors {
            if blocked == Some(segment.writer) {
                continue;
            }
            match cursor.read(segment, &mut room, &mut self.chunk, &mut reading) {
                Ok(Progress::CaughtUp) => blocked = Some(segment.writer),
                Ok(Progress::MoreLater) => {
                    blocked = Some(segment.writer);
                    reading.is_caught_up = false;
                }
                Ok(Progress::Finished) => {
                    let is_damaged = cursor.is_damaged;
                    reading.entries.push(Entry::SegmentFinished { segment, is_damaged });
                    done.push(segment);
                }
                Ok(Progress::GivenUp) => done.push(segment),
                Err(error) => {
                    log::error!("journal segment {segment} cannot be read: {error}");
                    blocked = Some(segment.writer);
                    reading.is_caught_up = false;
                    reading.has_failed = true;
                }
            }
        }
        for segment in done {
            self.cursors.remove(&segment);
        }
        for writer in over {
            if !self.cursors.keys().any(|segment| segment.writer == writer) {
                self.writers.remove(&writer);
                reading.entries.push(Entry::WriterOver(writer));
            }
        }
        reading
    }

    fn meet_new_segments(&mut self) {
        for state in self.journal.take_unseen() {
            let id = state.id;
            self.writers.entry(id.writer).or_insert_with(|| Arc::clone(&state.is_writer_over));
            self.cursors.insert(id, Cursor::live(state));
        }
    }

    fn writers_that_are_over(&self) -> Vec<WriterId> {
        let over = self.writers.iter().filter(|(_, is_over)| is_over.load(Ordering::Acquire));
        over.map(|(writer, _)| *writer).collect()
    }
}
