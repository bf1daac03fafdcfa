//! Builds the house, downstream first, serves, and stops in order. The only place that knows everybody.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, web};
use anyhow::Context as _;
use tokio::time::Instant;

use crate::auth::{Authenticator, KeyDirectory};
use crate::config::{AccessLog, Config, IdentityConfig, WhenJournalFull};
use crate::http::admin::AdminState;
use crate::http::listen::{self, Connections, Socket};
use crate::http::{self, Shared, Worker};
use crate::journal::{DataDir, Journal, JournalOptions};
use crate::ledger::{Drained, LedgerHandle, LedgerOptions, ShipError, SpendSink};
use crate::limits::{BufferBudget, LimitTable};
use crate::meter::{AccountParts, Losses, MeterLimits};
use crate::metrics::Metrics;
use crate::operation;
use crate::pricing::PriceBook;
use crate::route::{RouteTable, RouterHandle};
use crate::sign::{CredentialTable, Provider, ProviderSettings, SignerHandle};
use crate::store::keys::KeyChange;
use crate::store::{DatabasePlace, Store, StoreError, follow_holders, follow_keys};
use crate::timers::Timers;
use crate::upstream::{self, UpstreamClient};

mod bind;
mod demo_keys;
mod rekey;
mod stop;

use bind::bind;
pub use demo_keys::DemoKey;
pub use stop::StopSignals;
use stop::stop_at_signal;

/// How long the last events may take into the database at a stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a start waits until the events of a killed process are in the database.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(30);
/// How often it looks whether they are.
const RECOVERY_POLL: Duration = Duration::from_millis(20);

/// A gateway that is bound and ready to serve.
pub struct Application {
    server: Server,
    addresses: Vec<(&'static str, SocketAddr)>,
    connections: Connections,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Application {
    /// Opens the data directory, binds, opens the database, migrates, loads keys, starts the actors and listens. Must be
    /// called inside an actix system.
    ///
    /// # Errors
    /// Whatever keeps the gateway from serving.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&config.server.data_dir)?;
        let bound = bind(&config)?;
        let store = open_store(&config).await?;
        let keys = load_keys(&config, &store).await?;
        let metrics = Arc::new(Metrics::default());
        let limits = load_limits(&config, &store, &metrics).await?;

        let options =
            JournalOptions { max_bytes: config.limits.max_journal_bytes, ..JournalOptions::default() };
        let journal = Journal::open(data_dir, options).context("cannot open the journal")?;
        let ledger =
            LedgerHandle::start(journal.clone(), spend_sink(&store, &limits), LedgerOptions::default())
                .context("cannot start the ledger")?;
        wait_for_recovery(&ledger).await;
        actix_rt::spawn(Arc::clone(&limits).follow());

        log::debug!("{} operations are known", operation::all().count());
        let (routes, identities) = RouteTable::build(&config);
        let ca_bundle = config
            .aws
            .ca_bundle
            .as_ref()
            .map(std::fs::read)
            .transpose()
            .context("cannot read AWS_CA_BUNDLE")?;
        let tls = upstream::tls_config(ca_bundle.as_deref()).context("cannot use the CA bundle")?;
        let credentials = fetch_credentials(&config, identities, ca_bundle).await;

        let header = config.key_header_name.clone();
        let authenticator =
            Authenticator::new(config.master_key.as_ref(), header, &config.auth, Arc::clone(&keys));
        let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
        for bound in bound {
            let (socket, scheme, address) = bound.listen()?;
            sockets.push(socket);
            addresses.push((scheme, address));
        }
        let serves_when_full = config.limits.when_journal_full == WhenJournalFull::Serve;
        let shared = Arc::new(Shared {
            losses: serves_when_full.then(|| Arc::new(Losses::new(Arc::clone(&metrics)))),
            authenticator: Arc::new(authenticator),
            keys,
            routes: Arc::new(routes),
            ledger,
            buffer: BufferBudget::new(&config.limits),
            prices: PriceBook::builtin(),
            metrics,
            limits,
            store,
            is_stopping: AtomicBool::new(false),
            is_cutting_off: Arc::default(),
            handlers: AtomicUsize::new(0),
            config,
        });
        let connections = Connections::default();
        let server = serve(&shared, journal, credentials, tls, sockets, &connections)?;
        Ok(Self { server, addresses, connections, shared })
    }

    /// Where it listens, the plain port first.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|(scheme, address)| format!("{scheme}://{address}")).collect()
    }

