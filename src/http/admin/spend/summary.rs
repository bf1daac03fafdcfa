//! `/spend/logs` with both dates: what each day cost, by key, user and model, in LiteLLM's shape.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::error::AdminError;
use super::listing::{self, Frame};
use super::{AdminState, ShownPayers, duration};
use crate::domain::{NanoUsd, UnixMicros};
use crate::store::SpendFilter;
use crate::store::spend::{DaySpend, Days};

/// Days that are read at once: sums of a month, in memory.
const READ_AT_ONCE: i32 = 31;
/// LiteLLM lists the days between the last spend and `end_date`, too, with nothing spent. So many at most.
const MAX_EMPTY_DAYS: i32 = 366;

/// Which time is summed up.
#[derive(Clone, Copy)]
pub(super) struct Period {
    /// Its begin.
    pub(super) from: UnixMicros,
    /// Its end, which does not belong to it.
    pub(super) until: UnixMicros,
    /// Whether it begins and ends at midnight, UTC, as the sums of days do.
    pub(super) of_whole_days: bool,
}

impl Period {
    fn days(self) -> Days {
        let last_moment = UnixMicros(self.until.0.saturating_sub(1));
        Days { first: Some(duration::day_at(self.from)), last: Some(duration::day_at(last_moment)) }
    }
}

/// How far the days were read.
#[derive(Clone, Copy)]
struct Place {
    next: i32,
    last_spent: Option<i32>,
}

/// The days of a period with what the filtered requests cost.
pub(super) async fn answer(
    state: web::Data<AdminState>,
    filter: SpendFilter,
    period: Period,
) -> Result<HttpResponse, AdminError> {
    let bounds = state.store.days_with_spend(period.days()).await?;
    let end = period.days().last.unwrap_or_default();
    let read = move |place: Option<Place>| {
        let (state, filter) = (state.clone(), filter.clone());
        async move {
            let Some((first, last)) = bounds else { return Ok((Vec::new(), None)) };
            let Place { next, mut last_spent } = place.unwrap_or(Place { next: first, last_spent: None });
            let days = next..=last.min(next.saturating_add(READ_AT_ONCE - 1));
            let (days_end, found) = (*days.end(), read_days(&state, filter, period, days).await?);
            last_spent = found.keys().next_back().copied().or(last_spent);
            let payers = found.values().flat_map(|day| day.payers.keys()).map(String::as_str);
            let keys = ShownPayers::of(&state, payers).await?;
            let mut rows: Vec<Value> = found.iter().map(|(day, spend)| shown(*day, spend, &keys)).collect();
            if days_end < last {
                return Ok((rows, Some(Place { next: days_end.saturating_add(1), last_spent })));
            }
            if let Some(last_spent) = last_spent {
                let until = end.min(last_spent.saturating_add(MAX_EMPTY_DAYS));
                rows.extend(
                    (last_spent.saturating_add(1)..=until).map(|day| shown(day, &DaySpend::default(), &keys)),
                );
            }
            Ok((rows, None))
        }
    };
    listing::all(Frame::none(), read).await
}

/// From the sums that are kept for each day, where they hold what is asked; else from the requests themselves.
async fn read_days(
    state: &AdminState,
    filter: SpendFilter,
    period: Period,
    days: std::ops::RangeInclusive<i32>,
) -> Result<BTreeMap<i32, DaySpend>, AdminError> {
    let is_of_all = filter.payer.is_none() && filter.user_id.is_none() && filter.request_id.is_none();
    if is_of_all && period.of_whole_days {
        let days = Days { first: Some(*days.start()), last: Some(*days.end()) };
        return Ok(state.store.spend_by_day(days).await?);
    }
    let from = period.from.max(duration::midnight_of(*days.start()));
    let until = period.until.min(duration::midnight_of(days.end().saturating_add(1)));
    let filter = SpendFilter { from: Some(from), until: Some(until), ..filter };
    Ok(state.store.spend_by_day_of(filter).await?)
}

/// A day as LiteLLM shows it: each key's spend stands beside the sums, under the key's hash.
fn shown(day: i32, spend: &DaySpend, keys: &ShownPayers) -> Value {
    let dollars = |sums: &BTreeMap<String, NanoUsd>| -> Map<String, Value> {
        sums.iter().map(|(name, cost)| (name.clone(), json!(cost.as_usd()))).collect()
    };
    let mut of_keys: BTreeMap<String, NanoUsd> = BTreeMap::new();
    for (payer, cost) in &spend.payers {
        // A key that was made with a deleted one's value has its name.
        let sum = of_keys.entry(keys.name(payer).to_owned()).or_default();
        *sum = sum.saturating_add(*cost);
    }
    let mut row = dollars(&of_keys);
    row.insert("startTime".to_owned(), json!(duration::date_of(day)));
    row.insert("spend".to_owned(), json!(spend.cost.as_usd()));
    row.insert("users".to_owned(), dollars(&spend.users).into());
    row.insert("models".to_owned(), dollars(&spend.models).into());
    row.into()
}
