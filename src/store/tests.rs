//! What both databases must do alike. SQLite always; Postgres where `BEDGATE_TEST_POSTGRES_URL` names a server on
//! which databases may be made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use serde_json::json;

use super::keys::{Change, KeptPair, KeyChange, KeyOrder, MAX_PAIRS_PER_KEY, SealedPair, SortedBy};
use super::limit_set::{LimitSet, SpendReset};
use super::spend::{DaySpend, Days, Scope, SpendOf, SpendSince, SpendSum, Spent};
use super::{
    HolderKind, HolderRecord, InsertedSpend, KeyFilter, KeyPatch, KeyRecord, ResponseOwner, SpendFilter,
    Store, StoreError, TakenName, follow_keys, on_writer,
};
use crate::config::DatabaseConfig;
use crate::domain::{EventId, KeyHash, NanoUsd, Secret, Service, UnixMicros};
use crate::event::{Attempt, Begun, CostBasis, Ended, Outcome, Payer, SpendEvent};
use crate::pricing::Price;
use crate::usage::{Unit, Usage};

/// 2026-01-15T12:00:00Z.
const NOON: UnixMicros = UnixMicros(1_768_478_400_000_000);
const DAY: i64 = 86_400_000_000;

/// A database of its own.
struct TestDatabase {
    /// The server and the database to drop in the end.
    postgres: Option<(Store, String)>,
    directory: tempfile::TempDir,
    config: DatabaseConfig,
}

impl TestDatabase {
    fn sqlite() -> Self {
        let config = DatabaseConfig { url: None, pool_size: 4 };
        Self { postgres: None, directory: tempfile::tempdir().unwrap(), config }
    }

    async fn postgres() -> Option<Self> {
        let server = std::env::var("BEDGATE_TEST_POSTGRES_URL").ok()?;
        let database = format!("bedgate_test_{}", uuid::Uuid::new_v4().simple());
        let admin = DatabaseConfig { url: Some(Secret::new(server.as_str())), pool_size: 1 };
        let admin = Store::open(&admin, Path::new("")).await.unwrap();
        execute(&admin, format!("CREATE DATABASE {database}")).await.unwrap();
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&database);
        let config = DatabaseConfig { url: Some(Secret::new(url.as_str())), pool_size: 4 };
        Some(Self { postgres: Some((admin, database)), directory: tempfile::tempdir().unwrap(), config })
    }

    async fn open(&self) -> Store {
        Store::open(&self.config, self.directory.path()).await.unwrap()
    }

    async fn drop(self) {
        if let Some((server, database)) = self.postgres {
            execute(&server, format!("DROP DATABASE {database} WITH (FORCE)")).await.unwrap();
        }
    }
}

async fn execute(store: &Store, statement: String) -> Result<(), StoreError> {
    on_writer!(store, |conn| {
        conn.batch_execute(&statement).await?;
        Ok(())
    })
}

/// Runs a test on each database there is.
macro_rules! on_each_database {
    ($($name:ident => $check:ident;)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let database = super::TestDatabase::sqlite();
                super::$check(&database).await;
                database.drop().await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                if let Some(database) = super::TestDatabase::postgres().await {
                    super::$check(&database).await;
                    database.drop().await;
                }
            })*
        }
    };
}

on_each_database! {
    who_made_a_response_is_kept_until_it_is_old => response_owners;
    migrations_run_once_when_two_instances_start_together => two_migrate_at_once;
    a_database_that_is_newer_is_refused => newer_is_refused;
    an_event_shipped_twice_counts_once => events_are_idempotent;
    a_long_batch_of_which_some_is_there_counts_each_event_once => some_is_there;
    a_batch_of_any_length_counts_each_event_once => any_length;
    sums_are_those_of_the_events => sums_match;
    a_row_is_the_same_whatever_its_batch_holds => rows_keep_their_own;
    two_inserters_of_overlapping_batches_neither_wait_forever_nor_count_twice => inserters_overlap;
    texts_that_a_client_can_send_are_storable => odd_texts;
    numbers_that_no_answer_can_mean_hold_up_nothing => absurd_numbers;
    a_key_lives_from_creation_to_deletion => key_life;
    changes_come_in_order_and_only_once => changes_in_order;
    another_instance_follows_within_a_second => instances_follow;
    credential_pairs_live_with_their_key => pairs_live;
    names_that_are_taken_are_named => taken_names;
    keys_are_listed_in_pages => key_pages;
    logs_are_filtered => logs_filtered;
    pages_that_follow_one_another_miss_nothing => pages_follow;
    keys_are_sorted_as_asked => keys_sorted;
    an_account_outlives_the_values_of_its_key => accounts_go_on;
    a_value_that_was_used_before_inherits_nothing => nothing_is_inherited;
    what_began_before_a_reset_no_longer_counts_whenever_it_is_shipped => resets_cut_by_start;
    sums_of_days_are_those_of_their_events => days_match;
    what_had_no_price_is_charged_later_and_once => unpriced_is_charged;
    what_has_no_cost_counts_as_its_estimate_until_it_is_priced => estimates_count;
    tags_are_summed_and_days_are_whole => tags_and_days;
    what_many_spent_since_a_moment_each_is_that_of_their_events => many_since;
    a_holder_that_is_made_again_has_spent_nothing => holder_again;
}

fn change(at: UnixMicros) -> Change {
    Change { actor: "someone".to_owned(), at }
}

fn key(name: &str) -> KeyRecord {
    KeyRecord {
        hash: KeyHash::of(name),
        payer: None,
        key_name: format!("sk-...{name}"),
        key_alias: Some(format!("alias of {name}")),
        team_id: Some("team".to_owned()),
        user_id: None,
        models: vec!["claude".to_owned(), "us.*".to_owned()],
        allowed_routes: vec![],
        tags: vec!["blue".to_owned()],
        metadata: json!({"purpose": ["tests", 1]}),
        expires_at: Some(UnixMicros(NOON.0 + DAY)),
        blocked: false,
        created_at: NOON,
        updated_at: NOON,
        created_by: Some("someone".to_owned()),
        revision: 0,
        limits: LimitSet { rpm: Some(7), max_budget: Some(NanoUsd(5)), ..LimitSet::default() },
        budget_id: Some("b".to_owned()),
        spend_carried: NanoUsd::ZERO,
        spend_since: None,
    }
}

