//! The bound of the journal on disk: a request is let in only if both its records will fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::MAX_RECORD_BYTES;

/// What one request may write at the most, its beginning and its end.
pub const RESERVED_BYTES: u64 = 2 * MAX_RECORD_BYTES as u64;

/// No room in the journal: the store is away or slow. Answer 503; a cost is never forgotten instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal is full")]
pub struct JournalFull;

/// Bytes of the journal: on disk, and promised to requests in flight.
#[derive(Debug)]
pub struct JournalSpace {
    max_bytes: u64,
    on_disk: AtomicU64,
    promised: AtomicU64,
    /// The sum of both, which is what the bound is held against.
    taken: AtomicU64,
}

impl JournalSpace {
    pub(super) fn new(max_bytes: u64, on_disk: u64) -> Self {
        Self {
            max_bytes,
            on_disk: AtomicU64::new(on_disk),
            promised: AtomicU64::new(0),
            taken: AtomicU64::new(on_disk),
        }
    }

    pub(super) fn reserve(this: &Arc<Self>) -> Result<JournalPermit, JournalFull> {
        let taken = this.taken.fetch_add(RESERVED_BYTES, Ordering::Relaxed);
        if taken.saturating_add(RESERVED_BYTES) > this.max_bytes {
            this.taken.fetch_sub(RESERVED_BYTES, Ordering::Relaxed);
            return Err(JournalFull);
        }
        this.promised.fetch_add(RESERVED_BYTES, Ordering::Relaxed);
        Ok(JournalPermit { space: Arc::clone(this) })
    }

    pub(super) fn written(&self, bytes: u64) {
        self.on_disk.fetch_add(bytes, Ordering::Relaxed);
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn removed(&self, bytes: u64) {
        for counter in [&self.on_disk, &self.taken] {
            let subtract = |value: u64| Some(value.saturating_sub(bytes));
            let _previous = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        }
    }

    /// Bytes on disk.
    #[must_use]
    pub fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Relaxed)
    }

    /// Bytes promised to requests in flight.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// The bound.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

/// The promise that both records of one request fit. Keep it until `ended` is written; dropping it gives back what was
/// not used.
#[derive(Debug)]
#[must_use = "the space is promised only while the permit lives"]
pub struct JournalPermit {
    space: Arc<JournalSpace>,
}

impl Drop for JournalPermit {
    fn drop(&mut self) {
        self.space.promised.fetch_sub(RESERVED_BYTES, Ordering::Relaxed);
        self.space.taken.fetch_sub(RESERVED_BYTES, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_8_the_journal_promises_no_more_than_its_bound() {
        let space = Arc::new(JournalSpace::new(2 * RESERVED_BYTES + 100, 50));
        let first = JournalSpace::reserve(&space).unwrap();
        let _second = JournalSpace::reserve(&space).unwrap();
        assert_eq!(JournalSpace::reserve(&space).unwrap_err(), JournalFull);
        space.written(60);
        drop(first);
        assert_eq!(JournalSpace::reserve(&space).unwrap_err(), JournalFull, "what was written counts");
        space.removed(110);
        assert!(JournalSpace::reserve(&space).is_ok());
        assert_eq!((space.on_disk(), space.promised()), (0, RESERVED_BYTES));
    }

    #[test]
    fn the_bound_holds_between_threads() {
        let space = Arc::new(JournalSpace::new(10 * RESERVED_BYTES, 0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let permit = JournalSpace::reserve(&space);
                        assert!(space.promised() <= 10 * RESERVED_BYTES);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!((space.promised(), space.taken.load(Ordering::Relaxed)), (0, 0));
    }
}
