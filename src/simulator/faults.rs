//! Failures and odd shapes on request, told by words in the call itself or by rules set from outside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tokens::SimulatedUsage;
use super::wire::{Delivery, End};

mod rules;

pub use rules::{FaultMatch, FaultRule};
pub(super) use rules::{FaultRules, MAX_RULES, Subject};

/// The largest body that `huge-body` makes, in MiB.
const MAX_HUGE_MIB: u64 = 1_024;

/// One thing that goes wrong, or a number that is to be reported. As text: its name, then its numbers, each after a dot.
///
/// Errors of the service: `throttle`, `internal-error`, `unavailable`, `model-error`, `model-timeout`,
/// `model-not-ready`, `validation-error`, `access-denied`, `not-found`, `quota-exceeded`, `expired-token`.
///
/// Before the head: `reset-before-head`, `close-before-head`, `stall-before-head.MILLISECONDS`, `redirect` (307),
/// `huge-body.MIB`; by rule or in the path only, before the body is read: `reject-early` (413, the rest of the upload is
/// taken in) and `reject-early-reset` (413, the rest of the upload is met by a reset).
///
/// After N pieces (frames, events) of a stream, or in the middle of a whole body: `reset-in-stream.N`,
/// `close-in-stream.N` (no last chunk, or less than Content-Length), `cut-in-frame.N` (half a frame, no last chunk),
/// `clean-cut-in-frame.N` (half a frame, then a clean end of HTTP), `close-in-chunk.N` (half a chunk),
/// `stall-in-stream.N.MILLISECONDS`. `short-body` is `close-in-stream` under its name for whole bodies.
/// `pace.MILLISECONDS` is the silence between two pieces.
///
/// In the stream: `exception-in-stream.N` (throttlingException after N frames), `error-in-stream.N` (an error frame that is
/// not modelled), `no-end` (the terminal event is missing, HTTP ends cleanly).
///
/// Of a bidirectional stream: `stop-reading.N` (after N events nothing more is taken). There each event counts
/// `usage.TEXT_IN.TEXT_OUT.SPEECH_IN.SPEECH_OUT`, and pieces are frames of the answer.
///
/// Numbers: `usage.INPUT.OUTPUT.CACHE_READ.CACHE_WRITE_5M.CACHE_WRITE_1H` (missing ones are 0), `no-usage` (nothing is
/// reported).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Fault {
    name: &'static str,
    numbers: Vec<u64>,
}

/// All actions and how many numbers each takes at most.
const ACTIONS: [(&str, usize); 32] = [
    ("throttle", 0),
    ("internal-error", 0),
    ("unavailable", 0),
    ("model-error", 0),
    ("model-timeout", 0),
    ("model-not-ready", 0),
    ("validation-error", 0),
    ("access-denied", 0),
    ("not-found", 0),
    ("quota-exceeded", 0),
    ("expired-token", 0),
    ("reset-before-head", 0),
    ("close-before-head", 0),
    ("reset-in-stream", 1),
    ("close-in-stream", 1),
    ("short-body", 0),
    ("cut-in-frame", 1),
    ("clean-cut-in-frame", 1),
    ("close-in-chunk", 1),
    ("stall-in-stream", 2),
    ("stall-before-head", 1),
    ("pace", 1),
    ("reject-early", 0),
    ("redirect", 0),
    ("huge-body", 1),
    ("exception-in-stream", 1),
    ("error-in-stream", 1),
    ("no-end", 0),
    ("usage", 5),
    ("no-usage", 0),
    ("reject-early-reset", 0),
    ("stop-reading", 1),
];

impl Fault {
    /// Reads an action at the start of a text; what follows its name and numbers is left alone.
    fn at_start(text: &str) -> Option<Self> {
        let follows = |name: &str| {
            text.strip_prefix(name).filter(|rest| !rest.starts_with(|next: char| next.is_ascii_lowercase()))
        };
        let longest =
            ACTIONS.iter().filter(|(name, _)| follows(name).is_some()).max_by_key(|(name, _)| name.len());
        let (name, most) = *longest?;
        let mut rest = follows(name).unwrap_or_default();
        let mut numbers = Vec::new();
        while numbers.len() < most {
            let Some(after_dot) = rest.strip_prefix('.') else { break };
            let digits = after_dot.bytes().take_while(u8::is_ascii_digit).count();
            let Some(number) = after_dot.get(..digits).and_then(|digits| digits.parse().ok()) else { break };
            numbers.push(number);
            rest = after_dot.get(digits..).unwrap_or_default();
        }
        Some(Self { name, numbers })
    }

