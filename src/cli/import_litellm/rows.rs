//! What a row of LiteLLM's tables is in bedgate.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::domain::period::Period;
use crate::domain::{KeyHash, NanoUsd, UnixMicros};
use crate::store::keys::Change;
use crate::store::limit_set::{ModelLimits, SpendReset};
use crate::store::{HolderKind, HolderRecord, KeyRecord, LimitSet};

/// The team of the keys that LiteLLM's own pages make for their sessions.
const DASHBOARD: &str = "litellm-dashboard";

/// Why a row has no place in bedgate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unimportable {
    /// It was not meant to last.
    #[error("a session of LiteLLM's own pages")]
    Session,
    /// A column does not hold what its name says.
    #[error("{0}")]
    Unreadable(String),
}

/// The columns that all of LiteLLM's tables share, where they have them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Columns {
    spend: Option<f64>,
    max_budget: Option<f64>,
    soft_budget: Option<f64>,
    budget_duration: Option<String>,
    max_parallel_requests: Option<i64>,
    rpm_limit: Option<i64>,
    tpm_limit: Option<i64>,
    model_max_budget: Option<Value>,
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

    fn spend(&self) -> NanoUsd {
        self.spend.and_then(NanoUsd::from_usd).unwrap_or_default()
    }

    /// Limits as bedgate keeps them. What was spent of a budget that starts anew counts in the window that is open now.
    fn limits(&mut self, now: UnixMicros) -> Result<LimitSet, Unimportable> {
        let models = self.model_limits()?;
        let duration = self.budget_duration.take().filter(|text| !text.is_empty());
        if let Some(text) = duration.as_deref().filter(|text| Period::parse(text).is_none()) {
            return Err(Unimportable::Unreadable(format!("the budget_duration {text:?} is none")));
        }
        let has_windows = duration.is_some();
        Ok(LimitSet {
            max_budget: self.max_budget.and_then(NanoUsd::from_usd),
            soft_budget: self.soft_budget.and_then(NanoUsd::from_usd),
            budget_duration: duration,
            rpm: count(self.rpm_limit),
            tpm: count(self.tpm_limit),
            max_parallel: count(self.max_parallel_requests),
            models,
            set_at: self.created_at.as_deref().and_then(moment).or(Some(now)),
            reset: has_windows.then(|| SpendReset { at: now, to: self.spend() }),
            ..LimitSet::default()
        })
    }

    /// `model_max_budget`, and the rates that LiteLLM keeps in `metadata`.
    fn model_limits(&mut self) -> Result<BTreeMap<String, ModelLimits>, Unimportable> {
        let mut limits: BTreeMap<String, ModelLimits> = BTreeMap::new();
        if let Some(Value::Object(budgets)) = self.model_max_budget.take() {
            for (model, budget) in budgets {
                let amount = budget.as_f64().or_else(|| budget.get("budget_limit")?.as_f64());
                let duration = budget.get("time_period").or_else(|| budget.get("budget_duration"));
                let duration = duration.and_then(Value::as_str).map(str::to_owned);
                if duration.as_deref().is_some_and(|text| Period::parse(text).is_none()) {
                    let text = format!("the budget of the model {model:?} has no duration that can be read");
                    return Err(Unimportable::Unreadable(text));
                }
                let of_model = limits.entry(model).or_default();
                (of_model.max_budget, of_model.budget_duration) =
                    (amount.and_then(NanoUsd::from_usd), duration);
            }
        }
        let Some(metadata) = &mut self.metadata else { return Ok(limits) };
        for (field, is_rpm) in [("model_rpm_limit", true), ("model_tpm_limit", false)] {
            let Some(Value::Object(rates)) = metadata.remove(field) else { continue };
            for (model, rate) in rates {
                let of_model = limits.entry(model).or_default();
                *(if is_rpm { &mut of_model.rpm } else { &mut of_model.tpm }) = rate.as_u64();
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
    let limits = columns.limits(change.at)?;
    let mut metadata = columns.metadata.take().unwrap_or_default();
    let tags = metadata.remove("tags").and_then(|tags| serde_json::from_value(tags).ok());
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
    let spend = columns.spend();
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
    } else if limits.reset.is_none() && columns.spend() != NanoUsd::ZERO {
        limits.reset = Some(SpendReset { at: change.at, to: columns.spend() });
    }
    Ok(HolderRecord {
        alias: columns.team_alias.take().or(columns.alias.take()),
        blocked: columns.blocked.unwrap_or_default(),
        models: columns.models.take().unwrap_or_default(),
        limits,
        budget_id: columns.budget_id.take().filter(|_| kind == HolderKind::Customer),
        metadata: columns.metadata.take().map_or_else(|| json!({}), Value::Object),
        created_at: columns.created_at(change.at),
        created_by: columns.created_by.clone(),
        ..HolderRecord::new(kind, id, change)
    })
}

fn count(limit: Option<i64>) -> Option<u64> {
    limit.and_then(|limit| u64::try_from(limit).ok())
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
