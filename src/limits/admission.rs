//! A request's way through the limits: in, at the price it could cost, and out at the price it did.

use std::sync::Arc;
use std::time::Duration;

use super::access::{ModelNames, is_restriction, may_use_any};
use super::budget::{BudgetTerms, DoesNotFit};
use super::rate::{RateTerms, TooFast};
use super::table::{Counters, LimitTable, Subject, rate_terms};
use crate::auth::Caller;
use crate::domain::period::moment_text;
use crate::domain::{EventId, NanoUsd, UnixMicros};
use crate::error::{GatewayError, RateRefusal};
use crate::store::{HolderKind, HolderRecord, KeyRecord, LimitSet};

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
struct Seat {
    subject: Subject,
    /// As refusals name it, in LiteLLM's words: `Key=alias (sk-...abcd)`.
    name: String,
    counters: Arc<Counters>,
    budget: Option<BudgetTerms>,
    rate: RateTerms,
    has_entered: bool,
    has_reserved: bool,
    tokens: u64,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// The model name.
    pub model: Option<&'a str>,
    /// AWS may charge for it; where it does not, budgets do not matter.
    pub is_charged: bool,
    /// The event's id.
    pub id: EventId,
    /// When it began.
    pub now: UnixMicros,
}

impl LimitTable {
    /// Lets a request of this caller in, or says which limit is reached: the key's, its models', its team's or the
    /// gateway's.
    ///
    /// # Errors
    /// A team that is blocked or may not use the model; a budget that is used up; a rate that is reached.
    pub async fn admit(&self, request: Request<'_>) -> Result<Admission, GatewayError> {
        let Request { caller, model, is_charged, id, now } = request;
        let estimate = self.defaults.estimate;
        let mut admission =
            Admission { seats: Vec::new(), id: Some(id), began: now, estimate, soft_exceeded: Vec::new() };
        if let Some(key) = caller.key() {
            self.seat_key(&mut admission, key, now);
            self.seat_model(&mut admission, key, model, now);
            if let Some(team) = self.team_of(key) {
                require_not_blocked(&team)?;
                let limits = self.with_budget(&team.limits, team.budget_id.as_deref());
                let name = team.alias.clone().unwrap_or_else(|| team.id.clone());
                let subject = Subject::Team(team.id.clone());
                self.seat(&mut admission, subject, &limits, NanoUsd::ZERO, now, || format!("Team={name}"));
            }
        }
        if let Some(terms) = &self.gateway {
            admission.seats.push(Seat {
                subject: Subject::Gateway,
                name: "Gateway".to_owned(),
                counters: self.counters(&Subject::Gateway, now),
                budget: Some(terms.clone()),
                rate: RateTerms::default(),
                has_entered: false,
                has_reserved: false,
                tokens: 0,
            });
        }
        self.enter(&mut admission, is_charged).await?;
        Ok(admission)
    }

    /// Lets it in for a customer, too.
    ///
    /// # Errors
    /// The customer is blocked, or at a limit.
    pub async fn admit_customer(
        &self,
        admission: &mut Admission,
        customer: Option<&str>,
        is_charged: bool,
    ) -> Result<(), GatewayError> {
        let Some(record) = customer.and_then(|id| self.holders.find(HolderKind::Customer, id)) else {
            return Ok(());
        };
        if record.blocked {
            return Err(GatewayError::AccessDenied(format!(
                "the customer {:?} is blocked; ask your administrator",
                record.id
            )));
        }
        let limits = self.with_budget(&record.limits, record.budget_id.as_deref());
        let subject = Subject::Customer(record.id.clone());
        let name = || format!("Customer={}", record.id);
        self.seat(admission, subject, &limits, NanoUsd::ZERO, admission.began, name);
        self.enter(admission, is_charged).await
    }

    /// The key's team, if it is more than a label.
    #[must_use]
    pub fn team_of(&self, key: &KeyRecord) -> Option<Arc<HolderRecord>> {
        self.holders.find(HolderKind::Team, key.team_id.as_deref()?)
    }

    /// Whether the caller's key, or its team, may use some models only.
    #[must_use]
    pub fn is_restricted(&self, caller: &Caller) -> bool {
        caller.key().is_some_and(|key| {
            is_restriction(&key.models) || self.team_of(key).is_some_and(|team| is_restriction(&team.models))
        })
    }

