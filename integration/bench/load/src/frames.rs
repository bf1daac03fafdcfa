//! Frames of Amazon's event stream, written once and stamped with the time as they leave.
//! <https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html>

/// What precedes the time stamp in a frame's payload.
pub const STAMP_AFTER: &[u8] = b"\"text\":\"";
/// Digits of a time stamp.
pub const STAMP_DIGITS: usize = 20;

/// A frame with correct checksums.
pub fn frame(event_type: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in
        [(":event-type", event_type), (":content-type", "application/json"), (":message-type", "event")]
    {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let mut frame = Vec::new();
    frame.extend_from_slice(&((16 + headers.len() + payload.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// The frame as an HTTP chunk.
pub fn chunk(frame: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", frame.len()).into_bytes();
    chunk.extend_from_slice(frame);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A chunk with one `contentBlockDelta`, and where its stamp stands.
#[derive(Clone)]
pub struct StampedChunk {
    bytes: Vec<u8>,
    frame_at: usize,
    stamp_at: usize,
}

impl StampedChunk {
    pub fn new() -> Self {
        let stamp = "0".repeat(STAMP_DIGITS);
        let frame = frame(
            "contentBlockDelta",
            &format!(
                "{{\"contentBlockIndex\":0,\"delta\":{{\"text\":\"{stamp}\"}},\"p\":\"abcdefghijklm\"}}"
            ),
        );
        let bytes = chunk(&frame);
        let frame_at = bytes.len() - 2 - frame.len();
        let stamp_at =
            memchr::memmem::find(&bytes, STAMP_AFTER).expect("the payload has a text") + STAMP_AFTER.len();
        Self { bytes, frame_at, stamp_at }
    }

    /// The chunk as of now.
    pub fn stamped(&mut self, now: u64) -> &[u8] {
        let mut left = now;
        for digit in self.bytes[self.stamp_at..self.stamp_at + STAMP_DIGITS].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        let checksum_at = self.bytes.len() - 6;
        let checksum = crc32fast::hash(&self.bytes[self.frame_at..checksum_at]);
        self.bytes[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
        &self.bytes
    }
}

/// The time stamp of a frame that has one.
pub fn stamp_of(frame: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(frame, STAMP_AFTER)? + STAMP_AFTER.len();
    std::str::from_utf8(frame.get(at..at + STAMP_DIGITS)?).ok()?.parse().ok()
}
