//! Which events go to the store next, and which segments are done with: no actor, no clock, no io.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{EventId, FastMap, UnixMicros};
use crate::event::{PackedBegun, PackedEnded, PackedEvent};
use crate::journal::{Entry, Record, SegmentId, WriterId};
use crate::ledger::options::BatchOptions;
use crate::ledger::segments::{Places, SegmentBook};
use crate::ledger::sink::ShipError;

/// Joins beginnings and ends, makes batches one at a time, and knows what each segment still holds.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    options: BatchOptions,
    open: FastMap<EventId, Open>,
    ready: VecDeque<Unshipped>,
    /// Batches that failed, to be tried again as they were, and halves of batches that were rejected.
    again: Vec<Vec<Unshipped>>,
    in_flight: Option<InFlight>,
    /// Rejected each alone, while nothing else was accepted.
    suspects: Vec<Rejected>,
    /// The store has accepted something since it last failed, or refused a batch for the first time: what it refuses
    /// now is at fault itself.
    has_accepted: bool,
    /// To be set aside.
    rejected: Vec<Rejected>,
    segments: SegmentBook,
    failures: u32,
    not_before: Duration,
}

/// An event that the store refuses for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    /// The event, and where it stands in the journal.
    unshipped: Unshipped,
    /// The store's reason.
    pub(super) reason: String,
}

