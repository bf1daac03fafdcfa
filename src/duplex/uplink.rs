//! The client's side of a stream that goes both ways: its events, one by one, as they were before they were put into
//! envelopes. Nothing is read ahead of what AWS takes.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;

use super::UploadFault;
use super::envelope::Envelope;
use super::frames::FrameSplitter;
use crate::domain::UnixMicros;
use crate::limits::{BufferBudget, BufferedBytes, Holder};
use crate::sign::event_chain::EventChain;

/// How far the time of an event's signature may be from now, as at AWS.
const MAX_SKEW_MINUTES: i64 = 5;

/// Whether the next event of a client may go on; why not.
pub type Guard = Box<dyn Fn() -> Result<(), String>>;

/// What arrives from a client, as it arrives.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<Bytes, String>>>>;

/// What a client's events must be like.
#[derive(Debug)]
pub struct UplinkTerms {
    /// The largest frame, in bytes.
    pub max_event: usize,
    /// Checks each event's signature; `None`: nobody can.
    pub chain: Option<EventChain>,
    /// The head says that events come in envelopes.
    pub is_signed: bool,
    /// Bounds what is held of a frame until all of it is there.
    pub buffer: Arc<BufferBudget>,
    /// For whom it is held.
    pub holder: Holder,
}

/// The events of one request. Shared by the way to AWS, which takes them, and the answer, which ends with them.
pub struct Uplink {
    events: RefCell<Events>,
    /// Which try at AWS takes them.
    turn: Cell<u32>,
    guard: RefCell<Option<Guard>>,
    has_sent: Cell<bool>,
    /// Set by every event, for who watches over silence.
    is_active: Cell<bool>,
    /// No event is taken for now.
    is_paused: Cell<bool>,
    end: RefCell<Option<Result<(), UploadFault>>>,
    sender: Cell<Option<Waker>>,
    watcher: Cell<Option<Waker>>,
}

/// What is known of a client's frames.
struct Events {
    incoming: Option<Incoming>,
    splitter: FrameSplitter,
    form: Form,
    terms: UplinkTerms,
    held: Option<BufferedBytes>,
}

