//! `/customer/…`, which LiteLLM also calls `/end_user/…`.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::super::AdminState;
use super::super::caller::AdminCaller;
use super::{Answer, create, delete, found, list, read_ids, row_of, rows, update};
use crate::http::get_or_head;
use crate::store::holders::HolderPatch;
use crate::store::{HolderKind, HolderRecord};

const CUSTOMER: HolderKind = HolderKind::Customer;

pub(super) fn configure(config: &mut ServiceConfig) {
    for base in ["/customer", "/end_user"] {
        config
            .route(&format!("{base}/new"), web::post().to(new))
            .route(&format!("{base}/update"), web::post().to(change))
            .route(&format!("{base}/delete"), web::post().to(remove))
            .route(&format!("{base}/block"), web::post().to(block))
            .route(&format!("{base}/unblock"), web::post().to(unblock))
            .route(&format!("{base}/info"), get_or_head().to(info))
            .route(&format!("{base}/list"), get_or_head().to(all));
    }
}

/// `POST /customer/new`.
async fn new(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    create(&state, &req, payload, CUSTOMER).await
}

/// `POST /customer/update`.
async fn change(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let record = update(&state, &req, payload, CUSTOMER).await?;
    Ok(HttpResponse::Ok().json(row_of(&state, &record).await?))
}

/// `POST /customer/delete {"user_ids": […]}`.
async fn remove(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let change = AdminCaller::master(&state, &req)?;
    let ids = read_ids(payload, "user_ids").await?;
    let deleted = delete(&state, CUSTOMER, ids, &change).await?;
    let message = format!("Successfully deleted customers with ids: {}", deleted.join(", "));
    Ok(HttpResponse::Ok().json(json!({"deleted_customers": deleted.len(), "message": message})))
}

/// `POST /customer/block {"user_ids": […]}`: also those that nobody has made yet.
async fn block(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    set_blocked(&state, &req, payload, true).await
}

/// `POST /customer/unblock {"user_ids": […]}`.
async fn unblock(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    set_blocked(&state, &req, payload, false).await
}

async fn set_blocked(state: &AdminState, req: &HttpRequest, payload: web::Payload, blocked: bool) -> Answer {
    let change = AdminCaller::master(state, req)?;
    let ids = read_ids(payload, "user_ids").await?;
    let mut changed = Vec::with_capacity(ids.len());
    for id in ids {
        let patch = HolderPatch { blocked: Some(blocked), ..HolderPatch::default() };
        let record = match state.store.update_holder(CUSTOMER, id.clone(), patch, change.clone()).await? {
            Some(record) => record,
            None if !blocked => continue,
            None => {
                let new = HolderRecord { blocked, ..HolderRecord::new(CUSTOMER, id, &change) };
                state.store.create_holder(new, change.clone()).await?
            }
        };
        state.limits.holders.apply(std::slice::from_ref(&record));
        changed.push(record);
    }
    let name = if blocked { "blocked_users" } else { "unblocked_users" };
    Ok(HttpResponse::Ok().json(json!({ name: rows(state, &changed).await? })))
}

/// `GET /customer/info?end_user_id=`.
async fn info(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    let record = found(&state, &req, CUSTOMER, "end_user_id").await?;
    Ok(HttpResponse::Ok().json(row_of(&state, &record).await?))
}

/// `GET /customer/list`.
async fn all(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    list(state, req, CUSTOMER).await
}
