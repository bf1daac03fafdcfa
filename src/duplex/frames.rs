//! Whole frames of `application/vnd.amazon.eventstream`, put together from whatever chunks the network delivers. Pure.
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use bytes::{Bytes, BytesMut};

use crate::usage::event_stream::{CHECKSUM_BYTES, PRELUDE_BYTES, lengths};

/// Why bytes are not taken for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Lengths or checksum do not fit.
    #[error("these bytes are no frame of an event stream")]
    Malformed,
    /// It is larger than allowed.
    #[error(
        "a frame is larger than {0} bytes, the limit set by the gateway (bedgate_settings.bidirectional.max_event)"
    )]
    TooLarge(usize),
}

/// Finds frames. At most one frame, and the chunk that was fed last, are held.
#[derive(Debug)]
pub struct FrameSplitter {
    /// The beginning of a frame whose end has not come.
    held: BytesMut,
    /// What of the last chunk was not looked at.
    rest: Bytes,
    limit: usize,
}

impl FrameSplitter {
    /// A splitter for frames of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { held: BytesMut::new(), rest: Bytes::new(), limit }
    }

    /// Takes in what arrived. To be called when [`Self::next_frame`] has no more.
    pub fn feed(&mut self, chunk: Bytes) {
        if self.rest.is_empty() {
            self.rest = chunk;
        } else {
            self.rest = [&*self.rest, &*chunk].concat().into();
        }
    }

    /// The next whole frame; its checksum is not looked at yet.
    ///
    /// # Errors
    /// What came is no frame, or too large a one.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameFault> {
        if self.held.is_empty() {
            match self.length_of(&self.rest)? {
                Some(total) if total <= self.rest.len() => return Ok(Some(self.rest.split_to(total))),
                _ => {}
            }
        }
        while !self.rest.is_empty() {
            let needed = self.length_of(&self.held)?.unwrap_or(PRELUDE_BYTES);
            let missing = needed.saturating_sub(self.held.len()).min(self.rest.len());
            self.held.extend_from_slice(&self.rest.split_to(missing));
            let total = self.length_of(&self.held)?;
            if total.is_some_and(|total| total == self.held.len()) {
                return Ok(Some(self.held.split().freeze()));
            }
        }
        Ok(None)
    }

    /// Whether all that was fed was handed out: a stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.rest.is_empty()
    }

    /// The length of the frame of which a part is held, where that is known.
    #[must_use]
    pub fn gathering(&self) -> Option<usize> {
        self.length_of(&self.held).ok().flatten()
    }

    /// The length of the frame that begins with these bytes, where they tell.
    fn length_of(&self, bytes: &[u8]) -> Result<Option<usize>, FrameFault> {
        let Some(prelude) = bytes.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
        let (total, _) = lengths(prelude).ok_or(FrameFault::Malformed)?;
        if total > self.limit { Err(FrameFault::TooLarge(self.limit)) } else { Ok(Some(total)) }
    }
}

/// Headers and payload of a frame.
///
/// # Errors
/// It is not whole, or its checksum is wrong.
pub fn parts(frame: &Bytes) -> Result<(Bytes, Bytes), FrameFault> {
    let prelude = frame.first_chunk::<PRELUDE_BYTES>().ok_or(FrameFault::Malformed)?;
    let (total, headers) = lengths(prelude).ok_or(FrameFault::Malformed)?;
    let (covered, checksum) = frame
        .split_last_chunk::<CHECKSUM_BYTES>()
        .filter(|_| total == frame.len())
        .ok_or(FrameFault::Malformed)?;
    if crc32fast::hash(covered) != u32::from_be_bytes(*checksum) {
        return Err(FrameFault::Malformed);
    }
    let payload = PRELUDE_BYTES + headers;
    Ok((frame.slice(PRELUDE_BYTES..payload), frame.slice(payload..covered.len())))
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let header = Header::new(":event-type", HeaderValue::String("chunk".into()));
        let mut bytes = Vec::new();
        write_message_to(&Message::new(payload.to_vec()).add_header(header), &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_were_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..6),
            cuts in proptest::collection::vec(0usize..600, 0..12),
        ) {
            let frames: Vec<Vec<u8>> = payloads.iter().map(|payload| frame(payload)).collect();
            let all = frames.concat();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (all.len() + 1)).chain([all.len()]).collect();
            places.sort_unstable();
            let (mut splitter, mut found, mut start) = (FrameSplitter::new(1_000), Vec::new(), 0);
            for place in places {
                splitter.feed(Bytes::copy_from_slice(&all[start..place]));
                start = place;
                while let Some(frame) = splitter.next_frame().unwrap() {
                    let (_, payload) = parts(&frame).unwrap();
                    prop_assert_eq!(&*payload, &payloads[found.len()][..]);
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(splitter.is_empty());
        }
    }

    #[test]
    fn what_is_no_frame_or_too_large_is_said_before_it_is_held() {
        let good = frame(b"hello");
        let mut splitter = FrameSplitter::new(good.len() - 1);
        splitter.feed(Bytes::copy_from_slice(&good[..PRELUDE_BYTES]));
        assert_eq!(splitter.next_frame(), Err(FrameFault::TooLarge(good.len() - 1)));
        let mut splitter = FrameSplitter::new(1_000);
        splitter.feed(Bytes::from_static(b"GET / HTTP/1.1\r\n"));
        assert_eq!(splitter.next_frame(), Err(FrameFault::Malformed));
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(parts(&Bytes::from(changed)), Err(FrameFault::Malformed));
        assert_eq!(parts(&Bytes::copy_from_slice(&good[..good.len() - 1])), Err(FrameFault::Malformed));
    }

    #[test]
    fn the_beginning_of_a_frame_is_no_place_to_end() {
        let good = frame(b"hello");
        let mut splitter = FrameSplitter::new(1_000);
        splitter.feed(Bytes::copy_from_slice(&good[..good.len() - 1]));
        assert_eq!(splitter.next_frame(), Ok(None));
        assert!(!splitter.is_empty());
        splitter.feed(Bytes::copy_from_slice(&good[good.len() - 1..]));
        assert_eq!(splitter.next_frame(), Ok(Some(Bytes::from(good))));
        assert!(splitter.is_empty());
    }
}