fn event(number: u64, payer: Payer) -> SpendEvent {
    let started_at = UnixMicros(NOON.0 + i64::try_from(number).unwrap() * 7_200_000_000);
    let id = EventId::at(started_at);
    SpendEvent {
        begun: Begun {
            id,
            started_at,
            payer,
            team_id: (number.is_multiple_of(2)).then(|| "team".to_owned()),
            user_id: (number.is_multiple_of(3)).then(|| "user".to_owned()),
            end_user: Some(format!("customer {}", number % 5)),
            tags: vec!["blue".to_owned()],
            session_id: None,
            call_id: (number % 2 == 1).then(|| format!("call-{number}")),
            service: Service::BedrockRuntime,
            operation: "Converse".to_owned(),
            requested_model: Some("claude".to_owned()),
            deployment: "first".to_owned(),
            model_id: (!number.is_multiple_of(7)).then(|| "anthropic.claude".to_owned()),
            region: "us-west-2".to_owned(),
            estimate: None,
        },
        ended: Ended {
            id,
            outcome: if number.is_multiple_of(4) { Outcome::ClientGone } else { Outcome::Complete },
            status: 200,
            attempts: vec![
                Attempt { deployment: "first".to_owned(), status: 429 },
                Attempt { deployment: "second".to_owned(), status: 200 },
            ],
            model_id: None,
            region: Some("us-east-1".to_owned()),
            usage: Some(Usage {
                input_tokens: 100 + number,
                output_tokens: 10,
                cache_write_1h_tokens: 3,
                units: vec![(Unit::Query, 2)],
                ..Usage::default()
            }),
            basis: if number % 6 == 5 { CostBasis::Unpriced } else { CostBasis::Exact },
            price: None,
            cost: (number % 6 != 5).then(|| NanoUsd(i64::try_from(number).unwrap() + 1)),
            latency_us: 1_500,
            time_to_first_byte_us: Some(700),
            aws_request_id: Some("aws".to_owned()),
        },
    }
}

fn events(count: u64) -> Vec<SpendEvent> {
    (0..count).map(|number| event(number, Payer::Key(KeyHash::of("one")))).collect()
}

async fn two_migrate_at_once(database: &TestDatabase) {
    let (one, two) = (database.open().await, database.open().await);
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.is_empty() != second.is_empty(), "one migrates, the other waits: {first:?} {second:?}");
    assert_eq!(one.migrate().await.unwrap(), Vec::<String>::new());
    one.ping().await.unwrap();
    assert_eq!(one.load_keys().await.unwrap().keys, vec![]);
}

async fn newer_is_refused(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let later = "INSERT INTO bedgate.__diesel_schema_migrations (version) VALUES ('29991231000000')";
    execute(&store, later.to_owned()).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(&error, StoreError::Newer(unknown) if unknown == &["29991231000000"]), "{error}");
    assert!(!error.is_transient());
    assert!(error.to_string().contains("newer than this bedgate"), "{error}");
}

async fn events_are_idempotent(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let all = events(20);
    let shipped = store.insert_spend(&all[..12]).await.unwrap();
    assert_eq!(shipped, InsertedSpend { inserted: 12, already_there: 0 });
    let again = store.insert_spend(&all).await.unwrap();
    assert_eq!(again, InsertedSpend { inserted: 8, already_there: 12 });
    let thrice = store.insert_spend(&all).await.unwrap();
    assert_eq!(thrice, InsertedSpend { inserted: 0, already_there: 20 });
    let nothing = store.insert_spend(&[]).await.unwrap();
    assert_eq!(nothing, InsertedSpend::default());
    assert_sums(&store, &all).await;
}

async fn some_is_there(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    // Megabytes: much is still on its way when the first event that is there is met.
    let (count, known) = (2_500, [1, 700, 2_499]);
    let mut all = events(count as u64);
    for event in &mut all {
        event.begun.session_id = Some("s".repeat(1_000));
    }
    for known in [&known[1..], &known[..]] {
        let known: Vec<_> = known.iter().map(|number| all[*number].clone()).collect();
        store.insert_spend(&known).await.unwrap();
    }
    let shipped = store.insert_spend(&all).await.unwrap();
    assert_eq!(shipped, InsertedSpend { inserted: count - known.len(), already_there: known.len() });
    assert_sums(&store, &all).await;
}

async fn any_length(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let all = events(720);
    let mut rest = &all[..];
    // Around what goes in at once, and around what is long enough for that.
    for count in [1, 7, 8, 9, 63, 64, 65, 71, 72] {
        for known in [BTreeSet::new(), BTreeSet::from([0, count / 2, count - 1])] {
            let batch = rest.split_off(..count).unwrap();
            for place in &known {
                store.insert_spend(&batch[*place..=*place]).await.unwrap();
            }
            let shipped = store.insert_spend(batch).await.unwrap();
            let expected = InsertedSpend { inserted: count - known.len(), already_there: known.len() };
            assert_eq!(shipped, expected, "{count} events, of which {known:?} are known");
        }
    }
    assert_eq!(rest, []);
    assert_sums(&store, &all).await;
}

async fn sums(store: &Store, scope: Scope) -> BTreeMap<String, SpendSum> {
    store.spend_sums(scope, Days::default(), 1_000).await.unwrap().into_iter().collect()
}

/// The sums of every scope are those of these events, whatever the days.
async fn assert_sums(store: &Store, events: &[SpendEvent]) {
    let name = |scope: Scope, event: &SpendEvent| match scope {
        Scope::Key => Some(event.begun.payer.to_string()),
        Scope::Team => event.begun.team_id.clone(),
        Scope::User => event.begun.user_id.clone(),
        Scope::EndUser => event.begun.end_user.clone(),
        Scope::Model => Some(event.model_id().unwrap_or_default().to_owned()),
        Scope::KeyModel => {
            event.begun.requested_model.as_ref().map(|model| format!("{}:{model}", event.begun.payer))
        }
    };
    for scope in [Scope::Key, Scope::Team, Scope::User, Scope::EndUser, Scope::Model, Scope::KeyModel] {
        let mut expected = BTreeMap::<String, SpendSum>::new();
        for event in events {
            let Some(name) = name(scope, event) else { continue };
            let sum = expected.entry(name).or_default();
            sum.requests += 1;
            let usage = event.ended.usage.as_ref().unwrap();
            sum.tokens += i64::try_from(usage.input_tokens + 13).unwrap();
            sum.cost = sum.cost.saturating_add(event.ended.cost.unwrap_or_default());
        }
        assert_eq!(sums(store, scope).await, expected, "{scope:?}");
    }
}

/// What a model states is a number of its own choosing.
async fn absurd_numbers(database: &TestDatabase) {
    const MOST: i64 = 1_000_000_000_000_000;
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut all = events(40);
    for event in &mut all {
        let usage = event.ended.usage.as_mut().unwrap();
        (usage.input_tokens, usage.output_tokens) = (u64::MAX, u64::MAX);
        event.ended.cost = Some(NanoUsd(i64::MAX));
        event.begun.estimate = Some(NanoUsd(i64::MAX));
    }
    let (first, rest) = all.split_at(20);
    store.insert_spend(first).await.unwrap();
    store.insert_spend(rest).await.unwrap();
    let sum = &sums(&store, Scope::Key).await[&Payer::Key(KeyHash::of("one")).to_string()];
    assert_eq!((sum.cost, sum.requests), (NanoUsd(40 * MOST), 40));
    if database.postgres.is_some() {
        // Where a sum is full all the same, the row is refused: the rest of its batch goes on without it.
        execute(&store, format!("UPDATE bedgate.spend_rollups SET cost_nano = {}", i64::MAX)).await.unwrap();
        let error = store.insert_spend(&[event(0, Payer::Key(KeyHash::of("one")))]).await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
    }
}

