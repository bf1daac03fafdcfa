//! The one handler of every Bedrock path. It reads top to bottom as a request goes: operation, caller, limits,
//! a place in the journal, body, deployment, signature, AWS, answer.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::{Method, header};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};

use super::Worker;
use super::listen::UnsizedBody;
use crate::auth::{Caller, Claim};
use crate::domain::{EventId, UnixMicros};
use crate::duplex::Uplink;
use crate::error::{ErrorShape, GatewayError};
use crate::limits::{self, ModelNames};
use crate::metrics::ErrorLabels;
use crate::operation::body_member::top_level_string_span;
use crate::operation::headers::any_of_bedrock;
use crate::operation::{self, Call, RequestLine, Unresolved};
use crate::telemetry::{self, AccessLine};
use crate::usage::RequestFacts;

mod address;
mod answer;
mod attribution;
mod body;
mod duplex;
mod failure;
mod received;
mod relay;
mod stored;

use address::Address;
use attribution::Attribution;
use body::Body;

/// Everything that no other handler serves, with any method.
pub fn configure(config: &mut web::ServiceConfig) {
    config.default_service(web::to(proxy));
}

/// The paths of most requests, which are to be found before all others are compared.
pub fn configure_first(config: &mut web::ServiceConfig) {
    config.service(web::scope("/bedrock").default_service(web::to(proxy)));
}

/// A request that was let in.
struct Admitted<'r> {
    id: EventId,
    started: Instant,
    now: UnixMicros,
    request: &'r HttpRequest,
    call: Call<'r>,
    /// The path at AWS.
    path: &'r str,
    /// The model name, decoded.
    model: Option<Arc<str>>,
    /// Where it stands in the body, quotes included, if it stands there.
    model_in_body: Option<Range<usize>>,
    /// What the call is priced by, where no model is asked by name and the body tells.
    priced_model: Option<Arc<str>>,
    caller: Caller,
    attribution: Attribution,
    body: Body,
    /// The client's events, where they stream both ways.
    uplink: Option<Rc<Uplink>>,
    /// What the body says about cost and customer.
    facts: Rc<RequestFacts>,
}

async fn proxy(request: HttpRequest, mut payload: web::Payload, worker: web::Data<Worker>) -> HttpResponse {
    if request.method() == Method::HEAD && address::is_front_door(request.uri().path()) {
        return HttpResponse::Ok().finish();
    }
    let _entered = worker.shared.enter();
    let (started, now) = (Instant::now(), UnixMicros::now());
    let id = EventId::at(now);
    match serve(&request, &mut payload, &worker, id, started, now).await {
        Ok(answer) => answer,
        Err(error) => refuse(&error, &request, &worker, id, started),
    }
}

