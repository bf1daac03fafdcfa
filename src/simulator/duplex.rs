//! InvokeModelWithBidirectionalStream over HTTP/2, in AWS's place: the head's signature and each event's are checked, and
//! each event is answered before the next one is waited for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use super::answer::{self, Call};
use super::callers::{Caller, violation};
use super::faults::{Faults, Subject};
use super::request_log::{Entry, count};
use super::server::{self, Shared, milliseconds_now};
use super::signature::{Authorization, Refusal};
use super::wire::{Body, End, Head, Reply};

mod body;
mod conversation;
mod model;
mod signed_events;

use body::AnswerBody;
use conversation::Conversation;
use signed_events::SignedEvents;

/// How the path of the one operation ends that is served here.
pub(super) const PATH_END: &str = "/invoke-with-bidirectional-stream";
/// The first bytes of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Bytes of events that may arrive before they are taken: little, so that a sender soon waits.
const WINDOW: u32 = 64 << 10;
/// Answers that wait to be sent, at the most.
const WAITING_FRAMES: usize = 1;

/// Whether a connection begins as HTTP/2 does; what it says stays unread.
pub(super) async fn begins_with_http2(stream: &TcpStream) -> bool {
    let mut seen = [0; PREFACE.len()];
    loop {
        let Ok(length) = stream.peek(&mut seen).await else { return false };
        let part = seen.get(..length).unwrap_or_default();
        if length == 0 || !PREFACE.starts_with(part) {
            return false;
        }
        if length == PREFACE.len() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Serves a connection until it is closed, or cut as a fault wants it.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    count(&shared.log.counters.connections, 1);
    let cut = Arc::new(Notify::new());
    let for_calls = Arc::clone(&cut);
    let service = service_fn(move |request| {
        let (shared, cut) = (Arc::clone(&shared), Arc::clone(&for_calls));
        async move { Ok::<_, std::convert::Infallible>(answer(request, shared, cut).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .adaptive_window(false)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            log::debug!("a connection of HTTP/2 to the simulator ended: {error}");
        },
        () = cut.notified() => {}
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, cut: Arc<Notify>) -> Response<AnswerBody> {
    let (parts, incoming) = request.into_parts();
    let head = head_of(&parts);
    let request_id = uuid::Uuid::new_v4().to_string();
    let entry = shared.log.begin(&head, &request_id, milliseconds_now());
    let (reply, admitted) = decide(&head, &request_id, &shared, &entry);
    let reply = reply.identified(&request_id, OffsetDateTime::now_utc());
    entry.update(|record| record.status = reply.status);
    let Some((faults, signed)) = admitted else {
        server::finish_unsent(&shared, &entry, reply.status);
        return whole(&reply);
    };
    let delivery = faults.delivery(shared.options.delay, shared.options.pace);
    let unanswered = Unanswered { shared: &shared, entry: &entry, has_head: false };
    tokio::time::sleep(delivery.before_head).await;
    if matches!(delivery.end, End::BeforeHead { .. }) {
        cut.notify_one();
        // The connection goes down, and this with it.
        return std::future::pending().await;
    }
    unanswered.begins();
    let (send, frames) = mpsc::channel(WAITING_FRAMES);
    let conversation = Conversation { shared, entry, faults, delivery, signed, send, cut };
    tokio::spawn(conversation.hold(incoming));
    with_body(&reply, AnswerBody::Frames(frames))
}

/// A call that has no answer yet: where its connection goes down before, that is noted.
struct Unanswered<'a> {
    shared: &'a Shared,
    entry: &'a Entry,
    has_head: bool,
}

impl Unanswered<'_> {
    fn begins(mut self) {
        self.has_head = true;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.has_head {
            server::finish_unsent(self.shared, self.entry, 0);
        }
    }
}

/// The answer, and what the events need where the call was let in.
fn decide(
    head: &Head,
    request_id: &str,
    shared: &Shared,
    entry: &Entry,
) -> (Reply, Option<(Faults, Option<SignedEvents>)>) {
    if head.method != "POST" || !head.path.ends_with(PATH_END) {
        let text = "The simulator serves nothing but bidirectional streams over HTTP/2.";
        return (answer::error(400, "ValidationException", text), None);
    }
    if let Some(found) = violation(head, &shared.options.forbidden_values) {
        count(&shared.log.counters.violations, 1);
        entry.update(|record| {
            record.verdict = "violation".to_owned();
            record.violation = Some(found.clone());
        });
        return (answer::error(400, "ValidationException", &found), None);
    }
    let call = Call::new(head, Bytes::new(), &shared.options, request_id.to_owned());
    let (caller, signed) = match admit(&call, shared) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            count(&shared.log.counters.refused, 1);
            entry.update(|record| record.verdict = refusal.error_type.to_owned());
            return (answer::refusal(&call, &refusal), None);
        }
    };
    let path = answer::decoded(&head.path);
    let faults = shared.faults.for_call(&Subject {
        model: call.model(),
        path: &path,
        body: &[],
        region: caller.region.as_deref(),
        access_key_id: caller.access_key_id.as_deref(),
    });
    count(&shared.log.counters.faulted, u64::from(!faults.is_empty()));
    entry.update(|record| {
        record.verdict = caller.by.to_owned();
        record.access_key_id = caller.access_key_id.clone();
        record.region = caller.region.clone();
        record.service = caller.service.clone();
        record.faults = faults.to_string();
    });
    match faults.service_error() {
        Some((status, error_type, message)) => (answer::error(status, error_type, message), None),
        None => (answer::event_stream(Vec::new()), Some((faults, signed))),
    }
}

/// The caller, and what checks its events where it signs them.
fn admit(call: &Call<'_>, shared: &Shared) -> Result<(Caller, Option<SignedEvents>), Refusal> {
    let caller = server::admit(call, shared)?;
    let authorization = call.head.header("authorization").and_then(|text| Authorization::parse(text).ok());
    let signed = authorization.filter(|_| shared.options.check_signatures).and_then(|authorization| {
        let secret = shared.callers.secret_of(&authorization.access_key_id)?;
        Some(SignedEvents::new(&authorization, &secret, shared.options.clock_skew))
    });
    Ok((caller, signed))
}

/// The head as if it had come over HTTP/1.1: the authority is the host.
fn head_of(parts: &hyper::http::request::Parts) -> Head {
    let headers = parts.headers.iter();
    let mut headers: Vec<(String, String)> = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    if let Some(authority) = parts.uri.authority() {
        // Some sign it under this name, others as what it would be over HTTP/1.1.
        headers.push((":authority".to_owned(), authority.to_string()));
        if !parts.headers.contains_key(hyper::header::HOST) {
            headers.push(("host".to_owned(), authority.to_string()));
        }
    }
    Head {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
    }
}

fn whole(reply: &Reply) -> Response<AnswerBody> {
    let Body::Whole(bytes) = &reply.body else { return with_body(reply, AnswerBody::Whole(None)) };
    with_body(reply, AnswerBody::Whole(Some(bytes.clone())))
}

fn with_body(reply: &Reply, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or_default();
    for (name, value) in &reply.headers {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value.parse()) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
