//! `bedgate_settings.bidirectional`: bounds of requests that stream events both ways.

use std::time::Duration;

use super::section::{Context, Section};
use super::setting::{Bytes, Timeout};

/// Bounds of requests that stream events both ways (InvokeModelWithBidirectionalStream):
/// `bedgate_settings.bidirectional`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BidirectionalConfig {
    /// `max_event`. Largest event of a client in bytes, with its envelope; a larger one ends the stream. So much of each
    /// stream may be held. Bedrock takes parts of 1 000 000 bytes, which are a third more in base64.
    pub max_event_bytes: usize,
    /// `idle_timeout`. Longest time without an event of either side; then the stream is broken off. Too low cuts
    /// conversations that pause; Nova Sonic itself ends them after less than a minute without sound.
    pub idle_timeout: Duration,
    /// `max_duration`. Longest life of a stream; then it is broken off. Nova Sonic's own limit is eight minutes.
    pub max_duration: Duration,
}

impl Default for BidirectionalConfig {
    fn default() -> Self {
        Self {
            max_event_bytes: 2 << 20,
            idle_timeout: Duration::from_secs(120),
            max_duration: Duration::from_secs(3_600),
        }
    }
}

/// Smallest bound of an event, in bytes: less would refuse what every client sends first.
const MIN_EVENT: u64 = 4 << 10;
/// Largest bound of an event, in bytes: no frame of an event stream may be larger.
const MAX_EVENT: u64 = 24 << 20;

impl BidirectionalConfig {
    pub(super) fn read(mut section: Section<'_>, ctx: &mut Context) -> Self {
        let default = Self::default();
        let max_event = section.get::<Bytes>("max_event", ctx).map(|bytes| bytes.0);
        if max_event.is_some_and(|bytes| !(MIN_EVENT..=MAX_EVENT).contains(&bytes)) {
            let problem = format!("expected a size from {MIN_EVENT} to {MAX_EVENT} bytes");
            ctx.fault(&section.place.key("max_event"), problem);
        }
        let idle_timeout = section.get::<Timeout>("idle_timeout", ctx);
        let max_duration = section.get::<Timeout>("max_duration", ctx);
        section.refuse_rest(ctx);
        Self {
            max_event_bytes: max_event
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(default.max_event_bytes),
            idle_timeout: idle_timeout.map_or(default.idle_timeout, |timeout| timeout.0),
            max_duration: max_duration.map_or(default.max_duration, |timeout| timeout.0),
        }
    }
}
