//! How many request bytes all requests together may hold in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on buffered request bytes, shared by every worker.
#[derive(Debug)]
pub struct BufferBudget {
    held: AtomicUsize,
    limit: usize,
}

impl BufferBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), limit })
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The account of one request: empty at first, given back when dropped.
    #[must_use]
    pub fn account(self: &Arc<Self>) -> BufferedBytes {
        BufferedBytes { budget: Arc::clone(self), bytes: 0 }
    }
}

/// What one request holds of a [`BufferBudget`].
#[derive(Debug)]
pub struct BufferedBytes {
    budget: Arc<BufferBudget>,
    bytes: usize,
}

impl BufferedBytes {
    /// Takes `bytes` more; `false` if the budget has not that much left, and then nothing is taken.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.budget.limit;
        if fits {
            self.bytes += bytes;
        } else {
            self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for BufferedBytes {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_the_limit_holds() {
        let budget = BufferBudget::new(10);
        let mut first = budget.account();
        let mut second = budget.account();
        assert!(first.take(6));
        assert!(!second.take(5));
        assert!(second.take(4));
        assert_eq!(budget.held(), 10);
        drop(first);
        assert!(second.take(6));
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
