//! Who spent most: `/spend/keys`, `/spend/users`, `/spend/tags`. All of them, as in LiteLLM, or the first `limit`.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::caller::AdminCaller;
use super::error::AdminError;
use super::listing;
use super::{AdminState, MOMENT, Query, ShownPayers, days, duration};
use crate::store::spend::Scope;

/// The most sums of one answer, which are in memory at once: some tens of MiB. `x-has-more` says where there are more.
pub(super) const MOST_SUMS: u32 = 100_000;

/// How many are asked for.
pub(super) fn limit(query: &mut Query) -> u32 {
    query.number("limit", MOST_SUMS, MOST_SUMS)
}

/// `GET /spend/keys`: who spent most.
pub(super) async fn keys(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let (limit, days) = (limit(&mut query), days(&mut query));
    query.finish()?;
    let sums = state.store.spend_sums(Scope::Key, days, limit + 1).await?;
    let shown = ShownPayers::of(&state, sums.iter().map(|(payer, _)| payer.as_str())).await?;
    Ok(listing::first(sums, limit, |(payer, sum)| {
        let key = shown.key(&payer);
        json!({
            "token": shown.name(&payer),
            "key_name": key.map(|key| &key.key_name),
            "key_alias": key.and_then(|key| key.key_alias.as_ref()),
            "team_id": key.and_then(|key| key.team_id.as_ref()),
            "user_id": key.and_then(|key| key.user_id.as_ref()),
            "spend": sum.cost.as_usd(),
            "requests": sum.requests,
            "total_tokens": sum.tokens,
        })
    }))
}

/// `GET /spend/users`: whose keys spent most.
pub(super) async fn users(
    state: web::Data<AdminState>,
    req: HttpRequest,
) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let (limit, days) = (limit(&mut query), days(&mut query));
    query.finish()?;
    let sums = state.store.spend_sums(Scope::User, days, limit + 1).await?;
    Ok(listing::first(sums, limit, |(user, sum)| {
        json!({
            "user_id": user,
            "spend": sum.cost.as_usd(),
            "requests": sum.requests,
            "total_tokens": sum.tokens,
        })
    }))
}

/// `GET /spend/tags`: which tags spent most, in LiteLLM's fields.
pub(super) async fn tags(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let limit = limit(&mut query);
    let from = query.parsed("start_date", MOMENT, duration::begin_of);
    let until = query.parsed("end_date", MOMENT, duration::end_of);
    query.finish()?;
    let sums = state.store.spend_by_tag(from, until, limit + 1).await?;
    Ok(listing::first(sums, limit, |(tag, sum)| {
        json!({
            "individual_request_tag": tag,
            "log_count": sum.requests,
            "total_spend": sum.cost.as_usd(),
            "total_tokens": sum.tokens,
        })
    }))
}
