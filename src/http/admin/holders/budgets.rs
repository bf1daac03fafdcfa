//! `/budget/…`: limits with a name, for keys and customers to refer to.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::super::caller::AdminCaller;
use super::super::error::AdminError;
use super::super::fields::Fields;
use super::super::{AdminState, read_body};
use super::{Answer, budget_row, create, delete, list, not_found, read_ids, require, update};
use crate::http::get_or_head;
use crate::store::HolderKind;

const BUDGET: HolderKind = HolderKind::Budget;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .route("/budget/new", web::post().to(new))
        .route("/budget/update", web::post().to(change))
        .route("/budget/delete", web::post().to(remove))
        .route("/budget/info", web::post().to(info))
        .route("/budget/list", get_or_head().to(all));
}

/// `POST /budget/new`.
async fn new(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    create(&state, &req, payload, BUDGET).await
}

/// `POST /budget/update`.
async fn change(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let record = update(&state, &req, payload, BUDGET).await?;
    Ok(HttpResponse::Ok().json(budget_row(&record, state.limits.zone())))
}

/// `POST /budget/delete {"id": …}`: not while a key or a customer refers to it, which would be without limits then.
async fn remove(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let change = AdminCaller::master(&state, &req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let id = fields.text("id");
    require(&mut fields, "id", id.as_ref());
    fields.finish()?;
    let id = id.unwrap_or_default();
    let record = state.limits.look_up(BUDGET, &id).await?.ok_or_else(|| not_found(BUDGET, &id, "id"))?;
    if state.store.budget_is_used(id.clone()).await? {
        let message = format!("the budget {id:?} is in use; give its keys and customers another one first");
        return Err(AdminError::bad(message, "id"));
    }
    delete(&state, BUDGET, vec![id], &change).await?;
    Ok(HttpResponse::Ok().json(budget_row(&record, state.limits.zone())))
}

/// `POST /budget/info {"budgets": [ids]}`.
async fn info(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    AdminCaller::master(&state, &req)?;
    let ids = read_ids(payload, "budgets").await?;
    let found = state.store.find_holders(BUDGET, ids.clone()).await?;
    let budgets = ids.iter().filter_map(|id| found.iter().find(|budget| budget.id == *id));
    let rows: Vec<_> = budgets.map(|budget| budget_row(budget, state.limits.zone())).collect();
    Ok(HttpResponse::Ok().json(rows))
}

/// `GET /budget/list`.
async fn all(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    list(state, req, BUDGET).await
}
