//! Picks one of several deployments: lowest order first, by weight, past those that were tried or are cooling
//! down. Pure but for the shared counters of [`Health`].

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::domain::UnixMicros;

/// Failures are counted over windows of this length.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// The slots of deployments that were tried for one call.
pub type Tried = Vec<usize>;

/// The health of one deployment, shared by all workers.
#[derive(Debug, Default)]
pub struct Health {
    failures: AtomicU32,
    window_started: AtomicI64,
    cooling_until: AtomicI64,
}

impl Health {
    /// Counts a failure; the one after `allowed_fails` within a minute begins a cool-down.
    pub(super) fn failed(&self, now: UnixMicros, allowed_fails: u32, cooldown: Duration) {
        if now.0 - self.window_started.load(Ordering::Relaxed) > micros(FAILURE_WINDOW) {
            self.window_started.store(now.0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures > allowed_fails {
            self.failures.store(0, Ordering::Relaxed);
            self.cooling_until.store(now.0 + micros(cooldown), Ordering::Relaxed);
        }
    }

    /// Until when it is cooling down; in the past: it is not.
    #[must_use]
    pub fn cooling_until(&self) -> UnixMicros {
        UnixMicros(self.cooling_until.load(Ordering::Relaxed))
    }

    fn is_cooling(&self, now: UnixMicros) -> bool {
        self.cooling_until() > now
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// One deployment that may serve the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'t> {
    pub(super) slot: usize,
    pub(super) order: u32,
    pub(super) weight: u32,
    pub(super) health: &'t Health,
}

/// Picks the slot to try next.
///
/// A deployment that cools down is passed over, unless nothing was tried yet and all cool down: then the one
/// that is free first is tried, since a try may work and a refusal cannot.
pub(super) fn pick(
    candidates: &[Candidate<'_>],
    tried: &[usize],
    now: UnixMicros,
    random: u64,
) -> Option<usize> {
    let untried = || candidates.iter().filter(|c| !tried.contains(&c.slot));
    let ready = || untried().filter(|c| !c.health.is_cooling(now));
    let Some(order) = ready().map(|c| c.order).min() else {
        let free_first = untried().min_by_key(|c| c.health.cooling_until());
        return free_first.filter(|_| tried.is_empty()).map(|c| c.slot);
    };
    let first = || ready().filter(|c| c.order == order);
    let total: u64 = first().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        return first().next().map(|c| c.slot);
    }
    let mut ticket = random % total;
    for candidate in first() {
        let weight = u64::from(candidate.weight);
        if ticket < weight {
            return Some(candidate.slot);
        }
        ticket -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(slot: usize, order: u32, weight: u32, health: &Health) -> Candidate<'_> {
        Candidate { slot, order, weight, health }
    }

    #[test]
    fn weights_share_the_load_and_order_goes_first() {
        let health = Health::default();
        let candidates =
            [candidate(0, 1, 3, &health), candidate(1, 1, 1, &health), candidate(2, 2, 100, &health)];
        let count =
            |slot| (0..400).filter(|&r| pick(&candidates, &[], UnixMicros(0), r) == Some(slot)).count();
        assert_eq!((count(0), count(1), count(2)), (300, 100, 0));
        assert_eq!(pick(&candidates, &[0], UnixMicros(0), 7), Some(1));
        assert_eq!(pick(&candidates, &[0, 1], UnixMicros(0), 7), Some(2));
        assert_eq!(pick(&candidates, &[0, 1, 2], UnixMicros(0), 7), None);
    }

    #[test]
    fn a_failing_deployment_cools_down_and_the_one_free_first_is_tried_when_all_do() {
        let (first, second) = (Health::default(), Health::default());
        let now = UnixMicros(1_000_000_000);
        first.failed(now, 1, Duration::from_secs(5));
        let candidates = [candidate(0, 1, 1, &first), candidate(1, 1, 0, &second)];
        assert_eq!(pick(&candidates, &[], now, 0), Some(0), "one failure is allowed");
        first.failed(now, 1, Duration::from_secs(5));
        assert_eq!(pick(&candidates, &[], now, 0), Some(1));
        assert_eq!(pick(&candidates, &[1], now, 0), None, "a retry does not go to one that cools down");
        second.failed(now, 0, Duration::from_secs(9));
        assert_eq!(pick(&candidates, &[], now, 0), Some(0), "free first");
        assert_eq!(pick(&candidates, &[], UnixMicros(now.0 + 5_000_001), 0), Some(0));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let health = Health::default();
        health.failed(UnixMicros(100_000_000), 1, Duration::from_secs(5));
        health.failed(UnixMicros(200_000_000), 1, Duration::from_secs(5));
        assert!(!health.is_cooling(UnixMicros(200_000_001)));
    }
}
