//! A budget's arithmetic: what is spent, what is promised to requests in flight, and who is still let in.
//!
//! # The sum
//!
//! `opening + stored + pending` is held against the budget, where
//!
//! * `opening` is what was carried over, or what a reset by hand set spend to;
//! * `stored` is what the database says was spent since the window began, by every instance, as last read;
//! * `pending` is one entry for each request of this instance that the database does not hold yet: what was reserved
//!   for it while it is in flight, and what it cost once it has ended.
//!
//! | event | moves |
//! |---|---|
//! | admission | what the request could cost into `pending` (reserved) |
//! | the answer's end | `pending` becomes what it did cost (unshipped) |
//! | shipped | from `pending` to `recent`: the database has it, the last reading had not |
//! | read | `stored` is what the database says; `recent` loses what was shipped before the reading began |
//!
//! So nothing is forgotten, and nothing counts twice but what is shipped while a reading is under way: too strict until
//! the next reading, never too lax. (Readings and shippings wait for one another a little, so that this is rare.) The
//! same holds for a batch that the database took without its answer coming through. Events of earlier processes are not
//! in `pending`: they are shipped before the gateway serves.
//!
//! Requests count towards the window in which they began, and a window that has ended does not come back: a request that
//! is still being received then is refused by a hard budget, to be sent again, since nobody counts for its window any
//! more. A request whose cost stays unknown counts as its estimate, if
//! it has one, else as nothing: the database keeps the estimate beside the missing cost and adds it to what it says was
//! spent, so this outlives the process and holds on every instance, until the event is priced (`bedgate reprice`).
//! What an event cost that no database will ever hold (the journal was full, and the gateway serves all the same) is
//! kept in `lost` until the window or the process ends.
//!
//! One lock a counter, held for a few additions: the sum and the decision are one step, whatever the concurrency.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::period::{Period, Window};
use crate::domain::{Enforcement, EventId, FastMap, NanoUsd, UnixMicros, Zone};
use crate::store::limit_set::SpendReset;

/// A reading of the database older than this is taken anew before a request is let in, if the database answers.
const FRESH_MICROS: i64 = 1_000_000;

/// What a budget allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetTerms {
    /// The most that may be spent in a window; `None`: only the soft budget counts.
    pub max: Option<NanoUsd>,
    /// Beyond it, answers and the log warn.
    pub soft: Option<NanoUsd>,
    /// How often spend starts anew.
    pub period: Option<Period>,
    /// Where its days begin.
    pub zone: Zone,
    /// When that was set.
    pub set_at: UnixMicros,
    /// How strictly it is held.
    pub enforcement: Enforcement,
    /// What was spent elsewhere; counts where spend never starts anew.
    pub carried: NanoUsd,
    /// The last reset by hand.
    pub reset: Option<SpendReset>,
}

impl BudgetTerms {
    /// The window that holds a moment, and the amount it opens with.
    #[must_use]
    pub fn window(&self, now: UnixMicros) -> (Window, NanoUsd) {
        let window = self.period.map_or(Window::ALWAYS, |period| period.window(now, self.set_at, &self.zone));
        match self.reset.filter(|reset| reset.at >= window.start) {
            Some(reset) => (Window { start: reset.at, ..window }, reset.to),
            None if window.end.is_none() => (window, self.carried),
            None => (window, NanoUsd::ZERO),
        }
    }
}

/// Why a request does not fit into a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit {
    /// Spent in the window, as far as it is known.
    pub spent: NanoUsd,
    /// Reserved by requests in flight.
    pub reserved: NanoUsd,
    /// The budget.
    pub max: NanoUsd,
    /// When spend starts anew.
    pub resets_at: Option<UnixMicros>,
    /// What else is the matter.
    pub why: Misfit,
}

/// Why a request does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There is no room for it.
    NoRoom,
    /// The budget is hard, and nothing bounds what the request could cost.
    NoBound,
    /// The budget is hard, and its window ended before the request was whole, or what was spent is not known at the
    /// moment: it may be sent again.
    TryAgain,
}

/// By what a counter counts: another duration, day or reset makes other windows.
type CountedBy = (Option<Period>, UnixMicros, Option<SpendReset>);

/// A reading of the database that a budget is in want of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedReading {
    /// What was spent by requests that began at this moment or later.
    pub since: UnixMicros,
    /// There was none yet in this window.
    pub is_first: bool,
    /// There was one, be it in an earlier window: a later one starts at nothing.
    pub is_known: bool,
}

/// One holder's budget on this instance.
#[derive(Debug)]
pub struct BudgetCounter(Mutex<Tally>);

