//! The SpendLedger actor: reads the journal, ships it in batches into the store, gives its space back.

mod batch;
mod options;
mod segments;
mod sink;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture,
    WrapFuture as _,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::batch::Batcher;
use self::state::Counters;
use crate::event::PackedEvent;
use crate::journal::{Entry, Journal, JournalFull, JournalPermit, JournalReader, Record, SegmentId};
use crate::priority;

pub use self::options::{BatchOptions, LedgerOptions};
pub use self::sink::{ShipError, SpendSink};
pub use self::state::{Drained, LedgerState};

/// Why the ledger cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No room for another request in the journal: answer 503.
    #[error(transparent)]
    Full(#[from] JournalFull),
    /// The actor has died: what is in the journal is shipped at the next start.
    #[error("the ledger has stopped")]
    Stopped,
}

/// What the rest of the house sees of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerHandle {
    addr: Addr<SpendLedger>,
    journal: Journal,
    counters: Arc<Counters>,
    wake_every: u64,
    writers_grace: Duration,
}

impl LedgerHandle {
    /// Starts the ledger on a thread of its own. Call it within an actix system, once for a journal.
    ///
    /// # Errors
    /// When the journal's directory cannot be listed.
    pub fn start(journal: Journal, sink: SpendSink, options: LedgerOptions) -> io::Result<Self> {
        let arbiter = actix::Arbiter::new().handle();
        arbiter.spawn_fn(priority::stand_behind_requests);
        Self::start_on(&arbiter, journal, sink, options)
    }

    fn start_on(
        arbiter: &actix::ArbiterHandle,
        journal: Journal,
        sink: SpendSink,
        options: LedgerOptions,
    ) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        counters.is_alive.store(true, Ordering::Release);
        let (wake_every, writers_grace) = (options.wake_every, options.writers_grace);
        let reader = journal.reader()?;
        counters.is_recovering.store(reader.is_recovering(), Ordering::Release);
        let ledger = SpendLedger {
            reader,
            batcher: Batcher::new(options.batch.clone()),
            journal: journal.clone(),
            life: Life(Arc::clone(&counters)),
            sink,
            options,
            started: Instant::now(),
            is_caught_up: false,
            is_reading_on: false,
            drains: Vec::new(),
            unremoved: Vec::new(),
        };
        let addr = SpendLedger::start_in_arbiter(arbiter, |_| ledger);
        Ok(Self { addr, journal, counters, wake_every, writers_grace })
    }

    /// Asks for room for one more request. Keep the permit until its end is in the journal, then hand it to
    /// [`LedgerHandle::record`].
    ///
    /// # Errors
    /// [`LedgerError::Full`]: answer 503.
    pub fn reserve(&self) -> Result<JournalPermit, LedgerError> {
        Ok(self.journal.reserve()?)
    }

    /// Tells the ledger that the end of a request is in the journal. Costs nothing but for one call in `wake_every`,
    /// which wakes the ledger's thread.
    pub fn record(&self, permit: JournalPermit) {
        drop(permit);
        let ended = self.journal.ended_written();
        let nudged_at = &self.counters.nudged_at;
        let last = nudged_at.load(Ordering::Relaxed);
        let is_due = ended.saturating_sub(last) >= self.wake_every;
        if is_due && nudged_at.compare_exchange(last, ended, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            #[expect(clippy::disallowed_methods, reason = "the actor's own file")]
            self.addr.do_send(Wake);
        }
    }

    /// Ships everything that ended; call it when all requests have ended. Waits a moment until all writers are
    /// dropped. Returns when nothing more can be shipped, or at the deadline.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`] when the actor has died.
    pub async fn drain(&self, deadline: Duration) -> Result<Drained, LedgerError> {
        let writers_gone_by = Instant::now() + self.writers_grace.min(deadline);
        while self.journal.live_writers() > 0 && Instant::now() < writers_gone_by {
            tokio::time::sleep(WRITERS_POLL).await;
        }
        #[expect(clippy::disallowed_methods, reason = "the actor's own file")]
        let asked = self.addr.send(Drain { deadline });
        let answer = tokio::time::timeout(deadline + ANSWER_GRACE, asked).await;
        answer.map_err(|_late| LedgerError::Stopped)?.map_err(|_dead| LedgerError::Stopped)?
    }

    /// How the ledger is, from counters: asks nobody.
    #[must_use]
    pub fn state(&self) -> LedgerState {
        let mut state = self.counters.state(&self.journal);
        state.is_alive &= self.addr.connected();
        state
    }
}

