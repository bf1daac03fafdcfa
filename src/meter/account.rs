//! The account of one request: opened in the journal before AWS is called, closed exactly once, whatever happens.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::header::HeaderMap;
use bytes::Bytes;

use super::outcome_of;
use crate::config::AccessLog;
use crate::domain::{NanoUsd, UnixMicros};
use crate::event::{Attempt, Begun, CostBasis, Ended, Outcome};
use crate::journal::{JournalPermit, JournalWriter};
use crate::ledger::LedgerHandle;
use crate::limits::Admission;
use crate::metrics::{Metrics, TokenKind, TokenLabels};
use crate::operation::Operation;
use crate::pricing::{Charge, PriceBook, PriceQuery};
use crate::route::{Deployment, Route};
use crate::telemetry::{self, AccessLine};
use crate::usage::{AnswerFacts, AnswerKind, Progress, Reading, RequestFacts, Usage, UsageReader};

/// What the names of Bedrock's own headers start with.
const BEDROCK_HEADERS: &str = "x-amzn-bedrock-";

/// How a request came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer was there.
    Whole,
    /// The answer broke off.
    BrokeOff,
    /// There was no answer.
    Failed,
    /// The client had left, and the rest was not read.
    Abandoned,
}

/// What an account needs of the gateway.
#[derive(Clone, Debug)]
pub struct AccountParts {
    /// The worker's journal.
    pub journal: Rc<RefCell<JournalWriter>>,
    /// Told of every event.
    pub ledger: LedgerHandle,
    /// What things cost.
    pub prices: &'static PriceBook,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How access lines are written.
    pub access_log: AccessLog,
    /// Response bytes looked at for usage, at the most.
    pub max_inspected_bytes: usize,
}

/// The request an account is opened for.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The operation.
    pub operation: &'static Operation,
    /// The client's method.
    pub method: &'a str,
    /// The client's path.
    pub path: &'a str,
    /// When the request's head had been read.
    pub started: Instant,
    /// What the request's body says about its cost.
    pub request: RequestFacts,
}

/// The account of one request.
#[derive(Debug)]
pub struct Account {
    parts: AccountParts,
    begun: Begun,
    request: RequestFacts,
    operation: &'static Operation,
    method: String,
    path: String,
    started: Instant,
    permit: Option<JournalPermit>,
    attempts: Vec<Attempt>,
    answered: Option<Answered>,
    client_gone: bool,
    admission: Admission,
    first_byte: Option<Instant>,
}

/// What is known once there is a response head.
#[derive(Debug)]
struct Answered {
    deployment: Arc<Deployment>,
    model_id: Option<Arc<str>>,
    status: u16,
    aws_request_id: Option<String>,
    reader: UsageReader,
    is_error: bool,
}

impl Account {
    /// Writes the beginning to the journal.
    ///
    /// # Errors
    /// The journal cannot be written: nothing may go to AWS.
    pub fn open(
        parts: AccountParts,
        begun: Begun,
        opening: Opening<'_>,
        permit: JournalPermit,
    ) -> std::io::Result<Self> {
        let Opening { operation, method, path, started, request } = opening;
        parts.journal.borrow_mut().begin(&begun)?;
        parts.metrics.in_flight.inc();
        Ok(Self {
            parts,
            begun,
            request,
            operation,
            method: method.to_owned(),
            path: path.to_owned(),
            started,
            permit: Some(permit),
            attempts: Vec::with_capacity(1),
            answered: None,
            client_gone: false,
            admission: Admission::default(),
            first_byte: None,
        })
    }

