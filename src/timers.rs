//! Timers that are used again. A new timer of tokio's takes a lock to enter the wheel and one to leave it; one that is
//! there already and only moved to later takes none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Timers kept for later at the most; more than that were in use at once, and go.
const MAX_SPARE: usize = 256;

/// The timers of one worker thread; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    spare: Rc<RefCell<Vec<Pin<Box<Sleep>>>>>,
}

/// A timer in use.
#[derive(Debug)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    timers: Timers,
}

impl Timers {
    /// A timer that has not been set: it is not ready.
    #[must_use]
    pub fn timer(&self) -> Timer {
        Timer { sleep: None, timers: self.clone() }
    }

    /// The output of `work`, or `None` where it takes longer than this.
    pub async fn limit<F: Future>(&self, duration: Duration, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        let mut timer = self.timer();
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                if !timer.is_set() {
                    timer.set(duration);
                }
                timer.poll(cx).map(|()| None)
            }
        })
        .await
    }
}

impl Timer {
    /// Whether it was ever set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.sleep.is_some()
    }

    /// Ready after this time, counted from now.
    pub fn set(&mut self, duration: Duration) {
        // Far beyond any setting, and short enough never to overflow.
        let deadline = Instant::now() + duration.min(Duration::from_secs(30 * 86_400));
        if self.sleep.is_none() {
            self.sleep = self.timers.spare.borrow_mut().pop();
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
        }
    }

    /// Ready once the time it was set to has come.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(sleep) = self.sleep.take() else { return };
        if let Ok(mut spare) = self.timers.spare.try_borrow_mut()
            && spare.len() < MAX_SPARE
        {
            spare.push(sleep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    #[actix_rt::test]
    async fn work_is_limited_and_a_timer_serves_again_for_longer_and_for_shorter() {
        let timers = Timers::default();
        for limit in [2, 5, 1] {
            let started = Instant::now();
            assert_eq!(timers.limit(limit * MOMENT, std::future::pending::<()>()).await, None);
            assert!(started.elapsed() >= limit * MOMENT);
            assert_eq!(timers.limit(1_000 * MOMENT, tokio::time::sleep(MOMENT)).await, Some(()));
        }
        assert_eq!(timers.spare.borrow().len(), 1);
    }

    #[actix_rt::test]
    async fn work_that_is_done_at_once_needs_no_timer() {
        let timers = Timers::default();
        assert_eq!(timers.limit(Duration::ZERO, std::future::ready(7)).await, Some(7));
        assert!(timers.spare.borrow().is_empty());
        assert_eq!(timers.limit(Duration::MAX, tokio::time::sleep(MOMENT)).await, Some(()));
    }
}
