//! What an account comes to when it is closed: its event, what the limits are told of it, what is counted and logged.

use std::time::Instant;

use super::{Account, Answered, Asked, Ending, Place, Work};
use crate::domain::UnixMicros;
use crate::event::{CostBasis, Ended, Outcome};
use crate::limits::cost_bound::{is_free, likely_tokens};
use crate::meter::outcome_of;
use crate::pricing::Charge;
use crate::telemetry::{self, AccessLine};
use crate::usage::{Reading, Usage};

impl Account {
    /// The event.
    pub(super) fn ended(&mut self, ending: Ending) -> Ended {
        let reading = self.answered.as_mut().map(|answered| answered.reader.finish());
        let outcome = self.outcome(ending, reading.as_ref());
        let is_partial = reading.as_ref().is_some_and(|reading| reading.usage.is_none());
        let (usage, charge) = self.charge(ending, reading);
        self.saw_part = usage.is_some() && is_partial;
        let aws_request_id = self.answered.as_mut().and_then(|answered| answered.aws_request_id.take());
        let answered = self.answered.as_ref();
        let model_id = answered.and_then(|answered| answered.model_id.as_deref());
        let region = answered.map(|answered| answered.deployment.region.as_str());
        let micros =
            |at: Instant| u64::try_from(at.duration_since(self.started).as_micros()).unwrap_or(u64::MAX);
        Ended {
            id: self.begun.id,
            outcome,
            status: answered.map_or(0, |answered| answered.status),
            attempts: std::mem::take(&mut self.attempts),
            model_id: model_id.filter(|id| Some(*id) != self.begun.model_id.as_deref()).map(str::to_owned),
            region: region.filter(|region| *region != self.begun.region).map(str::to_owned),
            usage,
            basis: charge.basis,
            price: charge.price,
            cost: charge.cost,
            latency_us: micros(Instant::now()),
            time_to_first_byte_us: self.first_byte.map(micros),
            aws_request_id,
        }
    }

    /// Tells the limits what it came to.
    pub(super) fn settle(&mut self, ended: &Ended, place: &Place) {
        if self.admission.is_unlimited() {
            return;
        }
        // Of what is not known, what was reserved is taken to be used.
        let tokens = match &ended.usage {
            Some(usage) if self.saw_part => Some(usage.total_tokens().max(likely_tokens(&self.request))),
            Some(usage) => Some(usage.total_tokens()),
            None if ended.basis == CostBasis::Free => Some(0),
            None => None,
        };
        // What stays unknown counts as its estimate, here and in the database.
        let cost = ended.cost.or(self.begun.estimate).unwrap_or_default();
        let latency = i64::try_from(ended.latency_us).unwrap_or(i64::MAX);
        let now = UnixMicros(self.begun.started_at.0.saturating_add(latency));
        match place {
            Place::Journal(_) => self.admission.settle(cost, tokens, now),
            Place::Nowhere(_) => self.admission.settle_unrecorded(cost, tokens, now),
        }
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
        let answered = self.answered.as_ref().filter(|answered| !answered.is_error);
        let (Some(answered), Some(reading)) = (answered, reading) else {
            return (None, self.charge_without_answer());
        };
        let charge = self.parts.prices.charge(&answered.price_query(self.begun.started_at), &reading);
        let was_seen_to_the_end = ending == Ending::Whole && reading.failure.is_none();
        if reading.is_so_far && !was_seen_to_the_end && reading.usage.is_some() {
            return (reading.usage, charge.or_more());
        }
        if charge.basis != CostBasis::UsageUnknown || was_seen_to_the_end {
            return (reading.usage, charge);
        }
        self.charge_of_part(answered, reading)
    }

    /// What an answer is charged that ended too early: what it stated, and as much output as it may have had beyond that:
    /// what was sent, where AWS ended it and the model does not reason unseen, else the longest answer. Where it stated
    /// nothing, its likely input stands in.
    fn charge_of_part(&self, answered: &Answered, reading: Reading) -> (Option<Usage>, Charge) {
        let query = answered.price_query(self.begun.started_at);
        let quote = self.parts.prices.quote(&query);
        let longest = quote.longest_answer(self.request.longest_answer(self.operation.name));
        let output = match (reading.sent_tokens, longest) {
            (Some(sent), Some(longest)) => Some(sent.min(longest)),
            (sent, longest) => sent.or(longest),
        };
        let likely_input = self.request.likely_input_tokens();
        let estimated = |cost| Charge { cost, basis: CostBasis::Estimated, price: None };
        let Some(stated) = reading.partial else {
            let by_sent = reading.sent_tokens.and_then(|_| quote.worst_case(likely_input, output));
            // Never more than what budgets were told.
            let cost = by_sent.into_iter().chain(self.estimate).min();
            return (None, cost.map_or(Charge::USAGE_UNKNOWN, |cost| estimated(Some(cost))));
        };
        let mut most = stated.clone();
        most.output_tokens = most.output_tokens.max(output.unwrap_or_default());
        if stated.is_without_prompt() {
            most.input_tokens = likely_input;
        }
        let charge = self.parts.prices.price(&query, &most);
        match (charge.cost, output, self.estimate) {
            (Some(_), Some(_), _) | (Some(_), None, None) => (Some(stated), charge.or_more()),
            // Not unpriced: a price that is found later would be taken times a part of the usage.
            (None, _, None) => (Some(stated), Charge::USAGE_UNKNOWN),
            (cost, _, estimate) => (Some(stated), estimated(cost.max(estimate))),
        }
    }

    /// An error is free, and so is what was never sent; what AWS may have finished unseen is not.
    fn charge_without_answer(&self) -> Charge {
        match (self.work, self.estimate) {
            (Work::None, _) => Charge::FREE,
            _ if is_free(self.begun.service, self.operation.name) => Charge::FREE,
            (_, None) => Charge::USAGE_UNKNOWN,
            (_, cost) => Charge { cost, basis: CostBasis::Estimated, price: None },
        }
    }

    /// Counts it and logs it.
    pub(super) fn report(&self, ended: &Ended) {
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
            metrics.used(usage);
        }
        if let Some(asked) = &self.logged {
            self.write_access_line(asked, ended);
        }
    }

    fn write_access_line(&self, asked: &Asked, ended: &Ended) {
        let caller = self.begun.payer.to_string();
        let line = AccessLine {
            id: &self.begun.id.to_string(),
            caller: caller.get(..12).filter(|_| caller.len() == 64).unwrap_or(&caller),
            method: &asked.method,
            path: &asked.path,
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
