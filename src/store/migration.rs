//! Brings a database to what this release needs, one instance at a time, or says that it is too new.

use std::collections::HashSet;
use std::time::Duration;

use diesel::migration::{MigrationSource, MigrationVersion};
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::error::StoreError;

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Names the lock that instances take while they migrate: `bedgate` in ASCII. Any other number would do, as long as
/// it never changes.
const ADVISORY_LOCK: i64 = 0x62_65_64_67_61_74_65;

/// How long an instance waits for another one's migrations, and a migration for other users of a table.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '120s'";

/// `IF NOT EXISTS` would ask for the right to create schemas even where somebody made this one for bedgate.
const CREATE_SCHEMA: &str = "DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'bedgate') THEN CREATE SCHEMA bedgate; END IF;
END $$";

/// How often, and how far apart, the write-ahead log is asked for while another process holds the file.
const WRITE_AHEAD_LOG_TRIES: u32 = 100;
const WRITE_AHEAD_LOG_PAUSE: Duration = Duration::from_millis(50);

/// Migrates Postgres. One transaction holds the lock, the look and the changes, so that nothing is left half done
/// and the second of two instances finds nothing to do.
///
/// Blocks: call it where that is allowed.
pub(super) fn migrate_postgres(
    conn: &mut AsyncConnectionWrapper<AsyncPgConnection>,
) -> Result<Vec<String>, StoreError> {
    conn.transaction(|conn| {
        diesel::sql_query(LOCK_TIMEOUT).execute(conn)?;
        let lock = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
        diesel::sql_query(lock).execute(conn)?;
        diesel::sql_query(CREATE_SCHEMA).execute(conn)?;
        diesel::sql_query("SET LOCAL search_path TO bedgate").execute(conn)?;
        run_pending(conn, POSTGRES)
    })
}

/// Migrates the file of the embedded database. Blocks.
pub(super) fn migrate_sqlite(file: &str) -> Result<Vec<String>, StoreError> {
    let mut conn = SqliteConnection::establish(file)?;
    diesel::sql_query("PRAGMA busy_timeout = 30000").execute(&mut conn)?;
    use_write_ahead_log(&mut conn)?;
    conn.immediate_transaction(|conn| run_pending(conn, SQLITE))
}

/// With a write-ahead log, readers and the writer do not wait for one another. The mode stays with the file. SQLite
/// does not wait for others when it changes it, so this does.
fn use_write_ahead_log(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    for _ in 1..WRITE_AHEAD_LOG_TRIES {
        if diesel::sql_query("PRAGMA journal_mode = WAL").execute(conn).is_ok() {
            return Ok(());
        }
        std::thread::sleep(WRITE_AHEAD_LOG_PAUSE);
    }
    diesel::sql_query("PRAGMA journal_mode = WAL").execute(conn)?;
    Ok(())
}

/// The migrations that were run, by name.
fn run_pending<C, B>(conn: &mut C, source: EmbeddedMigrations) -> Result<Vec<String>, StoreError>
where
    B: diesel::backend::Backend,
    C: MigrationHarness<B>,
{
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Migration(error.to_string());
    let known: HashSet<MigrationVersion<'static>> = MigrationSource::<B>::migrations(&source)
        .map_err(failed)?
        .iter()
        .map(|migration| migration.name().version().as_owned())
        .collect();
    let applied = conn.applied_migrations().map_err(failed)?;
    let mut unknown: Vec<String> =
        applied.iter().filter(|version| !known.contains(*version)).map(ToString::to_string).collect();
    if !unknown.is_empty() {
        unknown.sort();
        return Err(StoreError::Newer(unknown));
    }
    let run = conn.run_pending_migrations(source).map_err(failed)?;
    Ok(run.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_can_be_undone_and_done_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bedgate.sqlite");
        let file = file.to_str().unwrap();
        let done = migrate_sqlite(file).unwrap();
        let mut conn = SqliteConnection::establish(file).unwrap();
        let undone = conn.revert_all_migrations(SQLITE).unwrap();
        assert_eq!(undone.len(), done.len());
        assert_eq!(migrate_sqlite(file).unwrap(), done);
    }

    #[test]
    fn both_databases_have_the_same_history() {
        let postgres: Vec<Box<dyn diesel::migration::Migration<diesel::pg::Pg>>> =
            POSTGRES.migrations().unwrap();
        let sqlite: Vec<Box<dyn diesel::migration::Migration<diesel::sqlite::Sqlite>>> =
            SQLITE.migrations().unwrap();
        let postgres: Vec<String> = postgres.iter().map(|migration| migration.name().to_string()).collect();
        let sqlite: Vec<String> = sqlite.iter().map(|migration| migration.name().to_string()).collect();
        assert_eq!(postgres, sqlite);
    }
}
