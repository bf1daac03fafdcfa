//! Frames of `application/vnd.amazon.eventstream`, found in whatever chunks the network delivers; frames
//! that say nothing about usage are passed over by prelude and headers alone.
//!
//! A frame is: total length (4 bytes), length of the headers (4), CRC-32 of those eight (4), headers,
//! payload, CRC-32 of all before it (4); numbers are big-endian.
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

/// Largest frame whose declared length is believed (24 MiB, the most AWS sends); a larger one is malformed.
pub const MAX_FRAME_BYTES: usize = 24 * 1024 * 1024;

/// Largest header block whose declared length is believed (128 KiB by the encoding's own rules).
pub const MAX_HEADER_BYTES: usize = 128 * 1024;

/// Bytes of a frame before its headers.
pub(crate) const PRELUDE_BYTES: usize = 12;
/// Bytes of a frame behind its payload.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// A part of the answer.
    Event,
    /// A modelled exception; it ends the stream.
    Exception,
    /// An unmodelled error; it ends the stream.
    Error,
}

/// What the headers of a frame say, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead<'a> {
    /// `:message-type`.
    pub message_type: MessageType,
    /// `:event-type`, `:exception-type` or `:error-code`, by the type of the message; empty if absent.
    pub name: &'a [u8],
}

/// Who looks at frames.
pub trait FrameVisitor {
    /// Whether the payload of an event is wanted. May be asked more than once about one frame.
    fn wants(&self, event_type: &[u8]) -> bool;

    /// A wanted payload, whole; its checksum was right.
    fn payload(&mut self, event_type: &[u8], payload: &[u8]);
}

/// Follows an event stream from chunk to chunk. It never fails: what it cannot read it stops reading.
#[derive(Debug)]
pub struct EventStreamReader {
    /// The beginning of a frame that cannot be judged yet, or that is wanted and not whole yet.
    held: Vec<u8>,
    /// How long `held` must be before it is looked at again.
    needed: usize,
    /// Bytes of an unwanted frame still to come.
    passing: usize,
    limit: usize,
    failure: Option<String>,
    malformed: bool,
    oversized: bool,
    /// Of all events so far.
    payload_bytes: u64,
    has_event: bool,
}

/// What is to be done at the start of a frame.
enum Step {
    /// It takes this many bytes of the frame to go on.
    Need(usize),
    /// The frame, this long, is dealt with.
    Pass(usize),
    /// This is no frame.
    Malformed,
}

