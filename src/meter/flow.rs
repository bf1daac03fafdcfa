//! The answer of a stream that goes both ways, as it comes from AWS, and the account of it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::Sleep;

use super::last_words::exception_frame;
use super::spending::Spending;
use super::{Account, Ending, MeterLimits, Stopped};
use crate::duplex::Uplink;
use crate::upstream::AnswerBody;

/// Once a budget has no room: how long, and for how many bytes, the end of a frame is waited for, so that the client can be
/// told.
const STOP_TAKES: Duration = Duration::from_secs(1);
const STOP_BYTES: u64 = 64 << 10;

/// The stream from AWS, and the account of it.
pub(super) struct Flow {
    answer: AnswerBody,
    pub(super) account: Box<Account>,
    pub(super) uplink: Rc<Uplink>,
    received: u64,
    expected: Option<u64>,
    spending: Spending,
    stop: Option<Stop>,
}

/// Ends the stream where the next frame would begin, if that comes soon.
struct Stop {
    why: Stopped,
    timer: Pin<Box<Sleep>>,
    /// How far is read at the most.
    most: u64,
}

impl Flow {
    /// `expected`: the bytes of the answer, where its head told.
    pub(super) fn new(
        answer: AnswerBody,
        account: Box<Account>,
        uplink: Rc<Uplink>,
        expected: Option<u64>,
    ) -> Self {
        Self { answer, account, uplink, received: 0, expected, spending: Spending::default(), stop: None }
    }

    /// Whether a stop is decided on.
    pub(super) fn has_to_stop(&self) -> bool {
        self.stop.is_some()
    }

    /// Ready once that stop is due.
    pub(super) fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        let Some(stop) = &mut self.stop else { return Poll::Pending };
        let is_due = self.account.may_go_on().is_some() || self.received > stop.most;
        if !is_due {
            ready!(stop.timer.as_mut().poll(cx));
        }
        Poll::Ready(stop.why.clone())
    }

    /// The next chunk, noted in the account before it is handed on.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Stopped>>> {
        match ready!(Pin::new(&mut self.answer).poll_next(cx)) {
            Some(Ok(chunk)) => {
                self.received += chunk.len() as u64;
                self.account.received(&chunk);
                if self.expected == Some(self.received) && !self.account.end(Ending::Whole) {
                    return Poll::Ready(Some(Err(Stopped::NotRecorded)));
                }
                self.follow();
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.broke_off(error.to_string())))),
            None => {
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

    /// Holds what was said of the usage against the budgets.
    fn follow(&mut self) {
        if let Err(error) = self.spending.follow(&mut self.account)
            && self.stop.is_none()
        {
            let timer = Box::pin(tokio::time::sleep(STOP_TAKES));
            let why = Stopped::Budget(error.to_string());
            self.stop = Some(Stop { why, timer, most: self.received.saturating_add(STOP_BYTES) });
        }
    }

    /// Why the answer broke off: where the client's events were not good, AWS was told to stop.
    fn broke_off(&self, reason: String) -> Stopped {
        self.uplink.fault().map_or(Stopped::Upstream(reason), Stopped::Upload)
    }

    /// What the client is told of it, if that can be told after what it has.
    pub(super) fn last_words(&self, stopped: &Stopped) -> Option<Bytes> {
        self.account.may_go_on().filter(|framing| self.expected.is_none() && framing.is_frames())?;
        let message = format!("{stopped} (request {} of the gateway)", self.account.id());
        exception_frame(stopped.exception(), &message)
    }

    /// Ends the account before AWS's own end, with all that AWS has said by now.
    pub(super) fn end_early(&mut self, ending: Ending) {
        if self.account.has_ended() {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        // What has arrived is bounded by the window.
        while let Poll::Ready(Some(Ok(chunk))) = Pin::new(&mut self.answer).poll_next(&mut cx) {
            self.account.received(&chunk);
        }
        self.account.end(ending);
    }

    /// Reads on without a client, for so long and so many bytes.
    pub(super) async fn drain(mut self, limits: MeterLimits) {
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
