//! Keys after their making: look at them, change, block, delete them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::caller::{AdminCaller, hash_of, key_asked_for};
use super::error::AdminError;
use super::fields::Fields;
use super::generate::read_expiry;
use super::query::Query;
use super::{AdminState, key_policy, read_body, spent};
use crate::config::KeyBounds;
use crate::domain::{KeyHash, UnixMicros};
use crate::store::keys::{KeyOrder, MAX_DELETED_AT_ONCE, MAX_PAGE_SIZE, SortedBy};
use crate::store::{HolderKind, KeyFilter, KeyPatch, KeyRecord};

/// Keys on a page of `/key/list`, unless asked otherwise.
const DEFAULT_PAGE_SIZE: u32 = 10;

/// `GET /key/info?key=`: a key by itself or by its hash; without one, the caller's own.
pub(super) async fn info(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    let caller = AdminCaller::of(&state, &req)?;
    let (asked, hash) = key_asked_for(&caller, &req)?;
    let details = state.store.find_key(hash).await?.ok_or_else(no_such_key)?;
    let shown_key = asked.unwrap_or_else(|| hash.to_string());
    Ok(HttpResponse::Ok().json(json!({"key": shown_key, "info": spent::key_row(&state, &details).await?})))
}

/// `GET /key/list`: hashes, or whole rows with `return_full_object=true`; newest first, unless `sort_by` and `sort_order`
/// say otherwise.
pub(super) async fn list(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    AdminCaller::master(&state, &req)?;
    let mut query = Query::parse(req.query_string());
    let page = query.number("page", 1, u32::MAX);
    let size = query.number("size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
    let whole = query.boolean("return_full_object").unwrap_or_default();
    // The administrator sees every key anyway.
    for wider in ["include_team_keys", "include_created_by_keys"] {
        query.boolean(wider);
    }
    let order = read_order(&mut query);
    let filter = KeyFilter {
        hash: query.text("key_hash").as_deref().map(hash_of),
        key_alias: query.text("key_alias"),
        team_id: query.text("team_id"),
        user_id: query.text("user_id"),
    };
    query.finish()?;
    let found = state.store.list_keys_by(order, filter, page, size).await?;
    let hashes = found.keys.iter().map(|details| Value::from(details.record.hash.to_string()));
    let keys: Vec<Value> = if whole {
        let mut rows = spent::key_rows(&state, &found.keys).await?;
        rows.iter_mut().zip(hashes).for_each(|(row, hash)| drop(row.insert("token".to_owned(), hash)));
        rows.into_iter().map(Value::Object).collect()
    } else {
        hashes.collect()
    };
    Ok(HttpResponse::Ok().json(json!({
        "keys": keys,
        "total_count": found.total,
        "current_page": page,
        "total_pages": found.total.div_ceil(u64::from(size)),
    })))
}

/// `sort_by` and `sort_order`; LiteLLM's fields, its orders and its defaults.
fn read_order(query: &mut Query) -> KeyOrder {
    let fields = "created_at, updated_at, key_alias, token, spend or max_budget";
    let by = query.parsed("sort_by", fields, |name| match name {
        "created_at" => Some(SortedBy::CreatedAt),
        "updated_at" => Some(SortedBy::UpdatedAt),
        "key_alias" => Some(SortedBy::KeyAlias),
        "token" => Some(SortedBy::Hash),
        "spend" => Some(SortedBy::Spend),
        "max_budget" => Some(SortedBy::MaxBudget),
        _ => None,
    });
    let ascending =
        query.parsed("sort_order", "asc or desc", |order| match order.to_ascii_lowercase().as_str() {
            "asc" => Some(true),
            "desc" => Some(false),
            _ => None,
        });
    KeyOrder { by: by.unwrap_or(SortedBy::CreatedAt), ascending: ascending.unwrap_or_default() }
}

/// `POST /key/update`: changes what is named. The key is named by itself, its hash, or (without `key`) its alias.
pub(super) async fn update(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let (named, mut patch) = read_update(&read_body(payload).await?, &state.key_policy.bounds, change.at)?;
    super::holders::require_budget(&state, patch.budget_id.as_ref().and_then(Option::as_deref)).await?;
    let hash = match &named {
        NamedKey::Key(key) => hash_of(key),
        NamedKey::Alias(alias) => {
            let hashes = state.store.key_hashes_by_alias(vec![alias.clone()]).await?;
            hashes.first().copied().ok_or_else(no_such_key)?
        }
    };
    let before = state.store.find_key(hash).await?.ok_or_else(no_such_key)?.record;
    keep_within_bounds(&state, &before, &mut patch, change.at)?;
    let record = state.store.update_key(hash, patch, "key.update", change).await?.ok_or_else(no_such_key)?;
    state.keys.put(record);
    let details = state.store.find_key(hash).await?.ok_or_else(no_such_key)?;
    let mut answer = spent::key_row(&state, &details).await?;
    let shown_key = match named {
        NamedKey::Key(key) => key,
        NamedKey::Alias(_) => hash.to_string(),
    };
    answer.insert("key".to_owned(), shown_key.into());
    Ok(HttpResponse::Ok().json(answer))
}

/// Keeps a key within the bounds of the configuration, whatever is changed of it.
pub(super) fn keep_within_bounds(
    state: &AdminState,
    before: &KeyRecord,
    patch: &mut KeyPatch,
    now: UnixMicros,
) -> Result<(), AdminError> {
    let budget_id = patch.budget_id.as_ref().unwrap_or(&before.budget_id).as_deref();
    let named = budget_id.and_then(|id| state.limits.holders.find(HolderKind::Budget, id));
    let named = named.as_ref().map(|budget| &budget.limits);
    key_policy::bound_result(&state.key_policy.bounds, before, named, patch, now)
}

/// How an update names its key.
enum NamedKey {
    Key(String),
    Alias(String),
}

fn read_update(body: &[u8], bounds: &KeyBounds, now: UnixMicros) -> Result<(NamedKey, KeyPatch), AdminError> {
    let mut fields = Fields::parse(body)?;
    let key = fields.text("key");
    let (mut patch, duration) = read_patch(&mut fields, now);
    fields.finish()?;
    key_policy::refuse_above(bounds, &patch.limits, duration.as_deref(), now)?;
    if let Some(key) = key {
        return Ok((NamedKey::Key(key), patch));
    }
    match patch.key_alias.take().flatten() {
        Some(alias) => Ok((NamedKey::Alias(alias), patch)),
        None => Err(AdminError::bad("name a key: `key` or `key_alias`", "key")),
    }
}

/// What a call changes of a key, and the `duration` that it asks for.
pub(super) fn read_patch(fields: &mut Fields, now: UnixMicros) -> (KeyPatch, Option<String>) {
    // An empty text asks for nothing: LiteLLM's pages send one.
    let duration = fields.text("duration").filter(|text| !text.is_empty());
    // Null takes an alias away, or detaches a key from its team or user; leaving the field out does not.
    let detachable = |fields: &mut Fields, field: &str| {
        let is_named = fields.names(field);
        let value = fields.text(field).filter(|id| !id.is_empty());
        is_named.then_some(value)
    };
    let mut patch = KeyPatch {
        key_alias: detachable(fields, "key_alias"),
        team_id: detachable(fields, "team_id"),
        user_id: detachable(fields, "user_id"),
        models: fields.texts("models"),
        allowed_routes: fields.texts("allowed_routes"),
        blocked: fields.boolean("blocked"),
        limits: super::limits::read(fields),
        budget_id: detachable(fields, "budget_id"),
        expires_at: duration.as_deref().and_then(|text| read_expiry(fields, text, now)),
        ..KeyPatch::default()
    };
    let (metadata, metadata_tags) = fields.metadata().map_or((None, None), |(data, tags)| (Some(data), tags));
    patch.metadata = metadata;
    patch.tags = fields.texts("tags").or(metadata_tags);
    let spend_of_its_own =
        "what a key has spent is set by POST /key/{key}/reset_spend {\"reset_to\": …}, not here";
    fields.refuse_with("spend", spend_of_its_own);
    (patch, duration)
}

/// `POST /key/delete {"keys": […]}` or `{"key_aliases": […]}`.
pub(super) async fn delete(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let keys = fields.texts("keys").unwrap_or_default();
    let aliases = fields.texts("key_aliases").unwrap_or_default();
    fields.finish()?;
    if keys.is_empty() && aliases.is_empty() {
        return Err(AdminError::bad("name keys to delete: `keys` or `key_aliases`", "keys"));
    }
    let mut hashes: Vec<KeyHash> = keys.iter().map(|key| hash_of(key)).collect();
    if !aliases.is_empty() {
        hashes.extend(state.store.key_hashes_by_alias(aliases).await?);
    }
    if hashes.len() > MAX_DELETED_AT_ONCE {
        return Err(AdminError::bad(format!("at most {MAX_DELETED_AT_ONCE} keys at once"), "keys"));
    }
    let deleted = state.store.delete_keys(hashes, change).await?;
    for hash in &deleted {
        state.keys.remove(hash);
    }
    if deleted.is_empty() {
        return Err(no_such_key());
    }
    // Hashes, not what was sent: a key is shown once, when it is made.
    let deleted: Vec<String> = deleted.iter().map(ToString::to_string).collect();
    Ok(HttpResponse::Ok().json(json!({ "deleted_keys": deleted })))
}

/// `POST /key/block {"key": …}`.
pub(super) async fn block(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    set_blocked(&state, &req, payload, true).await
}

/// `POST /key/unblock {"key": …}`.
pub(super) async fn unblock(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    set_blocked(&state, &req, payload, false).await
}

async fn set_blocked(
    state: &AdminState,
    req: &HttpRequest,
    payload: web::Payload,
    blocked: bool,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(state, req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let key = fields.text("key");
    if key.is_none() && !fields.has_faults() {
        let _: Option<()> = fields.fault("key", "missing", "Field required", &Value::Null);
    }
    fields.finish()?;
    let hash = hash_of(&key.unwrap_or_default());
    let patch = KeyPatch { blocked: Some(blocked), ..KeyPatch::default() };
    let action = if blocked { "key.block" } else { "key.unblock" };
    let record = state.store.update_key(hash, patch, action, change).await?.ok_or_else(no_such_key)?;
    state.keys.put(record);
    let details = state.store.find_key(hash).await?.ok_or_else(no_such_key)?;
    let mut row = spent::key_row(state, &details).await?;
    row.insert("token".to_owned(), hash.to_string().into());
    Ok(HttpResponse::Ok().json(row))
}

fn no_such_key() -> AdminError {
    AdminError::no_such_key()
}