async fn unpriced_is_charged(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut all = events(12);
    store.insert_spend(&all).await.unwrap();
    let first = store.unpriced(None, 1).await.unwrap();
    let rest = store.unpriced(first.last().map(|row| row.id), 100).await.unwrap();
    assert_eq!((first.len(), rest.len()), (1, 1));
    for row in first.into_iter().chain(rest) {
        let event = all.iter_mut().find(|event| event.begun.id == row.id.0).unwrap();
        assert_eq!(row.usage(), event.ended.usage);
        assert!(store.reprice(row.clone(), NanoUsd(7), None).await.unwrap());
        assert!(!store.reprice(row, NanoUsd(7), None).await.unwrap(), "a second time changes nothing");
        event.ended.cost = Some(NanoUsd(7));
    }
    assert_eq!(store.unpriced(None, 100).await.unwrap(), []);
    assert_sums(&store, &all).await;
}

async fn rows_keep_their_own(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    // More than go in one by one, and no multiple of those that go in at once.
    let mut all = events(77);
    for (number, event) in all.iter_mut().enumerate() {
        event.begun.payer = if number % 2 == 0 { Payer::Master } else { event.begun.payer };
        event.begun.tags.truncate(number % 2);
        event.ended.usage = event.ended.usage.take().filter(|_| number % 3 > 0);
        event.ended.time_to_first_byte_us = event.ended.time_to_first_byte_us.filter(|_| number % 4 > 1);
        event.ended.aws_request_id = (number % 4 > 0).then(|| format!("aws {}", number / 3));
        let entry = format!("model {}", number % 2).into();
        event.ended.price = (number % 5 > 0).then(|| Price { entry, rates: vec![("token".into(), 3)] });
    }
    let rows = async || store.spend_logs(SpendFilter::default(), 1, 100).await.unwrap().events;
    store.insert_spend(&all).await.unwrap();
    let together = rows().await;
    execute(&store, "DELETE FROM bedgate.spend_events".to_owned()).await.unwrap();
    for event in &all {
        store.insert_spend(std::slice::from_ref(event)).await.unwrap();
    }
    assert_eq!(together.len(), all.len());
    assert_eq!(rows().await, together);
    assert_eq!(together[0].id.0, all[76].begun.id, "the newest first");
}

async fn estimates_count(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut all = events(12);
    for event in &mut all {
        event.begun.estimate = Some(NanoUsd(1_000));
    }
    store.insert_spend(&all).await.unwrap();
    let cost: i64 = all.iter().filter_map(|event| event.ended.cost).map(|cost| cost.0).sum();
    let payer = KeyHash::of("one").to_string();
    let subjects =
        [SpendOf::Payer(payer.clone()), SpendOf::PayerAndModel(payer, "claude".to_owned()), SpendOf::All];
    // From a midnight on, and from within the first day, whose events are read one by one.
    let since = [UnixMicros(NOON.0 - DAY / 2), NOON];
    let counted = async || {
        let ask = |of: &SpendOf| since.map(|since| SpendSince { of: of.clone(), since });
        store.spent_since(subjects.iter().flat_map(ask).collect()).await.unwrap()
    };
    assert_eq!(counted().await, vec![Spent { cost: NanoUsd(cost), estimated: NanoUsd(2_000) }; 6]);
    for row in store.unpriced(None, 100).await.unwrap() {
        assert!(store.reprice(row, NanoUsd(7), None).await.unwrap());
    }
    assert_eq!(counted().await, vec![Spent { cost: NanoUsd(cost + 14), estimated: NanoUsd::ZERO }; 6]);
}

async fn many_since(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let all: Vec<SpendEvent> = (0..40)
        .map(|number| {
            let payer = Payer::Key(KeyHash::of(if number % 3 == 0 { "one" } else { "two" }));
            let mut event = event(number, payer);
            event.begun.team_id = Some(format!("team {}", number % 4));
            event
        })
        .collect();
    store.insert_spend(&all).await.unwrap();
    let payers = ["one", "two", "three"].map(|key| SpendOf::Payer(KeyHash::of(key).to_string()));
    let teams = (0..5).map(|number| SpendOf::Team(format!("team {number}")));
    let users = (0..6).map(|number| SpendOf::EndUser(format!("customer {number}")));
    // More than one query asks for.
    let strangers = (0..600).map(|number| SpendOf::Payer(format!("stranger {number}")));
    let subjects: Vec<SpendOf> = payers.into_iter().chain(teams).chain(users).chain(strangers).collect();
    // Of each one a moment of its own within a day, a midnight, and another moment: the same name more than once.
    let asked: Vec<SpendSince> = (0_i64..)
        .zip(&subjects)
        .flat_map(|(number, of)| {
            let moments = [NOON.0 + number % 50 * 500_000_000, NOON.0 + DAY / 2, NOON.0 + DAY + number];
            moments.map(|since| SpendSince { of: of.clone(), since: UnixMicros(since) })
        })
        .collect();
    let expected: Vec<i64> = asked
        .iter()
        .map(|SpendSince { of, since }| {
            let counts = |event: &&SpendEvent| {
                let is_theirs = match of {
                    SpendOf::Payer(payer) => event.begun.payer.to_string() == *payer,
                    SpendOf::Team(team) => event.begun.team_id.as_ref() == Some(team),
                    SpendOf::EndUser(user) => event.begun.end_user.as_ref() == Some(user),
                    SpendOf::PayerAndModel(..) | SpendOf::All => false,
                };
                is_theirs && event.begun.started_at >= *since
            };
            all.iter().filter(counts).filter_map(|event| event.ended.cost).map(|cost| cost.0).sum()
        })
        .collect();
    let found: Vec<i64> =
        store.spent_since(asked).await.unwrap().into_iter().map(|spent| spent.cost.0).collect();
    assert_eq!(found, expected);
    assert!(expected.iter().filter(|sum| **sum > 0).count() > 20);
}

async fn holder_again(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let make = async |kind, at| {
        let change = change(UnixMicros(at));
        let record = HolderRecord::new(kind, "again".to_owned(), &change);
        store.create_holder(record, change).await.unwrap().limits.reset
    };
    for kind in [HolderKind::Team, HolderKind::Customer, HolderKind::Budget] {
        assert_eq!(make(kind, 1).await, None);
        store.delete_holder(kind, "again".to_owned(), change(UnixMicros(2))).await.unwrap().unwrap();
        let nothing = SpendReset { at: UnixMicros(3), to: NanoUsd::ZERO };
        assert_eq!(make(kind, 3).await, Some(nothing).filter(|_| kind != HolderKind::Budget));
        let found = store.find_holders(kind, vec!["again".to_owned(), "nobody".to_owned()]).await.unwrap();
        assert_eq!(found.iter().map(|holder| holder.created_at.0).collect::<Vec<_>>(), [3]);
    }
}

