//! The front door: which handler serves which URL, and what every handler of a worker shares.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Route, guard, web};

use crate::auth::{Authenticator, KeyDirectory};
use crate::config::Config;
use crate::ledger::LedgerHandle;
use crate::limits::{BufferBudget, LimitTable};
use crate::meter::{AccountParts, Losses, MeterLimits};
use crate::metrics::Metrics;
use crate::pricing::PriceBook;
use crate::route::{RouteTable, RouterHandle};
use crate::sign::SignerHandle;
use crate::store::Store;
use crate::telemetry::{self, AccessLine};
use crate::timers::Timers;
use crate::upstream::UpstreamClient;

pub mod admin;
pub mod listen;
pub mod ops;
pub mod proxy;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// Checks keys.
    pub authenticator: Arc<Authenticator>,
    /// Every key.
    pub keys: Arc<KeyDirectory>,
    /// Every deployment.
    pub routes: Arc<RouteTable>,
    /// The ledger.
    pub ledger: LedgerHandle,
    /// What the full journal made the gateway lose; `None`: it refuses requests then.
    pub losses: Option<Arc<Losses>>,
    /// Budgets and rates.
    pub limits: Arc<LimitTable>,
    /// Bounds buffered request bytes.
    pub buffer: Arc<BufferBudget>,
    /// What things cost.
    pub prices: &'static PriceBook,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Keys and spend.
    pub store: Store,
    /// Whether the gateway is stopping: readiness is red.
    pub is_stopping: AtomicBool,
    /// Whether the stop no longer waits for requests under way.
    pub is_cutting_off: Arc<AtomicBool>,
    /// Requests whose handler runs.
    pub handlers: AtomicUsize,
}

impl Shared {
    /// Turns readiness red.
    pub fn begin_to_stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Requests being handled, and answers on their way.
    #[must_use]
    pub fn requests_under_way(&self) -> usize {
        let answers = usize::try_from(self.metrics.in_flight.get()).unwrap_or_default();
        self.handlers.load(Ordering::Relaxed) + answers
    }

    /// Counts a request until the guard is dropped.
    pub fn enter(&self) -> impl Drop {
        self.handlers.fetch_add(1, Ordering::Relaxed);
        Entered(&self.handlers)
    }
}

/// A request whose handler runs.
struct Entered<'s>(&'s AtomicUsize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the handlers of one worker thread share.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The worker's Router.
    pub router: RouterHandle,
    /// The worker's Signer.
    pub signer: SignerHandle,
    /// The worker's connections to AWS.
    pub upstream: UpstreamClient,
    /// What the account of a request needs.
    pub accounts: Rc<AccountParts>,
    /// The bounds of an answer's body.
    pub meter: MeterLimits,
    /// Timers for request bodies.
    pub body_timers: Timers,
    /// Timers for the silence of AWS.
    pub silence_timers: Timers,
}

/// Writes an access line for the gateway's own endpoints: the route, never the path, which may hold a key. Bedrock
/// requests write theirs at their end, and probes none.
///
/// # Errors
/// Those of the endpoint.
pub async fn access_line<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let started = Instant::now();
    let response = next.call(request).await?;
    let answered = response.request();
    let worker = answered.app_data::<web::Data<Worker>>();
    let route = answered.match_pattern().filter(|route| !route.starts_with("/health") && route != "/metrics");
    if let (Some(worker), Some(route)) = (worker, route) {
        let line = AccessLine {
            id: &uuid::Uuid::new_v4().to_string(),
            caller: "-",
            method: answered.method().as_str(),
            path: &route,
            operation: "-",
            status: response.status().as_u16(),
            outcome: "complete",
            deployment: "-",
            attempts: 0,
            latency_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            cost: None,
        };
        telemetry::access(worker.accounts.access_log, &line);
    }
    Ok(response)
}

/// What is read with GET can be asked for with HEAD: the connection leaves the body out.
fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Every URL.
pub fn configure(config: &mut web::ServiceConfig) {
    proxy::configure_first(config);
    admin::configure(config);
    ops::configure(config);
    admin::not_served::configure(config);
    proxy::configure(config);
}
