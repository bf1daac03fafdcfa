//! `bedgate import-litellm`: takes over the keys, teams, end users and budgets of a LiteLLM proxy, with what they
//! have spent. Keys go on working: both keep the SHA-256 of a key.

mod rows;

use std::process::ExitCode;

use serde_json::Value;

use self::rows::Unimportable;
use crate::config::{Config, DatabaseConfig};
use crate::domain::{Secret, UnixMicros};
use crate::store::keys::Change;
use crate::store::litellm::LitellmTable;
use crate::store::{HolderKind, Store, StoreError};

/// Who made them, in the audit log.
const ACTOR: &str = "import-litellm";

/// In this order, so that what is referred to is there first.
const TABLES: [(LitellmTable, &str); 4] = [
    (LitellmTable::Budgets, "budgets"),
    (LitellmTable::Teams, "teams"),
    (LitellmTable::Customers, "end users"),
    (LitellmTable::Keys, "keys"),
];

/// What became of the rows of a table.
#[derive(Debug, Default)]
struct Tally {
    imported: u64,
    there_before: u64,
    skipped: u64,
}

/// Imports what is not there yet, and says what became of each table. With `only_show`, changes nothing.
pub(super) async fn run(config: Config, from: Secret, only_show: bool) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&config.server.data_dir)?;
    let target = Store::open(&config.database, &config.server.data_dir).await?;
    target.migrate().await?;
    let source = DatabaseConfig { url: Some(from), ..config.database.clone() };
    let source = Store::open(&source, &config.server.data_dir).await?;
    let change = Change { actor: ACTOR.to_owned(), at: UnixMicros::now() };
    for (table, name) in TABLES {
        let mut tally = Tally::default();
        let mut after = None;
        loop {
            let rows = source.litellm_rows(table, after).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (id, row) in rows {
                let shown = shown_id(table, &id).to_owned();
                let done = import(&target, table, id, row, &change, only_show).await;
                tally.count(&shown, name, done)?;
            }
        }
        let verb = if only_show { "would be imported" } else { "imported" };
        let Tally { imported, there_before, skipped } = tally;
        println!("{name}: {imported} {verb}, {there_before} were there before, {skipped} skipped");
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a row was not imported.
#[derive(Debug, thiserror::Error)]
enum NotImported {
    #[error(transparent)]
    Row(#[from] Unimportable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn import(
    target: &Store,
    table: LitellmTable,
    id: String,
    row: Value,
    change: &Change,
    only_show: bool,
) -> Result<(), NotImported> {
    let kind = match table {
        LitellmTable::Budgets => HolderKind::Budget,
        LitellmTable::Teams => HolderKind::Team,
        LitellmTable::Customers => HolderKind::Customer,
        LitellmTable::Keys => {
            let (record, spend) = rows::key(&id, row, change)?;
            if !only_show {
                target.create_key(record, spend, change.clone()).await?;
            }
            return Ok(());
        }
    };
    let record = rows::holder(kind, id, row, change)?;
    if !only_show {
        target.create_holder(record, change.clone()).await?;
    }
    Ok(())
}

impl Tally {
    /// # Errors
    /// The database failed: nothing more is tried.
    fn count(&mut self, id: &str, name: &str, done: Result<(), NotImported>) -> Result<(), StoreError> {
        match done {
            Ok(()) => self.imported += 1,
            Err(NotImported::Store(StoreError::Taken(taken))) => {
                self.there_before += 1;
                log::info!("{name}: {id}: {taken}");
            }
            Err(NotImported::Store(error)) if error.is_transient() => return Err(error),
            Err(error) => {
                self.skipped += 1;
                println!("{name}: {id} is skipped: {error}");
            }
        }
        Ok(())
    }
}

/// What a row is named by: keys by the beginning of their hash.
fn shown_id(table: LitellmTable, id: &str) -> &str {
    if table == LitellmTable::Keys { id.get(..12).unwrap_or("a key") } else { id }
}
