//! The answer of a stream that goes both ways: every byte goes on at once, its usage is read on the side, and it ends
//! when the client's events are no longer good, when a hard budget has no room for more, or when nobody says anything.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::HttpMessage as _;
use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::Sleep;

use super::last_words::exception_frame;
use super::spending::Spending;
use super::{Account, Ending, LAST_WORDS_TAKE, MeterLimits};
use crate::duplex::{Uplink, UploadFault};
use crate::timers::{Timer, Timers};
use crate::upstream::{Answer, AnswerBody};

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

/// Why a stream ends before AWS ends it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stopped {
    /// AWS's answer broke off.
    #[error("the answer from Amazon Bedrock broke off: {0}")]
    Upstream(String),
    /// The client's events are not good, or the client has gone.
    #[error("{0}")]
    Upload(UploadFault),
    /// What it cost could not be written down.
    #[error("what the stream cost could not be recorded")]
    NotRecorded,
    /// A hard budget has no room for more.
    #[error("{0}")]
    Budget(String),
    /// Neither side said anything for too long.
    #[error("neither side sent an event for {} s, the gateway's limit (bedgate_settings.bidirectional.idle_timeout)", .0.as_secs())]
    Idle(Duration),
    /// It went on for too long.
    #[error("the stream is as old as it may get, {} s (bedgate_settings.bidirectional.max_duration)", .0.as_secs())]
    TooOld(Duration),
}

impl Stopped {
    /// The exception that says so, as the operation models it.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithBidirectionalStreamOutput.html>
    fn exception(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "modelStreamErrorException",
            Self::Upload(fault) => fault.exception(),
            Self::NotRecorded => "internalServerException",
            Self::Budget(_) => "throttlingException",
            Self::Idle(_) | Self::TooOld(_) => "modelTimeoutException",
        }
    }

    fn ending(&self) -> Ending {
        match self {
            Self::Upstream(_) | Self::NotRecorded => Ending::BrokeOff,
            Self::Upload(_) => Ending::Abandoned,
            Self::Budget(_) | Self::Idle(_) | Self::TooOld(_) => Ending::CutOff,
        }
    }
}

/// The body of an answer whose request goes on.
pub struct DuplexBody {
    state: State,
    size: BodySize,
    idle: Timer,
    deadline: Pin<Box<Sleep>>,
    heard_something: bool,
    limits: DuplexLimits,
}

impl std::fmt::Debug for DuplexBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuplexBody").field("size", &self.size).finish_non_exhaustive()
    }
}

enum State {
    Flowing(Flow),
    /// The last words are said; after a moment the stream is broken off.
    Breaking(Pin<Box<Sleep>>, Stopped),
    Ended,
}

struct Flow {
    answer: AnswerBody,
    account: Box<Account>,
    uplink: Rc<Uplink>,
    received: u64,
    expected: Option<u64>,
    spending: Spending,
    /// Ends the stream where the next frame would begin.
    stop: Option<Stopped>,
}

impl DuplexBody {
    /// A body of `length` bytes, or of a length that only its end tells.
    #[must_use]
    pub fn new(
        mut answer: Answer,
        account: Box<Account>,
        uplink: Rc<Uplink>,
        length: Option<u64>,
        limits: DuplexLimits,
        timers: &Timers,
    ) -> Self {
        let (answer, spending) = (answer.take_payload(), Spending::default());
        let flow = Flow { answer, account, uplink, received: 0, expected: length, spending, stop: None };
        Self {
            state: State::Flowing(flow),
            size: length.map_or(BodySize::Stream, BodySize::Sized),
            idle: timers.timer(),
            deadline: Box::pin(tokio::time::sleep(limits.max_duration)),
            heard_something: false,
            limits,
        }
    }

