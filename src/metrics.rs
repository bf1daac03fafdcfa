//! Every metric of the gateway in one struct: the doc comment of a field is its help text in `/metrics`.

use std::sync::OnceLock;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::event::{CostBasis, Outcome};
use crate::usage::Usage;

/// Upper bounds of the latency histograms, in seconds: from a token count to a long generation.
const LATENCY_BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// How a Bedrock request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The AWS operation.
    pub operation: &'static str,
    /// The status sent to the client.
    pub status: u16,
    /// [`Outcome::as_str`].
    pub outcome: &'static str,
}

/// How sure a cost is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BasisLabels {
    /// [`CostBasis::as_str`].
    pub basis: &'static str,
}

/// A kind of token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TokenLabels {
    /// The kind.
    pub kind: TokenKind,
}

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum TokenKind {
    /// Input at the full price.
    Input,
    /// Output.
    Output,
    /// Read from the cache.
    CacheRead,
    /// Written to the cache.
    CacheWrite,
}

/// A gateway error by its AWS type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// The AWS error type.
    pub error_type: &'static str,
}

/// What ended requests are counted by, found once: a family hashes the labels and takes a lock at each look. Counters
/// are made when they are first needed, since `/metrics` shows those that are there.
#[derive(Clone, Debug, Default)]
struct FoundCounters {
    /// Input, output, cache reads, cache writes.
    tokens: OnceLock<[Counter; 4]>,
    /// Events and their cost, by the place of their basis.
    by_basis: [OnceLock<(Counter, Counter)>; 5],
}

/// The metrics of the process; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Bedrock requests that ended, by operation, status and outcome
    pub requests: Family<RequestLabels, Counter>,
    /// Requests that bedgate itself refused or failed, by AWS error type
    pub gateway_errors: Family<ErrorLabels, Counter>,
    /// Requests that went to AWS and have not ended
    pub in_flight: Gauge,
    /// Tries at a deployment, retries included
    pub upstream_attempts: Counter,
    /// Tokens that AWS reported, by kind
    pub tokens: Family<TokenLabels, Counter>,
    /// Cost in nano-dollars, by how sure it is
    pub cost_nano_usd: Family<BasisLabels, Counter>,
    /// Events by how sure their cost is
    pub events: Family<BasisLabels, Counter>,
    /// Ends of requests that could not be written to the journal
    pub journal_write_failures: Counter,
    /// Events that found no room in the journal and are lost (when_journal_full: serve)
    pub events_lost: Counter,
    /// What lost events cost in nano-dollars, as far as it is known
    pub lost_cost_nano_usd: Counter,
    /// Time from a request's head to its end
    pub request_seconds: Histogram,
    /// Time from a request's head to the first byte of the answer's body
    pub first_byte_seconds: Histogram,
    /// Request bytes held in memory
    pub buffered_request_bytes: Gauge,
    /// Journal bytes on disk
    pub journal_bytes: Gauge,
    /// Events in the journal that are not in the database yet
    pub ledger_events_waiting: Gauge,
    /// Age of the oldest such event, in seconds
    pub ledger_oldest_seconds: Gauge,
    /// Virtual keys in memory
    pub keys: Gauge,
    /// Soft budgets that were exceeded, once for each window on each instance
    pub soft_budgets_exceeded: Counter,
    found: FoundCounters,
}

impl Default for Metrics {
    fn default() -> Self {
        let latency = || Histogram::new(LATENCY_BUCKETS);
        Self {
            requests: Family::default(),
            gateway_errors: Family::default(),
            in_flight: Gauge::default(),
            upstream_attempts: Counter::default(),
            tokens: Family::default(),
            cost_nano_usd: Family::default(),
            events: Family::default(),
            journal_write_failures: Counter::default(),
            events_lost: Counter::default(),
            lost_cost_nano_usd: Counter::default(),
            request_seconds: latency(),
            first_byte_seconds: latency(),
            buffered_request_bytes: Gauge::default(),
            journal_bytes: Gauge::default(),
            ledger_events_waiting: Gauge::default(),
            ledger_oldest_seconds: Gauge::default(),
            keys: Gauge::default(),
            soft_budgets_exceeded: Counter::default(),
            found: FoundCounters::default(),
        }
    }
}

