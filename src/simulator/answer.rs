//! Which operation a call is, and its answer; operations without a realistic answer get an empty one that names them.

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::faults::Faults;
use super::signature::Refusal;
use super::tokens::{SimulatedUsage, json_bytes, text, text_pieces, usage_of};
use super::wire::{Body, Head, Reply};
use super::{SimulatorOptions, agents, callers, compatible, converse, frames, models, sts};

/// Media type of event streams.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
/// The wait that the simulator claims, in milliseconds.
pub(super) const LATENCY_MS: u64 = 42;

/// A request with its parts read.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) head: &'a Head,
    pub(super) body: Bytes,
    /// The body, or null where it is no JSON.
    pub(super) json: Value,
    /// Of the path, decoded.
    pub(super) segments: Vec<String>,
    pub(super) request_id: String,
    pub(super) account_id: &'a str,
    pub(super) region: &'a str,
    pub(super) now: OffsetDateTime,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        head: &'a Head,
        body: Bytes,
        options: &'a SimulatorOptions,
        request_id: String,
    ) -> Self {
        Self {
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            segments: head.path.trim_start_matches('/').split('/').map(decoded).collect(),
            head,
            body,
            request_id,
            account_id: &options.account_id,
            region: options.region.as_deref().unwrap_or("us-east-1"),
            now: OffsetDateTime::now_utc(),
        }
    }

    /// The model of the path, or of the body.
    pub(super) fn model(&self) -> &str {
        let pointers = [
            "/model",
            "/modelId",
            "/rerankingConfiguration/bedrockRerankingConfiguration/modelConfiguration/modelArn",
            "/retrieveAndGenerateConfiguration/knowledgeBaseConfiguration/modelArn",
        ];
        let in_body = || pointers.iter().find_map(|pointer| self.json.pointer(pointer)?.as_str());
        match self.segments.as_slice() {
            [first, second, ..] if first == "model" => second,
            _ => in_body().unwrap_or_default(),
        }
    }

    /// What the answer will report.
    pub(super) fn usage(&self, faults: &Faults) -> SimulatedUsage {
        faults.usage().unwrap_or_else(|| usage_of(&self.body, &self.json))
    }

    fn wants_stream(&self) -> bool {
        self.json.get("stream").and_then(Value::as_bool).unwrap_or(false)
    }
}

/// An answer of a model in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) usage: SimulatedUsage,
    /// Whether usage is reported at all.
    pub(super) reports_usage: bool,
}

impl Turn<'_> {
    pub(super) fn text(&self) -> String {
        text(self.usage.output)
    }

    pub(super) fn pieces(&self) -> Vec<String> {
        text_pieces(self.usage.output)
    }

    /// Adds a member that reports usage, unless none is to be reported.
    pub(super) fn report(&self, answer: &mut Value, member: &str, usage: Value) {
        if let (true, Some(members)) = (self.reports_usage, answer.as_object_mut()) {
            members.insert(member.to_owned(), usage);
        }
    }
}

/// The answer to a call that was let in.
pub(super) fn answer(call: &Call<'_>, faults: &Faults) -> Reply {
    if let Some((status, error_type, message)) = faults.service_error() {
        return error(status, error_type, message);
    }
    if faults.has("redirect") {
        let location = format!("{}?redirected=true", call.head.path);
        return Reply { status: 307, headers: vec![("Location", location)], body: Body::Whole(Bytes::new()) };
    }
    if let Some(length) = faults.huge_body_bytes() {
        return Reply { body: Body::Whole(huge(length)), ..json(Value::Null) };
    }
    let turn = Turn { call, usage: call.usage(faults), reports_usage: !faults.has("no-usage") };
    shaped(operation(&turn), faults)
}

fn operation(turn: &Turn<'_>) -> Reply {
    let call = turn.call;
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let needs_json = matches!(segments.as_slice(), ["model", ..] | ["openai" | "anthropic" | "v1", ..]);
    if call.head.method == "POST" && needs_json && !call.json.is_object() {
        return error(
            400,
            "ValidationException",
            "Malformed input request, please reformat your input and try again.",
        );
    }
    match (call.head.method.as_str(), segments.as_slice()) {
        ("POST", ["model", .., "converse"]) => converse::answer(turn),
        ("POST", ["model", .., "converse-stream"]) => converse::stream(turn),
        ("POST", ["model", .., "invoke"]) => models::answer(turn),
        ("POST", ["model", .., "invoke-with-response-stream"]) => models::stream(turn),
        ("POST", ["model", .., "count-tokens"]) => json(json!({ "inputTokens": turn.usage.input })),
        ("POST", ["guardrail", _, "version", _, "apply"]) => agents::apply_guardrail(turn),
        ("POST", ["knowledgebases", _, "retrieve"]) => agents::retrieve(turn),
        ("POST", ["retrieveAndGenerate"]) => agents::retrieve_and_generate(turn),
        ("POST", ["retrieveAndGenerateStream"]) => agents::retrieve_and_generate_stream(turn),
        ("POST", ["rerank"]) => agents::rerank(turn),
        ("POST", ["agents", _, "agentAliases", _, "sessions", session, "text"]) => {
            agents::agent(turn, session)
        }
        ("POST", ["agents", session]) if call.json.get("foundationModel").is_some() => {
            agents::agent(turn, session)
        }
        ("POST", ["flows", _, "aliases", _]) => agents::flow(turn),
        ("POST", ["openai", "v1", "chat", "completions"] | ["v1", "chat", "completions"]) => {
            if call.wants_stream() { compatible::chat_stream(turn) } else { compatible::chat(turn) }
        }
        ("POST", ["openai", "v1", "responses"] | ["v1", "responses"]) => {
            if call.wants_stream() {
                compatible::responses_stream(turn)
            } else {
                compatible::responses(turn)
            }
        }
        ("POST", ["anthropic", "v1", "messages"]) => {
            if call.wants_stream() {
                compatible::messages_stream(turn)
            } else {
                compatible::messages(turn)
            }
        }
        ("POST", ["anthropic", "v1", "messages", "count_tokens"]) => {
            json(json!({ "input_tokens": turn.usage.input }))
        }
        ("GET", ["openai", "v1", "models"] | ["v1", "models"]) => compatible::models(call),
        ("GET", ["openai", "v1", "responses", id] | ["v1", "responses", id]) => compatible::stored(turn, id),
        ("GET", ["foundation-models"]) => models::list(turn),
        ("GET", ["inference-profiles"]) => models::list_profiles(turn),
        ("POST", ["async-invoke"]) => agents::start_async_invoke(turn),
        ("GET", ["async-invoke"]) => json(json!({ "asyncInvokeSummaries": [] })),
        ("GET", ["async-invoke", arn]) => agents::async_invoke(turn, arn),
        ("POST", ["runtimes", _, "invocations"]) => agents::agent_runtime(turn),
        _ => json(json!({ "simulated": { "method": call.head.method, "path": call.head.path } })),
    }
}

