//! The account of one request: opened in the journal before AWS is called, closed exactly once, whatever happens.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use actix_http::header::{self, HeaderMap, HeaderName};
use bytes::Bytes;

use super::Losses;
use super::last_words::{Cause, last_words};
use crate::config::AccessLog;
use crate::domain::{EventId, NanoUsd, UnixMicros};
use crate::event::{Attempt, Begun, Ended};
use crate::journal::{JournalPermit, JournalWriter};
use crate::ledger::{LedgerError, LedgerHandle};
use crate::limits::{Admission, ResponseOwners};
use crate::metrics::Metrics;
use crate::operation::Operation;
use crate::operation::headers::any_of_bedrock;
use crate::pricing::{PriceBook, PriceQuery};
use crate::route::{Deployment, Route};
use crate::upstream::{Answer, SendFailure};
use crate::usage::{AnswerFacts, AnswerKind, Framing, Progress, RequestFacts, UsageReader};

mod closing;

/// The operation whose answers AWS keeps under an id.
const MAKES_RESPONSES: &str = "OpenAiResponses";

const AWS_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

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
    /// The gateway stopped before the end.
    CutOff,
}

/// What the accounts of a worker need of the gateway.
#[derive(Debug)]
pub struct AccountParts {
    /// The worker's journal.
    pub journal: RefCell<JournalWriter>,
    /// Told of every event.
    pub ledger: LedgerHandle,
    /// Where events are counted that find no room in the journal; `None`: then requests are refused.
    pub losses: Option<Arc<Losses>>,
    /// What things cost.
    pub prices: &'static PriceBook,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Told of every response that AWS keeps.
    pub responses: Arc<ResponseOwners>,
    /// How access lines are written.
    pub access_log: AccessLog,
    /// Response bytes looked at for usage, at the most.
    pub max_inspected_bytes: usize,
    /// Set when the stop no longer waits for requests under way.
    pub is_cutting_off: Arc<AtomicBool>,
}

/// Where the event of a request goes.
#[derive(Debug)]
pub enum Place {
    /// Into the journal, which has room for it.
    Journal(JournalPermit),
    /// Nowhere: the journal is full, and the gateway was told to serve all the same.
    Nowhere(Arc<Losses>),
}

impl AccountParts {
    /// A place for the event of one more request.
    ///
    /// # Errors
    /// There is none, and the gateway must rather refuse than forget: answer 503.
    pub fn place(&self) -> Result<Place, LedgerError> {
        match (self.ledger.reserve(), &self.losses) {
            (Ok(permit), _) => Ok(Place::Journal(permit)),
            (Err(LedgerError::Full(_)), Some(losses)) => Ok(Place::Nowhere(Arc::clone(losses))),
            (Err(error), _) => Err(error),
        }
    }

    /// Writes the beginning where its place is.
    fn begin(&self, begun: &Begun, place: Place) -> std::io::Result<Place> {
        let Place::Journal(permit) = place else { return Ok(place) };
        match (self.journal.borrow_mut().begin(begun), &self.losses) {
            (Ok(()), _) => Ok(Place::Journal(permit)),
            (Err(error), Some(losses)) => {
                log::debug!("the beginning of {} could not be written to the journal: {error}", begun.id);
                Ok(Place::Nowhere(Arc::clone(losses)))
            }
            (Err(error), None) => Err(error),
        }
    }
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
    pub request: Rc<RequestFacts>,
}

/// The account of one request.
#[derive(Debug)]
pub struct Account {
    parts: Rc<AccountParts>,
    begun: Begun,
    /// That of the dearest deployment that was tried.
    estimate: Option<NanoUsd>,
    request: Rc<RequestFacts>,
    operation: &'static Operation,
    /// Where requests are logged.
    logged: Option<Asked>,
    started: Instant,
    place: Option<Place>,
    attempts: Vec<Attempt>,
    answered: Option<Answered>,
    work: Work,
    client_gone: bool,
    admission: Admission,
    first_byte: Option<Instant>,
    /// The usage of the event is what was stated before the answer ended too early.
    saw_part: bool,
}

