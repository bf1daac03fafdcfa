//! `bedgate_settings.limits`: bounds on what is held in memory and on disk.

use std::time::Duration;

use super::section::{Context, Section};
use super::setting::{Bytes, Mebibytes, Setting, Timeout};
use super::tree::Scalar;
use crate::journal::least_bytes;

/// What becomes of requests while the journal has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenJournalFull {
    /// They are refused (503): no cost is forgotten.
    #[default]
    Refuse,
    /// They are served, and their events are lost, which is counted and said.
    Serve,
}

impl Setting for WhenJournalFull {
    const EXPECTED: &'static str = "refuse or serve";

    fn parse(scalar: &Scalar) -> Option<Self> {
        match String::parse(scalar)?.as_str() {
            "refuse" => Some(Self::Refuse),
            "serve" => Some(Self::Serve),
            _ => None,
        }
    }
}

/// Bounds on what is held in memory and on disk: `bedgate_settings.limits`. Sizes are bytes or carry a unit
/// (`25MiB`, `10GiB`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// `max_body`, or LiteLLM's `general_settings.max_request_size_mb`: largest request body in bytes; a larger
    /// one is answered 413. Bedrock itself takes 25 000 000 bytes for InvokeModel.
    pub max_body_bytes: usize,
    /// `max_buffered`. Request bytes held by all requests together; beyond it requests are answered 503. Memory
    /// stays below this and what streams need.
    pub max_buffered_bytes: usize,
    /// `max_buffered_per_key`. Those held by all requests of one key together, so that one key cannot use up
    /// `max_buffered`; beyond it that key's requests are answered 503.
    pub max_buffered_per_key_bytes: usize,
    /// `max_buffered_unproven`. Those held by all requests together whose AWS signature can be checked only when the
    /// whole body is there (no `x-amz-content-sha256`; boto3 sends none): whoever knows an access key id can send
    /// them, and has to prove nothing before. Beyond it such requests are answered 503.
    pub max_buffered_unproven_bytes: usize,
    /// `max_inspected`. Response bytes inspected for usage per response; beyond it the event says `usage
    /// unknown`. Concerns responses that are one JSON document (images, embeddings); streams need far less.
    pub max_inspected_bytes: usize,
    /// `max_journal`. Journal bytes on disk; beyond it new work is refused rather than a cost forgotten. This
    /// is how long the database may be away: an event takes about 1 KiB.
    pub max_journal_bytes: u64,
    /// `when_journal_full`. `refuse` answers 503 rather than forget a cost; `serve` goes on, and counts the events that
    /// nobody will ever see (`bedgate_events_lost`).
    pub when_journal_full: WhenJournalFull,
    /// `drain_timeout`. How long a response is read on after its client left, to see its usage (AWS bills it
    /// anyway); 0: not at all.
    pub drain_timeout: Duration,
    /// `drain_bytes`. How many bytes of it.
    pub drain_bytes: u64,
    /// `body_timeout`. Time for a client to send its request body; too low hurts clients on slow lines.
    pub body_timeout: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 25 << 20,
            max_buffered_bytes: 512 << 20,
            max_buffered_per_key_bytes: 256 << 20,
            max_buffered_unproven_bytes: 128 << 20,
            max_inspected_bytes: 32 << 20,
            max_journal_bytes: 10 << 30,
            when_journal_full: WhenJournalFull::Refuse,
            drain_timeout: Duration::from_secs(120),
            drain_bytes: 64 << 20,
            body_timeout: Duration::from_secs(60),
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(
        mut section: Section<'_>,
        request_size: Option<Mebibytes>,
        workers: usize,
        ctx: &mut Context,
    ) -> Self {
        let default = Self::default();
        let mut size = |key: &'static str| section.get::<Bytes>(key, ctx).map(|bytes| bytes.0);
        let (max_body, max_buffered) = (size("max_body"), size("max_buffered"));
        let (per_key, unproven) = (size("max_buffered_per_key"), size("max_buffered_unproven"));
        let max_inspected = size("max_inspected");
        let (max_journal, drain_bytes) = (size("max_journal"), size("drain_bytes"));
        let when_journal_full = section.get("when_journal_full", ctx).unwrap_or_default();
        let drain_timeout = section.get("drain_timeout", ctx);
        let body_timeout = section.get::<Timeout>("body_timeout", ctx);
        let request_size = request_size.map(|size| size.0);
        if max_body.is_some() && request_size.is_some() && max_body != request_size {
            let problem =
                "says something else than general_settings.max_request_size_mb; keep one of the two";
            ctx.fault(&section.place.key("max_body"), problem);
        }
        let in_memory = |bytes: Option<u64>, default: usize| {
            bytes.map_or(default, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        let max_body_bytes = in_memory(max_body.or(request_size), default.max_body_bytes);
        let max_buffered_bytes = in_memory(max_buffered, default.max_buffered_bytes);
        // Parts of a small whole are small, but let one body in.
        let part = |part: usize| part.min(max_buffered_bytes).max(max_body_bytes);
        let limits = Self {
            max_body_bytes,
            max_buffered_bytes,
            max_buffered_per_key_bytes: in_memory(per_key, part(default.max_buffered_per_key_bytes)),
            max_buffered_unproven_bytes: in_memory(unproven, part(default.max_buffered_unproven_bytes)),
            max_inspected_bytes: in_memory(max_inspected, default.max_inspected_bytes),
            max_journal_bytes: max_journal.unwrap_or(default.max_journal_bytes),
            when_journal_full,
            drain_timeout: drain_timeout.unwrap_or(default.drain_timeout),
            drain_bytes: drain_bytes.unwrap_or(default.drain_bytes),
            body_timeout: body_timeout.map_or(default.body_timeout, |timeout| timeout.0),
        };
        for (key, bytes) in [
            ("max_buffered", limits.max_buffered_bytes),
            ("max_buffered_per_key", limits.max_buffered_per_key_bytes),
            ("max_buffered_unproven", limits.max_buffered_unproven_bytes),
        ] {
            if bytes < limits.max_body_bytes {
                let problem = "is below the largest request body; raise it, or lower max_body";
                ctx.fault(&section.place.key(key), problem);
            }
        }
        let least = least_bytes(workers);
        if limits.max_journal_bytes < least {
            let problem = format!(
                "is below {least} bytes, what the journals of {workers} workers need to take a single request; \
                 every event waits there until the database has it, so give it what an outage may bring"
            );
            ctx.fault(&section.place.key("max_journal"), problem);
        }
        section.refuse_rest(ctx);
        limits
    }
}
