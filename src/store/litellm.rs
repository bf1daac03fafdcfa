//! Another database than bedgate's own: the tables of a LiteLLM proxy, read row by row.

use diesel::sql_types::{Bool, Text};
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::error::StoreError;
use super::{Backend, Store};

/// Rows read at a time.
const PAGE: i64 = 1_000;

/// A table of the LiteLLM proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LitellmTable {
    /// Named budgets.
    Budgets,
    /// Teams.
    Teams,
    /// End users.
    Customers,
    /// Virtual keys.
    Keys,
    /// People, whom keys name.
    Users,
    /// Organizations of teams and keys.
    Organizations,
    /// Projects of keys.
    Projects,
    /// Users in teams.
    Members,
    /// Tags with budgets.
    Tags,
    /// Guardrails that were made in LiteLLM's pages.
    Guardrails,
}

impl LitellmTable {
    /// Its name, and its primary key as an expression (LiteLLM's `schema.prisma`).
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Budgets => ("LiteLLM_BudgetTable", "budget_id"),
            Self::Teams => ("LiteLLM_TeamTable", "team_id"),
            Self::Customers => ("LiteLLM_EndUserTable", "user_id"),
            Self::Keys => ("LiteLLM_VerificationToken", "token"),
            Self::Users => ("LiteLLM_UserTable", "user_id"),
            Self::Organizations => ("LiteLLM_OrganizationTable", "organization_id"),
            Self::Projects => ("LiteLLM_ProjectTable", "project_id"),
            Self::Members => ("LiteLLM_TeamMembership", r"(team_id || E'\n' || user_id)"),
            Self::Tags => ("LiteLLM_TagTable", "tag_name"),
            Self::Guardrails => ("LiteLLM_GuardrailsTable", "guardrail_id"),
        }
    }

    /// Whether some releases of LiteLLM do not have it.
    fn may_be_missing(self) -> bool {
        !matches!(self, Self::Budgets | Self::Teams | Self::Customers | Self::Keys)
    }
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    row: String,
}

#[derive(diesel::QueryableByName)]
struct Presence {
    #[diesel(sql_type = Bool)]
    is_there: bool,
}

impl Store {
    /// Rows of a LiteLLM table in the order of their ids, as JSON objects: its columns differ from release to
    /// release. Asked again with the id of the last one, it goes on; empty at the end.
    ///
    /// # Errors
    ///
    /// Those of the database; a table that every release has and that is not there.
    pub async fn litellm_rows(
        &self,
        table: LitellmTable,
        after: Option<String>,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let Backend::Postgres(pools) = &self.backend else {
            return Err(StoreError::Refused("LiteLLM keeps its tables in Postgres".to_owned()));
        };
        let may_be_missing = table.may_be_missing() && after.is_none();
        let (table, key) = table.names();
        let mut conn = pools.pool.get().await?;
        if may_be_missing {
            let query = diesel::sql_query("SELECT to_regclass($1) IS NOT NULL AS is_there");
            let presence: Presence =
                query.bind::<Text, _>(format!("\"{table}\"")).get_result(&mut conn).await?;
            if !presence.is_there {
                return Ok(Vec::new());
            }
        }
        let query = format!(
            r#"SELECT {key} AS id, row_to_json(t)::text AS row FROM "{table}" t WHERE {key} > $1 ORDER BY {key} LIMIT {PAGE}"#
        );
        let query = diesel::sql_query(query).bind::<Text, _>(after.unwrap_or_default());
        let rows: Vec<Row> = query.load(&mut conn).await?;
        let parsed = rows.into_iter().map(|Row { id, row }| match serde_json::from_str(&row) {
            Ok(row) => Ok((id, row)),
            Err(error) => Err(StoreError::Refused(format!("a row of {table} cannot be read: {error}"))),
        });
        parsed.collect()
    }
}
