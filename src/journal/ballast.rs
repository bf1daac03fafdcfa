//! Disk space kept aside: given up so that requests in flight can still write their end when the disk is full.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

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

    /// Takes the space again, if there is any.
    pub(super) fn refill(&self) {
        if !self.is_spent() {
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
    fn without_room_the_ballast_stays_spent() {
        let ballast = Ballast::new("/dev/null/ballast".into(), 1);
        ballast.refill();
        assert!(ballast.is_spent());
    }
}
