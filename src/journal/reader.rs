//! Follows every segment, oldest first: those of dead processes to their end, those of this one as they grow.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Journal;
use super::record::{HEADER_BYTES, HeaderFault, MAX_RECORD_BYTES, Record, Step, check_header, step};
use super::segment::{SegmentId, SegmentState, WriterId};

/// Bytes read at once; many records, and never less than the largest one.
const CHUNK_BYTES: usize = 256 << 10;
const _: () = assert!(CHUNK_BYTES >= 2 * MAX_RECORD_BYTES);
/// After so many failures in a row a segment is given up: its file stays, later ones go on.
const MAX_READ_FAILURES: u32 = 20;

/// What the reader comes by, in the order of writing for each writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record of a segment.
    Record(SegmentId, Box<Record>),
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

/// How far one segment was read.
#[derive(Debug)]
struct Cursor {
    source: Source,
    salt: u32,
    offset: u64,
    unreadable_bytes: u64,
    is_damaged: bool,
    failures: u32,
}

/// Where the bytes of a segment come from.
#[derive(Debug)]
enum Source {
    /// Written by this process.
    Live(Arc<SegmentState>),
    /// Left by a dead process, and not looked at yet: so that thousands of segments are not open at once.
    Unopened(PathBuf),
    /// Left by a dead process.
    Opened(File),
}

/// How a look into one segment ended.
enum Progress {
    /// It may grow, or holds more than was asked for.
    MoreLater,
    /// Read to the end of what is there; it may grow.
    CaughtUp,
    /// Read to the end, for good.
    Finished,
    /// It cannot be read.
    GivenUp,
}

impl JournalReader {
    pub(super) fn open(journal: Journal) -> io::Result<Self> {
        let mut reader =
            Self { cursors: BTreeMap::new(), writers: HashMap::new(), chunk: vec![0; CHUNK_BYTES], journal };
        let run = reader.journal.shared.run;
        for segment in reader.journal.shared.data_dir.segments()? {
            if segment.writer.run < run {
                let path = reader.journal.dir().join(segment.file_name());
                reader.cursors.insert(segment, Cursor::new(segment, Source::Unopened(path)));
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
            self.cursors.insert(id, Cursor::new(id, Source::Live(state)));
        }
    }

    fn writers_that_are_over(&self) -> Vec<WriterId> {
        let over = self.writers.iter().filter(|(_, is_over)| is_over.load(Ordering::Acquire));
        over.map(|(writer, _)| *writer).collect()
    }
}

impl Cursor {
    fn new(segment: SegmentId, source: Source) -> Self {
        Self {
            source,
            salt: segment.salt(),
            offset: HEADER_BYTES as u64,
            unreadable_bytes: 0,
            is_damaged: false,
            failures: 0,
        }
    }

    fn read(
        &mut self,
        segment: SegmentId,
        room: &mut usize,
        chunk: &mut [u8],
        reading: &mut Reading,
    ) -> io::Result<Progress> {
        let progress = match self.open(segment) {
            Ok(true) => self.read_on(segment, room, chunk, reading),
            Ok(false) => Ok(Progress::GivenUp),
            Err(error) => Err(error),
        };
        match progress {
            Err(_) if self.failures >= MAX_READ_FAILURES => {
                log::error!(
                    "journal segment {segment} is given up and its file kept: its rest cannot be read"
                );
                Ok(Progress::GivenUp)
            }
            Err(error) => {
                self.failures += 1;
                Err(error)
            }
            Ok(progress) => {
                self.failures = 0;
                self.report(segment, &progress);
                Ok(progress)
            }
        }
    }

    /// Opens what a dead process left; false when it is for another version of bedgate to read.
    fn open(&mut self, segment: SegmentId) -> io::Result<bool> {
        let Source::Unopened(path) = &self.source else { return Ok(true) };
        let file = File::open(path)?;
        let mut head = [0; HEADER_BYTES];
        let length = read_up_to(&file, &mut head, 0)?;
        match check_header(head.get(..length).unwrap_or_default()) {
            Ok(()) | Err(HeaderFault::Torn) => {}
            Err(HeaderFault::Unreadable) => {
                log::error!("journal segment {segment} has no readable header; its records are looked for");
                self.is_damaged = true;
            }
            Err(HeaderFault::OtherVersion(version)) => {
                log::error!(
                    "journal segment {segment} has format {version}: left for the bedgate that wrote it"
                );
                return Ok(false);
            }
        }
        self.source = Source::Opened(file);
        Ok(true)
    }

    fn read_on(
        &mut self,
        segment: SegmentId,
        room: &mut usize,
        chunk: &mut [u8],
        reading: &mut Reading,
    ) -> io::Result<Progress> {
        let (is_closed, length) = self.length()?;
        while self.offset < length {
            if *room == 0 {
                return Ok(Progress::MoreLater);
            }
            let bytes = self.fill(chunk, length)?;
            let is_last = self.offset + bytes.len() as u64 >= length;
            if !self.read_chunk(segment, bytes, is_last && is_closed, room, reading) {
                break;
            }
        }
        Ok(if is_closed && self.offset >= length { Progress::Finished } else { Progress::CaughtUp })
    }

    /// Whether the segment is closed, and how far it can be read; final once closed.
    fn length(&self) -> io::Result<(bool, u64)> {
        match &self.source {
            Source::Live(live) => {
                let is_closed = live.is_closed.load(Ordering::Acquire);
                Ok((is_closed, live.good_bytes.load(Ordering::Acquire)))
            }
            Source::Opened(file) => Ok((true, file.metadata()?.len())),
            Source::Unopened(_) => Ok((false, 0)),
        }
    }

    fn fill<'a>(&self, chunk: &'a mut [u8], length: u64) -> io::Result<&'a [u8]> {
        let file = match &self.source {
            Source::Live(live) => &live.file,
            Source::Opened(file) => file,
            Source::Unopened(_) => return Ok(&[]),
        };
        let wanted = usize::try_from(length - self.offset).unwrap_or(usize::MAX).min(chunk.len());
        let chunk = chunk.get_mut(..wanted).unwrap_or_default();
        if read_up_to(file, chunk, self.offset)? < wanted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than it was"));
        }
        Ok(chunk)
    }

    /// Whether anything was read; else the chunk ends within a record.
    fn read_chunk(
        &mut self,
        segment: SegmentId,
        bytes: &[u8],
        is_end: bool,
        room: &mut usize,
        reading: &mut Reading,
    ) -> bool {
        let mut place = 0;
        while *room > 0 {
            match step(self.salt, bytes.get(place..).unwrap_or_default(), is_end) {
                Step::Record(record, length) => {
                    reading.entries.push(Entry::Record(segment, record));
                    *room -= 1;
                    place += length;
                }
                Step::Incomplete => break,
                Step::Unreadable { bytes, is_followed } => {
                    place += bytes;
                    let unreadable = bytes as u64;
                    reading.unreadable_bytes += unreadable;
                    self.unreadable_bytes += unreadable;
                    self.is_damaged |= is_followed || self.unreadable_bytes > MAX_RECORD_BYTES as u64;
                }
            }
        }
        self.offset += place as u64;
        place > 0
    }

    fn report(&self, segment: SegmentId, progress: &Progress) {
        let bytes = self.unreadable_bytes;
        if bytes > 0 && matches!(progress, Progress::Finished) {
            if self.is_damaged {
                log::error!("journal segment {segment} has {bytes} bytes that are no records; it is kept");
            } else {
                log::warn!("journal segment {segment} had a torn tail of {bytes} bytes, cut");
            }
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
