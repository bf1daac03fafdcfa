//! Finds one member of a JSON object in its bytes, so that it alone can be read or replaced and every other byte stays.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where the text of a member of the top-level object stands in these bytes, quotes included, as in
/// `{"model": "my-claude"}` for `model`. Of several members of that name it is the last, as parsers take it.
///
/// `None` when the body is not a JSON object, has no such member, its value is not text, or there are several and
/// they differ: then it cannot be told which one a parser further on would take.
#[must_use]
pub fn top_level_string_span(body: &[u8], member: &str) -> Option<Range<usize>> {
    let literal = last_literal(body, member)?;
    let start = (literal.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    Some(start..start + literal.len())
}

/// The text of that member, decoded; `None` as in [`top_level_string_span`].
#[must_use]
pub fn top_level_string(body: &[u8], member: &str) -> Option<String> {
    serde_json::from_str(last_literal(body, member)?).ok()
}

fn last_literal<'b>(body: &'b [u8], member: &str) -> Option<&'b str> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let literal = json.deserialize_map(LastLiteral(member)).ok()??;
    json.end().ok()?;
    Some(literal)
}

struct LastLiteral<'m>(&'m str);

impl<'de> Visitor<'de> for LastLiteral<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object whose member {} is text", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut last: Option<(&'de str, String)> = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let literal = map.next_value::<&'de RawValue>()?.get();
            let text: String = serde_json::from_str(literal).map_err(serde::de::Error::custom)?;
            if last.is_some_and(|(_, before)| before != text) {
                return Err(serde::de::Error::custom("members of one name differ"));
            }
            last = Some((literal, text));
        }
        Ok(last.map(|(literal, _)| literal))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_span_is_the_text_with_its_quotes() {
        let cases = [
            (r#"{"model":"a"}"#, Some(r#""a""#)),
            (r#" { "x" : {"model":"no"}, "model" : "a\"b\\" , "y":1 } "#, Some(r#""a\"b\\""#)),
            (r#"{"mod\u0065l":"\u0061"}"#, Some(r#""\u0061""#)),
            (r#"{"model":"a","model":"a"}"#, Some(r#""a""#)),
            (r#"{"model":"a","model":"b"}"#, None),
            (r#"{"model":"a","model":1}"#, None),
            (r#"{"Model":"a"}"#, None),
            (r#"{"model":null}"#, None),
            (r#"{"model":{"model":"a"}}"#, None),
            (r#"["model","a"]"#, None),
            (r#"{"model":"a"} {}"#, None),
            (r#"{"model":"a""#, None),
            ("", None),
        ];
        for (body, expected) in cases {
            let span = top_level_string_span(body.as_bytes(), "model");
            assert_eq!(span.map(|span| &body[span]), expected, "{body}");
        }
        let twice = r#"{"model":"a","model":"a"}"#;
        assert_eq!(top_level_string_span(twice.as_bytes(), "model"), Some(21..24));
        assert_eq!(top_level_string(br#"{"model":"\u0061"}"#, "model").as_deref(), Some("a"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,8}", "(model|[\"\\\\{}:,]){0,4}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            let name = prop_oneof![Just("model".to_owned()), text.clone()];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same JSON with every character of its strings escaped, or with white space wherever it may stand.
    fn written(value: &Value, escaped: bool) -> String {
        if !escaped {
            return serde_json::to_string_pretty(value).unwrap();
        }
        let text = |text: &str| {
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            format!("\"{}\"", units.collect::<String>())
        };
        match value {
            Value::String(string) => text(string),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(|item| written(item, true)).collect::<Vec<_>>().join(","))
            }
            Value::Object(members) => {
                let members =
                    members.iter().map(|(name, value)| format!("{}:{}", text(name), written(value, true)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn the_span_holds_what_a_parser_reads_and_can_be_replaced_alone(json in any_json(), escaped in any::<bool>()) {
            let body = written(&json, escaped);
            let expected = json.get("model").and_then(Value::as_str);
            let span = top_level_string_span(body.as_bytes(), "model");
            prop_assert_eq!(span.is_some(), expected.is_some());
            if let Some(span) = span {
                let literal: String = serde_json::from_str(&body[span.clone()]).unwrap();
                prop_assert_eq!(Some(literal.as_str()), expected);
                let mut replaced = body.clone();
                replaced.replace_range(span, "\"another\"");
                let mut wanted = json.clone();
                wanted["model"] = Value::from("another");
                prop_assert_eq!(serde_json::from_str::<Value>(&replaced).unwrap(), wanted);
            }
        }

        #[test]
        fn bytes_that_are_not_json_have_no_span(body in any::<Vec<u8>>()) {
            if serde_json::from_slice::<Value>(&body).is_err() {
                prop_assert_eq!(top_level_string_span(&body, "model"), None);
            }
        }
    }
}
