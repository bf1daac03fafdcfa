//! One conversation: an event comes, is checked and noted, and is answered before the next one is looked at.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_eventstream::frame::read_message_from;
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::super::faults::Faults;
use super::super::frames;
use super::super::request_log::Entry;
use super::super::server::{self, Shared, milliseconds_now};
use super::super::wire::{Delivered, Delivery, End};
use super::body::BrokenOff;
use super::model::Model;
use super::signed_events::SignedEvents;

/// Bytes of a frame before its headers.
const PRELUDE_BYTES: usize = 12;

/// How long bytes get to leave before the connection under them is closed.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// What a conversation is held with.
pub(super) struct Conversation {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Entry,
    pub(super) faults: Faults,
    pub(super) delivery: Delivery,
    /// Checks the events' signatures; `None`: they come without.
    pub(super) signed: Option<SignedEvents>,
    pub(super) send: mpsc::Sender<Result<Bytes, BrokenOff>>,
    /// Closes the connection without a word.
    pub(super) cut: Arc<Notify>,
}

/// How a caller's events ended.
enum Ended {
    /// As they should.
    Well,
    /// The stream broke, or ended too early.
    CutShort,
    /// An event was not good.
    Refused(String),
}

impl Conversation {
    /// Holds it to its end.
    pub(super) async fn hold(mut self, incoming: Incoming) {
        let mut out = Outgoing { sent: 0, hash: Sha256::new(), delivered: Delivered::default() };
        let mut events = Events { incoming, buffer: BytesMut::new(), all: BytesMut::new(), count: 0 };
        let is_over = self.talk(&mut events, &mut out).await;
        let all = events.all.freeze();
        self.shared.log.note_body(&self.entry, &all, milliseconds_now());
        self.entry.update(|record| {
            record.answer_sha256 = hex::encode(out.hash.finalize());
            // Where nobody takes the answers any more.
            if record.upload.is_empty() {
                record.upload = "cut short".to_owned();
            }
        });
        out.delivered.peer_left = is_over.is_err();
        server::finish(&self.shared, &self.entry, 200, &out.delivered);
    }

    /// `Err` where the peer is gone, or was cut off.
    async fn talk(&mut self, events: &mut Events, out: &mut Outgoing) -> Result<(), BrokenOff> {
        let mut model = Model::new(self.faults.usage(), !self.faults.has("no-usage"));
        let deaf_after = self.faults.count("stop-reading").unwrap_or(usize::MAX);
        loop {
            if events.count >= deaf_after {
                self.send.closed().await;
                return Err(BrokenOff);
            }
            let ended = match events.next(self.signed.as_mut()).await {
                Ok(event) => {
                    self.note(events);
                    for answer in model.hear(&payload_of(&event)) {
                        self.say(answer, out).await?;
                    }
                    continue;
                }
                Err(ended) => ended,
            };
            self.note(events);
            let (words, verdict) = match ended {
                Ended::Well => (Some(model.end()), "complete"),
                Ended::CutShort => (None, "cut short"),
                Ended::Refused(why) => {
                    let frame = frames::exception("validationException", &why);
                    self.entry.update(|record| record.verdict = format!("InvalidSignatureException: {why}"));
                    (Some(frame), "refused")
                }
            };
            self.entry.update(|record| record.upload = verdict.to_owned());
            let Some(words) = words else {
                let _ = self.send.send(Err(BrokenOff)).await;
                return Err(BrokenOff);
            };
            return self.say(words, out).await;
        }
    }

    fn note(&self, events: &Events) {
        self.entry.update(|record| {
            record.events = events.count as u64;
            record.body_length = events.all.len() as u64;
        });
    }

    /// Sends a frame as the faults want it.
    async fn say(&self, frame: Bytes, out: &mut Outgoing) -> Result<(), BrokenOff> {
        let before = out.sent;
        if let Some((after, silence)) = self.delivery.stall.filter(|(after, _)| *after == before) {
            log::debug!("the simulator is silent after {after} frames");
            tokio::time::sleep(silence).await;
        }
        let in_stream = |name: &str| self.faults.count(name) == Some(before);
        if in_stream("exception-in-stream") {
            let text = "Too many requests, please wait before trying again.";
            self.put(frames::exception("throttlingException", text), out).await?;
            return Err(BrokenOff);
        }
        if in_stream("error-in-stream") {
            self.put(frames::error("InternalFailure", "An internal failure occurred."), out).await?;
            return Err(BrokenOff);
        }
        match self.delivery.end {
            End::AfterPieces { pieces, reset } if pieces == before => self.break_off(reset).await,
            End::MidPiece { pieces, clean } if pieces == before => {
                self.put(frame.slice(..frame.len() / 2), out).await?;
                if clean { Err(BrokenOff) } else { self.break_off(false).await }
            }
            _ => self.put(frame, out).await,
        }
    }

    async fn break_off(&self, reset: bool) -> Result<(), BrokenOff> {
        if reset {
            let _ = self.send.send(Err(BrokenOff)).await;
        } else {
            tokio::time::sleep(BEFORE_CUT).await;
            self.cut.notify_one();
        }
        Err(BrokenOff)
    }

    async fn put(&self, bytes: Bytes, out: &mut Outgoing) -> Result<(), BrokenOff> {
        out.delivered.first_byte.get_or_insert_with(Instant::now);
        out.delivered.bytes = out.delivered.bytes.saturating_add(bytes.len() as u64);
        out.hash.update(&bytes);
        out.sent = out.sent.saturating_add(1);
        self.send.send(Ok(bytes)).await.map_err(|_| BrokenOff)
    }
}

/// What went out.
struct Outgoing {
    sent: usize,
    hash: Sha256,
    delivered: Delivered,
}

/// What comes in.
struct Events {
    incoming: Incoming,
    buffer: BytesMut,
    /// Every event's own frame, one after the other.
    all: BytesMut,
    count: usize,
}

impl Events {
    /// The next event's own frame.
    async fn next(&mut self, signed: Option<&mut SignedEvents>) -> Result<Bytes, Ended> {
        let frame = self.frame().await?;
        let event = match signed {
            None => frame,
            Some(signed) => {
                let envelope =
                    read_message_from(&mut &frame[..]).map_err(|error| Ended::Refused(error.to_string()))?;
                signed.open(&envelope).map_err(Ended::Refused)?
            }
        };
        if event.is_empty() {
            return Err(Ended::Well);
        }
        self.all.extend_from_slice(&event);
        self.count = self.count.saturating_add(1);
        Ok(event)
    }

    async fn frame(&mut self) -> Result<Bytes, Ended> {
        loop {
            let length = self
                .buffer
                .first_chunk::<PRELUDE_BYTES>()
                .map(|prelude| usize::try_from(Buf::get_u32(&mut &prelude[..])).unwrap_or(usize::MAX));
            if let Some(length) = length.filter(|length| *length <= self.buffer.len()) {
                return Ok(self.buffer.split_to(length.max(PRELUDE_BYTES)).freeze());
            }
            match poll_fn(|cx| Pin::new(&mut self.incoming).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(Ended::CutShort),
                None if self.buffer.is_empty() => return Err(Ended::Well),
                None => return Err(Ended::CutShort),
            }
        }
    }
}

/// The payload of an event.
fn payload_of(event: &Bytes) -> Bytes {
    read_message_from(&mut &event[..]).map(|message| message.payload().clone()).unwrap_or_default()
}
