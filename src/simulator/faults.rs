//! Failures and odd shapes on request, told by words in the call itself or by rules set from outside.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tokens::SimulatedUsage;
use super::wire::{Delivery, End};

/// Stands before the name of an action in a model id, a path or a body.
const MAGIC: &str = "simulate.";
/// The most magic words that one request is searched for.
const MAX_MAGIC_WORDS: usize = 16;
/// The most rules that stand at once.
pub(super) const MAX_RULES: usize = 1_000;
/// The largest body that `huge-body` makes, in MiB.
const MAX_HUGE_MIB: u64 = 1_024;

/// One thing that goes wrong, or a number that is to be reported. As text: `name`, then its numbers, each after a dot.
///
/// Errors of the service: `throttle`, `internal-error`, `unavailable`, `model-error`, `model-timeout`, `model-not-ready`, `validation-error`,
/// `access-denied`, `not-found`, `quota-exceeded`, `expired-token`.
///
/// On the wire: `reset-before-head`, `close-before-head`; after N pieces (frames or events) of a stream, or in the middle
/// of a whole body: `reset-in-stream.N`, `close-in-stream.N` (no last chunk), `short-body` (less than Content-Length),
/// `cut-in-frame.N` (half a frame, no last chunk), `clean-cut-in-frame.N` (half a frame, then a clean end of HTTP), `close-in-chunk.N`,
/// `stall-in-stream.N.MILLISECONDS`, `stall-before-head.MILLISECONDS`, `pace.MILLISECONDS`, `reject-early` (413 before the body is read; by rule or in the path only), `redirect` (307), `huge-body.MIB`.
///
/// In the stream: `exception-in-stream.N` (throttlingException after N frames), `error-in-stream.N` (an unmodelled error frame), `no-end` (the terminal event is
/// missing, HTTP ends cleanly).
///
/// Numbers: `usage.INPUT.OUTPUT.CACHE_READ.CACHE_WRITE_5M.CACHE_WRITE_1H` (missing ones are 0), `no-usage` (nothing is reported).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Fault {
    name: &'static str,
    numbers: Vec<u64>,
}

/// All actions and how many numbers each takes at most.
const ACTIONS: [(&str, usize); 28] = [
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
];
const NUMBER_ACTIONS: [(&str, usize); 2] = [("usage", 5), ("no-usage", 0)];

impl Fault {
    /// Reads an action at the start of a text; what follows its name and numbers is left alone.
    fn at_start(text: &str) -> Option<Self> {
        let follows = |name: &str| {
            text.strip_prefix(name).filter(|rest| !rest.starts_with(|next: char| next.is_ascii_lowercase()))
        };
        let known = ACTIONS.iter().chain(&NUMBER_ACTIONS);
        let longest = known.filter(|(name, _)| follows(name).is_some()).max_by_key(|(name, _)| name.len());
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

/// What a call must look like for a rule to apply; members left out match all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultMatch {
    /// Part of the model id.
    pub model_contains: Option<String>,
    /// Part of the decoded path.
    pub path_contains: Option<String>,
    /// Part of the body.
    pub body_contains: Option<String>,
    /// The region of the credential scope.
    pub region: Option<String>,
    /// The access key that signed.
    pub access_key_id: Option<String>,
    /// Only this one of the calls that match otherwise, counted from 1.
    pub nth: Option<u64>,
}

/// Actions for the calls that match, at most some times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which calls.
    #[serde(default, rename = "match")]
    pub matching: FaultMatch,
    /// What happens to them.
    pub actions: Vec<Fault>,
    /// How often; left out: always.
    #[serde(default)]
    pub times: Option<u64>,
}

/// What rules look at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Subject<'a> {
    pub(super) model: &'a str,
    /// Decoded.
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
    pub(super) region: Option<&'a str>,
    pub(super) access_key_id: Option<&'a str>,
}

impl FaultMatch {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let part_of = |part: &Option<String>, whole: &[u8]| {
            part.as_ref().is_none_or(|part| memchr::memmem::find(whole, part.as_bytes()).is_some())
        };
        let same =
            |wanted: &Option<String>, held: Option<&str>| wanted.is_none() || wanted.as_deref() == held;
        part_of(&self.model_contains, subject.model.as_bytes())
            && part_of(&self.path_contains, subject.path.as_bytes())
            && part_of(&self.body_contains, subject.body)
            && same(&self.region, subject.region)
            && same(&self.access_key_id, subject.access_key_id)
    }
}

