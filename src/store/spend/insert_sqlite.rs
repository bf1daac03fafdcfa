//! Events into SQLite: one transaction a batch, on a thread that may block.

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::pooled_connection::deadpool::Pool;

use super::rollup::{RollupKey, RollupTotals, rollups_of};
use super::row::SpendRow;
use crate::store::error::StoreError;
use crate::store::schema::{spend_events, spend_rollups};
use crate::store::sqlite::AsyncSqlite;

/// Writes rows and says how many were new.
pub(super) async fn insert(writer: Pool<AsyncSqlite>, rows: Vec<SpendRow>) -> Result<usize, StoreError> {
    let mut conn = writer.get().await?;
    // One hop to the blocking thread for the batch, not one for each row.
    let inserted = conn.spawn_blocking(move |conn| {
        conn.immediate_transaction(|conn| {
            let mut new = Vec::with_capacity(rows.len());
            for row in rows {
                let statement = diesel::insert_into(spend_events::table).values(&row);
                if statement.on_conflict_do_nothing().execute(conn)? == 1 {
                    new.push(row);
                }
            }
            for (key, totals) in rollups_of(&new) {
                raise(conn, key, totals)?;
            }
            Ok(new.len())
        })
    });
    Ok(inserted.await?)
}

fn raise(
    conn: &mut SqliteConnection,
    (scope, name, day): RollupKey,
    totals: RollupTotals,
) -> QueryResult<usize> {
    use spend_rollups::dsl;
    diesel::insert_into(spend_rollups::table)
        .values((
            (dsl::scope.eq(scope), dsl::name.eq(name), dsl::day.eq(day)),
            dsl::requests.eq(totals.requests),
            dsl::incomplete_requests.eq(totals.incomplete_requests),
            dsl::uncosted_requests.eq(totals.uncosted_requests),
            dsl::input_tokens.eq(totals.input_tokens),
            dsl::output_tokens.eq(totals.output_tokens),
            dsl::cache_read_tokens.eq(totals.cache_read_tokens),
            dsl::cache_write_tokens.eq(totals.cache_write_tokens),
            dsl::cost_nano.eq(totals.cost_nano),
            dsl::uncosted_nano.eq(totals.uncosted_nano),
        ))
        .on_conflict((dsl::scope, dsl::name, dsl::day))
        .do_update()
        .set((
            dsl::requests.eq(dsl::requests + excluded(dsl::requests)),
            dsl::incomplete_requests.eq(dsl::incomplete_requests + excluded(dsl::incomplete_requests)),
            dsl::uncosted_requests.eq(dsl::uncosted_requests + excluded(dsl::uncosted_requests)),
            dsl::input_tokens.eq(dsl::input_tokens + excluded(dsl::input_tokens)),
            dsl::output_tokens.eq(dsl::output_tokens + excluded(dsl::output_tokens)),
            dsl::cache_read_tokens.eq(dsl::cache_read_tokens + excluded(dsl::cache_read_tokens)),
            dsl::cache_write_tokens.eq(dsl::cache_write_tokens + excluded(dsl::cache_write_tokens)),
            dsl::cost_nano.eq(dsl::cost_nano + excluded(dsl::cost_nano)),
            dsl::uncosted_nano.eq(dsl::uncosted_nano + excluded(dsl::uncosted_nano)),
        ))
        .execute(conn)
}