impl Metrics {
    /// Counts an ended request.
    pub fn request_ended(&self, operation: &'static str, status: u16, outcome: Outcome, seconds: f64) {
        self.requests.get_or_create(&RequestLabels { operation, status, outcome: outcome.as_str() }).inc();
        self.request_seconds.observe(seconds);
    }

    /// Counts a cost.
    pub fn charged(&self, basis: CostBasis, nano_usd: i64) {
        let find = || {
            let labels = BasisLabels { basis: basis.as_str() };
            (self.events.get_or_create_owned(&labels), self.cost_nano_usd.get_or_create_owned(&labels))
        };
        let [exact, estimated, unpriced, usage_unknown, free] = &self.found.by_basis;
        let place = match basis {
            CostBasis::Exact => exact,
            CostBasis::Estimated => estimated,
            CostBasis::Unpriced => unpriced,
            CostBasis::UsageUnknown => usage_unknown,
            CostBasis::Free => free,
        };
        let (events, cost) = place.get_or_init(find);
        events.inc();
        cost.inc_by(u64::try_from(nano_usd).unwrap_or_default());
    }

    /// Counts tokens.
    pub fn used(&self, usage: &Usage) {
        let find = || {
            [TokenKind::Input, TokenKind::Output, TokenKind::CacheRead, TokenKind::CacheWrite]
                .map(|kind| self.tokens.get_or_create_owned(&TokenLabels { kind }))
        };
        let counters = self.found.tokens.get_or_init(find);
        let written = usage.cache_write_5m_tokens.saturating_add(usage.cache_write_1h_tokens);
        let counts = [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, written];
        counters.iter().zip(counts).for_each(|(counter, count)| {
            counter.inc_by(count);
        });
    }

    /// The text of `/metrics` (OpenMetrics).
    ///
    /// # Errors
    /// The text cannot be formatted.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("bedgate");
        let text = "Bedrock requests that ended, by operation, status and outcome";
        registry.register("requests", text, self.requests.clone());
        let text = "Requests that bedgate itself refused or failed, by AWS error type";
        registry.register("gateway_errors", text, self.gateway_errors.clone());
        registry.register(
            "requests_in_flight",
            "Requests that went to AWS and have not ended",
            self.in_flight.clone(),
        );
        let text = "Tries at a deployment, retries included";
        registry.register("upstream_attempts", text, self.upstream_attempts.clone());
        registry.register("tokens", "Tokens that AWS reported, by kind", self.tokens.clone());
        let text = "Cost in nano-dollars, by how sure it is";
        registry.register("cost_nano_usd", text, self.cost_nano_usd.clone());
        registry.register("events", "Events by how sure their cost is", self.events.clone());
        let text = "Ends of requests that could not be written to the journal";
        registry.register("journal_write_failures", text, self.journal_write_failures.clone());
        let text = "Events that found no room in the journal and are lost (when_journal_full: serve)";
        registry.register("events_lost", text, self.events_lost.clone());
        let text = "What lost events cost in nano-dollars, as far as it is known";
        registry.register("lost_cost_nano_usd", text, self.lost_cost_nano_usd.clone());
        let text = "Time from a request's head to its end";
        registry.register("request_seconds", text, self.request_seconds.clone());
        let text = "Time from a request's head to the first byte of the answer's body";
        registry.register("first_byte_seconds", text, self.first_byte_seconds.clone());
        let text = "Request bytes held in memory";
        registry.register("buffered_request_bytes", text, self.buffered_request_bytes.clone());
        registry.register("journal_bytes", "Journal bytes on disk", self.journal_bytes.clone());
        let text = "Events in the journal that are not in the database yet";
        registry.register("ledger_events_waiting", text, self.ledger_events_waiting.clone());
        let text = "Age of the oldest such event, in seconds";
        registry.register("ledger_oldest_seconds", text, self.ledger_oldest_seconds.clone());
        registry.register("keys", "Virtual keys in memory", self.keys.clone());
        let text = "Soft budgets that were exceeded, once for each window on each instance";
        registry.register("soft_budgets_exceeded", text, self.soft_budgets_exceeded.clone());
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}