async fn pages_follow(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut all = events(24);
    // Some begin at the same moment.
    for number in [3, 6, 9] {
        all[number].begun.started_at = all[0].begun.started_at;
        let id = EventId::at(all[0].begun.started_at);
        (all[number].begun.id, all[number].ended.id) = (id, id);
    }
    store.insert_spend(&all).await.unwrap();
    let of_user = SpendFilter { user_id: Some("user".to_owned()), ..SpendFilter::default() };
    for filter in [SpendFilter::default(), of_user] {
        let whole = store.spend_logs(filter.clone(), 1, 100).await.unwrap().events;
        assert!(whole.len() >= 8);
        for size in [1, 2, 5, 23] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = store.spend_logs_after(filter.clone(), after, size).await.unwrap();
                after = page.next();
                seen.extend(page.events);
                if after.is_none() {
                    break;
                }
            }
            assert!(seen == whole, "{filter:?} by {size}");
        }
    }

    for number in 0..205 {
        let mut record = key(&number.to_string());
        record.created_at = UnixMicros(NOON.0 + number / 4);
        record.team_id = Some(if number < 130 { "team" } else { "other" }.to_owned());
        store.create_key(record, NanoUsd::ZERO, change(NOON)).await.unwrap();
    }
    let filter = KeyFilter { team_id: Some("team".to_owned()), ..KeyFilter::default() };
    let (first, next) = store.keys_after(filter.clone(), None).await.unwrap();
    let (second, end) = store.keys_after(filter.clone(), next).await.unwrap();
    assert_eq!((first.len(), second.len(), end), (100, 30, None));
    let by_offset = store.list_keys(filter, 2, 100).await.unwrap().keys;
    assert_eq!(second, by_offset);
    let hashes: std::collections::BTreeSet<_> =
        first.iter().chain(&second).map(|key| key.record.hash).collect();
    assert_eq!(hashes.len(), 130);
}

async fn keys_sorted(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    // name, made, changed, alias, budget, spent before, spent since
    let rows = [
        ("a", 2, 9, Some("beech"), None, 7, 0),
        ("b", 1, 8, None, Some(100), 0, 20),
        ("c", 3, 7, Some("alder"), Some(20), 5, 1),
    ];
    for (number, (name, made, changed, alias, budget, carried, spent)) in (0..).zip(rows) {
        let mut record = key(name);
        (record.created_at, record.updated_at) = (UnixMicros(made), UnixMicros(changed));
        record.key_alias = alias.map(str::to_owned);
        record.limits.max_budget = budget.map(NanoUsd);
        store.create_key(record, NanoUsd(carried), change(NOON)).await.unwrap();
        let mut event = event(number, Payer::Key(KeyHash::of(name)));
        event.ended.cost = Some(NanoUsd(spent));
        store.insert_spend(&[event]).await.unwrap();
    }
    let mut by_hash = ["a", "b", "c"];
    by_hash.sort_by_key(|name| KeyHash::of(name).to_string());
    let by_hash = by_hash.concat();
    // What is missing comes last either way.
    for (by, ascending, descending) in [
        (SortedBy::CreatedAt, "bac", "cab"),
        (SortedBy::UpdatedAt, "cba", "abc"),
        (SortedBy::KeyAlias, "cab", "acb"),
        (SortedBy::MaxBudget, "cba", "bca"),
        (SortedBy::Spend, "cab", "bac"),
        (SortedBy::Hash, by_hash.as_str(), &by_hash.chars().rev().collect::<String>()),
    ] {
        for (is_ascending, expected) in [(true, ascending), (false, descending)] {
            let order = KeyOrder { by, ascending: is_ascending };
            let page = store.list_keys_by(order, KeyFilter::default(), 1, 10).await.unwrap();
            let names: String = page.keys.iter().map(|key| &key.record.key_name[6..]).collect();
            assert_eq!(names, expected, "{order:?}");
        }
    }
}

fn value(name: &str) -> (KeyHash, String) {
    (KeyHash::of(name), format!("sk-...{name}"))
}

async fn spent(store: &Store, name: &str) -> NanoUsd {
    store.find_key(KeyHash::of(name)).await.unwrap().unwrap().spend
}

async fn accounts_go_on(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    store.create_key(key("first"), NanoUsd(100), change(NOON)).await.unwrap();
    let payer = Payer::Key(KeyHash::of("first"));
    store.insert_spend(&[event(1, payer)]).await.unwrap();
    let replace = async |old: &str, new: &str, patch: KeyPatch| {
        store.replace_key(KeyHash::of(old), value(new), patch, change(NOON)).await
    };
    let patch =
        KeyPatch { models: Some(vec![]), key_alias: Some(Some("renamed".into())), ..KeyPatch::default() };
    let second = replace("first", "second", patch).await.unwrap().unwrap();
    assert_eq!((second.payer(), second.hash), (KeyHash::of("first"), KeyHash::of("second")));
    assert_eq!((second.models.len(), second.key_alias.as_deref()), (0, Some("renamed")));
    // Shipped after the change: begun under the old value.
    store.insert_spend(&[event(2, payer)]).await.unwrap();
    let cost = |number: u64| event(number, payer).ended.cost.unwrap().0;
    let both = NanoUsd(100 + cost(1) + cost(2));
    assert_eq!(spent(&store, "second").await, both);
    // Back to the first value: nothing counts twice.
    let first = replace("second", "first", KeyPatch::default()).await.unwrap().unwrap();
    assert_eq!((first.payer(), spent(&store, "first").await), (KeyHash::of("first"), both));

    // Either value names the account, and the account names the key, also when it is gone.
    replace("first", "third", KeyPatch::default()).await.unwrap().unwrap();
    let payer = payer.to_string();
    for name in ["first", "second", "third"] {
        assert_eq!(store.payer_of(KeyHash::of(name)).await.unwrap(), payer, "{name}");
    }
    let nobody = KeyHash::of("nobody");
    assert_eq!(store.payer_of(nobody).await.unwrap(), nobody.to_string());
    for _ in ["living", "deleted"] {
        let names = vec![payer.clone(), nobody.to_string(), Payer::MASTER.to_owned()];
        let keys = store.keys_of_payers(names).await.unwrap();
        assert_eq!(keys.len(), 1, "{keys:?}");
        let found = (&keys[&payer].hash, keys[&payer].key_alias.as_deref());
        assert_eq!(found, (&KeyHash::of("third").to_string(), Some("renamed")));
        store.delete_keys(vec![KeyHash::of("third")], change(NOON)).await.unwrap();
    }
    let taken = replace("nobody", "x", KeyPatch::default()).await.unwrap();
    assert_eq!(taken, None);
    store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    store.create_key(key("two"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let error = replace("one", "two", KeyPatch::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken(TakenName::Key)), "{error:?}");
    let patch = KeyPatch { key_alias: Some(Some("alias of two".to_owned())), ..KeyPatch::default() };
    let error = replace("one", "three", patch).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken(TakenName::Alias(_))), "{error:?}");
    assert!(store.find_key(KeyHash::of("one")).await.unwrap().is_some());
}

