//! Events into SQLite: one transaction a batch, on a thread that may block.

use std::sync::Arc;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel::sqlite::Sqlite;
use diesel::upsert::excluded;
use diesel_async::pooled_connection::deadpool::Pool;

use super::in_order;
use super::new_row::{COLUMNS, ColumnWriter, NewRow, RowText};
use super::rollup::{Counted, RollupKey, RollupTotals, rollups_of};
use crate::event::SpendEvent;
use crate::store::columns::{EventIdSql, StoredEventId};
use crate::store::error::StoreError;
use crate::store::schema::spend_rollups;
use crate::store::sqlite::AsyncSqlite;

/// Writes events and says how many were new.
pub(super) async fn insert(
    writer: Pool<AsyncSqlite>,
    events: Arc<Vec<SpendEvent>>,
) -> Result<usize, StoreError> {
    let mut conn = writer.get().await?;
    // One hop to the blocking thread for the batch, not one for each row.
    let inserted = conn.spawn_blocking(move |conn| {
        let rows = in_order(&events);
        conn.immediate_transaction(|conn| {
            let mut new = Vec::with_capacity(rows.len());
            for row in rows {
                if InsertRow(&row).execute(conn)? == 1 {
                    new.push(row);
                }
            }
            for (key, totals) in rollups_of(new.iter().map(Counted::from)) {
                raise(conn, key, totals)?;
            }
            Ok(new.len())
        })
    });
    Ok(inserted.await?)
}

/// One row, if it is not there. Always the same statement: diesel's own would be another one, and be written anew, for
/// each set of columns that have a value.
struct InsertRow<'r>(&'r NewRow<'r>);

impl QueryId for InsertRow<'_> {
    type QueryId = InsertRow<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for InsertRow<'_> {}

impl QueryFragment<Sqlite> for InsertRow<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        pass.push_sql("INSERT INTO bedgate.spend_events (");
        pass.push_sql(COLUMNS);
        pass.push_sql(") VALUES (");
        self.0.write(&mut Values { pass: pass.reborrow(), is_first: true })?;
        pass.push_sql(") ON CONFLICT (id) DO NOTHING");
        Ok(())
    }
}

/// The values of a row as parameters of the statement.
struct Values<'a, 'b> {
    pass: AstPass<'a, 'b, Sqlite>,
    is_first: bool,
}

impl<'b> Values<'_, 'b> {
    fn value<T, V>(&mut self, value: &'b V) -> QueryResult<()>
    where
        Sqlite: diesel::sql_types::HasSqlType<T>,
        V: diesel::serialize::ToSql<T, Sqlite>,
    {
        if !std::mem::take(&mut self.is_first) {
            self.pass.push_sql(", ");
        }
        self.pass.push_bind_param(value)
    }
}

impl<'b> ColumnWriter<'b> for Values<'_, 'b> {
    type Error = diesel::result::Error;

    fn id(&mut self, value: &'b StoredEventId) -> QueryResult<()> {
        self.value::<EventIdSql, _>(value)
    }

    fn text(&mut self, value: &'b RowText<'b>) -> QueryResult<()> {
        self.value::<Text, _>(value)
    }

    fn optional_text(&mut self, value: &'b Option<RowText<'b>>) -> QueryResult<()> {
        self.value::<Nullable<Text>, _>(value)
    }

    fn number(&mut self, value: &'b i64) -> QueryResult<()> {
        self.value::<BigInt, _>(value)
    }

    fn optional_number(&mut self, value: &'b Option<i64>) -> QueryResult<()> {
        self.value::<Nullable<BigInt>, _>(value)
    }

    fn small_number(&mut self, value: &'b i32) -> QueryResult<()> {
        self.value::<Integer, _>(value)
    }

    fn optional_flag(&mut self, value: &'b Option<bool>) -> QueryResult<()> {
        self.value::<Nullable<Bool>, _>(value)
    }
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