    /// Takes over what was reserved for the request, to settle it at the end.
    pub fn hold(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// What is reserved for the request.
    pub fn admission(&mut self) -> &mut Admission {
        &mut self.admission
    }

    /// Notes a try at a deployment; `status` is 0 where no head came.
    pub fn tried(&mut self, deployment: &Deployment, status: u16) {
        self.parts.metrics.upstream_attempts.inc();
        self.attempts.push(Attempt { deployment: deployment.id.clone(), status });
    }

    /// Notes the head of the answer that goes to the client.
    pub fn answered(&mut self, route: &Route, status: u16, headers: &HeaderMap) {
        // Most answers have none of these, and it takes longer to look for each.
        let has_own = headers.keys().any(|name| name.as_str().starts_with(BEDROCK_HEADERS));
        let header = |name: &str| {
            let is_missing = !has_own && name.starts_with(BEDROCK_HEADERS);
            if is_missing { None } else { headers.get(name)?.to_str().ok() }
        };
        let facts = AnswerFacts {
            service: self.begun.service,
            operation: self.operation.name,
            model_id: route.deployment.base_model.as_deref().or(route.model_id.as_deref()),
            status,
            content_type: header("content-type"),
        };
        let facts = AnswerKind::of(&facts);
        let mut reader =
            UsageReader::new(facts, self.parts.max_inspected_bytes).with_request(self.request.clone());
        reader.read_head(header);
        self.answered = Some(Answered {
            deployment: Arc::clone(&route.deployment),
            model_id: route.model_id.clone(),
            status,
            aws_request_id: header("x-amzn-requestid").map(str::to_owned),
            reader,
            is_error: status >= 400,
        });
    }

    /// Looks at a chunk of the answer.
    pub fn received(&mut self, chunk: &Bytes) -> Progress {
        if self.first_byte.is_none() {
            self.first_byte = Some(Instant::now());
        }
        self.answered.as_mut().map_or(Progress::More, |answered| answered.reader.feed(chunk))
    }

    /// Whether the answer, as far as its format tells, has come to its proper end.
    #[must_use]
    pub fn is_whole(&mut self) -> bool {
        self.answered.as_mut().is_none_or(|answered| answered.reader.may_end_here())
    }

    /// The client left.
    pub fn client_gone(&mut self) {
        self.client_gone = true;
    }

    /// Whether the end is written.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.permit.is_none()
    }

    /// Writes the end to the journal. Only the first call counts. `false` if it could not be written: then the
    /// client must not get a whole answer, since the event of it will only be an estimate.
    pub fn end(&mut self, ending: Ending) -> bool {
        let Some(permit) = self.permit.take() else { return true };
        let ended = self.ended(ending);
        // Before the event is written: from then on the ledger may ship it, and tell the budgets so.
        self.settle(&ended);
        let written = self.parts.journal.borrow_mut().end(&ended);
        if let Err(error) = &written {
            self.parts.metrics.journal_write_failures.inc();
            log::error!("the end of {} could not be written to the journal: {error}", self.begun.id);
        }
        self.parts.ledger.record(permit);
        self.report(&ended);
        written.is_ok()
    }

    fn ended(&mut self, ending: Ending) -> Ended {
        let reading = self.answered.as_mut().map(|answered| answered.reader.finish());
        let outcome = self.outcome(ending, reading.as_ref());
        let (usage, charge) = self.charge(ending, reading);
        let answered = self.answered.as_ref();
        let model_id = answered.and_then(|a| a.model_id.as_deref().map(str::to_owned));
        let region = answered.map(|a| a.deployment.region.to_string());
        let micros =
            |at: Instant| u64::try_from(at.duration_since(self.started).as_micros()).unwrap_or(u64::MAX);
        Ended {
            id: self.begun.id,
            outcome,
            status: answered.map_or(0, |a| a.status),
            attempts: std::mem::take(&mut self.attempts),
            model_id: model_id.filter(|id| Some(id) != self.begun.model_id.as_ref()),
            region: region.filter(|region| *region != self.begun.region),
            usage,
            basis: charge.basis,
            price: charge.price,
            cost: charge.cost,
            latency_us: micros(Instant::now()),
            time_to_first_byte_us: self.first_byte.map(micros),
            aws_request_id: answered.and_then(|a| a.aws_request_id.clone()),
        }
    }

    fn settle(&mut self, ended: &Ended) {
        if self.admission.is_unlimited() {
            return;
        }
        let tokens = ended.usage.as_ref().map_or(0, Usage::total_tokens);
        let reached_aws = self.answered.as_ref().is_some_and(|answered| !answered.is_error);
        let cost = ended.cost.or(self.begun.estimate.filter(|_| reached_aws));
        self.admission.settle(cost, tokens, UnixMicros::now());
    }

