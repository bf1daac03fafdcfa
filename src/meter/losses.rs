//! What is lost while the journal is full and the gateway serves all the same: counted, and said now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::domain::{NanoUsd, UnixMicros};
use crate::metrics::Metrics;

/// Between two lines of the log, in microseconds: loud, but not a line for each request. Readiness tells of a loss for as
/// long.
const SAY_EVERY_MICROS: i64 = 10_000_000;

/// Events that no ledger will ever hold.
#[derive(Debug)]
pub struct Losses {
    metrics: Arc<Metrics>,
    count: AtomicU64,
    said: AtomicU64,
    said_at: AtomicI64,
    lost_at: AtomicI64,
}

impl Losses {
    /// None yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let never = || AtomicI64::new(i64::MIN);
        Self {
            metrics,
            count: AtomicU64::new(0),
            said: AtomicU64::new(0),
            said_at: never(),
            lost_at: never(),
        }
    }

    /// One more, which cost this as far as it is known.
    pub fn note(&self, cost: Option<NanoUsd>, now: UnixMicros) {
        self.lost_at.store(now.0, Ordering::Relaxed);
        self.metrics.events_lost.inc();
        let cost = u64::try_from(cost.unwrap_or_default().0).unwrap_or_default();
        self.metrics.lost_cost_nano_usd.inc_by(cost);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(more) = self.to_be_said(count, now) {
            log::error!(
                "the journal is full: {more} more events are lost, {count} since the start; requests are served \
                 (when_journal_full), budgets of this instance count them, the ledger never will"
            );
        }
    }

    /// Events lost since the start.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether some were lost a moment ago.
    #[must_use]
    pub fn is_losing(&self, now: UnixMicros) -> bool {
        now.0.saturating_sub(self.lost_at.load(Ordering::Relaxed)) < SAY_EVERY_MICROS
    }

    /// How many were lost since the last line, if another one is due.
    fn to_be_said(&self, count: u64, now: UnixMicros) -> Option<u64> {
        let last = self.said_at.load(Ordering::Relaxed);
        let is_due = now.0.saturating_sub(last) >= SAY_EVERY_MICROS;
        let taken = || self.said_at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed);
        (is_due && taken().is_ok()).then(|| count.saturating_sub(self.said.swap(count, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_counted_and_one_line_each_ten_seconds_says_how_many() {
        let metrics = Arc::new(Metrics::default());
        let losses = Losses::new(Arc::clone(&metrics));
        let at = |seconds: i64| UnixMicros(seconds * 1_000_000);
        assert_eq!(losses.to_be_said(1, at(0)), Some(1));
        assert_eq!(losses.to_be_said(2, at(9)), None);
        assert_eq!(losses.to_be_said(7, at(10)), Some(6));
        losses.note(Some(NanoUsd(5)), at(11));
        losses.note(None, at(11));
        assert!(losses.is_losing(at(20)) && !losses.is_losing(at(21)));
        assert_eq!((losses.count(), metrics.events_lost.get(), metrics.lost_cost_nano_usd.get()), (2, 2, 5));
    }
}
