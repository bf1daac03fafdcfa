//! Names of segments, and what a writer lets the reader and the sync thread know of the one it writes.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// One writer of one run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId {
    /// When that process started, in microseconds since the epoch; larger for later runs.
    pub run: u64,
    /// Counted from zero within the run.
    pub writer: u32,
}

/// One file of the journal. Segments of one writer are ordered by their sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// Who wrote it.
    pub writer: WriterId,
    /// Counted from zero within the writer.
    pub sequence: u32,
}

impl SegmentId {
    /// The name of its file.
    #[must_use]
    pub fn file_name(self) -> String {
        self.to_string()
    }

    /// Reads what [`SegmentId::file_name`] wrote; `None` for any other file.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".journal")?.split('-');
        let (run, writer, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        let id = Self {
            writer: WriterId { run: run.parse().ok()?, writer: writer.parse().ok()? },
            sequence: sequence.parse().ok()?,
        };
        (id.file_name() == name).then_some(id)
    }

    /// Where the checksums of its records start, so that a record which a client smuggled into a text of its own is
    /// none, wherever it lies.
    pub(super) fn salt(self) -> u32 {
        crc32fast::hash(self.file_name().as_bytes())
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:05}-{:010}.journal", self.writer.run, self.writer.writer, self.sequence)
    }
}

/// A segment of this process, shared by its writer, the reader and the sync thread.
#[derive(Debug)]
pub(super) struct SegmentState {
    pub(super) id: SegmentId,
    pub(super) file: File,
    /// Bytes up to the end of the last whole record; the reader goes no further.
    pub(super) good_bytes: AtomicU64,
    /// Nothing will be appended any more. Set after the last change of `good_bytes`.
    pub(super) is_closed: AtomicBool,
    /// The writer is gone: no record will come for what it left open.
    pub(super) is_writer_over: Arc<AtomicBool>,
    /// Bytes known to be on the disk.
    pub(super) synced_bytes: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_ids_do_and_read_back() {
        let id = |run, writer, sequence| SegmentId { writer: WriterId { run, writer }, sequence };
        let ids = [id(9, 0, 0), id(9, 0, 11), id(9, 1, 2), id(10, 0, 0), id(u64::MAX, u32::MAX, u32::MAX)];
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].file_name() < pair[1].file_name());
        }
        for id in ids {
            assert_eq!(SegmentId::from_file_name(&id.file_name()), Some(id));
        }
    }

    #[test]
    fn other_files_are_no_segments() {
        for name in
            ["", "lock", "ballast", "1-2-3.journal", "damaged-00000000000000000001-00000-0000000000.journal"]
        {
            assert_eq!(SegmentId::from_file_name(name), None, "{name}");
        }
    }
}
