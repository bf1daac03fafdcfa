//! The actor on a real journal, with stores in memory that fail, half-succeed, hang and refuse.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::domain::EventId;
use crate::event::{Outcome, SpendEvent};
use crate::journal::record::samples;
use crate::journal::{DataDir, JournalOptions, JournalWriter};

const LONG: Duration = Duration::from_secs(20);

/// A store in memory: idempotent by id, as the real ones.
#[derive(Default)]
struct Store {
    events: Mutex<HashMap<EventId, SpendEvent>>,
    calls: AtomicUsize,
    is_away: AtomicBool,
    hangs: AtomicBool,
    /// Of every three batches one fails before, one after it was taken.
    is_flaky: AtomicBool,
    poison: Mutex<HashSet<EventId>>,
}

impl Store {
    fn sink(self: &Arc<Self>) -> SpendSink {
        let store = Arc::clone(self);
        Arc::new(move |events| {
            let store = Arc::clone(&store);
            Box::pin(async move { store.insert(&events).await })
        })
    }

    async fn insert(&self, events: &[PackedEvent]) -> Result<u64, ShipError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let is_flaky = self.is_flaky.load(Ordering::SeqCst);
        let away = Err(ShipError::Unavailable("connection refused".to_owned()));
        if self.is_away.load(Ordering::SeqCst) || (is_flaky && call.is_multiple_of(3)) {
            return away;
        }
        if events.iter().any(|event| self.poison.lock().unwrap().contains(&event.id())) {
            return Err(ShipError::Rejected("value out of range".to_owned()));
        }
        let mut rows = self.events.lock().unwrap();
        let insert = |event: &PackedEvent| rows.insert(event.id(), event.view().unwrap().to_event());
        let new = events.iter().map(insert).filter(Option::is_none).count();
        if is_flaky && call % 3 == 1 { away } else { Ok(new as u64) }
    }

    fn sum(&self) -> i64 {
        self.events.lock().unwrap().values().map(|event| event.ended.cost.unwrap().0).sum()
    }

    fn len(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

fn options() -> LedgerOptions {
    let millisecond = Duration::from_millis(1);
    LedgerOptions {
        batch: BatchOptions {
            max_rows: 10,
            max_held: 40,
            first_wait: millisecond,
            max_wait: 4 * millisecond,
            ..BatchOptions::default()
        },
        flush_interval: 5 * millisecond,
        wake_every: 10,
        ship_timeout: 50 * millisecond,
        writers_grace: 100 * millisecond,
    }
}

fn journal(path: &Path) -> Journal {
    let options = JournalOptions { segment_bytes: 2_000, ballast_bytes: 0, ..JournalOptions::default() };
    Journal::open(DataDir::open(path).unwrap(), options).unwrap()
}

fn ledger(journal: &Journal, store: &Arc<Store>) -> LedgerHandle {
    LedgerHandle::start_on(&actix::Arbiter::current(), journal.clone(), store.sink(), options()).unwrap()
}

fn write(writer: &mut JournalWriter, ledger: &LedgerHandle, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (begun, ended) = samples::usual(number);
        let permit = ledger.reserve().unwrap();
        writer.begin(&begun).unwrap();
        writer.end(&ended).unwrap();
        ledger.record(permit);
    }
}

fn files(journal: &Journal) -> Vec<String> {
    let name = |file: io::Result<std::fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
    std::fs::read_dir(journal.dir()).unwrap().map(name).collect()
}

/// Waits, turn by turn, for what another task does.
async fn until(mut is_so: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "it never happened");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[actix_rt::test]
async fn invariant_10_a_drain_ships_everything_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    let ledger = ledger(&journal, &store);
    let mut writers = [journal.writer(), journal.writer()];
    write(&mut writers[0], &ledger, 0..60);
    write(&mut writers[1], &ledger, 60..95);
    drop(writers);
    let drained = ledger.drain(LONG).await.unwrap();
    assert_eq!(drained, Drained { shipped: 95, left: 0, open: 0, is_unread: false });
    assert!(drained.is_clean());
    assert_eq!((store.len(), store.sum()), (95, (0..95).sum()));
    assert_eq!(files(&journal), Vec::<String>::new());
    assert_eq!((journal.space().on_disk(), journal.space().promised()), (0, 0));
    let state = ledger.state();
    assert!(state.is_alive && !state.is_recovering);
    assert_eq!((state.depth, state.shipped, state.inserted, state.oldest_ended_at), (0, 95, 95, None));
}

#[actix_rt::test]
async fn a_segment_that_cannot_be_removed_is_removed_later() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    store.is_away.store(true, Ordering::SeqCst);
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..9);
    drop(writer);
    until(|| ledger.state().failed_batches > 0).await;
    // A directory in each file's place is something that remove_file refuses.
    let names: Vec<String> = files(&journal);
    assert!(!names.is_empty());
    let (place, aside) = (|name: &String| journal.dir().join(name), |name: &String| dir.path().join(name));
    for name in &names {
        std::fs::rename(place(name), aside(name)).unwrap();
        std::fs::create_dir(place(name)).unwrap();
    }
    store.is_away.store(false, Ordering::SeqCst);
    until(|| store.len() == 9).await;
    let calls = store.calls.load(Ordering::SeqCst);
    until(|| ledger.state().depth == 0).await;
    assert_eq!((files(&journal).len(), store.calls.load(Ordering::SeqCst)), (names.len(), calls));
    for name in &names {
        std::fs::remove_dir(place(name)).unwrap();
        std::fs::rename(aside(name), place(name)).unwrap();
    }
    until(|| files(&journal).is_empty()).await;
    assert_eq!(journal.space().on_disk(), 0);
}

