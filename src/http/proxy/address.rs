//! Which part of the gateway a URL addresses: `/bedrock` for all of Bedrock, a base of its own for each service,
//! and the paths where the OpenAI and Anthropic SDKs look when they are given the gateway's root.

use std::borrow::Cow;

use crate::domain::Service;
use crate::error::ErrorShape;
use crate::operation::{self, Call, RequestLine, Unresolved};

/// Where all services are served.
const BEDROCK: &str = "bedrock";
/// Root paths of the OpenAI and Anthropic SDKs, and what they are at bedrock-runtime.
const ROOT_PATHS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "/openai/v1/chat/completions"),
    ("/v1/responses", "/openai/v1/responses"),
    ("/v1/messages", "/anthropic/v1/messages"),
    ("/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"),
];

/// Where responses that AWS keeps are found by their ids, and where they are at bedrock-runtime.
const ROOT_RESPONSES: &str = "/v1/responses/";
const RESPONSES: &str = "/openai/v1/responses/";

/// What a URL addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address<'p> {
    /// The service, where the base names one.
    service: Option<Service>,
    /// The path at AWS.
    pub(super) path: Cow<'p, str>,
    /// How errors look there.
    pub(super) errors: ErrorShape,
}

impl<'p> Address<'p> {
    /// Reads the path of a URL; `None` where Bedrock is not served.
    pub(super) fn of(path: &'p str) -> Option<Self> {
        if let Some((_, at_aws)) = ROOT_PATHS.iter().find(|(root, _)| *root == path) {
            let service = Some(Service::BedrockRuntime);
            return Some(Self { service, path: Cow::Borrowed(*at_aws), errors: errors_at(at_aws) });
        }
        if let Some(id) = path.strip_prefix(ROOT_RESPONSES) {
            let path = Cow::Owned(format!("{RESPONSES}{id}"));
            return Some(Self { service: None, path, errors: ErrorShape::OpenAi });
        }
        let base = path.strip_prefix('/')?.split('/').next()?;
        let below = path.get(1 + base.len()..)?;
        let service = match base {
            BEDROCK => None,
            // `bedrock` is the control plane's host, too, but its name stands for all services.
            other => Some(Service::from_host_prefix(other)?),
        };
        Some(Self { service, path: Cow::Borrowed(below), errors: errors_at(below) })
    }

    /// The operation called.
    pub(super) fn resolve<'r>(&self, request: &RequestLine<'r>) -> Result<Call<'r>, Unresolved> {
        match self.service {
            None => operation::resolve(request),
            Some(service) => operation::resolve_at(service, request),
        }
    }
}

/// Whether a path is the gateway's root or the base of an API: where clients, Claude Code among them, ask with HEAD
/// whether anybody is there. No key is needed for that, and AWS is not asked.
pub(super) fn is_front_door(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let without_api = ["/anthropic", "/openai"].iter().find_map(|api| path.strip_suffix(api)).unwrap_or(path);
    let base = without_api.strip_prefix('/').unwrap_or(without_api);
    without_api.is_empty() || base == BEDROCK || Service::from_host_prefix(base).is_some()
}

fn errors_at(path: &str) -> ErrorShape {
    if path.starts_with("/anthropic/") {
        ErrorShape::Anthropic
    } else if path.starts_with("/openai/") || path.starts_with("/v1/") {
        ErrorShape::OpenAi
    } else {
        ErrorShape::Aws
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_addresses_all_of_bedrock_one_service_or_a_native_api() {
        let cases = [
            ("/bedrock", Some((None, ""))),
            ("/bedrock/model/x/converse", Some((None, "/model/x/converse"))),
            ("/bedrock-agent/agents/", Some((Some(Service::BedrockAgent), "/agents/"))),
            ("/bedrock-mantle/v1/responses", Some((Some(Service::BedrockMantle), "/v1/responses"))),
            ("/v1/messages", Some((Some(Service::BedrockRuntime), "/anthropic/v1/messages"))),
            ("/v1/responses/resp_1/cancel", Some((None, "/openai/v1/responses/resp_1/cancel"))),
            ("/bedrockish/model/x/converse", None),
            ("/v1/embeddings", None),
            ("/", None),
            ("*", None),
        ];
        for (path, expected) in cases {
            let found = Address::of(path);
            let found = found.as_ref().map(|address| (address.service, address.path.as_ref()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn the_bases_of_urls_are_front_doors() {
        for (path, expected) in [
            ("/", true),
            ("/bedrock", true),
            ("/bedrock/", true),
            ("/bedrock/anthropic", true),
            ("/bedrock-mantle/openai", true),
            ("/bedrock-agentcore", true),
            ("/anthropic", true),
            ("/bedrockish", false),
            ("/bedrock/guardrails", false),
            ("/v1/messages", false),
            ("*", false),
        ] {
            assert_eq!(is_front_door(path), expected, "{path}");
        }
    }

    #[test]
    fn an_operation_the_table_does_not_know_passes_at_its_services_own_base_only() {
        let request = RequestLine { method: "POST", path: "/brand-new/thing", ..RequestLine::default() };
        assert!(Address::of("/bedrock/brand-new/thing").unwrap().resolve(&request).is_err());
        let call = Address::of("/bedrock-agent/brand-new/thing").unwrap().resolve(&request).unwrap();
        assert!(call.operation.is_unknown());
        assert_eq!(call.service, Service::BedrockAgent);
        assert_eq!(call.operation.access, operation::Access::Write);
    }
}
