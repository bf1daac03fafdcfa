//! Events a second from journal files into a database, and what one event costs in CPU and on disk.
//!
//! Writes a journal as a process does that is killed before it shipped anything, then lets a ledger take it over:
//! read, join, batch, write rows and sums, remove the segments. SQLite always, Postgres where
//! `BEDGATE_TEST_POSTGRES_URL` names a server (its own CPU is told where `BEDGATE_TEST_POSTGRES_PID` is given).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that fails says why and is done")]

#[path = "support/events.rs"]
mod events;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedgate::config::DatabaseConfig;
use bedgate::domain::{NanoUsd, Secret};
use bedgate::journal::{DataDir, Journal, JournalOptions};
use bedgate::ledger::{LedgerHandle, LedgerOptions, ShipError, SpendSink};
use bedgate::store::Store;
use bedgate::store::spend::Days;

const HELP: &str = "usage: cargo bench --bench ingest -- [--events NUMBER (200000)] [--rounds NUMBER (3)]";
/// Workers whose journals are taken over.
const WRITERS: usize = 2;
/// How often the ledger is asked how far it is.
const POLL: Duration = Duration::from_millis(2);
/// The kernel's unit of CPU time: USER_HZ is 100 on every Linux.
const SECONDS_PER_TICK: f64 = 0.01;

fn main() {
    let (mut events, mut rounds) = (200_000, 3);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect(HELP);
        match argument.as_str() {
            "--events" => events = number(),
            "--rounds" => rounds = number(),
            "--bench" => {}
            _ => return println!("{HELP}"),
        }
    }
    println!("{events} events a round, CPU in microseconds an event");
    println!("database   events/s  bedgate CPU  database CPU  journal bytes an event  (to write it: CPU)");
    for _ in 0..rounds {
        actix_rt::System::new().block_on(round("sqlite", None, events));
        if let Ok(url) = std::env::var("BEDGATE_TEST_POSTGRES_URL") {
            actix_rt::System::new().block_on(round("postgres", Some(url), events));
        }
    }
}

async fn round(name: &str, url: Option<String>, events: u64) {
    let directory = tempfile::tempdir().unwrap();
    let before = cpu_seconds("self");
    let bytes = write_journal(directory.path(), events);
    let writing = cpu_seconds("self") - before;

    let pool_size = 4;
    let config = DatabaseConfig { url: url.map(Secret::new), pool_size };
    let store = Store::open(&config, directory.path()).await.unwrap();
    store.migrate().await.unwrap();
    let spent_before = store.total_spend(Days::default()).await.unwrap();
    let journal = Journal::open(DataDir::open(directory.path()).unwrap(), JournalOptions::default()).unwrap();
    let (before, database_before) = (cpu_seconds("self"), database_cpu_seconds());
    let started = Instant::now();
    let ledger = LedgerHandle::start(journal, sink(store.clone()), LedgerOptions::default()).unwrap();
    while ledger.state().inserted < events {
        assert_eq!(ledger.state().last_error, None);
        tokio::time::sleep(POLL).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let (after, database_after) = (cpu_seconds("self"), database_cpu_seconds());
    let spent = store.total_spend(Days::default()).await.unwrap().0 - spent_before.0;
    assert_eq!(spent, events::usual(0).1.cost.unwrap_or(NanoUsd::ZERO).0 * i64::try_from(events).unwrap());

    let count = events as f64;
    let database = database_before.zip(database_after).filter(|_| name == "postgres");
    let database = database.map_or("-".to_owned(), |(before, after)| micros(after - before, count));
    println!(
        "{name:9} {:9.0} {:>12} {database:>13} {:23.0} {:>20}",
        count / seconds,
        micros(after - before, count),
        bytes as f64 / count,
        micros(writing, count),
    );
}

fn micros(seconds: f64, count: f64) -> String {
    format!("{:.2}", seconds * 1e6 / count)
}

/// Leaves a journal behind and says how large it is.
fn write_journal(directory: &Path, events: u64) -> u64 {
    let journal = Journal::open(DataDir::open(directory).unwrap(), JournalOptions::default()).unwrap();
    let mut writers: Vec<_> = (0..WRITERS).map(|_| journal.writer()).collect();
    for (number, place) in (0..events).zip((0..WRITERS).cycle()) {
        let (begun, ended) = events::usual(number);
        let writer = writers.get_mut(place).unwrap();
        writer.begin(&begun).unwrap();
        writer.end(&ended).unwrap();
    }
    journal.space().on_disk()
}

fn sink(store: Store) -> SpendSink {
    Arc::new(move |events| {
        let store = store.clone();
        Box::pin(async move {
            let inserted = store.ship_spend(events).await;
            Ok(inserted.map_err(|error| ShipError::Unavailable(error.to_string()))?.inserted as u64)
        })
    })
}

/// User and system time of a process.
fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * SECONDS_PER_TICK
}

/// The same of all processes of the Postgres server; connections stay open, so none is missed.
fn database_cpu_seconds() -> Option<f64> {
    let server = std::env::var("BEDGATE_TEST_POSTGRES_PID").ok()?;
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).ok()?;
    Some(children.split_whitespace().map(cpu_seconds).sum())
}
