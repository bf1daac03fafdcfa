//! Steps 9 to 11: the answer's body on its way to the client. Every byte goes on at once; on the side its usage
//! is read, and before the chunk that ends the answer leaves, the event is in the journal.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::HttpMessage as _;
use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::Sleep;

use crate::event::Outcome;
use crate::timers::{Timer, Timers};
use crate::upstream::{Answer, AnswerBody};
use crate::usage::{Framing, Progress};

mod account;
mod conversation;
mod duplex;
mod flow;
mod last_words;
mod losses;
mod spending;
mod stopped;

pub use account::{Account, AccountParts, Ending, Opening, Place};
pub use duplex::{DuplexBody, DuplexLimits};
use last_words::Cause;
pub use losses::Losses;
pub use stopped::Stopped;

/// How long a client has to take the last words of a stream before its connection is broken off: bytes that were not
/// taken by then go down with it.
const LAST_WORDS_TAKE: Duration = Duration::from_millis(500);

/// The bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct MeterLimits {
    /// Longest silence of AWS inside a body; noticed after at most twice as long.
    pub silence: Duration,
    /// How long a body is read on after its client left, to see its usage; zero: not at all.
    pub drain_timeout: Duration,
    /// How many bytes of it.
    pub drain_bytes: u64,
}

/// Why a body broke off: the client's connection is closed without a clean end.
#[derive(Debug, thiserror::Error)]
#[error("the answer from Amazon Bedrock broke off: {reason}")]
pub struct BrokeOff {
    cause: Cause,
    reason: String,
}

fn not_recorded() -> BrokeOff {
    BrokeOff { cause: Cause::NotRecorded, reason: "what it cost could not be recorded".to_owned() }
}

/// The body of an answer, metered.
pub struct MeteredBody {
    state: State,
    size: BodySize,
    silence: Timer,
    heard_something: bool,
    limits: MeterLimits,
}

impl std::fmt::Debug for MeteredBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeteredBody").field("size", &self.size).finish_non_exhaustive()
    }
}

enum State {
    Flowing(Flow),
    /// The last words are said; after a moment the connection is broken off.
    Breaking(Pin<Box<Sleep>>, BrokeOff),
    Ended,
}

/// What is left when the client has gone: the stream from AWS, and the account of it.
struct Flow {
    answer: AnswerBody,
    account: Box<Account>,
    received: u64,
    expected: Option<u64>,
    /// How the answer is framed, where an error can be told after what was handed on.
    may_go_on: Option<Framing>,
}

impl MeteredBody {
    /// A body of `length` bytes, or of a length that only its end tells.
    #[must_use]
    pub fn new(
        mut answer: Answer,
        account: Box<Account>,
        length: Option<u64>,
        limits: MeterLimits,
        timers: &Timers,
    ) -> Self {
        let may_go_on = account.may_go_on();
        // The head is not kept: it may be as large as all the rest that an open stream holds.
        let answer = answer.take_payload();
        Self {
            state: State::Flowing(Flow { answer, account, received: 0, expected: length, may_go_on }),
            size: length.map_or(BodySize::Stream, BodySize::Sized),
            silence: timers.timer(),
            heard_something: false,
            limits,
        }
    }

    /// Whether AWS has been silent for too long. Chunks only set a flag: no clock is read for them.
    fn is_silent_too_long(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.silence.is_set() {
            self.silence.set(self.limits.silence);
        }
        while self.silence.poll(cx).is_ready() {
            if !std::mem::take(&mut self.heard_something) {
                return true;
            }
            self.silence.set(self.limits.silence);
        }
        false
    }

    fn fell_silent(&mut self) -> Option<BrokeOff> {
        let text = format!("it was silent for {} s", self.limits.silence.as_secs());
        let State::Flowing(flow) = &mut self.state else { return None };
        Some(flow.broke_off(text))
    }