impl EventStreamReader {
    /// A reader that gathers wanted frames of at most `limit` bytes; larger ones are passed over and
    /// reported by [`Self::passed_over_wanted`].
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            held: Vec::new(),
            needed: 0,
            passing: 0,
            limit,
            failure: None,
            malformed: false,
            oversized: false,
            payload_bytes: 0,
            has_event: false,
        }
    }

    /// Reads on. A frame that lies whole in the chunk is looked at in place.
    pub fn feed(&mut self, mut chunk: &[u8], visitor: &mut impl FrameVisitor) {
        while !chunk.is_empty() && !self.malformed {
            chunk = if self.passing > 0 {
                let passed = self.passing.min(chunk.len());
                self.passing -= passed;
                chunk.get(passed..).unwrap_or_default()
            } else if self.held.is_empty() {
                self.read_in_place(chunk, visitor)
            } else {
                self.gather(chunk, visitor)
            };
        }
    }

    /// Whether everything fed so far ends exactly where a frame ends.
    #[must_use]
    pub fn on_frame_boundary(&self) -> bool {
        !self.malformed && self.held.is_empty() && self.passing == 0
    }

    /// Whether something was met that is no frame; from there on nothing was looked at.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Type of the first exception or error frame.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Whether an event came, or something that may have been one.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.has_event || self.malformed
    }

    /// How many bytes of payload all events so far have.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Whether a wanted frame was not gathered because it is larger than the limit, or failed its checksum.
    #[must_use]
    pub fn passed_over_wanted(&self) -> bool {
        self.oversized
    }

    fn read_in_place<'a>(&mut self, chunk: &'a [u8], visitor: &mut impl FrameVisitor) -> &'a [u8] {
        match self.step(chunk, visitor) {
            Step::Pass(total) => {
                self.passing = total.saturating_sub(chunk.len());
                chunk.get(total..).unwrap_or_default()
            }
            Step::Need(needed) => {
                self.needed = needed;
                self.held.extend_from_slice(chunk);
                &[]
            }
            Step::Malformed => {
                self.malformed = true;
                &[]
            }
        }
    }

    fn gather<'a>(&mut self, chunk: &'a [u8], visitor: &mut impl FrameVisitor) -> &'a [u8] {
        let missing = self.needed.saturating_sub(self.held.len()).min(chunk.len());
        let (taken, rest) = chunk.split_at_checked(missing).unwrap_or((chunk, &[]));
        self.held.extend_from_slice(taken);
        if self.held.len() < self.needed {
            return rest;
        }
        let held = std::mem::take(&mut self.held);
        match self.step(&held, visitor) {
            Step::Pass(total) => {
                self.passing = total.saturating_sub(held.len());
                self.held = held;
                self.held.clear();
            }
            Step::Need(needed) => {
                self.needed = needed;
                self.held = held;
            }
            Step::Malformed => self.malformed = true,
        }
        rest
    }

    /// Looks at bytes that begin where a frame begins.
    fn step(&mut self, bytes: &[u8], visitor: &mut impl FrameVisitor) -> Step {
        let Some(prelude) = bytes.first_chunk::<PRELUDE_BYTES>() else { return Step::Need(PRELUDE_BYTES) };
        let Some((total, headers_length)) = lengths(prelude) else { return Step::Malformed };
        let payload_start = PRELUDE_BYTES + headers_length;
        let Some(headers) = bytes.get(PRELUDE_BYTES..payload_start) else { return Step::Need(payload_start) };
        let Some(head) = read_head(headers) else { return Step::Malformed };
        if head.message_type != MessageType::Event {
            self.failure.get_or_insert_with(|| String::from_utf8_lossy(head.name).into_owned());
            return Step::Pass(total);
        }
        self.has_event = true;
        if !visitor.wants(head.name) {
            return self.pass_event(total, payload_start);
        }
        if total > self.limit {
            self.oversized = true;
            return self.pass_event(total, payload_start);
        }
        let Some((covered, checksum)) = bytes.get(..total).and_then(|frame| frame.split_last_chunk()) else {
            return Step::Need(total);
        };
        if crc32fast::hash(covered) == u32::from_be_bytes(*checksum) {
            visitor.payload(head.name, covered.get(payload_start..).unwrap_or_default());
        } else {
            self.oversized = true;
        }
        self.pass_event(total, payload_start)
    }

    fn pass_event(&mut self, total: usize, payload_start: usize) -> Step {
        let payload = total.saturating_sub(payload_start).saturating_sub(CHECKSUM_BYTES);
        self.payload_bytes = self.payload_bytes.saturating_add(u64::try_from(payload).unwrap_or(u64::MAX));
        Step::Pass(total)
    }
}

/// Total length and header length, if the prelude's checksum holds and the lengths are possible.
pub(crate) fn lengths(prelude: &[u8; PRELUDE_BYTES]) -> Option<(usize, usize)> {
    let [t0, t1, t2, t3, h0, h1, h2, h3, c0, c1, c2, c3] = *prelude;
    if crc32fast::hash(&[t0, t1, t2, t3, h0, h1, h2, h3]) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return None;
    }
    let total = usize::try_from(u32::from_be_bytes([t0, t1, t2, t3])).ok()?;
    let headers = usize::try_from(u32::from_be_bytes([h0, h1, h2, h3])).ok()?;
    let fits = total <= MAX_FRAME_BYTES
        && headers <= MAX_HEADER_BYTES
        && total >= PRELUDE_BYTES + headers + CHECKSUM_BYTES;
    fits.then_some((total, headers))
}

/// Finds the message type and its name among the headers; `None` if they are not well formed.
fn read_head(mut headers: &[u8]) -> Option<FrameHead<'_>> {
    let mut message_type = MessageType::Event;
    let (mut event, mut exception, mut error): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    while let Some((&name_length, rest)) = headers.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(name_length))?;
        let (&value_type, rest) = rest.split_first()?;
        let (value, rest) = split_value(value_type, rest)?;
        headers = rest;
        match name {
            b":message-type" => {
                message_type = match value {
                    b"exception" => MessageType::Exception,
                    b"error" => MessageType::Error,
                    _ => MessageType::Event,
                }
            }
            b":event-type" => event = value,
            b":exception-type" => exception = value,
            b":error-code" => error = value,
            _ => {}
        }
    }
    let name = match message_type {
        MessageType::Event => event,
        MessageType::Exception => exception,
        MessageType::Error => error,
    };
    Some(FrameHead { message_type, name })
}

/// Splits a header's value off, by the type byte before it.
pub(crate) fn split_value(value_type: u8, rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match value_type {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            return rest.split_at_checked(usize::from(u16::from_be_bytes(*length)));
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
#[path = "event_stream_tests.rs"]
mod tests;
