//! The counters of everybody who has limits, and how they follow what the database holds.

use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::MissedTickBehavior;

use super::budget::{BudgetCounter, BudgetTerms, Step, WantedReading};
use super::holders::HolderDirectory;
use super::named::LookedUp;
use super::rate::{RateCounter, RateTerms};
use super::responses::ResponseOwners;
use crate::config::BudgetsConfig;
use crate::domain::period::{Period, Window};
use crate::domain::{FastMap, KeyHash, NanoUsd, UnixMicros, Zone};
use crate::event::{EventView, PackedEvent, Payer};
use crate::metrics::Metrics;
use crate::store::spend::{SpendOf, SpendSince};
use crate::store::{HolderKind, HolderRecord, LimitSet, Store, StoreError};

/// How often counters in use are read from the database: others' spend counts after this and the time of one query.
const READ_INTERVAL: Duration = Duration::from_millis(500);
/// Counters used within this time are read.
const IN_USE_MICROS: i64 = 10_000_000;
/// Counters unused for this long are forgotten.
const FORGOTTEN_MICROS: i64 = 600_000_000;
/// How long a request waits for the database to tell what was spent, where nothing is known yet.
const READ_TIMEOUT: Duration = Duration::from_micros(READ_TIMEOUT_MICROS.unsigned_abs());
const READ_TIMEOUT_MICROS: i64 = 2_000_000;
/// How long it waits where an older reading is there: a database that is well answers in a few milliseconds, so that
/// also a budget that was idle for long starts from a fresh reading; one that hangs costs each request this once.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How long a shipping waits for readings: beyond that, what it ships may count twice until the next reading.
const SHIPPING_PATIENCE: Duration = Duration::from_millis(250);
/// After a failed reading of a counter none is tried for it for this long.
const RETRY_MICROS: i64 = 1_000_000;
/// So many counters are a crowd: those not in use are forgotten soon, and customers that nobody made get none.
const CROWD: usize = 100_000;
/// Counters are spread over so many maps, so that few requests meet at one lock.
const SHARDS: usize = 16;

/// Whose counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everybody's.
    Gateway,
    /// A key's, by its account: it goes on when the key gets another value.
    Payer(KeyHash),
    /// A key's for one model name.
    PayerAndModel(KeyHash, String),
    /// A team's.
    Team(String),
    /// A customer's.
    Customer(String),
}

