//! What a guardrail used: as its own answer states it, or beside a model the trace of the model's answer.

use serde::Deserialize;
use serde_json::Value;

use super::count::{Count, value};
use super::shapes::Stated;
use super::{Unit, Usage};

/// Adds up what all assessments of a trace state; `None` where none states anything. The trace names them by guardrail,
/// in lists and objects that differ between Converse (`trace.guardrail`) and InvokeModel (`amazon-bedrock-trace`); in
/// both, each holds `invocationMetrics.usage`.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailTraceAssessment.html>
pub(super) fn units_in_trace(trace: &[u8]) -> Option<Vec<(Unit, u64)>> {
    let trace: Value = serde_json::from_slice(trace).ok()?;
    let mut units = None;
    add(&trace, &mut units);
    units
}

/// As deep as serde_json reads.
fn add(value: &Value, units: &mut Option<Vec<(Unit, u64)>>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| add(value, units)),
        Value::Object(members) => {
            for (name, value) in members {
                let usage = value.get("usage").filter(|_| name == "invocationMetrics");
                match usage.and_then(|usage| serde_json::from_value::<GuardrailMembers>(usage.clone()).ok()) {
                    Some(usage) => merge(units.get_or_insert_default(), usage.used()),
                    None => add(value, units),
                }
            }
        }
        _ => {}
    }
}

fn merge(units: &mut Vec<(Unit, u64)>, more: impl Iterator<Item = (Unit, u64)>) {
    for (unit, count) in more {
        match units.iter_mut().find(|(known, _)| *known == unit) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => units.push((unit, count)),
        }
    }
}

/// ApplyGuardrail's `usage`. Word filters and `sensitiveInformationPolicyFreeUnits` are free and not read.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailUsage.html>
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct GuardrailMembers {
    pub(super) content_policy_units: Option<Count>,
    pub(super) content_policy_image_units: Option<Count>,
    pub(super) topic_policy_units: Option<Count>,
    pub(super) word_policy_units: Option<Count>,
    pub(super) sensitive_information_policy_units: Option<Count>,
    pub(super) contextual_grounding_policy_units: Option<Count>,
    pub(super) automated_reasoning_policy_units: Option<Count>,
}

impl GuardrailMembers {
    /// What it says; `None` if it says nothing.
    pub(super) fn stated(&self) -> Option<Stated> {
        let says_nothing =
            self.counts().iter().all(|(_, count)| count.is_none()) && self.word_policy_units.is_none();
        if says_nothing {
            return None;
        }
        let units = self.used().collect();
        Some(Stated { usage: Usage { units, ..Usage::default() }, split_stated: true })
    }

    /// What is billed.
    pub(super) fn used(&self) -> impl Iterator<Item = (Unit, u64)> + use<> {
        self.counts().into_iter().map(|(unit, count)| (unit, value(count))).filter(|(_, count)| *count > 0)
    }

    fn counts(&self) -> [(Unit, Option<Count>); 6] {
        [
            (Unit::GuardrailContentUnit, self.content_policy_units),
            (Unit::GuardrailContentImage, self.content_policy_image_units),
            (Unit::GuardrailTopicUnit, self.topic_policy_units),
            (Unit::GuardrailSensitiveInformationUnit, self.sensitive_information_policy_units),
            (Unit::GuardrailGroundingUnit, self.contextual_grounding_policy_units),
            (Unit::GuardrailAutomatedReasoningUnit, self.automated_reasoning_policy_units),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assessments_of_a_trace_are_added_up() {
        let converse = r#"{"guardrail":{"modelOutput":["x"],
            "inputAssessment":{"g1":{"invocationMetrics":{"guardrailProcessingLatency":9,"usage":{"topicPolicyUnits":1,"contentPolicyUnits":2,"wordPolicyUnits":5}}}},
            "outputAssessments":{"g1":[{"invocationMetrics":{"usage":{"contentPolicyUnits":3}}},{"topicPolicy":{"topics":[]}}]}}}"#;
        let invoke = r#"{"guardrail":{"input":{"g1":{"invocationMetrics":{"usage":{"contentPolicyUnits":2}}}},
            "outputs":[{"g1":{"invocationMetrics":{"usage":{"topicPolicyUnits":1,"contentPolicyUnits":3}}}}]}}"#;
        for trace in [converse, invoke] {
            let mut units = units_in_trace(trace.as_bytes()).unwrap();
            units.sort_by_key(|(_, count)| *count);
            assert_eq!(units, [(Unit::GuardrailTopicUnit, 1), (Unit::GuardrailContentUnit, 5)]);
        }
        let words = r#"{"guardrail":{"inputAssessment":{"g":{"invocationMetrics":{"usage":{"wordPolicyUnits":1}}}}}}"#;
        assert_eq!(units_in_trace(words.as_bytes()), Some(Vec::new()));
        for trace in
            [r#"{"promptRouter":{"invokedModelId":"m"}}"#, r#"{"guardrail":{"inputAssessment":{}}}"#, "[", ""]
        {
            assert_eq!(units_in_trace(trace.as_bytes()), None, "{trace}");
        }
    }
}
