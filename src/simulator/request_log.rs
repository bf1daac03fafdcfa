//! What arrived at the simulator and what became of it: a bounded ring that tests and people read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::tokens::SimulatedUsage;
use super::wire::Head;

/// One request as it arrived, and its answer as it left. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RecordedRequest {
    /// Counts up from 1.
    pub sequence: u64,
    /// The `x-amzn-requestid` that was answered.
    pub request_id: String,
    /// Method of the request line.
    pub method: String,
    /// Path as sent.
    pub path: String,
    /// Query as sent.
    pub query: String,
    /// Headers as sent, in their order.
    pub headers: Vec<(String, String)>,
    /// Length of the body in bytes.
    pub body_length: u64,
    /// SHA-256 of the body in lower-case hex.
    pub body_sha256: String,
    /// The start of the body, as text where it is UTF-8.
    pub body: Option<String>,
    /// The start of the body in base64, where it is not.
    pub body_base64: Option<String>,
    /// Events of a bidirectional stream, so far; its body is these events without their envelopes.
    pub events: u64,
    /// SHA-256 of what was answered to a bidirectional stream, in lower-case hex; empty while it goes on.
    pub answer_sha256: String,
    /// How a bidirectional stream's events ended: `complete`, `cut short` or `refused`; empty while they go on.
    pub upload: String,
    /// `signature`, `bearer` or `unchecked` when let in; else `violation` or the error's type. Empty while undecided.
    pub verdict: String,
    /// What should never have arrived, if anything did.
    pub violation: Option<String>,
    /// The key that signed, or that a refused signature names.
    pub access_key_id: Option<String>,
    /// Region of the credential scope.
    pub region: Option<String>,
    /// Service of the credential scope.
    pub service: Option<String>,
    /// The actions that were applied, separated by blanks.
    pub faults: String,
    /// The usage that was answered, where the operation reports one.
    pub usage: Option<SimulatedUsage>,
    /// Status of the answer, from before its first byte; 0 while it is undecided.
    pub status: u16,
    /// When the head had arrived.
    pub received_at: u64,
    /// When the body had arrived.
    pub body_received_at: Option<u64>,
    /// When the answer's first bytes left.
    pub first_byte_at: Option<u64>,
    /// When the answer ended, well or not; a moment after its last byte left.
    pub ended_at: Option<u64>,
    /// When the peer was seen to have left before the answer's end.
    pub peer_left_at: Option<u64>,
    /// Bytes of the answer that left, head included.
    pub bytes_sent: u64,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Requests whose head arrived.
    pub requests: u64,
    /// Requests whose answer has ended, well or not; the others are in flight.
    pub answered: u64,
    /// Requests with a signature, token or time that AWS would refuse.
    pub refused: u64,
    /// Requests with something that must never reach AWS.
    pub violations: u64,
    /// Requests that a fault was applied to.
    pub faulted: u64,
    /// Answers whose peer left early.
    pub peers_left: u64,
    /// Body bytes read.
    pub bytes_received: u64,
    /// Answer bytes sent.
    pub bytes_sent: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) violations: AtomicU64,
    pub(super) faulted: AtomicU64,
    pub(super) peers_left: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The ring and the counters.
#[derive(Debug)]
pub(super) struct RequestLog {
    enabled: bool,
    capacity: usize,
    body_bytes: usize,
    ring: Mutex<VecDeque<Entry>>,
    pub(super) counters: Counters,
}

/// A request in the ring; it is filled in while the request is served. Empty when the log is off.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry(Option<Arc<Mutex<RecordedRequest>>>);

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut RecordedRequest)) {
        if let Some(record) = &self.0 {
            change(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn read(&self) -> Option<RecordedRequest> {
        self.0.as_ref().map(|record| record.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl RequestLog {
    pub(super) fn new(enabled: bool, capacity: usize, body_bytes: usize) -> Self {
        Self { enabled, capacity, body_bytes, ring: Mutex::default(), counters: Counters::default() }
    }

    /// Notes that a head arrived.
    pub(super) fn begin(&self, head: &Head, request_id: &str, now: u64) -> Entry {
        let before = self.counters.requests.fetch_add(1, Ordering::Relaxed);
        if !self.enabled || self.capacity == 0 {
            return Entry::default();
        }
        let entry = Entry(Some(Arc::new(Mutex::new(RecordedRequest {
            sequence: before.saturating_add(1),
            request_id: request_id.to_owned(),
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            headers: head.headers.clone(),
            received_at: now,
            ..RecordedRequest::default()
        }))));
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        while ring.len() >= self.capacity {
            ring.pop_front();
        }
        ring.push_back(entry.clone());
        entry
    }

    /// Notes a body.
    pub(super) fn note_body(&self, entry: &Entry, body: &Bytes, now: u64) {
        count(&self.counters.bytes_received, body.len() as u64);
        let start = body.slice(..body.len().min(self.body_bytes));
        entry.update(|record| {
            record.body_received_at = Some(now);
            record.body_length = body.len() as u64;
            record.body_sha256 = hex::encode(Sha256::digest(body));
            match std::str::from_utf8(&start) {
                Ok(text) => record.body = Some(text.to_owned()),
                Err(_) => record.body_base64 = Some(STANDARD.encode(&start)),
            }
        });
    }

    pub(super) fn snapshot(&self) -> Vec<RecordedRequest> {
        let entries: Vec<Entry> =
            self.ring.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        entries.iter().filter_map(Entry::read).collect()
    }

    pub(super) fn clear(&self) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connections: read(&self.counters.connections),
            requests: read(&self.counters.requests),
            answered: read(&self.counters.answered),
            refused: read(&self.counters.refused),
            violations: read(&self.counters.violations),
            faulted: read(&self.counters.faulted),
            peers_left: read(&self.counters.peers_left),
            bytes_received: read(&self.counters.bytes_received),
            bytes_sent: read(&self.counters.bytes_sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_newest_requests_and_the_start_of_their_bodies() {
        let log = RequestLog::new(true, 2, 3);
        for (index, body) in [&b"abcdef"[..], b"abcdef", b"\xff\xfe"].iter().enumerate() {
            let entry = log.begin(&Head::default(), "id", index as u64);
            log.note_body(&entry, &Bytes::copy_from_slice(body), 9);
        }
        let kept = log.snapshot();
        assert_eq!(kept.iter().map(|record| record.sequence).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(kept[0].body.as_deref(), Some("abc"));
        assert_eq!(kept[0].body_length, 6);
        assert_eq!(kept[1].body_base64.as_deref(), Some("//4="));
        assert_eq!(log.stats().requests, 3);
    }
}
