//! Counts as models write them.

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// A count: any JSON number that is a whole one and not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

pub(crate) fn value(count: Option<Count>) -> u64 {
    count.map_or(0, |count| count.0)
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Count, E> {
                Ok(Count(number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Count, E> {
                u64::try_from(number).map(Count).map_err(|_| E::custom("a count is not negative"))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Count, E> {
                let is_count = (0.0..9e15).contains(&number) && number.fract() == 0.0;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
                let count = is_count.then_some(Count(number as u64));
                count.ok_or_else(|| E::custom("a count is whole and not negative"))
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}
