//! Who calls: credential pairs, sessions of STS and API keys, and what a gateway must never let through.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;

use super::SimulatorOptions;
use super::signature::{Authorization, Expectation, Refusal};
use super::wire::Head;

/// The most sessions that are remembered; past it, those that ended are forgotten, then all.
const MAX_SESSIONS: usize = 10_000;

/// Headers that belong to gateways, their clients or single connections: none may reach AWS.
const FORBIDDEN_HEADERS: [&str; 13] = [
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "litellm_user_api_key",
    "cookie",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
];

/// Headers that must come once, or not at all.
const SINGLE_HEADERS: [&str; 6] =
    ["authorization", "host", "content-length", "content-type", "x-amz-date", "x-amz-security-token"];

const TOKEN_INVALID: &str = "The security token included in the request is invalid.";
const TOKEN_EXPIRED: &str = "The security token included in the request is expired";

/// Signing names of the first path segments that only AgentCore has; the rest of Bedrock signs as `bedrock`.
const AGENTCORE_SEGMENTS: [&str; 24] = [
    "ab-tests",
    "agent-insight-stores",
    "agentinsights",
    "browser-profiles",
    "browsers",
    "capacity-providers",
    "code-interpreters",
    "configuration-bundles",
    "datasets",
    "evaluations",
    "evaluators",
    "gateways",
    "harnesses",
    "identities",
    "memories",
    "online-evaluation-configs",
    "payments",
    "policy-engine-summaries",
    "policy-engines",
    "recommendations",
    "registries",
    "registry-records",
    "runtimes",
    "web-search",
];

/// An access key the simulator knows.
#[derive(Clone, PartialEq, Eq)]
pub struct SimulatedCredentials {
    /// `AKIA…`, or `ASIA…` for temporary ones.
    pub access_key_id: String,
    /// The secret that signs.
    pub secret_access_key: String,
    /// The token that must come along, for temporary credentials.
    pub session_token: Option<String>,
    /// When the credentials end.
    pub expires_at: Option<OffsetDateTime>,
}

impl SimulatedCredentials {
    /// The pair of AWS's documentation, for local runs.
    #[must_use]
    pub fn example() -> Self {
        Self::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    }

    /// A pair that lasts.
    #[must_use]
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: None,
            expires_at: None,
        }
    }
}

impl std::fmt::Debug for SimulatedCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SimulatedCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A caller who may be served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// `signature`, `bearer` or `unchecked`.
    pub(super) by: &'static str,
    pub(super) access_key_id: Option<String>,
    pub(super) region: Option<String>,
    pub(super) service: Option<String>,
}

/// All callers the simulator knows.
#[derive(Debug)]
pub(super) struct Callers {
    lasting: Vec<SimulatedCredentials>,
    bearer_tokens: Vec<String>,
    sessions: Mutex<HashMap<String, SimulatedCredentials>>,
}

impl Callers {
    pub(super) fn new(options: &SimulatorOptions) -> Self {
        Self {
            lasting: options.credentials.clone(),
            bearer_tokens: options.bearer_tokens.clone(),
            sessions: Mutex::default(),
        }
    }

    /// Remembers credentials that STS gave out.
    pub(super) fn remember(&self, credentials: SimulatedCredentials, now: OffsetDateTime) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, held| held.expires_at.is_some_and(|end| end > now));
            if sessions.len() >= MAX_SESSIONS {
                sessions.clear();
            }
        }
        sessions.insert(credentials.access_key_id.clone(), credentials);
    }

    fn credentials(&self, access_key_id: &str) -> Option<SimulatedCredentials> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |held: &&SimulatedCredentials| held.access_key_id == access_key_id;
        sessions.get(access_key_id).or_else(|| self.lasting.iter().find(is_it)).cloned()
    }

    /// The secret of an access key that is known.
    pub(super) fn secret_of(&self, access_key_id: &str) -> Option<String> {
        self.credentials(access_key_id).map(|held| held.secret_access_key)
    }

    /// Lets a call in or says why not, as AWS would.
    pub(super) fn check(
        &self,
        head: &Head,
        body: &[u8],
        expected: &Expectation<'_>,
    ) -> Result<Caller, Refusal> {
        let header = head.header("authorization").ok_or_else(|| {
            Refusal::new("MissingAuthenticationTokenException", "Missing Authentication Token")
        })?;
        if let Some(token) = header.strip_prefix("Bearer ") {
            if self.bearer_tokens.iter().any(|known| known == token) {
                return Ok(Caller { by: "bearer", ..Caller::default() });
            }
            let text = "Authentication failed: Please make sure your API Key is valid.";
            return Err(Refusal::new("AccessDeniedException", text));
        }
        let authorization = Authorization::parse(header)?;
        let credentials = self
            .credentials(&authorization.access_key_id)
            .ok_or_else(|| Refusal::new("UnrecognizedClientException", TOKEN_INVALID))?;
        if head.header("x-amz-security-token") != credentials.session_token.as_deref() {
            return Err(Refusal::new("UnrecognizedClientException", TOKEN_INVALID));
        }
        authorization.verify(head, body, &credentials.secret_access_key, expected)?;
        if credentials.expires_at.is_some_and(|end| end <= expected.now) {
            return Err(Refusal::new("ExpiredTokenException", TOKEN_EXPIRED));
        }
        Ok(Caller {
            by: "signature",
            access_key_id: Some(authorization.access_key_id),
            region: Some(authorization.region),
            service: Some(authorization.service),
        })
    }
}