/// How often a drain looks whether all writers are dropped.
const WRITERS_POLL: Duration = Duration::from_millis(2);
/// How long after the deadline of a drain its answer may come.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// How soon the journal is looked into again while there is more than one look took.
const READ_ON_AFTER: Duration = Duration::from_millis(1);
/// How often the store is asked while a drain waits for it.
const DRAIN_RETRY: Duration = Duration::from_millis(500);

/// The actor.
struct SpendLedger {
    journal: Journal,
    reader: JournalReader,
    batcher: Batcher,
    sink: SpendSink,
    options: LedgerOptions,
    life: Life,
    started: Instant,
    is_caught_up: bool,
    is_reading_on: bool,
    drains: Vec<PendingDrain>,
    /// Segments whose removal failed: bytes that the journal counts until it succeeds.
    unremoved: Vec<(SegmentId, bool)>,
}

struct PendingDrain {
    until: Instant,
    answer: oneshot::Sender<Drained>,
}

/// Says that the actor is gone, also when a panic took it.
struct Life(Arc<Counters>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.is_alive.store(false, Ordering::Release);
    }
}

/// There is a batch's worth to read.
struct Wake;

impl Message for Wake {
    type Result = ();
}

/// Ship everything.
struct Drain {
    deadline: Duration,
}

impl Message for Drain {
    type Result = Result<Drained, LedgerError>;
}

impl Actor for SpendLedger {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.options.flush_interval, |ledger, ctx| ledger.turn(true, ctx));
        self.turn(true, ctx);
    }
}

impl Handler<Wake> for SpendLedger {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.turn(false, ctx);
    }
}

impl Handler<Drain> for SpendLedger {
    type Result = ResponseFuture<Result<Drained, LedgerError>>;

    fn handle(&mut self, Drain { deadline }: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.drains.push(PendingDrain { until: Instant::now() + deadline, answer });
        ctx.run_later(deadline, |ledger, ctx| ledger.turn(true, ctx));
        ctx.run_interval(DRAIN_RETRY, |ledger, ctx| {
            ledger.batcher.hurry();
            ledger.turn(true, ctx);
        });
        self.batcher.hurry();
        self.turn(true, ctx);
        Box::pin(async move { answered.await.map_err(|_dead| LedgerError::Stopped) })
    }
}

impl SpendLedger {
    /// One turn of the wheel: ship what is full, read, ship, set aside, give space back. Never waits but for the local
    /// disk.
    fn turn(&mut self, flush: bool, ctx: &mut Context<Self>) {
        // First of all, so that the store works while this thread reads on.
        self.ship_next(false, ctx);
        self.read(ctx);
        self.set_rejected_aside();
        self.ship_next(flush || !self.drains.is_empty(), ctx);
        self.remove_done_segments();
        self.publish(flush);
        self.answer_drains();
    }

    fn ship_next(&mut self, flush: bool, ctx: &mut Context<Self>) {
        if let Some(batch) = self.batcher.next_batch(self.started.elapsed(), flush) {
            self.ship(batch, ctx);
        }
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        let room = self.batcher.room();
        let reading = self.reader.read(room);
        self.is_caught_up = reading.is_caught_up;
        let counters = &self.life.0;
        counters.unreadable_bytes.fetch_add(reading.unreadable_bytes, Ordering::Relaxed);
        for entry in reading.entries {
            if let Entry::Record(segment, Record::Ended(_)) = &entry
                && self.journal.is_own(*segment)
            {
                counters.ended_read.fetch_add(1, Ordering::Relaxed);
            }
            if let Some((segment, ended)) = self.batcher.take_in(entry) {
                counters.orphaned.fetch_add(1, Ordering::Relaxed);
                if counters.unreadable_bytes.load(Ordering::Relaxed) > 0 {
                    log::error!(
                        "event {} has an end but no beginning; segment {segment} is kept",
                        ended.id()
                    );
                    self.batcher.mark_damaged(segment);
                }
            }
        }
        let has_more = !reading.is_caught_up && !reading.has_failed && self.batcher.room() > 0;
        if has_more && !self.is_reading_on {
            self.is_reading_on = true;
            ctx.run_later(READ_ON_AFTER, |ledger, ctx| {
                ledger.is_reading_on = false;
                ledger.turn(false, ctx);
            });
        }
    }

