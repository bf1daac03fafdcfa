//! The answer of a stream that goes both ways, on its way to the client.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::HttpMessage as _;
use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::conversation::Conversation;
use super::flow::Flow;
use super::{Account, Ending, MeterLimits, Stopped};
use crate::duplex::Uplink;
use crate::timers::Timers;
use crate::upstream::Answer;

/// The bounds of a stream that goes both ways.
#[derive(Clone, Copy, Debug)]
pub struct DuplexLimits {
    /// Longest time without an event of either side; noticed after at most twice as long.
    pub idle: Duration,
    /// Longest life.
    pub max_duration: Duration,
    /// How far an answer is read on after its client left.
    pub meter: MeterLimits,
}

/// The body of an answer whose request goes on. The conversation itself does not wait for it: a client that takes
/// nothing must not outlast the limits by it.
pub struct DuplexBody {
    conversation: Rc<RefCell<Conversation>>,
    size: BodySize,
    limits: DuplexLimits,
}

impl std::fmt::Debug for DuplexBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuplexBody").field("size", &self.size).finish_non_exhaustive()
    }
}

impl DuplexBody {
    /// A body of `length` bytes, or of a length that only its end tells. Begins to read the answer.
    #[must_use]
    pub fn new(
        mut answer: Answer,
        account: Box<Account>,
        uplink: Rc<Uplink>,
        length: Option<u64>,
        limits: DuplexLimits,
        timers: &Timers,
    ) -> Self {
        let flow = Flow::new(answer.take_payload(), account, uplink, length);
        let conversation = Rc::new(RefCell::new(Conversation::new(flow, &limits, timers)));
        let held = Rc::clone(&conversation);
        actix_rt::spawn(std::future::poll_fn(move |cx| held.borrow_mut().poll(cx)));
        Self { conversation, size: length.map_or(BodySize::Stream, BodySize::Sized), limits }
    }
}

impl MessageBody for DuplexBody {
    type Error = Stopped;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.conversation.borrow_mut().poll_held(cx)
    }
}

/// Dropped before the body's end: the client has gone, or its connection broke, or the gateway stops at once. What the
/// client had not ended is broken off towards AWS at once; where it had, the rest is read for its usage.
impl Drop for DuplexBody {
    fn drop(&mut self) {
        let Some(mut flow) = self.conversation.borrow_mut().leave() else { return };
        if flow.account.has_ended() {
            flow.uplink.abandon();
            return;
        }
        let is_cut_off = flow.account.is_cut_off();
        let may_drain = flow.uplink.is_complete() && !self.limits.meter.drain_timeout.is_zero();
        if !is_cut_off {
            flow.account.client_gone();
        }
        if may_drain && !is_cut_off {
            actix_rt::spawn(flow.drain(self.limits.meter));
            return;
        }
        flow.uplink.abandon();
        flow.end_early(if is_cut_off { Ending::CutOff } else { Ending::Abandoned });
    }
}
