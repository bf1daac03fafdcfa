//! What LiteLLM heeds of a row and bedgate does not: told before anything is imported, and never lost in silence where it
//! limits somebody.

use serde_json::{Map, Value};

use super::rows::{says_something, unwrapped};
use crate::store::litellm::LitellmTable;

/// Something of a row that bedgate does not heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loss {
    /// Whether somebody may do more without it.
    pub(super) is_limit: bool,
    /// What it is.
    pub(super) what: &'static str,
}

const fn limit(what: &'static str) -> Loss {
    Loss { is_limit: true, what }
}

const fn other(what: &'static str) -> Loss {
    Loss { is_limit: false, what }
}

pub(super) const OF_USER: Loss = limit("limits of the user: bedgate has none of users; limit the key");
pub(super) const OF_ORGANIZATION: Loss =
    limit("limits of the organization: bedgate has none of organizations; limit keys and teams");
pub(super) const OF_PROJECT: Loss =
    limit("limits of the project: bedgate has none of projects; limit the key");
pub(super) const OF_MEMBER: Loss =
    limit("limits of the user in the team: bedgate has none of team members; limit the key");
pub(super) const OF_TAG: Loss = limit("limits of tags: bedgate has none; limit keys, teams or customers");
pub(super) const ALWAYS_ON: Loss =
    limit("guardrails that are always on: no guardrail of LiteLLM's runs in bedgate");
pub(super) const OF_MODELS: Loss = limit(
    "limits for single models: bedgate has those of keys alone; limit the keys of the team or customer",
);

pub(super) const OF_DEFAULT_BUDGET: Loss = limit(
    "limits for single models in max_end_user_budget_id, which holds for customers without a budget: bedgate has those of keys alone",
);

/// Columns that bedgate does not heed where they say something.
const COLUMNS: [(&str, Loss); 14] = [
    ("aliases", limit("aliases, which send a model's name to another model")),
    ("permissions", limit("permissions")),
    ("object_permission_id", limit("object_permission (vector stores, agents, MCP servers)")),
    ("policies", limit("policies of guardrails")),
    ("access_group_ids", limit("access_group_ids: name the groups' models in `models`")),
    (
        "budget_limits",
        limit("budget_limits: bedgate has one budget for each key, max_budget with budget_duration"),
    ),
    ("allowed_models", limit("allowed_models")),
    ("allowed_model_region", limit("allowed_model_region")),
    ("model_id", limit("model_aliases, which send a model's name to another model")),
    ("config", other("config")),
    ("router_settings", other("router_settings")),
    ("budget_fallbacks", other("budget_fallbacks: a request beyond the budget is refused")),
    ("default_model", other("default_model")),
    ("auto_rotate", other("auto_rotate: use /key/regenerate")),
];

/// Members of `metadata` that bedgate does not heed where they say something.
const METADATA: [(&str, Loss); 9] = [
    ("guardrails", limit("guardrails")),
    ("policies", limit("policies of guardrails")),
    ("enforced_params", limit("enforced_params")),
    ("tag_rpm_limit", limit("tag_rpm_limit")),
    ("mcp_rpm_limit", limit("mcp_rpm_limit")),
    ("allowed_passthrough_routes", limit("allowed_passthrough_routes: use allowed_routes")),
    (
        "team_member_budget_id",
        limit("team_member_budget: bedgate has no budgets of team members; limit the keys"),
    ),
    ("prompts", other("prompts")),
    ("logging", other("logging to callbacks")),
];

/// What a row itself says that bedgate does not heed.
pub(super) fn of_row(table: LitellmTable, row: &Value) -> Vec<Loss> {
    let of_columns = COLUMNS.iter().filter(|(name, _)| says(row, name));
    let metadata = row.get("metadata").unwrap_or(&Value::Null);
    let of_metadata = METADATA.iter().filter(|(name, _)| says(metadata, name));
    let mut losses: Vec<Loss> = of_columns.chain(of_metadata).map(|(_, loss)| *loss).collect();
    let is_of_single_models = limits_single_models(row)
        || ["model_rpm_limit", "model_tpm_limit"].iter().any(|name| says(metadata, name));
    if is_of_single_models && matches!(table, LitellmTable::Teams | LitellmTable::Customers) {
        losses.push(OF_MODELS);
    }
    losses
}

