//! Another database than bedgate's own: the tables of a LiteLLM proxy, read row by row.

use diesel::sql_types::Text;
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
}

impl LitellmTable {
    /// Its name, and that of its primary key (LiteLLM's `schema.prisma`).
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Budgets => ("LiteLLM_BudgetTable", "budget_id"),
            Self::Teams => ("LiteLLM_TeamTable", "team_id"),
            Self::Customers => ("LiteLLM_EndUserTable", "user_id"),
            Self::Keys => ("LiteLLM_VerificationToken", "token"),
        }
    }
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    row: String,
}

impl Store {
    /// Rows of a LiteLLM table in the order of their ids, as JSON objects: its columns differ from release to
    /// release. Asked again with the id of the last one, it goes on; empty at the end.
    ///
    /// # Errors
    ///
    /// Those of the database; a table that is not there.
    pub async fn litellm_rows(
        &self,
        table: LitellmTable,
        after: Option<String>,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        let Backend::Postgres(pools) = &self.backend else {
            return Err(StoreError::Refused("LiteLLM keeps its tables in Postgres".to_owned()));
        };
        let (table, key) = table.names();
        let query = format!(
            r#"SELECT "{key}" AS id, row_to_json(t)::text AS row FROM "{table}" t WHERE "{key}" > $1 ORDER BY "{key}" LIMIT {PAGE}"#
        );
        let mut conn = pools.pool.get().await?;
        let query = diesel::sql_query(query).bind::<Text, _>(after.unwrap_or_default());
        let rows: Vec<Row> = query.load(&mut conn).await?;
        let parsed = rows.into_iter().map(|Row { id, row }| match serde_json::from_str(&row) {
            Ok(row) => Ok((id, row)),
            Err(error) => Err(StoreError::Refused(format!("a row of {table} cannot be read: {error}"))),
        });
        parsed.collect()
    }
}
