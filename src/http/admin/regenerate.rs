//! A key's new value, and its spend set anew.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

use super::caller::{AdminCaller, hash_of};
use super::error::AdminError;
use super::fields::Fields;
use super::generate::checked_key;
use super::keys::keep_within_bounds;
use super::{AdminState, key_policy, limits, read_body, show};
use crate::domain::{KeyHash, NanoUsd, UnixMicros, key_name, new_virtual_key};
use crate::limits::Subject;
use crate::store::KeyPatch;
use crate::store::keys::KeyDetails;
use crate::store::limit_set::{LimitPatch, SpendReset};

fn no_such_key() -> AdminError {
    AdminError::no_such_key()
}

/// The key named by the path or by the body.
fn named_key(req: &HttpRequest, fields: &mut Fields) -> Option<KeyHash> {
    let in_body = fields.text("key");
    let in_path = req.match_info().get("key").map(str::to_owned);
    match in_path.or(in_body) {
        Some(key) => Some(hash_of(&key)),
        None => fields.fault("key", "missing", "Field required", &Value::Null),
    }
}

async fn details(state: &AdminState, hash: KeyHash) -> Result<KeyDetails, AdminError> {
    state.store.find_key(hash).await?.ok_or_else(no_such_key)
}

/// What a key has spent in the window of its budget.
async fn spent_of_budget(
    state: &AdminState,
    details: &KeyDetails,
    now: UnixMicros,
) -> Result<NanoUsd, AdminError> {
    let record = &details.record;
    let limits = state.limits.with_budget(&record.limits, record.budget_id.as_deref());
    match state.limits.budget_terms(&limits, record.spend_carried) {
        Some(terms) => Ok(state.limits.spent(&Subject::Key(record.hash), &terms, now).await?.0),
        None => Ok(details.spend),
    }
}

/// `POST /key/{key}/regenerate`, `/key/regenerate {"key": …, "new_key": …}`: another key with the same record; the
/// old one and its AWS credential pairs are refused from now on. What was spent is carried over; requests of the old key that are still in flight
/// stay with it.
pub(super) async fn regenerate(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let old = named_key(&req, &mut fields);
    let wanted = fields.text("new_key");
    let mut limits = limits::read(&mut fields);
    fields.finish()?;
    key_policy::refuse_above(&state.key_policy.bounds, &limits, None, change.at)?;
    let old = old.ok_or_else(no_such_key)?;
    let key = match wanted {
        Some(key) => checked_key(key)?,
        None => new_virtual_key(rand::random()),
    };
    let before = details(&state, old).await?;
    let spent = spent_of_budget(&state, &before, change.at).await?;
    limits.reset = Some(SpendReset { at: change.at, to: spent });
    let mut patch = KeyPatch { limits, spend_carried: Some(before.spend), ..KeyPatch::default() };
    keep_within_bounds(&state, &before.record, &mut patch, change.at)?;
    let new = (KeyHash::of(&key), key_name(&key));
    let record = state.store.replace_key(old, new, patch, change).await?.ok_or_else(no_such_key)?;
    state.keys.remove(&old);
    state.keys.put(record.clone());
    let answer = show::generated(&record, &key, before.spend.as_usd(), None, state.limits.zone());
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer))
}

/// `POST /key/{key}/reset_spend {"reset_to": 0}`: from now on the key has spent this much, for its budget and where
/// its spend is shown; its events stay as they are.
pub(super) async fn reset_spend(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let hash = named_key(&req, &mut fields);
    let to = limits::money(&mut fields, "reset_to").unwrap_or_default();
    fields.finish()?;
    let hash = hash.ok_or_else(no_such_key)?;
    let before = details(&state, hash).await?;
    let carried = before.record.spend_carried.0.saturating_add(to.0).saturating_sub(before.spend.0);
    let reset = Some(SpendReset { at: change.at, to });
    let limits = LimitPatch { reset, ..LimitPatch::default() };
    let patch = KeyPatch { limits, spend_carried: Some(NanoUsd(carried)), ..KeyPatch::default() };
    let updated = state.store.update_key(hash, patch, "key.reset_spend", change).await?;
    state.keys.put(updated.ok_or_else(no_such_key)?);
    let mut row = super::spent::key_row(&state, &details(&state, hash).await?).await?;
    row.insert("token".to_owned(), hash.to_string().into());
    row.insert("previous_spend".to_owned(), before.spend.as_usd().into());
    Ok(HttpResponse::Ok().json(row))
}