async fn nothing_is_inherited(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let made = async |name: &str, carried: i64| {
        store.create_key(key(name), NanoUsd(carried), change(NOON)).await.unwrap()
    };
    // Of a key that was deleted, of one that has another value now, and of nobody who is known.
    made("deleted", 0).await;
    made("changed", 0).await;
    let other = value("other");
    store.replace_key(KeyHash::of("changed"), other, KeyPatch::default(), change(NOON)).await.unwrap();
    let patch = KeyPatch { key_alias: Some(None), ..KeyPatch::default() };
    store.update_key(KeyHash::of("other"), patch, "key.update", change(NOON)).await.unwrap();
    store.delete_keys(vec![KeyHash::of("deleted")], change(NOON)).await.unwrap();
    for (number, name) in (1..).zip(["deleted", "changed", "unknown"]) {
        let event = event(number, Payer::Key(KeyHash::of(name)));
        if name == "unknown" {
            store.insert_spend(std::slice::from_ref(&event)).await.unwrap();
        }
        let again = made(name, 7).await;
        assert_ne!(again.payer(), again.hash, "{name}");
        // Also what is shipped only now.
        store.insert_spend(&[event]).await.unwrap();
        assert_eq!(spent(&store, name).await, NanoUsd(7), "{name}");
        assert_eq!(store.payer_of(again.hash).await.unwrap(), again.payer().to_string());
    }
    assert_eq!(
        store.find_key(KeyHash::of("other")).await.unwrap().unwrap().record.payer(),
        KeyHash::of("changed")
    );
    assert_eq!(made("new", 0).await.payer, None);
}

async fn resets_cut_by_start(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    store.create_key(key("one"), NanoUsd(100), change(NOON)).await.unwrap();
    store.create_key(key("two"), NanoUsd(30), change(NOON)).await.unwrap();
    let payer = Payer::Key(KeyHash::of("one"));
    let costing = |after: i64, nano: i64| {
        let mut event = event(u64::try_from(nano).unwrap(), payer);
        event.begun.started_at = UnixMicros(NOON.0 + after);
        event.begun.id = EventId::at(event.begun.started_at);
        (event.ended.id, event.ended.cost) = (event.begun.id, Some(NanoUsd(nano)));
        event
    };
    store.insert_spend(&[costing(-DAY, 1_000), costing(-1, 2_000)]).await.unwrap();
    let patch = KeyPatch { spent: Some(SpendReset { at: NOON, to: NanoUsd(5) }), ..KeyPatch::default() };
    let reset = store.update_key(KeyHash::of("one"), patch, "key.reset_spend", change(NOON)).await.unwrap();
    assert_eq!(reset.unwrap().limits.reset, Some(SpendReset { at: NOON, to: NanoUsd(5) }));
    assert_eq!(spent(&store, "one").await, NanoUsd(5));
    // Shipped after the reset: what began before it, at it, after it, on the next days.
    store.insert_spend(&[costing(-2, 4_000), costing(0, 10), costing(3, 20)]).await.unwrap();
    assert_eq!(spent(&store, "one").await, NanoUsd(35));
    store.insert_spend(&[costing(DAY, 100), costing(3 * DAY, 200)]).await.unwrap();
    assert_eq!(spent(&store, "one").await, NanoUsd(335));
    let since = SpendSince { of: SpendOf::Payer(payer.to_string()), since: NOON };
    assert_eq!(store.spent_since(vec![since]).await.unwrap()[0].cost, NanoUsd(330));
    let order = KeyOrder { by: SortedBy::Spend, ascending: true };
    let page = store.list_keys_by(order, KeyFilter::default(), 1, 10).await.unwrap();
    assert_eq!(page.keys.iter().map(|key| key.spend.0).collect::<Vec<_>>(), [30, 335]);
}

/// Which events a filter is to find.
type Meant<'m> = &'m dyn Fn(&SpendEvent) -> bool;

async fn days_match(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    assert_eq!(store.days_with_spend(Days::default()).await.unwrap(), None);
    let mut all = events(40);
    all.push(event(41, Payer::Master));
    all.push(event(90, Payer::Anonymous));
    store.insert_spend(&all).await.unwrap();
    let by_day = store.spend_by_day(Days::default()).await.unwrap();
    assert_eq!(by_day, store.spend_by_day_of(SpendFilter::default()).await.unwrap());
    let first = i32::try_from(NOON.0 / DAY).unwrap();
    assert_eq!(store.days_with_spend(Days::default()).await.unwrap(), Some((first, first + 8)));
    let expected_of = |is_meant: Meant<'_>| {
        let costs = all.iter().filter(|event| is_meant(event)).filter_map(|event| event.ended.cost);
        costs.map(|cost| cost.0).sum::<i64>()
    };
    let sum_of = |by_day: &BTreeMap<i32, DaySpend>| by_day.values().map(|day| day.cost.0).sum::<i64>();
    assert_eq!(sum_of(&by_day), expected_of(&|_| true));
    for day in by_day.values() {
        for names in [&day.payers, &day.users, &day.models] {
            assert_eq!(names.values().map(|cost| cost.0).sum::<i64>(), day.cost.0, "{day:?}");
        }
    }
    assert!(by_day[&first].users.contains_key("") && by_day[&first].models.contains_key(""));
    let none = SpendFilter::default;
    let hash = KeyHash::of("one").to_string();
    let (from, until) = (all[3].begun.started_at, all[9].begun.started_at);
    let of_one = |event: &SpendEvent| event.begun.payer == Payer::Key(KeyHash::of("one"));
    let of_user = |event: &SpendEvent| event.begun.user_id.as_deref() == Some("user");
    let in_time = |event: &SpendEvent| (from..until).contains(&event.begun.started_at);
    let cases: [(SpendFilter, Meant<'_>); 6] = [
        (SpendFilter { payer: Some(hash.clone()), ..none() }, &of_one),
        (SpendFilter { user_id: Some("user".to_owned()), ..none() }, &of_user),
        (
            SpendFilter { payer: Some(hash), user_id: Some("user".to_owned()), from: Some(from), ..none() },
            &|event| of_one(event) && of_user(event) && event.begun.started_at >= from,
        ),
        (SpendFilter { from: Some(from), until: Some(until), ..none() }, &in_time),
        (SpendFilter { request_id: Some(all[4].begun.id.to_string()), ..none() }, &|event| event == &all[4]),
        (SpendFilter { request_id: Some("call-7".to_owned()), ..none() }, &|event| event == &all[7]),
    ];
    for (filter, is_meant) in cases {
        let found = store.spend_by_day_of(filter.clone()).await.unwrap();
        assert_eq!(sum_of(&found), expected_of(is_meant), "{filter:?}");
    }
    let costs = store.cost_by_day(None, Days::default()).await.unwrap();
    assert_eq!(costs, by_day.iter().map(|(day, spend)| (*day, spend.cost)).collect::<Vec<_>>());
    let of_master = store.cost_by_day(Some(Payer::MASTER.to_owned()), Days::default()).await.unwrap();
    assert_eq!(of_master.len(), 1);
}

