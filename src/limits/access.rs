//! Model lists and route lists of a key, in LiteLLM's terms.

use std::collections::HashMap;

use crate::auth::Caller;
use crate::config::Config;
use crate::domain::mask_keys;
use crate::error::GatewayError;
use crate::operation::{Access, Operation};

/// Entries of a model list that admit everything. `all-team-models` of a key is whatever its team may use, and the list of
/// a team binds its keys beside theirs.
const ALL_MODELS: [&str; 3] = ["*", "all-proxy-models", "all-team-models"];
/// The entry of a model list that admits nothing.
const NO_MODELS: &str = "no-default-models";
/// Names of LiteLLM's route groups that hold the Bedrock paths.
const ROUTE_GROUPS: [&str; 3] = ["llm_api_routes", "mapped_pass_through_routes", "passthrough_routes"];

/// What entries of a model list may stand for, beside the name of one model.
#[derive(Clone, Copy, Debug)]
pub struct ModelNames<'c> {
    aliases: &'c HashMap<String, String>,
    access_groups: &'c HashMap<String, Vec<String>>,
}

impl<'c> ModelNames<'c> {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &'c Config) -> Self {
        Self { aliases: &config.routing.model_group_alias, access_groups: &config.access_groups }
    }
}

/// Refuses a model that the caller's key does not list.
///
/// # Errors
/// `AccessDeniedException` that names what the key may use.
pub fn require_model(caller: &Caller, model: &str, names: ModelNames<'_>) -> Result<(), GatewayError> {
    let Some(key) = caller.key() else { return Ok(()) };
    if may_use_any(&key.models, model, names) {
        return Ok(());
    }
    let allowed = key.models.join(", ");
    Err(GatewayError::AccessDenied(format!(
        "this key may not use the model {model:?}; it may use: {allowed}"
    )))
}

/// Whether a model list admits a model name: under its own name, or under the one that it is an alias of. An empty
/// list admits all.
#[must_use]
pub fn may_use_any(models: &[String], model: &str, names: ModelNames<'_>) -> bool {
    if !is_restriction(models) {
        return true;
    }
    if models.iter().any(|entry| entry == NO_MODELS) {
        return false;
    }
    let of_alias = names.aliases.get(model).map(String::as_str);
    [Some(model), of_alias]
        .into_iter()
        .flatten()
        .any(|model| models.iter().any(|entry| admits_model(entry, model, names)))
}

/// Whether a model list admits less than all.
#[must_use]
pub fn is_restriction(models: &[String]) -> bool {
    let admits_none = models.iter().any(|entry| entry == NO_MODELS);
    let admits_all = models.iter().any(|entry| ALL_MODELS.contains(&entry.as_str()));
    admits_none || (!models.is_empty() && !admits_all)
}

/// Whether one entry admits a model name; `bedrock/` in front of an entry is read over for ids that no configured name
/// covers.
fn admits_model(entry: &str, model: &str, names: ModelNames<'_>) -> bool {
    let of_group = names.access_groups.get(entry);
    wildcard_matches(entry, model)
        || entry.strip_prefix("bedrock/").is_some_and(|id| id != "*" && wildcard_matches(id, model))
        || of_group.is_some_and(|names| names.iter().any(|name| wildcard_matches(name, model)))
}

/// Refuses an operation that the caller's key may not call. By default a key may call inference, retrieval
/// and reading operations; those that change AWS resources need the master key, or an entry of the key's
/// `allowed_routes` that names the path; and those that nobody has looked at one that is the path.
///
/// # Errors
/// `AccessDeniedException` that names the operation.
pub fn require_operation(
    caller: &Caller,
    operation: &Operation,
    full_path: &str,
) -> Result<(), GatewayError> {
    let Some(key) = caller.key() else { return Ok(()) };
    let is_write = operation.access == Access::Write;
    let admits = |entry: &String| {
        if operation.is_unknown() { entry == full_path } else { admits_route(entry, full_path, is_write) }
    };
    let allowed =
        if key.allowed_routes.is_empty() { !is_write } else { key.allowed_routes.iter().any(admits) };
    if allowed {
        return Ok(());
    }
    let reason = if operation.is_unknown() {
        "bedgate does not know what it does, which needs the master key or an `allowed_routes` entry that is the path itself"
    } else if is_write {
        "it changes AWS resources, which needs the master key or an `allowed_routes` entry that names the path"
    } else {
        "its `allowed_routes` do not include the path"
    };
    Err(GatewayError::AccessDenied(format!(
        "this key may not call {} ({}): {reason}",
        operation.name,
        mask_keys(full_path)
    )))
}

