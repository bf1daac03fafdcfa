//! `default_key_generate_params` and `upperbound_key_generate_params` at work, as LiteLLM has them: new keys get what the
//! request leaves out, and no key is given more than the bound.

mod result;

use serde_json::{Value, json};

pub(super) use self::result::bound_result;
use super::duration;
use super::error::AdminError;
use super::fields::Fields;
use crate::config::{KeyBounds, KeyPolicy};
use crate::domain::UnixMicros;
use crate::store::LimitSet;
use crate::store::limit_set::LimitPatch;

/// Fills in what the request for a new key leaves out: the defaults, then the bounds. What the budget that it names says is
/// not left out: a limit of the key's own would take its place.
pub(super) fn complete(policy: &KeyPolicy, fields: &mut Fields, named: Option<&LimitSet>, now: UnixMicros) {
    for (field, value) in &policy.defaults {
        if !named.is_some_and(|named| says(named, field)) {
            fields.fill(field, value);
        }
    }
    for (field, value) in as_fields(&policy.bounds) {
        let is_within = |named: &LimitSet| says(named, field) && within(&policy.bounds, named, field, now);
        if !named.is_some_and(is_within) {
            fields.fill(field, &value);
        }
    }
}

/// Refuses what is above its bound. `lifetime` is the request's `duration`.
///
/// # Errors
/// 400 in LiteLLM's words, for the first that is above.
pub(super) fn refuse_above(
    bounds: &KeyBounds,
    limits: &LimitPatch,
    lifetime: Option<&str>,
    now: UnixMicros,
) -> Result<(), AdminError> {
    let counts = [
        ("max_parallel_requests", limits.max_parallel, bounds.max_parallel),
        ("tpm_limit", limits.tpm, bounds.tpm),
        ("rpm_limit", limits.rpm, bounds.rpm),
    ];
    let durations = [
        (
            "budget_duration",
            limits.budget_duration.as_ref().and_then(Option::as_deref),
            &bounds.budget_duration,
        ),
        ("duration", lifetime, &bounds.duration),
    ];
    if let (Some(Some(asked)), Some(most)) = (limits.max_budget, bounds.max_budget)
        && asked > most
    {
        return Err(above("max_budget", &format!("{:?}", asked.as_usd()), &format!("{:?}", most.as_usd())));
    }
    for (field, asked, most) in counts {
        if let (Some(Some(asked)), Some(most)) = (asked, most)
            && asked > most
        {
            return Err(above(field, &asked.to_string(), &most.to_string()));
        }
    }
    for (field, asked, most) in durations {
        if let (Some(asked), Some(most)) = (asked, most)
            && is_longer(asked, most, now)
        {
            return Err(above(field, asked, most));
        }
    }
    Ok(())
}

fn as_fields(bounds: &KeyBounds) -> impl Iterator<Item = (&'static str, Value)> {
    let fields = [
        ("max_budget", bounds.max_budget.map(|most| json!(most.as_usd()))),
        ("budget_duration", bounds.budget_duration.as_deref().map(Value::from)),
        ("max_parallel_requests", bounds.max_parallel.map(Value::from)),
        ("tpm_limit", bounds.tpm.map(Value::from)),
        ("rpm_limit", bounds.rpm.map(Value::from)),
        ("duration", bounds.duration.as_deref().map(Value::from)),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?)))
}

/// Whether a named budget says something of this field; a budget says also how often it starts anew.
fn says(named: &LimitSet, field: &str) -> bool {
    match field {
        "max_budget" | "budget_duration" => named.max_budget.is_some(),
        "max_parallel_requests" => named.max_parallel.is_some(),
        "tpm_limit" => named.tpm.is_some(),
        "rpm_limit" => named.rpm.is_some(),
        _ => false,
    }
}

