//! The journal: what every request began and ended with, on local disk before anybody else may act on it.
//!
//! Each worker appends to segments of its own (one `write(2)` a record, into the page cache: it survives the death of
//! the process, not of the machine until the next sync); one reader, the ledger's, follows all of them, those that a
//! dead process left included, and removes a segment once all of it is in the store.

mod ballast;
mod clip;
mod cursor;
mod data_dir;
mod reader;
pub(crate) mod record;
mod segment;
mod space;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use self::data_dir::{DataDir, DataDirError};
pub use self::reader::{Entry, JournalReader, Reading};
pub use self::record::Record;
pub use self::segment::{SegmentId, WriterId};
pub use self::space::{JournalFull, JournalPermit, JournalSpace, RESERVED_BYTES};
pub use self::writer::JournalWriter;

use self::ballast::Ballast;
use self::record::{HEADER_BYTES, MAX_RECORD_BYTES};
use self::segment::SegmentState;
use self::sync::SyncList;

/// The bounds of the journal.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Bytes on disk at the most, bytes promised to requests in flight included. Too low: requests are refused while
    /// the store is away for a moment; too high: the disk fills before anybody is told.
    pub max_bytes: u64,
    /// A segment that reached this size is closed. Too low: many files; too high: disk space comes back late, and
    /// more is shipped twice after a crash.
    pub segment_bytes: u64,
    /// A segment this old is closed at the next record.
    pub segment_age: Duration,
    /// How often what was appended is forced to the disk: what a power cut can lose.
    pub sync_interval: Duration,
    /// Bytes kept aside so that requests in flight can still write their end when something else fills the disk.
    pub ballast_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            max_bytes: 10 << 30,
            segment_bytes: 16 << 20,
            segment_age: Duration::from_secs(60),
            sync_interval: Duration::from_secs(1),
            ballast_bytes: 4 << 20,
        }
    }
}

/// Open segments hold at the most one part of the journal in so many (and each one record more).
const OPEN_SHARE: u64 = 4;

/// The least that a journal may be bounded by, for so many writers: their open segments together (see
/// `Journal::segment_bytes`) leave room for one more request. With less, all of it could stand in open segments, and
/// nothing would ever be let in again.
#[must_use]
pub fn least_bytes(writers: usize) -> u64 {
    let last_records = (writers as u64).saturating_mul((MAX_RECORD_BYTES + HEADER_BYTES) as u64);
    // The open segments take a part of the bound and a record each: the rest must hold one request.
    last_records.saturating_add(RESERVED_BYTES).saturating_mul(OPEN_SHARE).div_ceil(OPEN_SHARE - 1)
}

/// The journal of this process: makes writers, promises space, removes segments. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    data_dir: DataDir,
    run: u64,
    options: JournalOptions,
    space: Arc<JournalSpace>,
    ballast: Arc<Ballast>,
    sync: Arc<SyncList>,
    /// Segments of this process that the reader has not met.
    unseen: Mutex<Vec<Arc<SegmentState>>>,
    next_writer: AtomicU32,
    live_writers: AtomicUsize,
    ended_written: AtomicU64,
}

impl Journal {
    /// Opens the journal in a locked data directory and starts its sync thread. Segments of dead processes stay as
    /// they are, for the reader, and count against the space.
    ///
    /// # Errors
    /// When the directory cannot be listed, or the sync thread cannot be started.
    pub fn open(data_dir: DataDir, options: JournalOptions) -> io::Result<Self> {
        let on_disk = data_dir.journal_bytes()?;
        let run = data_dir.next_run()?;
        let ballast = Arc::new(Ballast::new(data_dir.journal_dir().join("ballast"), options.ballast_bytes));
        ballast.refill();
        if ballast.is_spent() {
            log::error!(
                "no room on disk for the ballast of the journal: requests are refused until there is"
            );
        }
        let sync = Arc::new(SyncList::new(data_dir.journal_dir(), Arc::clone(&ballast)));
        sync::spawn(&sync, options.sync_interval)?;
        let space = Arc::new(JournalSpace::new(options.max_bytes, on_disk));
        let (unseen, next_writer, live_writers, ended_written) = Default::default();
        Ok(Self {
            shared: Arc::new(Shared {
                data_dir,
                run,
                options,
                space,
                ballast,
                sync,
                unseen,
                next_writer,
                live_writers,
                ended_written,
            }),
        })
    }