#[derive(Debug)]
struct StandingRule {
    rule: FaultRule,
    matched: u64,
    applied: u64,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct FaultRules {
    standing: Mutex<Vec<StandingRule>>,
}

impl FaultRules {
    pub(super) fn replace(&self, rules: Vec<FaultRule>) {
        let standing = rules.into_iter().take(MAX_RULES);
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) =
            standing.map(|rule| StandingRule { rule, matched: 0, applied: 0 }).collect();
    }

    /// Whether a call is to be rejected before its body is read.
    pub(super) fn reject_early(&self, subject: &Subject<'_>) -> bool {
        let is_early = |fault: &Fault| fault.name == "reject-early";
        Self::magic(subject.path.as_bytes()).iter().any(is_early)
            || self.ruled(subject, &|rule| rule.actions.iter().any(is_early)).iter().any(is_early)
    }

    /// What is to happen to a call: by magic words first, then by rules, each of which counts the call.
    pub(super) fn for_call(&self, subject: &Subject<'_>) -> Faults {
        let mut faults = Self::magic(subject.path.as_bytes());
        faults.extend(Self::magic(subject.body));
        let is_late = |rule: &FaultRule| rule.actions.iter().all(|fault| fault.name != "reject-early");
        faults.extend(self.ruled(subject, &is_late));
        Faults(faults)
    }

    fn magic(text: &[u8]) -> Vec<Fault> {
        memchr::memmem::find_iter(text, MAGIC.as_bytes())
            .take(MAX_MAGIC_WORDS)
            .filter_map(|found| {
                let rest = text.get(found.saturating_add(MAGIC.len())..)?;
                let rest = rest.get(..rest.len().min(128))?;
                Fault::at_start(rest.utf8_chunks().next()?.valid())
            })
            .collect()
    }

    fn ruled(&self, subject: &Subject<'_>, among: &dyn Fn(&FaultRule) -> bool) -> Vec<Fault> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults = Vec::new();
        for held in standing.iter_mut().filter(|held| among(&held.rule) && held.rule.matching.covers(subject))
        {
            held.matched = held.matched.saturating_add(1);
            let is_its_turn = held.rule.matching.nth.is_none_or(|nth| nth == held.matched);
            let is_left = held.rule.times.is_none_or(|times| held.applied < times);
            if is_its_turn && is_left {
                held.applied = held.applied.saturating_add(1);
                faults.extend(held.rule.actions.iter().cloned());
            }
        }
        faults
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_words_are_found_in_model_ids_and_texts() {
        let cases = [
            ("/model/anthropic.simulate.throttle-v1:0/converse", "throttle"),
            ("please simulate.usage.10.20.5 now", "usage.10.20.5"),
            ("simulate.usage.1.2, simulate.pace.30", "usage.1.2 pace.30"),
            ("simulate.stall-in-stream.3.500.7", "stall-in-stream.3.500"),
            ("simulate.no-usage", "no-usage"),
            ("simulate.throttled simulate.nothing simulate.", ""),
        ];
        for (text, expected) in cases {
            let rules = FaultRules::default();
            let faults = rules.for_call(&Subject { path: text, ..Subject::default() });
            assert_eq!(faults.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_rule_applies_to_its_calls_and_as_often_as_it_says() {
        let rules = FaultRules::default();
        rules.replace(
            serde_json::from_str(
                r#"[{"match":{"model_contains":"haiku","region":"eu-west-1"},"actions":["throttle"],"times":2},
                    {"match":{"nth":3},"actions":["pace.5"]}]"#,
            )
            .unwrap(),
        );
        let haiku = Subject { model: "claude-haiku", region: Some("eu-west-1"), ..Subject::default() };
        let elsewhere = Subject { region: Some("us-east-1"), ..haiku };
        let seen: Vec<String> = [haiku, elsewhere, haiku, haiku, elsewhere]
            .iter()
            .map(|subject| rules.for_call(subject).to_string())
            .collect();
        assert_eq!(seen, ["throttle", "", "throttle pace.5", "", ""]);
    }

    #[test]
    fn a_rule_with_an_unknown_action_is_refused() {
        for rule in [r#"{"actions":["explode"]}"#, r#"{"actions":["pace.x"]}"#, r#"{"actions":[],"typo":1}"#]
        {
            assert!(serde_json::from_str::<FaultRule>(rule).is_err(), "{rule}");
        }
    }
}
