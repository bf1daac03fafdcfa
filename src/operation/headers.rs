//! Which headers go to AWS, which come back, and which are part of the signature.

use super::Operation;
use crate::domain::Service;

/// Whether a request header (name in lower case) is sent on to AWS. Everything that is not named here stays behind:
/// above all keys, the client's own signature, cookies, what the HTTP client sets itself (`host`, `content-length`),
/// and what would change the response's bytes (`accept-encoding`) or the exchange (`expect`).
#[must_use]
pub fn may_forward(name: &str, operation: &Operation) -> bool {
    if is_never_forwarded(name) || is_hop_by_hop(name) {
        return false;
    }
    let is_agentcore = operation.service == Service::BedrockAgentcore;
    match name {
        "accept" | "content-type" => true,
        "x-amz-target" => operation.target.is_some() || operation.is_unknown(),
        "x-amzn-trace-id" | "traceparent" | "tracestate" | "baggage" => is_agentcore,
        _ => {
            FAMILIES.iter().any(|family| name.starts_with(family))
                || (is_agentcore && name.starts_with("mcp-"))
                || operation.headers.contains(&name)
        }
    }
}

/// What the names of Bedrock's own headers start with.
pub const BEDROCK_HEADERS: &str = "x-amzn-bedrock-";
/// Header families that belong to the APIs themselves.
const FAMILIES: [&str; 3] = [BEDROCK_HEADERS, "anthropic-", "openai-"];

/// Whether one of these is Bedrock's own. Most messages have none, and it takes longer to look for each.
pub fn any_of_bedrock<'n>(mut names: impl Iterator<Item = &'n str>) -> bool {
    names.any(|name| name.starts_with(BEDROCK_HEADERS))
}

/// Headers that carry keys or the client's own signature, or that the gateway sets itself: kept back even if an
/// operation should ever have a member of that name.
fn is_never_forwarded(name: &str) -> bool {
    let is_key = matches!(
        name,
        "authorization"
            | "x-api-key"
            | "api-key"
            | "litellm_user_api_key"
            | "x-goog-api-key"
            | "ocp-apim-subscription-key"
    );
    let is_signature = matches!(
        name,
        "x-amz-date"
            | "x-amz-security-token"
            | "x-amz-content-sha256"
            | "x-amz-user-agent"
            | "x-amz-region-set"
    );
    let is_own =
        matches!(name, "host" | "content-length" | "accept-encoding" | "expect" | "cookie" | "set-cookie");
    is_key || is_signature || is_own || name.starts_with("x-litellm-") || name.starts_with("amz-sdk-")
}

/// Whether a response header (name in lower case) goes back to the client: all but those of the connection to AWS.
#[must_use]
pub fn may_return(name: &str) -> bool {
    !is_hop_by_hop(name)
}

/// Whether a header (name in lower case) belongs to one connection only. What a `Connection` header names is so, too:
/// see [`is_named_in_connection`]. <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "proxy-connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization"
    )
}

/// Whether the value of a `Connection` header says no more than what every connection of HTTP/1.1 does: it names no
/// header.
#[must_use]
pub fn names_no_header(connection: &str) -> bool {
    connection.eq_ignore_ascii_case("keep-alive") || connection.eq_ignore_ascii_case("close")
}

/// Whether the value of a `Connection` header declares this header (name in lower case) to be hop-by-hop.
#[must_use]
pub fn is_named_in_connection(name: &str, connection: &str) -> bool {
    connection.split(',').any(|option| option.trim().eq_ignore_ascii_case(name))
}

