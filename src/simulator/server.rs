//! The way of a request through the simulator: head, body, caller, faults, answer, delivery, log.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::SimulatorOptions;
use super::answer::{self, Call};
use super::callers::{Caller, Callers, services_of, violation};
use super::faults::{FaultRules, Faults, Subject};
use super::request_log::{Entry, RequestLog, count};
use super::signature::{Authorization, Expectation, Refusal};
use super::wire::{Connection, Delivered, Delivery, Head, ReadError, Reply};
use super::{admin, duplex, sts};

/// The most connections one worker serves at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4_096;
/// How long a worker waits before it accepts again after a failure (of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long the rest of a rejected upload is taken in, so that the answer reaches the peer.
const LINGER: Duration = Duration::from_secs(2);

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: SimulatorOptions,
    pub(super) callers: Callers,
    pub(super) faults: FaultRules,
    pub(super) log: RequestLog,
}

impl Shared {
    pub(super) fn new(options: SimulatorOptions) -> Self {
        Self {
            callers: Callers::new(&options),
            faults: FaultRules::default(),
            log: RequestLog::new(options.log_requests, options.log_capacity, options.log_body_bytes),
            options,
        }
    }
}

/// Starts a thread with an event loop of its own on a shared port.
pub(super) fn spawn_worker(
    index: usize,
    listener: StdListener,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("simulator-{index}")).spawn(move || {
        if let Err(failure) = runtime.block_on(accept(listener, shared, stop)) {
            log::error!("a simulator worker ended: {failure}");
        }
    })
}

