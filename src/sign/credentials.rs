//! Credentials of every identity, in memory: read by all workers, fetched and refreshed ahead of expiry by one
//! task, each identity at most once at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::providers::{NO_CREDENTIALS, Provider};
use crate::domain::{IdentityId, Secret, Service, UnixMicros};

/// Credentials are fetched anew this long before they expire (or at half of a shorter life).
const REFRESH_AHEAD: Duration = Duration::from_secs(300);
/// Credentials that carry no expiry may still change on disk or in a profile: looked at again this often.
const RELOAD: Duration = Duration::from_secs(600);
/// A failed refresh is tried again after this long, doubled each time up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// A request does not ask for another fetch when one failed this recently: it gets that failure.
const FAILURE_IS_FRESH: Duration = Duration::from_secs(1);
/// Fetches that may be asked for and not yet begun; asking for more changes nothing.
const ASKED_AT_ONCE: usize = 1024;

/// What a request is signed with.
#[derive(Debug)]
pub enum Credentials {
    /// An AWS key pair, with a session token where it is temporary.
    Keys {
        /// `AKIA…` or `ASIA…`.
        access_key_id: String,
        /// Its secret.
        secret_access_key: Secret,
        /// Its session token.
        session_token: Option<Secret>,
        /// When it ends.
        expires_at: Option<UnixMicros>,
        /// Counts the fetches of the process.
        generation: u64,
    },
    /// A Bedrock API key.
    Bearer(Secret),
}

impl Credentials {
    /// Which fetch they came from.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match self {
            Self::Keys { generation, .. } => *generation,
            Self::Bearer(_) => 0,
        }
    }
}

/// Whether the service takes a Bedrock API key (`smithy.api#httpBearerAuth` in its model); others must be
/// signed.
fn takes_bearer(service: Service) -> bool {
    matches!(service, Service::Bedrock | Service::BedrockRuntime | Service::BedrockMantle)
}

/// What is known of an identity's key pair.
#[derive(Clone, Debug)]
enum Known {
    Nothing,
    Pair(Arc<Credentials>),
    Failure { reason: Arc<str>, at: Instant },
}

struct Slot {
    bearer: Option<Arc<Credentials>>,
    known: ArcSwap<Known>,
    /// Counts fetches that ended, well or badly.
    fetches: watch::Sender<u64>,
}

/// The credentials of every identity.
pub struct CredentialTable {
    slots: Vec<Slot>,
    ask: mpsc::Sender<usize>,
    generation: AtomicU64,
}

impl std::fmt::Debug for CredentialTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialTable").field("identities", &self.slots.len()).finish_non_exhaustive()
    }
}

impl CredentialTable {
    /// Starts the task that fetches; must be called inside a running `actix` system, whose main thread the task
    /// lives on. Every identity is fetched at once, so that requests find it ready.
    #[must_use]
    pub fn start(providers: Vec<Provider>) -> Arc<Self> {
        let (ask, asked) = mpsc::channel(ASKED_AT_ONCE);
        let slot = |provider: &Provider| Slot {
            bearer: provider.bearer().map(|token| Arc::new(Credentials::Bearer(token))),
            known: ArcSwap::from_pointee(Known::Nothing),
            fetches: watch::Sender::new(0),
        };
        let slots = providers.iter().map(slot).collect();
        let table = Arc::new(Self { slots, ask, generation: AtomicU64::new(1) });
        actix_rt::spawn(Keeper::new(Arc::clone(&table), providers).run(asked));
        table
    }

    /// Whether [`Self::current`] can answer without a fetch.
    #[must_use]
    pub fn is_ready(&self, IdentityId(slot): IdentityId, service: Service) -> bool {
        self.slots.get(slot).is_some_and(|slot| {
            (takes_bearer(service) && slot.bearer.is_some()) || matches!(**slot.known.load(), Known::Pair(_))
        })
    }

    /// What to sign with now.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn current(
        &self,
        IdentityId(slot): IdentityId,
        service: Service,
    ) -> Result<Arc<Credentials>, String> {
        let slot = self.slots.get(slot).ok_or("no such identity")?;
        if let Some(bearer) = slot.bearer.as_ref().filter(|_| takes_bearer(service)) {
            return Ok(Arc::clone(bearer));
        }
        match &**slot.known.load() {
            Known::Pair(pair) => Ok(Arc::clone(pair)),
            Known::Failure { reason, .. } => Err(reason.to_string()),
            Known::Nothing => Err("AWS credentials are still being fetched".to_owned()),
        }
    }

    /// Waits for the first credentials of an identity.
    ///
    /// # Errors
    /// Why the fetch failed.
    pub async fn fetch(&self, IdentityId(slot): IdentityId) -> Result<(), String> {
        let known = self.slots.get(slot).ok_or("no such identity")?.known.load_full();
        match &*known {
            Known::Pair(_) => Ok(()),
            Known::Failure { reason, at } if at.elapsed() < FAILURE_IS_FRESH => Err(reason.to_string()),
            Known::Failure { .. } | Known::Nothing => self.fetch_anew(slot).await,
        }
    }

    /// Replaces credentials that AWS called expired, unless that has been done already.
    ///
    /// # Errors
    /// Why the fetch failed.
    pub async fn renew(&self, IdentityId(slot): IdentityId, expired: u64) -> Result<(), String> {
        let known = self.slots.get(slot).ok_or("no such identity")?.known.load_full();
        match &*known {
            Known::Pair(pair) if pair.generation() != expired => Ok(()),
            _ => self.fetch_anew(slot).await,
        }
    }

    async fn fetch_anew(&self, slot: usize) -> Result<(), String> {
        let place = self.slots.get(slot).ok_or("no such identity")?;
        let mut fetches = place.fetches.subscribe();
        // A full queue means that fetches are on their way already.
        let _ = self.ask.try_send(slot);
        let waited = tokio::time::timeout(FETCH_TIMEOUT, fetches.changed()).await;
        match (waited, &**place.known.load()) {
            (_, Known::Pair(_)) => Ok(()),
            (_, Known::Failure { reason, .. }) => Err(reason.to_string()),
            (_, Known::Nothing) => {
                Err(format!("AWS credentials did not come within {} s", FETCH_TIMEOUT.as_secs()))
            }
        }
    }
}

