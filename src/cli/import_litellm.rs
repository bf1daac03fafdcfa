//! `bedgate import-litellm`: takes over the keys, teams, end users and budgets of a LiteLLM proxy, with what they
//! have spent. Keys go on working: both keep the SHA-256 of a key.
//!
//! All rows are looked at before the first is written: where a limit of LiteLLM's would not hold, nothing is imported
//! unless that was accepted.

mod losses;
mod rows;
mod surroundings;

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use self::losses::Loss;
use self::rows::Unimportable;
use self::surroundings::Surroundings;
use super::{EXIT_FAILURE, EXIT_USAGE};
use crate::config::{Config, DatabaseConfig};
use crate::domain::{NanoUsd, Secret, UnixMicros};
use crate::store::keys::Change;
use crate::store::litellm::LitellmTable;
use crate::store::{HolderKind, HolderRecord, KeyRecord, Store, StoreError, TakenName};

/// Who made them, in the audit log.
const ACTOR: &str = "import-litellm";

/// In this order, so that what is referred to is there first.
const TABLES: [(LitellmTable, &str); 4] = [
    (LitellmTable::Budgets, "budgets"),
    (LitellmTable::Teams, "teams"),
    (LitellmTable::Customers, "end users"),
    (LitellmTable::Keys, "keys"),
];

/// How long LiteLLM's database may be away before the import gives up.
const WAIT_FOR_SOURCE: Duration = Duration::from_secs(10);

/// Of the rows that lose the same, so many are named.
const MAX_NAMED: usize = 10;

/// What the operator wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImportOptions {
    /// Nothing is to be changed.
    pub(super) only_show: bool,
    /// Limits that do not hold in bedgate may be lost.
    pub(super) accept_loss: bool,
}

/// Imports what is not there yet, and says what became of each table.
pub(super) async fn run(config: Config, from: Secret, options: ImportOptions) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&config.server.data_dir)?;
    let source = open_source(from, &config).await?;
    let target = Store::open(&config.database, &config.server.data_dir).await?;
    target.migrate().await?;
    let change = Change { actor: ACTOR.to_owned(), at: UnixMicros::now() };
    let surroundings = Surroundings::read(&source, config.budgets.max_end_user_budget_id.as_deref()).await?;
    let import = Import { source: &source, target: &target, surroundings: &surroundings, change };
    let survey = import.walk(Run::Survey).await?;
    survey.losses.print();
    let is_stopped = survey.losses.lose_limits() && !options.accept_loss;
    if options.only_show || is_stopped {
        survey.print("would be imported");
        if !is_stopped {
            return Ok(survey.exit_code());
        }
        println!(
            "nothing was imported, since the limits named above would not hold in bedgate: give those keys limits that it \
             knows (max_budget, models, allowed_routes, rpm_limit, …), in LiteLLM now or with /key/update afterwards, and \
             import with --accept-loss"
        );
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let done = import.walk(Run::Import).await?;
    done.print("imported");
    Ok(done.exit_code())
}

/// LiteLLM's database: it runs already, so it is not waited for as bedgate's own is.
async fn open_source(from: Secret, config: &Config) -> anyhow::Result<Store> {
    let source = DatabaseConfig { url: Some(from), ..config.database.clone() };
    let opened = Store::open_within(WAIT_FOR_SOURCE, &source, &config.server.data_dir).await;
    opened.map_err(|error| match error {
        StoreError::Url(why) => anyhow::anyhow!("--from (or LITELLM_DATABASE_URL): {why}"),
        other => anyhow::anyhow!("LiteLLM's database, which --from names: {other}"),
    })
}

/// A database of LiteLLM's that is taken over.
struct Import<'i> {
    source: &'i Store,
    target: &'i Store,
    surroundings: &'i Surroundings,
    change: Change,
}

/// What a walk through all rows is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// To see what an import would do.
    Survey,
    /// To do it.
    Import,
}

