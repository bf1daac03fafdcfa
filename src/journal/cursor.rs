//! Reads one segment on, from where it was left.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reader::{Entry, Reading};
use super::record::{HEADER_BYTES, HeaderFault, MAX_RECORD_BYTES, Step, check_header, step};
use super::segment::{SegmentId, SegmentState};

/// Bytes read at once; many records, and never less than the largest one.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
const _: () = assert!(CHUNK_BYTES >= 2 * MAX_RECORD_BYTES);
/// After so many failures in a row a segment is given up: its file stays, later ones go on.
const MAX_READ_FAILURES: u32 = 20;

/// How far one segment was read.
#[derive(Debug)]
pub(super) struct Cursor {
    source: Source,
    salt: u32,
    offset: u64,
    unreadable_bytes: u64,
    pub(super) is_damaged: bool,
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
pub(super) enum Progress {
    /// It may grow, or holds more than was asked for.
    MoreLater,
    /// Read to the end of what is there; it may grow.
    CaughtUp,
    /// Read to the end, for good.
    Finished,
    /// It cannot be read.
    GivenUp,
}

impl Cursor {
    /// A segment of this process.
    pub(super) fn live(state: Arc<SegmentState>) -> Self {
        Self::new(state.id, Source::Live(state))
    }

    /// A segment that a dead process left.
    pub(super) fn left_behind(segment: SegmentId, path: PathBuf) -> Self {
        Self::new(segment, Source::Unopened(path))
    }

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

    /// Reads at most `room` records on, and takes them off it.
    pub(super) fn read(
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