    fn outcome(&self, ending: Ending, reading: Option<&Reading>) -> Outcome {
        let failed_inside = reading.is_some_and(|reading| reading.failure.is_some());
        let is_error = self.answered.as_ref().is_some_and(|answered| answered.is_error);
        match outcome_of(ending, self.client_gone) {
            Outcome::Complete if failed_inside || is_error => Outcome::UpstreamError,
            outcome => outcome,
        }
    }

    fn charge(&self, ending: Ending, reading: Option<Reading>) -> (Option<Usage>, Charge) {
        let (Some(answered), Some(reading)) = (&self.answered, reading) else { return (None, Charge::FREE) };
        if answered.is_error {
            return (None, Charge::FREE);
        }
        let charge = self.parts.prices.charge(&answered.price_query(), &reading);
        let was_seen_to_the_end = ending == Ending::Whole && reading.failure.is_none();
        match self.begun.estimate {
            Some(_) if charge.basis == CostBasis::UsageUnknown && !was_seen_to_the_end => {
                (None, Charge { cost: self.begun.estimate, basis: CostBasis::Estimated, price: None })
            }
            _ => (reading.usage, charge),
        }
    }

    /// The cost, where the answer's head already tells all of it.
    #[must_use]
    pub fn cost_from_head(&mut self) -> Option<NanoUsd> {
        let answered = self.answered.as_mut().filter(|answered| !answered.is_error)?;
        let usage = answered.reader.finish().usage?;
        self.parts.prices.price(&answered.price_query(), &usage).cost
    }

    fn report(&self, ended: &Ended) {
        let metrics = &self.parts.metrics;
        metrics.in_flight.dec();
        #[expect(clippy::cast_precision_loss, reason = "seconds for a histogram")]
        let seconds = |micros: u64| micros as f64 / 1e6;
        metrics.request_ended(self.operation.name, ended.status, ended.outcome, seconds(ended.latency_us));
        metrics.charged(ended.basis, ended.cost.unwrap_or_default().0);
        if let Some(first) = ended.time_to_first_byte_us {
            metrics.first_byte_seconds.observe(seconds(first));
        }
        if let Some(usage) = &ended.usage {
            let count = |kind, tokens| {
                metrics.tokens.get_or_create(&TokenLabels { kind }).inc_by(tokens);
            };
            count(TokenKind::Input, usage.input_tokens);
            count(TokenKind::Output, usage.output_tokens);
            count(TokenKind::CacheRead, usage.cache_read_tokens);
            count(TokenKind::CacheWrite, usage.cache_write_5m_tokens + usage.cache_write_1h_tokens);
        }
        if self.parts.access_log != AccessLog::Off {
            self.write_access_line(ended);
        }
    }

    fn write_access_line(&self, ended: &Ended) {
        let caller = self.begun.payer.to_string();
        let line = AccessLine {
            id: &self.begun.id.to_string(),
            caller: caller.get(..12).filter(|_| caller.len() == 64).unwrap_or(&caller),
            method: &self.method,
            path: &self.path,
            operation: self.operation.name,
            status: ended.status,
            outcome: ended.outcome.as_str(),
            deployment: ended.attempts.last().map_or("-", |attempt| attempt.deployment.as_str()),
            attempts: ended.attempts.len(),
            latency_us: ended.latency_us,
            cost: ended.cost.map(|cost| cost.to_string()),
        };
        telemetry::access(self.parts.access_log, &line);
    }
}

impl Answered {
    fn price_query(&self) -> PriceQuery<'_> {
        PriceQuery {
            model_id: self.model_id.as_deref().unwrap_or_default(),
            region: self.deployment.region.as_str(),
            base_model: self.deployment.base_model.as_deref(),
            own: &self.deployment.prices,
        }
    }
}

/// A worker that goes down takes its requests with it: their ends are written all the same.
impl Drop for Account {
    fn drop(&mut self) {
        self.end(if self.answered.is_some() { Ending::Abandoned } else { Ending::Failed });
    }
}
