//! What operators and SDKs ask of the gateway itself: health, metrics, the list of models.

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::admin::{AdminError, Query};
use super::{Shared, Worker, get_or_head};
use crate::auth::Caller;
use crate::config::DeploymentConfig;
use crate::domain::UnixMicros;
use crate::domain::period::moment_text;
use crate::limits::{self, ModelNames};

/// LiteLLM gives every model this time of creation; clients compare nothing with it.
const MODEL_CREATED: u64 = 1_677_610_602;

/// Deployments on a page of `/v2/model/info`, unless asked otherwise; as LiteLLM has it.
const MODELS_ON_A_PAGE: u32 = 50;

/// The URLs, as LiteLLM has them.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/health/liveliness", get_or_head().to(alive))
        .route("/health/liveness", get_or_head().to(alive))
        .route("/health/readiness", get_or_head().to(readiness))
        .route("/metrics", get_or_head().to(metrics))
        .route("/v1/models", get_or_head().to(models))
        .route("/models", get_or_head().to(models))
        .route("/model/info", get_or_head().to(model_info))
        .route("/v1/model/info", get_or_head().to(model_info))
        .route("/v2/model/info", get_or_head().to(model_info_by_page))
        .route("/health", get_or_head().to(health));
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

/// `GET /health`: the deployments that the caller's key may use (with `model`, those of that name), apart by whether they
/// are left alone for now because they failed. AWS is not asked: a call would cost money, and answers tell already.
async fn health(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, AdminError> {
    let (shared, now) = (&worker.shared, UnixMicros::now());
    let caller = shared.authenticator.authenticate(request.headers(), now)?;
    let mut query = Query::parse(request.query_string());
    let (model, id) = (query.text("model"), query.text("model_id"));
    query.finish()?;
    let is_asked_for = |entry: &DeploymentConfig| {
        model.as_ref().is_none_or(|model| *model == entry.model_name)
            && id.as_ref().is_none_or(|id| *id == entry.id)
    };
    let (mut healthy, mut unhealthy) = (Vec::new(), Vec::new());
    for (entry, deployment) in shared.config.deployments.iter().zip(shared.routes.deployments()) {
        if !is_asked_for(entry) || !may_use(shared, &caller, &entry.model_name) {
            continue;
        }
        let mut endpoint = deployment_parameters(shared, entry);
        endpoint.insert("model_id".to_owned(), json!(entry.id));
        let cooling_until = deployment.health().cooling_until();
        if cooling_until > now {
            let until = moment_text(cooling_until);
            let error = format!("it kept failing, and is left alone until {}", until.unwrap_or_default());
            endpoint.insert("error".to_owned(), error.into());
            unhealthy.push(endpoint);
        } else {
            healthy.push(endpoint);
        }
    }
    let (healthy_count, unhealthy_count) = (healthy.len(), unhealthy.len());
    Ok(HttpResponse::Ok().json(json!({
        "healthy_endpoints": healthy,
        "unhealthy_endpoints": unhealthy,
        "healthy_count": healthy_count,
        "unhealthy_count": unhealthy_count,
    })))
}

/// The deployments behind those names, without secrets.
async fn model_info(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, AdminError> {
    let list: Vec<Value> =
        deployments(&request, &worker)?.map(|entry| shown(&worker.shared, entry)).collect();
    Ok(HttpResponse::Ok().json(json!({ "data": list })))
}

/// `GET /v2/model/info`: the same by page.
async fn model_info_by_page(
    request: HttpRequest,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, AdminError> {
    let entries: Vec<&DeploymentConfig> = deployments(&request, &worker)?.collect();
    let mut query = Query::parse(request.query_string());
    let (page, size) = (query.number("page", 1, u32::MAX), query.number("size", MODELS_ON_A_PAGE, u32::MAX));
    query.finish()?;
    let (at_once, before) = (size as usize, (page as usize - 1).saturating_mul(size as usize));
    let on_page = entries.iter().skip(before).take(at_once);
    Ok(HttpResponse::Ok().json(json!({
        "data": on_page.map(|entry| shown(&worker.shared, entry)).collect::<Vec<_>>(),
        "total_count": entries.len(),
        "current_page": page,
        "total_pages": entries.len().div_ceil(at_once),
        "size": size,
    })))
}

/// The deployments that the caller's key may use.
fn deployments<'w>(
    request: &HttpRequest,
    worker: &'w Worker,
) -> Result<impl Iterator<Item = &'w DeploymentConfig>, AdminError> {
    let shared = &worker.shared;
    let caller = shared.authenticator.authenticate(request.headers(), UnixMicros::now())?;
    Ok(shared.config.deployments.iter().filter(move |entry| may_use(shared, &caller, &entry.model_name)))
}

fn shown(shared: &Shared, entry: &DeploymentConfig) -> Value {
    let mut info = entry.model_info.as_object().cloned().unwrap_or_default();
    info.insert("id".to_owned(), json!(entry.id));
    info.insert("db_model".to_owned(), json!(false));
    info.extend(entry.prices.iter().map(|(name, pico)| (name.clone(), json!(usd(*pico)))));
    json!({
        "model_name": entry.model_name,
        "litellm_params": deployment_parameters(shared, entry),
        "model_info": info,
    })
}

/// Where a deployment is, in LiteLLM's words.
fn deployment_parameters(shared: &Shared, entry: &DeploymentConfig) -> Map<String, Value> {
    let region = entry.region.as_ref().unwrap_or(&shared.config.aws.default_region).to_string();
    let model = format!("bedrock/{}", entry.model_id);
    Map::from_iter([("model".to_owned(), json!(model)), ("aws_region_name".to_owned(), json!(region))])
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