    fn is_early(&self) -> bool {
        self.name.starts_with("reject-early")
    }

    fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(0)
    }

    fn count(&self) -> usize {
        usize::try_from(self.number(0)).unwrap_or(usize::MAX)
    }

    fn milliseconds(&self, index: usize) -> Duration {
        Duration::from_millis(self.number(index))
    }
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::at_start(&text)
            .filter(|fault| fault.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no action of the simulator"))
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)?;
        self.numbers.iter().try_for_each(|number| write!(formatter, ".{number}"))
    }
}

/// What happens to one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Faults(Vec<Fault>);

/// An error of the service: status, type, words.
pub(super) type ServiceError = (u16, &'static str, &'static str);

impl Faults {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn named(&self, name: &str) -> Option<&Fault> {
        self.0.iter().find(|fault| fault.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    /// The number of pieces an action names.
    pub(super) fn count(&self, name: &str) -> Option<usize> {
        self.named(name).map(Fault::count)
    }

    pub(super) fn huge_body_bytes(&self) -> Option<usize> {
        let mib = self.named("huge-body")?.number(0).min(MAX_HUGE_MIB);
        usize::try_from(mib.saturating_mul(1024 * 1024)).ok()
    }

    pub(super) fn usage(&self) -> Option<SimulatedUsage> {
        let fault = self.named("usage")?;
        Some(SimulatedUsage {
            input: fault.number(0),
            output: fault.number(1),
            cache_read: fault.number(2),
            cache_write_5m: fault.number(3),
            cache_write_1h: fault.number(4),
        })
    }

    /// The error that is answered instead.
    pub(super) fn service_error(&self) -> Option<ServiceError> {
        self.0.iter().find_map(|fault| {
            Some(match fault.name {
                "throttle" => {
                    (429, "ThrottlingException", "Too many requests, please wait before trying again.")
                }
                "internal-error" => (
                    500,
                    "InternalServerException",
                    "The system encountered an unexpected error during processing. Try your request again.",
                ),
                "unavailable" => {
                    (503, "ServiceUnavailableException", "Bedrock is unable to process your request.")
                }
                "model-error" => (
                    424,
                    "ModelErrorException",
                    "The system encountered an unexpected error during processing. Try your request again.",
                ),
                "model-timeout" => (
                    408,
                    "ModelTimeoutException",
                    "The model timed out in processing the request. Try your request again.",
                ),
                "model-not-ready" => (
                    429,
                    "ModelNotReadyException",
                    "The model is not ready to serve inference requests. Try your request again.",
                ),
                "validation-error" => {
                    (400, "ValidationException", "The provided model identifier is invalid.")
                }
                "access-denied" => (
                    403,
                    "AccessDeniedException",
                    "You don't have access to the model with the specified model ID.",
                ),
                "not-found" => (
                    404,
                    "ResourceNotFoundException",
                    "Could not resolve the foundation model from the provided model identifier.",
                ),
                "quota-exceeded" => (
                    400,
                    "ServiceQuotaExceededException",
                    "Your request exceeds the service quota for your account.",
                ),
                "expired-token" => {
                    (403, "ExpiredTokenException", "The security token included in the request is expired")
                }
                _ => return None,
            })
        })
    }

    /// How the answer goes over the wire.
    pub(super) fn delivery(&self, delay: Duration, pace: Duration) -> Delivery {
        let mut delivery = Delivery { before_head: delay, pace, ..Delivery::default() };
        for fault in &self.0 {
            let pieces = fault.count();
            match fault.name {
                "reset-before-head" => delivery.end = End::BeforeHead { reset: true },
                "close-before-head" => delivery.end = End::BeforeHead { reset: false },
                "reset-in-stream" => delivery.end = End::AfterPieces { pieces, reset: true },
                "close-in-stream" | "short-body" => {
                    delivery.end = End::AfterPieces { pieces, reset: false };
                }
                "cut-in-frame" => delivery.end = End::MidPiece { pieces, clean: false },
                "clean-cut-in-frame" => delivery.end = End::MidPiece { pieces, clean: true },
                "close-in-chunk" => delivery.end = End::MidChunk { pieces },
                "stall-in-stream" => delivery.stall = Some((pieces, fault.milliseconds(1))),
                "stall-before-head" => delivery.before_head = fault.milliseconds(0),
                "pace" => delivery.pace = fault.milliseconds(0),
                _ => {}
            }
        }
        delivery
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Fault::to_string).collect();
        formatter.write_str(&texts.join(" "))
    }
}
