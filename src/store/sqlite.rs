//! The embedded database: one SQLite file in the data directory, one connection that writes, a few that read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{Connection as _, ConnectionResult, RunQueryDsl as _, SqliteConnection};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use futures_util::FutureExt as _;

use super::error::StoreError;
use super::spend::SpendLine;

/// The file's name in the data directory.
const FILE_NAME: &str = "bedgate.sqlite";
/// Connections that read: a long report must not hold up what is written.
const READERS: usize = 4;
/// How long a call waits for a free connection before it fails.
const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(30);

/// For each connection (that the file has a write-ahead log is set for good by the migration). `FULL`: a commit is on
/// the disk when it returns, because the journal lets go of what the database has; batches make it cheap.
const SETTINGS: &str = "PRAGMA bedgate.synchronous = FULL;
    PRAGMA bedgate.journal_size_limit = 67108864;
    PRAGMA bedgate.cache_size = -16384;
    PRAGMA temp_store = MEMORY;";

/// The same for the connection that writes events, which opens the file itself. What was written is brought from the
/// write-ahead log to its place every 4,000 pages (16 MiB), not every 1,000: a batch is hundreds, and most of those of
/// indexes are the same ones each time.
pub(super) const SETTINGS_OF_SPEND_LINE: &str = "PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16384;
    PRAGMA temp_store = MEMORY;";

/// How long to wait for another process (a backup, `sqlite3`), in milliseconds. Before anything else: attaching reads.
pub(super) const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

/// A connection to the file, usable from async code.
pub(super) type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;

/// The pools over the one file.
#[derive(Clone)]
pub(super) struct SqlitePools {
    pub(super) file: PathBuf,
    pub(super) writer: Pool<AsyncSqlite>,
    pub(super) readers: Pool<AsyncSqlite>,
    /// For events; whoever uses it holds the connection that writes.
    pub(super) spend_line: Arc<SpendLine>,
}

/// Where the file is.
pub(super) fn file_in(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

impl SqlitePools {
    /// Opens the file in `data_dir`, or makes it, readable by its owner only.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let file = file_in(data_dir);
        let cannot_open = |reason: String| StoreError::File { path: file.display().to_string(), reason };
        std::fs::create_dir_all(data_dir).map_err(|error| cannot_open(error.to_string()))?;
        make_private(&file).map_err(|error| cannot_open(error.to_string()))?;
        let path = file.to_str().ok_or_else(|| cannot_open("its path is not UTF-8".to_owned()))?;
        let spend_line = Arc::new(SpendLine::new(file.clone()));
        Ok(Self { writer: pool(path, 1)?, readers: pool(path, READERS)?, spend_line, file: file.clone() })
    }
}

/// How many keys a file holds that is not used, because another database is; `None` where there is no such file, or none that
/// can be read.
pub(super) fn keys_left_in(data_dir: &Path) -> Option<i64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = rusqlite::Connection::open_with_flags(file_in(data_dir), flags).ok()?;
    file.query_row("SELECT count(*) FROM keys", [], |row| row.get(0)).ok()
}

/// The file holds hashes of keys and who spent what: nobody else's to read.
fn make_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn pool(path: &str, size: usize) -> Result<Pool<AsyncSqlite>, StoreError> {
    let mut manager_config = ManagerConfig::<AsyncSqlite>::default();
    manager_config.recycling_method = RecyclingMethod::Fast;
    manager_config.custom_setup = Box::new(|path| {
        let path = path.to_owned();
        async move {
            let opened = tokio::task::spawn_blocking(move || attach(&path)).await;
            let failed =
                |error: tokio::task::JoinError| diesel::ConnectionError::BadConnection(error.to_string());
            Ok(AsyncSqlite::new(opened.map_err(failed)??))
        }
        .boxed()
    });
    Pool::builder(AsyncDieselConnectionManager::new_with_config(path, manager_config))
        .max_size(size)
        .runtime(deadpool::Runtime::Tokio1)
        .wait_timeout(Some(WAIT_FOR_CONNECTION))
        .build()
        .map_err(|error| StoreError::Unreachable(error.to_string()))
}

/// Opens the file under the name `bedgate`, so that tables have the same names as on Postgres.
fn attach(path: &str) -> ConnectionResult<SqliteConnection> {
    let mut conn = SqliteConnection::establish(":memory:")?;
    set_up(&mut conn, path).map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

fn set_up(conn: &mut SqliteConnection, path: &str) -> diesel::QueryResult<()> {
    conn.batch_execute(BUSY_TIMEOUT)?;
    diesel::sql_query("ATTACH DATABASE ? AS bedgate").bind::<Text, _>(path).execute(conn)?;
    conn.batch_execute(SETTINGS)
}
