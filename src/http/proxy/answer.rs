//! Step 9: AWS's answer on its way to the client: status, headers and body as they are, and a few headers of
//! bedgate's own beside them.

use actix_http::StatusCode;
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::HttpResponse;

use super::Admitted;
use super::relay::Relayed;
use crate::domain::UnixMicros;
use crate::error::ErrorShape;
use crate::http::Worker;
use crate::meter::{Account, Ending, MeterLimits, MeteredBody};
use crate::operation::headers::{is_named_in_connection, may_return, names_no_header};
use crate::upstream::Answer;

const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");
const MODEL_ID: HeaderName = HeaderName::from_static("x-litellm-model-id");
const RESPONSE_COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");
const INPUT_TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");

/// What `Connection` headers name, where they may name headers.
pub(super) fn named_in_connection(headers: &HeaderMap) -> Vec<&str> {
    let named = headers.get_all(header::CONNECTION).filter_map(|value| value.to_str().ok());
    named.filter(|connection| !names_no_header(connection)).collect()
}

/// Builds the answer; its body goes on as it comes.
pub(super) fn to_client(
    admitted: &Admitted<'_>,
    worker: &Worker,
    relayed: Relayed,
    mut account: Box<Account>,
) -> HttpResponse {
    let Relayed { answer, route } = relayed;
    let status = answer.status();
    let (mut received, answer) = take_headers(answer);
    let length = received.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    keep_what_may_return(&mut received);
    let mut response = HttpResponse::new(status);
    let headers = response.headers_mut();
    *headers = received;
    let call_id = admitted.attribution.call_id.clone().unwrap_or_else(|| admitted.id.to_string());
    insert(headers, CALL_ID, call_id);
    insert(headers, MODEL_ID, route.deployment.id.clone());
    if !account.admission().is_unlimited() {
        for (name, value) in account.admission().headers(UnixMicros::now()) {
            headers.insert(name, value);
        }
    }
    if headers.contains_key(INPUT_TOKENS)
        && let Some(cost) = account.cost_from_head()
    {
        insert(headers, RESPONSE_COST, cost.to_string());
    }
    let has_no_body = admitted.request.method() == actix_http::Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || length == Some(0);
    if has_no_body {
        if !account.end(Ending::Whole) {
            return super::journal_is_full().answer(&admitted.id.to_string(), ErrorShape::Aws);
        }
        // How long the body would be, where HEAD asked for that.
        if let Some(length) = length.filter(|length: &u64| *length > 0) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        return response;
    }
    if let Some(uplink) = &admitted.uplink {
        let body = super::duplex::body(answer, account, uplink, &admitted.caller, length, worker);
        return response.set_body(body).map_into_boxed_body();
    }
    let limits = MeterLimits { silence: route.deployment.stream_timeout, ..worker.meter };
    let body = MeteredBody::new(answer, account, length, limits, &worker.silence_timers);
    response.set_body(body).map_into_boxed_body()
}

/// The headers of an answer, which needs them no more.
fn take_headers(answer: Answer) -> (HeaderMap, Answer) {
    let mut headers = HeaderMap::new();
    let answer = answer.map_body(|head, body| {
        headers = std::mem::take(&mut head.headers);
        body
    });
    (headers, answer)
}

/// Without the headers of the connection to AWS; a length is stated anew where there is one.
fn keep_what_may_return(headers: &mut HeaderMap) {
    let connection: Vec<String> = named_in_connection(headers).into_iter().map(str::to_owned).collect();
    headers.retain(|name, _| {
        let is_for_this_hop = connection.iter().any(|listed| is_named_in_connection(name.as_str(), listed));
        !is_for_this_hop && may_return(name.as_str()) && name != header::CONTENT_LENGTH
    });
}

/// A value that no header can carry is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, text: String) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
