//! The counters of everybody who has limits, and how they follow what the database holds.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::convert::Infallible;
use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::MissedTickBehavior;

use super::budget::{BudgetCounter, BudgetTerms};
use super::holders::HolderDirectory;
use super::rate::{RateCounter, RateTerms};
use super::responses::ResponseOwners;
use crate::config::BudgetsConfig;
use crate::domain::period::Period;
use crate::domain::{KeyHash, NanoUsd, UnixMicros};
use crate::event::{Payer, SpendEvent};
use crate::metrics::Metrics;
use crate::store::spend::{SpendOf, SpendSince};
use crate::store::{LimitSet, Store, StoreError};

/// How often counters in use are read from the database: others' spend counts after this and the time of one query.
const READ_INTERVAL: Duration = Duration::from_millis(500);
/// Counters used within this time are read.
const IN_USE_MICROS: i64 = 10_000_000;
/// Counters unused for this long are forgotten.
const FORGOTTEN_MICROS: i64 = 600_000_000;
/// How long a request waits for the database to tell what was spent.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// After a failed reading no request waits for one for this long.
const RETRY_MICROS: i64 = 1_000_000;
/// Counters are spread over so many maps, so that few requests meet at one lock.
const SHARDS: usize = 16;

/// Whose counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everybody's.
    Gateway,
    /// A key's.
    Key(KeyHash),
    /// A key's for one model name.
    KeyModel(KeyHash, String),
    /// A team's.
    Team(String),
    /// A customer's.
    Customer(String),
}

impl Subject {
    fn spend_of(&self) -> SpendOf {
        match self {
            Self::Gateway => SpendOf::All,
            Self::Key(hash) => SpendOf::Payer(hash.to_string()),
            Self::KeyModel(hash, model) => SpendOf::PayerAndModel(hash.to_string(), model.clone()),
            Self::Team(team) => SpendOf::Team(team.clone()),
            Self::Customer(customer) => SpendOf::EndUser(customer.clone()),
        }
    }
}

/// One subject's counters.
#[derive(Debug, Default)]
pub struct Counters {
    /// Its budget.
    pub budget: BudgetCounter,
    /// Its rates.
    pub rate: RateCounter,
    used_at: AtomicI64,
}

/// Everybody's counters.
#[derive(Debug)]
pub struct LimitTable {
    /// Teams, customers and named budgets.
    pub holders: HolderDirectory,
    /// Whose the responses are that AWS keeps.
    pub responses: Arc<ResponseOwners>,
    pub(super) defaults: BudgetsConfig,
    pub(super) gateway: Option<BudgetTerms>,
    pub(super) metrics: Arc<Metrics>,
    store: Store,
    shards: [Mutex<HashMap<Subject, Arc<Counters>>>; SHARDS],
    live: AtomicUsize,
    /// Held while events are shipped; shared by readings, so that none overlaps a shipping.
    shipping: RwLock<()>,
    failed_at: AtomicI64,
}

impl LimitTable {
    /// Without any counter.
    #[must_use]
    pub fn new(store: Store, config: &BudgetsConfig, metrics: Arc<Metrics>) -> Self {
        let gateway = config.max_budget.map(|max| BudgetTerms {
            max: Some(max),
            soft: None,
            period: config.budget_duration.as_deref().and_then(Period::parse),
            set_at: UnixMicros(0),
            enforcement: config.enforcement,
            carried: NanoUsd::ZERO,
            reset: None,
        });
        Self {
            holders: HolderDirectory::default(),
            responses: Arc::new(ResponseOwners::new(store.clone())),
            defaults: config.clone(),
            gateway,
            metrics,
            store,
            shards: std::array::from_fn(|_| Mutex::default()),
            live: AtomicUsize::new(0),
            shipping: RwLock::new(()),
            failed_at: AtomicI64::new(i64::MIN),
        }
    }

    /// The budget of everybody together.
    #[must_use]
    pub fn gateway_budget(&self) -> Option<NanoUsd> {
        self.gateway.as_ref()?.max
    }

    fn shard(&self, subject: &Subject) -> Option<&Mutex<HashMap<Subject, Arc<Counters>>>> {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        self.shards.get(index)
    }

    /// The counters of a subject, made where there are none.
    #[must_use]
    pub fn counters(&self, subject: &Subject, now: UnixMicros) -> Arc<Counters> {
        let Some(shard) = self.shard(subject) else { return Arc::default() };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = shard.entry(subject.clone()).or_insert_with(|| {
            self.live.fetch_add(1, Ordering::Relaxed);
            Arc::default()
        });
        counters.used_at.store(now.0, Ordering::Relaxed);
        Arc::clone(counters)
    }

    fn existing(&self, subject: &Subject) -> Option<Arc<Counters>> {
        self.shard(subject)?.lock().unwrap_or_else(PoisonError::into_inner).get(subject).cloned()
    }

