//! A request's way through the limits: in, at the price it could cost, and out at the price it did.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_http::header::{HeaderName, HeaderValue};
use bytes::Bytes;

use super::budget::{BudgetTerms, DoesNotFit, Misfit};
use super::rate::{RateLeft, RateTerms, TooFast};
use super::table::{Counters, StaleReading, Subject};
use crate::domain::period::moment_text;
use crate::domain::{Enforcement, EventId, NanoUsd, UnixMicros};
use crate::error::{GatewayError, LimitHeader, RateRefusal};
use crate::store::KeyRecord;

const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
const LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const RESET_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");
const SOFT_BUDGET_EXCEEDED: HeaderName = HeaderName::from_static("x-bedgate-soft-budget-exceeded");

/// A request that was let in. Dropped, it gives back what it holds. Without limits it is empty and costs nothing.
#[derive(Debug, Default)]
pub struct Admission {
    seats: Vec<Seat>,
    id: Option<EventId>,
    began: UnixMicros,
    estimate: Option<NanoUsd>,
    soft_exceeded: Vec<String>,
}

/// A request's place at the counters of one subject.
#[derive(Debug)]
pub(super) struct Seat {
    subject: Subject,
    name: SeatName,
    counters: Arc<Counters>,
    budget: Option<BudgetTerms>,
    rate: RateTerms,
    has_entered: bool,
    has_reserved: bool,
    /// Tokens reserved, and when: they are given back to that minute.
    tokens: u64,
    tokens_at: UnixMicros,
}

/// How refusals name a subject, in LiteLLM's words. Written out only where one is refused.
#[derive(Clone, Debug)]
pub(super) enum SeatName {
    Gateway,
    Key(Arc<KeyRecord>),
    KeyModel(Arc<KeyRecord>, String),
    Team(String),
    Customer(String),
}

/// `Key=alias (sk-...abcd)`.
impl fmt::Display for SeatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_name = |f: &mut fmt::Formatter<'_>, key: &KeyRecord| match &key.key_alias {
            Some(alias) => write!(f, "Key={alias} ({})", key.key_name),
            None => write!(f, "Key={}", key.key_name),
        };
        match self {
            Self::Gateway => f.write_str("Gateway"),
            Self::Key(key) => key_name(f, key),
            Self::KeyModel(key, model) => {
                key_name(f, key)?;
                write!(f, " Model={model}")
            }
            Self::Team(name) => write!(f, "Team={name}"),
            Self::Customer(id) => write!(f, "Customer={id}"),
        }
    }
}

/// What a request could cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct PossibleCost {
    /// At the very most, where something bounds it.
    pub bound: Option<NanoUsd>,
    /// Likely, where a price is known.
    pub likely: Option<NanoUsd>,
}

impl Admission {
    /// Of a request that no limit concerns yet. `estimate` is reserved where nothing bounds its cost.
    pub(super) fn new(id: EventId, began: UnixMicros, estimate: Option<NanoUsd>) -> Self {
        Self { seats: Vec::new(), id: Some(id), began, estimate, soft_exceeded: Vec::new() }
    }

    /// When the request began.
    pub(super) fn began(&self) -> UnixMicros {
        self.began
    }

    /// One more limit concerns it.
    pub(super) fn sit(&mut self, seat: Seat) {
        self.seats.push(seat);
    }

    /// It costs nothing: budgets do not matter.
    pub(super) fn is_free_of_charge(&mut self) {
        self.seats.iter_mut().for_each(|seat| seat.budget = None);
    }

    /// The budgets whose reading is missing or too old.
    pub(super) fn stale_readings(&self) -> Vec<StaleReading> {
        let stale = self.seats.iter().filter_map(|seat| {
            let wanted = seat.counters.budget.wants_reading(seat.budget.as_ref()?, self.began)?;
            Some(StaleReading { subject: seat.subject.clone(), counters: Arc::clone(&seat.counters), wanted })
        });
        stale.collect()
    }