    /// The end of the flow: of a stream that must be broken off first the last words, where there is a way to say them.
    fn end(&mut self, broke_off: Option<BrokeOff>) -> Option<Result<Bytes, BrokeOff>> {
        let State::Flowing(flow) = std::mem::replace(&mut self.state, State::Ended) else { return None };
        let broke_off = broke_off?;
        let Some(words) = flow.last_words(&broke_off) else { return Some(Err(broke_off)) };
        self.state = State::Breaking(Box::pin(tokio::time::sleep(LAST_WORDS_TAKE)), broke_off);
        Some(Ok(words))
    }
}

impl Flow {
    /// The next chunk, noted in the account before it is handed on.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        match Pin::new(&mut self.answer).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(chunk))) => {
                self.received += chunk.len() as u64;
                let progress = self.account.received(&chunk);
                let is_last = progress == Progress::Terminal || self.expected == Some(self.received);
                if is_last && !self.account.end(Ending::Whole) {
                    return Poll::Ready(Some(Err(not_recorded())));
                }
                self.may_go_on = self.account.may_go_on();
                Poll::Ready(Some(Ok(chunk)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broke_off(error.to_string())))),
            Poll::Ready(None) => {
                let is_short = self.expected.is_some_and(|expected| self.received < expected);
                if is_short || !self.account.is_whole() {
                    let text = "it ended before it was whole".to_owned();
                    return Poll::Ready(Some(Err(self.broke_off(text))));
                }
                if self.account.end(Ending::Whole) {
                    Poll::Ready(None)
                } else {
                    Poll::Ready(Some(Err(not_recorded())))
                }
            }
        }
    }

    fn broke_off(&mut self, reason: String) -> BrokeOff {
        self.account.end(Ending::BrokeOff);
        BrokeOff { cause: Cause::Upstream, reason }
    }

    /// What the client is told of it, if that can be told after what it has.
    fn last_words(&self, broke_off: &BrokeOff) -> Option<Bytes> {
        let framing = self.may_go_on.filter(|_| self.expected.is_none())?;
        self.account.last_words(framing, broke_off.cause, &broke_off.to_string())
    }

    /// Reads on without a client, until the usage is known, for so long and so many bytes.
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

impl MessageBody for MeteredBody {
    type Error = BrokeOff;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let ended = match &mut this.state {
            State::Flowing(flow) => match flow.poll_chunk(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    this.heard_something = true;
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(end) => end.and_then(Result::err),
                Poll::Pending if !this.is_silent_too_long(cx) => return Poll::Pending,
                Poll::Pending => this.fell_silent(),
            },
            State::Breaking(moment, _) => {
                ready!(moment.as_mut().poll(cx));
                let State::Breaking(_, broke_off) = std::mem::replace(&mut this.state, State::Ended) else {
                    return Poll::Ready(None);
                };
                return Poll::Ready(Some(Err(broke_off)));
            }
            State::Ended => return Poll::Ready(None),
        };
        Poll::Ready(this.end(ended))
    }
}

/// Dropped before the body's end: the client has gone, or its connection broke, or the gateway stops at once.
impl Drop for MeteredBody {
    fn drop(&mut self) {
        let State::Flowing(mut flow) = std::mem::replace(&mut self.state, State::Ended) else { return };
        if flow.account.has_ended() {
            return;
        }
        if flow.account.is_cut_off() {
            flow.account.end(Ending::CutOff);
            return;
        }
        flow.account.client_gone();
        if self.limits.drain_timeout.is_zero() {
            flow.account.end(Ending::Abandoned);
        } else {
            actix_rt::spawn(flow.drain(self.limits));
        }
    }
}

/// How the account names an end, given whether the client was there to see it.
#[must_use]
pub(crate) fn outcome_of(ending: Ending, client_gone: bool) -> Outcome {
    match (ending, client_gone) {
        (_, true) | (Ending::Abandoned, _) => Outcome::ClientGone,
        (Ending::Whole, false) => Outcome::Complete,
        (Ending::Failed | Ending::BrokeOff, false) => Outcome::UpstreamError,
        (Ending::CutOff, false) => Outcome::Interrupted,
    }
}