/// Whether a header (name in lower case) that is sent to AWS is part of the signature.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
#[must_use]
pub fn must_sign(name: &str) -> bool {
    matches!(name, "host" | "content-type")
        || name.starts_with("x-amz-")
        || name.starts_with("x-amzn-bedrock-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{all, operation_by_name};

    fn operation(service: Service, name: &str) -> &'static Operation {
        operation_by_name(service, name).unwrap()
    }

    #[test]
    fn every_header_bound_member_of_every_operation_is_forwarded() {
        let mut members = 0;
        for operation in all() {
            for name in &operation.headers {
                assert_eq!(*name, name.to_ascii_lowercase());
                assert!(may_forward(name, operation), "{name} of {}", operation.name);
                members += 1;
            }
        }
        assert_eq!(members, 77);
    }

    #[test]
    fn no_operation_has_a_member_that_is_never_forwarded() {
        assert!(all().flat_map(|operation| &operation.headers).all(|name| !is_never_forwarded(name)));
    }

    #[test]
    fn keys_signatures_cookies_and_headers_of_the_connection_are_never_forwarded() {
        let kept_back = "authorization x-api-key api-key litellm_user_api_key x-goog-api-key \
            ocp-apim-subscription-key x-litellm-api-key x-litellm-tags x-litellm-call-id \
            x-amz-date x-amz-security-token x-amz-content-sha256 x-amz-user-agent x-amz-region-set \
            amz-sdk-invocation-id amz-sdk-request host content-length accept-encoding expect cookie \
            connection keep-alive proxy-connection proxy-authorization te trailer transfer-encoding upgrade \
            forwarded x-forwarded-for x-forwarded-host via origin referer user-agent x-amz-whatever x-claude-code-session-id";
        for operation in all() {
            for name in kept_back.split_ascii_whitespace() {
                assert!(!may_forward(name, operation), "{name} for {}", operation.name);
            }
        }
    }

    #[test]
    fn header_families_go_where_their_api_is() {
        let converse = operation(Service::BedrockRuntime, "Converse");
        let agent_runtime = operation(Service::BedrockAgentcore, "InvokeAgentRuntime");
        let automation = operation(Service::BedrockDataAutomationRuntime, "InvokeDataAutomation");
        let cases = [
            ("accept", true, true, true),
            ("content-type", true, true, true),
            ("anthropic-beta", true, true, true),
            ("anthropic-version", true, true, true),
            ("openai-project", true, true, true),
            ("x-amzn-bedrock-anything", true, true, true),
            ("mcp-session-id", false, true, false),
            ("mcp-anything", false, true, false),
            ("traceparent", false, true, false),
            ("x-amzn-trace-id", false, true, false),
            ("x-amz-target", false, false, true),
            ("x-amz-client-token", false, false, false),
            ("x-amz-source-arn", false, false, false),
        ];
        for (name, to_runtime, to_agentcore, to_automation) in cases {
            let answers = [converse, agent_runtime, automation].map(|operation| may_forward(name, operation));
            assert_eq!(answers, [to_runtime, to_agentcore, to_automation], "{name}");
        }
        assert!(may_forward("x-amz-source-arn", operation(Service::BedrockAgentRuntime, "InvokeAgent")));
    }

    #[test]
    fn responses_lose_only_the_headers_of_the_connection() {
        for name in
            ["x-amzn-requestid", "x-amzn-errortype", "content-type", "content-length", "date", "set-cookie"]
        {
            assert!(may_return(name), "{name}");
        }
        for name in
            ["connection", "keep-alive", "transfer-encoding", "trailer", "upgrade", "proxy-authenticate"]
        {
            assert!(!may_return(name), "{name}");
        }
        assert!(is_named_in_connection("x-hop", "close, X-Hop"));
        assert!(!is_named_in_connection("x-hop", "close, x-hops"));
    }

    #[test]
    fn aws_headers_content_type_and_host_are_signed() {
        for name in ["host", "content-type", "x-amz-date", "x-amz-target", "x-amzn-bedrock-trace"] {
            assert!(must_sign(name), "{name}");
        }
        for name in
            ["accept", "traceparent", "x-amzn-trace-id", "mcp-session-id", "user-agent", "anthropic-beta"]
        {
            assert!(!must_sign(name), "{name}");
        }
    }
}
