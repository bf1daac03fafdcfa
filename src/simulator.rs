//! A stand-in for Amazon Bedrock and STS on one local port: it checks signatures as AWS does, answers every operation
//! in its realistic shape, and fails on request. The one operation that streams both ways it serves over HTTP/2.
//!
//! `bedgate demo`, the integration tests and the benchmark talk to it. It shares no code with the gateway: it reads
//! HTTP/1.1 from its own sockets (so that it can cut, reset and stall them), computes signatures by itself, and encodes
//! event streams with AWS's own crate.
//!
//! # Steering a call
//!
//! A call can be made to fail or to report given numbers by the words `simulate.<action>` in its model id, path or body
//! (see [`Fault`] for the actions), or from outside by rules: [`Simulator::set_faults`] or `PUT /__simulator/faults` with a
//! JSON list of [`FaultRule`].
//!
//! # Looking at what arrived
//!
//! `GET /__simulator/requests[?after=SEQUENCE&limit=COUNT&path_contains=TEXT]` (newest last; `DELETE` forgets), `GET /__simulator/stats`, and in process
//! [`Simulator::requests`] and [`Simulator::stats`].

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

mod admin;
mod agents;
mod answer;
mod callers;
mod compatible;
mod converse;
mod duplex;
mod faults;
mod frames;
mod models;
mod request_log;
mod server;
mod signature;
mod sts;
mod tokens;
mod wire;

pub use callers::SimulatedCredentials;
pub use faults::{Fault, FaultMatch, FaultRule};
pub use request_log::{RecordedRequest, Stats};
pub use tokens::{SimulatedUsage, predicted_usage};

/// What the simulator accepts and how it behaves. All fields have defaults that suit a local run.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Address to bind.
    pub host: String,
    /// Port to bind; 0 takes a free one.
    pub port: u16,
    /// Credentials whose signatures are accepted.
    pub credentials: Vec<SimulatedCredentials>,
    /// Bedrock API keys accepted as `Authorization: Bearer …`.
    pub bearer_tokens: Vec<String>,
    /// The only region a credential scope may name (STS excepted); `None` accepts any.
    pub region: Option<String>,
    /// The AWS account of the ARNs in answers.
    pub account_id: String,
    /// Whether signatures and bearer tokens are checked at all. Only the benchmark turns this off.
    pub check_signatures: bool,
    /// How far `x-amz-date` may be from now, either way. AWS allows five minutes.
    pub clock_skew: Duration,
    /// Strings (virtual keys, master key, secrets) that must never arrive in any header, path or query.
    pub forbidden_values: Vec<String>,
    /// The external id that `AssumeRole` must carry; `None` asks for none.
    pub external_id: Option<String>,
    /// How long credentials from `AssumeRole` live; `None` honours the call's `DurationSeconds`.
    pub session_lifetime: Option<Duration>,
    /// Threads that serve; each runs its own event loop.
    pub workers: usize,
    /// Silence before the head of every answer of the service.
    pub delay: Duration,
    /// Silence between two events of a stream. With zero, events that are ready leave together.
    pub pace: Duration,
    /// Whether requests are kept for `GET /__simulator/requests`. The benchmark turns this off.
    pub log_requests: bool,
    /// How many requests the log keeps; the oldest goes first.
    pub log_capacity: usize,
    /// How many bytes of each body the log keeps.
    pub log_body_bytes: usize,
    /// The largest request body that is read, in bytes; a larger one is answered with 413.
    pub max_body_bytes: usize,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            credentials: vec![SimulatedCredentials::example()],
            bearer_tokens: Vec::new(),
            region: None,
            account_id: "123456789012".to_owned(),
            check_signatures: true,
            clock_skew: Duration::from_secs(5 * 60),
            forbidden_values: Vec::new(),
            external_id: None,
            session_lifetime: None,
            workers: 1,
            delay: Duration::ZERO,
            pace: Duration::from_millis(2),
            log_requests: true,
            log_capacity: 100_000,
            log_body_bytes: 64 * 1024,
            max_body_bytes: 64 * 1024 * 1024,
        }
    }
}

/// A running simulator. It needs no runtime of its caller's: it serves on threads of its own, until it is stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<server::Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Binds and serves.
///
/// # Errors
/// When the address cannot be bound or a thread cannot be started.
pub fn start(options: SimulatorOptions) -> std::io::Result<Simulator> {
    let listener = TcpListener::bind((options.host.as_str(), options.port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let workers = options.workers.max(1);
    let shared = Arc::new(server::Shared::new(options));
    let (stop, _) = watch::channel(false);
    let mut simulator = Simulator { address, shared, stop, threads: Vec::with_capacity(workers) };
    for index in 0..workers {
        let thread = server::spawn_worker(
            index,
            listener.try_clone()?,
            Arc::clone(&simulator.shared),
            simulator.stop.subscribe(),
        )?;
        simulator.threads.push(thread);
    }
    Ok(simulator)
}

/// Serves until the future is dropped: `bedgate simulator`.
///
/// # Errors
/// When the address cannot be bound or a thread cannot be started.
pub async fn run(options: SimulatorOptions) -> std::io::Result<()> {
    let simulator = start(options)?;
    log::info!("simulator listens on {}", simulator.url());
    std::future::pending::<()>().await;
    Ok(())
}

impl Simulator {
    /// Where it listens, as a base URL without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What arrived so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.log.snapshot()
    }

    /// Forgets what arrived.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.log.stats()
    }

    /// Replaces the fault rules; their counters start anew.
    pub fn set_faults(&self, rules: Vec<FaultRule>) {
        self.shared.faults.replace(rules);
    }

    /// Closes the port and every connection, and waits for the threads.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a simulator thread panicked");
            }
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shut_down();
    }
}

#[cfg(test)]
#[path = "simulator/server_tests.rs"]
mod tests;
