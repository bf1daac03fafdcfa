//! How long an answer a request asks for: by which members, and which of them the operation asked heeds.

use serde::Deserialize;

use super::count::Count;
use super::json_members::JsonMembers;

/// Members that bound the answer by themselves.
const PLAIN: [&str; 7] = [
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens_to_sample",
    "max_gen_len",
    "max_new_tokens",
    "maxTokens",
];
/// Members that hold one that does.
const NESTED: [&str; 2] = ["inferenceConfig", "textGenerationConfig"];
/// What Converse hands to the model as it is: it may hold a bound of the model's own.
const HANDED_ON: &str = "additionalModelRequestFields";

/// A bound by the name of its member; `None`: it cannot be read.
type Bound = (&'static str, Option<u64>);

/// Every bound that a request's body names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputBounds {
    bounds: Vec<Bound>,
    alternatives: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Nested {
    #[serde(rename = "maxTokens")]
    max_tokens: Option<Count>,
    max_new_tokens: Option<Count>,
    #[serde(rename = "maxTokenCount")]
    max_token_count: Option<Count>,
}

impl OutputBounds {
    pub(super) fn of(members: &JsonMembers) -> Self {
        let mut bounds = Vec::new();
        for name in PLAIN {
            if let Some(text) = members.value(name) {
                push(&mut bounds, name, serde_json::from_slice(text));
            }
        }
        for name in NESTED {
            match members.value(name).map(serde_json::from_slice::<Option<Nested>>) {
                Some(Ok(nested)) => {
                    let nested = nested.unwrap_or_default();
                    push(&mut bounds, "inferenceConfig.maxTokens", Ok(nested.max_tokens));
                    push(&mut bounds, "inferenceConfig.max_new_tokens", Ok(nested.max_new_tokens));
                    push(&mut bounds, "textGenerationConfig.maxTokenCount", Ok(nested.max_token_count));
                }
                Some(Err(_)) => bounds.push((name, None)),
                None => {}
            }
        }
        // Not read but for whether it may name a bound: few requests have one there.
        let is_named =
            |text: &[u8]| [&b"max"[..], b"\\"].iter().any(|part| memchr::memmem::find(text, part).is_some());
        if members.value(HANDED_ON).is_some_and(is_named) {
            bounds.push((HANDED_ON, None));
        }
        let count = |name: &str| members.value(name).map(serde_json::from_slice::<Option<Count>>);
        let mut alternatives = 1;
        for count in ["n", "num_generations"].into_iter().filter_map(count) {
            match count {
                Ok(count) => alternatives = alternatives.max(count.map_or(1, |count| count.0)),
                Err(_) => bounds.push(("n", None)),
            }
        }
        Self { bounds, alternatives }
    }

    /// Whether it asks for one answer, not for alternatives beside it.
    pub(super) fn is_for_one_answer(&self) -> bool {
        self.alternatives <= 1 && !self.bounds.contains(&("n", None))
    }

    /// The longest answer, all alternatives together, whatever the operation; `None` where a bound is missing or
    /// cannot be read.
    pub(crate) fn longest(&self) -> Option<u64> {
        self.longest_of(|_| true)
    }

    /// The longest answer by the members that an operation heeds: others it may pass over, and answer at length.
    pub(crate) fn longest_for(&self, operation: &str) -> Option<u64> {
        match operation {
            "Converse" | "ConverseStream" => self.longest_of(|name| {
                matches!(name, "inferenceConfig.maxTokens" | "inferenceConfig" | HANDED_ON)
            }),
            "OpenAiChatCompletions" => {
                self.longest_of(|name| matches!(name, "max_tokens" | "max_completion_tokens" | "n"))
            }
            "OpenAiResponses" => self.longest_of(|name| name == "max_output_tokens"),
            "AnthropicMessages" => self.longest_of(|name| name == "max_tokens"),
            _ => self.longest(),
        }
    }

    fn longest_of(&self, is_heeded: impl Fn(&str) -> bool) -> Option<u64> {
        let mut heeded = self.bounds.iter().filter(|(name, _)| is_heeded(name)).map(|(_, bound)| *bound);
        let first = heeded.next()??;
        let longest = heeded.try_fold(first, |longest, bound| Some(longest.max(bound?)))?;
        Some(longest.saturating_mul(self.alternatives))
    }
}

fn push(bounds: &mut Vec<Bound>, name: &'static str, count: serde_json::Result<Option<Count>>) {
    match count {
        Ok(Some(count)) => bounds.push((name, Some(count.0))),
        Err(_) => bounds.push((name, None)),
        Ok(None) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::usage::RequestFacts;

    #[test]
    fn the_longest_of_all_bounds_counts_and_only_those_that_the_operation_heeds() {
        for (operation, body, expected) in [
            ("InvokeModel", r#"{"max_tokens":1,"max_completion_tokens":9}"#, Some(9)),
            ("InvokeModel", r#"{"inferenceConfig":{"maxTokens":1,"max_new_tokens":8}}"#, Some(8)),
            ("InvokeModel", r#"{"inferenceConfig":{"maxTokens":1},"max_tokens":7}"#, Some(7)),
            ("InvokeModel", r#"{"max_tokens":1,"max_gen_len":"9"}"#, None),
            ("InvokeModel", r#"{"max_tokens":null,"max_gen_len":9}"#, Some(9)),
            ("InvokeModel", r#"{"max_tokens":2,"n":2,"num_generations":5}"#, Some(10)),
            ("InvokeModel", r#"{"max_tokens":2,"n":-1}"#, None),
            ("Converse", r#"{"inferenceConfig":{"maxTokens":3}}"#, Some(3)),
            ("Converse", r#"{"inferenceConfig":{"max\u0054okens":3}}"#, Some(3)),
            ("Converse", r#"{"inferenceConfig":{"maxTokens":3,"maxTokens":4}}"#, None),
            ("Converse", r#"{"max_tokens":1}"#, None),
            ("Converse", r#"{"inferenceConfig":{"max_new_tokens":1}}"#, None),
            ("Converse", r#"{"inferenceConfig":{"maxTokens":3},"max_tokens":9}"#, Some(3)),
            (
                "ConverseStream",
                r#"{"inferenceConfig":{"maxTokens":3},"additionalModelRequestFields":{"max_tokens":9}}"#,
                None,
            ),
            (
                "Converse",
                r#"{"inferenceConfig":{"maxTokens":3},"additionalModelRequestFields":{"top_k":9}}"#,
                Some(3),
            ),
            ("OpenAiChatCompletions", r#"{"maxTokens":1}"#, None),
            ("OpenAiChatCompletions", r#"{"max_tokens":1,"max_completion_tokens":2,"n":3}"#, Some(6)),
            ("OpenAiResponses", r#"{"max_tokens":1}"#, None),
            ("OpenAiResponses", r#"{"max_output_tokens":4}"#, Some(4)),
            ("AnthropicMessages", r#"{"max_tokens":5}"#, Some(5)),
        ] {
            let facts = RequestFacts::of(body.as_bytes());
            assert_eq!(facts.longest_answer(operation), expected, "{operation} {body}");
        }
    }
}
