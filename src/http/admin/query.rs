//! The query of an admin call: known parameters are taken, others refused, because a filter that is passed over
//! shows more than was asked for.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::form_urlencoded;

use super::error::{AdminError, FieldFault};

/// Longest value, in bytes.
const MAX_VALUE: usize = 2_048;

/// A query being read.
pub(in crate::http) struct Query {
    parameters: BTreeMap<String, String>,
    faults: Vec<FieldFault>,
}

impl Query {
    /// Reads a query string; empty values count as absent.
    pub(in crate::http) fn parse(query: &str) -> Self {
        let parameters = form_urlencoded::parse(query.as_bytes())
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self { parameters, faults: Vec::new() }
    }

    /// A text.
    pub(in crate::http) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.parameters.remove(name)?;
        if value.chars().any(char::is_control) {
            return self.fault(name, "value_error", "String should have no control characters", &Value::Null);
        }
        if value.len() > MAX_VALUE {
            let message = format!("String should have at most {MAX_VALUE} characters");
            return self.fault(name, "string_too_long", &message, &Value::Null);
        }
        Some(value)
    }

    /// A whole number within these bounds.
    pub(in crate::http) fn number(&mut self, name: &str, default: u32, most: u32) -> u32 {
        self.optional_number(name, most).unwrap_or(default)
    }

    /// A whole number within these bounds, if there is one.
    pub(in crate::http) fn optional_number(&mut self, name: &str, most: u32) -> Option<u32> {
        let text = self.text(name)?;
        let message = format!("Input should be a whole number from 1 to {most}");
        match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Some(number),
            _ => self.fault(name, "int_parsing", &message, &json!(text)),
        }
    }

    /// `true` or `false`.
    pub(in crate::http) fn boolean(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => self.fault(name, "bool_parsing", "Input should be a valid boolean", &json!(text)),
        }
    }

    /// What a function makes of a text.
    pub(in crate::http) fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text)
            .or_else(|| self.fault(name, "value_error", &format!("Input should be {expected}"), &json!(text)))
    }

    /// Fails on faults and on parameters nobody took.
    pub(in crate::http) fn finish(self) -> Result<(), AdminError> {
        if !self.faults.is_empty() {
            return Err(AdminError::Invalid(self.faults));
        }
        let left: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
        match left.first() {
            None => Ok(()),
            Some(first) => Err(AdminError::bad(
                format!("bedgate does not know these parameters: {}", left.join(", ")),
                first,
            )),
        }
    }

    fn fault<T>(&mut self, name: &str, kind: &'static str, message: &str, input: &Value) -> Option<T> {
        self.faults.push(FieldFault::new(kind, vec![json!("query"), json!(name)], message, input));
        None
    }
}
