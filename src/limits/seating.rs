//! Which limits concern a request: the key's, those of the model, the team's, the gateway's, the customer's.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::access::{ModelNames, is_restriction, may_use_any};
use super::admission::{Admission, Seat, SeatName};
use super::rate::RateTerms;
use super::table::{LimitTable, Subject, rate_terms};
use crate::auth::Caller;
use crate::domain::{EventId, NanoUsd, UnixMicros};
use crate::error::GatewayError;
use crate::store::limit_set::SpendReset;
use crate::store::{HolderKind, HolderRecord, KeyRecord, LimitSet};

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
    pub async fn admit(self: &Arc<Self>, request: Request<'_>) -> Result<Admission, GatewayError> {
        let Request { caller, model, is_charged, id, now } = request;
        let mut admission = Admission::new(id, now, self.defaults.estimate);
        if let Caller::Key(key) = caller {
            let budget = self.named_budget(key.budget_id.as_deref()).await?;
            let limits = completed(&key.limits, budget.as_deref());
            self.seat_key(&mut admission, key, &limits, now);
            self.seat_model(&mut admission, key, &limits, model, now);
            if let Some(team) = self.team_of(key) {
                require_not_blocked(&team)?;
                let budget = self.named_budget(team.budget_id.as_deref()).await?;
                let limits = completed(&team.limits, budget.as_deref());
                let subject = Subject::Team(team.id.clone());
                self.seat(&mut admission, subject, &limits, NanoUsd::ZERO, now, || {
                    SeatName::Team(team.alias.clone().unwrap_or_else(|| team.id.clone()))
                });
            }
        }
        let rate = RateTerms { max_parallel: self.defaults.global_max_parallel, ..RateTerms::default() };
        if self.gateway.is_some() || !rate.is_empty() {
            let (subject, name) = (Subject::Gateway, SeatName::Gateway);
            let counters = self.counters(&subject, now);
            admission.sit(Seat::new(subject, name, counters, self.gateway.clone(), rate));
        }
        self.enter(&mut admission, is_charged).await?;
        Ok(admission)
    }

    /// Lets it in for a customer, too: at the customer's own limits, or at those of `max_end_user_budget`.
    ///
    /// # Errors
    /// The customer is blocked, or at a limit.
    pub async fn admit_customer(
        self: &Arc<Self>,
        admission: &mut Admission,
        customer: Option<&str>,
        is_charged: bool,
    ) -> Result<(), GatewayError> {
        let Some(id) = customer else { return Ok(()) };
        let record = self.holders.find(HolderKind::Customer, id);
        if record.as_ref().is_some_and(|record| record.blocked) {
            return Err(GatewayError::AccessDenied(format!(
                "the customer {id:?} is blocked; ask your administrator"
            )));
        }
        let named = record.as_ref().and_then(|record| record.budget_id.as_deref());
        let budget = self.named_budget(named).await?;
        let own = record.as_ref().map(|record| completed(&record.limits, budget.as_deref()));
        let limits = self.limits_of_customer(own.unwrap_or_default());
        let subject = Subject::Customer(id.to_owned());
        if record.is_none() && !limits.is_empty() && self.is_crowded() && !self.knows(&subject) {
            return Err(too_many_customers());
        }
        let name = || SeatName::Customer(id.to_owned());
        self.seat(admission, subject, &limits, NanoUsd::ZERO, admission.began(), name);
        self.enter(admission, is_charged).await
    }

    /// The limits that hold for a customer whose own, completed by those of the budget it names, are these: without a budget among
    /// them, those of all customers hold, too.
    #[must_use]
    pub fn limits_of_customer<'l>(&self, own: Cow<'l, LimitSet>) -> Cow<'l, LimitSet> {
        match self.customer_default() {
            Some(default) if own.max_budget.is_none() => Cow::Owned(own.over(&default)),
            _ => own,
        }
    }

    /// The limits of customers without a budget of their own.
    fn customer_default(&self) -> Option<LimitSet> {
        let named = self.defaults.max_end_user_budget_id.as_deref();
        let named = named.and_then(|id| self.holders.find(HolderKind::Budget, id));
        let mut limits = named.map(|budget| budget.limits.clone()).unwrap_or_default();
        limits.max_budget = self.defaults.max_end_user_budget.or(limits.max_budget);
        // Limits for single models are those of keys.
        limits.models.clear();
        (!limits.is_empty()).then_some(limits)
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

    fn seat_key(&self, admission: &mut Admission, key: &Arc<KeyRecord>, limits: &LimitSet, now: UnixMicros) {
        if limits.is_empty() {
            return;
        }
        self.seat(admission, Subject::Payer(key.payer()), limits, key.spend_carried, now, || {
            SeatName::Key(Arc::clone(key))
        });
    }

    fn seat_model(
        &self,
        admission: &mut Admission,
        key: &Arc<KeyRecord>,
        limits: &LimitSet,
        model: Option<&str>,
        now: UnixMicros,
    ) {
        let Some((model, own)) = model.and_then(|model| Some((model, limits.models.get(model)?))) else {
            return;
        };
        let of_model = LimitSet {
            max_budget: own.max_budget,
            budget_duration: own.budget_duration.clone(),
            enforcement: limits.enforcement,
            rpm: own.rpm,
            tpm: own.tpm,
            set_at: own.set_at.or(limits.set_at),
            reset: limits.reset.map(|reset| SpendReset { to: NanoUsd::ZERO, ..reset }),
            ..LimitSet::default()
        };
        let subject = Subject::PayerAndModel(key.payer(), model.to_owned());
        self.seat(admission, subject, &of_model, NanoUsd::ZERO, now, || {
            SeatName::KeyModel(Arc::clone(key), model.to_owned())
        });
    }

    fn seat(
        &self,
        admission: &mut Admission,
        subject: Subject,
        limits: &LimitSet,
        carried: NanoUsd,
        now: UnixMicros,
        name: impl FnOnce() -> SeatName,
    ) {
        let (budget, rate) = (self.budget_terms(limits, carried), rate_terms(limits));
        if budget.is_none() && rate.is_empty() {
            return;
        }
        let counters = self.counters(&subject, now);
        admission.sit(Seat::new(subject, name(), counters, budget, rate));
    }

    /// Enters at the seats that are new.
    async fn enter(
        self: &Arc<Self>,
        admission: &mut Admission,
        is_charged: bool,
    ) -> Result<(), GatewayError> {
        if admission.is_unlimited() {
            return Ok(());
        }
        if !is_charged {
            admission.is_free_of_charge();
        }
        self.refresh(admission.stale_readings(), admission.began()).await;
        admission.enter()?;
        for name in admission.note_soft_budgets() {
            self.metrics.soft_budgets_exceeded.inc();
            log::warn!("soft budget exceeded: {name}");
        }
        Ok(())
    }
}

/// Limits, completed by those of a budget.
fn completed<'l>(limits: &'l LimitSet, budget: Option<&HolderRecord>) -> Cow<'l, LimitSet> {
    match budget {
        Some(budget) => Cow::Owned(limits.over(&budget.limits)),
        None => Cow::Borrowed(limits),
    }
}

fn too_many_customers() -> GatewayError {
    GatewayError::Overloaded {
        reason: "the gateway counts the budgets of more customers than it may at once".into(),
        retry_after: Duration::from_secs(10),
    }
}

fn require_not_blocked(team: &HolderRecord) -> Result<(), GatewayError> {
    if team.blocked {
        let reason = format!("the team {:?} of this key is blocked; ask your administrator", team.id);
        return Err(GatewayError::AccessDenied(reason));
    }
    Ok(())
}