    fn ship(&mut self, batch: Arc<Vec<PackedEvent>>, ctx: &mut Context<Self>) {
        let count = batch.len() as u64;
        let shipping = tokio::time::timeout(self.options.ship_timeout, (self.sink)(batch));
        let shipped = shipping.into_actor(self).map(move |result, ledger, ctx| {
            let late = || Err(ShipError::Unavailable("no answer in time".to_owned()));
            ledger.settle(count, result.unwrap_or_else(|_elapsed| late()));
            ledger.turn(false, ctx);
        });
        ctx.spawn(shipped);
    }

    fn settle(&mut self, count: u64, result: Result<u64, ShipError>) {
        let counters = &self.life.0;
        match &result {
            Ok(inserted) => {
                counters.shipped.fetch_add(count, Ordering::Relaxed);
                counters.inserted.fetch_add(*inserted, Ordering::Relaxed);
                counters.set_error(None);
            }
            Err(error) => {
                log::warn!("batch of {count} events not shipped, it stays in the journal: {error}");
                counters.failed_batches.fetch_add(1, Ordering::Relaxed);
                counters.set_error(Some(error.to_string()));
            }
        }
        self.batcher.settle(result.map(|_inserted| ()), self.started.elapsed(), rand::random());
    }

    fn set_rejected_aside(&mut self) {
        let (mut lines, mut count) = (String::new(), 0);
        for (event, reason) in self.batcher.rejected() {
            log::error!("event {} is refused by the store and set aside: {reason}", event.id());
            let event = event.view().map(|event| event.to_event());
            let (begun, ended) = event.map(|event| (event.begun, event.ended)).unzip();
            let line = serde_json::json!({ "reason": reason, "begun": begun, "ended": ended });
            lines.push_str(&format!("{line}\n"));
            count += 1;
        }
        if count == 0 {
            return;
        }
        match self.journal.set_aside(&lines) {
            Ok(()) => {
                self.batcher.rejected_are_aside();
                self.life.0.set_aside.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => log::error!("{count} refused events cannot be set aside, they stay: {error}"),
        }
    }

    fn remove_done_segments(&mut self) {
        let again = std::mem::take(&mut self.unremoved).into_iter().map(|done| (done, true));
        let new = self.batcher.take_done_segments().into_iter().map(|done| (done, false));
        for ((segment, is_damaged), was_tried) in again.chain(new.collect::<Vec<_>>()) {
            if let Err(error) = self.journal.remove_segment(segment, is_damaged) {
                if !was_tried {
                    log::error!(
                        "journal segment {segment} is shipped but cannot be removed; it is tried again: {error}"
                    );
                }
                self.unremoved.push((segment, is_damaged));
            }
        }
    }

    /// `in_full`: also what must be looked for among all that is held.
    fn publish(&self, in_full: bool) {
        let counters = &self.life.0;
        counters.held.store(self.batcher.held() as u64, Ordering::Relaxed);
        // After what is held: who sees that nothing is recovered any more sees what came of it, too.
        counters.is_recovering.store(self.reader.is_recovering(), Ordering::Release);
        counters.open.store(self.batcher.open() as u64, Ordering::Relaxed);
        if in_full || self.batcher.held() == 0 {
            let oldest = self.batcher.oldest_ended_at().map_or(0, |ended_at| ended_at.0);
            counters.oldest_ended_at.store(oldest, Ordering::Relaxed);
        }
    }

    fn answer_drains(&mut self) {
        if self.drains.is_empty() {
            return;
        }
        let counters = &self.life.0;
        let left = counters.depth(&self.journal);
        let is_stuck = left == self.batcher.suspects() as u64;
        let is_done = self.is_caught_up && is_stuck;
        let drained = Drained {
            shipped: counters.shipped.load(Ordering::Relaxed),
            left,
            open: self.batcher.open() as u64,
            is_unread: !self.is_caught_up,
        };
        let now = Instant::now();
        for drain in self.drains.extract_if(.., |drain| is_done || now >= drain.until) {
            let _asker_left = drain.answer.send(drained);
        }
    }
}
