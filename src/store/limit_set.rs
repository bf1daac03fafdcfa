//! What somebody may spend and how fast, as it is stored: one JSON object for keys, teams, customers and budgets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{Enforcement, NanoUsd, UnixMicros};

/// From this moment on, spend counts from an amount anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendReset {
    /// Requests that began earlier no longer count.
    pub at: UnixMicros,
    /// What is taken to be spent at that moment.
    pub to: NanoUsd,
}

/// Limits of a key for one model, by the name that requests use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelLimits {
    /// The most it may spend on the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_budget: Option<NanoUsd>,
    /// How often that starts anew, such as `1d`; never, if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<String>,
    /// When the duration was set; where nobody noted it, when the holder's own was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_at: Option<UnixMicros>,
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
}

/// What somebody may spend and how fast; what is `None` is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitSet {
    /// The most that may be spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_budget: Option<NanoUsd>,
    /// Beyond it, answers and the log warn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_budget: Option<NanoUsd>,
    /// How often spend starts anew, such as `30d`; never, if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<String>,
    /// Other than the gateway's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u64>,
    /// For single models.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelLimits>,
    /// When the durations were set: those without a place in the calendar are counted from that day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_at: Option<UnixMicros>,
    /// The last reset by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<SpendReset>,
}

impl LimitSet {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_budget = self.max_budget.is_some() || self.soft_budget.is_some();
        let has_rate = self.rpm.is_some() || self.tpm.is_some() || self.max_parallel.is_some();
        !has_budget && !has_rate && self.models.is_empty()
    }

    /// These limits, and where they are silent those of a budget they name.
    #[must_use]
    pub fn over(&self, budget: &Self) -> Self {
        let own_budget = self.max_budget.is_some();
        Self {
            max_budget: self.max_budget.or(budget.max_budget),
            soft_budget: self.soft_budget.or(budget.soft_budget),
            budget_duration: if own_budget || self.budget_duration.is_some() {
                self.budget_duration.clone()
            } else {
                budget.budget_duration.clone()
            },
            enforcement: self.enforcement.or(budget.enforcement),
            rpm: self.rpm.or(budget.rpm),
            tpm: self.tpm.or(budget.tpm),
            max_parallel: self.max_parallel.or(budget.max_parallel),
            models: if self.models.is_empty() { budget.models.clone() } else { self.models.clone() },
            set_at: if self.budget_duration.is_some() { self.set_at } else { budget.set_at.or(self.set_at) },
            reset: self.reset,
        }
    }
}

/// What to change of limits: outer `None` leaves a limit as it is, inner `None` lifts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitPatch {
    /// Another budget.
    pub max_budget: Option<Option<NanoUsd>>,
    /// Another soft budget.
    pub soft_budget: Option<Option<NanoUsd>>,
    /// Another duration.
    pub budget_duration: Option<Option<String>>,
    /// Another enforcement.
    pub enforcement: Option<Option<Enforcement>>,
    /// Other requests a minute.
    pub rpm: Option<Option<u64>>,
    /// Other tokens a minute.
    pub tpm: Option<Option<u64>>,
    /// Other requests at the same time.
    pub max_parallel: Option<Option<u64>>,
    /// Other budgets of models: amount and duration.
    pub model_budgets: Option<BTreeMap<String, (NanoUsd, Option<String>)>>,
    /// Other requests a minute of models.
    pub model_rpm: Option<BTreeMap<String, u64>>,
    /// Other tokens a minute of models.
    pub model_tpm: Option<BTreeMap<String, u64>>,
    /// A reset.
    pub reset: Option<SpendReset>,
}

impl LimitPatch {
    /// Changes what is named.
    pub fn apply(self, limits: &mut LimitSet, now: UnixMicros) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        if self.budget_duration.as_ref().is_some_and(|duration| *duration != limits.budget_duration) {
            limits.set_at = Some(now);
        }
        set(&mut limits.max_budget, self.max_budget);
        set(&mut limits.soft_budget, self.soft_budget);
        set(&mut limits.budget_duration, self.budget_duration);
        set(&mut limits.enforcement, self.enforcement);
        set(&mut limits.rpm, self.rpm);
        set(&mut limits.tpm, self.tpm);
        set(&mut limits.max_parallel, self.max_parallel);
        if self.reset.is_some() {
            limits.reset = self.reset;
        }
        if let Some(budgets) = self.model_budgets {
            set_model_budgets(&mut limits.models, budgets, limits.set_at, now);
        }
        if let Some(rates) = self.model_rpm {
            limits.models.values_mut().for_each(|model| model.rpm = None);
            rates.into_iter().for_each(|(name, rpm)| limits.models.entry(name).or_default().rpm = Some(rpm));
        }
        if let Some(rates) = self.model_tpm {
            limits.models.values_mut().for_each(|model| model.tpm = None);
            rates.into_iter().for_each(|(name, tpm)| limits.models.entry(name).or_default().tpm = Some(tpm));
        }
        limits.models.retain(|_, model| *model != ModelLimits::default());
    }
}