async fn accept(
    listener: StdListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        if duplex::begins_with_http2(&stream).await {
                            duplex::serve(stream, shared).await;
                        } else if let Err(failure) = serve(stream, &shared).await {
                            log::debug!("a connection to the simulator ended: {failure}");
                        }
                        drop(permit);
                    });
                }
                Err(failure) => {
                    log::warn!("the simulator could not accept: {failure}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> Result<(), ReadError> {
    count(&shared.log.counters.connections, 1);
    let mut connection = Connection::new(stream)?;
    loop {
        let head = match connection.read_head().await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(ReadError::Malformed(text)) => {
                let reply = answer::error(400, "ValidationException", &text);
                connection.deliver(&reply, &Delivery::default(), false, false).await;
                connection.close_gently(LINGER).await;
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let is_admin = head.path.starts_with(admin::PREFIX);
        let outcome = if is_admin {
            serve_admin(&mut connection, &head, shared).await?
        } else {
            serve_call(&mut connection, &head, shared).await?
        };
        match outcome {
            Outcome::Next => {}
            Outcome::Close => return Ok(()),
            Outcome::CloseGently => {
                connection.close_gently(LINGER).await;
                return Ok(());
            }
        }
    }
}

enum Outcome {
    Next,
    Close,
    CloseGently,
}

impl Outcome {
    fn after(delivered: &Delivered) -> Self {
        if delivered.reusable { Self::Next } else { Self::Close }
    }
}

async fn serve_admin(
    connection: &mut Connection,
    head: &Head,
    shared: &Shared,
) -> Result<Outcome, ReadError> {
    let body = connection.read_body(head, shared.options.max_body_bytes).await?;
    let reply = admin::answer(head, &body, shared);
    let keep_alive = !head.wants_close();
    let delivered = connection.deliver(&reply, &Delivery::default(), head.method == "HEAD", keep_alive).await;
    Ok(Outcome::after(&delivered))
}

async fn serve_call(connection: &mut Connection, head: &Head, shared: &Shared) -> Result<Outcome, ReadError> {
    let request_id = uuid::Uuid::new_v4().to_string();
    let entry = shared.log.begin(head, &request_id, milliseconds_now());
    let decoded_path = answer::decoded(&head.path);
    let early =
        Subject { path: &decoded_path, model: answer::model_in_path(&head.path), ..Subject::default() };
    let early = shared.faults.early_rejection(&early);
    let body = match early {
        Some(_) => Err(ReadError::TooLarge(0)),
        None => connection.read_body(head, shared.options.max_body_bytes).await,
    };
    let body = match body {
        Ok(body) => body,
        Err(ReadError::TooLarge(_)) => {
            let reply = answer::error(413, "RequestEntityTooLargeException", "Request is too large.")
                .identified(&request_id, OffsetDateTime::now_utc());
            let delivered = connection.deliver(&reply, &Delivery::default(), false, false).await;
            finish(shared, &entry, reply.status, &delivered);
            let resets = early.is_some_and(|early| early.resets);
            return Ok(if resets { Outcome::Close } else { Outcome::CloseGently });
        }
        Err(failure) => {
            entry.update(|record| record.peer_left_at = Some(milliseconds_now()));
            count(&shared.log.counters.peers_left, 1);
            count(&shared.log.counters.answered, 1);
            return Err(failure);
        }
    };
    shared.log.note_body(&entry, &body, milliseconds_now());
    let call = Call::new(head, body, &shared.options, request_id);
    let (reply, delivery) = decide(&call, &decoded_path, shared, &entry);
    let reply = reply.identified(&call.request_id, call.now);
    entry.update(|record| record.status = reply.status);
    let keep_alive = !head.wants_close();
    let delivered = connection.deliver(&reply, &delivery, head.method == "HEAD", keep_alive).await;
    finish(shared, &entry, reply.status, &delivered);
    Ok(Outcome::after(&delivered))
}

/// The answer to a call and how it is delivered.
fn decide(call: &Call<'_>, decoded_path: &str, shared: &Shared, entry: &Entry) -> (Reply, Delivery) {
    let options = &shared.options;
    if let Some(found) = violation(call.head, &options.forbidden_values) {
        count(&shared.log.counters.violations, 1);
        entry.update(|record| {
            record.verdict = "violation".to_owned();
            record.violation = Some(found.clone());
        });
        return (answer::error(400, "ValidationException", &found), Delivery::default());
    }
    let caller = match admit(call, shared) {
        Ok(caller) => caller,
        Err(refusal) => {
            count(&shared.log.counters.refused, 1);
            let claimed = call.head.header("authorization").and_then(|text| Authorization::parse(text).ok());
            entry.update(|record| {
                record.verdict = refusal.error_type.to_owned();
                if let Some(claimed) = claimed {
                    record.access_key_id = Some(claimed.access_key_id);
                    record.region = Some(claimed.region);
                    record.service = Some(claimed.service);
                }
            });
            return (answer::refusal(call, &refusal), Delivery::default());
        }
    };
    let faults = shared.faults.for_call(&Subject {
        model: call.model(),
        path: decoded_path,
        body: &call.body,
        region: caller.region.as_deref(),
        access_key_id: caller.access_key_id.as_deref(),
    });
    if !faults.is_empty() {
        count(&shared.log.counters.faulted, 1);
    }
    let usage = call.usage(&faults);
    entry.update(|record| {
        record.verdict = caller.by.to_owned();
        record.access_key_id = caller.access_key_id.clone();
        record.region = caller.region.clone();
        record.service = caller.service.clone();
        record.faults = faults.to_string();
        record.usage = Some(usage);
    });
    let delivery = faults.delivery(options.delay, options.pace);
    (reply_of(call, &caller, &faults, shared), delivery)
}

pub(super) fn admit(call: &Call<'_>, shared: &Shared) -> Result<Caller, Refusal> {
    let options = &shared.options;
    let services = services_of(call.head);
    let is_unsigned_sts = services == ["sts"] && sts::needs_no_signature(&call.body);
    if !options.check_signatures || is_unsigned_sts {
        return Ok(Caller { by: "unchecked", ..Caller::default() });
    }
    let expected = Expectation {
        services,
        region: options.region.as_deref().filter(|_| services != ["sts"]),
        now: call.now,
        clock_skew: options.clock_skew,
    };
    shared.callers.check(call.head, &call.body, &expected)
}

fn reply_of(call: &Call<'_>, caller: &Caller, faults: &Faults, shared: &Shared) -> Reply {
    if services_of(call.head) == ["sts"] && call.head.method == "POST" {
        return sts::answer(call, caller, faults, shared);
    }
    answer::answer(call, faults)
}

/// Fills in the log, then counts: who sees the count finds the record complete.
pub(super) fn finish(shared: &Shared, entry: &Entry, status: u16, delivered: &Delivered) {
    let now = milliseconds_now();
    let since_first = delivered.first_byte.map(|first| u64::try_from(first.elapsed().as_millis()));
    entry.update(|record| {
        record.status = status;
        record.bytes_sent = delivered.bytes;
        record.ended_at = Some(now);
        record.peer_left_at = delivered.peer_left.then_some(now);
        record.first_byte_at = since_first.and_then(Result::ok).map(|since| now.saturating_sub(since));
    });
    let counters = &shared.log.counters;
    count(&counters.bytes_sent, delivered.bytes);
    count(&counters.peers_left, u64::from(delivered.peer_left));
    count(&counters.answered, 1);
}

/// The same for an answer that never began to stream.
pub(super) fn finish_unsent(shared: &Shared, entry: &Entry, status: u16) {
    finish(shared, entry, status, &Delivered::default());
}

pub(super) fn milliseconds_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
