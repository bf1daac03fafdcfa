//! The connection by which events go into Postgres: `COPY`, which costs the server half of what `INSERT` does.

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::{Address, WAIT_FOR_CREATION, connection_error};
use crate::domain::EventId;
use crate::store::WAIT_FOR_ANSWER;
use crate::store::error::StoreError;
use crate::store::spend::{COLUMNS, CopyBatch, RollupKey, RollupTotals, statement_that_raises};

/// Bytes handed over at once.
const CHUNK: usize = 128 << 10;

const ARE_THERE: &str = "SELECT id::text FROM bedgate.spend_events WHERE id = ANY($1::text[]::uuid[])";

/// Sums go up in one order, after all events of the batch are in. So does every writer, and none ever holds a row that
/// another one waits for while waiting for that one's.
const RAISED_BY: &str =
    "SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ORDER BY 1, 2, 3";

/// What became of a batch.
#[derive(Debug)]
pub(in crate::store) enum Copied {
    /// All of it is in the database, and in the sums.
    All,
    /// Nothing was written: these were there before.
    SomeWereThere(Vec<EventId>),
}

/// One connection, made when it is needed and kept: one batch at a time.
pub(in crate::store) struct CopyLine {
    address: Address,
    open: Mutex<Option<Line>>,
}

impl CopyLine {
    pub(super) fn new(address: Address) -> Self {
        Self { address, open: Mutex::new(None) }
    }

    /// Writes a batch and raises the sums, in one transaction.
    ///
    /// `COPY` knows no `ON CONFLICT`, and needs none: events are new but for the few that a process which died, or a
    /// try whose answer was lost, had shipped already. Those are found by the violation of the primary key.
    pub(in crate::store) async fn copy(&self, batch: &CopyBatch) -> Result<Copied, StoreError> {
        tokio::time::timeout(WAIT_FOR_ANSWER, self.try_copy(batch))
            .await
            .unwrap_or(Err(StoreError::TimedOut("writing spend")))
    }

    async fn try_copy(&self, batch: &CopyBatch) -> Result<Copied, StoreError> {
        let mut place = self.open.lock().await;
        // Taken out: a connection of which nobody knows what it is doing is not put back.
        let line = match place.take().filter(|line| !line.client.is_closed()) {
            Some(line) => line,
            None => Line::open(&self.address).await?,
        };
        let result = line.copy_new(batch).await.map_err(StoreError::from);
        // After a failover a server may answer that takes no writes: another connection finds the one that does.
        let is_of_use = !matches!(result, Err(StoreError::ReadOnly(_)));
        if result.is_ok() || is_of_use && line.client.batch_execute("ROLLBACK").await.is_ok() {
            *place = Some(line);
        }
        result
    }
}

struct Line {
    client: Client,
    copy: Statement,
    _connection: Connection,
}

/// The task that moves a connection's bytes; ends it, whatever the server does, when it is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    async fn open(address: &Address) -> Result<Self, StoreError> {
        let connecting = address.config.connect(address.connector.clone());
        let connected = tokio::time::timeout(WAIT_FOR_CREATION, connecting).await;
        let (client, connection) =
            connected.map_err(|_late| StoreError::TimedOut("connecting"))?.map_err(connection_error)?;
        let moving = async move {
            if let Err(error) = connection.await {
                log::debug!("the connection for events broke: {error}");
            }
        };
        let connection = Connection(tokio::spawn(moving));
        let copy = format!("COPY bedgate.spend_events ({COLUMNS}) FROM STDIN (FORMAT binary)");
        let copy = client.prepare(&copy).await?;
        Ok(Self { client, copy, _connection: connection })
    }

    async fn copy_new(&self, batch: &CopyBatch) -> Result<Copied, tokio_postgres::Error> {
        // What was shipped before is mostly the front of a batch: this finds it without an error in the server's log.
        if !self.there(batch.ids.get(..1).unwrap_or_default()).await?.is_empty() {
            return Ok(Copied::SomeWereThere(self.there(&batch.ids).await?));
        }
        self.client.batch_execute("BEGIN").await?;
        match self.send(&batch.rows).await {
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                self.client.batch_execute("ROLLBACK").await?;
                return Ok(Copied::SomeWereThere(self.there(&batch.ids).await?));
            }
            sent => sent?,
        }
        self.raise(&batch.sums).await?;
        self.client.batch_execute("COMMIT").await?;
        Ok(Copied::All)
    }

    async fn send(&self, rows: &Bytes) -> Result<(), tokio_postgres::Error> {
        let sink = self.client.copy_in::<_, Bytes>(&self.copy).await?;
        let mut sink = std::pin::pin!(sink);
        let mut rest = rows.clone();
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(CHUNK));
            if sink.feed(chunk).await.is_err() {
                // The server has said why; `finish` tells.
                break;
            }
        }
        sink.finish().await.map(drop)
    }

    async fn there(&self, ids: &[EventId]) -> Result<Vec<EventId>, tokio_postgres::Error> {
        let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
        let rows = self.client.query_typed(ARE_THERE, &[(&ids, Type::TEXT_ARRAY)]).await?;
        let id = |row: &tokio_postgres::Row| row.try_get::<_, &str>(0).ok()?.parse().ok().map(EventId);
        Ok(rows.iter().filter_map(id).collect())
    }

    async fn raise(&self, sums: &[(RollupKey, RollupTotals)]) -> Result<(), tokio_postgres::Error> {
        let column = |of: fn(&RollupTotals) -> i64| sums.iter().map(|(_, sum)| of(sum)).collect::<Vec<i64>>();
        let scopes: Vec<&str> = sums.iter().map(|((scope, ..), _)| *scope).collect();
        let names: Vec<&str> = sums.iter().map(|((_, name, _), _)| name.as_str()).collect();
        let days: Vec<i32> = sums.iter().map(|((.., day), _)| *day).collect();
        let amounts = [
            column(|sum| sum.requests),
            column(|sum| sum.incomplete_requests),
            column(|sum| sum.uncosted_requests),
            column(|sum| sum.input_tokens),
            column(|sum| sum.output_tokens),
            column(|sum| sum.cache_read_tokens),
            column(|sum| sum.cache_write_tokens),
            column(|sum| sum.cost_nano),
            column(|sum| sum.uncosted_nano),
        ];
        let mut values: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&scopes, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY), (&days, Type::INT4_ARRAY)];
        values.extend(amounts.iter().map(|amounts| (amounts as &(dyn ToSql + Sync), Type::INT8_ARRAY)));
        self.client
            .execute_typed(&statement_that_raises("bedgate.spend_rollups", RAISED_BY), &values)
            .await
            .map(drop)
    }
}
