//! Reads the names of models out of a request body, without changing or building anything.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::Operation;

/// The most models one body may name; past it the body is refused. An inline agent with its collaborators names a
/// few dozen.
pub const MAX_MODELS_IN_BODY: usize = 1_000;

/// Why the models of a body could not be told.
#[derive(Debug, thiserror::Error)]
#[error("the request body is not JSON that can be searched for model names: {0}")]
pub struct UnreadableBody(#[from] serde_json::Error);

/// Every model name or ARN that the body of this operation names, in order, duplicates included. Empty for an
/// operation whose body names none (it is not read then), and for an empty body.
///
/// Member names are compared without regard to case, and each of several members of one name counts: whatever a
/// parser further on makes of them, no model is missed.
///
/// # Errors
/// [`UnreadableBody`] when the body is not JSON, or a member that names a model is not text.
pub fn models_in_body(operation: &Operation, body: &[u8]) -> Result<Vec<String>, UnreadableBody> {
    let mut models = Vec::new();
    if operation.body_models.is_empty() || body.is_empty() {
        return Ok(models);
    }
    let paths = operation.body_models.iter().map(Vec::as_slice).collect();
    let mut json = serde_json::Deserializer::from_slice(body);
    Search { paths, models: &mut models }.deserialize(&mut json)?;
    json.end()?;
    Ok(models)
}

/// The model that a call is priced by, where its operation is priced by the one that its body names, and it names one.
#[must_use]
pub fn priced_model_in_body(operation: &Operation, body: &[u8]) -> Option<String> {
    if !operation.is_priced_by_model_in_body() {
        return None;
    }
    let mut models = models_in_body(operation, body).ok()?;
    let model = models.pop()?;
    models.iter().all(|other| *other == model).then_some(model)
}

/// Steps that lead on from a value to models.
type Paths<'o> = Vec<&'o [&'static str]>;

/// Looks through one JSON value.
struct Search<'o, 'm> {
    paths: Paths<'o>,
    models: &'m mut Vec<String>,
}

impl Search<'_, '_> {
    fn is_model(&self) -> bool {
        self.paths.iter().any(|path| path.is_empty())
    }

    fn not_text<E: serde::de::Error>(self, value: Unexpected<'_>) -> Result<(), E> {
        if self.is_model() { Err(E::invalid_type(value, &self)) } else { Ok(()) }
    }
}

/// The rests of those paths whose next step is this one.
fn paths_after<'o>(paths: &Paths<'o>, is_step: impl Fn(&str) -> bool) -> Paths<'o> {
    let rest = |path: &&'o [&'static str]| {
        path.split_first().and_then(|(first, rest)| is_step(first).then_some(rest))
    };
    paths.iter().filter_map(rest).collect()
}

