//! Who made the responses that AWS keeps.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::error::StoreError;
use super::schema::response_owners;
use super::{Store, on_reader, on_writer};
use crate::domain::UnixMicros;

/// A response and who made it: a row of `response_owners`.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = response_owners)]
pub struct ResponseOwner {
    /// AWS's id of the response.
    pub response_id: String,
    /// A payer's name.
    pub payer: String,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_at: i64,
}

impl Store {
    /// Keeps who made these responses, and forgets those made before a moment. What is kept already stays as it is.
    ///
    /// # Errors
    ///
    /// Those of the database; then nothing was changed.
    pub async fn keep_response_owners(
        &self,
        owners: Vec<ResponseOwner>,
        forget_before: UnixMicros,
    ) -> Result<(), StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                for owner in &owners {
                    let row = diesel::insert_into(response_owners::table).values(owner);
                    row.on_conflict_do_nothing().execute(conn).await?;
                }
                let old = response_owners::table.filter(response_owners::created_at.lt(forget_before.0));
                diesel::delete(old).execute(conn).await?;
                Ok(())
            })
            .await
        })
    }

    /// The payer who made a response, if it is known.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn response_owner(&self, response_id: String) -> Result<Option<String>, StoreError> {
        on_reader!(self, |conn| {
            let found = response_owners::table.find(&response_id).select(response_owners::payer);
            Ok(found.first::<String>(conn).await.optional()?)
        })
    }
}
