//! What a guardrail beside a model used, as the trace of the model's answer tells it.

use serde_json::Value;

use super::Unit;
use super::shapes::GuardrailMembers;

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