    /// The terms of a budget, where there is one.
    #[must_use]
    pub fn budget_terms(&self, limits: &LimitSet, carried: NanoUsd) -> Option<BudgetTerms> {
        (limits.max_budget.is_some() || limits.soft_budget.is_some()).then(|| BudgetTerms {
            max: limits.max_budget,
            soft: limits.soft_budget,
            period: limits.budget_duration.as_deref().and_then(Period::parse),
            set_at: limits.set_at.unwrap_or_default(),
            enforcement: limits.enforcement.unwrap_or(self.defaults.enforcement),
            carried,
            reset: limits.reset,
        })
    }

    /// What is spent in the current window and when that ends, freshly read.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn spent(
        &self,
        subject: &Subject,
        terms: &BudgetTerms,
        now: UnixMicros,
    ) -> Result<(NanoUsd, Option<UnixMicros>), StoreError> {
        let counters = self.counters(subject, now);
        if let Some(start) = counters.budget.wants_reading(terms, now) {
            self.read(vec![(subject.clone(), Arc::clone(&counters), start)]).await?;
        }
        Ok(counters.budget.spent(terms, now))
    }

    /// Reads what the database holds, unless that failed a moment ago; waits for it so long at the most.
    pub(super) async fn refresh(&self, wanted: Vec<(Subject, Arc<Counters>, UnixMicros)>, now: UnixMicros) {
        if wanted.is_empty() || now.0.saturating_sub(self.failed_at.load(Ordering::Relaxed)) < RETRY_MICROS {
            return;
        }
        let reading = tokio::time::timeout(READ_TIMEOUT, self.read(wanted)).await;
        if !matches!(reading, Ok(Ok(()))) {
            self.failed_at.store(UnixMicros::now().0, Ordering::Relaxed);
            log::warn!("what was spent elsewhere cannot be read now; budgets count what is known here");
        }
    }

    async fn read(&self, wanted: Vec<(Subject, Arc<Counters>, UnixMicros)>) -> Result<(), StoreError> {
        let _no_shipping = self.shipping.read().await;
        let ask = |(subject, _, since): &(Subject, _, UnixMicros)| SpendSince {
            of: subject.spend_of(),
            since: *since,
        };
        let now = UnixMicros::now();
        let sums = self.store.spent_since(wanted.iter().map(ask).collect()).await?;
        for ((_, counters, start), sum) in wanted.iter().zip(sums) {
            counters.budget.read(*start, sum, now);
        }
        Ok(())
    }

    /// Ships events by `work`, and moves those that are shipped from what is pending to what is stored.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn ship<T, E>(
        &self,
        events: &[SpendEvent],
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let _no_reading = self.shipping.write().await;
        let done = work.await?;
        if self.live.load(Ordering::Relaxed) > 0 {
            events.iter().for_each(|event| self.shipped(event));
        }
        Ok(done)
    }

    fn shipped(&self, SpendEvent { begun, ended }: &SpendEvent) {
        let tell = |subject: &Subject| {
            if let Some(counters) = self.existing(subject) {
                counters.budget.shipped(begun.id, ended.cost);
            }
        };
        tell(&Subject::Gateway);
        if let Payer::Key(hash) = begun.payer {
            tell(&Subject::Key(hash));
            if let Some(model) = &begun.requested_model {
                tell(&Subject::KeyModel(hash, model.clone()));
            }
        }
        begun.team_id.iter().for_each(|team| tell(&Subject::Team(team.clone())));
        begun.end_user.iter().for_each(|user| tell(&Subject::Customer(user.clone())));
    }

    /// Reads the counters in use, for ever, and forgets those that nobody uses.
    pub async fn follow(self: Arc<Self>) -> Infallible {
        let mut ticks = tokio::time::interval(READ_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let wanted = self.sweep(UnixMicros::now());
            if wanted.is_empty() {
                continue;
            }
            if let Err(error) = self.read(wanted).await {
                log::debug!("what was spent elsewhere is not seen for now: {error}");
            }
        }
    }

    /// Counters in use, and the beginnings of their windows.
    fn sweep(&self, now: UnixMicros) -> Vec<(Subject, Arc<Counters>, UnixMicros)> {
        let mut wanted = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|subject, counters| {
                let unused = now.0.saturating_sub(counters.used_at.load(Ordering::Relaxed));
                let start = counters.budget.window_start();
                if unused < IN_USE_MICROS && start.0 != i64::MIN {
                    wanted.push((subject.clone(), Arc::clone(counters), start));
                }
                let is_needed = unused < FORGOTTEN_MICROS
                    || Arc::strong_count(counters) > 1
                    || counters.budget.has_pending()
                    || !counters.rate.is_idle();
                if !is_needed {
                    self.live.fetch_sub(1, Ordering::Relaxed);
                }
                is_needed
            });
        }
        wanted
    }
}

/// The rates that limits set.
#[must_use]
pub(super) fn rate_terms(limits: &LimitSet) -> RateTerms {
    RateTerms { rpm: limits.rpm, tpm: limits.tpm, max_parallel: limits.max_parallel }
}
