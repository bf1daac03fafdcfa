//! What can be seen of the ledger from outside: readiness, metrics and the shutdown read it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::UnixMicros;
use crate::journal::Journal;

/// The ledger at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerState {
    /// The actor runs. If not, nothing is shipped any more: go red, and let the process be restarted.
    pub is_alive: bool,
    /// Segments of a dead process are still being read.
    pub is_recovering: bool,
    /// Events that ended and are not in the store; those of dead processes only once they are read.
    pub depth: u64,
    /// Requests that began and did not end, as far as the journal was read.
    pub open: u64,
    /// When the oldest event that is not in the store ended.
    pub oldest_ended_at: Option<UnixMicros>,
    /// Why the store took nothing last time; `None` once it does.
    pub last_error: Option<String>,
    /// Why the journal could not be forced to the disk last time; `None` once it can.
    pub sync_error: Option<String>,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes promised to requests in flight.
    pub journal_promised_bytes: u64,
    /// The bound of both together.
    pub journal_max_bytes: u64,
    /// Events shipped since the start, those that were there already included.
    pub shipped: u64,
    /// Events the store did not have before.
    pub inserted: u64,
    /// Events the store refused for good, kept in `journal/rejected-*.jsonl`.
    pub set_aside: u64,
    /// Ends whose beginning was not met.
    pub orphaned: u64,
    /// Bytes of the journal that are no records.
    pub unreadable_bytes: u64,
    /// Batches that failed.
    pub failed_batches: u64,
}

impl LedgerState {
    /// How long the oldest event has waited.
    #[must_use]
    pub fn oldest_age(&self, now: UnixMicros) -> Duration {
        let micros = self.oldest_ended_at.map_or(0, |ended_at| now.0.saturating_sub(ended_at.0));
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Events shipped since the start.
    pub shipped: u64,
    /// Events that ended and are not in the store.
    pub left: u64,
    /// Requests that have not ended.
    pub open: u64,
    /// Part of the journal was not even read.
    pub is_unread: bool,
}

impl Drained {
    /// Everything is in the store: exit 0, else 70.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left == 0 && self.open == 0 && !self.is_unread
    }
}

/// The counters behind [`LedgerState`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) is_alive: AtomicBool,
    pub(super) is_recovering: AtomicBool,
    pub(super) held: AtomicU64,
    pub(super) open: AtomicU64,
    /// Ends of this process that were read.
    pub(super) ended_read: AtomicU64,
    /// Zero: none.
    pub(super) oldest_ended_at: AtomicI64,
    pub(super) shipped: AtomicU64,
    pub(super) inserted: AtomicU64,
    pub(super) set_aside: AtomicU64,
    pub(super) orphaned: AtomicU64,
    pub(super) unreadable_bytes: AtomicU64,
    pub(super) failed_batches: AtomicU64,
    /// Ends written when the actor was last woken.
    pub(super) nudged_at: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn state(&self, journal: &Journal) -> LedgerState {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let oldest = self.oldest_ended_at.load(Ordering::Relaxed);
        LedgerState {
            is_alive: self.is_alive.load(Ordering::Acquire),
            is_recovering: self.is_recovering.load(Ordering::Acquire),
            depth: self.depth(journal),
            open: get(&self.open),
            oldest_ended_at: (oldest != 0).then_some(UnixMicros(oldest)),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            sync_error: journal.sync_error(),
            journal_bytes: journal.space().on_disk(),
            journal_promised_bytes: journal.space().promised(),
            journal_max_bytes: journal.space().max_bytes(),
            shipped: get(&self.shipped),
            inserted: get(&self.inserted),
            set_aside: get(&self.set_aside),
            orphaned: get(&self.orphaned),
            unreadable_bytes: get(&self.unreadable_bytes),
            failed_batches: get(&self.failed_batches),
        }
    }

    pub(super) fn depth(&self, journal: &Journal) -> u64 {
        let read = self.ended_read.load(Ordering::Relaxed);
        journal.ended_written().saturating_sub(read) + self.held.load(Ordering::Relaxed)
    }

    pub(super) fn set_error(&self, error: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}
