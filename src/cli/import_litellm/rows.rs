//! What a row of LiteLLM's tables is in bedgate.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::losses;
use crate::domain::period::Period;
use crate::domain::{KeyHash, NanoUsd, UnixMicros, lenient};
use crate::store::keys::Change;
use crate::store::limit_set::{ModelLimits, SpendReset};
use crate::store::{HolderKind, HolderRecord, KeyRecord, LimitSet};

/// The team of the keys that LiteLLM's own pages make for their sessions.
const DASHBOARD: &str = "litellm-dashboard";

/// Of a value that cannot be read, so many characters are shown.
const MAX_SHOWN: usize = 80;

/// Why a row has no place in bedgate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unimportable {
    /// It was not meant to last.
    #[error("a session of LiteLLM's own pages")]
    Session,
    /// A column does not hold what its name says.
    #[error("{0}")]
    Unreadable(String),
    /// What limits it was not imported: it would be without limits.
    #[error("its {0} is skipped, and so would not limit it")]
    Unlimited(String),
}

/// The columns that all of LiteLLM's tables share, where they have them. Numbers are read one by one: a limit that cannot
/// be understood must be told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Columns {
    spend: Value,
    max_budget: Value,
    soft_budget: Value,
    budget_duration: Option<String>,
    max_parallel_requests: Value,
    rpm_limit: Value,
    tpm_limit: Value,
    model_max_budget: Value,
    budget_id: Option<String>,
    blocked: Option<bool>,
    models: Option<Vec<String>>,
    metadata: Option<Map<String, Value>>,
    key_name: Option<String>,
    key_alias: Option<String>,
    team_id: Option<String>,
    team_alias: Option<String>,
    alias: Option<String>,
    user_id: Option<String>,
    allowed_routes: Option<Vec<String>>,
    expires: Option<String>,
    created_at: Option<String>,
    created_by: Option<String>,
}

impl Columns {
    fn read(row: Value) -> Result<Self, Unimportable> {
        serde_json::from_value(row).map_err(|error| Unimportable::Unreadable(error.to_string()))
    }

    fn spend(&self) -> Result<NanoUsd, Unimportable> {
        if self.spend.is_null() {
            return Ok(NanoUsd::ZERO);
        }
        let spend = lenient::number(&self.spend).and_then(NanoUsd::from_usd);
        spend.ok_or_else(|| unreadable("spend", &self.spend))
    }

    /// Limits as bedgate keeps them. What was spent of a budget that starts anew counts in the window that is open now.
    fn limits(&mut self, now: UnixMicros) -> Result<LimitSet, Unimportable> {
        let models = self.model_limits()?;
        let duration = self.budget_duration.take().filter(|text| !text.is_empty());
        if let Some(text) = duration.as_deref().filter(|text| Period::parse(text).is_none()) {
            return Err(unreadable("budget_duration", &json!(text)));
        }
        let reset = match duration {
            Some(_) => Some(SpendReset { at: now, to: self.spend()? }),
            None => None,
        };
        Ok(LimitSet {
            max_budget: money("max_budget", &self.max_budget)?,
            soft_budget: money("soft_budget", &self.soft_budget)?,
            budget_duration: duration,
            rpm: count("rpm_limit", &self.rpm_limit)?,
            tpm: count("tpm_limit", &self.tpm_limit)?,
            max_parallel: count("max_parallel_requests", &self.max_parallel_requests)?,
            models,
            set_at: self.created_at.as_deref().and_then(moment).or(Some(now)),
            reset,
            ..LimitSet::default()
        })
    }

    /// `model_max_budget`, and the rates that LiteLLM keeps in `metadata`.
    fn model_limits(&mut self) -> Result<BTreeMap<String, ModelLimits>, Unimportable> {
        let mut limits: BTreeMap<String, ModelLimits> = BTreeMap::new();
        for (model, budget) in members("model_max_budget", self.model_max_budget.take())? {
            let (amount, duration) = lenient::model_budget(&budget)
                .map_err(|_| unreadable(&format!("model_max_budget of the model {model:?}"), &budget))?;
            let of_model = limits.entry(model).or_default();
            (of_model.max_budget, of_model.budget_duration) = (Some(amount), duration);
        }
        let Some(metadata) = &mut self.metadata else { return Ok(limits) };
        for (field, is_rpm) in [("model_rpm_limit", true), ("model_tpm_limit", false)] {
            for (model, rate) in members(field, metadata.remove(field).unwrap_or_default())? {
                let rate = count(&format!("{field} of the model {model:?}"), &rate)?;
                let of_model = limits.entry(model).or_default();
                *(if is_rpm { &mut of_model.rpm } else { &mut of_model.tpm }) = rate;
            }
        }
        Ok(limits)
    }