impl Subject {
    fn spend_of(&self) -> SpendOf {
        match self {
            Self::Gateway => SpendOf::All,
            Self::Payer(payer) => SpendOf::Payer(payer.to_string()),
            Self::PayerAndModel(payer, model) => SpendOf::PayerAndModel(payer.to_string(), model.clone()),
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
    /// When a reading of its budget failed.
    failed_at: AtomicI64,
}

impl Counters {
    fn failed_lately(&self, now: UnixMicros) -> bool {
        let failed_at = self.failed_at.load(Ordering::Relaxed);
        failed_at != 0 && now.0.saturating_sub(failed_at) < RETRY_MICROS
    }
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
    pub(super) looked_up: LookedUp,
    store: Store,
    shards: [Mutex<FastMap<Subject, Arc<Counters>>>; SHARDS],
    /// Tells a subject's map.
    spread: foldhash::fast::RandomState,
    live: AtomicUsize,
    /// Held while events are shipped; shared by readings, so that they rarely overlap a shipping.
    shipping: RwLock<()>,
    /// Orders readings and shippings ([`Step`]).
    steps: AtomicU64,
    /// The database lets readings wait: no request waits for one that has an older reading.
    is_slow: AtomicBool,
    /// While it does, the next reading may be tried from this moment on.
    next_try: AtomicI64,
}

/// A budget whose reading is missing or too old.
#[derive(Debug)]
pub(super) struct StaleReading {
    pub(super) subject: Subject,
    pub(super) counters: Arc<Counters>,
    pub(super) wanted: WantedReading,
}

impl LimitTable {
    /// Without any counter.
    #[must_use]
    pub fn new(store: Store, config: &BudgetsConfig, metrics: Arc<Metrics>) -> Self {
        let gateway = config.max_budget.map(|max| BudgetTerms {
            max: Some(max),
            soft: None,
            period: config.budget_duration.as_deref().and_then(Period::parse),
            zone: config.zone.clone(),
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
            looked_up: LookedUp::default(),
            store,
            shards: std::array::from_fn(|_| Mutex::default()),
            spread: foldhash::fast::RandomState::default(),
            live: AtomicUsize::new(0),
            shipping: RwLock::new(()),
            steps: AtomicU64::new(0),
            is_slow: AtomicBool::new(false),
            next_try: AtomicI64::new(i64::MIN),
        }
    }

    /// The budget of everybody together.
    #[must_use]
    pub fn gateway_budget(&self) -> Option<NanoUsd> {
        self.gateway.as_ref()?.max
    }

    /// Where days of budgets begin.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.defaults.zone
    }

    /// Whether there are so many counters that no more may be made at a client's word.
    pub(super) fn is_crowded(&self) -> bool {
        self.live.load(Ordering::Relaxed) >= CROWD
    }

    /// Whether the subject has counters.
    pub(super) fn knows(&self, subject: &Subject) -> bool {
        self.existing(subject).is_some()
    }

    fn shard(&self, subject: &Subject) -> Option<&Mutex<FastMap<Subject, Arc<Counters>>>> {
        let hash = self.spread.hash_one(subject);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
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
        (limits.max_budget.is_some() || limits.soft_budget.is_some()).then(|| self.terms(limits, carried))
    }

    fn terms(&self, limits: &LimitSet, carried: NanoUsd) -> BudgetTerms {
        BudgetTerms {
            max: limits.max_budget,
            soft: limits.soft_budget,
            period: limits.budget_duration.as_deref().and_then(Period::parse),
            zone: self.defaults.zone.clone(),
            set_at: limits.set_at.unwrap_or_default(),
            enforcement: limits.enforcement.unwrap_or(self.defaults.enforcement),
            carried,
            reset: limits.reset,
        }
    }

    /// Since when spend counts, and from which amount on, whether a budget is set or not.
    #[must_use]
    pub fn window(&self, limits: &LimitSet, carried: NanoUsd, now: UnixMicros) -> (Window, NanoUsd) {
        self.terms(limits, carried).window(now)
    }

    /// A team, customer or budget as the database has it now: another gateway may have made it a moment ago. It is in
    /// force here from now on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn look_up(&self, kind: HolderKind, id: &str) -> Result<Option<HolderRecord>, StoreError> {
        let found = self.store.find_holders(kind, vec![id.to_owned()]).await?.pop();
        self.holders.take_in(found.as_slice());
        Ok(found)
    }

    /// Has what the database holds read, unless that failed a moment ago. The reading goes on by itself; the request
    /// waits for it a moment where an older one is there (not at all while the database is slow), and longer where
    /// nothing is known, because a budget that was never read lets nobody in.
    ///
    /// What this instance spends counts at once either way; an old reading only misses what others spent since.
    pub(super) async fn refresh(self: &Arc<Self>, stale: Vec<StaleReading>, now: UnixMicros) {
        let mut stale = stale;
        stale.retain(|reading| !reading.counters.failed_lately(now));
        if stale.is_empty() {
            return;
        }
        let any = |is: fn(&WantedReading) -> bool| stale.iter().any(|reading| is(&reading.wanted));
        let (is_unknown, is_first) = (any(|wanted| !wanted.is_known), any(|wanted| wanted.is_first));
        let may_go_on = self.is_slow.load(Ordering::Relaxed) && !is_unknown;
        if may_go_on && !self.may_try_again(now) {
            return;
        }
        let reader = Arc::clone(self);
        let reading = tokio::spawn(async move { reader.read_in_time(&stale).await });
        let patience = match (may_go_on, is_first) {
            (true, _) => return,
            (false, true) => READ_TIMEOUT,
            (false, false) => PATIENCE,
        };
        if tokio::time::timeout(patience, reading).await.is_err() {
            self.is_slow.store(true, Ordering::Relaxed);
        }
    }

    /// While the database is slow, one reading is tried at a time.
    fn may_try_again(&self, now: UnixMicros) -> bool {
        let due = self.next_try.load(Ordering::Relaxed);
        // When this one has failed at the latest, and its pause is over.
        let next = now.0.saturating_add(RETRY_MICROS).saturating_add(READ_TIMEOUT_MICROS);
        let take = || self.next_try.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        now.0 >= due && take().is_ok()
    }

    async fn read_in_time(&self, stale: &[StaleReading]) {
        let reading = tokio::time::timeout(READ_TIMEOUT, self.read(stale)).await;
        if !matches!(reading, Ok(Ok(()))) {
            self.is_slow.store(true, Ordering::Relaxed);
            let now = UnixMicros::now().0;
            stale.iter().for_each(|reading| reading.counters.failed_at.store(now, Ordering::Relaxed));
            log::warn!("what was spent elsewhere cannot be read now; budgets count what is known here");
        }
    }

    async fn read(&self, stale: &[StaleReading]) -> Result<(), StoreError> {
        let _no_shipping = self.shipping.read().await;
        let ask = |reading: &StaleReading| SpendSince {
            of: reading.subject.spend_of(),
            since: reading.wanted.since,
        };
        let (now, step) = (UnixMicros::now(), self.next_step());
        let sums = self.store.spent_since(stale.iter().map(ask).collect()).await?;
        for (reading, sum) in stale.iter().zip(sums) {
            reading.counters.budget.read(reading.wanted.since, sum.counted(), now, step);
        }
        self.is_slow.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn next_step(&self) -> Step {
        self.steps.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Ships events by `work`, and moves those that are shipped from what is pending to what the database has.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn ship<T, E>(
        &self,
        events: &[PackedEvent],
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        // A slow reading must not hold up the ledger.
        let _no_reading = tokio::time::timeout(SHIPPING_PATIENCE, self.shipping.write()).await;
        let done = work.await?;
        if self.live.load(Ordering::Relaxed) > 0 {
            let step = self.next_step();
            events.iter().filter_map(PackedEvent::view).for_each(|event| self.shipped(&event, step));
        }
        Ok(done)
    }

    fn shipped(&self, EventView { begun, ended }: &EventView<'_>, step: Step) {
        // As `Spent::counted` has it.
        let counted = ended.cost.or(begun.estimate).unwrap_or_default();
        let tell = |subject: &Subject| {
            if let Some(counters) = self.existing(subject) {
                counters.budget.shipped(begun.id, counted, step);
            }
        };
        tell(&Subject::Gateway);
        if let Payer::Key(payer) = begun.payer {
            tell(&Subject::Payer(payer));
            if let Some(model) = begun.requested_model {
                tell(&Subject::PayerAndModel(payer, model.to_owned()));
            }
        }
        begun.team_id.iter().for_each(|team| tell(&Subject::Team((*team).to_owned())));
        begun.end_user.iter().for_each(|user| tell(&Subject::Customer((*user).to_owned())));
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
            if let Err(error) = self.read(&wanted).await {
                log::debug!("what was spent elsewhere is not seen for now: {error}");
            }
        }
    }

    /// Counters in use, and the beginnings of their windows.
    fn sweep(&self, now: UnixMicros) -> Vec<StaleReading> {
        let forgotten_after = if self.is_crowded() { IN_USE_MICROS } else { FORGOTTEN_MICROS };
        let mut in_use = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|subject, counters| {
                let unused = now.0.saturating_sub(counters.used_at.load(Ordering::Relaxed));
                let start = counters.budget.window_start();
                if unused < IN_USE_MICROS && start.0 != i64::MIN {
                    let wanted = WantedReading { since: start, is_first: false, is_known: true };
                    let (subject, counters) = (subject.clone(), Arc::clone(counters));
                    in_use.push(StaleReading { subject, counters, wanted });
                }
                let is_needed = unused < forgotten_after
                    || Arc::strong_count(counters) > 1
                    || counters.budget.has_pending()
                    || !counters.rate.is_idle();
                if !is_needed {
                    self.live.fetch_sub(1, Ordering::Relaxed);
                }
                is_needed
            });
        }
        in_use
    }
}

/// The rates that limits set.
#[must_use]
pub(super) fn rate_terms(limits: &LimitSet) -> RateTerms {
    RateTerms { rpm: limits.rpm, tpm: limits.tpm, max_parallel: limits.max_parallel }
}