/// The signing names that may serve a path; one, but for paths that two services have.
pub(super) fn services_of(head: &Head) -> &'static [&'static str] {
    let first = head.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "" if head.header("x-amz-target").is_some() => &["bedrock"],
        "" => &["sts"],
        "v1" => &["bedrock-mantle"],
        "openai" | "anthropic" => &["bedrock", "bedrock-mantle"],
        "tags" | "resourcepolicy" if head.path.contains("bedrock-agentcore") => &["bedrock-agentcore"],
        _ if AGENTCORE_SEGMENTS.contains(&first) => &["bedrock-agentcore"],
        _ => &["bedrock"],
    }
}

/// What of a request should never have left the gateway, if anything.
pub(super) fn violation(head: &Head, forbidden_values: &[String]) -> Option<String> {
    for (name, value) in &head.headers {
        let lower = name.to_ascii_lowercase();
        let carries_a_virtual_key = value.starts_with("sk-") || value.starts_with("Bearer sk-");
        let is_hop_by_hop = lower == "connection"
            && !value.split(',').all(|token| {
                let token = token.trim();
                token.eq_ignore_ascii_case("keep-alive") || token.eq_ignore_ascii_case("close")
            });
        let is_forbidden = FORBIDDEN_HEADERS.contains(&lower.as_str())
            || lower.starts_with("x-litellm-")
            || (lower == "accept-encoding" && !value.eq_ignore_ascii_case("identity"));
        if carries_a_virtual_key || is_hop_by_hop || is_forbidden {
            return Some(format!("the header {lower} must not reach AWS"));
        }
        if forbidden_values.iter().any(|secret| value.contains(secret)) {
            return Some(format!("the header {lower} holds a value that must not reach AWS"));
        }
    }
    let count = |name: &str| head.headers.iter().filter(|(held, _)| held.eq_ignore_ascii_case(name)).count();
    if let Some(repeated) = SINGLE_HEADERS.iter().find(|name| count(name) > 1) {
        return Some(format!("the header {repeated} came more than once"));
    }
    if count("content-length") > 0 && count("transfer-encoding") > 0 {
        return Some("the body has two lengths: Content-Length and Transfer-Encoding".to_owned());
    }
    let in_target = |secret: &&String| head.path.contains(*secret) || head.query.contains(*secret);
    forbidden_values
        .iter()
        .find(in_target)
        .map(|_| "the path or query holds a value that must not reach AWS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_with(name: &str, value: &str) -> Head {
        Head { headers: vec![(name.to_owned(), value.to_owned())], ..Head::default() }
    }

    #[test]
    fn headers_of_gateways_and_connections_are_violations() {
        let cases = [
            ("X-Api-Key", "anything", true),
            ("x-litellm-tags", "a", true),
            ("Authorization", "Bearer sk-1234", true),
            ("x-custom", "sk-1234", true),
            ("Accept-Encoding", "gzip", true),
            ("Accept-Encoding", "identity", false),
            ("Connection", "keep-alive, x-secret", true),
            ("Connection", "Keep-Alive", false),
            ("x-note", "holds hush-hush inside", true),
            ("Authorization", "Bearer ABSKQmVkcm9ja0FQSUtleQ", false),
            ("anthropic-beta", "context-1m", false),
        ];
        for (name, value, expected) in cases {
            let found = violation(&head_with(name, value), &["hush-hush".to_owned()]);
            assert_eq!(found.is_some(), expected, "{name}: {value}: {found:?}");
        }
    }

    #[test]
    fn a_repeated_header_and_a_second_length_are_violations() {
        for (first, second, expected) in [
            ("Authorization", "authorization", true),
            ("Content-Length", "Transfer-Encoding", true),
            ("Host", "Content-Length", false),
        ] {
            let headers = [first, second].map(|name| (name.to_owned(), "1".to_owned())).to_vec();
            let head = Head { headers, ..Head::default() };
            assert_eq!(violation(&head, &[]).is_some(), expected, "{first}, {second}");
        }
    }

    #[test]
    fn a_path_tells_its_signing_name() {
        let cases: [(&str, &[&str]); 6] = [
            ("/model/x/converse", &["bedrock"]),
            ("/runtimes/arn/invocations", &["bedrock-agentcore"]),
            ("/tags/arn%3Aaws%3Abedrock-agentcore%3Aus-east-1", &["bedrock-agentcore"]),
            ("/tags/arn%3Aaws%3Abedrock%3Aus-east-1", &["bedrock"]),
            ("/", &["sts"]),
            ("/v1/responses", &["bedrock-mantle"]),
        ];
        for (path, services) in cases {
            let head = Head { path: path.to_owned(), ..Head::default() };
            assert_eq!(services_of(&head), services, "{path}");
        }
    }
}
