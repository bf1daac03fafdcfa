//! Step 1: from a request's method and path to the Bedrock operation it calls and the model it names, by a table
//! generated from AWS's own service models.

pub mod body_member;
pub mod body_models;
pub mod headers;
mod path;
mod routes;
mod table;
mod twins;

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::domain::Service;
pub use path::{MAX_PATH_BYTES, UnsafePath};
pub use twins::settle_by_body;

/// One operation of a Bedrock service. There is exactly one value of each, in a table that lives as long as the
/// process.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The service whose endpoint answers it.
    pub service: Service,
    /// AWS's name, such as `ConverseStream`; `OpenAi…` and `Anthropic…` for the paths of those APIs.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path with `{labels}`, trailing slash included where AWS has one.
    pub uri: &'static str,
    /// What kind of call it is, for what a key may do.
    pub access: Access,
    /// The shape of the request's body.
    pub request_body: BodyKind,
    /// The shape of a successful response's body.
    pub response_body: BodyKind,
    /// The `x-amz-target` that names it, for the one service that speaks awsJson.
    pub target: Option<&'static str>,
    /// Request members that travel as headers, lower case.
    pub headers: Vec<&'static str>,
    /// The label that names a model, and so may hold slashes, encoded or not.
    model_label: Option<&'static str>,
    /// Labels whose value may hold an encoded slash: bit *n* is the path's segment *n*.
    slash_segments: u32,
    /// Members of the JSON body that name a model, as steps from the top; `[]` is any element of an array.
    body_models: Vec<Vec<&'static str>>,
}

impl Operation {
    /// Whether the response is a stream of AWS event frames.
    #[must_use]
    pub fn event_stream_out(&self) -> bool {
        self.response_body == BodyKind::Events
    }

    /// Whether the request is a stream of AWS event frames, which needs HTTP/2 and a signature for each frame.
    #[must_use]
    pub fn event_stream_in(&self) -> bool {
        self.request_body == BodyKind::Events
    }

    /// Whether the table does not know it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.name == table::UNKNOWN
    }

    /// The member of the body that names the one model of the call, as the OpenAI and Anthropic APIs have it.
    #[must_use]
    pub fn model_member(&self) -> Option<&'static str> {
        let is_native_api = self.name.starts_with("OpenAi") || self.name.starts_with("Anthropic");
        match self.body_models.as_slice() {
            [path] if is_native_api => path.first().copied(),
            _ => None,
        }
    }

    /// Whether the body alone names the one model that the call is priced by: that of other operations without a model in
    /// their path is a part of what they cost, at most.
    #[must_use]
    pub fn is_priced_by_model_in_body(&self) -> bool {
        self.service == Service::BedrockAgentRuntime && self.name == "Rerank"
    }

    /// Whether the body, too, may name models (see [`body_models::models_in_body`]).
    #[must_use]
    pub fn names_models_in_body(&self) -> bool {
        !self.body_models.is_empty()
    }
}

/// What kind of call an operation is. A key may make every call but [`Access::Write`]; that takes the master key or
/// an entry in the key's `allowed_routes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Runs a model, an agent, a flow, a guardrail or a tool, or leads a session of one.
    Inference,
    /// Searches what is stored.
    Retrieval,
    /// Looks at resources.
    Read,
    /// Creates, changes, deletes, tags or buys, starts a job that costs outside of a call, overwrites what others
    /// stored, moves money, or hands out credentials.
    Write,
}

/// The shape of a body, as the service model has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// One document, or none. (The OpenAI and Anthropic paths answer with server-sent events when the request asks.)
    Document,
    /// Bytes of any kind, of any length, as they come.
    Bytes,
    /// AWS event stream frames.
    Events,
}

/// What of a request tells which operation it calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestLine<'p> {
    /// The method, upper case.
    pub method: &'p str,
    /// What follows `/bedrock` in the path, as sent, without the query: empty, or `/` and more.
    pub path: &'p str,
    /// The header `x-amz-target`.
    pub amz_target: Option<&'p str>,
    /// The service in the credential scope of the client's signature.
    pub signing_scope: Option<&'p str>,
    /// The header `user-agent`.
    pub user_agent: Option<&'p str>,
    /// Whether a body follows, where the head says so.
    pub has_body: Option<bool>,
}

/// A request that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'p> {
    /// The service whose endpoint is called.
    pub service: Service,
    /// The operation.
    pub operation: &'static Operation,
    /// The model named in the path.
    pub model: Option<PathModel<'p>>,
}

