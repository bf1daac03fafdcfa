//! What keys, teams and customers have spent: of the budget that is shown beside it, and in all.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::error::AdminError;
use super::{AdminState, holders, limits, show};
use crate::domain::period::Window;
use crate::domain::{NanoUsd, UnixMicros};
use crate::store::keys::KeyDetails;
use crate::store::spend::{SpendOf, SpendSince};
use crate::store::{HolderKind, HolderRecord, LimitSet};

/// What somebody has spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// Since the budget last started anew; LiteLLM's `spend`.
    of_budget: NanoUsd,
    /// Over all time.
    total: NanoUsd,
}

impl Spent {
    /// Puts both into a row.
    pub(super) fn show(self, row: &mut Map<String, Value>) {
        row.insert("spend".to_owned(), json!(self.of_budget.as_usd()));
        row.insert("total_spend".to_owned(), json!(self.total.as_usd()));
    }
}

/// Budgets by their ids.
pub(super) struct Budgets(HashMap<String, HolderRecord>);

impl Budgets {
    /// Those that are named, as the database has them: they may have been made through another gateway a moment ago.
    pub(super) async fn named<'n>(
        state: &AdminState,
        ids: impl Iterator<Item = &'n Option<String>>,
    ) -> Result<Self, AdminError> {
        let mut ids: Vec<String> = ids.flatten().cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let found = state.store.find_holders(HolderKind::Budget, ids).await?;
        Ok(Self(found.into_iter().map(|budget| (budget.id.clone(), budget)).collect()))
    }

    fn get(&self, id: Option<&String>) -> Option<&HolderRecord> {
        self.0.get(id?)
    }

    /// Limits, completed by those of the budget they name.
    fn complete<'l>(&self, limits: &'l LimitSet, id: Option<&String>) -> Cow<'l, LimitSet> {
        self.get(id).map_or(Cow::Borrowed(limits), |budget| Cow::Owned(limits.over(&budget.limits)))
    }

    /// Puts the named budget into the row of who names it, and when what it limits starts anew.
    pub(super) fn show(
        &self,
        row: &mut Map<String, Value>,
        limits: &LimitSet,
        id: Option<&String>,
        state: &AdminState,
    ) {
        let Some(budget) = self.get(id) else { return };
        let zone = state.limits.zone();
        let table = holders::budget_row(budget, zone);
        let resets_at = limits::resets_at(&limits.over(&budget.limits), UnixMicros::now(), zone);
        row.insert("litellm_budget_table".to_owned(), table.into());
        row.insert("budget_reset_at".to_owned(), json!(resets_at));
    }
}

/// Keys as rows, with what each has spent.
pub(super) async fn key_rows(
    state: &AdminState,
    keys: &[KeyDetails],
) -> Result<Vec<Map<String, Value>>, AdminError> {
    let budgets = Budgets::named(state, keys.iter().map(|key| &key.record.budget_id)).await?;
    let spent = of_keys(state, keys, &budgets).await?;
    let rows = keys.iter().zip(spent).map(|(details, spent)| {
        let mut row = show::key_row_without_spend(details, state.limits.zone());
        spent.show(&mut row);
        budgets.show(&mut row, &details.record.limits, details.record.budget_id.as_ref(), state);
        row
    });
    Ok(rows.collect())
}

/// What a key has spent of its budget.
pub(super) async fn of_key(state: &AdminState, details: &KeyDetails) -> Result<NanoUsd, AdminError> {
    let budgets = Budgets::named(state, [&details.record.budget_id].into_iter()).await?;
    let spent = of_keys(state, std::slice::from_ref(details), &budgets).await?;
    Ok(spent.first().copied().unwrap_or_default().of_budget)
}

/// What was spent by each of these, in their order.
async fn of_keys(
    state: &AdminState,
    keys: &[KeyDetails],
    budgets: &Budgets,
) -> Result<Vec<Spent>, AdminError> {
    let now = UnixMicros::now();
    let windows: Vec<_> = keys.iter().map(|key| window_of(state, key, budgets, now)).collect();
    let asked = windows.iter().flatten().map(|(asked, _)| asked.clone()).collect();
    let mut answers = state.store.spent_since(asked).await?.into_iter();
    let spent = keys.iter().zip(windows).map(|(details, window)| {
        let total = details.spend;
        let of_budget = window
            .map_or(total, |(_, opening)| opening.saturating_add(answers.next().unwrap_or_default().cost));
        Spent { of_budget, total }
    });
    Ok(spent.collect())
}

/// What counts against a key's budget, and the amount it opened with; `None` where that is all it has ever spent.
fn window_of(
    state: &AdminState,
    KeyDetails { record, .. }: &KeyDetails,
    budgets: &Budgets,
    now: UnixMicros,
) -> Option<(SpendSince, NanoUsd)> {
    let limits = budgets.complete(&record.limits, record.budget_id.as_ref());
    let (window, opening) = state.limits.window(&limits, record.spend_carried, now);
    let of = SpendOf::Payer(record.payer().to_string());
    (window != Window::ALWAYS).then_some((SpendSince { of, since: window.start }, opening))
}

/// One key as a row.
pub(super) async fn key_row(
    state: &AdminState,
    details: &KeyDetails,
) -> Result<Map<String, Value>, AdminError> {
    let rows = key_rows(state, std::slice::from_ref(details)).await?;
    Ok(rows.into_iter().next().unwrap_or_default())
}

/// What was spent for each of these, in their order; nothing for budgets, which only those who name them spend.
pub(super) async fn of_holders(
    state: &AdminState,
    records: &[HolderRecord],
    budgets: &Budgets,
) -> Result<Vec<Spent>, AdminError> {
    let now = UnixMicros::now();
    let of = |record: &HolderRecord| match record.kind {
        HolderKind::Team => Some(SpendOf::Team(record.id.clone())),
        HolderKind::Customer => Some(SpendOf::EndUser(record.id.clone())),
        HolderKind::Budget => None,
    };
    let (mut asked, mut openings) = (Vec::new(), Vec::new());
    for record in records {
        let Some(of) = of(record) else { continue };
        let mut limits = budgets.complete(&record.limits, record.budget_id.as_ref());
        if record.kind == HolderKind::Customer {
            limits = state.limits.limits_of_customer(limits);
        }
        let (window, opening) = state.limits.window(&limits, NanoUsd::ZERO, now);
        asked.push(SpendSince { of: of.clone(), since: window.start });
        asked.push(SpendSince { of, since: UnixMicros(0) });
        openings.push(opening);
    }
    let answers = state.store.spent_since(asked).await?;
    let mut spent: Vec<Spent> = answers
        .chunks(2)
        .zip(openings)
        .map(|(answers, opening)| {
            let cost = |index: usize| answers.get(index).map(|spent| spent.cost).unwrap_or_default();
            Spent { of_budget: opening.saturating_add(cost(0)), total: cost(1) }
        })
        .collect();
    spent.resize(records.len(), Spent::default());
    Ok(spent)
}
