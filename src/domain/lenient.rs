//! Numbers and budgets in JSON as LiteLLM takes them: a number, or a text that is one.

use serde_json::Value;

use super::NanoUsd;
use super::period::Period;

/// A budget of one model: the most that may be spent, and how often that starts anew.
pub type ModelBudget = (NanoUsd, Option<String>);

/// Why something is no budget of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoModelBudget {
    /// The amount is missing, no number, negative or too large; or a member beside it means something else.
    #[error("Input should be {{\"budget_limit\": dollars from 0, \"time_period\": \"1d\"}}")]
    Amount,
    /// The duration cannot be read.
    #[error("Value error, a budget duration is a number and s, m, h, d, w or mo, such as 1h, 30d or 1mo")]
    Duration,
}

/// What a budget of a model may hold, LiteLLM's two spellings of each.
const AMOUNT: [&str; 2] = ["budget_limit", "max_budget"];
const DURATION: [&str; 2] = ["time_period", "budget_duration"];

/// A finite number: `10`, `"10"`, `"1e-7"`.
#[must_use]
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.filter(|number| number.is_finite())
}

/// A whole number from 0: `10`, `10.0`, `"10"`.
#[must_use]
pub fn whole_number(value: &Value) -> Option<u64> {
    let digits = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    digits.or_else(|| number(value).and_then(whole)).filter(|count| i64::try_from(*count).is_ok())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "kept to a range in which doubles are exact"
)]
fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && number >= 0.0 && number < (1_u64 << 53) as f64;
    is_whole.then_some(number as u64)
}

/// `{"budget_limit": 1.5, "time_period": "1d"}`; also `max_budget`, `budget_duration`, the amount alone, and numbers as
/// texts.
///
/// # Errors
/// What cannot be understood is never taken for no limit.
pub fn model_budget(value: &Value) -> Result<ModelBudget, NoModelBudget> {
    let member = |names: [&str; 2]| names.iter().find_map(|name| value.get(name)).filter(|it| !it.is_null());
    let is_known = |name: &String| AMOUNT.iter().chain(&DURATION).any(|known| known == name);
    let has_strangers = value
        .as_object()
        .is_some_and(|members| members.iter().any(|(name, value)| !is_known(name) && !value.is_null()));
    if has_strangers {
        return Err(NoModelBudget::Amount);
    }
    let amount = if value.is_object() { member(AMOUNT) } else { Some(value) };
    let amount = amount
        .and_then(number)
        .filter(|usd| *usd >= 0.0)
        .and_then(NanoUsd::from_usd)
        .ok_or(NoModelBudget::Amount)?;
    match member(DURATION) {
        None => Ok((amount, None)),
        Some(Value::String(text)) if Period::parse(text).is_some() => Ok((amount, Some(text.clone()))),
        Some(_) => Err(NoModelBudget::Duration),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_may_be_a_text() {
        let cases = [
            (json!(10), Some(10.0), Some(10)),
            (json!("10"), Some(10.0), Some(10)),
            (json!(" 10.0 "), Some(10.0), Some(10)),
            (json!("1e-7"), Some(1e-7), None),
            (json!(-1), Some(-1.0), None),
            (json!(1.5), Some(1.5), None),
            (json!("inf"), None, None),
            (json!("NaN"), None, None),
            (json!("9223372036854775807"), Some(9_223_372_036_854_775_807_f64), Some(i64::MAX as u64)),
            (json!("9223372036854775808"), Some(9_223_372_036_854_775_808_f64), None),
            (json!("1e300"), Some(1e300), None),
            (json!(""), None, None),
            (json!("ten"), None, None),
            (json!(true), None, None),
            (json!(null), None, None),
            (json!([1]), None, None),
        ];
        for (value, as_number, as_count) in cases {
            assert_eq!((number(&value), whole_number(&value)), (as_number, as_count), "{value}");
        }
    }

    #[test]
    fn a_budget_of_a_model_is_read_in_each_of_its_forms_and_never_as_none() {
        let nano = NanoUsd(100);
        let cases = [
            (json!({"budget_limit": "0.0000001", "time_period": "1d"}), Ok((nano, Some("1d".to_owned())))),
            (json!({"max_budget": 1e-7, "budget_duration": "1d"}), Ok((nano, Some("1d".to_owned())))),
            (json!({"max_budget": "1e-7", "time_period": null, "rpm_limit": null}), Ok((nano, None))),
            (json!(1e-7), Ok((nano, None))),
            (json!("0.0000001"), Ok((nano, None))),
            (json!({}), Err(NoModelBudget::Amount)),
            (json!({"budget_limit": null}), Err(NoModelBudget::Amount)),
            (json!({"budget_limit": "much"}), Err(NoModelBudget::Amount)),
            (json!({"budget_limit": -1}), Err(NoModelBudget::Amount)),
            (json!({"budget_limit": 1e30}), Err(NoModelBudget::Amount)),
            (json!({"budget_limit": 1, "rpm_limit": 5}), Err(NoModelBudget::Amount)),
            (json!({"budget": 1}), Err(NoModelBudget::Amount)),
            (json!({"budget_limit": 1, "time_period": "soon"}), Err(NoModelBudget::Duration)),
            (json!({"budget_limit": 1, "time_period": 86400}), Err(NoModelBudget::Duration)),
            (json!(null), Err(NoModelBudget::Amount)),
            (json!([1]), Err(NoModelBudget::Amount)),
        ];
        for (value, expected) in cases {
            assert_eq!(model_budget(&value), expected, "{value}");
        }
    }
}