#[derive(Debug)]
struct Open {
    begun: PackedBegun,
    segment: SegmentId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Unshipped {
    event: PackedEvent,
    places: Places,
}

#[derive(Debug)]
struct InFlight {
    /// Sent for the first time.
    is_first: bool,
    events: Arc<Vec<PackedEvent>>,
    places: Vec<Places>,
}

impl Batcher {
    /// With these bounds.
    #[must_use]
    pub(super) fn new(options: BatchOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes in what the journal gave. Returns an end whose beginning was not met: shipped before the last death of the
    /// process and removed with its segment, or unreadable.
    pub(super) fn take_in(&mut self, entry: Entry) -> Option<(SegmentId, PackedEnded)> {
        match entry {
            Entry::Record(segment, Record::Begun(begun)) => self.begin(segment, begun),
            Entry::Record(segment, Record::Ended(ended)) => return self.end(segment, ended),
            Entry::SegmentFinished { segment, is_damaged } => {
                self.segments.finish(segment, is_damaged);
            }
            Entry::WriterOver(writer) => self.interrupt(writer),
        }
        None
    }

    /// How many more events may be held.
    #[must_use]
    pub(super) fn room(&self) -> usize {
        self.options.max_held.saturating_sub(self.held())
    }

    /// Events that ended and are not in the store.
    #[must_use]
    pub(super) fn held(&self) -> usize {
        let in_flight = self.in_flight.as_ref().map_or(0, |batch| batch.places.len());
        let again: usize = self.again.iter().map(Vec::len).sum();
        self.ready.len() + again + in_flight + self.suspects.len() + self.rejected.len()
    }

    /// Requests that began and did not end.
    #[must_use]
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Events that are held only because the store refused them and has accepted nothing since.
    #[must_use]
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// When the oldest of the held events ended.
    #[must_use]
    pub(super) fn oldest_ended_at(&self) -> Option<UnixMicros> {
        let waiting = self.ready.iter().chain(self.again.iter().flatten());
        let refused = self.suspects.iter().chain(&self.rejected).map(|rejected| &rejected.unshipped);
        let in_flight = self.in_flight.iter().flat_map(|batch| batch.events.iter());
        waiting
            .chain(refused)
            .map(|unshipped| &unshipped.event)
            .chain(in_flight)
            .map(PackedEvent::ended_at)
            .min()
    }

    /// The next batch, if one is due: full, or `flush`; none while another is in flight or the store is given time.
    pub(super) fn next_batch(&mut self, now: Duration, flush: bool) -> Option<Arc<Vec<PackedEvent>>> {
        if self.in_flight.is_some() || now < self.not_before {
            return None;
        }
        let is_first = self.again.is_empty();
        let (events, places) = match self.again.pop() {
            Some(batch) => apart(batch.into_iter()),
            None => {
                let is_due = self.ready.len() >= self.options.max_rows || (flush && !self.ready.is_empty());
                let count = is_due.then(|| self.ready.len().min(self.options.max_rows))?;
                apart(self.ready.drain(..count))
            }
        };
        let events = Arc::new(events);
        self.in_flight = Some(InFlight { is_first, events: Arc::clone(&events), places });
        Some(events)
    }

    /// Takes in what became of the batch in flight. `jitter`, from 0 to 1, spreads the waits of several gateways.
    pub(super) fn settle(&mut self, result: Result<(), ShipError>, now: Duration, jitter: f64) {
        let Some(batch) = self.in_flight.take() else { return };
        match result {
            Ok(()) => {
                self.failures = 0;
                self.has_accepted = true;
                self.segments.release_all(&batch.places);
                self.rejected.append(&mut self.suspects);
            }
            Err(ShipError::Unavailable(_)) => {
                self.has_accepted = false;
                self.again.push(batch.into_unshipped());
                self.wait(now, jitter);
            }
            Err(ShipError::Rejected(reason)) => {
                self.has_accepted &= !batch.is_first;
                self.reject(batch.into_unshipped(), &reason, now, jitter);
            }
        }
    }

    /// The store is asked again at once.
    pub(super) fn hurry(&mut self) {
        self.not_before = Duration::ZERO;
    }

    /// What must be set aside so that the rest can go on. Call [`Batcher::rejected_are_aside`] once they are.
    pub(super) fn rejected(&self) -> impl Iterator<Item = (&PackedEvent, &str)> {
        self.rejected.iter().map(|rejected| (&rejected.unshipped.event, rejected.reason.as_str()))
    }

    /// They are on the disk elsewhere: their segments no longer hold them.
    pub(super) fn rejected_are_aside(&mut self) {
        for rejected in std::mem::take(&mut self.rejected) {
            self.segments.release(rejected.unshipped.places);
        }
    }

    /// Keeps the segment for the operator when it is done with.
    pub(super) fn mark_damaged(&mut self, segment: SegmentId) {
        self.segments.mark_damaged(segment);
    }

    /// The segments that are read to the end and hold nothing the store does not have; and whether each is damaged.
    pub(super) fn take_done_segments(&mut self) -> Vec<(SegmentId, bool)> {
        self.segments.take_done()
    }

    fn begin(&mut self, segment: SegmentId, begun: PackedBegun) {
        self.segments.hold(segment);
        let replaced = self.open.insert(begun.id(), Open { begun, segment });
        if let Some(twin) = replaced {
            self.segments.release(Places { begun: twin.segment, ended: None });
        }
    }

    fn end(&mut self, segment: SegmentId, ended: PackedEnded) -> Option<(SegmentId, PackedEnded)> {
        let Some(open) = self.open.remove(&ended.id()) else { return Some((segment, ended)) };
        self.segments.hold(segment);
        let places = Places { begun: open.segment, ended: Some(segment) };
        self.ready.push_back(Unshipped { event: PackedEvent::whole(open.begun, ended), places });
        None
    }

    fn interrupt(&mut self, writer: WriterId) {
        let is_left = |_: &EventId, open: &mut Open| open.segment.writer == writer;
        let mut left: Vec<Open> = self.open.extract_if(is_left).map(|(_, open)| open).collect();
        left.sort_by_key(|open| open.begun.id());
        for Open { begun, segment } in left {
            let places = Places { begun: segment, ended: None };
            self.ready.push_back(Unshipped { event: PackedEvent::interrupted(begun), places });
        }
    }

    /// A batch that the store will never take is halved until the guilty event stands alone.
    fn reject(&mut self, mut batch: Vec<Unshipped>, reason: &str, now: Duration, jitter: f64) {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.again.extend([second, batch]);
            return;
        }
        let guilty = batch.into_iter().map(|unshipped| Rejected { unshipped, reason: reason.to_owned() });
        if self.has_accepted {
            self.rejected.extend(guilty);
            return;
        }
        self.suspects.extend(guilty);
        if self.suspects.len() >= self.options.max_suspects {
            for suspect in self.suspects.drain(..).rev() {
                self.ready.push_front(suspect.unshipped);
            }
            self.wait(now, jitter);
        }
    }

    fn wait(&mut self, now: Duration, jitter: f64) {
        let doubled = self.options.first_wait.saturating_mul(1 << self.failures.min(20));
        let longest = doubled.min(self.options.max_wait);
        self.not_before = now + longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.failures = self.failures.saturating_add(1);
    }
}

/// Of a known number, so that the memory for all of them is taken at once.
fn apart(batch: impl ExactSizeIterator<Item = Unshipped>) -> (Vec<PackedEvent>, Vec<Places>) {
    let (mut events, mut places) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for unshipped in batch {
        events.push(unshipped.event);
        places.push(unshipped.places);
    }
    (events, places)
}

impl InFlight {
    fn into_unshipped(self) -> Vec<Unshipped> {
        let events = Arc::unwrap_or_clone(self.events);
        events.into_iter().zip(self.places).map(|(event, places)| Unshipped { event, places }).collect()
    }
}

#[cfg(test)]
mod tests;
