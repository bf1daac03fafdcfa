//! Disk space kept aside: given up so that requests in flight can still write their end when the disk is full.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// How often over there must be room for it before it is taken again: what it gave up is not taken back from those it
/// was given to, and the disk not filled to the brim.
const AMPLE: u64 = 4;

/// A file of no use but its size.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    is_spent: AtomicBool,
}

impl Ballast {
    pub(super) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes, is_spent: AtomicBool::new(bytes > 0) }
    }

    /// Whether the disk was full and still is: no new work then.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    /// Gives the space up; false when there never was any.
    pub(super) fn spend(&self) -> bool {
        if self.bytes > 0 && !self.is_spent.swap(true, Ordering::Relaxed) {
            let _already_gone = std::fs::remove_file(&self.path);
            log::error!(
                "disk full: ballast of the journal spent, new requests are refused until there is room"
            );
        }
        self.bytes > 0
    }

    /// Takes the space again, once there is ample room.
    pub(super) fn refill(&self) {
        if self.is_spent() {
            self.refill_within(free_bytes(self.path.parent().unwrap_or(&self.path)));
        }
    }

    /// `free`: bytes that are free on the disk; `Err`: nobody knows, so it is tried.
    fn refill_within(&self, free: io::Result<u64>) {
        let is_there = std::fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes);
        if !is_there && free.is_ok_and(|free| free < self.bytes.saturating_mul(AMPLE)) {
            return;
        }
        match self.fill() {
            Ok(()) => self.is_spent.store(false, Ordering::Relaxed),
            Err(error) => {
                let _already_gone = std::fs::remove_file(&self.path);
                log::debug!("still no room on disk for the ballast of the journal: {error}");
            }
        }
    }

    fn fill(&self) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes) {
            return Ok(());
        }
        let mut file = File::create(&self.path)?;
        let block = [0xa5; 4096];
        let mut left = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        while left > 0 {
            let part = block.get(..left.min(block.len())).unwrap_or(&block);
            file.write_all(part)?;
            left -= part.len();
        }
        Ok(())
    }
}

/// Bytes of a directory's file system that this process may still fill.
fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_is_spent_once_and_refilled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let ballast = Ballast::new(path.clone(), 10_000);
        assert!(ballast.is_spent());
        ballast.refill();
        assert_eq!((ballast.is_spent(), std::fs::metadata(&path).unwrap().len()), (false, 10_000));
        assert!(ballast.spend());
        assert_eq!((ballast.is_spent(), path.exists()), (true, false));
        ballast.refill();
        assert_eq!((ballast.is_spent(), path.exists()), (false, true));
    }

    #[test]
    fn the_room_that_was_given_up_is_not_taken_back_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let ballast = Ballast::new(path.clone(), 10_000);
        for free in [0, 10_000, 39_999] {
            ballast.refill_within(Ok(free));
            assert_eq!((ballast.is_spent(), path.exists()), (true, false), "{free}");
        }
        ballast.refill_within(Ok(40_000));
        assert_eq!((ballast.is_spent(), path.exists()), (false, true));
        // What an earlier process left is there already.
        let ballast = Ballast::new(path.clone(), 10_000);
        ballast.refill_within(Ok(0));
        assert!(!ballast.is_spent());
        assert!(free_bytes(dir.path()).unwrap() > 0);
    }

    #[test]
    fn without_room_the_ballast_stays_spent() {
        let ballast = Ballast::new("/dev/null/ballast".into(), 1);
        ballast.refill();
        assert!(ballast.is_spent());
    }
}