    /// Serves until the first of these signals, then stops in order: readiness turns red, streams finish, the ledger
    /// ships.
    ///
    /// # Errors
    /// The server failed, or events are left that the database does not have (they stay in the journal).
    pub async fn run_until_stopped(self, signals: StopSignals) -> anyhow::Result<Drained> {
        let handle = self.server.handle();
        let shared = Arc::clone(&self.shared);
        actix_rt::spawn(stop_at_signal(signals, handle, shared, self.connections));
        self.server.await.context("the server failed")?;
        let drained = self.shared.ledger.drain(DRAIN_DEADLINE).await?;
        Ok(drained)
    }
}

/// Every key, followed from now on.
async fn load_keys(config: &Config, store: &Store) -> anyhow::Result<Arc<KeyDirectory>> {
    let loaded = store.load_keys().await.context("cannot load the keys")?;
    let keys = Arc::new(KeyDirectory::with_vault(rekey::vault(&config.auth)?));
    keys.apply(loaded.keys.into_iter().map(KeyChange::put).collect());
    let pairs = store.load_pairs(None).await.context("cannot load the AWS credential pairs of keys")?;
    keys.pairs().check(&pairs).map_err(anyhow::Error::msg)?;
    rekey::encrypt_anew(store, &keys, &pairs).await?;
    keys.apply(pairs.into_iter().map(Box::new).map(KeyChange::Pair).collect());
    let followed = Arc::clone(&keys);
    actix_rt::spawn(follow_keys(store.clone(), loaded.revision, move |changes| followed.apply(changes)));
    Ok(keys)
}

