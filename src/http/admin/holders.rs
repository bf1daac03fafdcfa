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
use super::{AdminState, limits, read_body};
use crate::domain::{NanoUsd, UnixMicros, Zone};
use crate::store::holders::HolderPatch;
use crate::store::keys::Change;
use crate::store::spend::{SpendOf, SpendSince};
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

/// A budget that is named must be there.
pub(super) fn require_budget(state: &AdminState, budget_id: Option<&str>) -> Result<(), AdminError> {
    match budget_id {
        Some(id) if state.limits.holders.find(HolderKind::Budget, id).is_none() => {
            Err(AdminError::bad(format!("there is no budget {id:?}; make it with /budget/new"), "budget_id"))
        }
        _ => Ok(()),
    }
}

/// Reads what a body says of one holder.
fn read_holder(fields: &mut Fields, kind: HolderKind) -> (Option<String>, HolderPatch) {
    let id = fields.text(id_field(kind)).filter(|id| !id.is_empty());
    let nullable = |fields: &mut Fields, field: &str| {
        let is_named = fields.names(field);
        let value = fields.text(field).filter(|text| !text.is_empty());
        is_named.then_some(value)
    };
    let mut patch = HolderPatch { limits: limits::read(fields), ..HolderPatch::default() };
    if kind != HolderKind::Budget {
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
    let (id, patch) = read_holder(&mut fields, kind);
    if kind == HolderKind::Customer {
        require(&mut fields, "user_id", id.as_ref());
    }
    let has_both =
        matches!(patch.budget_id, Some(Some(_))) && matches!(patch.limits.max_budget, Some(Some(_)));
    fields.finish()?;
    if has_both {
        return Err(AdminError::bad("give max_budget or budget_id, not both", "budget_id"));
    }
    require_budget(state, patch.budget_id.as_ref().and_then(Option::as_deref))?;
    let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut record = HolderRecord::new(kind, id, &change);
    patch.apply(&mut record, change.at);
    let record = state.store.create_holder(record, change).await?;
    state.limits.holders.apply(std::slice::from_ref(&record));
    let spend = spend_of(state, std::slice::from_ref(&record)).await?;
    Ok(HttpResponse::Ok().json(row(&record, spend.first().copied().unwrap_or_default(), state.limits.zone())))
}

async fn update(
    state: &AdminState,
    req: &HttpRequest,
    payload: web::Payload,
    kind: HolderKind,
) -> Result<(HolderRecord, NanoUsd), AdminError> {
    let change = AdminCaller::master(state, req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let (id, patch) = read_holder(&mut fields, kind);
    require(&mut fields, id_field(kind), id.as_ref());
    fields.finish()?;
    require_budget(state, patch.budget_id.as_ref().and_then(Option::as_deref))?;
    change_one(state, kind, id.unwrap_or_default(), patch, change).await
}

async fn change_one(
    state: &AdminState,
    kind: HolderKind,
    id: String,
    patch: HolderPatch,
    change: Change,
) -> Result<(HolderRecord, NanoUsd), AdminError> {
    let missing = not_found(kind, &id, id_field(kind));
    let record = state.store.update_holder(kind, id, patch, change).await?.ok_or(missing)?;
    state.limits.holders.apply(std::slice::from_ref(&record));
    let spend = spend_of(state, std::slice::from_ref(&record)).await?;
    Ok((record, spend.first().copied().unwrap_or_default()))
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

/// What was spent for each of these, over all time.
async fn spend_of(state: &AdminState, records: &[HolderRecord]) -> Result<Vec<NanoUsd>, AdminError> {
    let of = |record: &HolderRecord| match record.kind {
        HolderKind::Team => Some(SpendOf::Team(record.id.clone())),
        HolderKind::Customer => Some(SpendOf::EndUser(record.id.clone())),
        HolderKind::Budget => None,
    };
    let asked = records.iter().filter_map(of).map(|of| SpendSince { of, since: UnixMicros(0) });
    let spent = state.store.spent_since(asked.collect()).await?;
    let mut spend: Vec<NanoUsd> = spent.into_iter().map(|spent| spent.cost).collect();
    spend.resize(records.len(), NanoUsd::ZERO);
    Ok(spend)
}

/// A holder as LiteLLM shows it.
fn row(record: &HolderRecord, spend: NanoUsd, zone: &Zone) -> Map<String, Value> {
    let mut row = limits::shown(&record.limits, UnixMicros::now(), zone);
    let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
    put(id_field(record.kind), json!(record.id));
    put("created_at", json!(iso8601(record.created_at)));
    put("created_by", json!(record.created_by));
    put("updated_at", json!(iso8601(record.updated_at)));
    if record.kind == HolderKind::Budget {
        return row;
    }
    put("spend", json!(spend.as_usd()));
    put("blocked", json!(record.blocked));
    put("metadata", record.metadata.clone());
    if record.kind == HolderKind::Team {
        put("team_alias", json!(record.alias));
        put("models", json!(record.models));
        put("members_with_roles", json!([]));
    } else {
        put("alias", json!(record.alias));
        put("budget_id", json!(record.budget_id));
    }
    row
}

/// One holder that a query names.
fn found(
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
    let record = state.limits.holders.find(kind, &id).ok_or_else(|| not_found(kind, &id, field))?;
    Ok(HolderRecord::clone(&record))
}

async fn list(state: web::Data<AdminState>, req: HttpRequest, kind: HolderKind) -> Answer {
    AdminCaller::master(&state, &req)?;
    Query::parse(req.query_string()).finish()?;
    let read = move |after| {
        let state = state.clone();
        async move {
            let (records, next) = state.store.holders_after(kind, after).await?;
            let spend = spend_of(&state, &records).await?;
            let shown = records.iter().zip(spend);
            let rows = shown.map(|(record, spend)| row(record, spend, state.limits.zone()).into());
            Ok((rows.collect(), next))
        }
    };
    listing::all(Frame::none(), read).await
}
