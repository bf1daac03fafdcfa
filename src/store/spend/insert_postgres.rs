//! Events into Postgres: one statement a batch, a column an array, the sums raised by the same statement.

use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::row::SpendRow;
use crate::store::WAIT_FOR_ANSWER;
use crate::store::columns::EventIdSql;
use crate::store::error::StoreError;
use crate::store::postgres::let_go;

/// Columns travel as arrays: 34 parameters whatever the number of rows (Postgres takes 65,535).
///
/// The sums go up by what was new only, in one order, after all events of the batch are in. So does every writer,
/// and none ever holds a row that another one waits for while waiting for that one's.
const INSERT: &str = "
WITH batch AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::text[], $16::bigint[], $17::text[], $18::integer[], $19::text[], $20::bigint[],
        $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::text[],
        $27::text[], $28::boolean[], $29::text[], $30::text[], $31::bigint[], $32::bigint[],
        $33::bigint[], $34::text[]
    ) AS batch (
        id, started_at, payer, team_id, user_id, end_user, tags, session_id, call_id, service,
        operation, requested_model, deployment, model_id, region, estimate_nano, outcome, status,
        attempts, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, reasoning_tokens, units, tier, latency_optimised, cost_basis, price,
        cost_nano, latency_us, time_to_first_byte_us, aws_request_id
    )
), fresh AS (
    INSERT INTO bedgate.spend_events (
        id, started_at, payer, team_id, user_id, end_user, tags, session_id, call_id, service,
        operation, requested_model, deployment, model_id, region, estimate_nano, outcome, status,
        attempts, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, reasoning_tokens, units, tier, latency_optimised, cost_basis, price,
        cost_nano, latency_us, time_to_first_byte_us, aws_request_id
    )
    SELECT * FROM batch ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), sums AS (
    SELECT counted.scope, counted.name, floor(started_at / 86400000000.0)::integer AS day,
        count(*) AS requests,
        count(*) FILTER (WHERE outcome <> 'complete') AS incomplete_requests,
        count(*) FILTER (WHERE cost_nano IS NULL) AS uncosted_requests,
        coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
        coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
        coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
        coalesce(sum(coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)), 0)::bigint
            AS cache_write_tokens,
        coalesce(sum(cost_nano), 0)::bigint AS cost_nano
    FROM fresh
    CROSS JOIN LATERAL (VALUES
        ('key', payer), ('team', team_id), ('user', user_id), ('end_user', end_user),
        ('model', coalesce(model_id, '')), ('key_model', payer || ':' || requested_model)
    ) AS counted (scope, name)
    WHERE counted.name IS NOT NULL
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
), raised AS (
    INSERT INTO bedgate.spend_rollups AS kept (
        scope, name, day, requests, incomplete_requests, uncosted_requests,
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano
    )
    SELECT * FROM sums
    ON CONFLICT (scope, name, day) DO UPDATE SET
        requests = kept.requests + excluded.requests,
        incomplete_requests = kept.incomplete_requests + excluded.incomplete_requests,
        uncosted_requests = kept.uncosted_requests + excluded.uncosted_requests,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens,
        cache_read_tokens = kept.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = kept.cache_write_tokens + excluded.cache_write_tokens,
        cost_nano = kept.cost_nano + excluded.cost_nano
)
SELECT count(*) AS inserted FROM fresh";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    inserted: i64,
}

/// Writes rows that are sorted by id and says how many were new.
pub(super) async fn insert(pool: Pool<AsyncPgConnection>, rows: Vec<SpendRow>) -> Result<usize, StoreError> {
    let mut conn = pool.get().await?;
    let Ok(counted) = tokio::time::timeout(WAIT_FOR_ANSWER, insert_batch(&mut conn, &rows)).await else {
        drop(Object::take(conn));
        return Err(StoreError::TimedOut("writing spend"));
    };
    let counted = counted.map_err(StoreError::from);
    if matches!(counted, Err(StoreError::ReadOnly(_))) {
        let_go(&pool, conn);
    }
    Ok(usize::try_from(counted?.inserted).unwrap_or_default())
}

async fn insert_batch(conn: &mut AsyncPgConnection, rows: &[SpendRow]) -> diesel::QueryResult<Count> {
    sql_query(INSERT)
        .bind::<Array<EventIdSql>, _>(column(rows, |row| row.id))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.started_at))
        .bind::<Array<Text>, _>(column(rows, |row| row.payer.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.team_id.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.user_id.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.end_user.clone()))
        .bind::<Array<Text>, _>(column(rows, |row| row.tags.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.session_id.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.call_id.clone()))
        .bind::<Array<Text>, _>(column(rows, |row| row.service.clone()))
        .bind::<Array<Text>, _>(column(rows, |row| row.operation.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.requested_model.clone()))
        .bind::<Array<Text>, _>(column(rows, |row| row.deployment.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.model_id.clone()))
        .bind::<Array<Text>, _>(column(rows, |row| row.region.clone()))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.estimate_nano))
        .bind::<Array<Text>, _>(column(rows, |row| row.outcome.clone()))
        .bind::<Array<Integer>, _>(column(rows, |row| row.status))
        .bind::<Array<Text>, _>(column(rows, |row| row.attempts.clone()))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.input_tokens))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.output_tokens))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.cache_read_tokens))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.cache_write_5m_tokens))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.cache_write_1h_tokens))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.reasoning_tokens))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.units.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.tier.clone()))
        .bind::<Array<Nullable<Bool>>, _>(column(rows, |row| row.latency_optimised))
        .bind::<Array<Text>, _>(column(rows, |row| row.cost_basis.clone()))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.price.clone()))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.cost_nano))
        .bind::<Array<BigInt>, _>(column(rows, |row| row.latency_us))
        .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.time_to_first_byte_us))
        .bind::<Array<Nullable<Text>>, _>(column(rows, |row| row.aws_request_id.clone()))
        .get_result(conn)
        .await
}

fn column<T>(rows: &[SpendRow], of: impl Fn(&SpendRow) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