async fn tags_and_days(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    // One each two hours from noon on: six on the first day.
    let mut all = events(12);
    for (number, event) in all.iter_mut().enumerate() {
        let tags: &[&str] = [&["a", "b \"quoted\"", "a"] as &[&str], &[], &["a"]][number % 3];
        event.begun.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        event.ended.cost = Some(NanoUsd(1 << number));
    }
    store.insert_spend(&all).await.unwrap();
    let tags = async |from, until| {
        let sums = store.spend_by_tag(from, until, 100).await.unwrap();
        sums.into_iter().map(|(tag, sum)| (tag, sum.requests, sum.cost.0)).collect::<Vec<_>>()
    };
    let named = |tag: &str, requests, cost| (tag.to_owned(), requests, cost);
    let of_all = vec![named("a", 8, 0b1011_0110_1101), named("b \"quoted\"", 4, 0b0010_0100_1001)];
    assert_eq!(tags(None, None).await, of_all);
    let (from, until) = (Some(all[2].begun.started_at), Some(all[6].begun.started_at));
    assert_eq!(tags(from, until).await, [named("a", 3, 0b10_1100), named("b \"quoted\"", 1, 0b1000)]);
    let day = i32::try_from(NOON.0 / DAY).unwrap();
    for (days, expected) in [
        (Days { first: None, last: Some(day) }, 0b11_1111),
        (Days { first: Some(day + 1), last: None }, 0b1111_1100_0000),
        (Days { first: Some(day), last: Some(day + 1) }, 0b1111_1111_1111),
    ] {
        assert_eq!(store.total_spend(days).await.unwrap().0, expected, "{days:?}");
        assert_eq!(store.spend_sums(Scope::Key, days, 10).await.unwrap()[0].1.cost.0, expected, "{days:?}");
    }
}

async fn sums_match(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut all = events(60);
    all.push(event(61, Payer::Master));
    all.push(event(62, Payer::Anonymous));
    all.push(SpendEvent::interrupted(Begun { estimate: Some(NanoUsd(7)), ..event(63, Payer::Master).begun }));
    store.insert_spend(&all).await.unwrap();
    let of_keys = sums(&store, Scope::Key).await;
    assert_eq!((of_keys[Payer::MASTER].requests, of_keys[Payer::MASTER].cost), (2, NanoUsd(62 + 7)));
    let most = store.spend_sums(Scope::Key, Days::default(), 1).await.unwrap();
    assert_eq!(most, [(KeyHash::of("one").to_string(), of_keys[&KeyHash::of("one").to_string()].clone())]);
    let total: i64 = all.iter().filter_map(|event| event.ended.cost).map(|cost| cost.0).sum();
    for scope in [Scope::Key, Scope::Model] {
        assert_eq!(sums(&store, scope).await.values().map(|sum| sum.cost.0).sum::<i64>(), total);
    }
    assert_eq!(store.total_spend(Days::default()).await.unwrap(), NanoUsd(total));
}

async fn inserters_overlap(database: &TestDatabase) {
    let (one, two) = (database.open().await, database.open().await);
    one.migrate().await.unwrap();
    let all = events(400);
    let mut tasks = Vec::new();
    for round in 0..8_usize {
        let store = if round % 2 == 0 { one.clone() } else { two.clone() };
        let mut batch = all[round * 40..(round * 40 + 120)].to_vec();
        if round % 3 == 0 {
            batch.reverse();
        }
        tasks.push(tokio::spawn(async move { store.insert_spend(&batch).await.unwrap().inserted }));
    }
    let mut inserted = 0;
    for task in tasks {
        inserted += task.await.unwrap();
    }
    assert_eq!(inserted, 400);
    assert_sums(&one, &all).await;
}

async fn odd_texts(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut odd = event(1, Payer::Anonymous);
    odd.begun.end_user = Some("a\0b'); DROP TABLE keys; --".to_owned());
    odd.begun.tags = vec!["nul \0, quote \", snowman \u{2603}".to_owned()];
    odd.begun.operation = "\0".to_owned();
    // Too long for an index of Postgres, and not to be compressed.
    let noise: String =
        (0..400_u64).map(|number| EventId::at(UnixMicros(number.cast_signed())).to_string()).collect();
    odd.begun.team_id = Some(noise.clone());
    odd.begun.user_id = Some(format!("{}\u{2603}", &noise[..2_046]));
    odd.begun.call_id = Some(noise.clone());
    odd.begun.model_id = Some(noise);
    odd.ended.usage = Some(Usage { input_tokens: u64::MAX, ..Usage::default() });
    odd.ended.status = u16::MAX;
    odd.ended.latency_us = u64::MAX;
    assert_eq!(store.insert_spend(std::slice::from_ref(&odd)).await.unwrap().inserted, 1);
    let page = store.spend_logs(SpendFilter::default(), 1, 10).await.unwrap();
    assert_eq!(page.events[0].end_user.as_deref(), Some("a?b'); DROP TABLE keys; --"));
    let tags: Vec<String> = serde_json::from_str(&page.events[0].tags).unwrap();
    assert_eq!(tags, ["nul ?, quote \", snowman \u{2603}"]);
    assert_eq!(page.events[0].user_id.as_ref().unwrap().len(), 2_046);
    execute(&store, "SELECT * FROM bedgate.spend".to_owned()).await.unwrap();
    assert_eq!(page.events[0].input_tokens, Some(1_000_000_000_000_000));
}

async fn key_life(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let made = store.create_key(key("one"), NanoUsd(1_000), change(NOON)).await.unwrap();
    assert_eq!(made, KeyRecord { revision: 1, spend_carried: NanoUsd(1_000), ..key("one") });
    store.insert_spend(&events(3)).await.unwrap();
    let found = store.find_key(made.hash).await.unwrap().unwrap();
    assert_eq!((found.record, found.spend), (made.clone(), NanoUsd(1_000 + 1 + 2 + 3)));

    let later = UnixMicros(NOON.0 + 5);
    let patch = KeyPatch { blocked: Some(true), expires_at: Some(None), ..KeyPatch::default() };
    let blocked = store.update_key(made.hash, patch, "key.block", change(later)).await.unwrap().unwrap();
    let expected = KeyRecord { blocked: true, expires_at: None, updated_at: later, revision: 2, ..made };
    assert_eq!(blocked, expected);
    let found = store.find_key(expected.hash).await.unwrap().unwrap();
    assert_eq!((found.record, found.updated_by.as_deref()), (expected.clone(), Some("someone")));
    let nobody = store.update_key(KeyHash::of("nobody"), KeyPatch::default(), "key.update", change(later));
    assert_eq!(nobody.await.unwrap(), None);

    let hashes = vec![expected.hash, KeyHash::of("nobody")];
    assert_eq!(store.delete_keys(hashes, change(later)).await.unwrap(), vec![expected.hash]);
    assert_eq!(store.find_key(expected.hash).await.unwrap(), None);
    assert_eq!(store.load_keys().await.unwrap().keys, vec![]);
    // Its spend stays, and the key can be made again.
    assert_eq!(sums(&store, Scope::Key).await.len(), 1);
    store.create_key(key("one"), NanoUsd::ZERO, change(later)).await.unwrap();

    let audit: Vec<(String, Option<String>, Option<String>)> = on_writer!(store, |conn| {
        use super::schema::audit_log::dsl;
        use diesel::prelude::*;
        use diesel_async::RunQueryDsl;
        let rows = dsl::audit_log.order(dsl::id).select((dsl::action, dsl::before, dsl::after));
        Ok(rows.load(conn).await?)
    })
    .unwrap();
    let actions: Vec<&str> = audit.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(actions, ["key.create", "key.block", "key.delete", "key.create"]);
    assert!(audit[1].1.as_ref().unwrap().contains("\"blocked\":false"));
    assert!(audit[1].2.as_ref().unwrap().contains("\"blocked\":true"));
    assert!(audit[1].2.as_ref().unwrap().contains(&expected.hash.to_string()));
}

