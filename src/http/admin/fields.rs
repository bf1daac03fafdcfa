//! Bodies and queries of admin calls, read field by field: every fault is named at once, and what bedgate would not
//! enforce is refused, never stored.

use serde_json::{Map, Value, json};

use super::error::{AdminError, FieldFault};
use crate::domain::lenient;

/// Longest alias, id, tag or route, in characters.
const MAX_TEXT: usize = 256;
/// Longest model name, in characters: ARNs of inference profiles are long.
const MAX_MODEL: usize = 2_048;
/// Most entries in a list.
const MAX_ENTRIES: usize = 1_000;
/// Largest metadata, in bytes of JSON: every key is held in memory.
const MAX_METADATA: usize = 65_536;
/// Members of `metadata` that LiteLLM enforces and bedgate does not.
const ENFORCED_METADATA: [&str; 9] = [
    "guardrails",
    "policies",
    "model_rpm_limit",
    "model_tpm_limit",
    "mcp_rpm_limit",
    "tag_rpm_limit",
    "enforced_params",
    "allowed_passthrough_routes",
    "disable_global_guardrails",
];

/// A body being read. Fields are taken out; [`Fields::finish`] judges what is left.
pub(super) struct Fields {
    object: Map<String, Value>,
    faults: Vec<FieldFault>,
    refused: Vec<String>,
    /// Of a field that is refused for a reason of its own: its name and the reason.
    refused_with: Option<(&'static str, &'static str)>,
}

