//! Who spent most: `/spend/keys`, `/spend/users`, `/spend/tags`. All of them, as in LiteLLM, or the first `limit`.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::caller::AdminCaller;
use super::error::AdminError;
use super::listing;
use super::{AdminState, MOMENT, Query, ShownPayers, days, duration};
use crate::domain::KeyHash;
use crate::store::keys::PayingKey;
use crate::store::spend::{Days, Scope, SpendSum};

/// The most sums of one answer, which are in memory at once: some tens of MiB. `x-has-more` says where there are more.
pub(super) const MOST_SUMS: u32 = 100_000;

/// How many are asked for.
pub(super) fn limit(query: &mut Query) -> u32 {
    query.number("limit", MOST_SUMS, MOST_SUMS)
}

/// What was spent under the name of one key.
#[derive(Default)]
pub(super) struct KeySum {
    /// The hash of the key's value, or the payer's own name.
    pub(super) name: String,
    /// The key, where it is known.
    pub(super) key: Option<PayingKey>,
    /// What was spent.
    pub(super) sum: SpendSum,
}

/// Who spent most, and how many of them to show, of `limit` that are asked for. Accounts whose keys have, or last had, the same
/// value are one; one of them may stand far down the list, so all are read.
pub(super) async fn of_keys(
    state: &AdminState,
    days: Days,
    limit: u32,
) -> Result<(Vec<KeySum>, u32), AdminError> {
    let sums = state.store.spend_sums(Scope::Key, days, MOST_SUMS + 1).await?;
    let are_all = u32::try_from(sums.len()).is_ok_and(|count| count <= MOST_SUMS);
    let shown = ShownPayers::of(state, sums.iter().map(|(payer, _)| payer.as_str())).await?;
    let mut merged: HashMap<String, KeySum> = HashMap::with_capacity(sums.len());
    for (payer, sum) in sums {
        let of_name = merged.entry(shown.name(&payer).to_owned()).or_default();
        of_name.sum.requests = of_name.sum.requests.saturating_add(sum.requests);
        of_name.sum.tokens = of_name.sum.tokens.saturating_add(sum.tokens);
        of_name.sum.cost = of_name.sum.cost.saturating_add(sum.cost);
        if of_name.key.is_none() || is_living(state, shown.key(&payer), &payer) {
            of_name.key = shown.key(&payer).cloned();
        }
    }
    let mut sums: Vec<KeySum> = merged.into_iter().map(|(name, sum)| KeySum { name, ..sum }).collect();
    sums.sort_by(|one, other| other.sum.cost.cmp(&one.sum.cost).then_with(|| one.name.cmp(&other.name)));
    // Where not all were read, there is more than what is shown.
    let most = u32::try_from(sums.len()).unwrap_or(u32::MAX).saturating_sub(u32::from(!are_all));
    Ok((sums, if are_all { limit } else { limit.min(most) }))
}

/// Whether the key spends from this account now: where accounts share a value, it is the one that is shown.
fn is_living(state: &AdminState, key: Option<&PayingKey>, payer: &str) -> bool {
    let hash = key.and_then(|key| KeyHash::from_hex(&key.hash));
    hash.and_then(|hash| state.keys.find(&hash)).is_some_and(|key| key.payer().to_string() == payer)
}

/// `GET /spend/keys`: who spent most.
pub(super) async fn keys(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let (limit, days) = (limit(&mut query), days(&mut query));
    query.finish()?;
    let (sums, limit) = of_keys(&state, days, limit).await?;
    Ok(listing::first(sums, limit, |KeySum { name, key, sum }| {
        let key = key.as_ref();
        json!({
            "token": name,
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