    /// Limits, completed by those of the budget they name.
    #[must_use]
    pub fn with_budget(&self, limits: &LimitSet, budget_id: Option<&str>) -> LimitSet {
        match budget_id.and_then(|id| self.holders.find(HolderKind::Budget, id)) {
            Some(budget) => limits.over(&budget.limits),
            None => limits.clone(),
        }
    }

    /// Refuses a model that the key's team may not use.
    ///
    /// # Errors
    /// `AccessDeniedException` that names what the team may use.
    pub fn require_team_model(
        &self,
        caller: &Caller,
        model: &str,
        names: ModelNames<'_>,
    ) -> Result<(), GatewayError> {
        let Some(team) = caller.key().and_then(|key| self.team_of(key)) else { return Ok(()) };
        if may_use_any(&team.models, model, names) {
            return Ok(());
        }
        Err(GatewayError::AccessDenied(format!(
            "the team {:?} of this key may not use the model {model:?}; it may use: {}",
            team.id,
            team.models.join(", ")
        )))
    }

    fn seat_key(&self, admission: &mut Admission, key: &KeyRecord, now: UnixMicros) {
        if key.limits.is_empty() && key.budget_id.is_none() {
            return;
        }
        let limits = self.with_budget(&key.limits, key.budget_id.as_deref());
        self.seat(admission, Subject::Key(key.hash), &limits, key.spend_carried, now, || name_of(key));
    }

    fn seat_model(&self, admission: &mut Admission, key: &KeyRecord, model: Option<&str>, now: UnixMicros) {
        if key.limits.models.is_empty() && key.budget_id.is_none() {
            return;
        }
        let limits = self.with_budget(&key.limits, key.budget_id.as_deref());
        let Some((model, own)) = model.and_then(|model| Some((model, limits.models.get(model)?))) else {
            return;
        };
        let of_model = LimitSet {
            max_budget: own.max_budget,
            budget_duration: own.budget_duration.clone(),
            enforcement: limits.enforcement,
            rpm: own.rpm,
            tpm: own.tpm,
            set_at: limits.set_at,
            reset: limits
                .reset
                .map(|reset| crate::store::limit_set::SpendReset { to: NanoUsd::ZERO, ..reset }),
            ..LimitSet::default()
        };
        let subject = Subject::KeyModel(key.hash, model.to_owned());
        self.seat(admission, subject, &of_model, NanoUsd::ZERO, now, || {
            format!("{} Model={model}", name_of(key))
        });
    }

    fn seat(
        &self,
        admission: &mut Admission,
        subject: Subject,
        limits: &LimitSet,
        carried: NanoUsd,
        now: UnixMicros,
        name: impl FnOnce() -> String,
    ) {
        let (budget, rate) = (self.budget_terms(limits, carried), rate_terms(limits));
        if budget.is_none() && rate.is_empty() {
            return;
        }
        let counters = self.counters(&subject, now);
        let name = name();
        let (has_entered, has_reserved, tokens) = (false, false, 0);
        admission.seats.push(Seat {
            subject,
            name,
            counters,
            budget,
            rate,
            has_entered,
            has_reserved,
            tokens,
        });
    }

    /// Enters at the seats that are new.
    async fn enter(&self, admission: &mut Admission, is_charged: bool) -> Result<(), GatewayError> {
        if admission.seats.is_empty() {
            return Ok(());
        }
        let now = admission.began;
        if !is_charged {
            admission.seats.iter_mut().for_each(|seat| seat.budget = None);
        }
        let stale = admission.seats.iter().filter_map(|seat| {
            let start = seat.counters.budget.wants_reading(seat.budget.as_ref()?, now)?;
            Some((seat.subject.clone(), Arc::clone(&seat.counters), start))
        });
        self.refresh(stale.collect(), now).await;
        for index in 0..admission.seats.len() {
            let Some(seat) = admission.seats.get_mut(index).filter(|seat| !seat.has_entered) else {
                continue;
            };
            if let Err(error) = seat.enter(now) {
                admission.undo();
                return Err(error);
            }
        }
        for seat in &admission.seats {
            if let Some(is_first) =
                seat.budget.as_ref().and_then(|terms| seat.counters.budget.soft_exceeded(terms))
            {
                if is_first {
                    self.metrics.soft_budgets_exceeded.inc();
                    log::warn!("soft budget exceeded: {}", seat.name);
                }
                if !admission.soft_exceeded.contains(&seat.name) {
                    admission.soft_exceeded.push(seat.name.clone());
                }
            }
        }
        Ok(())
    }
}

