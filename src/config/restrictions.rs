//! Settings that restrict callers in LiteLLM and that bedgate does not know: told apart from what merely is not used, since
//! whoever wrote them counts on them.

use super::tree::{Node, NodeValue};

/// Settings that restrict in LiteLLM and do not hold here, with what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotInForce {
    /// Where they stand.
    pub places: Vec<String>,
    /// What to use in their place.
    pub instead: &'static str,
}

/// Of the places of one kind, so many are named.
const MAX_NAMED: usize = 5;

impl std::fmt::Display for NotInForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named: Vec<&str> = self.places.iter().take(MAX_NAMED).map(String::as_str).collect();
        f.write_str(&named.join(", "))?;
        match self.places.len().saturating_sub(MAX_NAMED) {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        write!(f, ": {}", self.instead)
    }
}

/// One line of the table: the section, the setting, what to do instead.
type Row = (&'static str, &'static str, &'static str);

const GUARD: &str = "no guardrail of LiteLLM's runs; put a Bedrock guardrail into the clients' requests, or enforce one for the \
                     AWS account";
const LIMIT_KEYS: &str = "users and organizations have no limits here; limit their keys, teams or customers";
const LIMIT_MODELS: &str =
    "a deployment has no limits here; limit keys by model_max_budget, model_rpm_limit and model_tpm_limit";
/// For other ways to check callers.
pub(super) const WHO: &str = "callers are checked by their keys alone";
const ROUTES: &str = "give keys allowed_routes";
const CHECK_BEFORE: &str = "only the master key makes keys here; check before it is used";

/// Every such setting.
const TABLE: &[Row] = &[
    ("", "guardrails", GUARD),
    ("", "policies", GUARD),
    ("", "policy_attachments", GUARD),
    ("litellm_settings", "guardrails", GUARD),
    ("model_list.litellm_params", "guardrails", GUARD),
    ("litellm_settings", "banned_keywords_list", GUARD),
    ("general_settings", "allowed_routes", ROUTES),
    ("general_settings", "admin_only_routes", ROUTES),
    ("general_settings", "disable_bedrock_agent_runtime_passthrough", ROUTES),
    ("general_settings", "allowed_ips", "let a firewall or a proxy in front admit addresses"),
    ("general_settings", "role_permissions", WHO),
    ("litellm_settings", "blocked_user_list", "block customers with /customer/block"),
    (
        "general_settings",
        "enforce_user_param",
        "requests need not name a customer; give each customer's key limits of its own",
    ),
    (
        "general_settings",
        "user_header_mappings",
        "customers are not known by these headers; name one in user_header_name",
    ),
    (
        "general_settings",
        "enforced_params",
        "requests pass without these parameters; check them in the client",
    ),
    (
        "general_settings",
        "service_account_settings",
        "requests pass without these parameters; check them in the client",
    ),
    (
        "general_settings",
        "max_parallel_requests",
        "a deployment has no such limit; give keys and teams max_parallel_requests, or set global_max_parallel_requests",
    ),
    (
        "general_settings",
        "max_response_size_mb",
        "answers of any size pass; bound maxTokens in the clients' requests",
    ),
    (
        "general_settings",
        "reject_clientside_metadata_tags",
        "clients may send tags, which count in /spend/tags alone",
    ),
    ("general_settings", "apply_user_budget_to_team_keys", LIMIT_KEYS),
    ("general_settings", "custom_key_generate", CHECK_BEFORE),
    ("general_settings", "custom_key_update", CHECK_BEFORE),
    ("litellm_settings", "key_generation_settings", CHECK_BEFORE),
    ("litellm_settings", "default_team_disabled", CHECK_BEFORE),
    ("litellm_settings", "default_team_params", "name the limits in /team/new"),
    ("litellm_settings", "max_user_budget", LIMIT_KEYS),
    ("litellm_settings", "max_internal_user_budget", LIMIT_KEYS),
    ("litellm_settings", "default_internal_user_params", LIMIT_KEYS),
    ("litellm_settings", "tag_budget_config", "tags have no budgets; limit keys, teams or customers"),
    (
        "litellm_settings",
        "priority_reservation",
        "no key waits for another; give keys rpm_limit and tpm_limit",
    ),
    (
        "litellm_settings",
        "block_requests_for_models_without_pricing",
        "set bedgate_settings.budgets.enforcement to hard, which refuses what has no known bound of cost where a budget holds",
    ),
    (
        "litellm_settings",
        "require_auth_for_metrics_endpoint",
        "/metrics needs no key; let a firewall or a proxy in front admit who may read it",
    ),
    (
        "litellm_settings",
        "ssl_verify",
        "AWS's certificate is always checked, against the system's store; name your own bundle in AWS_CA_BUNDLE",
    ),
    ("litellm_settings", "ssl_certificate", "no client certificate is shown to AWS"),
    ("litellm_settings", "ssl_security_level", "TLS 1.2 and 1.3 with rustls's cipher suites are spoken"),
    ("router_settings", "enforce_model_rate_limits", LIMIT_MODELS),
    ("router_settings", "optional_pre_call_checks", LIMIT_MODELS),
    ("router_settings", "default_max_parallel_requests", LIMIT_MODELS),
    ("router_settings", "provider_budget_config", LIMIT_MODELS),
    ("model_list.litellm_params", "max_parallel_requests", LIMIT_MODELS),
    ("model_list.litellm_params", "max_budget", LIMIT_MODELS),
    (
        "model_list.litellm_params",
        "max_file_size_mb",
        "files are bounded as part of the request: bedgate_settings.limits.max_body",
    ),
    (
        "router_settings",
        "enable_tag_filtering",
        "tags do not choose a deployment; give it a model_name of its own",
    ),
    ("model_list.model_info", "team_id", "any key may use the model; name models in the keys and teams"),
];

/// LiteLLM's callbacks that refuse requests.
const GUARDING_CALLBACKS: [&str; 17] = [
    "aporia_prompt_injection",
    "azure_content_safety",
    "banned_keywords",
    "blocked_user_check",
    "detect_prompt_injection",
    "dynamic_rate_limiter",
    "dynamic_rate_limiter_v2",
    "dynamic_rate_limiter_v3",
    "google_text_moderation",
    "hide_secrets",
    "lakera_prompt_injection",
    "llamaguard_moderations",
    "llmguard_moderations",
    "max_budget_limiter",
    "openai_moderations",
    "presidio",
    "prompt_injection",
];

/// LiteLLM's checks before a call that hold a deployment to its limits.
const LIMITING_CHECKS: [&str; 2] = ["enforce_model_rate_limits", "router_budget_limiting"];

/// What to do instead of a setting, if it restricts as it is written.
pub(super) fn instead_of(section: &str, key: &str, node: &Node) -> Option<&'static str> {
    let restricts = match (section, key) {
        ("litellm_settings", "callbacks") => return names_one_of(node, &GUARDING_CALLBACKS).then_some(GUARD),
        ("router_settings", "optional_pre_call_checks") => names_one_of(node, &LIMITING_CHECKS),
        // Here it is true that changes nothing.
        ("litellm_settings", "ssl_verify") => !node.is_blank() && node.to_json() != true,
        _ => says_something(node),
    };
    let row = TABLE.iter().find(|(of, name, _)| (*of, *name) == (section, key))?;
    restricts.then_some(row.2)
}

fn names_one_of(node: &Node, names: &[&str]) -> bool {
    let is_one = |node: &Node| node.to_json().as_str().is_some_and(|name| names.contains(&name));
    match &node.value {
        NodeValue::List(nodes) => nodes.iter().any(is_one),
        _ => is_one(node),
    }
}

/// Null, false and what is empty restrict nothing.
fn says_something(node: &Node) -> bool {
    match &node.value {
        NodeValue::List(nodes) => !nodes.is_empty(),
        NodeValue::Map(map) => !map.is_empty(),
        _ => !node.is_blank() && node.to_json() != false,
    }
}