/// Whether one entry of `allowed_routes` admits a path. `/bedrock/*` and the route groups stand for what any
/// key may do; to name an operation that changes AWS resources, an entry must go further than that.
fn admits_route(entry: &str, path: &str, is_write: bool) -> bool {
    if ROUTE_GROUPS.contains(&entry) {
        return !is_write;
    }
    match entry.strip_suffix('*') {
        None => entry == path,
        Some(prefix) => {
            let names_more_than_the_service = prefix.trim_matches('/').contains('/');
            path.starts_with(prefix) && (!is_write || names_more_than_the_service)
        }
    }
}

/// Whether `pattern`, in which `*` stands for any run of characters, matches all of `text`.
#[must_use]
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = rest.get(at + middle.len()..).unwrap_or_default();
        }
    }
    match last {
        None => rest.is_empty(),
        Some(end) => rest.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn model_lists_admit_what_litellm_admits() {
        let config = Config {
            routing: crate::config::RoutingConfig {
                model_group_alias: HashMap::from([("nick".into(), "my-claude".into())]),
                ..Default::default()
            },
            access_groups: HashMap::from([("beta".into(), texts(&["my-claude", "wild/*"]))]),
            ..Config::default()
        };
        let cases: [(&[&str], &str, bool); 22] = [
            (&[], "anything", true),
            (&["*"], "anything", true),
            (&["all-proxy-models"], "anything", true),
            (&["all-team-models"], "anything", true),
            (&["no-default-models"], "anything", false),
            (&["no-default-models", "all-team-models"], "anything", false),
            (&["my-claude"], "my-claude", true),
            (&["my-claude"], "my-claude-2", false),
            (&["my-claude"], "nick", true),
            (&["nick"], "nick", true),
            (&["nick"], "my-claude", false),
            (&["beta"], "my-claude", true),
            (&["beta"], "nick", true),
            (&["beta"], "wild/one", true),
            (&["beta"], "other", false),
            (&["gamma"], "my-claude", false),
            (&["bedrock/*"], "my-claude", false),
            (&["anthropic.*"], "anthropic.claude-3-haiku-20240307-v1:0", true),
            (&["anthropic.*"], "us.anthropic.claude-3-haiku-20240307-v1:0", false),
            (&["*.claude-*-v1:0"], "anthropic.claude-3-haiku-20240307-v1:0", true),
            (&["bedrock/cohere.command-r-v1:0"], "cohere.command-r-v1:0", true),
            (&["bedrock/cohere.*"], "cohere.command-r-v1:0", true),
        ];
        for (models, model, expected) in cases {
            let models = texts(models);
            assert_eq!(may_use_any(&models, model, ModelNames::of(&config)), expected, "{models:?} {model}");
        }
    }

    #[test]
    fn an_operation_that_nobody_knows_needs_an_entry_that_is_its_path() {
        let line = crate::operation::RequestLine { method: "POST", path: "/new/thing", ..Default::default() };
        let call = crate::operation::resolve_at(crate::domain::Service::BedrockAgent, &line).unwrap();
        for (entry, expected) in [
            ("/bedrock-agent/new/thing", true),
            ("/bedrock-agent/new/*", false),
            ("/bedrock-agent/*", false),
            ("*", false),
            ("llm_api_routes", false),
        ] {
            let key = crate::store::KeyRecord { allowed_routes: texts(&[entry]), ..Default::default() };
            let caller = Caller::Key(std::sync::Arc::new(key));
            let answer = require_operation(&caller, call.operation, "/bedrock-agent/new/thing");
            assert_eq!(answer.is_ok(), expected, "{entry}");
        }
    }

    #[test]
    fn routes_that_change_aws_resources_must_be_named() {
        let cases = [
            ("/bedrock/*", "/bedrock/guardrails", true, false),
            ("/bedrock/*", "/bedrock/model/x/converse", false, true),
            ("/bedrock/guardrails", "/bedrock/guardrails", true, true),
            ("/bedrock/guardrails*", "/bedrock/guardrails/g1", true, true),
            ("llm_api_routes", "/bedrock/model/x/converse", false, true),
            ("llm_api_routes", "/bedrock/guardrails", true, false),
            ("/key/info", "/bedrock/model/x/converse", false, false),
            ("*", "/bedrock/guardrails", true, false),
        ];
        for (entry, path, is_write, expected) in cases {
            assert_eq!(admits_route(entry, path, is_write), expected, "{entry} {path}");
        }
    }

    #[test]
    fn wildcards_are_anchored_at_both_ends() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(wildcard_matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
