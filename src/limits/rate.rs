//! Requests and tokens a minute, and requests at the same time: counted by this instance, by the minute of the clock.
//!
//! A minute is one of the clock's, as LiteLLM has it, so two bursts around its end may come close together. A request
//! is let in while fewer tokens than the limit are used or reserved in its minute, like money under a standard
//! budget. It reserves what it will likely use, and gives back or adds the difference when it ends; one that ends in
//! a later minute adds to that minute what it used beyond its reservation, and gives nothing back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::UnixMicros;

const MICROS_PER_MINUTE: i64 = 60_000_000;
const ONE_MINUTE: Duration = Duration::from_secs(60);

/// How fast somebody may call; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateTerms {
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Requests at the same time.
    pub max_parallel: Option<u64>,
}

impl RateTerms {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateKind {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests at the same time.
    Parallel,
}

impl RateKind {
    /// LiteLLM's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "max_parallel_requests",
        }
    }
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// Which.
    pub kind: RateKind,
    /// Its value.
    pub limit: u64,
    /// Seconds until it is worth trying again.
    pub retry_after: u64,
}

/// What is left of the minute, for the headers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLeft {
    /// Limit and rest of requests.
    pub requests: Option<(u64, u64)>,
    /// Limit and rest of tokens.
    pub tokens: Option<(u64, u64)>,
    /// Seconds until the minute is over.
    pub reset: u64,
}

/// One holder's rates on this instance.
#[derive(Debug, Default)]
pub struct RateCounter(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    number: i64,
    /// When it was begun, by a clock that nobody corrects.
    begun: Option<Instant>,
    requests: u64,
    tokens: u64,
    parallel: u64,
}

impl Minute {
    /// Whether a request of this minute begins the count anew. It may have come some time before those counted, a
    /// slow upload long before; that alone takes nothing back. Where the minute counted lies ahead although it has
    /// lasted its time, the clock was set back.
    fn is_over_at(&self, number: i64, lasted: impl Fn() -> Duration) -> bool {
        number > self.number || (number < self.number && lasted() >= ONE_MINUTE)
    }
}

impl RateCounter {
    fn minute(&self, now: UnixMicros) -> MutexGuard<'_, Minute> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = minute_of(now);
        if minute.is_over_at(number, || minute.begun.map_or(ONE_MINUTE, |begun| begun.elapsed())) {
            let begun = Some(Instant::now());
            *minute = Minute { number, begun, parallel: minute.parallel, ..Minute::default() };
        }
        minute
    }

    /// Lets a request in and counts it; [`RateCounter::leave`] must follow.
    ///
    /// # Errors
    /// A limit is reached: nothing is counted.
    pub fn enter(&self, terms: &RateTerms, now: UnixMicros) -> Result<(), TooFast> {
        let mut minute = self.minute(now);
        let reached = |limit: Option<u64>, count: u64| limit.filter(|limit| count >= *limit);
        let refused = |kind, limit, retry_after| Err(TooFast { kind, limit, retry_after });
        if let Some(limit) = reached(terms.rpm, minute.requests) {
            return refused(RateKind::Requests, limit, left_of_minute(now));
        }
        if let Some(limit) = reached(terms.tpm, minute.tokens) {
            return refused(RateKind::Tokens, limit, left_of_minute(now));
        }
        if let Some(limit) = reached(terms.max_parallel, minute.parallel) {
            return refused(RateKind::Parallel, limit, 1);
        }
        minute.requests += 1;
        minute.parallel += 1;
        Ok(())
    }

    /// The request is over.
    pub fn leave(&self) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        minute.parallel = minute.parallel.saturating_sub(1);
    }

    /// Takes back a request that another limit refused.
    pub fn undo(&self, began: UnixMicros) {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        minute.parallel = minute.parallel.saturating_sub(1);
        if minute.number == minute_of(began) {
            minute.requests = minute.requests.saturating_sub(1);
        }
    }

    /// Reserves tokens in the minute of `now`.
    ///
    /// # Errors
    /// As many as may be are used or reserved: none are reserved.
    pub fn reserve(&self, terms: &RateTerms, tokens: u64, now: UnixMicros) -> Result<(), TooFast> {
        let mut minute = self.minute(now);
        if let Some(limit) = terms.tpm.filter(|limit| minute.tokens >= *limit) {
            return Err(TooFast { kind: RateKind::Tokens, limit, retry_after: left_of_minute(now) });
        }
        minute.tokens = minute.tokens.saturating_add(tokens);
        Ok(())
    }

    /// Turns reserved tokens into those used.
    pub fn settle(&self, reserved: u64, used: u64, reserved_at: UnixMicros, now: UnixMicros) {
        let mut minute = self.minute(now);
        minute.tokens = minute.tokens.saturating_add(used.saturating_sub(reserved));
        if minute.number == minute_of(reserved_at) {
            minute.tokens = minute.tokens.saturating_sub(reserved.saturating_sub(used));
        }
    }

    /// What is left of the minute.
    #[must_use]
    pub fn left(&self, terms: &RateTerms, now: UnixMicros) -> RateLeft {
        let minute = self.minute(now);
        let rest = |limit: Option<u64>, used: u64| limit.map(|limit| (limit, limit.saturating_sub(used)));
        RateLeft {
            requests: rest(terms.rpm, minute.requests),
            tokens: rest(terms.tpm, minute.tokens),
            reset: left_of_minute(now),
        }
    }

    /// Nobody is in.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).parallel == 0
    }
}