async fn serve(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    id: EventId,
    started: Instant,
    now: UnixMicros,
) -> Result<HttpResponse, GatewayError> {
    let address = Address::of(request.uri().path()).ok_or_else(not_served)?;
    refuse_websocket(request)?;
    let path = address.path.as_ref();
    let call = address.resolve(&request_line(request, path))?;
    let query = request.uri().query().unwrap_or_default();
    let is_duplex = call.operation.event_stream_in();
    let received = || received::head(request, is_duplex);
    let mut claim = worker.shared.authenticator.claim(request.headers(), query, received, now)?;
    let mut model: Option<Arc<str>> = call.model.map(|model| model.name().as_ref().into());
    let is_charged = !limits::cost_bound::is_free(call.service, call.operation.name);
    let admit = async |caller: &Caller, model: Option<&str>| {
        let asked = limits::Request { caller, model, is_charged, id, now };
        worker.shared.limits.admit(asked).await
    };
    let model_member = call.operation.model_member();
    // Also of a model that is only priced by: its own limits are asked, too.
    let body_names_model = model_member.is_some() || call.operation.is_priced_by_model_in_body();
    // Whoever is known before the body is refused before it, too.
    let mut early = None;
    if let Some(caller) = claim.caller() {
        require_access(worker, caller, &call, request, model.as_deref())?;
        if !body_names_model {
            early = Some(admit(caller, model.as_deref()).await?);
        }
    }
    let place = worker.accounts.place().map_err(|_| journal_is_full())?;
    let (uplink, mut body) = take_body(request, payload, worker, &mut claim, is_duplex).await?;
    let caller = claim.settle(&body.sha256)?;
    body.belongs_to(&caller)?;
    require_access(worker, &caller, &call, request, model.as_deref())?;
    let user_header = worker.shared.config.budgets.user_header_name.as_deref();
    let mut attribution = Attribution::of(request.headers(), &caller, user_header);
    let facts = facts_of(request, &body);
    attribution.complete_from_body(&facts);
    let call = operation::settle_by_body(call, &body.bytes);
    require_models_in_body(worker, &caller, &call, &body)?;
    require_response(worker, &caller, &call, path, &body).await?;
    let model_in_body = model_member.and_then(|member| top_level_string_span(&body.bytes, member));
    let literal = model_in_body.clone().and_then(|span| body.bytes.get(span));
    let named = literal.and_then(|literal| serde_json::from_slice::<String>(literal).ok());
    model = named.map(Into::into).or(model);
    let priced_model: Option<Arc<str>> =
        operation::body_models::priced_model_in_body(call.operation, &body.bytes).map(Into::into);
    let mut admission = match early {
        Some(admission) => admission,
        None => admit(&caller, model.as_deref().or(priced_model.as_deref())).await?,
    };
    let customer = attribution.end_user.as_deref();
    worker.shared.limits.admit_customer(&mut admission, customer, is_charged).await?;
    let admitted = Admitted {
        id,
        started,
        now,
        request,
        call,
        path,
        model,
        model_in_body,
        priced_model,
        caller,
        attribution,
        body,
        uplink,
        facts: Rc::new(facts),
    };
    let (relayed, account) = relay::to_aws(&admitted, worker, place, admission).await?;
    Ok(answer::to_client(&admitted, worker, relayed, account))
}

/// The whole body, or the client's events as they come.
async fn take_body(
    request: &HttpRequest,
    payload: &mut web::Payload,
    worker: &Worker,
    claim: &mut Claim,
    is_duplex: bool,
) -> Result<(Option<Rc<Uplink>>, Body), GatewayError> {
    if is_duplex {
        let uplink = duplex::open(request, payload, worker, claim)?;
        return Ok((Some(uplink), Body::of_a_stream(worker)));
    }
    Ok((None, body::read(request, payload, worker, claim).await?))
}

/// What body and headers say of the cost.
fn facts_of(request: &HttpRequest, body: &Body) -> RequestFacts {
    let headers = request.headers();
    let mut facts = RequestFacts::of(&body.bytes);
    if any_of_bedrock(headers.keys().map(header::HeaderName::as_str)) {
        facts.complete_from_headers(|name| {
            headers.get_all(name).map(|value| value.to_str().unwrap_or("(not text)"))
        });
    }
    facts
}

/// What the key may call.
fn require_access(
    worker: &Worker,
    caller: &Caller,
    call: &Call<'_>,
    request: &HttpRequest,
    model: Option<&str>,
) -> Result<(), GatewayError> {
    limits::require_operation(caller, call.operation, request.uri().path())?;
    if call.operation.is_unknown() && worker.shared.limits.is_restricted(caller) {
        let reason =
            "this key is limited to some models, and bedgate does not know which this operation would run";
        return Err(GatewayError::AccessDenied(reason.to_owned()));
    }
    if call.operation.event_stream_in() {
        duplex::require_http2(request)?;
    }
    model.map_or(Ok(()), |model| require_model(worker, caller, model))
}

/// The path is not repeated: it may be a key endpoint's, asked in a wrong way, and hold a key.
fn not_served() -> GatewayError {
    let bases =
        "Bedrock is served under /bedrock, each service also under its own name, such as /bedrock-agent";
    GatewayError::NoOperation(Unresolved::NoSuchOperation {
        method: "at".to_owned(),
        path: "this path".to_owned(),
        hint: bases.to_owned(),
    })
}

