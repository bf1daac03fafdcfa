//! Teams, customers (LiteLLM also says end users) and named budgets: made, shown, changed, blocked, deleted.

mod budgets;
mod customers;
mod teams;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::caller::AdminCaller;
use super::duration::iso8601;
use super::error::AdminError;
use super::fields::Fields;
use super::listing::{self, Frame};
use super::query::Query;
use super::spent::{self, Budgets};
use super::{AdminState, limits, read_body};
use crate::domain::{NanoUsd, UnixMicros, Zone};
use crate::store::holders::HolderPatch;
use crate::store::keys::Change;
use crate::store::limit_set::SpendReset;
use crate::store::{HolderKind, HolderRecord};

/// The most holders that one call blocks or deletes.
const MAX_AT_ONCE: usize = 1_000;

type Answer = Result<HttpResponse, AdminError>;

/// Adds the paths.
pub(super) fn configure(config: &mut ServiceConfig) {
    config.configure(teams::configure).configure(customers::configure).configure(budgets::configure);
}

/// The field that names one of a kind.
fn id_field(kind: HolderKind) -> &'static str {
    match kind {
        HolderKind::Team => "team_id",
        HolderKind::Customer => "user_id",
        HolderKind::Budget => "budget_id",
    }
}

/// There is none of this id, which this field names.
fn not_found(kind: HolderKind, id: &str, param: &'static str) -> AdminError {
    AdminError::NotFound { message: format!("{} not found: {id}", kind.as_str()), param }
}

/// Notes that a field must be there.
fn require(fields: &mut Fields, field: &str, value: Option<&String>) {
    if value.is_none() && !fields.has_faults() {
        let _: Option<()> = fields.fault(field, "missing", "Field required", &Value::Null);
    }
}

/// A budget that is named must be there, in the database: another gateway may have made it a moment ago.
pub(super) async fn require_budget(state: &AdminState, budget_id: Option<&str>) -> Result<(), AdminError> {
    let Some(id) = budget_id else { return Ok(()) };
    let missing =
        || AdminError::bad(format!("there is no budget {id:?}; make it with /budget/new"), "budget_id");
    state.limits.look_up(HolderKind::Budget, id).await?.map(drop).ok_or_else(missing)
}

/// Reads what a body says of one holder.
fn read_holder(fields: &mut Fields, kind: HolderKind, now: UnixMicros) -> (Option<String>, HolderPatch) {
    let id = fields.text(id_field(kind)).filter(|id| !id.is_empty());
    let nullable = |fields: &mut Fields, field: &str| {
        let is_named = fields.names(field);
        let value = fields.text(field).filter(|text| !text.is_empty());
        is_named.then_some(value)
    };
    let mut patch = HolderPatch { limits: limits::read(fields), ..HolderPatch::default() };
    if kind != HolderKind::Budget {
        patch.limits.reset = limits::money(fields, "spend").map(|to| SpendReset { at: now, to });
        let alias = if kind == HolderKind::Team { "team_alias" } else { "alias" };
        patch.alias = nullable(fields, alias);
        patch.blocked = fields.boolean("blocked");
        patch.metadata = fields.metadata().map(|(metadata, _)| metadata);
    }
    match kind {
        HolderKind::Team => patch.models = fields.texts("models"),
        HolderKind::Customer => patch.budget_id = nullable(fields, "budget_id"),
        HolderKind::Budget => {}
    }
    if kind != HolderKind::Budget {
        // Limits for single models are those of keys; nobody would enforce them here.
        for (is_named, field) in [
            (patch.limits.model_budgets.as_ref().is_some_and(|of| !of.is_empty()), "model_max_budget"),
            (patch.limits.model_rpm.as_ref().is_some_and(|of| !of.is_empty()), "model_rpm_limit"),
            (patch.limits.model_tpm.as_ref().is_some_and(|of| !of.is_empty()), "model_tpm_limit"),
        ] {
            if is_named {
                fields.refuse(field);
            }
        }
    }
    (id, patch)
}