fn minute_of(moment: UnixMicros) -> i64 {
    moment.0.div_euclid(MICROS_PER_MINUTE)
}

/// Whole seconds until the minute is over, at least one.
fn left_of_minute(now: UnixMicros) -> u64 {
    let left = MICROS_PER_MINUTE - now.0.rem_euclid(MICROS_PER_MINUTE);
    u64::try_from(left).unwrap_or_default().div_ceil(1_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(30_000_000 * MICROS_PER_MINUTE + 15_000_000);
    const LATER: UnixMicros = UnixMicros(NOW.0 + MICROS_PER_MINUTE);

    #[test]
    fn requests_are_counted_by_the_minute() {
        let (counter, terms) = (RateCounter::default(), RateTerms { rpm: Some(2), ..RateTerms::default() });
        assert!(counter.enter(&terms, NOW).is_ok() && counter.enter(&terms, NOW).is_ok());
        let refused = TooFast { kind: RateKind::Requests, limit: 2, retry_after: 45 };
        assert_eq!(counter.enter(&terms, NOW), Err(refused));
        assert_eq!(counter.left(&terms, NOW).requests, Some((2, 0)));
        assert!(counter.enter(&terms, LATER).is_ok());
        assert_eq!(counter.left(&terms, LATER).requests, Some((2, 1)));
    }

    #[test]
    fn requests_at_the_same_time_are_counted_until_they_leave() {
        let counter = RateCounter::default();
        let terms = RateTerms { max_parallel: Some(1), ..RateTerms::default() };
        assert!(counter.enter(&terms, NOW).is_ok());
        assert_eq!(counter.enter(&terms, LATER).unwrap_err().kind, RateKind::Parallel);
        counter.leave();
        assert!(counter.enter(&terms, LATER).is_ok());
        counter.undo(LATER);
        counter.undo(LATER);
        assert!(counter.is_idle());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up_for_longer_than_a_minute() {
        let minute = Minute { number: 100, ..Minute::default() };
        for (number, lasted, is_over) in
            [(101, 0, true), (100, 600, false), (99, 59, false), (40, 59, false), (40, 60, true)]
        {
            assert_eq!(minute.is_over_at(number, || Duration::from_secs(lasted)), is_over, "{number}");
        }
        let (counter, terms) = (RateCounter::default(), RateTerms { rpm: Some(1), ..RateTerms::default() });
        let ahead = UnixMicros(NOW.0 + 60 * MICROS_PER_MINUTE);
        assert!(counter.enter(&terms, ahead).is_ok());
        assert!(counter.enter(&terms, NOW).is_err());
        let a_minute_ago = Instant::now().checked_sub(ONE_MINUTE);
        counter.0.lock().unwrap().begun = a_minute_ago;
        assert!(counter.enter(&terms, NOW).is_ok());
        assert!(counter.enter(&terms, NOW).is_err());
    }

    #[test]
    fn tokens_are_reserved_and_settled() {
        let (counter, terms) = (RateCounter::default(), RateTerms { tpm: Some(100), ..RateTerms::default() });
        let left = |now| counter.left(&terms, now).tokens.unwrap().1;
        assert!(counter.reserve(&terms, 60, NOW).is_ok());
        assert!(counter.reserve(&terms, 60, NOW).is_ok());
        assert_eq!(counter.reserve(&terms, 1, NOW).unwrap_err().kind, RateKind::Tokens);
        counter.settle(60, 10, NOW, NOW);
        assert_eq!(left(NOW), 30);
        // What is settled a minute later gives nothing back there, and adds what was not reserved.
        counter.settle(60, 10, NOW, LATER);
        assert_eq!(left(LATER), 100);
        counter.settle(60, 80, NOW, LATER);
        assert_eq!(left(LATER), 80);
    }
}