/// Teams, customers and budgets, followed from now on.
async fn load_limits(
    config: &Config,
    store: &Store,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<LimitTable>> {
    let limits = Arc::new(LimitTable::new(store.clone(), &config.budgets, Arc::clone(metrics)));
    let loaded = store.holder_changes_since(0).await;
    let (holders, revision) = loaded.context("cannot load teams, customers and budgets")?;
    limits.holders.apply(&holders);
    let followed = Arc::clone(&limits);
    actix_rt::spawn(follow_holders(store.clone(), revision, move |changed| {
        followed.holders.apply(&changed);
    }));
    Ok(limits)
}

/// The credentials of every identity, being fetched.
async fn fetch_credentials(
    config: &Config,
    identities: Vec<IdentityConfig>,
    ca_bundle: Option<Vec<u8>>,
) -> Arc<CredentialTable> {
    let aws = &config.aws;
    let sts_endpoint = aws.sts_endpoint_url.clone().or_else(|| aws.endpoint_url.clone());
    let settings = ProviderSettings::new(&aws.default_region, ca_bundle, sts_endpoint);
    let mut providers = Vec::with_capacity(identities.len());
    for identity in identities {
        providers.push(Provider::new(identity, settings.clone()).await);
    }
    CredentialTable::start(providers)
}

async fn open_store(config: &Config) -> anyhow::Result<Store> {
    log::info!("database: {}", DatabasePlace::of(&config.database, &config.server.data_dir)?);
    if let Some(count) = Store::keys_left_behind(&config.database, &config.server.data_dir) {
        log::warn!(
            "the SQLite file in the data directory {} holds {count} keys, which are not in force: Postgres is used, and nothing is moved there from SQLite (README, Operations); unset DATABASE_URL to use the file, or move it away",
            config.server.data_dir.display()
        );
    }
    let store = Store::open(&config.database, &config.server.data_dir).await?;
    for name in store.migrate().await? {
        log::info!("migrated the database: {name}");
    }
    Ok(store)
}

/// The ledger's way into the database.
fn spend_sink(store: &Store, limits: &Arc<LimitTable>) -> SpendSink {
    let (store, limits) = (store.clone(), Arc::clone(limits));
    Arc::new(move |events| {
        let (store, limits) = (store.clone(), Arc::clone(&limits));
        Box::pin(async move {
            let inserted = limits.ship(&events, store.ship_spend(Arc::clone(&events))).await.map_err(
                |error: StoreError| {
                    let text = error.to_string();
                    if error.is_transient() {
                        ShipError::Unavailable(text)
                    } else {
                        ShipError::Rejected(text)
                    }
                },
            )?;
            Ok(inserted.inserted as u64)
        })
    })
}

/// What a killed process left is in the database before budgets are counted from there.
async fn wait_for_recovery(ledger: &LedgerHandle) {
    let deadline = Instant::now() + RECOVERY_DEADLINE;
    loop {
        let state = ledger.state();
        if !state.is_alive || (!state.is_recovering && state.depth == 0) {
            return;
        }
        if Instant::now() > deadline {
            log::warn!(
                "events of an earlier process are not in the database yet: budgets do not count them until then"
            );
            return;
        }
        tokio::time::sleep(RECOVERY_POLL).await;
    }
}

fn serve(
    shared: &Arc<Shared>,
    journal: Journal,
    credentials: Arc<CredentialTable>,
    tls: Arc<rustls::ClientConfig>,
    sockets: Vec<Socket>,
    connections: &Connections,
) -> anyhow::Result<Server> {
    let for_workers = Arc::clone(shared);
    let admin = AdminState {
        store: shared.store.clone(),
        keys: Arc::clone(&shared.keys),
        limits: Arc::clone(&shared.limits),
        key_policy: Arc::new(shared.config.key_policy.clone()),
        authenticator: Arc::clone(&shared.authenticator),
    };
    let is_logged = shared.config.access_log != AccessLog::Off;
    let make_app = move || {
        let worker = worker(&for_workers, &journal, &credentials, &tls);
        App::new()
            .wrap(Condition::new(is_logged, from_fn(http::access_line)))
            .app_data(web::Data::new(worker))
            .app_data(web::Data::new(admin.clone()))
            .configure(http::configure)
    };
    Ok(listen::serve(sockets, &shared.config.server, connections, make_app)?)
}

/// What the handlers of one worker thread share; called on that thread.
fn worker(
    shared: &Arc<Shared>,
    journal: &Journal,
    credentials: &Arc<CredentialTable>,
    tls: &Arc<rustls::ClientConfig>,
) -> Worker {
    let config = &shared.config;
    Worker {
        router: RouterHandle::start(Arc::clone(&shared.routes)),
        signer: SignerHandle::start(Arc::clone(credentials)),
        upstream: UpstreamClient::new(&config.aws, tls),
        accounts: Rc::new(AccountParts {
            journal: RefCell::new(journal.writer()),
            ledger: shared.ledger.clone(),
            losses: shared.losses.clone(),
            prices: shared.prices,
            metrics: Arc::clone(&shared.metrics),
            responses: Arc::clone(&shared.limits.responses),
            access_log: config.access_log,
            max_inspected_bytes: config.limits.max_inspected_bytes,
            is_cutting_off: Arc::clone(&shared.is_cutting_off),
        }),
        meter: MeterLimits {
            silence: config.routing.stream_timeout,
            drain_timeout: config.limits.drain_timeout,
            drain_bytes: config.limits.drain_bytes,
        },
        body_timers: Timers::default(),
        silence_timers: Timers::default(),
        shared: Arc::clone(shared),
    }
}
