//! Which threads go first: those that serve requests, before those that clear away after them.

/// What a thread that clears away adds to its niceness. A thread that serves weighs three times as much on the same core:
/// low enough that requests do not wait for a batch, high enough that a core which always serves still clears away.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// Lets the threads that serve go before this one, as far as the system allows. On Linux niceness is of each thread, and
/// nobody needs a right to be nicer; elsewhere it is of the process, and stays as it is.
pub fn stand_behind_requests() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        log::debug!("this thread keeps its priority: {error}");
    }
}

/// Events after which work on a batch lets requests go that wait for the core: some 200 µs. Niceness alone does not do it:
/// whoever runs goes on for milliseconds before the system looks at who else wants to.
const EVENTS_AT_ONCE: usize = 32;
/// A batch this long is a full one (`BatchOptions::max_rows`): shipping is behind, and does not give way. Whoever gives a core
/// up that is always wanted gets it back late, and the journal would fill.
const LONG_BATCH: usize = 4_000;

/// How work on one batch gives way to requests: call [`Pace::step`] before each event.
#[derive(Debug)]
pub struct Pace {
    gives_way: bool,
    done: usize,
}

impl Pace {
    /// For a batch of so many events.
    #[must_use]
    pub fn of_batch(events: usize) -> Self {
        Self { gives_way: events < LONG_BATCH, done: 0 }
    }

    /// One event more; now and then, requests first.
    pub fn step(&mut self) {
        if self.is_due() {
            std::thread::yield_now();
        }
    }

    fn is_due(&mut self) -> bool {
        self.done += 1;
        self.gives_way && self.done.is_multiple_of(EVENTS_AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_way_unless_it_is_full() {
        for (events, due) in [(31, 0), (32, 1), (500, 15), (3_999, 124), (4_000, 0)] {
            let mut pace = Pace::of_batch(events);
            assert_eq!((0..events).filter(|_| pace.is_due()).count(), due, "{events}");
        }
    }
}