    /// Whether time is up.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Stopped::TooOld(self.limits.max_duration));
        }
        if !self.idle.is_set() {
            self.idle.set(self.limits.idle);
        }
        while self.idle.poll(cx).is_ready() {
            let State::Flowing(flow) = &self.state else { return Poll::Pending };
            let was_active = flow.uplink.was_active() | std::mem::take(&mut self.heard_something);
            if !was_active {
                return Poll::Ready(Stopped::Idle(self.limits.idle));
            }
            self.idle.set(self.limits.idle);
        }
        Poll::Pending
    }

    /// The end: of a stream that is stopped first the last words, where there is a way to say them.
    fn end(&mut self, stopped: Option<Stopped>) -> Option<Result<Bytes, Stopped>> {
        let State::Flowing(mut flow) = std::mem::replace(&mut self.state, State::Ended) else { return None };
        flow.uplink.abandon();
        let stopped = stopped?;
        let words = flow.last_words(&stopped);
        if matches!(&stopped, Stopped::Upload(fault) if fault.is_of_client_gone()) {
            flow.account.client_gone();
        } else {
            log::info!("request {}: the stream was ended: {stopped}", flow.account.id());
        }
        flow.account.end(stopped.ending());
        let Some(words) = words else { return Some(Err(stopped)) };
        self.state = State::Breaking(Box::pin(tokio::time::sleep(LAST_WORDS_TAKE)), stopped);
        Some(Ok(words))
    }
}

impl Flow {
    /// The next chunk, noted in the account before it is handed on.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Stopped>>> {
        if self.account.may_go_on().is_some()
            && let Some(stop) = self.stop.take()
        {
            return Poll::Ready(Some(Err(stop)));
        }
        match Pin::new(&mut self.answer).poll_next(cx) {
            Poll::Pending => {
                let fault = ready!(self.uplink.poll_fault(cx));
                Poll::Ready(Some(Err(Stopped::Upload(fault))))
            }
            Poll::Ready(Some(Ok(chunk))) => {
                self.received += chunk.len() as u64;
                self.account.received(&chunk);
                if self.expected == Some(self.received) && !self.account.end(Ending::Whole) {
                    return Poll::Ready(Some(Err(Stopped::NotRecorded)));
                }
                if let Err(error) = self.spending.follow(&mut self.account) {
                    self.stop = Some(Stopped::Budget(error.to_string()));
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broke_off(error.to_string())))),
            Poll::Ready(None) => {
                let is_short = self.expected.is_some_and(|expected| self.received < expected);
                if is_short || !self.account.is_whole() {
                    return Poll::Ready(Some(Err(self.broke_off("it ended before it was whole".to_owned()))));
                }
                if self.account.end(Ending::Whole) {
                    Poll::Ready(None)
                } else {
                    Poll::Ready(Some(Err(Stopped::NotRecorded)))
                }
            }
        }
    }

    /// Why the answer broke off: where the client's events were not good, AWS was told to stop.
    fn broke_off(&self, reason: String) -> Stopped {
        self.uplink.fault().map_or(Stopped::Upstream(reason), Stopped::Upload)
    }

    /// What the client is told of it, if that can be told after what it has.
    fn last_words(&self, stopped: &Stopped) -> Option<Bytes> {
        self.account.may_go_on().filter(|framing| self.expected.is_none() && framing.is_frames())?;
        let message = format!("{stopped} (request {} of the gateway)", self.account.id());
        exception_frame(stopped.exception(), &message)
    }

    /// Reads on without a client, for so long and so many bytes.
    async fn drain(mut self, limits: MeterLimits) {
        let most = self.received.saturating_add(limits.drain_bytes);
        let to_the_end = async {
            while let Some(Ok(_)) = std::future::poll_fn(|cx| self.poll_chunk(cx)).await {
                if self.account.has_ended() || self.received > most {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(limits.drain_timeout, to_the_end).await;
        self.account.end(Ending::Abandoned);
    }
}

impl MessageBody for DuplexBody {
    type Error = Stopped;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let stopped = match &mut this.state {
            State::Flowing(flow) => match flow.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    this.heard_something = true;
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(end) => end.and_then(Result::err),
                Poll::Pending => Some(ready!(this.poll_time(cx))),
            },
            State::Breaking(moment, _) => {
                ready!(moment.as_mut().poll(cx));
                let State::Breaking(_, stopped) = std::mem::replace(&mut this.state, State::Ended) else {
                    return Poll::Ready(None);
                };
                return Poll::Ready(Some(Err(stopped)));
            }
            State::Ended => return Poll::Ready(None),
        };
        Poll::Ready(this.end(stopped))
    }
}

/// Dropped before the body's end: the client has gone, or its connection broke, or the gateway stops at once. What the
/// client had not ended is broken off towards AWS at once; where it had, the rest is read for its usage.
impl Drop for DuplexBody {
    fn drop(&mut self) {
        let State::Flowing(mut flow) = std::mem::replace(&mut self.state, State::Ended) else { return };
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
        flow.account.end(if is_cut_off { Ending::CutOff } else { Ending::Abandoned });
    }
}
