//! `/team/…`.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::caller::AdminCaller;
use super::super::fields::Fields;
use super::super::listing::{self, Frame};
use super::super::{AdminState, read_body, spent};
use super::{Answer, change_one, create, delete, found, list, not_found, read_ids, require, row_of, update};
use crate::http::get_or_head;
use crate::store::holders::HolderPatch;
use crate::store::keys::MAX_PAGE_SIZE;
use crate::store::{HolderKind, KeyFilter};

const TEAM: HolderKind = HolderKind::Team;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .route("/team/new", web::post().to(new))
        .route("/team/update", web::post().to(change))
        .route("/team/delete", web::post().to(remove))
        .route("/team/block", web::post().to(block))
        .route("/team/unblock", web::post().to(unblock))
        .route("/team/info", get_or_head().to(info))
        .route("/team/list", get_or_head().to(all));
}

/// `POST /team/new`.
async fn new(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    create(&state, &req, payload, TEAM).await
}

/// `POST /team/update`.
async fn change(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let record = update(&state, &req, payload, TEAM).await?;
    Ok(HttpResponse::Ok().json(json!({"team_id": record.id, "data": row_of(&state, &record).await?})))
}

/// `POST /team/delete {"team_ids": […]}`: with all their keys, which would be without limits otherwise.
async fn remove(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let change = AdminCaller::master(&state, &req)?;
    let ids = read_ids(payload, "team_ids").await?;
    let found = state.store.find_holders(TEAM, ids.clone()).await?;
    if let Some(missing) = ids.iter().find(|id| found.iter().all(|team| team.id != **id)) {
        return Err(not_found(TEAM, missing, "team_ids"));
    }
    for id in &ids {
        loop {
            let filter = KeyFilter { team_id: Some(id.clone()), ..KeyFilter::default() };
            let page = state.store.list_keys(filter, 1, MAX_PAGE_SIZE).await?;
            let hashes = page.keys.into_iter().map(|details| details.record.hash).collect();
            let deleted = state.store.delete_keys(hashes, change.clone()).await?;
            deleted.iter().for_each(|hash| state.keys.remove(hash));
            if deleted.is_empty() {
                break;
            }
        }
    }
    let deleted = delete(&state, TEAM, ids, &change).await?;
    Ok(HttpResponse::Ok().json(json!({ "deleted_teams": deleted })))
}

/// `POST /team/block {"team_id": …}`.
async fn block(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    set_blocked(&state, &req, payload, true).await
}

/// `POST /team/unblock {"team_id": …}`.
async fn unblock(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    set_blocked(&state, &req, payload, false).await
}

async fn set_blocked(state: &AdminState, req: &HttpRequest, payload: web::Payload, blocked: bool) -> Answer {
    let change = AdminCaller::master(state, req)?;
    let mut fields = Fields::parse(&read_body(payload).await?)?;
    let id = fields.text("team_id");
    require(&mut fields, "team_id", id.as_ref());
    fields.finish()?;
    let patch = HolderPatch { blocked: Some(blocked), ..HolderPatch::default() };
    let record = change_one(state, TEAM, id.unwrap_or_default(), patch, change).await?;
    Ok(HttpResponse::Ok().json(row_of(state, &record).await?))
}

/// `GET /team/info?team_id=`: the team and all its keys.
async fn info(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    let record = found(&state, &req, TEAM, "team_id").await?;
    let shown = row_of(&state, &record).await?;
    let mut team = Map::new();
    team.insert("team_id".to_owned(), json!(record.id));
    team.insert("team_info".to_owned(), shown.into());
    team.insert("team_memberships".to_owned(), json!([]));
    let filter = KeyFilter { team_id: Some(record.id), ..KeyFilter::default() };
    let read = move |after| {
        let (state, filter) = (state.clone(), filter.clone());
        async move {
            let (keys, next) = state.store.keys_after(filter, after).await?;
            let mut rows = spent::key_rows(&state, &keys).await?;
            for (row, details) in rows.iter_mut().zip(&keys) {
                row.insert("token".to_owned(), details.record.hash.to_string().into());
            }
            Ok((rows.into_iter().map(Value::Object).collect(), next))
        }
    };
    listing::all(Frame::member(&team, "keys"), read).await
}

/// `GET /team/list`.
async fn all(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    list(state, req, TEAM).await
}