async fn changes_in_order(database: &TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    store.migrate().await.unwrap();
    let start = other.load_keys().await.unwrap().revision;
    assert_eq!(start, 0);
    let one = store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let two = store.create_key(key("two"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let seen = other.key_changes_since(start).await.unwrap();
    assert_eq!(seen.changes, vec![KeyChange::put(one.clone()), KeyChange::put(two.clone())]);
    assert_eq!(other.key_changes_since(seen.revision).await.unwrap().changes, vec![]);

    store.delete_keys(vec![one.hash], change(NOON)).await.unwrap();
    let again = store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let patch = KeyPatch { blocked: Some(true), ..KeyPatch::default() };
    let two = store.update_key(two.hash, patch, "key.block", change(NOON)).await.unwrap().unwrap();
    let seen = other.key_changes_since(seen.revision).await.unwrap();
    let removed = KeyChange::Removed { hash: one.hash, revision: 3 };
    assert_eq!(seen.changes, vec![removed, KeyChange::put(again), KeyChange::put(two)]);
    assert_eq!(seen.revision, 5);
    assert_eq!(other.load_keys().await.unwrap().revision, 5);
}

async fn instances_follow(database: &TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    store.migrate().await.unwrap();
    let start = other.load_keys().await.unwrap().revision;
    let (seen, mut seeing) = tokio::sync::mpsc::unbounded_channel();
    let following = tokio::spawn(follow_keys(other, start, move |changes| seen.send(changes).unwrap()));
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(5), seeing.recv()).await.unwrap().unwrap();
    let one = store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    assert_eq!(next().await, vec![KeyChange::put(one.clone())]);
    store.delete_keys(vec![one.hash], change(NOON)).await.unwrap();
    assert_eq!(next().await, vec![KeyChange::Removed { hash: one.hash, revision: 2 }]);
    following.abort();
    assert!(following.await.unwrap_err().is_cancelled());
}

async fn pairs_live(database: &TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    store.migrate().await.unwrap();
    let pair = |id: &str, name: &str| SealedPair {
        access_key_id: id.to_owned(),
        key_hash: KeyHash::of(name),
        sealed: "encrypted".to_owned(),
        sealed_by: "v1:00".to_owned(),
        created_at: NOON,
        created_by: Some("someone".to_owned()),
        ..SealedPair::default()
    };
    let keep = async |pair| store.create_pair(pair, change(NOON)).await.unwrap();
    assert_eq!(keep(pair("AKIA1", "one")).await, KeptPair::NoSuchKey);
    let one = store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let start = other.load_keys().await.unwrap().revision;
    let KeptPair::Kept(first) = keep(pair("AKIA1", "one")).await else { panic!("not kept") };
    assert!(store.create_pair(pair("AKIA1", "one"), change(NOON)).await.is_err(), "an id is unique");
    for number in 1..MAX_PAIRS_PER_KEY {
        assert!(matches!(keep(pair(&format!("AKIA2{number}"), "one")).await, KeptPair::Kept(_)));
    }
    assert_eq!(keep(pair("AKIA3", "one")).await, KeptPair::TooMany);
    let seen = other.key_changes_since(start).await.unwrap();
    assert_eq!(seen.changes.len(), usize::try_from(MAX_PAIRS_PER_KEY).unwrap());
    assert_eq!(seen.changes.first(), Some(&KeyChange::Pair(Box::new(first.clone()))));

    let anew = |pair: &SealedPair| SealedPair {
        sealed: "anew".to_owned(),
        sealed_by: "v1:01".to_owned(),
        ..pair.clone()
    };
    let unknown = SealedPair { access_key_id: "AKIA9".to_owned(), ..first.clone() };
    let resealed = vec![anew(&first), anew(&unknown)];
    assert_eq!(store.reseal_pairs(resealed.clone(), change(NOON)).await.unwrap(), 1);
    assert_eq!(store.reseal_pairs(resealed, change(NOON)).await.unwrap(), 0, "it is done already");
    let kept = store.load_pairs(Some(one.hash)).await.unwrap();
    assert_eq!(kept.iter().find(|pair| pair.access_key_id == "AKIA1"), Some(&anew(&first)));

    let revoked = store.revoke_pair("AKIA1".to_owned(), change(NOON)).await.unwrap().unwrap();
    assert_eq!((revoked.sealed.as_str(), revoked.revoked_at), ("", Some(NOON)));
    assert!(revoked.revision > first.revision);
    assert_eq!(store.revoke_pair("AKIA1".to_owned(), change(NOON)).await.unwrap(), None);
    let seen = other.key_changes_since(seen.revision).await.unwrap();
    assert_eq!(seen.changes, vec![KeyChange::Pair(Box::new(revoked))]);
    let held = usize::try_from(MAX_PAIRS_PER_KEY).unwrap() - 1;
    assert_eq!(store.load_pairs(Some(one.hash)).await.unwrap().len(), held);

    store.delete_keys(vec![one.hash], change(NOON)).await.unwrap();
    assert_eq!(store.load_pairs(None).await.unwrap(), vec![]);
}

async fn response_owners(database: &TestDatabase) {
    let (store, other) = (database.open().await, database.open().await);
    store.migrate().await.unwrap();
    let made = |id: &str, payer: &str, created_at| ResponseOwner {
        response_id: id.to_owned(),
        payer: payer.to_owned(),
        created_at,
    };
    let owners = vec![made("resp_1", "one", 10), made("resp_2", "two", 20)];
    store.keep_response_owners(owners, UnixMicros(0)).await.unwrap();
    let again = vec![made("resp_1", "two", 30), made("resp_3", "three", 30)];
    store.keep_response_owners(again, UnixMicros(0)).await.unwrap();
    let owner = async |id: &str| other.response_owner(id.to_owned()).await.unwrap();
    assert_eq!(owner("resp_1").await.as_deref(), Some("one"), "who made it first stays");
    assert_eq!(owner("resp_3").await.as_deref(), Some("three"));
    assert_eq!(owner("resp_4").await, None);
    store.keep_response_owners(Vec::new(), UnixMicros(20)).await.unwrap();
    assert_eq!((owner("resp_1").await, owner("resp_2").await.as_deref()), (None, Some("two")));
}

async fn taken_names(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let twice = store.create_key(key("one"), NanoUsd::ZERO, change(NOON)).await.unwrap_err();
    assert!(matches!(twice, StoreError::Taken(TakenName::Key)), "{twice}");
    let same_alias = KeyRecord { key_alias: key("one").key_alias, ..key("two") };
    let twice = store.create_key(same_alias, NanoUsd::ZERO, change(NOON)).await.unwrap_err();
    assert!(matches!(twice, StoreError::Taken(TakenName::Alias(_))), "{twice}");
    store.create_key(key("two"), NanoUsd::ZERO, change(NOON)).await.unwrap();
    let patch = KeyPatch { key_alias: Some(key("one").key_alias), ..KeyPatch::default() };
    let twice = store.update_key(KeyHash::of("two"), patch, "key.update", change(NOON)).await.unwrap_err();
    assert!(matches!(twice, StoreError::Taken(TakenName::Alias(_))), "{twice}");
    // What failed has raised no revision.
    assert_eq!(store.load_keys().await.unwrap().revision, 2);
    // What was revoked is made again by who asks for it, and by no import.
    store.delete_keys(vec![KeyHash::of("two")], change(NOON)).await.unwrap();
    let other = (KeyHash::of("three"), "sk-...hree".to_owned());
    store.replace_key(KeyHash::of("one"), other, KeyPatch::default(), change(NOON)).await.unwrap();
    for value in ["one", "two"] {
        let former = KeyRecord { key_alias: None, ..key(value) };
        let foreseen = store.taken_by_key(former.hash, None).await.unwrap();
        assert_eq!(foreseen, Some(TakenName::FormerKey), "{value}");
        let refused = store.import_key(former.clone(), NanoUsd::ZERO, change(NOON)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Taken(TakenName::FormerKey)), "{refused}");
        store.create_key(former, NanoUsd::ZERO, change(NOON)).await.unwrap();
    }
}

