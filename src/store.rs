//! Where keys and spend are kept: Postgres, or a SQLite file in the data directory.

mod audit;
pub mod columns;
mod error;
pub mod holders;
pub mod keys;
pub mod limit_set;
pub mod litellm;
mod migration;
mod place;
mod postgres;
mod responses;
mod schema;
mod shipping;
pub mod spend;
mod sqlite;
mod taken;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use tokio::runtime::Handle;

pub use self::error::{StoreError, TakenName};
pub use self::holders::{HolderKind, HolderRecord, follow_holders};
pub use self::keys::{KeyFilter, KeyPatch, KeyRecord, follow_keys};
pub use self::limit_set::LimitSet;
pub use self::place::DatabasePlace;
use self::postgres::PostgresPools;
pub use self::postgres::url::DatabaseUrlError;
pub use self::responses::ResponseOwner;
use self::shipping::ShippingThread;
pub use self::spend::{InsertedSpend, SpendFilter};
use self::sqlite::SqlitePools;
use crate::config::DatabaseConfig;

/// How long one call may take; then its connection is given up and the call fails as transient.
const WAIT_FOR_ANSWER: Duration = Duration::from_secs(30);

/// Keys and spend. Clones share their connections; any thread may call it.
///
/// A call runs to its end even if its caller goes away: it is a task of the runtime on which the store was opened.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    runtime: Handle,
    shipping: ShippingThread,
}

/// The two databases. diesel has no connection that is either, so each call says what it does once and
/// [`on_reader`] and [`on_writer`] have it compiled for both.
#[derive(Clone)]
enum Backend {
    Postgres(PostgresPools),
    Sqlite(SqlitePools),
}

/// Runs the same block with `$conn` as a connection of either database. With SQLite, of the pool that is named.
macro_rules! on_connection {
    ($store:expr, $pool:ident, |$conn:ident| $body:expr) => {{
        let backend = $store.backend.clone();
        $store
            .run(async move {
                match backend {
                    $crate::store::Backend::Postgres(postgres) => {
                        let mut object = postgres.pool.get().await?;
                        let answer = tokio::time::timeout($crate::store::WAIT_FOR_ANSWER, async {
                            let $conn: &mut diesel_async::AsyncPgConnection = &mut object;
                            $body
                        });
                        match answer.await {
                            Ok(answer) => {
                                if matches!(answer, Err($crate::store::StoreError::ReadOnly(_))) {
                                    $crate::store::postgres::let_go(&postgres.pool, object);
                                }
                                answer
                            }
                            Err(_) => {
                                // Nobody knows what the connection is doing: not one to use again.
                                drop(diesel_async::pooled_connection::deadpool::Object::take(object));
                                Err($crate::store::StoreError::TimedOut("a query"))
                            }
                        }
                    }
                    $crate::store::Backend::Sqlite(pools) => {
                        let mut object = pools.$pool.get().await?;
                        let $conn: &mut $crate::store::sqlite::AsyncSqlite = &mut object;
                        $body
                    }
                }
            })
            .await
    }};
}

/// For what only reads.
macro_rules! on_reader {
    ($store:expr, |$conn:ident| $body:expr) => {
        $crate::store::on_connection!($store, readers, |$conn| $body)
    };
}

/// For what writes.
macro_rules! on_writer {
    ($store:expr, |$conn:ident| $body:expr) => {
        $crate::store::on_connection!($store, writer, |$conn| $body)
    };
}

use {on_connection, on_reader, on_writer};

impl Store {
    /// How many keys lie in the data directory's SQLite file while Postgres is used, for which they are lost.
    #[must_use]
    pub fn keys_left_behind(config: &DatabaseConfig, data_dir: &Path) -> Option<i64> {
        config.url.as_ref().and_then(|_| sqlite::keys_left_in(data_dir)).filter(|count| *count > 0)
    }

    /// Opens the database that the configuration names. Waits up to 30 seconds for a Postgres that is starting.
    /// Must be called on a tokio runtime that lives as long as the store.
    ///
    /// # Errors
    ///
    /// A URL or certificate that cannot be used, a database that does not answer, a file that cannot be opened.
    pub async fn open(config: &DatabaseConfig, data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_within(postgres::WAIT_AT_START, config, data_dir).await
    }

    /// The same for a Postgres that is not starting: waits no longer than this, and the try under way then.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub async fn open_within(
        wait: Duration,
        config: &DatabaseConfig,
        data_dir: &Path,
    ) -> Result<Self, StoreError> {
        let runtime = Handle::current();
        let backend = match &config.url {
            Some(url) => {
                let pools = PostgresPools::new(url, config.pool_size, runtime.clone())?;
                postgres::wait_until_reachable(&pools.pool, wait).await?;
                Backend::Postgres(pools)
            }
            None => Backend::Sqlite(SqlitePools::open(data_dir)?),
        };
        let shipping = ShippingThread::start().map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self { backend, runtime, shipping })
    }

    /// Runs the migrations that are pending and names them. Safe when several instances start at once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Newer`] when the database holds migrations that this release does not know.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let runtime = self.runtime.clone();
        match &self.backend {
            Backend::Postgres(PostgresPools { pool, .. }) => {
                // A connection of its own, closed afterwards: it has been in a transaction with another search_path.
                let object = pool.get().await?;
                let conn = diesel_async::pooled_connection::deadpool::Object::take(object);
                let work = move || migration::migrate_postgres(&mut AsyncConnectionWrapper::from(conn));
                finished(runtime.spawn_blocking(work).await)
            }
            Backend::Sqlite(pools) => {
                let file = pools.file.to_string_lossy().into_owned();
                finished(runtime.spawn_blocking(move || migration::migrate_sqlite(&file)).await)
            }
        }
    }

    /// Whether bedgate's tables are there.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn has_tables(&self) -> Result<bool, StoreError> {
        use diesel_async::RunQueryDsl as _;
        let sql = match self.backend {
            Backend::Postgres(_) => {
                "SELECT count(*) AS tables FROM pg_catalog.pg_tables WHERE schemaname = 'bedgate' AND tablename = 'spend_events'"
            }
            Backend::Sqlite(_) => {
                "SELECT count(*) AS tables FROM bedgate.sqlite_master WHERE type = 'table' AND name = 'spend_events'"
            }
        };
        on_reader!(self, |conn| {
            let found: TableCount = diesel::sql_query(sql).get_result(conn).await?;
            Ok(found.tables > 0)
        })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        use diesel_async::RunQueryDsl as _;
        on_reader!(self, |conn| {
            diesel::sql_query("SELECT 1").execute(conn).await?;
            Ok(())
        })
    }

    /// `postgres` or `sqlite`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.backend {
            Backend::Postgres(_) => "postgres",
            Backend::Sqlite(_) => "sqlite",
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        finished(self.runtime.spawn(work).await)
    }
}

#[derive(diesel::QueryableByName)]
struct TableCount {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    tables: i64,
}

/// Connections, not secrets.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.kind())
    }
}

/// The answer of a task; one that panicked or was stopped with its runtime is a failure.
fn finished<T>(joined: Result<Result<T, StoreError>, tokio::task::JoinError>) -> Result<T, StoreError> {
    joined.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))
}
