//! The bounds of the ledger.

use std::time::Duration;

/// The bounds of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// Batches, memory and waits.
    pub batch: BatchOptions,
    /// How long an event waits for others before it is shipped. Too low: many small transactions; too high: spend is
    /// seen late.
    pub flush_interval: Duration,
    /// So many ended requests wake the ledger before its interval.
    pub wake_every: u64,
    /// A batch that takes longer has failed.
    pub ship_timeout: Duration,
    /// How long a drain waits for writers that are on their way out: a worker's thread outlives its server by a
    /// little. What they write later is shipped at the next start.
    pub writers_grace: Duration,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            batch: BatchOptions::default(),
            flush_interval: Duration::from_millis(250),
            wake_every: 1_000,
            ship_timeout: Duration::from_secs(30),
            writers_grace: Duration::from_secs(5),
        }
    }
}

/// The bounds of batches and waits.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Events in one batch, at the most: one transaction of the store. Too low: each costs more; too high: whoever else
    /// writes to the store waits long for it (4,000 take it some tens of milliseconds).
    pub max_rows: usize,
    /// Events held in memory, about 1.5 KiB each; beyond it the journal is read no further. Below three batches the
    /// reader waits for the store and the store for the reader.
    pub max_held: usize,
    /// Wait after the first failure of the store; doubled after each further one.
    pub first_wait: Duration,
    /// The longest wait.
    pub max_wait: Duration,
    /// Events that the store refused each alone while it accepted none: so many mean that the store is at fault,
    /// not the events.
    pub max_suspects: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            max_rows: 4_000,
            max_held: 12_000,
            first_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(30),
            max_suspects: 16,
        }
    }
}
