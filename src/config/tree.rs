//! A YAML document as a tree whose every node knows where it was written, and the merging of such trees.

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::fault::{Fault, Place};
use super::yaml;

/// A value and where it was written. Has no `Debug`: it may hold secrets.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: NodeValue,
}

/// What a node can be.
#[derive(Clone)]
pub(super) enum NodeValue {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// A value without parts. A number is kept as decimal text, so that prices stay exact.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool(bool),
    Number(String),
    Text(String),
}

impl Node {
    /// An empty document.
    pub(super) fn empty(place: Place) -> Self {
        Self { place, value: NodeValue::Map(BTreeMap::new()) }
    }

    /// Reads one document. YAML's merge keys (`<<`) are resolved; an empty document is an empty map.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Fault> {
        let place = Place::file(file);
        let fault = |problem| Fault { place: place.clone(), problem };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document: Value =
            yaml::parse(text).map_err(|error| fault(format!("is not valid YAML: {error}")))?;
        document.apply_merge().map_err(|error| fault(format!("has a wrong merge key (<<): {error}")))?;
        let node = Self::of_value(document, place.clone())?;
        match node.value {
            NodeValue::Map(_) => Ok(node),
            NodeValue::Null => Ok(Self::empty(place)),
            _ => Err(fault("must be a map of settings such as `model_list:`".to_owned())),
        }
    }

    fn of_value(value: Value, place: Place) -> Result<Self, Fault> {
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(flag) => NodeValue::Scalar(Scalar::Bool(flag)),
            Value::Number(number) => NodeValue::Scalar(Scalar::Number(decimal_text(&number))),
            Value::String(text) => NodeValue::Scalar(Scalar::Text(text)),
            Value::Sequence(elements) => {
                let nodes = elements
                    .into_iter()
                    .enumerate()
                    .map(|(index, element)| Self::of_value(element, place.element(index)));
                NodeValue::List(nodes.collect::<Result<_, _>>()?)
            }
            Value::Mapping(entries) => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    let key = key_text(key, &place)?;
                    let node = Self::of_value(value, place.key(&key))?;
                    map.insert(key, node);
                }
                NodeValue::Map(map)
            }
            Value::Tagged(tagged) => return Self::of_value(tagged.value, place),
        };
        Ok(Self { place, value })
    }

    /// Merges another tree into this one: maps deep, lists appended; a scalar set to two different values is
    /// a fault.
    pub(super) fn merge(&mut self, other: Self, faults: &mut Vec<Fault>) {
        match (&mut self.value, other.value) {
            (_, NodeValue::Null) => {}
            (NodeValue::Null, value) => *self = Self { place: other.place, value },
            (NodeValue::List(ours), NodeValue::List(theirs)) => ours.extend(theirs),
            (NodeValue::Map(ours), NodeValue::Map(theirs)) => {
                for (key, node) in theirs {
                    match ours.get_mut(&key) {
                        Some(existing) => existing.merge(node, faults),
                        None => drop(ours.insert(key, node)),
                    }
                }
            }
            (NodeValue::Scalar(ours), NodeValue::Scalar(theirs)) if *ours == theirs => {}
            _ => faults.push(Fault {
                place: other.place,
                problem: format!("is set to something else in {}; keep one of the two", self.place.file),
            }),
        }
    }

    /// The value as JSON, as it was written.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::Null => serde_json::Value::Null,
            NodeValue::Scalar(Scalar::Bool(flag)) => (*flag).into(),
            NodeValue::Scalar(Scalar::Number(number)) => {
                serde_json::from_str(number).unwrap_or_else(|_| number.as_str().into())
            }
            NodeValue::Scalar(Scalar::Text(text)) => text.as_str().into(),
            NodeValue::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            NodeValue::Map(map) => map.iter().map(|(key, node)| (key.clone(), node.to_json())).collect(),
        }
    }

    /// Whether nothing is written here, or an empty text.
    pub(super) fn is_blank(&self) -> bool {
        match &self.value {
            NodeValue::Null => true,
            NodeValue::Scalar(Scalar::Text(text)) => text.is_empty(),
            _ => false,
        }
    }

    /// What kind of value this is, for a fault.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Null => "nothing",
            NodeValue::Scalar(Scalar::Bool(_)) => "true or false",
            NodeValue::Scalar(Scalar::Number(_)) => "a number",
            NodeValue::Scalar(Scalar::Text(_)) => "a text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }
}

/// The shortest decimal that names the number, never with an exponent: what was written, up to 15 digits.
fn decimal_text(number: &serde_yaml::Number) -> String {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(natural), _, _) => natural.to_string(),
        (_, Some(integer), _) => integer.to_string(),
        (_, _, Some(float)) => float.to_string(),
        _ => number.to_string(),
    }
}

fn key_text(key: Value, place: &Place) -> Result<String, Fault> {
    match key {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(decimal_text(&number)),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(Fault {
            place: place.clone(),
            problem: "has a key that is not a text; put it in quotes".into(),
        }),
    }
}