/// Whether the frames are envelopes: the first one tells, and the others must be like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Unknown,
    Plain,
    Enveloped,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Uplink {
    /// The events in what arrives.
    #[must_use]
    pub fn new(incoming: Incoming, terms: UplinkTerms) -> Self {
        let form = if terms.is_signed || terms.chain.is_some() { Form::Enveloped } else { Form::Unknown };
        let splitter = FrameSplitter::new(terms.max_event);
        let events = Events { incoming: Some(incoming), splitter, form, terms, held: None };
        Self {
            events: RefCell::new(events),
            turn: Cell::new(0),
            guard: RefCell::new(None),
            has_sent: Cell::new(false),
            is_active: Cell::new(false),
            is_paused: Cell::new(false),
            end: RefCell::new(None),
            sender: Cell::new(None),
            watcher: Cell::new(None),
        }
    }

    /// Begins a new try at AWS: earlier ones get no more events.
    pub fn next_turn(&self) -> u32 {
        self.turn.set(self.turn.get() + 1);
        self.turn.get()
    }

    /// Whether another try at AWS could still have all events: none was taken, and there may be some.
    #[must_use]
    pub fn may_begin_anew(&self) -> bool {
        !self.has_sent.get() && self.fault().is_none()
    }

    /// Whether there was an event since this was asked last.
    pub fn was_active(&self) -> bool {
        self.is_active.take()
    }

    /// Whether the client said that there are no more events, and all were taken.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(*self.end.borrow(), Some(Ok(())))
    }

    /// Why no more events are taken, where that is not because there are none.
    #[must_use]
    pub fn fault(&self) -> Option<UploadFault> {
        self.end.borrow().as_ref().and_then(|end| end.as_ref().err().cloned())
    }

    /// Ready once there is such a reason.
    pub fn poll_fault(&self, cx: &mut Context<'_>) -> Poll<UploadFault> {
        match self.fault() {
            Some(fault) => Poll::Ready(fault),
            None => {
                self.watcher.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// From now on this is asked for each event.
    pub fn guard(&self, guard: Guard) {
        *self.guard.borrow_mut() = Some(guard);
    }

    /// No more events are taken, for this reason.
    pub(super) fn fail(&self, fault: UploadFault) -> UploadFault {
        self.finish(Err(fault.clone()));
        fault
    }

    /// From now on no event is taken, or again.
    pub fn pause(&self, is_paused: bool) {
        let was_paused = self.is_paused.replace(is_paused);
        if was_paused
            && !is_paused
            && let Some(sender) = self.sender.take()
        {
            sender.wake();
        }
    }

    /// Nothing more is wanted of the client: what it has not ended is broken off towards AWS.
    pub fn abandon(&self) {
        if self.end.borrow().is_none() {
            self.finish(Err(UploadFault::Abandoned));
        }
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// The next event, for the try at AWS whose turn it is; `None` at the end of all.
    pub fn poll_event(
        &self,
        turn: u32,
        now: impl Fn() -> UnixMicros,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UploadFault>>> {
        if turn != self.turn.get() {
            return Poll::Pending;
        }
        if let Some(end) = &*self.end.borrow() {
            return Poll::Ready(end.clone().err().map(Err));
        }
        if self.is_paused.get() {
            self.sender.set(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let polled = self.events.borrow_mut().poll(now, cx);
        match polled {
            Poll::Pending => {
                self.sender.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            Poll::Ready(Ok(Some(event))) => {
                if let Some(Err(why)) = self.guard.borrow().as_ref().map(|may_go_on| may_go_on()) {
                    return Poll::Ready(Some(Err(self.fail(UploadFault::Refused(why)))));
                }
                self.has_sent.set(true);
                self.is_active.set(true);
                Poll::Ready(Some(Ok(event)))
            }
            Poll::Ready(Ok(None)) => {
                self.is_active.set(true);
                self.finish(Ok(()));
                Poll::Ready(None)
            }
            Poll::Ready(Err(fault)) => {
                self.finish(Err(fault.clone()));
                Poll::Ready(Some(Err(fault)))
            }
        }
    }

    fn finish(&self, end: Result<(), UploadFault>) {
        *self.end.borrow_mut() = Some(end);
        if let Ok(mut events) = self.events.try_borrow_mut() {
            (events.incoming, events.held) = (None, None);
        }
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }
}

impl Events {
    /// The next event; `None` at the end.
    fn poll(
        &mut self,
        now: impl Fn() -> UnixMicros,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, UploadFault>> {
        loop {
            if let Some(frame) = self.splitter.next_frame()? {
                self.held = None;
                let event = self.event_in(frame, now())?;
                if event.is_empty() {
                    return Poll::Ready(self.nothing_behind(cx).map(|()| None));
                }
                return Poll::Ready(Ok(Some(event)));
            }
            self.hold()?;
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(Err(UploadFault::Abandoned)) };
            match std::task::ready!(incoming.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => self.splitter.feed(chunk),
                Some(Err(error)) => return Poll::Ready(Err(UploadFault::ClientGone(error))),
                // In envelopes the end is an event, too.
                None if self.form == Form::Enveloped || !self.splitter.is_empty() => {
                    return Poll::Ready(Err(UploadFault::CutShort));
                }
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// After the event that ends all others: whether anything that has arrived stands behind it. The end of the request is
    /// not waited for.
    fn nothing_behind(&mut self, cx: &mut Context<'_>) -> Result<(), UploadFault> {
        if !self.splitter.is_empty() {
            return Err(UploadFault::BehindTheEnd);
        }
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        loop {
            match incoming.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => {}
                Poll::Ready(Some(Ok(_))) => return Err(UploadFault::BehindTheEnd),
                Poll::Ready(Some(Err(error))) => return Err(UploadFault::ClientGone(error)),
                Poll::Ready(None) | Poll::Pending => return Ok(()),
            }
        }
    }

    /// Accounts for a frame of which a part is held.
    fn hold(&mut self) -> Result<(), UploadFault> {
        if let Some(length) = self.splitter.gathering()
            && self.held.is_none()
        {
            let mut held = self.terms.buffer.account(self.terms.holder);
            held.take(length)?;
            self.held = Some(held);
        }
        Ok(())
    }

    /// The event that a frame is or holds, after its signature was checked.
    fn event_in(&mut self, frame: Bytes, now: UnixMicros) -> Result<Bytes, UploadFault> {
        let envelope = Envelope::open(&frame)?;
        if self.form == Form::Unknown {
            self.form = if envelope == Envelope::Plain { Form::Plain } else { Form::Enveloped };
        }
        match (envelope, self.form) {
            (Envelope::Plain, Form::Enveloped) => Err(UploadFault::Unsigned),
            (Envelope::Plain, _) => Ok(frame),
            (Envelope::Signed { millis, signature, event }, _) => {
                if let Some(chain) = &mut self.terms.chain {
                    require_current(millis, now)?;
                    if !chain.accepts(&event, millis, &signature) {
                        return Err(UploadFault::WrongSignature);
                    }
                }
                Ok(event)
            }
        }
    }
}

fn require_current(millis: i64, now: UnixMicros) -> Result<(), UploadFault> {
    let off = millis.abs_diff(now.0.div_euclid(1_000));
    if off > MAX_SKEW_MINUTES.unsigned_abs() * 60_000 {
        return Err(UploadFault::Skewed { millis, minutes: MAX_SKEW_MINUTES });
    }
    Ok(())
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