fn within(bounds: &KeyBounds, named: &LimitSet, field: &str, now: UnixMicros) -> bool {
    let of_named = LimitPatch {
        max_budget: Some(named.max_budget).filter(|_| field == "max_budget"),
        // One that never starts anew is the strictest.
        budget_duration: Some(named.budget_duration.clone()).filter(|_| field == "budget_duration"),
        max_parallel: Some(named.max_parallel).filter(|_| field == "max_parallel_requests"),
        tpm: Some(named.tpm).filter(|_| field == "tpm_limit"),
        rpm: Some(named.rpm).filter(|_| field == "rpm_limit"),
        ..LimitPatch::default()
    };
    refuse_above(bounds, &of_named, None, now).is_ok()
}

/// Whether a duration ends later than another, both counted from now; `-1` never ends.
fn is_longer(asked: &str, most: &str, now: UnixMicros) -> bool {
    match (duration::after(now, asked), duration::after(now, most)) {
        (Some(asked), Some(most)) => asked > most,
        _ => asked == "-1",
    }
}

fn above(field: &str, asked: &str, most: &str) -> AdminError {
    AdminError::bad(
        format!("{field} is over max limit set in config - user_value={asked}; max_value={most}"),
        field,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::NanoUsd;

    /// 2026-01-31T12:00:00Z.
    pub(super) const NOW: UnixMicros = UnixMicros(1_769_860_800_000_000);

    pub(super) fn bounds() -> KeyBounds {
        KeyBounds {
            max_budget: NanoUsd::from_usd(10.0),
            budget_duration: Some("30d".to_owned()),
            rpm: Some(60),
            duration: Some("1mo".to_owned()),
            ..KeyBounds::default()
        }
    }

    #[test]
    fn what_is_above_a_bound_is_refused_in_litellms_words() {
        let max_budget =
            |usd| LimitPatch { max_budget: Some(NanoUsd::from_usd(usd)), ..LimitPatch::default() };
        let duration =
            |text: &str| LimitPatch { budget_duration: Some(Some(text.to_owned())), ..LimitPatch::default() };
        let cases = [
            (max_budget(10.0), None, ""),
            (
                max_budget(1e6),
                None,
                "max_budget is over max limit set in config - user_value=1000000.0; max_value=10.0",
            ),
            (duration("720h"), None, ""),
            (
                duration("31d"),
                None,
                "budget_duration is over max limit set in config - user_value=31d; max_value=30d",
            ),
            (LimitPatch { rpm: Some(Some(61)), ..LimitPatch::default() }, None, "rpm_limit is over"),
            (LimitPatch { tpm: Some(Some(u64::MAX)), ..LimitPatch::default() }, None, ""),
            (LimitPatch::default(), Some("28d"), ""),
            (LimitPatch::default(), Some("29d"), "duration is over"),
            (LimitPatch::default(), Some("-1"), "duration is over"),
        ];
        for (limits, lifetime, expected) in cases {
            let said = refuse_above(&bounds(), &limits, lifetime, NOW)
                .map_or_else(|no| no.to_string(), |()| String::new());
            assert!(
                said.starts_with(expected) && said.is_empty() == expected.is_empty(),
                "{expected}: {said}"
            );
        }
    }

    #[test]
    fn a_named_budget_within_the_bounds_stands_and_a_larger_one_does_not() {
        let filled = |named: &LimitSet| {
            let mut fields = Fields::parse(b"{}").unwrap();
            let mut policy = KeyPolicy { bounds: bounds(), ..KeyPolicy::default() };
            policy.defaults.insert("max_budget".to_owned(), json!(5));
            complete(&policy, &mut fields, Some(named), NOW);
            (fields.amount("max_budget"), fields.text("budget_duration"), fields.count("rpm_limit"))
        };
        let small = LimitSet { max_budget: NanoUsd::from_usd(0.5), ..LimitSet::default() };
        assert_eq!(filled(&small), (None, None, Some(60)));
        let large = LimitSet { max_budget: NanoUsd::from_usd(50.0), rpm: Some(5), ..LimitSet::default() };
        assert_eq!(filled(&large), (Some(10.0), None, None));
        assert_eq!(filled(&LimitSet::default()), (Some(5.0), Some("30d".to_owned()), Some(60)));
    }
}
