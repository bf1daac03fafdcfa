//! A conversation: the answer of a stream that goes both ways is read as it comes, its usage on the side, and the stream
//! ends when the client's events are no longer good, when a hard budget has no room for more, or when nobody says
//! anything. All that in a task of its own: whether the client takes its answer matters to none of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;

use super::flow::Flow;
use super::{DuplexLimits, LAST_WORDS_TAKE, Stopped};
use crate::timers::{Timer, Timers};

/// Bytes of an answer that wait for the client. Where there are as many, no more are read of AWS and no event of the client
/// is taken: what AWS says of its usage behind them is not known. Too low stops the events of a client that is slow to
/// read; each stream of such a client holds so much, beside the window of its connection to AWS.
const MOST_HELD: usize = 256 << 10;

/// What goes on between a client and AWS, and what of it the client has not taken.
pub(super) struct Conversation {
    /// `None` once it is over, or was left.
    flow: Option<Flow>,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// What comes after what is held.
    end: Option<End>,
    /// Wakes the client's side.
    taker: Option<Waker>,
    /// Wakes the side of AWS.
    reader: Option<Waker>,
    idle: Timer,
    deadline: Pin<Box<Sleep>>,
    is_active: bool,
    idle_limit: Duration,
    max_duration: Duration,
}

enum End {
    Clean,
    /// The last words, where there are any, get a moment before the stream is broken off.
    Broken {
        stopped: Stopped,
        has_words: bool,
        moment: Option<Pin<Box<Sleep>>>,
    },
}

impl Conversation {
    pub(super) fn new(flow: Flow, limits: &DuplexLimits, timers: &Timers) -> Self {
        Self {
            flow: Some(flow),
            held: VecDeque::new(),
            held_bytes: 0,
            end: None,
            taker: None,
            reader: None,
            idle: timers.timer(),
            deadline: Box::pin(tokio::time::sleep(limits.max_duration)),
            is_active: false,
            idle_limit: limits.idle,
            max_duration: limits.max_duration,
        }
    }

    /// Reads what AWS says, and ends what has to end. Ready once it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        let stopped = match self.read(cx) {
            Poll::Ready(stopped) => stopped,
            Poll::Pending => Some(ready!(self.poll_limits(cx))),
        };
        self.finish(stopped);
        Poll::Ready(())
    }

    /// What is there to be read, as far as there is room for it. Ready at the end; `None`: at a clean one.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stopped>> {
        loop {
            let is_full = self.held_bytes >= MOST_HELD;
            let Some(flow) = &mut self.flow else { return Poll::Ready(None) };
            if let Poll::Ready(stopped) = flow.poll_stop(cx) {
                return Poll::Ready(Some(stopped));
            }
            flow.uplink.pause(is_full || flow.has_to_stop());
            if is_full && !flow.has_to_stop() {
                return Poll::Pending;
            }
            match ready!(flow.poll_chunk(cx)) {
                Some(Ok(chunk)) => self.hold(chunk),
                end => return Poll::Ready(end.and_then(Result::err)),
            }
        }
    }

    /// Whether the client's events are no longer good, or time is up.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        let Some(flow) = &self.flow else { return Poll::Pending };
        if let Poll::Ready(fault) = flow.uplink.poll_fault(cx) {
            return Poll::Ready(Stopped::Upload(fault));
        }
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Stopped::TooOld(self.max_duration));
        }
        if !self.idle.is_set() {
            self.idle.set(self.idle_limit);
        }
        while self.idle.poll(cx).is_ready() {
            let was_active = flow.uplink.was_active() | std::mem::take(&mut self.is_active);
            if !was_active {
                return Poll::Ready(Stopped::Idle(self.idle_limit));
            }
            self.idle.set(self.idle_limit);
        }
        Poll::Pending
    }

    fn hold(&mut self, chunk: Bytes) {
        self.is_active = true;
        self.held_bytes += chunk.len();
        self.held.push_back(chunk);
        wake(&mut self.taker);
    }

    /// The end: of a stream that is stopped first the last words, where there is a way to say them.
    fn finish(&mut self, stopped: Option<Stopped>) {
        let Some(mut flow) = self.flow.take() else { return };
        flow.uplink.abandon();
        self.end = Some(match stopped {
            None => End::Clean,
            Some(stopped) => {
                // Before more is read that the client does not get.
                let words = flow.last_words(&stopped);
                if matches!(&stopped, Stopped::Upload(fault) if fault.is_of_client_gone()) {
                    flow.account.client_gone();
                } else {
                    log::info!("request {}: the stream was ended: {stopped}", flow.account.id());
                }
                flow.end_early(stopped.ending());
                let has_words = words.is_some();
                if let Some(words) = words {
                    self.hold(words);
                }
                End::Broken { stopped, has_words, moment: None }
            }
        });
        wake(&mut self.taker);
    }

    /// The next bytes for the client.
    pub(super) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Stopped>>> {
        if let Some(chunk) = self.held.pop_front() {
            let was_full = self.held_bytes >= MOST_HELD;
            self.held_bytes = self.held_bytes.saturating_sub(chunk.len());
            self.is_active = true;
            if was_full && self.held_bytes < MOST_HELD {
                wake(&mut self.reader);
            }
            return Poll::Ready(Some(Ok(chunk)));
        }
        match &mut self.end {
            None => {
                self.taker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(End::Clean) => Poll::Ready(None),
            Some(End::Broken { stopped, has_words, moment }) => {
                if *has_words {
                    let moment = moment.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_WORDS_TAKE)));
                    ready!(moment.as_mut().poll(cx));
                }
                let stopped = stopped.clone();
                self.end = Some(End::Clean);
                Poll::Ready(Some(Err(stopped)))
            }
        }
    }

    /// The client is there no more: what is left of the conversation, where it is not over.
    pub(super) fn leave(&mut self) -> Option<Flow> {
        wake(&mut self.reader);
        self.flow.take()
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
