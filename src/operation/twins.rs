//! Tells apart operations of several services that share a method and a path.

use percent_encoding::percent_decode_str;

use super::body_member::top_level_string;
use super::routes::Found;
use super::{Call, Operation, RequestLine, operation_by_name};
use crate::domain::Service;

/// Picks the operation that is meant.
///
/// | path | told apart by | else |
/// |---|---|---|
/// | `/tags/{arn}`, `/resourcepolicy/{arn}` | the ARN: `bedrock-agentcore` is AgentCore's control plane, `session/…` agent-runtime, any other agent | as below |
/// | `POST /agents/{id}` | certainly no body: PrepareAgent without its trailing slash | InvokeInlineAgent |
/// | `/tagResource`, `/untagResource`, `/listTagsForResource` | [`settle_by_body`], once the body is there | as below |
/// | any of them | the signing name, then the `api/…` of the User-Agent | the first in the table: bedrock, agent |
pub(super) fn choose(found: Found, request: &RequestLine<'_>) -> Option<&'static Operation> {
    let candidates = found.operations();
    let first = candidates.clone().next()?;
    if first.service == Service::BedrockAgentRuntime && first.name == "InvokeInlineAgent" {
        let without_body = request.has_body == Some(false);
        return if without_body {
            operation_by_name(Service::BedrockAgent, "PrepareAgent")
        } else {
            Some(first)
        };
    }
    if candidates.clone().nth(1).is_none() {
        return Some(first);
    }
    let (_, last_segment) = request.path.rsplit_once('/')?;
    if let Some(service) = service_of_arn(last_segment) {
        return candidates.clone().find(|operation| operation.service == service).or(Some(first));
    }
    let by_scope =
        |operation: &&Operation| request.signing_scope.is_none_or(|s| s == operation.service.signing_name());
    let by_agent =
        |operation: &&Operation| names_service(request.user_agent.unwrap_or_default(), operation.service);
    let in_scope = || candidates.clone().filter(by_scope);
    in_scope().find(by_agent).or_else(|| in_scope().next()).or(Some(first))
}

/// Moves a tagging call to the service whose resource the body names: `bedrock` and `bedrock-data-automation` share
/// these paths, and only the `resourceARN` in the body tells which is meant. Any other call stays as it is.
#[must_use]
pub fn settle_by_body<'p>(call: Call<'p>, body: &[u8]) -> Call<'p> {
    let is_shared = matches!(call.operation.uri, "/tagResource" | "/untagResource" | "/listTagsForResource");
    let arn = if is_shared { top_level_string(body, "resourceARN") } else { None };
    let Some(arn) = arn else { return call };
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let is_automation = resource.starts_with("data-automation-") || resource.starts_with("blueprint");
    let service = if is_automation { Service::BedrockDataAutomation } else { Service::Bedrock };
    match operation_by_name(service, call.operation.name) {
        Some(operation) => Call { service, operation, ..call },
        None => call,
    }
}

/// The service that keeps the tags and policies of a resource, by its ARN, percent-encoded or not.
fn service_of_arn(raw: &str) -> Option<Service> {
    if !field(raw, 0).eq(b"arn".iter().copied()) {
        return None;
    }
    if field(raw, 2).eq(b"bedrock-agentcore".iter().copied()) {
        return Some(Service::BedrockAgentcoreControl);
    }
    let is_session = field(raw, 5).take("session/".len()).eq(b"session/".iter().copied());
    Some(if is_session { Service::BedrockAgentRuntime } else { Service::BedrockAgent })
}

/// One of the parts between an ARN's colons, decoded.
fn field(raw: &str, number: usize) -> impl Iterator<Item = u8> {
    let mut colons = 0;
    percent_decode_str(raw)
        .map(move |byte| {
            colons += usize::from(byte == b':');
            (colons, byte)
        })
        .filter(move |(colons, byte)| *colons == number && *byte != b':')
        .map(|(_, byte)| byte)
}

/// Whether a User-Agent says `api/` and the service's name, in any of the spellings of the AWS SDKs:
/// `api/bedrock-agent#3.9`, `api/Bedrock_Agent#2.3`, `api/bedrockagent/1.2`.
fn names_service(user_agent: &str, service: Service) -> bool {
    let apis = user_agent.split_ascii_whitespace().filter_map(|token| token.strip_prefix("api/"));
    apis.filter_map(|api| api.split(['#', '/']).next())
        .any(|api| letters(api).eq(letters(service.host_prefix())))
}

fn letters(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase())
}