/// The body of a request that asks for websockets has no end, whatever its head says of its length.
fn refuse_websocket(request: &HttpRequest) -> Result<(), GatewayError> {
    let is_websocket =
        |value: &header::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    if request.headers().get_all(header::UPGRADE).any(is_websocket) {
        let reason = "the gateway speaks no websockets; send the request without its Upgrade header";
        return Err(GatewayError::Validation(reason.to_owned()));
    }
    Ok(())
}

const AMZ_TARGET: header::HeaderName = header::HeaderName::from_static("x-amz-target");

fn request_line<'r>(request: &'r HttpRequest, path: &'r str) -> RequestLine<'r> {
    let headers = request.headers();
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let is_unsized = request.extensions().contains::<UnsizedBody>();
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    RequestLine {
        method: request.method().as_str(),
        path,
        amz_target: headers.get(AMZ_TARGET).and_then(|value| value.to_str().ok()),
        signing_scope: text(header::AUTHORIZATION).and_then(signing_name),
        user_agent: text(header::USER_AGENT),
        has_body: Some(is_chunked || is_unsized || length.is_some_and(|length| length > 0)),
    }
}

/// The service in the credential scope of a client's signature.
fn signing_name(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.strip_prefix("AWS4-HMAC-SHA256")?.split_once("Credential=")?;
    credential.split(',').next()?.rsplit('/').nth(1)
}

fn journal_is_full() -> GatewayError {
    GatewayError::Overloaded {
        reason: "the gateway cannot record what requests cost now: its journal is full".into(),
        retry_after: std::time::Duration::from_secs(5),
    }
}

/// A key's model list binds models that the body names, too.
fn require_models_in_body(
    worker: &Worker,
    caller: &Caller,
    call: &Call<'_>,
    body: &Body,
) -> Result<(), GatewayError> {
    if !worker.shared.limits.is_restricted(caller) || !call.operation.names_models_in_body() {
        return Ok(());
    }
    let named = operation::body_models::models_in_body(call.operation, &body.bytes).map_err(|error| {
        GatewayError::Validation(format!(
            "this key is limited to some models, and the body cannot be read: {error}"
        ))
    })?;
    named.iter().try_for_each(|model| require_model(worker, caller, model))
}

/// A response that AWS keeps is for the key that made it.
async fn require_response(
    worker: &Worker,
    caller: &Caller,
    call: &Call<'_>,
    path: &str,
    body: &Body,
) -> Result<(), GatewayError> {
    if caller.key().is_none() {
        return Ok(());
    }
    match stored::response_named(call, path, &body.bytes)? {
        // On the heap: few requests name one, and the memory of all would have to hold what this takes.
        Some(id) => Box::pin(worker.shared.limits.responses.require(caller, &id)).await,
        None => Ok(()),
    }
}

/// The key may use the model, and so may its team.
fn require_model(worker: &Worker, caller: &Caller, model: &str) -> Result<(), GatewayError> {
    let names = ModelNames::of(&worker.shared.config);
    limits::require_model(caller, model, names)?;
    worker.shared.limits.require_team_model(caller, model, names)
}

/// bedgate's own answer, counted and logged.
fn refuse(
    error: &GatewayError,
    request: &HttpRequest,
    worker: &Worker,
    id: EventId,
    started: Instant,
) -> HttpResponse {
    if let GatewayError::Internal(cause) = error {
        log::error!("request {id}: {cause:#}");
    }
    let labels = ErrorLabels { error_type: error.error_type() };
    worker.shared.metrics.gateway_errors.get_or_create(&labels).inc();
    let id = id.to_string();
    let full_path = request.uri().path();
    let address = Address::of(full_path);
    let shape = address.as_ref().map_or(ErrorShape::Aws, |address| address.errors);
    let answer = error.answer(&id, shape);
    let line = AccessLine {
        id: &id,
        caller: "-",
        method: request.method().as_str(),
        path: address.map_or("-", |_| full_path),
        operation: error.error_type(),
        status: answer.status().as_u16(),
        outcome: "refused",
        deployment: "-",
        attempts: 0,
        latency_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        cost: None,
    };
    telemetry::access(worker.accounts.access_log, &line);
    answer
}