#[actix_rt::test]
async fn events_reach_the_store_without_anybody_asking() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..3);
    until(|| store.len() == 3).await;
    write(&mut writer, &ledger, 3..50);
    until(|| store.len() == 50).await;
}

#[actix_rt::test]
async fn invariant_5_a_flaky_store_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    store.is_flaky.store(true, Ordering::SeqCst);
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..200);
    drop(writer);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!((store.len(), store.sum()), (200, (0..200).sum()));
    let state = ledger.state();
    assert!(state.failed_batches > 10, "{state:?}");
    assert_eq!(state.shipped, 200);
    assert!(state.inserted < 200, "some were there before their answer came: {state:?}");
}

#[actix_rt::test]
async fn while_the_store_is_away_events_stay_on_disk_and_memory_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    store.is_away.store(true, Ordering::SeqCst);
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..500);
    until(|| ledger.state().failed_batches > 3).await;
    let state = ledger.state();
    assert_eq!(state.depth, 500);
    assert!(ledger.counters.held.load(Ordering::Relaxed) <= 40);
    assert!(state.last_error.unwrap().contains("connection refused"));
    assert!(state.journal_bytes > 50_000);
    assert!(state.oldest_ended_at.is_some());
    let drained = ledger.drain(Duration::from_millis(30)).await.unwrap();
    assert_eq!((drained.left, drained.is_clean()), (500, false));
    store.is_away.store(false, Ordering::SeqCst);
    drop(writer);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!((store.len(), store.sum()), (500, (0..500).sum()));
    assert_eq!(ledger.state().last_error, None);
}

#[actix_rt::test]
async fn a_store_that_hangs_is_given_up_and_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    store.hangs.store(true, Ordering::SeqCst);
    let ledger = ledger(&journal, &store);
    write(&mut journal.writer(), &ledger, 0..5);
    until(|| ledger.state().failed_batches > 0).await;
    store.hangs.store(false, Ordering::SeqCst);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!(store.len(), 5);
}

#[actix_rt::test]
async fn invariant_4_what_a_killed_process_left_is_shipped_and_a_lone_beginning_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    {
        let journal = journal(dir.path());
        let mut writer = journal.writer();
        for number in 0..50 {
            let (begun, ended) = samples::usual(number);
            writer.begin(&begun).unwrap();
            if number % 10 != 0 {
                writer.end(&ended).unwrap();
            }
        }
    }
    let journal = journal(dir.path());
    let ledger = ledger(&journal, &store);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!(files(&journal), Vec::<String>::new());
    let events = store.events.lock().unwrap();
    assert_eq!(events.len(), 50);
    for number in 0..50 {
        let (begun, ended) = samples::usual(number);
        let event = &events[&begun.id];
        if number % 10 == 0 {
            assert_eq!((event.ended.outcome, event.ended.cost), (Outcome::Interrupted, begun.estimate));
        } else {
            assert_eq!(*event, SpendEvent { begun, ended });
        }
    }
}

#[actix_rt::test]
async fn invariant_5_shipping_again_after_a_death_counts_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    for life in 0..4_u64 {
        let (journal, thread) = (journal(dir.path()), actix::Arbiter::new());
        let ledger =
            LedgerHandle::start_on(&thread.handle(), journal.clone(), store.sink(), options()).unwrap();
        let mut writer = journal.writer();
        write(&mut writer, &ledger, life * 30..(life + 1) * 30);
        until(|| store.len() >= usize::try_from(life).unwrap() * 30 + 15).await;
        // Dead at any instant, nobody drains: the newest segment still holds what was shipped.
        thread.stop();
        thread.join().unwrap();
        assert!(!ledger.state().is_alive);
        assert_ne!(files(&journal), Vec::<String>::new());
    }
    let journal = journal(dir.path());
    let ledger = ledger(&journal, &store);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!((store.len(), store.sum()), (120, (0..120).sum()));
    assert!(store.events.lock().unwrap().values().all(|event| event.ended.outcome == Outcome::Complete));
    assert_eq!(files(&journal), Vec::<String>::new());
}

