//! YAML text → a value of bounded size: aliases can make a small document large, and brackets a slow one.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_yaml::value::{Tag, TaggedValue};
use serde_yaml::{Deserializer, Error, Mapping, Value};

/// Values in one document at the most, with those that aliases repeat.
const MAX_VALUES: usize = 1_000_000;

/// How deep brackets may nest, counted without regard to quotes and comments. The parser's time grows with the
/// square of it.
const MAX_NESTING: usize = 1_000;

/// Reads one document; the error says where it is wrong. A key that stands twice is an error.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    if nesting(text.as_bytes()) > MAX_NESTING {
        return Err(Error::custom(format!("brackets nest more than {MAX_NESTING} deep")));
    }
    let mut documents = Deserializer::from_str(text);
    let Some(first) = documents.next() else { return Ok(Value::Null) };
    let left = Cell::new(MAX_VALUES);
    let value = Bounded { left: &left }.deserialize(first)?;
    match documents.next() {
        None => Ok(value),
        Some(_) => Err(Error::custom("more than one document; remove the line ---, or use several files")),
    }
}

fn nesting(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Builds a value while there are values left.
#[derive(Clone, Copy)]
struct Bounded<'l> {
    left: &'l Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| {
            D::Error::custom(format!("size limit exceeded: more than {MAX_VALUES} values, aliases resolved"))
        })?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Mapping::new();
        while let Some(key) = entries.next_key_seed(self)? {
            if map.contains_key(&key) {
                let name = key.as_str().unwrap_or("of this map");
                return Err(A::Error::custom(format!("duplicate entry: the key {name} stands twice")));
            }
            let value = entries.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Mapping(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (tag, value): (String, _) = tagged.variant()?;
        let value = value.newtype_variant_seed(self)?;
        Ok(Value::Tagged(Box::new(TaggedValue { tag: Tag::new(tag), value })))
    }
}
