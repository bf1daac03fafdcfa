//! The rows of LiteLLM's that limit keys and that bedgate has no place for: users, organizations, projects, team members.

use std::collections::HashSet;

use serde_json::Value;

use super::losses::{self, Loss};
use super::rows::says_something;
use crate::store::litellm::LitellmTable;
use crate::store::{Store, StoreError};

/// Who limits something, by id.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    budgets: HashSet<String>,
    /// Of `budgets`, those with limits for single models.
    budgets_of_models: HashSet<String>,
    users: HashSet<String>,
    organizations: HashSet<String>,
    projects: HashSet<String>,
    /// Team and user, with a line's end between them.
    members: HashSet<String>,
    /// What limits nobody by name: tags, and guardrails that are always on.
    pub(super) of_everybody: Vec<(String, Loss)>,
}

impl Surroundings {
    /// `default_budget` is the budget of customers without one, by the configuration.
    pub(super) async fn read(source: &Store, default_budget: Option<&str>) -> Result<Self, StoreError> {
        let mut found = Self::default();
        found.budgets = found.limiting(source, LitellmTable::Budgets).await?;
        found.budgets_of_models = those(source, LitellmTable::Budgets, losses::limits_single_models).await?;
        found.users = found.limiting(source, LitellmTable::Users).await?;
        found.organizations = found.limiting(source, LitellmTable::Organizations).await?;
        found.projects = found.limiting(source, LitellmTable::Projects).await?;
        found.members = found.limiting(source, LitellmTable::Members).await?;
        let tags = found.limiting(source, LitellmTable::Tags).await?;
        let is_on = |row: &Value| row.pointer("/litellm_params/default_on").is_some_and(says_something);
        let guardrails = those(source, LitellmTable::Guardrails, is_on).await?;
        found.of_everybody.extend(tags.into_iter().map(|id| (id, losses::OF_TAG)));
        found.of_everybody.extend(guardrails.into_iter().map(|id| (id, losses::ALWAYS_ON)));
        let default_budget = default_budget.filter(|id| found.budgets_of_models.contains(*id));
        found.of_everybody.extend(default_budget.map(|id| (id.to_owned(), losses::OF_DEFAULT_BUDGET)));
        Ok(found)
    }

    async fn limiting(&self, source: &Store, table: LitellmTable) -> Result<HashSet<String>, StoreError> {
        those(source, table, |row| losses::limits_something(row) || self.has_limiting_budget(row)).await
    }

    fn has_limiting_budget(&self, row: &Value) -> bool {
        row.get("budget_id").and_then(Value::as_str).is_some_and(|id| self.budgets.contains(id))
    }

    /// What others say of the holder of a row.
    pub(super) fn losses_of(&self, table: LitellmTable, row: &Value) -> Vec<Loss> {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let holds = |set: &HashSet<String>, name| text(name).is_some_and(|id| set.contains(id));
        let mut losses = Vec::new();
        if holds(&self.organizations, "organization_id") {
            losses.push(losses::OF_ORGANIZATION);
        }
        // A key takes them from the budget that it names, a customer does not.
        if table == LitellmTable::Customers && holds(&self.budgets_of_models, "budget_id") {
            losses.push(losses::OF_MODELS);
        }
        if table != LitellmTable::Keys {
            return losses;
        }
        if holds(&self.users, "user_id") {
            losses.push(losses::OF_USER);
        }
        if holds(&self.projects, "project_id") {
            losses.push(losses::OF_PROJECT);
        }
        let member = text("team_id").zip(text("user_id")).map(|(team, user)| format!("{team}\n{user}"));
        if member.is_some_and(|member| self.members.contains(&member)) {
            losses.push(losses::OF_MEMBER);
        }
        losses
    }
}

/// The ids of the rows of a table that are so.
async fn those(
    source: &Store,
    table: LitellmTable,
    is_so: impl Fn(&Value) -> bool,
) -> Result<HashSet<String>, StoreError> {
    let (mut found, mut after) = (HashSet::new(), None);
    loop {
        let rows = source.litellm_rows(table, after).await?;
        let Some((last, _)) = rows.last() else { return Ok(found) };
        after = Some(last.clone());
        found.extend(rows.into_iter().filter(|(_, row)| is_so(row)).map(|(id, _)| id));
    }
}