/// Replaces all budgets of models. A window goes on as it is where its duration stays.
fn set_model_budgets(
    models: &mut BTreeMap<String, ModelLimits>,
    budgets: BTreeMap<String, (NanoUsd, Option<String>)>,
    set_at: Option<UnixMicros>,
    now: UnixMicros,
) {
    for (_, model) in models.iter_mut().filter(|(name, _)| !budgets.contains_key(*name)) {
        (model.max_budget, model.budget_duration, model.set_at) = (None, None, None);
    }
    for (name, (amount, duration)) in budgets {
        let model = models.entry(name).or_default();
        let goes_on = model.max_budget.is_some() && model.budget_duration == duration;
        model.set_at = if goes_on { model.set_at.or(set_at) } else { Some(now) };
        (model.max_budget, model.budget_duration) = (Some(amount), duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_lifts_what_it_sets_to_nothing() {
        let mut limits = LimitSet { rpm: Some(1), tpm: Some(2), ..LimitSet::default() };
        let patch = LimitPatch {
            rpm: Some(None),
            max_budget: Some(Some(NanoUsd(5))),
            budget_duration: Some(Some("7d".into())),
            model_rpm: Some(BTreeMap::from([("m".into(), 3)])),
            ..LimitPatch::default()
        };
        patch.apply(&mut limits, UnixMicros(9));
        assert_eq!((limits.rpm, limits.tpm, limits.max_budget), (None, Some(2), Some(NanoUsd(5))));
        assert_eq!((limits.set_at, limits.models["m"].rpm), (Some(UnixMicros(9)), Some(3)));
        let lift = LimitPatch { model_rpm: Some(BTreeMap::new()), ..LimitPatch::default() };
        lift.apply(&mut limits, UnixMicros(10));
        assert!(limits.models.is_empty());
        assert_eq!(limits.set_at, Some(UnixMicros(9)));
    }

    #[test]
    fn a_budget_of_a_model_moves_no_window_but_its_own_and_only_when_its_duration_changes() {
        let mut limits = LimitSet::default();
        let budget = |amount, duration: &str| LimitPatch {
            model_budgets: Some(BTreeMap::from([("m".into(), (NanoUsd(amount), Some(duration.into())))])),
            ..LimitPatch::default()
        };
        let own = LimitPatch { budget_duration: Some(Some("90d".into())), ..LimitPatch::default() };
        own.apply(&mut limits, UnixMicros(1));
        let mut after = |amount, duration: &str, now| {
            budget(amount, duration).apply(&mut limits, UnixMicros(now));
            (limits.set_at, limits.models["m"].set_at)
        };
        assert_eq!(after(5, "9d", 2), (Some(UnixMicros(1)), Some(UnixMicros(2))));
        assert_eq!(after(5, "9d", 3), (Some(UnixMicros(1)), Some(UnixMicros(2))));
        assert_eq!(after(6, "9d", 4), (Some(UnixMicros(1)), Some(UnixMicros(2))));
        assert_eq!(after(6, "8d", 5), (Some(UnixMicros(1)), Some(UnixMicros(5))));
        // As an earlier release stored it: the window goes on from where it was counted.
        limits.models.get_mut("m").unwrap().set_at = None;
        budget(7, "8d").apply(&mut limits, UnixMicros(6));
        assert_eq!(limits.models["m"].set_at, Some(UnixMicros(1)));
        let lift = LimitPatch { model_budgets: Some(BTreeMap::new()), ..LimitPatch::default() };
        lift.apply(&mut limits, UnixMicros(7));
        assert!(limits.models.is_empty());
    }

    #[test]
    fn own_limits_stand_over_those_of_a_named_budget() {
        let budget = LimitSet {
            max_budget: Some(NanoUsd(1)),
            budget_duration: Some("1d".into()),
            rpm: Some(7),
            ..LimitSet::default()
        };
        let own = LimitSet { max_budget: Some(NanoUsd(2)), ..LimitSet::default() };
        let both = own.over(&budget);
        assert_eq!((both.max_budget, both.budget_duration, both.rpm), (Some(NanoUsd(2)), None, Some(7)));
        assert_eq!(LimitSet::default().over(&budget).budget_duration.as_deref(), Some("1d"));
    }
}
