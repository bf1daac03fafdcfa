//! Appends the records of one worker: one `write(2)` each, and a failed one leaves no trace.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::Journal;
use super::record::{HEADER_BYTES, encode_begun, encode_ended, header};
use super::segment::{SegmentId, SegmentState, WriterId};
use crate::event::{Begun, Ended};

/// The journal's writer of one worker thread. Dropping it says that no end will come for what is still open.
#[derive(Debug)]
pub struct JournalWriter {
    journal: Journal,
    id: WriterId,
    is_over: Arc<AtomicBool>,
    next_sequence: u32,
    segment: Option<OpenSegment>,
    buffer: Vec<u8>,
    /// After so many bytes the disk is full, once.
    #[cfg(test)]
    full_after: Option<usize>,
}

#[derive(Debug)]
struct OpenSegment {
    state: Arc<SegmentState>,
    salt: u32,
    opened: Instant,
}

impl JournalWriter {
    pub(super) fn new(journal: Journal, id: WriterId) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        Self {
            journal,
            id,
            is_over,
            next_sequence: 0,
            segment: None,
            buffer: Vec::with_capacity(1024),
            #[cfg(test)]
            full_after: None,
        }
    }

    /// Writes the beginning of a request. Call it before the first byte goes to AWS.
    ///
    /// # Errors
    /// When it is not in the journal, and nothing of it is: refuse the request.
    pub fn begin(&mut self, begun: &Begun) -> io::Result<()> {
        let salt = self.salt_for_next()?;
        encode_begun(&mut self.buffer, salt, begun)?;
        self.append()
    }

    /// Writes the end of a request. Call it before the chunk that ends the answer goes to the client. On a full disk
    /// the ballast makes room.
    ///
    /// # Errors
    /// When it is not in the journal: the next start will take the request for interrupted.
    pub fn end(&mut self, ended: &Ended) -> io::Result<()> {
        self.try_end(ended).or_else(|error| {
            let is_room_made =
                error.kind() == io::ErrorKind::StorageFull && self.journal.shared.ballast.spend();
            if is_room_made { self.try_end(ended) } else { Err(error) }
        })?;
        self.journal.shared.ended_written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn try_end(&mut self, ended: &Ended) -> io::Result<()> {
        let salt = self.salt_for_next()?;
        encode_ended(&mut self.buffer, salt, ended)?;
        self.append()
    }

    /// The salt of the segment that the next record goes to, a new one where the last is full or old.
    fn salt_for_next(&mut self) -> io::Result<u32> {
        let options = &self.journal.shared.options;
        let is_due = self.segment.as_ref().is_none_or(|segment| {
            segment.state.good_bytes.load(Ordering::Relaxed) >= self.journal.segment_bytes()
                || segment.opened.elapsed() >= options.segment_age
        });
        if is_due {
            match self.open_segment() {
                Ok(segment) => {
                    self.close_segment();
                    self.journal.announce(&segment.state);
                    self.segment = Some(segment);
                }
                Err(error) if self.segment.is_none() => return Err(error),
                Err(error) => log::warn!("no new journal segment, the last one goes on: {error}"),
            }
        }
        self.segment
            .as_ref()
            .map(|segment| segment.salt)
            .ok_or_else(|| io::Error::other("no journal segment"))
    }

    fn open_segment(&mut self) -> io::Result<OpenSegment> {
        let id = SegmentId { writer: self.id, sequence: self.next_sequence };
        self.next_sequence = self.next_sequence.saturating_add(1);
        let path = self.journal.dir().join(id.file_name());
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true);
        let mut file = super::data_dir::for_the_owner_alone(&mut options).open(&path)?;
        if let Err(error) = file.write_all(&header()) {
            let _nothing_in_it = std::fs::remove_file(&path);
            return Err(error);
        }
        let header_bytes = HEADER_BYTES as u64;
        self.journal.shared.space.written(header_bytes);
        let state = Arc::new(SegmentState {
            id,
            file,
            good_bytes: AtomicU64::new(header_bytes),
            is_closed: AtomicBool::new(false),
            is_writer_over: Arc::clone(&self.is_over),
            synced_bytes: AtomicU64::new(0),
        });
        Ok(OpenSegment { state, salt: id.salt(), opened: Instant::now() })
    }

    fn append(&mut self) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Err(io::Error::other("no journal segment")) };
        let good_bytes = segment.state.good_bytes.load(Ordering::Relaxed);
        let mut file = &segment.state.file;
        #[cfg(not(test))]
        let result = file.write_all(&self.buffer);
        #[cfg(test)]
        let result = match self.full_after.take() {
            None => file.write_all(&self.buffer),
            Some(bytes) => file.write_all(&self.buffer[..bytes]).and(Err(io::ErrorKind::StorageFull.into())),
        };
        if let Err(error) = result {
            if let Err(fault) = file.set_len(good_bytes) {
                log::error!("journal segment {} is given up after a failed write: {fault}", segment.state.id);
                self.close_segment();
            }
            return Err(error);
        }
        let bytes = self.buffer.len() as u64;
        self.journal.shared.space.written(bytes);
        segment.state.good_bytes.store(good_bytes + bytes, Ordering::Release);
        Ok(())
    }

    /// The next write fails after so many bytes, as on a full disk.
    #[cfg(test)]
    pub(super) fn fail_next_write_after(&mut self, bytes: usize) {
        self.full_after = Some(bytes);
    }

    fn close_segment(&mut self) {
        if let Some(segment) = self.segment.take() {
            segment.state.is_closed.store(true, Ordering::Release);
        }
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        self.close_segment();
        self.is_over.store(true, Ordering::Release);
        self.journal.shared.live_writers.fetch_sub(1, Ordering::Release);
    }
}