    /// A writer for one worker thread. Its first segment is made at its first record.
    #[must_use]
    pub fn writer(&self) -> JournalWriter {
        let writer = self.shared.next_writer.fetch_add(1, Ordering::Relaxed);
        self.shared.live_writers.fetch_add(1, Ordering::Relaxed);
        JournalWriter::new(self.clone(), WriterId { run: self.shared.run, writer })
    }

    /// The one reader of this journal: what dead processes left, then what this one writes.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn reader(&self) -> io::Result<JournalReader> {
        JournalReader::open(self.clone())
    }

    /// Promises the space for both records of one request.
    ///
    /// # Errors
    /// [`JournalFull`] when the bound is reached, or when the disk itself is full: answer 503.
    pub fn reserve(&self) -> Result<JournalPermit, JournalFull> {
        if self.shared.ballast.is_spent() {
            return Err(JournalFull);
        }
        JournalSpace::reserve(&self.shared.space)
    }

    /// The space used and promised.
    #[must_use]
    pub fn space(&self) -> &JournalSpace {
        &self.shared.space
    }

    /// How many `ended` records this process has written.
    #[must_use]
    pub fn ended_written(&self) -> u64 {
        self.shared.ended_written.load(Ordering::Relaxed)
    }

    /// Writers that are not dropped yet: while there is one, more records may come.
    #[must_use]
    pub fn live_writers(&self) -> usize {
        self.shared.live_writers.load(Ordering::Acquire)
    }

    /// The last failure to force records to the disk, `None` once it works again.
    #[must_use]
    pub fn sync_error(&self) -> Option<String> {
        self.shared.sync.error()
    }

    /// Whether this process wrote the segment.
    #[must_use]
    pub fn is_own(&self, segment: SegmentId) -> bool {
        segment.writer.run == self.shared.run
    }

    /// The directory of the segments.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.shared.data_dir.journal_dir()
    }

    /// Gives the space of a segment back, all of it being in the store. A damaged one is kept beside, renamed, for the
    /// operator.
    ///
    /// # Errors
    /// When the file cannot be removed: try again later, reading it once more does no harm.
    pub fn remove_segment(&self, segment: SegmentId, is_damaged: bool) -> io::Result<()> {
        let path = self.dir().join(segment.file_name());
        if is_damaged {
            return std::fs::rename(&path, self.dir().join(format!("damaged-{}", segment.file_name())));
        }
        let bytes = std::fs::metadata(&path)?.len();
        std::fs::remove_file(&path)?;
        self.shared.space.removed(bytes);
        Ok(())
    }

    /// Appends a line to the file of what the store refused, on the disk when it returns.
    ///
    /// # Errors
    /// When it cannot be written: what it tells of must stay in its segment.
    pub fn set_aside(&self, lines: &str) -> io::Result<()> {
        use std::io::Write as _;
        let path = self.dir().join(format!("rejected-{:020}.jsonl", self.shared.run));
        let mut options = std::fs::OpenOptions::new();
        let mut file = data_dir::for_the_owner_alone(options.create(true).append(true)).open(path)?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.shared.space.written(lines.len() as u64);
        Ok(())
    }

    /// Segments made since the last call.
    fn take_unseen(&self) -> Vec<Arc<SegmentState>> {
        std::mem::take(&mut *self.shared.unseen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When a segment is closed. Space comes back by whole segments that were closed, and a full journal closes none:
    /// so the open ones together may never hold more than a part of it.
    fn segment_bytes(&self) -> u64 {
        let share = self.shared.options.max_bytes / (OPEN_SHARE * self.live_writers().max(1) as u64);
        self.shared.options.segment_bytes.min(share)
    }

    /// Lets the reader and the sync thread know of a new segment.
    fn announce(&self, segment: &Arc<SegmentState>) {
        self.shared.unseen.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(segment));
        self.shared.sync.add(Arc::clone(segment));
    }
}