#[derive(Debug)]
struct Tally {
    window: Window,
    counted_by: CountedBy,
    opening: i64,
    stored: i64,
    /// Of the window, shipped after the last reading began: the step of the shipping, and how much.
    recent: VecDeque<(Step, i64)>,
    pending: FastMap<EventId, Pending>,
    /// Of `pending`, what began in the window: reserved, and spent but not shipped.
    reserved: i64,
    unshipped: i64,
    /// Spent by requests of the window that the database will never hold.
    lost: i64,
    read_at: Option<UnixMicros>,
    /// The step at which that reading began.
    read_step: Step,
    is_known: bool,
    soft_was_noted: bool,
}

/// The order of readings and shippings: each reading takes one when it begins, each shipping when it is done.
pub type Step = u64;

#[derive(Clone, Copy, Debug)]
struct Pending {
    began: UnixMicros,
    amount: i64,
    has_ended: bool,
}

impl Default for BudgetCounter {
    fn default() -> Self {
        Self(Mutex::new(Tally {
            window: Window { start: UnixMicros(i64::MIN), end: None },
            counted_by: (None, UnixMicros(0), None),
            opening: 0,
            stored: 0,
            recent: VecDeque::new(),
            pending: FastMap::default(),
            reserved: 0,
            unshipped: 0,
            lost: 0,
            read_at: None,
            read_step: 0,
            is_known: false,
            soft_was_noted: false,
        }))
    }
}

impl BudgetCounter {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From when on the database should be asked what was spent, where what is known is too old.
    #[must_use]
    pub fn wants_reading(&self, terms: &BudgetTerms, now: UnixMicros) -> Option<WantedReading> {
        let mut tally = self.tally();
        tally.turn_to(terms, now);
        let is_fresh = tally.read_at.is_some_and(|read| now.0.saturating_sub(read.0) < FRESH_MICROS);
        let wanted = WantedReading {
            since: tally.window.start,
            is_first: tally.read_at.is_none(),
            is_known: tally.is_known,
        };
        (!is_fresh).then_some(wanted)
    }

    /// Whether the database was ever asked: without that, nobody knows what is left.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.tally().is_known
    }

    /// The window being counted.
    #[must_use]
    pub fn window_start(&self) -> UnixMicros {
        self.tally().window.start
    }

    /// Takes in what the database held since `start`, by a reading that began at this step.
    pub fn read(&self, start: UnixMicros, stored: NanoUsd, now: UnixMicros, step: Step) {
        let mut tally = self.tally();
        if tally.window.start != start || step < tally.read_step {
            return;
        }
        tally.stored = stored.0;
        tally.recent.retain(|(shipped, _)| *shipped > step);
        (tally.read_at, tally.read_step, tally.is_known) = (Some(now), step, true);
    }

    /// Refuses where the budget is used up, whatever the request could cost.
    ///
    /// # Errors
    /// It is.
    pub fn check(&self, terms: &BudgetTerms, now: UnixMicros) -> Result<(), DoesNotFit> {
        let mut tally = self.tally();
        tally.turn_to(terms, now);
        match terms.max {
            Some(max) if tally.committed() >= max.0 => Err(tally.refusal(max, Misfit::NoRoom)),
            _ => Ok(()),
        }
    }

    /// Reserves what a request that began at this moment could cost; again, and the reservation becomes the larger of
    /// the two.
    ///
    /// # Errors
    /// It does not fit: nothing is reserved that was not before.
    pub fn reserve(
        &self,
        terms: &BudgetTerms,
        id: EventId,
        began: UnixMicros,
        could_cost: Option<NanoUsd>,
    ) -> Result<(), DoesNotFit> {
        let mut tally = self.tally();
        tally.turn_to(terms, began);
        let held = tally.pending.get(&id).map(|pending| pending.amount);
        let amount = could_cost.unwrap_or_default().0.max(held.unwrap_or_default()).max(0);
        if let Some(max) = terms.max {
            tally.require_room(terms.enforcement, max, began, held, could_cost.map(|_| amount))?;
        }
        tally.remove(id);
        tally.insert(id, Pending { began, amount, has_ended: false });
        Ok(())
    }

    /// Turns a reservation into what the request cost, to be shipped.
    pub fn settle(&self, id: EventId, cost: NanoUsd) {
        let mut tally = self.tally();
        let Some(pending) = tally.remove(id) else { return };
        if cost.0 != 0 {
            tally.insert(id, Pending { amount: cost.0, has_ended: true, ..pending });
        }
    }

    /// Gives a reservation back: the request never went to AWS.
    pub fn release(&self, id: EventId) {
        self.tally().remove(id);
    }

    /// The database holds the event since this step, and counts it with this amount.
    pub fn shipped(&self, id: EventId, counted: NanoUsd, step: Step) {
        let mut tally = self.tally();
        let Some(pending) = tally.remove(id) else { return };
        if pending.began < tally.window.start {
            return;
        }
        match tally.recent.back_mut() {
            Some((last, amount)) if *last == step => *amount = amount.saturating_add(counted.0),
            _ => tally.recent.push_back((step, counted.0)),
        }
    }

    /// The database will never hold the event: what it cost counts here, for the rest of the window.
    pub fn lost(&self, id: EventId) {
        let mut tally = self.tally();
        let Some(pending) = tally.remove(id) else { return };
        if pending.began >= tally.window.start {
            tally.lost = tally.lost.saturating_add(pending.amount);
        }
    }

    /// Whether the soft budget is exceeded, and whether this is the first time in its window.
    #[must_use]
    pub fn soft_exceeded(&self, terms: &BudgetTerms) -> Option<bool> {
        let soft = terms.soft?;
        let mut tally = self.tally();
        if tally.spent() < soft.0 {
            return None;
        }
        Some(!std::mem::replace(&mut tally.soft_was_noted, true))
    }

    /// Whether something counts that the database does not hold: the counter must not be forgotten.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        let tally = self.tally();
        !tally.pending.is_empty() || tally.lost != 0
    }
}

