//! `/team/…`.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, json};

use super::super::caller::AdminCaller;
use super::super::fields::Fields;
use super::super::listing::{self, Frame};
use super::super::{AdminState, read_body, show};
use super::{
    Answer, change_one, create, delete, found, list, not_found, read_ids, require, row, spend_of, update,
};
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
    let (record, spend) = update(&state, &req, payload, TEAM).await?;
    Ok(HttpResponse::Ok()
        .json(json!({"team_id": record.id, "data": row(&record, spend, state.limits.zone())})))
}

/// `POST /team/delete {"team_ids": […]}`: with all their keys, which would be without limits otherwise.
async fn remove(state: web::Data<AdminState>, req: HttpRequest, payload: web::Payload) -> Answer {
    let change = AdminCaller::master(&state, &req)?;
    let ids = read_ids(payload, "team_ids").await?;
    if let Some(missing) = ids.iter().find(|id| state.limits.holders.find(TEAM, id).is_none()) {
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
    let (record, spend) = change_one(state, TEAM, id.unwrap_or_default(), patch, change).await?;
    Ok(HttpResponse::Ok().json(row(&record, spend, state.limits.zone())))
}

/// `GET /team/info?team_id=`: the team and all its keys.
async fn info(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    let record = found(&state, &req, TEAM, "team_id")?;
    let spend = spend_of(&state, std::slice::from_ref(&record)).await?;
    let shown = row(&record, spend.first().copied().unwrap_or_default(), state.limits.zone());
    let mut team = Map::new();
    team.insert("team_id".to_owned(), json!(record.id));
    team.insert("team_info".to_owned(), shown.into());
    team.insert("team_memberships".to_owned(), json!([]));
    let filter = KeyFilter { team_id: Some(record.id), ..KeyFilter::default() };
    let read = move |after| {
        let (state, filter) = (state.clone(), filter.clone());
        async move {
            let (keys, next) = state.store.keys_after(filter, after).await?;
            let rows = keys.iter().map(|details| {
                let mut row = show::key_row(details, state.limits.zone());
                row.insert("token".to_owned(), details.record.hash.to_string().into());
                row.into()
            });
            Ok((rows.collect(), next))
        }
    };
    listing::all(Frame::member(&team, "keys"), read).await
}

/// `GET /team/list`.
async fn all(state: web::Data<AdminState>, req: HttpRequest) -> Answer {
    list(state, req, TEAM).await
}