/// What became of all rows.
#[derive(Debug, Default)]
struct Outcome {
    tallies: Vec<(&'static str, Tally)>,
    losses: Losses,
    /// The budgets and teams that were skipped, and what they are.
    refused: HashSet<(HolderKind, String)>,
    /// The aliases of the keys so far: in LiteLLM, two keys may have the same.
    aliases: HashSet<String>,
}

/// What became of the rows of a table.
#[derive(Debug, Default)]
struct Tally {
    imported: u64,
    there_before: u64,
    /// Of these, the keys that were deleted since, or got another value.
    revoked: Vec<String>,
    skipped: Vec<(String, String)>,
    /// Some were skipped that were meant to last.
    has_failed: bool,
}

/// What is lost, and of whom.
#[derive(Debug, Default)]
struct Losses(BTreeMap<(Loss, &'static str), (u64, Vec<String>)>);

/// Why a row was not imported.
#[derive(Debug, thiserror::Error)]
enum NotImported {
    #[error(transparent)]
    Row(#[from] Unimportable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row as bedgate keeps it.
enum Record {
    /// With what it has spent.
    Key(Box<KeyRecord>, NanoUsd),
    Holder(Box<HolderRecord>),
}

impl Import<'_> {
    /// Goes through all rows.
    async fn walk(&self, run: Run) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        for (id, loss) in &self.surroundings.of_everybody {
            outcome.losses.add("database", id, *loss);
        }
        for (table, name) in TABLES {
            let mut tally = Tally::default();
            let mut after = None;
            loop {
                let rows = self.source.litellm_rows(table, after).await?;
                let Some((last, _)) = rows.last() else { break };
                after = Some(last.clone());
                for (id, row) in rows {
                    let shown = shown_id(table, &id).to_owned();
                    let losses = self.losses_of(table, &row);
                    let done = self.import(run, table, id.clone(), row, &mut outcome).await;
                    if done.is_ok() {
                        losses.into_iter().for_each(|loss| outcome.losses.add(name, &shown, loss));
                    }
                    if !tally.count(shown, name, done)? {
                        outcome.refused.extend(holder_kind(table).map(|kind| (kind, id)));
                    }
                }
            }
            outcome.tallies.push((name, tally));
        }
        Ok(outcome)
    }

    fn losses_of(&self, table: LitellmTable, row: &Value) -> Vec<Loss> {
        let mut losses = losses::of_row(table, row);
        losses.extend(self.surroundings.losses_of(table, row));
        losses
    }

    async fn import(
        &self,
        run: Run,
        table: LitellmTable,
        id: String,
        row: Value,
        so_far: &mut Outcome,
    ) -> Result<(), NotImported> {
        let record = match holder_kind(table) {
            Some(kind) => Record::Holder(Box::new(rows::holder(kind, id, row, &self.change)?)),
            None => {
                let (key, spend) = rows::key(&id, row, &self.change)?;
                Record::Key(Box::new(key), spend)
            }
        };
        so_far.require_its_limits(&record)?;
        if run == Run::Survey {
            return self.look_ahead(&record, so_far).await;
        }
        let (target, change) = (self.target, self.change.clone());
        match record {
            Record::Key(record, spend) => drop(target.import_key(*record, spend, change).await?),
            Record::Holder(record) => drop(target.create_holder(*record, change).await?),
        }
        Ok(())
    }

    /// Fails as the import would: an alias may also be that of a key before this one.
    async fn look_ahead(&self, record: &Record, so_far: &mut Outcome) -> Result<(), NotImported> {
        let taken = match record {
            Record::Holder(holder) => self.target.taken_by_holder(holder.kind, holder.id.clone()).await?,
            Record::Key(key, _) => {
                let taken = self.target.taken_by_key(key.hash, key.key_alias.clone()).await?;
                let alias = key.key_alias.clone().filter(|_| taken.is_none());
                let of_another = alias.filter(|alias| !so_far.aliases.insert(alias.clone()));
                taken.or(of_another.map(TakenName::Alias))
            }
        };
        taken.map_or(Ok(()), |name| Err(StoreError::Taken(name).into()))
    }
}

impl Outcome {
    /// Refuses what a skipped budget or team was to limit.
    fn require_its_limits(&self, record: &Record) -> Result<(), Unimportable> {
        let (budget, team) = match record {
            Record::Key(key, _) => (&key.budget_id, &key.team_id),
            Record::Holder(holder) => (&holder.budget_id, &None),
        };
        for (kind, id) in [(HolderKind::Budget, budget), (HolderKind::Team, team)] {
            if let Some(id) = id.as_ref().filter(|id| self.refused.contains(&(kind, (*id).clone()))) {
                return Err(Unimportable::Unlimited(format!("{} {id:?}", kind.as_str())));
            }
        }
        Ok(())
    }

    fn print(&self, verb: &str) {
        for (name, tally) in &self.tallies {
            for (id, why) in &tally.skipped {
                println!("{name}: {id} is skipped: {why}");
            }
            for id in &tally.revoked {
                println!(
                    "{name}: {id} was there before and does not come back: it was deleted, or has another value by now"
                );
            }
            let Tally { imported, there_before, skipped, .. } = tally;
            println!(
                "{name}: {imported} {verb}, {there_before} were there before, {} skipped",
                skipped.len()
            );
        }
    }

    /// Success only where everything that was meant to last is in bedgate.
    fn exit_code(&self) -> ExitCode {
        let has_failed = self.tallies.iter().any(|(_, tally)| tally.has_failed);
        if has_failed { ExitCode::from(EXIT_FAILURE) } else { ExitCode::SUCCESS }
    }
}

impl Losses {
    fn add(&mut self, table: &'static str, id: &str, loss: Loss) {
        let (count, ids) = self.0.entry((loss, table)).or_default();
        *count += 1;
        if ids.len() < MAX_NAMED {
            ids.push(id.to_owned());
        }
    }

    fn lose_limits(&self) -> bool {
        self.0.keys().any(|(loss, _)| loss.is_limit)
    }

    fn print(&self) {
        for ((loss, table), (count, ids)) in &self.0 {
            let lost = if loss.is_limit { "LIMIT LOST" } else { "not taken over" };
            let more = if *count > MAX_NAMED as u64 { ", …" } else { "" };
            println!("{lost}: {table}: {count} with {} ({}{more})", loss.what, ids.join(", "));
        }
    }
}

impl Tally {
    /// Whether the row is in bedgate, or would be.
    ///
    /// # Errors
    /// The database failed: nothing more is tried.
    fn count(&mut self, id: String, name: &str, done: Result<(), NotImported>) -> Result<bool, StoreError> {
        match done {
            Ok(()) => self.imported += 1,
            // Another key that has its alias is not this one.
            Err(NotImported::Store(StoreError::Taken(taken))) if !matches!(taken, TakenName::Alias(_)) => {
                self.there_before += 1;
                log::info!("{name}: {id}: {taken}");
                self.revoked.extend((taken == TakenName::FormerKey).then_some(id));
            }
            Err(NotImported::Store(error)) if error.is_transient() => return Err(error),
            Err(error) => {
                self.has_failed |= !matches!(error, NotImported::Row(Unimportable::Session));
                self.skipped.push((id, error.to_string()));
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn holder_kind(table: LitellmTable) -> Option<HolderKind> {
    match table {
        LitellmTable::Budgets => Some(HolderKind::Budget),
        LitellmTable::Teams => Some(HolderKind::Team),
        LitellmTable::Customers => Some(HolderKind::Customer),
        _ => None,
    }
}

/// What a row is named by: keys by the beginning of their hash.
fn shown_id(table: LitellmTable, id: &str) -> &str {
    if table == LitellmTable::Keys { id.get(..12).unwrap_or("a key") } else { id }
}