impl Tally {
    fn spent(&self) -> i64 {
        let recent: i64 = self.recent.iter().map(|(_, amount)| *amount).fold(0, i64::saturating_add);
        let of_this_instance = self.unshipped.saturating_add(self.lost).saturating_add(recent);
        self.opening.saturating_add(self.stored).saturating_add(of_this_instance)
    }

    fn committed(&self) -> i64 {
        self.spent().saturating_add(self.reserved)
    }

    /// Whether a request fits that began at this moment, could cost so much at the most, and holds so much already.
    fn require_room(
        &self,
        enforcement: Enforcement,
        max: NanoUsd,
        began: UnixMicros,
        held: Option<i64>,
        amount: Option<i64>,
    ) -> Result<(), DoesNotFit> {
        let others = self.committed().saturating_sub(held.unwrap_or_default());
        let misfit = match (enforcement, amount) {
            (Enforcement::Standard, _) => (held.is_none() && others >= max.0).then_some(Misfit::NoRoom),
            (Enforcement::Hard, None) => Some(Misfit::NoBound),
            (Enforcement::Hard, Some(amount)) if began < self.window.start => {
                // It holds what its own window had room for, or nothing.
                (held != Some(amount)).then_some(Misfit::TryAgain)
            }
            (Enforcement::Hard, Some(_)) if !self.is_known => Some(Misfit::TryAgain),
            (Enforcement::Hard, Some(amount)) => {
                (others.saturating_add(amount) > max.0).then_some(Misfit::NoRoom)
            }
        };
        misfit.map_or(Ok(()), |why| Err(self.refusal(max, why)))
    }

    fn refusal(&self, max: NanoUsd, why: Misfit) -> DoesNotFit {
        DoesNotFit {
            spent: NanoUsd(self.spent()),
            reserved: NanoUsd(self.reserved),
            max,
            resets_at: self.window.end,
            why,
        }
    }

    /// Goes on to the window that holds this moment, unless that one has ended. What others spent in a later one is
    /// nothing as long as the database has not been asked; an earlier one, by other terms, is unknown.
    fn turn_to(&mut self, terms: &BudgetTerms, now: UnixMicros) {
        let (window, opening) = terms.window(now);
        let counted_by = (terms.period, terms.set_at, terms.reset);
        if window.start < self.window.start && counted_by == self.counted_by {
            return;
        }
        (self.opening, self.counted_by) = (opening.0, counted_by);
        if window.start == self.window.start {
            self.window = window;
            return;
        }
        self.is_known &= window.start > self.window.start;
        self.window = window;
        (self.stored, self.read_at, self.soft_was_noted) = (0, None, false);
        (self.reserved, self.unshipped, self.lost) = (0, 0, 0);
        self.recent.clear();
        let pending = std::mem::take(&mut self.pending);
        for (id, pending) in pending {
            self.insert(id, pending);
        }
    }

    fn sum(&mut self, pending: &Pending) -> Option<&mut i64> {
        (pending.began >= self.window.start).then_some(if pending.has_ended {
            &mut self.unshipped
        } else {
            &mut self.reserved
        })
    }

    fn insert(&mut self, id: EventId, pending: Pending) {
        if let Some(sum) = self.sum(&pending) {
            *sum = sum.saturating_add(pending.amount);
        }
        self.pending.insert(id, pending);
    }

    fn remove(&mut self, id: EventId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(sum) = self.sum(&pending) {
            *sum = sum.saturating_sub(pending.amount);
        }
        Some(pending)
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
