//! A key's new value, and its spend set anew.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

use super::caller::{AdminCaller, hash_of};
use super::error::AdminError;
use super::fields::Fields;
use super::generate::checked_key;
use super::keys::{keep_within_bounds, read_patch};
use super::{AdminState, key_policy, limits, read_body, show};
use crate::domain::{KeyHash, NanoUsd, key_name, new_virtual_key};
use crate::store::KeyPatch;
use crate::store::keys::KeyDetails;
use crate::store::limit_set::SpendReset;

/// Of LiteLLM's, and not of bedgate's: why not, and what to do.
const NOT_TAKEN: [(&str, &str); 2] = [
    (
        "grace_period",
        "the old value is refused at once, there is no grace_period: to change over slowly, make a second key, move the \
         clients, and delete the first",
    ),
    ("aws_credentials", "make AWS credential pairs of the new value by POST /key/aws_credentials"),
];

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

/// `POST /key/{key}/regenerate`, `/key/regenerate {"key": …, "new_key": …}`: another value of the same key, which is changed
/// otherwise, too, where the body says so (as in `/key/update`); the old value and its AWS credential pairs are refused from now
/// on. The account stays, so that budgets and spend go on, with what is still in flight under the old value.
pub(super) async fn regenerate(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let old = named_key(&req, &mut fields);
    let wanted = fields.text("new_key");
    let (mut patch, duration) = read_patch(&mut fields, change.at);
    NOT_TAKEN.iter().for_each(|(field, reason)| fields.refuse_with(field, reason));
    fields.finish()?;
    key_policy::refuse_above(&state.key_policy.bounds, &patch.limits, duration.as_deref(), change.at)?;
    super::holders::require_budget(&state, patch.budget_id.as_ref().and_then(Option::as_deref)).await?;
    let old = old.ok_or_else(no_such_key)?;
    let key = match wanted {
        Some(key) => checked_key(key, &state.authenticator)?,
        None => new_virtual_key(rand::random()),
    };
    let mut after = details(&state, old).await?;
    keep_within_bounds(&state, &after.record, &mut patch, change.at)?;
    patch.clone().apply(&mut after.record, change.at);
    // Once the key is replaced, nothing may keep its new value from whom it is shown to, this once.
    let spend = super::spent::of_key(&state, &after).await?.as_usd();
    let new = (KeyHash::of(&key), key_name(&key));
    let record = state.store.replace_key(old, new, patch, change).await?.ok_or_else(no_such_key)?;
    state.keys.remove(&old);
    state.keys.put(record.clone());
    let answer = show::generated(&record, &key, spend, duration.as_deref(), state.limits.zone());
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer))
}

/// `POST /key/{key}/reset_spend {"reset_to": 0}`: from now on the key has spent this much, for its budget and where its spend is
/// shown: requests that began earlier no longer count, whenever they end. Their events stay as they are.
pub(super) async fn reset_spend(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let hash = named_key(&req, &mut fields);
    let to = limits::money(&mut fields, "reset_to");
    if to.is_none() && !fields.has_faults() {
        let _: Option<()> = fields.fault("reset_to", "missing", "Field required", &Value::Null);
    }
    fields.finish()?;
    let (hash, to) = (hash.ok_or_else(no_such_key)?, to.unwrap_or_default());
    let before = details(&state, hash).await?;
    let previous = super::spent::of_key(&state, &before).await?;
    require_spent(to, previous)?;
    let patch = KeyPatch { spent: Some(SpendReset { at: change.at, to }), ..KeyPatch::default() };
    let updated = state.store.update_key(hash, patch, "key.reset_spend", change).await?;
    state.keys.put(updated.ok_or_else(no_such_key)?);
    let mut row = super::spent::key_row(&state, &details(&state, hash).await?).await?;
    row.insert("token".to_owned(), hash.to_string().into());
    row.insert("previous_spend".to_owned(), previous.as_usd().into());
    Ok(HttpResponse::Ok().json(row))
}

/// Refuses to set the spend of a key to more than it is shown to have spent.
fn require_spent(to: NanoUsd, spent: NanoUsd) -> Result<(), AdminError> {
    if to <= spent {
        return Ok(());
    }
    // LiteLLM's words.
    let (to, spent) = (to.as_usd(), spent.as_usd());
    Err(AdminError::bad(format!("reset_to ({to:?}) must be <= current spend ({spent:?})"), "reset_to"))
}