    fn created_at(&self, now: UnixMicros) -> UnixMicros {
        self.created_at.as_deref().and_then(moment).unwrap_or(now)
    }
}

/// A key of LiteLLM's, by its hash. The second value is what it has spent.
pub(super) fn key(token: &str, row: Value, change: &Change) -> Result<(KeyRecord, NanoUsd), Unimportable> {
    let mut columns = Columns::read(row)?;
    if columns.team_id.as_deref() == Some(DASHBOARD) {
        return Err(Unimportable::Session);
    }
    let hash = KeyHash::from_hex(token).ok_or_else(|| {
        Unimportable::Unreadable("its token is not a SHA-256 hash, so no client can show it".to_owned())
    })?;
    let expires_at = match columns.expires.as_deref() {
        None => None,
        Some(text) => Some(
            moment(text)
                .ok_or_else(|| Unimportable::Unreadable(format!("expires is no moment: {text:?}")))?,
        ),
    };
    let mut limits = columns.limits(change.at)?;
    let spend = columns.spend()?;
    if columns.budget_id.is_some() && limits.reset.is_none() && spend != NanoUsd::ZERO {
        // The budget that it names may start anew: what was spent counts in the window that is open now.
        limits.reset = Some(SpendReset { at: change.at, to: spend });
    }
    let mut metadata = columns.metadata.take().unwrap_or_default();
    let tags = metadata.remove("tags").unwrap_or_default();
    let tags: Option<Vec<String>> =
        serde_json::from_value(tags.clone()).map_err(|_| unreadable("metadata.tags", &tags))?;
    losses::take_from_metadata(&mut metadata);
    let record = KeyRecord {
        hash,
        key_name: columns.key_name.take().unwrap_or_else(|| "sk-...".to_owned()),
        key_alias: columns.key_alias.take().filter(|alias| !alias.is_empty()),
        team_id: columns.team_id.take(),
        user_id: columns.user_id.take(),
        models: columns.models.take().unwrap_or_default(),
        allowed_routes: columns.allowed_routes.take().unwrap_or_default(),
        tags: tags.unwrap_or_default(),
        metadata: Value::Object(metadata),
        expires_at,
        blocked: columns.blocked.unwrap_or_default(),
        created_at: columns.created_at(change.at),
        updated_at: change.at,
        created_by: columns.created_by.clone(),
        limits,
        budget_id: columns.budget_id.take(),
        ..KeyRecord::default()
    };
    Ok((record, spend))
}

/// A team, an end user or a budget of LiteLLM's.
pub(super) fn holder(
    kind: HolderKind,
    id: String,
    row: Value,
    change: &Change,
) -> Result<HolderRecord, Unimportable> {
    let mut columns = Columns::read(row)?;
    let mut limits = columns.limits(change.at)?;
    if kind == HolderKind::Budget {
        limits.reset = None;
    } else if limits.reset.is_none() && columns.spend()? != NanoUsd::ZERO {
        limits.reset = Some(SpendReset { at: change.at, to: columns.spend()? });
    }
    if kind != HolderKind::Budget {
        // Limits for single models are those of keys (`losses` tells what goes).
        limits.models.clear();
    }
    let mut metadata = columns.metadata.take().unwrap_or_default();
    losses::take_from_metadata(&mut metadata);
    Ok(HolderRecord {
        alias: columns.team_alias.take().or(columns.alias.take()),
        blocked: columns.blocked.unwrap_or_default(),
        models: columns.models.take().unwrap_or_default(),
        limits,
        budget_id: columns.budget_id.take().filter(|_| kind == HolderKind::Customer),
        metadata: Value::Object(metadata),
        created_at: columns.created_at(change.at),
        created_by: columns.created_by.clone(),
        ..HolderRecord::new(kind, id, change)
    })
}

fn unreadable(what: &str, value: &Value) -> Unimportable {
    let shown: String = value.to_string().chars().take(MAX_SHOWN).collect();
    Unimportable::Unreadable(format!("{what} cannot be read: {shown}"))
}

/// Dollars from 0. What is not finite is no limit, as in LiteLLM; what is too large to be counted is the largest amount.
fn money(what: &str, value: &Value) -> Result<Option<NanoUsd>, Unimportable> {
    if value.is_null() || value.as_str() == Some("Infinity") {
        return Ok(None);
    }
    let usd = lenient::number(value).filter(|usd| *usd >= 0.0).ok_or_else(|| unreadable(what, value))?;
    Ok(Some(NanoUsd::from_usd(usd).unwrap_or(NanoUsd(i64::MAX))))
}