/// Whether a budget has limits for single models.
pub(super) fn limits_single_models(budget: &Value) -> bool {
    says(budget, "model_max_budget")
}

/// Takes out of `metadata` what would look as if it held.
pub(super) fn take_from_metadata(metadata: &mut Map<String, Value>) {
    metadata.retain(|name, _| !METADATA.iter().any(|(lost, _)| lost == name));
}

/// Whether a row of a user, an organization, a project, a member or a budget limits anything by itself.
pub(super) fn limits_something(row: &Value) -> bool {
    let names =
        ["max_budget", "tpm_limit", "rpm_limit", "max_parallel_requests", "model_max_budget", "blocked"];
    let in_metadata = ["model_rpm_limit", "model_tpm_limit"];
    let metadata = row.get("metadata").unwrap_or(&Value::Null);
    names.iter().any(|name| says(row, name))
        || in_metadata.iter().any(|name| says(metadata, name))
        || names_models(row, "models")
        || names_models(row, "allowed_models")
}

/// Whether a list of models leaves some out.
fn names_models(row: &Value, column: &str) -> bool {
    let models = row.get(column).and_then(Value::as_array);
    let is_everything = |model: &Value| matches!(model.as_str(), Some("all-proxy-models" | "*"));
    models.is_some_and(|models| !models.is_empty() && !models.iter().any(is_everything))
}

fn says(row: &Value, name: &str) -> bool {
    row.get(name).is_some_and(|value| says_something(&unwrapped(value.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_bedgate_does_not_heed_is_told_and_what_says_nothing_is_not() {
        let what = |table, row: Value| -> Vec<&str> {
            of_row(table, &row)
                .iter()
                .map(|loss| loss.what.split([',', ':', ' ']).next().unwrap_or_default())
                .collect()
        };
        let cases = [
            (json!({"aliases": {}, "permissions": {}, "policies": [], "metadata": {}}), vec![]),
            (json!({"aliases": "{}", "object_permission_id": "", "auto_rotate": false}), vec![]),
            (
                json!({"aliases": {"big": "small"}, "permissions": {"x": true}}),
                vec!["aliases", "permissions"],
            ),
            (
                json!({"metadata": {"guardrails": ["pii"], "enforced_params": ["user"]}}),
                vec!["guardrails", "enforced_params"],
            ),
            (json!({"metadata": {"guardrails": [], "cost_center": 7}}), vec![]),
            (json!({"budget_limits": "[{\"max_budget\": 1}]"}), vec!["budget_limits"]),
            (json!({"model_max_budget": {"m": {"budget_limit": 1}}}), vec![]),
        ];
        for (row, expected) in cases {
            assert_eq!(what(LitellmTable::Keys, row.clone()), expected, "{row}");
        }
        let of_team = json!({"metadata": {"model_rpm_limit": {"m": 1}}});
        assert_eq!(what(LitellmTable::Teams, of_team), ["limits"]);
    }

    #[test]
    fn a_row_limits_by_budgets_rates_and_models() {
        for (row, expected) in [
            (json!({"max_budget": null, "models": [], "spend": 7, "model_max_budget": {}}), false),
            (json!({"models": ["all-proxy-models"]}), false),
            (json!({"models": ["no-default-models"]}), true),
            (json!({"max_budget": 0}), true),
            (json!({"rpm_limit": 1}), true),
            (json!({"model_max_budget": {"m": {"budget_limit": "1"}}}), true),
            (json!({"blocked": true}), true),
        ] {
            assert_eq!(limits_something(&row), expected, "{row}");
        }
    }
}
