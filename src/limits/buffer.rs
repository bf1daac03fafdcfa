//! How many request bytes all requests together may hold in memory, and of these how many one key's may, and those of
//! nobody yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::Caller;
use crate::config::LimitsConfig;
use crate::domain::{FastMap, KeyHash};

/// Keys are spread over so many maps, so that few requests meet at one lock.
const SHARDS: usize = 16;

/// A bound on buffered request bytes, shared by every worker.
#[derive(Debug)]
pub struct BufferBudget {
    all: Pool,
    unproven: Pool,
    /// Bytes of each key that holds any.
    keys: [Mutex<FastMap<KeyHash, usize>>; SHARDS],
    limit_per_key: usize,
}

#[derive(Debug)]
struct Pool {
    held: AtomicUsize,
    limit: usize,
}

/// For whom bytes are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// For a request whose signature can be checked only when all of its body is there: anybody who knows an access key
    /// id can send one.
    Unproven,
    /// For a virtual key.
    Key(KeyHash),
    /// For the administrator, or for anybody while no master key is set.
    Unlimited,
}

/// Which bound has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferIsFull {
    /// That of all requests.
    #[error("the gateway holds as many request bytes as it may (bedgate_settings.limits.max_buffered)")]
    All,
    /// That of one key.
    #[error(
        "the gateway holds as many request bytes of this key as it may (bedgate_settings.limits.max_buffered_per_key)"
    )]
    Key,
    /// That of requests whose caller is not proven.
    #[error(
        "the gateway holds as many request bytes as it may of signatures that only the body can prove \
         (bedgate_settings.limits.max_buffered_unproven)"
    )]
    Unproven,
}

impl Holder {
    /// A caller who is known.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        caller.key().map_or(Self::Unlimited, |key| Self::Key(key.payer()))
    }
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self { held: AtomicUsize::new(0), limit }
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl BufferBudget {
    /// The budget that the limits set.
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self {
            all: Pool::new(limits.max_buffered_bytes),
            unproven: Pool::new(limits.max_buffered_unproven_bytes),
            keys: std::array::from_fn(|_| Mutex::default()),
            limit_per_key: limits.max_buffered_per_key_bytes,
        })
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.all.held.load(Ordering::Relaxed)
    }

    /// The account of one request: empty at first, given back when dropped.
    #[must_use]
    pub fn account(self: &Arc<Self>, holder: Holder) -> BufferedBytes {
        BufferedBytes { budget: Arc::clone(self), holder, bytes: 0 }
    }

    fn take_for(&self, holder: Holder, bytes: usize) -> Result<(), BufferIsFull> {
        let (fits, bound) = match holder {
            Holder::Unlimited => (true, BufferIsFull::All),
            Holder::Unproven => (self.unproven.take(bytes), BufferIsFull::Unproven),
            Holder::Key(key) => (self.take_for_key(&key, bytes), BufferIsFull::Key),
        };
        if fits { Ok(()) } else { Err(bound) }
    }

    fn give_back_of(&self, holder: Holder, bytes: usize) {
        match holder {
            Holder::Unlimited => {}
            Holder::Unproven => self.unproven.give_back(bytes),
            Holder::Key(key) => self.give_back_of_key(&key, bytes),
        }
    }

    fn shard(&self, key: &KeyHash) -> Option<&Mutex<FastMap<KeyHash, usize>>> {
        let [first, ..] = key.0;
        self.keys.get(usize::from(first) % SHARDS)
    }

    fn take_for_key(&self, key: &KeyHash, bytes: usize) -> bool {
        let Some(shard) = self.shard(key) else { return true };
        let mut held = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(key).copied().unwrap_or_default();
        let after = before.saturating_add(bytes);
        let fits = after <= self.limit_per_key;
        if fits {
            held.insert(*key, after);
        }
        fits
    }

    fn give_back_of_key(&self, key: &KeyHash, bytes: usize) {
        let Some(shard) = self.shard(key) else { return };
        let mut held = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_key) = held.get_mut(key) {
            *of_key = of_key.saturating_sub(bytes);
            if *of_key == 0 {
                held.remove(key);
            }
        }
    }
}

/// What one request holds of a [`BufferBudget`].
#[derive(Debug)]
pub struct BufferedBytes {
    budget: Arc<BufferBudget>,
    holder: Holder,
    bytes: usize,
}

impl BufferedBytes {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// A bound has not that much left; then nothing is taken.
    pub fn take(&mut self, bytes: usize) -> Result<(), BufferIsFull> {
        if bytes == 0 {
            return Ok(());
        }
        self.budget.take_for(self.holder, bytes)?;
        if !self.budget.all.take(bytes) {
            self.budget.give_back_of(self.holder, bytes);
            return Err(BufferIsFull::All);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Says whose bytes they are, once that is known.
    ///
    /// # Errors
    /// The holder may not have that much more; it stays whose it was.
    pub fn belongs_to(&mut self, holder: Holder) -> Result<(), BufferIsFull> {
        if holder != self.holder && self.bytes > 0 {
            self.budget.take_for(holder, self.bytes)?;
            self.budget.give_back_of(self.holder, self.bytes);
        }
        self.holder = holder;
        Ok(())
    }
}

impl Drop for BufferedBytes {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back_of(self.holder, self.bytes);
            self.budget.all.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(all: usize, per_key: usize, unproven: usize) -> Arc<BufferBudget> {
        BufferBudget::new(&LimitsConfig {
            max_buffered_bytes: all,
            max_buffered_per_key_bytes: per_key,
            max_buffered_unproven_bytes: unproven,
            ..LimitsConfig::default()
        })
    }

    #[test]
    fn what_is_taken_comes_back_and_the_limit_holds() {
        let budget = budget(10, 10, 10);
        let mut first = budget.account(Holder::Unlimited);
        let mut second = budget.account(Holder::Unlimited);
        assert_eq!(first.take(6), Ok(()));
        assert_eq!(second.take(5), Err(BufferIsFull::All));
        assert_eq!(second.take(4), Ok(()));
        assert_eq!(budget.held(), 10);
        drop(first);
        assert_eq!(second.take(6), Ok(()));
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn invariant_8_neither_one_key_nor_nobody_can_take_all() {
        let budget = budget(20, 8, 5);
        let (one, other) = (Holder::Key(KeyHash::of("one")), Holder::Key(KeyHash::of("other")));
        let mut of_one = [budget.account(one), budget.account(one)];
        assert_eq!(of_one[0].take(5), Ok(()));
        assert_eq!(of_one[1].take(4), Err(BufferIsFull::Key));
        assert_eq!(of_one[1].take(3), Ok(()));
        let mut of_nobody = budget.account(Holder::Unproven);
        assert_eq!(of_nobody.take(6), Err(BufferIsFull::Unproven));
        assert_eq!(of_nobody.take(5), Ok(()));
        let mut of_other = budget.account(other);
        assert_eq!(of_other.take(8), Err(BufferIsFull::All));
        assert_eq!(of_other.take(7), Ok(()));
        drop(of_other);

        assert_eq!(of_nobody.belongs_to(one), Err(BufferIsFull::Key));
        assert_eq!(of_nobody.belongs_to(other), Ok(()));
        assert_eq!(budget.account(Holder::Unproven).take(5), Ok(()));
        assert_eq!(budget.account(other).take(4), Err(BufferIsFull::Key));
        drop((of_one, of_nobody));
        assert_eq!(budget.held(), 0);
        assert!(budget.keys.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