fn count(what: &str, value: &Value) -> Result<Option<u64>, Unimportable> {
    if value.is_null() {
        return Ok(None);
    }
    lenient::whole_number(value).map(Some).ok_or_else(|| unreadable(what, value))
}

/// What a map from models says of each, without those of which it says nothing.
fn members(what: &str, value: Value) -> Result<Vec<(String, Value)>, Unimportable> {
    match unwrapped(value) {
        Value::Null => Ok(Vec::new()),
        Value::Object(members) => {
            Ok(members.into_iter().filter(|(_, value)| says_something(value)).collect())
        }
        other => Err(unreadable(what, &other)),
    }
}

/// A value, where it may have been stored as the text of one.
pub(super) fn unwrapped(value: Value) -> Value {
    match &value {
        Value::String(text) if text.starts_with(['{', '[']) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    }
}

/// Whether a value asks for anything. Zero does: a limit of zero is one.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Object(members) => members.values().any(says_something),
    }
}

/// A moment as Postgres writes it into JSON: `2026-01-31T12:00:00.123`, without a zone since LiteLLM keeps UTC.
fn moment(text: &str) -> Option<UnixMicros> {
    let plain = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]");
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let moment = PrimitiveDateTime::parse(text, plain)
        .map(PrimitiveDateTime::assume_utc)
        .or_else(|_| OffsetDateTime::parse(text, rfc3339))
        .ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000).ok().map(UnixMicros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

    fn change() -> Change {
        Change { actor: "import".to_owned(), at: NOW }
    }

    #[test]
    fn a_key_keeps_its_hash_limits_and_spend() {
        let hash = KeyHash::of("sk-1234567890abcdef");
        let row = json!({
            "token": hash.to_string(), "key_name": "sk-...cdef", "key_alias": "search", "spend": 1.25,
            "expires": "2026-12-31T23:59:59.5", "models": ["claude"], "user_id": "u", "team_id": "t",
            "max_parallel_requests": 3, "metadata": {"tags": ["a"], "model_rpm_limit": {"claude": 5}, "cost": "x"},
            "blocked": null, "tpm_limit": 1000, "rpm_limit": null, "max_budget": 10.0, "budget_duration": "30d",
            "allowed_routes": [], "model_max_budget": {"claude": {"budget_limit": 2.0, "time_period": "1d"}},
            "budget_id": null, "created_at": "2025-01-01T00:00:00", "policies": [], "a_column_of_tomorrow": 1,
        });
        let (key, spend) = key(&hash.to_string(), row, &change()).unwrap();
        assert_eq!((key.hash, spend), (hash, NanoUsd(1_250_000_000)));
        assert_eq!(key.expires_at, Some(UnixMicros(1_798_761_599_500_000)));
        assert_eq!((key.tags, key.metadata), (vec!["a".to_owned()], json!({"cost": "x"})));
        assert_eq!(key.limits.max_budget, Some(NanoUsd(10_000_000_000)));
        assert_eq!(key.limits.reset, Some(SpendReset { at: NOW, to: spend }));
        let of_model = &key.limits.models["claude"];
        assert_eq!((of_model.max_budget, of_model.rpm), (Some(NanoUsd(2_000_000_000)), Some(5)));
        assert_eq!(of_model.budget_duration.as_deref(), Some("1d"));
    }

    #[test]
    fn a_key_whose_budget_never_starts_anew_carries_its_spend_without_a_reset() {
        let hash = KeyHash::of("sk-x").to_string();
        let (key, spend) = key(&hash, json!({"spend": 2, "max_budget": 5}), &change()).unwrap();
        assert_eq!((key.limits.reset, spend), (None, NanoUsd(2_000_000_000)));
    }

    #[test]
    fn what_a_key_has_spent_counts_in_the_open_window_of_the_budget_it_names() {
        let hash = KeyHash::of("sk-x").to_string();
        for (row, spent) in [
            (json!({"spend": 2, "budget_id": "monthly"}), Some(2)),
            (json!({"spend": 0, "budget_id": "monthly"}), None),
            (json!({"spend": 2, "budget_id": "monthly", "budget_duration": "1d"}), Some(2)),
        ] {
            let expected = spent.map(|usd| SpendReset { at: NOW, to: NanoUsd(usd * 1_000_000_000) });
            let limits = key(&hash, row.clone(), &change()).unwrap().0.limits;
            assert_eq!(limits.reset, expected, "{row}");
        }
    }

    #[test]
    fn limits_are_read_in_every_form_that_litellm_takes() {
        let hash = KeyHash::of("sk-x").to_string();
        let nano = Some(NanoUsd(100));
        for (budget, duration) in [
            (json!({"budget_limit": "0.0000001", "time_period": "1d"}), Some("1d")),
            (json!({"max_budget": 0.000_000_1, "budget_duration": "1d"}), Some("1d")),
            (json!("0.0000001"), None),
        ] {
            let row =
                json!({"model_max_budget": {"m": budget, "free": null, "empty": {"budget_limit": null}}});
            let limits = key(&hash, row, &change()).unwrap().0.limits;
            assert_eq!(limits.models.len(), 1);
            assert_eq!(limits.models["m"].max_budget, nano);
            assert_eq!(limits.models["m"].budget_duration.as_deref(), duration);
        }
        let row = json!({
            "max_budget": "0.0000001", "rpm_limit": "5", "model_max_budget": "{\"m\": {\"budget_limit\": 1}}",
            "metadata": {"model_tpm_limit": {"m": "7"}, "guardrails": ["pii"]},
        });
        let record = key(&hash, row, &change()).unwrap().0;
        assert_eq!((record.limits.max_budget, record.limits.rpm), (nano, Some(5)));
        assert_eq!(record.limits.models["m"].tpm, Some(7));
        assert_eq!(record.limits.models["m"].max_budget, Some(NanoUsd(1_000_000_000)));
        assert_eq!(record.metadata, json!({}), "what does not hold does not look as if it did");
        for (amount, expected) in [(json!("Infinity"), None), (json!(1e30), Some(NanoUsd(i64::MAX)))] {
            let record = key(&hash, json!({"max_budget": amount}), &change()).unwrap().0;
            assert_eq!(record.limits.max_budget, expected);
        }
    }

    #[test]
    fn sessions_and_what_cannot_be_read_are_told_apart() {
        let hash = KeyHash::of("sk-x").to_string();
        assert_eq!(
            key(&hash, json!({"team_id": "litellm-dashboard"}), &change()),
            Err(Unimportable::Session)
        );
        for (token, row, named) in [
            ("sk-plain", json!({}), "SHA-256"),
            (hash.as_str(), json!({"expires": "soon"}), "expires"),
            (hash.as_str(), json!({"budget_duration": "soon"}), "budget_duration"),
            (hash.as_str(), json!({"max_budget": "much"}), "much"),
            (hash.as_str(), json!({"max_budget": -1}), "max_budget"),
            (hash.as_str(), json!({"spend": "lots"}), "spend"),
            (hash.as_str(), json!({"rpm_limit": -1}), "rpm_limit"),
            (hash.as_str(), json!({"tpm_limit": "some"}), "tpm_limit"),
            (hash.as_str(), json!({"max_parallel_requests": 1.5}), "max_parallel_requests"),
            (hash.as_str(), json!({"model_max_budget": {"m": {"budget": 1}}}), "model_max_budget"),
            (hash.as_str(), json!({"model_max_budget": {"m": {"budget_limit": "few"}}}), "few"),
            (hash.as_str(), json!({"model_max_budget": [1]}), "model_max_budget"),
            (hash.as_str(), json!({"metadata": {"model_rpm_limit": {"m": "few"}}}), "model_rpm_limit"),
            (hash.as_str(), json!({"metadata": {"model_tpm_limit": 5}}), "model_tpm_limit"),
            (hash.as_str(), json!({"metadata": {"tags": "a"}}), "tags"),
        ] {
            let why = key(token, row, &change()).unwrap_err().to_string();
            assert!(why.contains(named), "{why}");
        }
    }

    #[test]
    fn a_team_goes_on_with_what_it_has_spent_and_a_budget_has_no_spend() {
        let row =
            json!({"team_alias": "Search", "spend": 3.0, "max_budget": 5.0, "models": ["a"], "rpm_limit": 7});
        let team = holder(HolderKind::Team, "t".to_owned(), row.clone(), &change()).unwrap();
        assert_eq!((team.alias.as_deref(), team.limits.rpm), (Some("Search"), Some(7)));
        assert_eq!(team.limits.reset, Some(SpendReset { at: NOW, to: NanoUsd(3_000_000_000) }));
        let budget = holder(HolderKind::Budget, "b".to_owned(), row, &change()).unwrap();
        assert_eq!(budget.limits.reset, None);
    }
}
