//! Spend for people and dashboards: single requests, sums per key, user and tag, the sum of all.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::AdminState;
use super::caller::{AdminCaller, hash_of};
use super::error::AdminError;
use super::query::Query;
use super::{duration, show};
use crate::domain::{EventId, KeyHash, NanoUsd};
use crate::event::Payer;
use crate::store::SpendFilter;
use crate::store::columns::StoredEventId;
use crate::store::spend::{Days, MAX_PAGE_SIZE, Scope};

/// Requests on a page, unless asked otherwise.
const DEFAULT_PAGE_SIZE: u32 = 100;

/// What `start_date` and `end_date` may be.
const MOMENT: &str = "a date such as 2026-01-15, or an RFC 3339 moment";

/// The days of sums: `start_date` and `end_date`, both as whole days, UTC.
fn days(query: &mut Query) -> Days {
    let date = "a date such as 2026-01-15";
    Days {
        first: query.parsed("start_date", date, duration::day_of),
        last: query.parsed("end_date", date, duration::day_of),
    }
}

/// `GET /spend/logs`: requests, newest first, as a plain list (LiteLLM's shape with `summarize=false`). `x-has-more`
/// says whether another page follows.
pub(super) async fn logs(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    let caller = AdminCaller::of(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let page = query.number("page", 1, u32::MAX);
    let size = query.number("page_size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
    let mut filter = SpendFilter {
        payer: query.text("api_key").map(|key| payer_name(&key)),
        user_id: query.text("user_id"),
        request_id: query.text("request_id"),
        from: query.parsed("start_date", MOMENT, duration::begin_of),
        until: query.parsed("end_date", MOMENT, duration::end_of),
    };
    let summarize = query.boolean("summarize").unwrap_or_default();
    query.finish()?;
    if summarize {
        return Err(AdminError::bad("requests are listed one by one: use summarize=false", "summarize"));
    }
    if let AdminCaller::Key(_) = &caller {
        let asked = filter.payer.as_deref().map(hash_of);
        filter.payer = caller.may_see(asked)?.map(|own| own.to_string());
    }
    let found = state.store.spend_logs(filter, page, size).await?;
    let events: Vec<Value> = found.events.iter().map(show::spend_log).collect();
    Ok(HttpResponse::Ok().insert_header(("x-has-more", found.more.to_string())).json(events))
}

/// A payer by key, by hash, or by a fixed name.
fn payer_name(key: &str) -> String {
    let is_fixed = key == Payer::MASTER || key == Payer::ANONYMOUS;
    if is_fixed { key.to_owned() } else { hash_of(key).to_string() }
}

/// `GET /spend/unpriced`: requests whose price nobody knew, oldest first; `bedgate reprice` charges them.
pub(super) async fn unpriced(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let size = query.number("page_size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
    let after = query.parsed("after", "the request_id of the last one seen", |text| {
        text.parse().ok().map(|id| StoredEventId(EventId(id)))
    });
    query.finish()?;
    let rows = state.store.unpriced(after, size).await?;
    Ok(HttpResponse::Ok().json(rows.iter().map(show::spend_log).collect::<Vec<_>>()))
}

/// `GET /spend/keys`: who spent most.
pub(super) async fn keys(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let (limit, days) = (query.number("limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), days(&mut query));
    query.finish()?;
    let sums = state.store.spend_sums(Scope::Key, days, limit).await?;
    let shown = sums.iter().map(|(payer, sum)| {
        let key = KeyHash::from_hex(payer).and_then(|hash| state.keys.find(&hash));
        json!({
            "token": payer,
            "key_name": key.as_ref().map(|key| &key.key_name),
            "key_alias": key.as_ref().and_then(|key| key.key_alias.as_ref()),
            "team_id": key.as_ref().and_then(|key| key.team_id.as_ref()),
            "user_id": key.as_ref().and_then(|key| key.user_id.as_ref()),
            "spend": sum.cost.as_usd(),
            "requests": sum.requests,
            "total_tokens": sum.tokens,
        })
    });
    Ok(HttpResponse::Ok().json(shown.collect::<Vec<Value>>()))
}

/// `GET /global/spend`: what everything cost, as far as it is known.
pub(super) async fn global(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let days = days(&mut query);
    query.finish()?;
    let total = state.store.total_spend(days).await?;
    let max_budget = state.limits.gateway_budget().map(NanoUsd::as_usd);
    Ok(HttpResponse::Ok().json(json!({"spend": total.as_usd(), "max_budget": max_budget})))
}

/// `GET /spend/users`: whose keys spent most.
pub(super) async fn users(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let (limit, days) = (query.number("limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), days(&mut query));
    query.finish()?;
    let sums = state.store.spend_sums(Scope::User, days, limit).await?;
    let shown = sums.into_iter().map(|(user, sum)| {
        json!({
            "user_id": user,
            "spend": sum.cost.as_usd(),
            "requests": sum.requests,
            "total_tokens": sum.tokens,
        })
    });
    Ok(HttpResponse::Ok().json(shown.collect::<Vec<Value>>()))
}

/// `GET /spend/tags`: which tags spent most, in LiteLLM's fields.
pub(super) async fn tags(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let limit = query.number("limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
    let from = query.parsed("start_date", MOMENT, duration::begin_of);
    let until = query.parsed("end_date", MOMENT, duration::end_of);
    query.finish()?;
    let sums = state.store.spend_by_tag(from, until, limit).await?;
    let shown = sums.into_iter().map(|(tag, sum)| {
        json!({
            "individual_request_tag": tag,
            "log_count": sum.requests,
            "total_spend": sum.cost.as_usd(),
            "total_tokens": sum.tokens,
        })
    });
    Ok(HttpResponse::Ok().json(shown.collect::<Vec<Value>>()))
}
