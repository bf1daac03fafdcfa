//! What the mock says: one answer to Converse, and streams whose length and pace the model id names.

use std::cell::Cell;

use crate::frames::{chunk, frame};

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

/// Writes a request id that no other answer has, over the twelve last digits at `at`.
fn number(answer: &mut [u8], at: usize) {
    let mut left = REQUESTS.replace(REQUESTS.get() + 1);
    for digit in answer[at..at + 12].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

/// An answer written once; only its request id changes.
#[derive(Clone)]
pub struct Prepared {
    bytes: Vec<u8>,
    id_at: usize,
}

impl Prepared {
    fn new(head: &str, body: &[u8]) -> Self {
        let id = "8f0c1d52-6a4e-4b1f-9c3d-";
        let bytes = format!(
            "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 10:30:00 GMT\r\n{head}Connection: keep-alive\r\nx-amzn-RequestId: {id}000000000000\r\n\r\n"
        );
        let id_at = bytes.find(id).expect("the head has an id") + id.len();
        Self { bytes: [bytes.as_bytes(), body].concat(), id_at }
    }

    /// The answer to the next request.
    pub fn next(&mut self) -> &[u8] {
        number(&mut self.bytes, self.id_at);
        &self.bytes
    }

    /// About 1 KiB of JSON, with its usage.
    pub fn converse() -> Self {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(18);
        let body = format!(
            "{{\"metrics\":{{\"latencyMs\":551}},\"output\":{{\"message\":{{\"content\":[{{\"text\":\"{text}\"}}],\"role\":\"assistant\"}}}},\"stopReason\":\"end_turn\",\"usage\":{{\"inputTokens\":113,\"outputTokens\":202,\"totalTokens\":315}}}}"
        );
        let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        Self::new(&head, body.as_bytes())
    }

    /// The head of a stream and its first frame.
    pub fn stream_opening() -> Self {
        let head = "Content-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n";
        Self::new(head, &chunk(&frame("messageStart", "{\"p\":\"abcdef\",\"role\":\"assistant\"}")))
    }
}

/// The last frames of a stream, usage among them, and its end.
pub fn stream_closing() -> Vec<u8> {
    let mut bytes = chunk(&frame("contentBlockStop", "{\"contentBlockIndex\":0,\"p\":\"abcd\"}"));
    bytes.extend(chunk(&frame("messageStop", "{\"p\":\"abc\",\"stopReason\":\"end_turn\"}")));
    bytes.extend(chunk(&frame(
        "metadata",
        "{\"metrics\":{\"latencyMs\":551},\"p\":\"abcdefgh\",\"usage\":{\"inputTokens\":113,\"outputTokens\":202,\"totalTokens\":315}}",
    )));
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Frames that every stream has besides its deltas.
pub const FRAMES_AROUND: usize = 4;

/// How a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// `contentBlockDelta` frames.
    pub deltas: usize,
    /// Milliseconds between two; 0: no pause.
    pub pace_ms: u64,
}

impl StreamPlan {
    /// From a path such as `/model/mock.stream-100-10/converse-stream`: 100 frames, one each 10 ms.
    pub fn from_path(path: &str) -> Option<Self> {
        let model = path.strip_suffix("/converse-stream")?.rsplit('/').next()?;
        let mut numbers = model.split('-').skip(1);
        Some(Self { deltas: numbers.next()?.parse().ok()?, pace_ms: numbers.next()?.parse().ok()? })
    }
}
