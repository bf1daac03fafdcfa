//! Spend per tag: from single events, because a request has any number of tags, in any words.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl as _;

use super::id_range;
use super::logs::SpendSum;
use crate::domain::{NanoUsd, UnixMicros};
use crate::store::columns::StoredEventId;
use crate::store::error::StoreError;
use crate::store::{Backend, Store, on_reader};

/// One row for each event and tag. A tag that is named twice counts once.
const TAGGED_IN_POSTGRES: &str = "bedgate.spend_events
    CROSS JOIN LATERAL (SELECT DISTINCT jsonb_array_elements_text(tags::jsonb)) AS tagged (tag)";
const TAGGED_IN_SQLITE: &str = "(SELECT DISTINCT spend_events.*, each.value AS tag
    FROM bedgate.spend_events, json_each(spend_events.tags) AS each)";

#[derive(QueryableByName)]
struct TagRow {
    #[diesel(sql_type = Text)]
    tag: String,
    #[diesel(sql_type = BigInt)]
    requests: i64,
    #[diesel(sql_type = BigInt)]
    tokens: i64,
    #[diesel(sql_type = BigInt)]
    cost: i64,
}

impl Store {
    /// An event id as it stands in the text of a query.
    pub(super) fn literal(&self, id: StoredEventId) -> String {
        match self.backend {
            Backend::Postgres(_) => format!("'{}'::uuid", id.0),
            Backend::Sqlite(_) => format!("x'{}'", id.0.0.simple()),
        }
    }

    /// The tags that spent most, at most so many, of requests that began in this time. The longer it is, the more events are read.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn spend_by_tag(
        &self,
        from: Option<UnixMicros>,
        until: Option<UnixMicros>,
        limit: u32,
    ) -> Result<Vec<(String, SpendSum)>, StoreError> {
        let tagged = match self.backend {
            Backend::Postgres(_) => TAGGED_IN_POSTGRES,
            Backend::Sqlite(_) => TAGGED_IN_SQLITE,
        };
        let id = |id: StoredEventId| self.literal(id);
        let moments = (from.unwrap_or(UnixMicros(i64::MIN)), until.unwrap_or(UnixMicros(i64::MAX)));
        let (first_id, end_of_ids) = (id(id_range::from(moments.0)), id(id_range::until(moments.1)));
        let (from, until) = (moments.0.0, moments.1.0);
        // Nothing but numbers and ids made from them is put into the text.
        let query = format!(
            "SELECT tag, count(*) AS requests,
                CAST(coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)
                    + coalesce(cache_read_tokens, 0) + coalesce(cache_write_5m_tokens, 0)
                    + coalesce(cache_write_1h_tokens, 0)), 0) AS BIGINT) AS tokens,
                CAST(coalesce(sum(cost_nano), 0) AS BIGINT) AS cost
            FROM {tagged}
            WHERE tags <> '[]' AND id >= {first_id} AND id < {end_of_ids}
                AND started_at >= {from} AND started_at < {until}
            GROUP BY tag ORDER BY cost DESC, tag LIMIT {limit}"
        );
        on_reader!(self, |conn| {
            let rows: Vec<TagRow> = sql_query(query).load(conn).await?;
            let sum = |TagRow { tag, requests, tokens, cost }| {
                (tag, SpendSum { requests, tokens, cost: NanoUsd(cost) })
            };
            Ok(rows.into_iter().map(sum).collect())
        })
    }
}