/// A stream as the faults want it.
fn shaped(mut reply: Reply, faults: &Faults) -> Reply {
    let is_event_stream =
        reply.headers.iter().any(|(name, value)| *name == "Content-Type" && value == EVENT_STREAM);
    let Body::Pieces(pieces) = &mut reply.body else { return reply };
    if faults.has("no-end") {
        pieces.pop();
    }
    let exception = ("throttlingException", "Too many requests, please wait before trying again.");
    let error = ("InternalFailure", "An internal failure occurred.");
    let (count, last) = match (faults.count("exception-in-stream"), faults.count("error-in-stream")) {
        (Some(count), _) if is_event_stream => (count, frames::exception(exception.0, exception.1)),
        (_, Some(count)) if is_event_stream => (count, frames::error(error.0, error.1)),
        (Some(count), _) => (count, sent_error("rate_limit_error", exception.1)),
        (_, Some(count)) => (count, sent_error("api_error", error.1)),
        (None, None) => return reply,
    };
    pieces.truncate(count);
    pieces.push(last);
    reply
}

/// An error among server-sent events.
fn sent_error(error_type: &str, message: &str) -> Bytes {
    let event = json!({ "type": "error", "error": { "type": error_type, "message": message } });
    frames::server_sent(Some("error"), &event.to_string())
}

/// An answer in JSON.
pub(super) fn json(value: Value) -> Reply {
    Reply {
        status: 200,
        headers: vec![("Content-Type", "application/json".to_owned())],
        body: Body::Whole(json_bytes(&value)),
    }
}

/// An answer as an event stream.
pub(super) fn event_stream(frames: Vec<Bytes>) -> Reply {
    Reply {
        status: 200,
        headers: vec![("Content-Type", EVENT_STREAM.to_owned())],
        body: Body::Pieces(frames),
    }
}

/// An answer as server-sent events.
pub(super) fn server_sent_events(events: Vec<Bytes>) -> Reply {
    Reply {
        status: 200,
        headers: vec![
            ("Content-Type", "text/event-stream; charset=utf-8".to_owned()),
            ("Cache-Control", "no-cache".to_owned()),
        ],
        body: Body::Pieces(events),
    }
}

/// An error in the form of AWS's REST services.
pub(super) fn error(status: u16, error_type: &str, message: &str) -> Reply {
    let location = "http://internal.amazon.com/coral/com.amazon.bedrock/";
    let mut reply = json(json!({ "message": message }));
    reply.status = status;
    reply.headers.push(("x-amzn-ErrorType", format!("{error_type}:{location}")));
    reply
}

/// The answer to a call that is not let in.
pub(super) fn refusal(call: &Call<'_>, refusal: &Refusal) -> Reply {
    if callers::services_of(call.head) == ["sts"] {
        return sts::refusal(refusal, &call.request_id);
    }
    error(403, refusal.error_type, &refusal.message)
}

impl Reply {
    /// Adds what every answer of AWS carries.
    pub(super) fn identified(mut self, request_id: &str, now: OffsetDateTime) -> Self {
        let form = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        self.headers.push(("Date", now.format(form).unwrap_or_default()));
        self.headers.push(("x-amzn-RequestId", request_id.to_owned()));
        self
    }
}

/// A JSON body of about this many bytes.
fn huge(length: usize) -> Bytes {
    let mut body = Vec::with_capacity(length.saturating_add(16));
    body.extend_from_slice(br#"{"padding":""#);
    body.resize(body.len().max(length), b'a');
    body.extend_from_slice(br#""}"#);
    Bytes::from(body)
}

/// A path or a part of it, decoded.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The model of a path, as spelled there.
pub(super) fn model_in_path(path: &str) -> &str {
    path.strip_prefix("/model/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}
