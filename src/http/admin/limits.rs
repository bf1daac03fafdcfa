//! Budgets and rate limits in the bodies of admin calls, under LiteLLM's names, and as they are shown.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::domain::lenient::{self, ModelBudget, NoModelBudget};
use crate::domain::period::{Period, moment_text};
use crate::domain::{Enforcement, NanoUsd, UnixMicros, Zone};
use crate::store::LimitSet;
use crate::store::limit_set::LimitPatch;

/// Reads every limit that is named; null lifts one.
pub(super) fn read(fields: &mut Fields) -> LimitPatch {
    LimitPatch {
        max_budget: named(fields, "max_budget", money),
        soft_budget: named(fields, "soft_budget", money),
        budget_duration: named(fields, "budget_duration", duration),
        enforcement: named(fields, "budget_enforcement", enforcement),
        rpm: named(fields, "rpm_limit", Fields::count),
        tpm: named(fields, "tpm_limit", Fields::count),
        max_parallel: named(fields, "max_parallel_requests", Fields::count),
        model_budgets: named(fields, "model_max_budget", model_budgets).map(Option::unwrap_or_default),
        model_rpm: named(fields, "model_rpm_limit", model_rates).map(Option::unwrap_or_default),
        model_tpm: named(fields, "model_tpm_limit", model_rates).map(Option::unwrap_or_default),
        reset: None,
    }
}

#[expect(clippy::option_option, reason = "outer: whether it is named; inner: what it becomes")]
fn named<T>(
    fields: &mut Fields,
    name: &'static str,
    read: impl Fn(&mut Fields, &'static str) -> Option<T>,
) -> Option<Option<T>> {
    let is_named = fields.names(name);
    let value = read(fields, name);
    is_named.then_some(value)
}

/// Dollars, from 0.
pub(super) fn money(fields: &mut Fields, name: &'static str) -> Option<NanoUsd> {
    let usd = fields.amount(name)?;
    NanoUsd::from_usd(usd)
        .or_else(|| fields.fault(name, "less_than_equal", "Input is too large", &json!(usd)))
}

fn duration(fields: &mut Fields, name: &'static str) -> Option<String> {
    let text = fields.text(name).filter(|text| !text.is_empty())?;
    match Period::parse(&text) {
        Some(_) => Some(text),
        None => fields.fault(name, "value_error", &NoModelBudget::Duration.to_string(), &json!(text)),
    }
}

fn enforcement(fields: &mut Fields, name: &'static str) -> Option<Enforcement> {
    let text = fields.text(name)?;
    let message = "Input should be 'standard' or 'hard'";
    Enforcement::from_name(&text).or_else(|| fields.fault(name, "enum", message, &json!(text)))
}

/// `{"model": 5}`.
fn model_rates(fields: &mut Fields, name: &'static str) -> Option<BTreeMap<String, u64>> {
    let mut rates = BTreeMap::new();
    for (model, value) in fields.object(name)? {
        match lenient::whole_number(&value) {
            Some(rate) => drop(rates.insert(model, rate)),
            None => {
                let message = "Input should be a valid integer, from 0";
                return fields.fault_in(name, &model, "int_type", message, &value);
            }
        }
    }
    Some(rates)
}

/// `{"model": {"budget_limit": 1.5, "time_period": "1d"}}`; also `max_budget`, `budget_duration`, or the amount alone.
fn model_budgets(fields: &mut Fields, name: &'static str) -> Option<BTreeMap<String, ModelBudget>> {
    let mut budgets = BTreeMap::new();
    for (model, value) in fields.object(name)? {
        match lenient::model_budget(&value) {
            Ok(budget) => drop(budgets.insert(model, budget)),
            Err(why) => return fields.fault_in(name, &model, "value_error", &why.to_string(), &value),
        }
    }
    Some(budgets)
}

/// Limits as LiteLLM shows them.
pub(super) fn shown(limits: &LimitSet, now: UnixMicros, zone: &Zone) -> Map<String, Value> {
    let usd = |money: Option<NanoUsd>| money.map(NanoUsd::as_usd);
    let of_models = |value: fn(&crate::store::limit_set::ModelLimits) -> Option<Value>| {
        let named = limits.models.iter().filter_map(|(model, limits)| Some((model.clone(), value(limits)?)));
        named.collect::<Map<String, Value>>()
    };
    let budgets = of_models(|model| {
        Some(json!({"budget_limit": model.max_budget?.as_usd(), "time_period": model.budget_duration}))
    });
    let or_null = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { Value::Object(map) };
    let mut shown = Map::new();
    for (name, value) in [
        ("max_budget", json!(usd(limits.max_budget))),
        ("soft_budget", json!(usd(limits.soft_budget))),
        ("budget_duration", json!(limits.budget_duration)),
        ("budget_reset_at", json!(resets_at(limits, now, zone))),
        ("budget_enforcement", json!(limits.enforcement)),
        ("model_max_budget", Value::Object(budgets)),
        ("tpm_limit", json!(limits.tpm)),
        ("rpm_limit", json!(limits.rpm)),
        ("max_parallel_requests", json!(limits.max_parallel)),
        ("model_rpm_limit", or_null(of_models(|model| model.rpm.map(Value::from)))),
        ("model_tpm_limit", or_null(of_models(|model| model.tpm.map(Value::from)))),
    ] {
        shown.insert(name.to_owned(), value);
    }
    shown
}

/// When the budget of these limits starts anew.
pub(super) fn resets_at(limits: &LimitSet, now: UnixMicros, zone: &Zone) -> Option<String> {
    let period = limits.budget_duration.as_deref().and_then(Period::parse)?;
    period.window(now, limits.set_at.unwrap_or_default(), zone).end.and_then(moment_text)
}
