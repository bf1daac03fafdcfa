//! Spend for people and dashboards: single requests, sums per day, key, user, tag, model and team, the sum of all.

mod global;
mod logs;
mod summary;
mod sums;

use actix_web::web::ServiceConfig;

use super::query::Query;
use super::{AdminState, caller, duration, error, listing, show};
use crate::domain::{KeyHash, UnixMicros};
use crate::http::get_or_head;
use crate::store::KeyRecord;
use crate::store::spend::Days;

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

/// The key that pays under this name, if it is one and is still there.
fn key_of(state: &AdminState, payer: &str) -> Option<std::sync::Arc<KeyRecord>> {
    KeyHash::from_hex(payer).and_then(|hash| state.keys.find(&hash))
}