async fn key_pages(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    for number in 0..7 {
        let mut record = key(&number.to_string());
        record.created_at = UnixMicros(NOON.0 + number);
        record.user_id = (number < 3).then(|| "user".to_owned());
        store.create_key(record, NanoUsd::ZERO, change(NOON)).await.unwrap();
    }
    let page = store.list_keys(KeyFilter::default(), 2, 3).await.unwrap();
    let names: Vec<&str> = page.keys.iter().map(|key| key.record.key_name.as_str()).collect();
    assert_eq!((names, page.total), (vec!["sk-...3", "sk-...2", "sk-...1"], 7));
    let of_user = KeyFilter { user_id: Some("user".to_owned()), ..KeyFilter::default() };
    assert_eq!(store.list_keys(of_user, 1, 50).await.unwrap().total, 3);
    let by_alias = store.key_hashes_by_alias(vec!["alias of 5".to_owned(), "none".to_owned()]).await.unwrap();
    assert_eq!(by_alias, vec![KeyHash::of("5")]);
}

async fn logs_filtered(database: &TestDatabase) {
    let store = database.open().await;
    store.migrate().await.unwrap();
    let mut all = events(24);
    all.push(event(30, Payer::Master));
    store.insert_spend(&all).await.unwrap();
    let none = SpendFilter::default;
    let cases = [
        (none(), 25),
        (SpendFilter { payer: Some(Payer::MASTER.to_owned()), ..none() }, 1),
        (SpendFilter { user_id: Some("user".to_owned()), ..none() }, 9),
        (SpendFilter { request_id: Some(all[4].begun.id.to_string()), ..none() }, 1),
        (SpendFilter { request_id: Some("call-5".to_owned()), ..none() }, 1),
        (SpendFilter { request_id: Some("nothing".to_owned()), ..none() }, 0),
        (
            SpendFilter {
                from: Some(all[3].begun.started_at),
                until: Some(all[6].begun.started_at),
                ..none()
            },
            3,
        ),
    ];
    for (filter, expected) in cases {
        let page = store.spend_logs(filter.clone(), 1, 1_000).await.unwrap();
        assert_eq!((page.events.len(), page.more), (expected, false), "{filter:?}");
    }
    let page = store.spend_logs(none(), 3, 10).await.unwrap();
    assert_eq!((page.events.len(), page.more), (5, false));
    let page = store.spend_logs(none(), 1, 10).await.unwrap();
    assert_eq!((page.events.len(), page.more), (10, true));
    let newest = &page.events[0];
    assert_eq!((newest.id.0, newest.deployment.as_str()), (all[24].begun.id, "second"));
    assert_eq!((newest.region.as_str(), newest.units.as_deref()), ("us-east-1", Some("{\"query\":2}")));
    execute(&store, "SELECT * FROM bedgate.spend".to_owned()).await.unwrap();
}

/// After a failover a connection may reach a server that takes no writes: the next try makes another.
#[tokio::test]
async fn connections_that_take_no_writes_are_let_go() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let store = database.open().await;
    store.migrate().await.unwrap();
    let all = events(6);
    store.insert_spend(&all[..3]).await.unwrap();
    let (server, name) = database.postgres.as_ref().unwrap();
    let becomes = |what: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {what}");
    // Connections made now take no writes, and go on answering.
    execute(server, becomes("on")).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname";
    execute(server, format!("{cut} = '{name}' AND pid <> pg_backend_pid()")).await.unwrap();
    let refused = async || {
        let mut tries = 0;
        loop {
            match store.insert_spend(&all).await {
                Err(StoreError::ReadOnly(_)) => return,
                Err(error) => assert!(error.is_transient() && tries < 5, "{error}"),
                Ok(_) => panic!("it took writes"),
            }
            tries += 1;
        }
    };
    refused().await;
    execute(server, becomes("off")).await.unwrap();
    store.insert_spend(&all).await.unwrap();
    assert_sums(&store, &all).await;
    // The same for calls that are not batches.
    execute(server, becomes("on")).await.unwrap();
    execute(server, format!("{cut} = '{name}' AND pid <> pg_backend_pid()")).await.unwrap();
    let write = || execute(&store, "DELETE FROM bedgate.spend_events WHERE false".to_owned());
    let mut error = write().await.unwrap_err();
    while !matches!(error, StoreError::ReadOnly(_)) {
        assert!(error.is_transient(), "{error}");
        error = write().await.unwrap_err();
    }
    execute(server, becomes("off")).await.unwrap();
    write().await.unwrap();
    database.drop().await;
}

/// Connections that the server closed are replaced without anybody noticing but the call under way.
#[tokio::test]
async fn a_pool_outlives_the_connections_it_loses() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let store = database.open().await;
    store.migrate().await.unwrap();
    let all = events(6);
    store.insert_spend(&all[..3]).await.unwrap();
    let (server, name) = database.postgres.as_ref().unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname";
    execute(server, format!("{cut} = '{name}' AND pid <> pg_backend_pid()")).await.unwrap();
    let mut tries = 0;
    while let Err(error) = store.insert_spend(&all).await {
        assert!(error.is_transient(), "{error}");
        tries += 1;
        assert!(tries < 3, "{error}");
    }
    assert_sums(&store, &all).await;
    database.drop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_transient_error() {
    let url = Some(Secret::new("postgres://u:secret@127.0.0.1:1/d"));
    let runtime = tokio::runtime::Handle::current();
    let pools = super::postgres::PostgresPools::new(url.as_ref().unwrap(), 1, runtime).unwrap();
    let error = StoreError::from(pools.pool.get().await.err().unwrap());
    assert!(error.is_transient());
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