impl<'de> DeserializeSeed<'de> for Search<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.paths.is_empty() {
            return IgnoredAny::deserialize(value).map(|_| ());
        }
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text that names a model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.is_model() {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        while let Some(paths) = map.next_key_seed(NextMember(&self.paths))? {
            map.next_value_seed(Search { paths, models: &mut *self.models })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        if self.is_model() {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let paths = paths_after(&self.paths, |step| step == "[]");
        while array.next_element_seed(Search { paths: paths.clone(), models: &mut *self.models })?.is_some() {
        }
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.is_model() {
            if self.models.len() == MAX_MODELS_IN_BODY {
                return Err(E::custom("more models than one body may name"));
            }
            self.models.push(text.to_owned());
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.not_text(Unexpected::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.not_text(Unexpected::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.not_text(Unexpected::Signed(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.not_text(Unexpected::Float(value))
    }
}

/// Reads the name of a member and says where the search goes on inside it.
struct NextMember<'p, 'o>(&'p Paths<'o>);

impl<'de, 'o> DeserializeSeed<'de> for NextMember<'_, 'o> {
    type Value = Paths<'o>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Paths<'o>, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'o> Visitor<'_> for NextMember<'_, 'o> {
    type Value = Paths<'o>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Paths<'o>, E> {
        Ok(paths_after(self.0, |step| step.eq_ignore_ascii_case(name)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Service;
    use crate::operation::{all, operation_by_name};

    fn models(service: Service, name: &str, body: &str) -> Result<Vec<String>, String> {
        let operation = operation_by_name(service, name).unwrap();
        models_in_body(operation, body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rerank_is_priced_by_the_one_model_it_names_and_nothing_else_is() {
        let body = |models: &str| {
            format!(
                r#"{{"rerankingConfiguration":{{"bedrockRerankingConfiguration":{{"modelConfiguration":{{{models}}}}}}}}}"#
            )
        };
        let rerank = operation_by_name(Service::BedrockAgentRuntime, "Rerank").unwrap();
        for (models, expected) in [
            (r#""modelArn":"a""#, Some("a")),
            (r#""modelArn":"a","modelArn":"a""#, Some("a")),
            (r#""modelArn":"a","ModelArn":"b""#, None),
            (r#""modelArn":1"#, None),
            ("", None),
        ] {
            let found = priced_model_in_body(rerank, body(models).as_bytes());
            assert_eq!(found.as_deref(), expected, "{models}");
        }
        assert_eq!(priced_model_in_body(rerank, b"not json"), None);
        let priced: Vec<&str> = all()
            .filter(|operation| operation.is_priced_by_model_in_body())
            .map(|operation| operation.name)
            .collect();
        assert_eq!(priced, ["Rerank"]);
        let start = operation_by_name(Service::BedrockRuntime, "StartAsyncInvoke").unwrap();
        assert_eq!(priced_model_in_body(start, br#"{"modelId":"a"}"#), None);
    }

    fn sorted(mut models: Vec<String>) -> Vec<String> {
        models.sort_unstable();
        models
    }

    #[test]
    fn models_are_found_where_the_operations_have_them() {
        use Service::{Bedrock, BedrockAgentRuntime, BedrockAgentcore, BedrockRuntime};
        let knowledge_base = json!({"retrieveAndGenerateConfiguration": {
            "knowledgeBaseConfiguration": {"modelArn": "a", "retrievalConfiguration": {"vectorSearchConfiguration": {
                "rerankingConfiguration": {"bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": "b"}}},
                "implicitFilterConfiguration": {"modelArn": "c"}}}},
            "externalSourcesConfiguration": {"modelArn": "d"}}});
        let cases = [
            (
                BedrockRuntime,
                "OpenAiChatCompletions",
                json!({"model": "a", "messages": [{"model": "x"}]}),
                "a",
            ),
            (BedrockRuntime, "OpenAiResponses", json!({"metadata": {"model": "x"}, "model": "a"}), "a"),
            (BedrockRuntime, "AnthropicMessages", json!({"model": "a"}), "a"),
            (BedrockRuntime, "AnthropicCountTokens", json!({"model": "a"}), "a"),
            (
                BedrockRuntime,
                "StartAsyncInvoke",
                json!({"modelId": "a", "modelInput": {"modelId": "x"}}),
                "a",
            ),
            (BedrockRuntime, "Converse", json!({"modelId": "x", "model": "x"}), ""),
            (BedrockAgentRuntime, "RetrieveAndGenerate", knowledge_base.clone(), "a b c d"),
            (BedrockAgentRuntime, "RetrieveAndGenerateStream", knowledge_base, "a b c d"),
            (
                BedrockAgentRuntime,
                "InvokeInlineAgent",
                json!({"foundationModel": "a", "collaborators": [{"foundationModel": "b"}, {"foundationModel": "c"}],
                    "promptOverrideConfiguration": {"promptConfigurations": [{"foundationModel": "d"}]}}),
                "a b c d",
            ),
            (
                BedrockAgentRuntime,
                "Rerank",
                json!({"rerankingConfiguration": {"bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": "a"}}}}),
                "a",
            ),
            (BedrockAgentRuntime, "OptimizePrompt", json!({"targetModelId": "a"}), "a"),
            (
                BedrockAgentcore,
                "InvokeHarness",
                json!({"model": {"bedrockModelConfig": {"modelId": "a"}}}),
                "a",
            ),
            (Bedrock, "CreateModelInvocationJob", json!({"modelId": "a"}), "a"),
        ];
        for (service, name, body, expected) in cases {
            let found = models(service, name, &body.to_string()).unwrap();
            assert_eq!(sorted(found).join(" "), expected, "{name}");
        }
    }

    /// A value that has this text at the end of these steps.
    fn body_with(path: &[&str], text: &str) -> serde_json::Value {
        match path.split_first() {
            None => json!(text),
            Some((&"[]", rest)) => json!([{}, body_with(rest, text)]),
            Some((member, rest)) => json!({"other": [{"a": null}], *member: body_with(rest, text)}),
        }
    }

    #[test]
    fn every_member_path_of_the_table_is_found() {
        let mut paths = 0;
        for operation in all() {
            for path in &operation.body_models {
                let body = body_with(path, "a-model").to_string();
                assert_eq!(models_in_body(operation, body.as_bytes()).unwrap(), ["a-model"], "{path:?}");
                paths += 1;
            }
        }
        assert_eq!(paths, 145);
        assert_eq!(all().filter(|operation| operation.names_models_in_body()).count(), 48);
    }

    #[test]
    fn no_way_of_writing_a_member_hides_its_model() {
        let chat = |body| models(Service::BedrockRuntime, "OpenAiChatCompletions", body);
        assert_eq!(chat(r#"{"model":"a","model":"b"}"#).unwrap(), ["a", "b"]);
        assert_eq!(chat(r#"{"\u006dodel":"\u0061"}"#).unwrap(), ["a"]);
        assert_eq!(chat(r#"{"Model":"a","MODEL":"b"}"#).unwrap(), ["a", "b"]);
        assert_eq!(chat(r#" {"x":[[[{"model":"no"}]]],"model":"a"} "#).unwrap(), ["a"]);
        assert_eq!(chat(r#"{"model":null}"#).unwrap(), [""; 0]);
        assert_eq!(chat("").unwrap(), [""; 0]);
        assert_eq!(chat("[]").unwrap(), [""; 0]);
    }

    #[test]
    fn a_body_that_cannot_be_read_is_an_error() {
        let chat = |body: &str| models(Service::BedrockRuntime, "OpenAiChatCompletions", body);
        let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
        let many = format!(r#"{{{}"model":"a"}}"#, r#""model":"a","#.repeat(MAX_MODELS_IN_BODY));
        let bodies =
            ["{", "model=a", r#"{"model":"a"} x"#, r#"{"model":["a"]}"#, r#"{"model":{}}"#, r#"{"model":1}"#];
        for body in
            bodies.into_iter().chain([deep.as_str(), many.as_str(), r#"{"model":true}"#, "\u{feff}{}"])
        {
            assert!(chat(body).is_err(), "{}", body.get(..20).unwrap_or(body));
        }
        assert!(models(Service::BedrockRuntime, "Converse", "not json").unwrap().is_empty());
    }
}