    /// Enters at the seats that are new, at all or at none.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(super) fn enter(&mut self) -> Result<(), GatewayError> {
        let now = self.began;
        let entered =
            self.seats.iter_mut().filter(|seat| !seat.has_entered).try_for_each(|seat| seat.enter(now));
        if entered.is_err() {
            self.undo();
        }
        entered
    }

    /// Notes the soft budgets that are exceeded; returns those that are so for the first time in their window.
    pub(super) fn note_soft_budgets(&mut self) -> Vec<String> {
        let mut first = Vec::new();
        for seat in &self.seats {
            let exceeded = seat.budget.as_ref().and_then(|terms| seat.counters.budget.soft_exceeded(terms));
            let Some(is_first) = exceeded else { continue };
            if is_first {
                first.push(seat.name.to_string());
            }
            let name = seat.name.to_string();
            if !self.soft_exceeded.contains(&name) {
                self.soft_exceeded.push(name);
            }
        }
        first
    }

    /// Whether nothing limits the request: what it could cost need not be known.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.seats.is_empty()
    }

    /// Reserves money and tokens, at every limit or at none. Called again for another deployment, the reservation
    /// becomes the larger of the two.
    ///
    /// # Errors
    /// The limit that has no room for it.
    pub fn reserve(&mut self, cost: PossibleCost, tokens: u64, now: UnixMicros) -> Result<(), GatewayError> {
        let Some(id) = self.id else { return Ok(()) };
        let bound = cost.bound.or(self.estimate);
        for seat in &mut self.seats {
            if let Some(terms) = &seat.budget {
                let could_cost = match terms.enforcement {
                    Enforcement::Hard => bound,
                    Enforcement::Standard => bound.or(cost.likely),
                };
                let reserved = seat.counters.budget.reserve(terms, id, self.began, could_cost);
                reserved.map_err(|refusal| seat.too_dear(&refusal, could_cost))?;
                seat.has_reserved = true;
            }
            if seat.rate.tpm.is_some() && seat.tokens == 0 {
                let reserved = seat.counters.rate.reserve(&seat.rate, tokens, now);
                reserved.map_err(|refusal| seat.too_fast(&refusal, now))?;
                (seat.tokens, seat.tokens_at) = (tokens, now);
            }
        }
        Ok(())
    }

    /// The request is over: it counts with this amount and used so many tokens (`None`: nobody knows, so what was
    /// reserved). Called before its event is written down.
    pub fn settle(&mut self, cost: NanoUsd, tokens: Option<u64>, now: UnixMicros) {
        let Some(id) = self.id else { return };
        for mut seat in self.seats.drain(..) {
            if std::mem::take(&mut seat.has_reserved) {
                seat.counters.budget.settle(id, cost);
            }
            if seat.rate.tpm.is_some() {
                let reserved_at = if seat.tokens == 0 { self.began } else { seat.tokens_at };
                let used = tokens.unwrap_or(seat.tokens);
                seat.counters.rate.settle(seat.tokens, used, reserved_at, now);
                seat.tokens = 0;
            }
            seat.leave(id, now);
        }
    }

    /// As [`Admission::settle`], for an event that no database will ever hold: its cost counts here alone, until the
    /// window of its budget ends or the process does.
    pub fn settle_unrecorded(&mut self, cost: NanoUsd, tokens: Option<u64>, now: UnixMicros) {
        let Some(id) = self.id else { return };
        let counters: Vec<_> = self.seats.iter().map(|seat| Arc::clone(&seat.counters)).collect();
        self.settle(cost, tokens, now);
        counters.iter().for_each(|counters| counters.budget.lost(id));
    }

    /// Headers that tell the client how much is left.
    #[must_use]
    pub fn headers(&self, now: UnixMicros) -> Vec<LimitHeader> {
        let limited = self.seats.iter().find(|seat| seat.rate.rpm.is_some() || seat.rate.tpm.is_some());
        let mut headers = limited.map(|seat| seat.rate_headers(now)).unwrap_or_default();
        if !self.soft_exceeded.is_empty() {
            let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            let named: String = self.soft_exceeded.join(", ").chars().map(printable).collect();
            headers.extend(HeaderValue::try_from(named).map(|named| (SOFT_BUDGET_EXCEEDED, named)));
        }
        headers
    }

    /// A refusal counts for nothing.
    fn undo(&mut self) {
        for seat in &mut self.seats {
            if std::mem::take(&mut seat.has_entered) {
                seat.counters.rate.undo(self.began);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        for mut seat in self.seats.drain(..) {
            seat.leave(id, self.began);
        }
    }
}

impl Seat {
    /// A place that is not entered yet.
    pub(super) fn new(
        subject: Subject,
        name: SeatName,
        counters: Arc<Counters>,
        budget: Option<BudgetTerms>,
        rate: RateTerms,
    ) -> Self {
        let (has_entered, has_reserved) = (false, false);
        let (tokens, tokens_at) = (0, UnixMicros::default());
        Self { subject, name, counters, budget, rate, has_entered, has_reserved, tokens, tokens_at }
    }

    fn enter(&mut self, now: UnixMicros) -> Result<(), GatewayError> {
        if let Some(terms) = &self.budget {
            if !self.counters.budget.is_known() {
                return Err(GatewayError::Overloaded {
                    reason: "the gateway cannot read what was spent of a budget: its database is away".into(),
                    retry_after: Duration::from_secs(1),
                });
            }
            self.counters.budget.check(terms, now).map_err(|refusal| self.too_dear(&refusal, None))?;
        }
        self.counters.rate.enter(&self.rate, now).map_err(|refusal| self.too_fast(&refusal, now))?;
        self.has_entered = true;
        Ok(())
    }

    /// Gives back what is still held.
    fn leave(&mut self, id: EventId, now: UnixMicros) {
        if std::mem::take(&mut self.has_reserved) {
            self.counters.budget.release(id);
        }
        if self.tokens > 0 {
            self.counters.rate.settle(std::mem::take(&mut self.tokens), 0, self.tokens_at, now);
        }
        if std::mem::take(&mut self.has_entered) {
            self.counters.rate.leave();
        }
    }

    fn too_dear(&self, refusal: &DoesNotFit, could_cost: Option<NanoUsd>) -> GatewayError {
        let DoesNotFit { spent, reserved, max, resets_at, why } = refusal;
        if *why == Misfit::TryAgain {
            let reason = format!(
                "a new period of the budget of {} began meanwhile: send the request again",
                self.name
            );
            return GatewayError::Overloaded { reason: reason.into(), retry_after: Duration::from_secs(1) };
        }
        let mut text =
            format!("Budget has been exceeded! {} Current cost: {spent}, Max budget: {max}", self.name);
        if reserved.0 > 0 {
            text.push_str(&format!(", reserved by requests in flight: {reserved}"));
        }
        if *why == Misfit::NoBound {
            text = format!(
                "{} has a hard budget ({spent} of {max} spent), and nothing bounds what this request could cost: \
                 set bedgate_settings.budgets.estimate_without_bound to let such requests in",
                self.name
            );
        } else if let Some(cost) = could_cost {
            text.push_str(&format!("; this request could cost {cost}"));
        }
        match resets_at.and_then(moment_text) {
            Some(moment) => text.push_str(&format!("; the budget resets at {moment}")),
            None => text.push_str("; the budget does not reset"),
        }
        GatewayError::BudgetExceeded(text)
    }

    fn too_fast(&self, refusal: &TooFast, now: UnixMicros) -> GatewayError {
        let reason = format!(
            "Rate limit exceeded for {}. Limit type: {}. Current limit: {}, Remaining: 0. Try again in {} s",
            self.name,
            refusal.kind.as_str(),
            refusal.limit,
            refusal.retry_after
        );
        let retry_after = Duration::from_secs(refusal.retry_after);
        GatewayError::RateLimited(Box::new(RateRefusal {
            reason,
            retry_after,
            headers: self.rate_headers(now),
        }))
    }

    fn rate_headers(&self, now: UnixMicros) -> Vec<LimitHeader> {
        let RateLeft { requests, tokens, reset } = self.counters.rate.left(&self.rate, now);
        let (request_limit, requests_left) = requests.unwrap_or_default();
        let (token_limit, tokens_left) = tokens.unwrap_or_default();
        let values = number_values([request_limit, requests_left, token_limit, tokens_left, reset]);
        let [request_limit, requests_left, token_limit, tokens_left, reset] = values;
        let mut headers = Vec::with_capacity(6);
        if requests.is_some() {
            headers.push((LIMIT_REQUESTS, request_limit));
            headers.push((REMAINING_REQUESTS, requests_left));
            headers.push((RESET_REQUESTS, reset.clone()));
        }
        if tokens.is_some() {
            headers.push((LIMIT_TOKENS, token_limit));
            headers.push((REMAINING_TOKENS, tokens_left));
            headers.push((RESET_TOKENS, reset));
        }
        headers
    }
}

/// Numbers as values of headers, all in one block of memory.
fn number_values<const COUNT: usize>(numbers: [u64; COUNT]) -> [HeaderValue; COUNT] {
    let mut text = Vec::with_capacity(COUNT * MOST_DIGITS);
    let ends = numbers.map(|number| {
        push_digits(&mut text, number);
        text.len()
    });
    let (text, mut start) = (Bytes::from(text), 0);
    ends.map(|end| {
        let digits = text.slice(std::mem::replace(&mut start, end)..end);
        HeaderValue::from_maybe_shared(digits).unwrap_or(const { HeaderValue::from_static("") })
    })
}

/// Digits of the largest number.
const MOST_DIGITS: usize = 20;

/// The last digit first: the standard library's formatting costs some hundred instructions for each number.
fn push_digits(text: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut start) = ([b'0'; MOST_DIGITS], MOST_DIGITS);
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        (number, start) = (number / 10, place);
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        let numbers = [0, 9, 1_234_567, u64::MAX];
        assert_eq!(number_values(numbers), numbers.map(HeaderValue::from));
    }
}