impl Fields {
    /// Reads a JSON object; an empty body is an empty object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, AdminError> {
        let is_blank = body.iter().all(u8::is_ascii_whitespace);
        let value = if is_blank {
            Value::Object(Map::new())
        } else {
            serde_json::from_slice(body)
                .map_err(|error| AdminError::bad(format!("Invalid JSON payload: {error}"), "request_body"))?
        };
        match value {
            Value::Object(object) => {
                Ok(Self { object, faults: Vec::new(), refused: Vec::new(), refused_with: None })
            }
            other => {
                let message = "Input should be a valid dictionary or object to extract fields from";
                let fault = FieldFault::new("model_attributes_type", vec![json!("body")], message, &other);
                Err(AdminError::Invalid(vec![fault]))
            }
        }
    }

    /// Whether the field is there at all, be it null.
    pub(super) fn names(&self, field: &str) -> bool {
        self.object.contains_key(field)
    }

    /// The text of a field that is to be read later.
    pub(super) fn peek(&self, field: &str) -> Option<&str> {
        self.object.get(field)?.as_str()
    }

    /// Puts a value where a field is absent or null; `models` and `metadata` also where they are empty.
    pub(super) fn fill(&mut self, field: &str, value: &Value) {
        let is_left_out = |said: &Value| {
            let is_empty =
                (field == "models" && *said == json!([])) || (field == "metadata" && *said == json!({}));
            said.is_null() || is_empty
        };
        if self.object.get(field).is_none_or(is_left_out) {
            self.object.insert(field.to_owned(), value.clone());
        }
    }

    /// A text; `None` where it is absent or null.
    pub(super) fn text(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => self.short(vec![json!("body"), json!(field)], text, MAX_TEXT),
            other => self.fault(field, "string_type", "Input should be a valid string", &other),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        let max_length = if field == "models" { MAX_MODEL } else { MAX_TEXT };
        match self.take(field)? {
            Value::Array(entries) => self.texts_in(&[json!("body"), json!(field)], entries, max_length),
            other => self.fault(field, "list_type", "Input should be a valid list", &other),
        }
    }

    fn texts_in(&mut self, place: &[Value], entries: Vec<Value>, max_length: usize) -> Option<Vec<String>> {
        if entries.len() > MAX_ENTRIES {
            let message = format!("List should have at most {MAX_ENTRIES} items");
            self.faults.push(FieldFault::new("too_long", place.to_vec(), message, &Value::Null));
            return None;
        }
        let mut texts = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let mut place = place.to_vec();
            place.push(json!(index));
            match entry {
                Value::String(text) => texts.extend(self.short(place, text, max_length)),
                other => {
                    let message = "Input should be a valid string";
                    self.faults.push(FieldFault::new("string_type", place, message, &other));
                }
            }
        }
        Some(texts)
    }

    /// True or false.
    pub(super) fn boolean(&mut self, field: &str) -> Option<bool> {
        match self.take(field)? {
            Value::Bool(value) => Some(value),
            other => self.fault(field, "bool_type", "Input should be a valid boolean", &other),
        }
    }

    /// A number that is not negative, or a text that is one.
    pub(super) fn amount(&mut self, field: &str) -> Option<f64> {
        let value = self.take(field)?;
        match lenient::number(&value) {
            Some(amount) if amount >= 0.0 => Some(amount),
            Some(_) => {
                let message = "Input should be greater than or equal to 0";
                self.fault(field, "greater_than_equal", message, &value)
            }
            None if value.is_string() => {
                let message = "Input should be a valid number, unable to parse string as a number";
                self.fault(field, "float_parsing", message, &value)
            }
            None => self.fault(field, "float_type", "Input should be a valid number", &value),
        }
    }

    /// A whole number that is not negative, or a text that is one.
    pub(super) fn count(&mut self, field: &'static str) -> Option<u64> {
        let value = self.take(field)?;
        match lenient::whole_number(&value) {
            Some(count) => Some(count),
            None if lenient::number(&value).is_some_and(|count| count < 0.0) => {
                let message = "Input should be greater than or equal to 0";
                self.fault(field, "greater_than_equal", message, &value)
            }
            None if value.is_string() => {
                let message = "Input should be a valid integer, unable to parse string as an integer";
                self.fault(field, "int_parsing", message, &value)
            }
            None => self.fault(field, "int_type", "Input should be a valid integer", &value),
        }
    }

    /// An object with few members.
    pub(super) fn object(&mut self, field: &str) -> Option<Map<String, Value>> {
        match self.take(field)? {
            Value::Object(members) if members.len() <= MAX_ENTRIES => Some(members),
            Value::Object(_) => {
                let message = format!("Dictionary should have at most {MAX_ENTRIES} items");
                self.fault(field, "too_long", &message, &Value::Null)
            }
            other => self.fault(field, "dict_type", "Input should be a valid dictionary", &other),
        }
    }

    /// Notes a fault of a member of a field.
    pub(super) fn fault_in<T>(
        &mut self,
        field: &str,
        member: &str,
        kind: &'static str,
        message: &str,
        input: &Value,
    ) -> Option<T> {
        self.faults.push(FieldFault::new(
            kind,
            vec![json!("body"), json!(field), json!(member)],
            message,
            input,
        ));
        None
    }

    /// `metadata`, and the tags that LiteLLM's clients put into it.
    pub(super) fn metadata(&mut self) -> Option<(Value, Option<Vec<String>>)> {
        let mut metadata = match self.take("metadata")? {
            Value::Object(metadata) => metadata,
            other => {
                return self.fault("metadata", "dict_type", "Input should be a valid dictionary", &other);
            }
        };
        if Value::Object(metadata.clone()).to_string().len() > MAX_METADATA {
            let message = format!("metadata should have at most {MAX_METADATA} bytes of JSON");
            return self.fault("metadata", "too_long", &message, &Value::Null);
        }
        for member in ENFORCED_METADATA {
            if metadata.get(member).is_some_and(says_something) {
                self.refused.push(format!("metadata.{member}"));
            }
        }
        let place = [json!("body"), json!("metadata"), json!("tags")];
        let tags = match metadata.remove("tags") {
            None | Some(Value::Null) => None,
            Some(Value::Array(entries)) => self.texts_in(&place, entries, MAX_TEXT),
            Some(other) => {
                let message = "Input should be a valid list";
                self.faults.push(FieldFault::new("list_type", place.to_vec(), message, &other));
                None
            }
        };
        Some((Value::Object(metadata), tags))
    }

    /// Notes a fault of a field and gives nothing in its place.
    pub(super) fn fault<T>(
        &mut self,
        field: &str,
        kind: &'static str,
        message: &str,
        input: &Value,
    ) -> Option<T> {
        self.faults.push(FieldFault::new(kind, vec![json!("body"), json!(field)], message, input));
        None
    }

    /// Notes a field that was read and would not be enforced.
    pub(super) fn refuse(&mut self, field: &str) {
        self.refused.push(field.to_owned());
    }

    /// Refuses a field that asks for something, with a reason of its own.
    pub(super) fn refuse_with(&mut self, field: &'static str, reason: &'static str) {
        if self.take(field).is_some_and(|value| says_something(&value)) {
            self.refused_with.get_or_insert((field, reason));
        }
    }

    /// Whether a fault was noted.
    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Fails on faults, then on anything left that would have to be enforced.
    pub(super) fn finish(mut self) -> Result<(), AdminError> {
        if !self.faults.is_empty() {
            return Err(AdminError::Invalid(self.faults));
        }
        if let Some((field, reason)) = self.refused_with {
            return Err(AdminError::bad(reason, field));
        }
        let left = self.object.iter().filter(|(name, value)| {
            // A key may call models and nothing else anyway.
            let is_default =
                name.as_str() == "key_type" && matches!(value.as_str(), Some("default" | "llm_api"));
            says_something(value) && !is_default
        });
        self.refused.extend(left.map(|(name, _)| name.clone()));
        let Some(first) = self.refused.first() else { return Ok(()) };
        let message = format!(
            "bedgate does not enforce these fields yet, so it does not take them: {}",
            self.refused.join(", ")
        );
        Err(AdminError::bad(message, first))
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    fn short(&mut self, place: Vec<Value>, text: String, max_length: usize) -> Option<String> {
        if text.chars().any(char::is_control) {
            let message = "String should have no control characters";
            self.faults.push(FieldFault::new("value_error", place, message, &Value::Null));
            return None;
        }
        if text.chars().count() <= max_length {
            return Some(text);
        }
        let message = format!("String should have at most {max_length} characters");
        self.faults.push(FieldFault::new("string_too_long", place, message, &Value::Null));
        None
    }
}

/// Whether a value asks for anything: null, false and what is empty do not. Zero does: a budget of zero is one.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
