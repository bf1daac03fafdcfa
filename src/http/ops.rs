//! What operators and SDKs ask of the gateway itself: health, metrics, the list of models.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::admin::AdminError;
use super::{Shared, Worker};
use crate::auth::Caller;
use crate::domain::UnixMicros;
use crate::limits::{self, ModelNames};

/// LiteLLM gives every model this time of creation; clients compare nothing with it.
const MODEL_CREATED: u64 = 1_677_610_602;

/// The URLs, as LiteLLM has them.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/health/liveliness", web::get().to(alive))
        .route("/health/liveness", web::get().to(alive))
        .route("/health/readiness", web::get().to(readiness))
        .route("/metrics", web::get().to(metrics))
        .route("/v1/models", web::get().to(models))
        .route("/models", web::get().to(models))
        .route("/model/info", web::get().to(model_info))
        .route("/v1/model/info", web::get().to(model_info));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().json("I'm alive!")
}

/// Ready as long as requests can be served and recorded: with the database away, the journal takes what they cost. Told
/// to serve when the journal is full, the gateway stays ready, and says that events are lost.
/// Anybody may ask, so why the database is away stands in the log only.
async fn readiness(worker: web::Data<Worker>) -> HttpResponse {
    let shared = &worker.shared;
    let ledger = shared.ledger.state();
    let is_stopping = shared.is_stopping.load(Ordering::Relaxed);
    let has_room = shared.ledger.reserve().is_ok();
    let losing = shared.losses.as_ref().is_some_and(|losses| losses.is_losing(UnixMicros::now()));
    let journal = match (losing, has_room) {
        (true, _) => "full: events are lost",
        (false, true) => "ok",
        (false, false) => "full",
    };
    let is_ready = !is_stopping && ledger.is_alive && (has_room || shared.losses.is_some());
    let database = if ledger.last_error.is_none() { "connected" } else { "Not connected" };
    let lost = shared.losses.as_ref().map_or(0, |losses| losses.count());
    let body = json!({
        "status": if is_ready { "healthy" } else { "unhealthy" },
        "db": database,
        "database": shared.store.kind(),
        "ledger": { "waiting": ledger.depth, "alive": ledger.is_alive, "lost": lost },
        "journal": journal,
        "stopping": is_stopping,
        "bedgate_version": env!("CARGO_PKG_VERSION"),
    });
    if is_ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn metrics(worker: web::Data<Worker>) -> HttpResponse {
    update_gauges(&worker.shared);
    match worker.shared.metrics.render() {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn update_gauges(shared: &Shared) {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let ledger = shared.ledger.state();
    let metrics = &shared.metrics;
    metrics.buffered_request_bytes.set(gauge(shared.buffer.held() as u64));
    metrics.journal_bytes.set(gauge(ledger.journal_bytes));
    metrics.ledger_events_waiting.set(gauge(ledger.depth));
    metrics.ledger_oldest_seconds.set(gauge(ledger.oldest_age(UnixMicros::now()).as_secs()));
    metrics.keys.set(gauge(shared.keys.len() as u64));
}

/// The models the caller's key may use, in the shape of OpenAI's list.
async fn models(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, AdminError> {
    let caller = worker.shared.authenticator.authenticate(request.headers(), UnixMicros::now())?;
    let list: Vec<Value> = worker
        .shared
        .routes
        .names()
        .into_iter()
        .filter(|name| may_use(&worker.shared, &caller, name))
        .map(|name| json!({ "id": name, "object": "model", "created": MODEL_CREATED, "owned_by": "openai" }))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "data": list, "object": "list" })))
}

/// The deployments behind those names, without secrets.
async fn model_info(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, AdminError> {
    let shared = &worker.shared;
    let caller = shared.authenticator.authenticate(request.headers(), UnixMicros::now())?;
    let entries =
        shared.config.deployments.iter().filter(|entry| may_use(shared, &caller, &entry.model_name));
    let list: Vec<Value> = entries
        .map(|entry| {
            let region = entry.region.as_ref().unwrap_or(&shared.config.aws.default_region).to_string();
            let mut info = entry.model_info.as_object().cloned().unwrap_or_default();
            info.insert("id".to_owned(), json!(entry.id));
            info.insert("db_model".to_owned(), json!(false));
            let own: BTreeMap<&String, f64> = entry.prices.iter().map(|(name, pico)| (name, usd(*pico))).collect();
            info.extend(own.into_iter().map(|(name, price)| (name.clone(), json!(price))));
            json!({
                "model_name": entry.model_name,
                "litellm_params": { "model": format!("bedrock/{}", entry.model_id), "aws_region_name": region },
                "model_info": info,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "data": list })))
}

/// The key may use the model, and so may its team.
fn may_use(shared: &Shared, caller: &Caller, name: &str) -> bool {
    let names = ModelNames::of(&shared.config);
    limits::require_model(caller, name, names)
        .and_then(|()| shared.limits.require_team_model(caller, name, names))
        .is_ok()
}

#[expect(clippy::cast_precision_loss, reason = "JSON numbers are doubles")]
fn usd(picodollars: i64) -> f64 {
    picodollars as f64 / 1e12
}