/// The model name in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathModel<'p> {
    /// The name as in the path, still percent-encoded.
    pub raw: &'p str,
    /// Where it starts in [`RequestLine::path`], in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// What a model id keeps unencoded in a path; everything else is encoded, so that it stays one segment.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl<'p> PathModel<'p> {
    /// The name, decoded.
    #[must_use]
    pub fn name(&self) -> Cow<'p, str> {
        percent_decode_str(self.raw).decode_utf8_lossy()
    }

    /// Where the name stands in the path.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The path with another model id in this one's place, encoded as one segment. A name that is the same once
    /// decoded keeps the client's own encoding, unless a raw slash is in it.
    #[must_use]
    pub fn replaced_in(&self, path: &str, model_id: &str) -> String {
        let before = path.get(..self.start).unwrap_or_default();
        let after = path.get(self.end..).unwrap_or_default();
        if !self.raw.contains('/') && self.name() == model_id {
            return path.to_owned();
        }
        format!("{before}{}{after}", utf8_percent_encode(model_id, UNRESERVED))
    }
}

/// Why a request is not a Bedrock operation. The text is for the client and free of control characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No row of the table fits.
    #[error("no Bedrock operation is {method} {path}: {hint}")]
    NoSuchOperation {
        /// The method, shortened.
        method: String,
        /// The path, shortened.
        path: String,
        /// What to check.
        hint: String,
    },
    /// The path could mean another one to somebody further on.
    #[error("path refused: {0}")]
    UnsafePath(#[from] UnsafePath),
}

/// Finds the operation a request calls.
///
/// # Errors
/// [`Unresolved`] says why there is none.
pub fn resolve<'p>(request: &RequestLine<'p>) -> Result<Call<'p>, Unresolved> {
    path::check(request.path)?;
    let found = match request.path {
        "" | "/" => routes::by_target(request).map(|operation| (operation, None)),
        path => match routes::by_model_path(request.method, path) {
            Some((operation, model)) => Some((operation, Some(model))),
            None => by_path(request)?.map(|operation| (operation, None)),
        },
    };
    match found {
        Some((operation, model)) => Ok(Call { service: operation.service, operation, model }),
        None => Err(routes::explain(request)),
    }
}

/// Finds the operation a request calls at the endpoint of one service. One that the table does not know passes too,
/// as [`UNKNOWN`](Operation::is_unknown) and with [`Access::Write`], since nobody has looked at what it does; but not one
/// that could be a known one written in another way, nor one that names a model where the table cannot see it.
///
/// # Errors
/// [`Unresolved`] says why not.
pub fn resolve_at<'p>(service: Service, request: &RequestLine<'p>) -> Result<Call<'p>, Unresolved> {
    path::check(request.path)?;
    let of_service = |operation: &&'static Operation| operation.service == service;
    let known = match (service, request.path) {
        (_, "" | "/") => routes::by_target(request).filter(|operation| of_service(operation)),
        (Service::BedrockMantle, path) => native_api(request.method, path),
        (Service::BedrockRuntime, path)
            if let Some((operation, model)) = routes::by_model_path(request.method, path) =>
        {
            return Ok(Call { service, operation, model: Some(model) });
        }
        (_, path) => {
            routes::by_path(request.method, path).and_then(|found| found.operations().find(of_service))
        }
    };
    if known.is_none() {
        path::check_plain(request.path)?;
    }
    let is_new = || !names_a_model(service, request.path) && !routes::is_known_but_for_a_slash(request);
    match known.or_else(|| table::unknown(service).filter(|_| is_new())) {
        Some(operation) => Ok(Call { service, operation, model: None }),
        None => Err(routes::explain(request)),
    }
}

/// Whether a path has the form of those that run the model they name.
fn names_a_model(service: Service, path: &str) -> bool {
    service == Service::BedrockRuntime && path.split('/').nth(1) == Some("model")
}

/// bedrock-mantle serves OpenAI's paths with and without `/openai` in front, and Anthropic's.
fn native_api(method: &str, path: &str) -> Option<&'static Operation> {
    let with_api = if path.starts_with("/v1/") { format!("/openai{path}") } else { path.to_owned() };
    routes::by_path(method, &with_api)?
        .operations()
        .find(|operation| operation.service == Service::BedrockRuntime)
}

fn by_path(request: &RequestLine<'_>) -> Result<Option<&'static Operation>, UnsafePath> {
    match routes::by_path(request.method, request.path) {
        Some(found) if found.operations().next().is_none() => Err(UnsafePath::EncodedSlash),
        Some(found) => Ok(twins::choose(found, request)),
        None => Ok(None),
    }
}

/// Every operation, by service.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    table::OPERATIONS.iter()
}

/// The operation of that name.
#[must_use]
pub fn operation_by_name(service: Service, name: &str) -> Option<&'static Operation> {
    all().find(|operation| operation.service == service && operation.name == name)
}

#[cfg(test)]
mod tests;