fn name_of(key: &KeyRecord) -> String {
    match &key.key_alias {
        Some(alias) => format!("Key={alias} ({})", key.key_name),
        None => format!("Key={}", key.key_name),
    }
}

fn require_not_blocked(team: &HolderRecord) -> Result<(), GatewayError> {
    if team.blocked {
        let reason = format!("the team {:?} of this key is blocked; ask your administrator", team.id);
        return Err(GatewayError::AccessDenied(reason));
    }
    Ok(())
}

impl Admission {
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
    pub fn reserve(
        &mut self,
        could_cost: Option<NanoUsd>,
        tokens: u64,
        now: UnixMicros,
    ) -> Result<(), GatewayError> {
        let Some(id) = self.id else { return Ok(()) };
        let could_cost = could_cost.or(self.estimate);
        for seat in &mut self.seats {
            if let Some(terms) = &seat.budget {
                let reserved = seat.counters.budget.reserve(terms, id, self.began, could_cost);
                reserved.map_err(|refusal| seat.too_dear(&refusal, could_cost))?;
                seat.has_reserved = true;
            }
            if seat.rate.tpm.is_some() && seat.tokens == 0 {
                let reserved = seat.counters.rate.reserve(&seat.rate, tokens, now);
                reserved.map_err(|refusal| seat.too_fast(&refusal, now))?;
                seat.tokens = tokens;
            }
        }
        Ok(())
    }

    /// The request is over: it cost this (`None`: nobody knows, so what was reserved) and used so many tokens.
    /// Called before its event is written down.
    pub fn settle(&mut self, cost: Option<NanoUsd>, tokens: u64, now: UnixMicros) {
        let Some(id) = self.id else { return };
        for mut seat in self.seats.drain(..) {
            if std::mem::take(&mut seat.has_reserved) {
                seat.counters.budget.settle(id, cost);
            }
            if seat.rate.tpm.is_some() {
                seat.counters.rate.settle(seat.tokens, tokens, self.began, now);
                seat.tokens = 0;
            }
            seat.leave(id, self.began, now);
        }
    }

    /// Headers that tell the client how much is left.
    #[must_use]
    pub fn headers(&self, now: UnixMicros) -> Vec<(&'static str, String)> {
        let limited = self.seats.iter().find(|seat| seat.rate.rpm.is_some() || seat.rate.tpm.is_some());
        let mut headers = limited.map(|seat| seat.rate_headers(now)).unwrap_or_default();
        if !self.soft_exceeded.is_empty() {
            let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            let named: String = self.soft_exceeded.join(", ").chars().map(printable).collect();
            headers.push(("x-bedgate-soft-budget-exceeded", named));
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
            seat.leave(id, self.began, self.began);
        }
    }
}

impl Seat {
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
    fn leave(&mut self, id: EventId, began: UnixMicros, now: UnixMicros) {
        if std::mem::take(&mut self.has_reserved) {
            self.counters.budget.release(id);
        }
        if self.tokens > 0 {
            self.counters.rate.settle(std::mem::take(&mut self.tokens), 0, began, now);
        }
        if std::mem::take(&mut self.has_entered) {
            self.counters.rate.leave();
        }
    }

    fn too_dear(&self, refusal: &DoesNotFit, could_cost: Option<NanoUsd>) -> GatewayError {
        let DoesNotFit { spent, reserved, max, resets_at, has_no_bound } = refusal;
        let mut text =
            format!("Budget has been exceeded! {} Current cost: {spent}, Max budget: {max}", self.name);
        if reserved.0 > 0 {
            text.push_str(&format!(", reserved by requests in flight: {reserved}"));
        }
        if *has_no_bound {
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

    fn rate_headers(&self, now: UnixMicros) -> Vec<(&'static str, String)> {
        let left = self.counters.rate.left(&self.rate, now);
        let mut headers = Vec::new();
        if let Some((limit, rest)) = left.requests {
            headers.push(("x-ratelimit-limit-requests", limit.to_string()));
            headers.push(("x-ratelimit-remaining-requests", rest.to_string()));
            headers.push(("x-ratelimit-reset-requests", left.reset.to_string()));
        }
        if let Some((limit, rest)) = left.tokens {
            headers.push(("x-ratelimit-limit-tokens", limit.to_string()));
            headers.push(("x-ratelimit-remaining-tokens", rest.to_string()));
            headers.push(("x-ratelimit-reset-tokens", left.reset.to_string()));
        }
        headers
    }
}