/// The task that fetches.
struct Keeper {
    table: Arc<CredentialTable>,
    providers: Vec<Arc<Provider>>,
    /// When each identity is fetched next, and after how many failures.
    due: Vec<(Instant, u32)>,
    under_way: HashSet<usize>,
}

type Fetched = (usize, Result<aws_credential_types::Credentials, String>);

impl Keeper {
    fn new(table: Arc<CredentialTable>, providers: Vec<Provider>) -> Self {
        let now = Instant::now();
        let due = providers.iter().map(|_| (now, 0)).collect();
        let providers = providers.into_iter().map(Arc::new).collect();
        Self { table, providers, due, under_way: HashSet::new() }
    }

    async fn run(mut self, mut asked: mpsc::Receiver<usize>) {
        let mut fetches: FuturesUnordered<LocalBoxFuture<'static, Fetched>> = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            for slot in 0..self.providers.len() {
                let is_due = self.due.get(slot).is_some_and(|(at, _)| *at <= now);
                if is_due {
                    fetches.extend(self.begin(slot));
                }
            }
            let idle = |slot: &usize| !self.under_way.contains(slot);
            let next =
                (0..self.due.len()).filter(idle).filter_map(|s| self.due.get(s)).map(|(at, _)| *at).min();
            let next = next.unwrap_or(now + RELOAD);
            tokio::select! {
                asked = asked.recv() => match asked {
                    Some(slot) => fetches.extend(self.begin(slot)),
                    None => return,
                },
                Some((slot, fetched)) = fetches.next(), if !fetches.is_empty() => self.publish(slot, fetched),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn begin(&mut self, slot: usize) -> Option<LocalBoxFuture<'static, Fetched>> {
        let provider = Arc::clone(self.providers.get(slot)?);
        self.under_way.insert(slot).then(|| -> LocalBoxFuture<'static, Fetched> {
            Box::pin(async move {
                let fetched = tokio::time::timeout(FETCH_TIMEOUT, provider.fetch()).await;
                let fetched = fetched.unwrap_or_else(|_| Err(provider.describe("the fetch took too long")));
                (slot, fetched)
            })
        })
    }

    fn publish(&mut self, slot: usize, fetched: Result<aws_credential_types::Credentials, String>) {
        self.under_way.remove(&slot);
        let (Some(place), Some((due, failures))) = (self.table.slots.get(slot), self.due.get_mut(slot))
        else {
            return;
        };
        match fetched {
            Ok(pair) => {
                *failures = 0;
                *due = Instant::now() + until_refresh(pair.expiry());
                let generation = self.table.generation.fetch_add(1, Ordering::Relaxed);
                place.known.store(Arc::new(Known::Pair(Arc::new(keys(&pair, generation)))));
            }
            Err(reason) => {
                let back_off =
                    (FIRST_BACK_OFF * 2u32.saturating_pow((*failures).min(10))).min(LONGEST_BACK_OFF);
                *failures += 1;
                match &**place.known.load() {
                    Known::Pair(old) => {
                        *due = Instant::now() + back_off;
                        log::warn!("AWS credentials could not be refreshed: {reason}");
                        if still_valid(old) {
                            place.fetches.send_modify(|count| *count += 1);
                            return;
                        }
                    }
                    // Perhaps nobody needs this identity: the next request for it asks again.
                    Known::Nothing | Known::Failure { .. } => {
                        *due = Instant::now() + RELOAD;
                        let why = reason.trim_start_matches(NO_CREDENTIALS);
                        let level = if *failures == 1 { log::Level::Warn } else { log::Level::Info };
                        log::log!(level, "no AWS credentials yet: requests that need them fail{why}");
                    }
                }
                place.known.store(Arc::new(Known::Failure { reason: reason.into(), at: Instant::now() }));
            }
        }
        place.fetches.send_modify(|count| *count += 1);
    }
}

fn keys(pair: &aws_credential_types::Credentials, generation: u64) -> Credentials {
    let micros = |at: std::time::SystemTime| {
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    };
    Credentials::Keys {
        access_key_id: pair.access_key_id().to_owned(),
        secret_access_key: Secret::new(pair.secret_access_key()),
        session_token: pair.session_token().map(Secret::new),
        expires_at: pair.expiry().map(micros),
        generation,
    }
}

fn still_valid(credentials: &Credentials) -> bool {
    match credentials {
        Credentials::Keys { expires_at, .. } => expires_at.is_none_or(|at| at > UnixMicros::now()),
        Credentials::Bearer(_) => true,
    }
}

fn until_refresh(expiry: Option<std::time::SystemTime>) -> Duration {
    let Some(expiry) = expiry else { return RELOAD };
    let life = expiry.duration_since(std::time::SystemTime::now()).unwrap_or_default();
    life.checked_sub(REFRESH_AHEAD).unwrap_or(life / 2).max(life / 2).max(FIRST_BACK_OFF)
}