async fn create(state: &AdminState, req: &HttpRequest, payload: web::Payload, kind: HolderKind) -> Answer {
    let change = AdminCaller::master(state, req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let (id, patch) = read_holder(&mut fields, kind, change.at);
    if kind == HolderKind::Customer {
        require(&mut fields, "user_id", id.as_ref());
    }
    let has_both =
        matches!(patch.budget_id, Some(Some(_))) && matches!(patch.limits.max_budget, Some(Some(_)));
    fields.finish()?;
    if has_both {
        return Err(AdminError::bad("give max_budget or budget_id, not both", "budget_id"));
    }
    require_budget(state, patch.budget_id.as_ref().and_then(Option::as_deref)).await?;
    let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut record = HolderRecord::new(kind, id, &change);
    patch.apply(&mut record, change.at);
    if kind == HolderKind::Team && record.limits.reset.is_none() {
        // What keys spent under its name before is nothing that its budget knows of, shipped or not. (A customer has spent from the
        // first call for it on, as in LiteLLM, which makes it then.)
        record.limits.reset = Some(SpendReset { at: record.created_at, to: NanoUsd::ZERO });
    }
    let record = state.store.create_holder(record, change).await?;
    state.limits.holders.apply(std::slice::from_ref(&record));
    Ok(HttpResponse::Ok().json(row_of(state, &record).await?))
}

async fn update(
    state: &AdminState,
    req: &HttpRequest,
    payload: web::Payload,
    kind: HolderKind,
) -> Result<HolderRecord, AdminError> {
    let change = AdminCaller::master(state, req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let (id, patch) = read_holder(&mut fields, kind, change.at);
    require(&mut fields, id_field(kind), id.as_ref());
    fields.finish()?;
    require_budget(state, patch.budget_id.as_ref().and_then(Option::as_deref)).await?;
    change_one(state, kind, id.unwrap_or_default(), patch, change).await
}

async fn change_one(
    state: &AdminState,
    kind: HolderKind,
    id: String,
    patch: HolderPatch,
    change: Change,
) -> Result<HolderRecord, AdminError> {
    let missing = not_found(kind, &id, id_field(kind));
    let record = state.store.update_holder(kind, id, patch, change).await?.ok_or(missing)?;
    state.limits.holders.apply(std::slice::from_ref(&record));
    Ok(record)
}

/// The ids in a list of a body, which must be there.
async fn read_ids(payload: web::Payload, field: &str) -> Result<Vec<String>, AdminError> {
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let ids = fields.texts(field);
    if ids.is_none() && !fields.has_faults() {
        let _: Option<()> = fields.fault(field, "missing", "Field required", &Value::Null);
    }
    fields.finish()?;
    let ids = ids.unwrap_or_default();
    if ids.len() > MAX_AT_ONCE {
        return Err(AdminError::bad(format!("at most {MAX_AT_ONCE} at once"), field));
    }
    Ok(ids)
}

/// Which of these existed.
async fn delete(
    state: &AdminState,
    kind: HolderKind,
    ids: Vec<String>,
    change: &Change,
) -> Result<Vec<String>, AdminError> {
    let mut deleted = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(record) = state.store.delete_holder(kind, id, change.clone()).await? {
            state.limits.holders.apply(std::slice::from_ref(&record));
            deleted.push(record.id);
        }
    }
    Ok(deleted)
}

/// Holders as LiteLLM shows them.
async fn rows(state: &AdminState, records: &[HolderRecord]) -> Result<Vec<Map<String, Value>>, AdminError> {
    let budgets = Budgets::named(state, records.iter().map(|record| &record.budget_id)).await?;
    let spent = spent::of_holders(state, records, &budgets).await?;
    let rows = records.iter().zip(spent).map(|(record, spent)| {
        if record.kind == HolderKind::Budget {
            return budget_row(record, state.limits.zone());
        }
        let mut row = row(record, state.limits.zone());
        spent.show(&mut row);
        budgets.show(&mut row, &record.limits, record.budget_id.as_ref(), state);
        row
    });
    Ok(rows.collect())
}

/// One holder as LiteLLM shows it.
async fn row_of(state: &AdminState, record: &HolderRecord) -> Result<Map<String, Value>, AdminError> {
    Ok(rows(state, std::slice::from_ref(record)).await?.into_iter().next().unwrap_or_default())
}

/// A budget as LiteLLM shows it, and what every holder shows.
pub(super) fn budget_row(record: &HolderRecord, zone: &Zone) -> Map<String, Value> {
    let mut row = limits::shown(&record.limits, UnixMicros::now(), zone);
    let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
    put(id_field(record.kind), json!(record.id));
    put("created_at", json!(iso8601(record.created_at)));
    put("created_by", json!(record.created_by));
    put("updated_at", json!(iso8601(record.updated_at)));
    row
}

/// A team or a customer, but for what it has spent.
fn row(record: &HolderRecord, zone: &Zone) -> Map<String, Value> {
    let mut row = budget_row(record, zone);
    let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
    put("blocked", json!(record.blocked));
    put("metadata", record.metadata.clone());
    if record.kind == HolderKind::Team {
        put("team_alias", json!(record.alias));
        put("models", json!(record.models));
        put("members_with_roles", json!([]));
    } else {
        put("alias", json!(record.alias));
        put("budget_id", json!(record.budget_id));
        put("litellm_budget_table", Value::Null);
    }
    row
}

/// One holder that a query names, as the database has it.
async fn found(
    state: &AdminState,
    req: &HttpRequest,
    kind: HolderKind,
    field: &'static str,
) -> Result<HolderRecord, AdminError> {
    AdminCaller::master(state, req)?;
    let mut query = Query::parse(req.query_string());
    let id = query.text(field);
    query.finish()?;
    let id = id.ok_or_else(|| AdminError::bad(format!("name a {} with ?{field}=", kind.as_str()), field))?;
    state.limits.look_up(kind, &id).await?.ok_or_else(|| not_found(kind, &id, field))
}

async fn list(state: web::Data<AdminState>, req: HttpRequest, kind: HolderKind) -> Answer {
    AdminCaller::master(&state, &req)?;
    Query::parse(req.query_string()).finish()?;
    let read = move |after| {
        let state = state.clone();
        async move {
            let (records, next) = state.store.holders_after(kind, after).await?;
            let rows = rows(&state, &records).await?;
            Ok((rows.into_iter().map(Value::Object).collect(), next))
        }
    };
    listing::all(Frame::none(), read).await
}