/// How the client asked.
#[derive(Debug)]
struct Asked {
    method: String,
    path: String,
}

/// Whether AWS may bill for a try that gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Nothing was sent, or all that was sent was answered.
    None,
    /// A request is on its way, and no head has come.
    UnderWay,
    /// A request went out, and its answer will never be seen: AWS may finish it, and bill it.
    Lost,
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
    /// The journal cannot be written, and events must not be lost: nothing may go to AWS.
    pub fn open(
        parts: Rc<AccountParts>,
        begun: Begun,
        opening: Opening<'_>,
        place: Place,
    ) -> std::io::Result<Box<Self>> {
        let Opening { operation, method, path, started, request } = opening;
        let place = parts.begin(&begun, place)?;
        parts.metrics.in_flight.inc();
        let asked = || Asked { method: method.to_owned(), path: path.to_owned() };
        let logged = (parts.access_log != AccessLog::Off).then(asked);
        Ok(Box::new(Self {
            parts,
            estimate: begun.estimate,
            begun,
            request,
            operation,
            logged,
            started,
            place: Some(place),
            attempts: Vec::with_capacity(1),
            answered: None,
            work: Work::None,
            client_gone: false,
            admission: Admission::default(),
            first_byte: None,
            saw_part: false,
        }))
    }

    /// Takes over what was reserved for the request, to settle it at the end.
    pub fn hold(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// What is reserved for the request.
    pub fn admission(&mut self) -> &mut Admission {
        &mut self.admission
    }

    /// Another deployment is to be tried, at which the request is taken to cost this.
    pub fn could_cost(&mut self, estimate: Option<NanoUsd>) {
        self.estimate = self.estimate.max(estimate);
    }

    /// A try is about to be sent: until its head is there, AWS may be at work on it.
    pub fn sending(&mut self) {
        if self.work == Work::None {
            self.work = Work::UnderWay;
        }
    }

    /// Notes how a try at a deployment went; its status is 0 where no head came.
    pub fn tried(&mut self, deployment: &Deployment, sent: &Result<Answer, SendFailure>) {
        self.parts.metrics.upstream_attempts.inc();
        let status = sent.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.attempts.push(Attempt { deployment: deployment.id.clone(), status });
        let is_lost = matches!(sent, Err(SendFailure::BrokeOff(_) | SendFailure::Timeout(_)));
        self.work = if is_lost || self.work == Work::Lost { Work::Lost } else { Work::None };
    }

    /// Notes the head of the answer that goes to the client.
    pub fn answered(&mut self, route: &Route, status: u16, headers: &HeaderMap) {
        let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
        let facts = AnswerFacts {
            service: self.begun.service,
            operation: self.operation.name,
            model_id: route.deployment.base_model.as_deref().or(route.model_id.as_deref()),
            status,
            content_type: text(&header::CONTENT_TYPE),
        };
        let facts = AnswerKind::of(&facts);
        let mut reader =
            UsageReader::new(facts, self.parts.max_inspected_bytes).with_request(Rc::clone(&self.request));
        if any_of_bedrock(headers.keys().map(HeaderName::as_str)) {
            reader.read_head(|name| headers.get(name)?.to_str().ok());
        }
        self.answered = Some(Answered {
            deployment: Arc::clone(&route.deployment),
            model_id: route.model_id.clone(),
            status,
            aws_request_id: text(&AWS_REQUEST_ID).map(str::to_owned),
            reader,
            is_error: status >= 400,
        });
    }

    /// Looks at a chunk of the answer.
    pub fn received(&mut self, chunk: &Bytes) -> Progress {
        if self.first_byte.is_none() {
            self.first_byte = Some(Instant::now());
        }
        let Some(answered) = &mut self.answered else { return Progress::More };
        let progress = answered.reader.feed(chunk);
        if self.operation.name == MAKES_RESPONSES
            && let Some(id) = answered.reader.new_response_id()
        {
            self.parts.responses.made(id, self.begun.payer, UnixMicros::now());
        }
        progress
    }

    /// Whether the answer, as far as its format tells, has come to its proper end.
    #[must_use]
    pub fn is_whole(&mut self) -> bool {
        self.answered.as_mut().is_none_or(|answered| answered.reader.may_end_here())
    }

    /// What the answer has cost so far, where it stated that anew since this was asked last.
    pub(super) fn new_cost_so_far(&mut self) -> Option<NanoUsd> {
        let answered = self.answered.as_mut()?;
        let usage = answered.reader.new_speech_usage()?;
        self.parts.prices.price(&answered.price_query(self.begun.started_at), &usage).cost
    }

    /// What is known of the request's cost when it began.
    pub(super) fn request_facts(&self) -> &RequestFacts {
        &self.request
    }

    /// The event's id, as clients may quote it.
    pub(super) fn id(&self) -> EventId {
        self.begun.id
    }

    /// How the answer is framed, where an error can be told after what was received so far.
    pub(super) fn may_go_on(&self) -> Option<Framing> {
        self.answered.as_ref()?.reader.may_go_on()
    }

    /// What a client is told, in the form of this framing, when the answer must be broken off.
    pub(super) fn last_words(&self, framing: Framing, cause: Cause, reason: &str) -> Option<Bytes> {
        let id = self.begun.id;
        let message = format!("{reason} (request {id} of the gateway)");
        last_words(framing, self.begun.service, self.operation.name, cause, &message)
    }

    /// The client left.
    pub fn client_gone(&mut self) {
        self.client_gone = true;
    }

    /// Whether the end is written.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.place.is_none()
    }

    /// Writes the end to the journal. Only the first call counts. `false` if it could not be written: then the
    /// client must not get a whole answer, since the event of it will only be an estimate (unless the gateway was told to
    /// serve even where events are lost).
    pub fn end(&mut self, ending: Ending) -> bool {
        let Some(place) = self.place.take() else { return true };
        let ended = self.ended(ending);
        // Before the event is written: from then on the ledger may ship it, and tell the budgets so.
        self.settle(&ended, &place);
        let may_be_whole = match place {
            Place::Journal(permit) => self.write_end(&ended, permit) || self.parts.losses.is_some(),
            Place::Nowhere(losses) => {
                losses.note(ended.cost, UnixMicros::now());
                true
            }
        };
        self.report(&ended);
        may_be_whole
    }

    fn write_end(&self, ended: &Ended, permit: JournalPermit) -> bool {
        let written = self.parts.journal.borrow_mut().end(ended);
        if let Err(error) = &written {
            self.parts.metrics.journal_write_failures.inc();
            log::error!("the end of {} could not be written to the journal: {error}", self.begun.id);
        }
        self.parts.ledger.record(permit);
        written.is_ok()
    }

    /// Whether the gateway stops without waiting for this request.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.parts.is_cutting_off.load(Ordering::Relaxed)
    }

    /// The cost, where the answer's head already tells all of it.
    #[must_use]
    pub fn cost_from_head(&mut self) -> Option<NanoUsd> {
        let answered = self.answered.as_mut().filter(|answered| !answered.is_error)?;
        let usage = answered.reader.finish().usage?;
        self.parts.prices.price(&answered.price_query(self.begun.started_at), &usage).cost
    }
}

impl Answered {
    fn price_query(&self, at: UnixMicros) -> PriceQuery<'_> {
        PriceQuery {
            model_id: self.model_id.as_deref().unwrap_or_default(),
            region: self.deployment.region.as_str(),
            base_model: self.deployment.base_model.as_deref(),
            own: &self.deployment.prices,
            multipliers: &self.deployment.tier_multipliers,
            at,
        }
    }
}

/// A worker that goes down takes its requests with it: their ends are written all the same. Nothing else drops a
/// request that waits for its answer: a client that leaves by then is noticed later.
impl Drop for Account {
    fn drop(&mut self) {
        let is_cut_off = self.answered.is_none() || self.is_cut_off();
        self.end(if is_cut_off { Ending::CutOff } else { Ending::Abandoned });
    }
}
