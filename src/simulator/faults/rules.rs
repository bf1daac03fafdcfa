//! Which calls fail: those that say so themselves, and those that a rule is about.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Fault, Faults};

/// Stands before the name of an action in a model id, a path or a body.
const MAGIC: &str = "simulate.";
/// The most magic words that one request is searched for.
const MAX_MAGIC_WORDS: usize = 16;
/// The most bytes of a magic word.
const MAX_MAGIC_BYTES: usize = 128;
/// The most rules that stand at once.
pub(in crate::simulator) const MAX_RULES: usize = 1_000;

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

/// An answer of 413 while the body is still on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulator) struct EarlyRejection {
    /// Whether what the peer still sends is met by a reset; else it is taken in.
    pub(in crate::simulator) resets: bool,
}

/// What rules look at.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::simulator) struct Subject<'a> {
    pub(in crate::simulator) model: &'a str,
    /// Decoded.
    pub(in crate::simulator) path: &'a str,
    pub(in crate::simulator) body: &'a [u8],
    pub(in crate::simulator) region: Option<&'a str>,
    pub(in crate::simulator) access_key_id: Option<&'a str>,
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
pub(in crate::simulator) struct FaultRules {
    standing: Mutex<Vec<StandingRule>>,
}

impl FaultRules {
    pub(in crate::simulator) fn replace(&self, rules: Vec<FaultRule>) {
        let standing = rules.into_iter().take(MAX_RULES);
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) =
            standing.map(|rule| StandingRule { rule, matched: 0, applied: 0 }).collect();
    }

    /// Whether a call is to be rejected before its body is read.
    pub(in crate::simulator) fn early_rejection(&self, subject: &Subject<'_>) -> Option<EarlyRejection> {
        let mut faults = Self::magic(subject.path.as_bytes());
        faults.extend(self.ruled(subject, &|rule| rule.actions.iter().any(Fault::is_early)));
        let fault = faults.iter().find(|fault| fault.is_early())?;
        Some(EarlyRejection { resets: fault.name == "reject-early-reset" })
    }

    /// What is to happen to a call: by magic words first, then by rules, each of which counts the call.
    pub(in crate::simulator) fn for_call(&self, subject: &Subject<'_>) -> Faults {
        let mut faults = Self::magic(subject.path.as_bytes());
        faults.extend(Self::magic(subject.body));
        let is_late = |rule: &FaultRule| !rule.actions.iter().any(Fault::is_early);
        faults.extend(self.ruled(subject, &is_late));
        Faults(faults)
    }

    fn magic(text: &[u8]) -> Vec<Fault> {
        memchr::memmem::find_iter(text, MAGIC.as_bytes())
            .take(MAX_MAGIC_WORDS)
            .filter_map(|found| {
                let rest = text.get(found.saturating_add(MAGIC.len())..)?;
                let rest = rest.get(..rest.len().min(MAX_MAGIC_BYTES))?;
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