#[actix_rt::test]
async fn an_end_whose_beginning_is_unreadable_is_kept_for_the_operator() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::default());
    {
        let journal = journal(dir.path());
        let mut writer = journal.writer();
        for number in 0..2 {
            let (begun, ended) = samples::usual(number);
            writer.begin(&begun).unwrap();
            writer.end(&ended).unwrap();
        }
        let path = journal.dir().join(&files(&journal)[0]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let journal = journal(dir.path());
    let ledger = ledger(&journal, &store);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    let state = ledger.state();
    assert_eq!((store.len(), state.orphaned), (1, 1));
    assert!(state.unreadable_bytes > 0);
    let [file] = &files(&journal)[..] else { panic!("one file: {:?}", files(&journal)) };
    assert!(file.starts_with("damaged-"), "{file}");
}

#[actix_rt::test]
async fn a_poison_event_is_set_aside_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    let poison = samples::usual(17).0.id;
    store.poison.lock().unwrap().insert(poison);
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..60);
    drop(writer);
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!((store.len(), ledger.state().set_aside), (59, 1));
    let [file] = &files(&journal)[..] else { panic!("one file: {:?}", files(&journal)) };
    let line = std::fs::read_to_string(journal.dir().join(file)).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["reason"], "value out of range");
    let begun: crate::event::Begun = serde_json::from_value(line["begun"].clone()).unwrap();
    assert_eq!(begun.id, poison);
}

#[actix_rt::test]
async fn a_full_journal_has_room_again_once_all_is_shipped_though_nobody_writes() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { max_bytes: 200_000, ballast_bytes: 0, ..JournalOptions::default() };
    let journal = Journal::open(DataDir::open(dir.path()).unwrap(), options).unwrap();
    let store = Arc::new(Store::default());
    store.is_away.store(true, Ordering::SeqCst);
    let ledger = ledger(&journal, &store);
    let mut writers = [journal.writer(), journal.writer()];
    for number in 0.. {
        let Ok(permit) = ledger.reserve() else { break };
        let (begun, ended) = samples::usual(number);
        let writer = &mut writers[usize::from(number % 2 == 1)];
        writer.begin(&begun).unwrap();
        writer.end(&ended).unwrap();
        ledger.record(permit);
    }
    store.is_away.store(false, Ordering::SeqCst);
    until(|| ledger.reserve().is_ok()).await;
    assert_eq!(journal.live_writers(), 2);
}

#[actix_rt::test]
async fn invariant_10_a_drain_waits_for_a_writer_that_is_on_its_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        write(&mut writer, &ledger, 0..5);
        drop(writer);
    };
    let (drained, ()) = tokio::join!(ledger.drain(LONG), leaving);
    assert_eq!(drained.unwrap(), Drained { shipped: 5, left: 0, open: 0, is_unread: false });
    assert_eq!((files(&journal), journal.live_writers()), (Vec::<String>::new(), 0));
}

#[actix_rt::test]
async fn invariant_10_a_drain_tells_what_it_could_not_ship() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    store.poison.lock().unwrap().insert(samples::usual(0).0.id);
    let ledger = ledger(&journal, &store);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..1);
    let drained = ledger.drain(LONG).await.unwrap();
    assert_eq!((drained.left, drained.is_clean()), (1, false), "refused, while the store took nothing else");
    writer.begin(&samples::usual(1).0).unwrap();
    let drained = ledger.drain(LONG).await.unwrap();
    assert_eq!((drained.left, drained.open, drained.is_clean()), (1, 1, false));
}

#[actix_rt::test]
async fn invariant_8_a_full_journal_refuses_new_work() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { max_bytes: 100_000, ballast_bytes: 0, ..JournalOptions::default() };
    let journal = Journal::open(DataDir::open(dir.path()).unwrap(), options).unwrap();
    let store = Arc::new(Store::default());
    let ledger = ledger(&journal, &store);
    let permits: Vec<_> = std::iter::from_fn(|| ledger.reserve().ok()).collect();
    assert_eq!(permits.len(), 3);
    assert_eq!(ledger.reserve().unwrap_err(), LedgerError::Full(JournalFull));
    drop(permits);
    assert!(ledger.reserve().is_ok());
}

#[actix_rt::test]
async fn a_dead_ledger_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let sink: SpendSink = Arc::new(|_| panic!("a fault in the store's code"));
    let ledger = LedgerHandle::start(journal.clone(), sink, options()).unwrap();
    assert!(ledger.state().is_alive);
    let mut writer = journal.writer();
    write(&mut writer, &ledger, 0..1);
    until(|| !ledger.state().is_alive).await;
    assert_eq!(ledger.drain(Duration::ZERO).await, Err(LedgerError::Stopped));
    assert_eq!(files(&journal).len(), 1, "what was written stays");
    write(&mut writer, &ledger, 1..30);
}

#[actix_rt::test]
async fn on_a_thread_of_its_own_it_follows_several_workers() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(dir.path()), Arc::new(Store::default()));
    let ledger = LedgerHandle::start(journal.clone(), store.sink(), options()).unwrap();
    let work = |from: u64| {
        let (journal, ledger) = (journal.clone(), ledger.clone());
        move || write(&mut journal.writer(), &ledger, from..from + 400)
    };
    let threads: Vec<_> = [0, 400, 800].map(|from| std::thread::spawn(work(from))).into();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(ledger.drain(LONG).await.unwrap().is_clean());
    assert_eq!((store.len(), store.sum()), (1_200, (0..1_200).sum()));
    assert_eq!(files(&journal), Vec::<String>::new());
}
