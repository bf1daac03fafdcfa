//! `/global/spend…`: what LiteLLM's dashboards ask. Its sums are those of the last 30 days, unless dates are given.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::caller::AdminCaller;
use super::error::AdminError;
use super::sums::{KeySum, MOST_SUMS, limit, of_keys};
use super::{AdminState, Query, ShownPayers, days, days_of_a_month, duration, listing, payer_named};
use crate::domain::NanoUsd;
use crate::store::HolderKind;
use crate::store::spend::{Days, Scope};

/// Models, unless asked otherwise; as LiteLLM has it.
const DEFAULT_MODELS: u32 = 10;
/// What LiteLLM calls the team of keys that have none.
const NO_TEAM: &str = "Unassigned";

/// `GET /global/spend`: what everything cost, as far as it is known.
pub(super) async fn total(
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

/// `GET /global/spend/keys`: the keys that spent most.
pub(super) async fn keys(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    let now = AdminCaller::master(&state, &req)?.at;
    let mut query = Query::parse(req.query_string());
    let (limit, days) = (limit(&mut query), days_of_a_month(&mut query, now));
    query.finish()?;
    let (sums, limit) = of_keys(&state, days, limit).await?;
    Ok(listing::first(sums, limit, |KeySum { name, key, sum }| {
        let key = key.as_ref();
        json!({
            "api_key": name,
            "key_alias": key.and_then(|key| key.key_alias.as_ref()),
            "key_name": key.map(|key| &key.key_name),
            "total_spend": sum.cost.as_usd(),
        })
    }))
}

/// `GET /global/spend/models`: the models that cost most; ten, unless `limit` says otherwise.
pub(super) async fn models(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    let now = AdminCaller::master(&state, &req)?.at;
    let mut query = Query::parse(req.query_string());
    let limit = query.number("limit", DEFAULT_MODELS, MOST_SUMS);
    let days = days_of_a_month(&mut query, now);
    query.finish()?;
    // One more may be what went to no model.
    let mut sums = state.store.spend_sums(Scope::Model, days, limit + 2).await?;
    sums.retain(|(model, _)| !model.is_empty());
    Ok(listing::first(sums, limit, |(model, sum)| json!({"model": model, "total_spend": sum.cost.as_usd()})))
}

/// `GET /global/spend/logs`: what each day cost; with `api_key`, what that key spent on it.
pub(super) async fn by_day(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    let now = AdminCaller::master(&state, &req)?.at;
    let mut query = Query::parse(req.query_string());
    let asked = query.text("api_key");
    let days = days_of_a_month(&mut query, now);
    query.finish()?;
    let payer = match asked {
        Some(key) => Some(payer_named(&state, &key).await?),
        None => None,
    };
    let keys = ShownPayers::of(&state, payer.as_deref().into_iter()).await?;
    let costs = state.store.cost_by_day(payer.clone(), days).await?;
    let rows = costs.into_iter().map(|(day, cost)| {
        let mut row = json!({"date": duration::date_of(day), "spend": cost.as_usd()});
        if let (Some(payer), Some(row)) = (&payer, row.as_object_mut()) {
            row.insert("api_key".to_owned(), json!(keys.name(payer)));
        }
        row
    });
    Ok(HttpResponse::Ok().json(rows.collect::<Vec<Value>>()))
}

/// Days whose sums of teams are put together at a time: the answer is made in memory.
const MAX_DAYS_OF_TEAMS: i32 = 366;

/// `GET /global/spend/teams`: what each team spent on each day, newest first, and in all.
pub(super) async fn teams(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    let now = AdminCaller::master(&state, &req)?.at;
    let mut query = Query::parse(req.query_string());
    let days = days_of_a_month(&mut query, now);
    query.finish()?;
    let last = days.last.unwrap_or(duration::day_at(now));
    if days.first.is_none_or(|first| last.saturating_sub(first) >= MAX_DAYS_OF_TEAMS) {
        return Err(AdminError::BadRequest {
            message: format!("at most {MAX_DAYS_OF_TEAMS} days at a time: set start_date and end_date"),
            param: Some("start_date".to_owned()),
        });
    }
    let by_day = spend_of_teams(&state, days).await?;
    let mut totals: BTreeMap<&str, NanoUsd> = BTreeMap::new();
    for (team, cost) in by_day.values().flatten() {
        let total = totals.entry(team).or_default();
        *total = total.saturating_add(*cost);
    }
    let daily = by_day.iter().rev().map(|(day, teams)| {
        let mut row = dollars(teams);
        row.insert("date".to_owned(), json!(duration::date_of(*day)));
        Value::Object(row)
    });
    let mut sorted: Vec<(&&str, &NanoUsd)> = totals.iter().collect();
    sorted.sort_by_key(|(_, cost)| std::cmp::Reverse(**cost));
    let totals_shown =
        sorted.iter().map(|(team, cost)| json!({"team_id": team, "total_spend": cost.as_usd()}));
    Ok(HttpResponse::Ok().json(json!({
        "daily_spend": daily.collect::<Vec<_>>(),
        "teams": totals.keys().collect::<BTreeSet<_>>(),
        "total_spend_per_team": totals_shown.collect::<Vec<_>>(),
    })))
}

/// By day and the team's name; what no team spent is named, too.
async fn spend_of_teams(
    state: &AdminState,
    days: Days,
) -> Result<BTreeMap<i32, BTreeMap<String, NanoUsd>>, AdminError> {
    let [of_teams, of_all] = state.store.days_of_names([Scope::Team, Scope::Model], days).await?;
    let mut by_day: BTreeMap<i32, BTreeMap<String, NanoUsd>> = BTreeMap::new();
    let mut rest: BTreeMap<i32, i64> = BTreeMap::new();
    for found in of_all {
        let rest = rest.entry(found.day).or_default();
        *rest = rest.saturating_add(found.cost.0);
    }
    for found in of_teams {
        let rest = rest.entry(found.day).or_default();
        *rest = rest.saturating_sub(found.cost.0);
        let team = state.limits.holders.find(HolderKind::Team, &found.name);
        let alias = team.and_then(|team| team.alias.clone());
        let spend = by_day.entry(found.day).or_default().entry(alias.unwrap_or(found.name)).or_default();
        *spend = spend.saturating_add(found.cost);
    }
    for (day, cost) in rest.into_iter().filter(|(_, cost)| *cost != 0) {
        let spend = by_day.entry(day).or_default().entry(NO_TEAM.to_owned()).or_default();
        *spend = spend.saturating_add(NanoUsd(cost));
    }
    Ok(by_day)
}

fn dollars(sums: &BTreeMap<String, NanoUsd>) -> Map<String, Value> {
    sums.iter().map(|(name, cost)| (name.clone(), json!(cost.as_usd()))).collect()
}
