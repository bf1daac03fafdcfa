//! Spend for people and dashboards: single requests, sums per day, key, user, tag, model and team, the sum of all.

mod global;
mod logs;
mod summary;
mod sums;

use std::collections::{HashMap, HashSet};

use actix_web::web::ServiceConfig;
use serde_json::Value;

use super::caller::hash_of;
use super::error::AdminError;
use super::query::Query;
use super::{AdminState, caller, duration, error, listing, show};
use crate::domain::UnixMicros;
use crate::event::Payer;
use crate::http::get_or_head;
use crate::store::keys::PayingKey;
use crate::store::spend::{Days, SpendRow};

/// Adds the paths.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .route("/spend/logs", get_or_head().to(logs::logs))
        .route("/spend/unpriced", get_or_head().to(logs::unpriced))
        .route("/spend/users", get_or_head().to(sums::users))
        .route("/spend/tags", get_or_head().to(sums::tags))
        .route("/spend/keys", get_or_head().to(sums::keys))
        .route("/global/spend", get_or_head().to(global::total))
        .route("/global/spend/keys", get_or_head().to(global::keys))
        .route("/global/spend/models", get_or_head().to(global::models))
        .route("/global/spend/teams", get_or_head().to(global::teams))
        .route("/global/spend/logs", get_or_head().to(global::by_day));
}

/// What a date may be.
const DATE: &str = "a date such as 2026-01-15";
/// What `start_date` and `end_date` may be where single requests are looked at.
const MOMENT: &str = "a date such as 2026-01-15, or an RFC 3339 moment";

/// The days of sums: `start_date` and `end_date`, both as whole days, UTC.
fn days(query: &mut Query) -> Days {
    Days {
        first: query.parsed("start_date", DATE, duration::day_of),
        last: query.parsed("end_date", DATE, duration::day_of),
    }
}

/// The same; without either, LiteLLM's last 30 days and today.
fn days_of_a_month(query: &mut Query, now: UnixMicros) -> Days {
    match days(query) {
        Days { first: None, last: None } => Days { first: Some(duration::day_at(now) - 30), last: None },
        days => days,
    }
}

/// The payer whom `api_key` names: by a key, also by an earlier value of it, by its hash, or by a fixed name.
async fn payer_named(state: &AdminState, key: &str) -> Result<String, AdminError> {
    let is_fixed = key == Payer::MASTER || key == Payer::ANONYMOUS;
    if is_fixed { Ok(key.to_owned()) } else { Ok(state.store.payer_of(hash_of(key)).await?) }
}

/// Payers as they are shown: each under the hash by which its key is asked for.
#[derive(Debug, Default)]
struct ShownPayers(HashMap<String, PayingKey>);

impl ShownPayers {
    /// Reads the keys of these payers.
    async fn of(state: &AdminState, payers: impl Iterator<Item = &str>) -> Result<Self, AdminError> {
        let names: HashSet<&str> = payers.collect();
        let names = names.into_iter().map(str::to_owned).collect();
        Ok(Self(state.store.keys_of_payers(names).await?))
    }

    /// Those of some requests.
    async fn of_rows(state: &AdminState, rows: &[SpendRow]) -> Result<Self, AdminError> {
        Self::of(state, rows.iter().map(|row| row.payer.as_str())).await
    }

    /// The key, where it is known.
    fn key(&self, payer: &str) -> Option<&PayingKey> {
        self.0.get(payer)
    }

    /// The hash of its value, or the payer's own name.
    fn name<'n>(&'n self, payer: &'n str) -> &'n str {
        self.key(payer).map_or(payer, |key| &key.hash)
    }

    /// Requests as they are shown.
    fn logs(&self, rows: &[SpendRow]) -> Vec<Value> {
        rows.iter().map(|row| show::spend_log(row, self.name(&row.payer))).collect()
    }
}
