//! An event as its records read: texts borrowed from them, so that shipping copies none.

use serde::{Deserialize, Serialize};

use super::{Attempt, Begun, CostBasis, Ended, Outcome, Payer, SpendEvent};
use crate::domain::{EventId, NanoUsd, Service, UnixMicros};
use crate::pricing::Price;
use crate::usage::Usage;

/// [`Begun`], borrowed: the same fields in the same order, for they are read from what that was written as.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "Begun says what they are")]
pub struct BegunView<'r> {
    pub id: EventId,
    pub started_at: UnixMicros,
    pub payer: Payer,
    #[serde(borrow)]
    pub team_id: Option<&'r str>,
    #[serde(borrow)]
    pub user_id: Option<&'r str>,
    #[serde(borrow)]
    pub end_user: Option<&'r str>,
    #[serde(borrow)]
    pub tags: Vec<&'r str>,
    #[serde(borrow)]
    pub session_id: Option<&'r str>,
    #[serde(borrow)]
    pub call_id: Option<&'r str>,
    pub service: Service,
    pub operation: &'r str,
    #[serde(borrow)]
    pub requested_model: Option<&'r str>,
    pub deployment: &'r str,
    #[serde(borrow)]
    pub model_id: Option<&'r str>,
    pub region: &'r str,
    pub estimate: Option<NanoUsd>,
}

/// [`Attempt`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView<'r>(pub &'r str, pub u16);

/// [`Price`], borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Price says what they are")]
pub struct PriceView<'r> {
    pub entry: &'r str,
    #[serde(borrow)]
    pub rates: Vec<(&'r str, i64)>,
}

/// [`Ended`], borrowed: the same fields in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "Ended says what they are")]
pub struct EndedView<'r> {
    pub id: EventId,
    pub outcome: Outcome,
    pub status: u16,
    #[serde(borrow)]
    pub attempts: Vec<AttemptView<'r>>,
    #[serde(borrow)]
    pub model_id: Option<&'r str>,
    #[serde(borrow)]
    pub region: Option<&'r str>,
    pub usage: Option<Usage>,
    pub basis: CostBasis,
    #[serde(borrow)]
    pub price: Option<PriceView<'r>>,
    pub cost: Option<NanoUsd>,
    pub latency_us: u64,
    pub time_to_first_byte_us: Option<u64>,
    #[serde(borrow)]
    pub aws_request_id: Option<&'r str>,
}

/// [`SpendEvent`], borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView<'r> {
    /// How it began.
    pub begun: BegunView<'r>,
    /// How it ended.
    pub ended: EndedView<'r>,
}

impl<'r> EndedView<'r> {
    /// The end of a request whose end was never written: charged at its estimate and marked so.
    pub(super) fn interrupted(begun: &BegunView<'_>) -> Self {
        Self {
            id: begun.id,
            outcome: Outcome::Interrupted,
            status: 0,
            attempts: Vec::new(),
            model_id: None,
            region: None,
            usage: None,
            basis: if begun.estimate.is_some() { CostBasis::Estimated } else { CostBasis::UsageUnknown },
            price: None,
            cost: begun.estimate,
            latency_us: 0,
            time_to_first_byte_us: None,
            aws_request_id: None,
        }
    }
}

impl<'r> EventView<'r> {
    /// The region that answered.
    #[must_use]
    pub fn region(&self) -> &'r str {
        self.ended.region.unwrap_or(self.begun.region)
    }

    /// The model id that answered.
    #[must_use]
    pub fn model_id(&self) -> Option<&'r str> {
        self.ended.model_id.or(self.begun.model_id)
    }

    /// The event with texts of its own.
    #[must_use]
    pub fn to_event(&self) -> SpendEvent {
        SpendEvent { begun: self.begun.to_begun(), ended: self.ended.to_ended() }
    }
}

impl BegunView<'_> {
    fn to_begun(&self) -> Begun {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Begun {
            id: self.id,
            started_at: self.started_at,
            payer: self.payer,
            team_id: text(self.team_id),
            user_id: text(self.user_id),
            end_user: text(self.end_user),
            tags: self.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            session_id: text(self.session_id),
            call_id: text(self.call_id),
            service: self.service,
            operation: self.operation.to_owned(),
            requested_model: text(self.requested_model),
            deployment: self.deployment.to_owned(),
            model_id: text(self.model_id),
            region: self.region.to_owned(),
            estimate: self.estimate,
        }
    }
}

impl EndedView<'_> {
    fn to_ended(&self) -> Ended {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let attempt = |&AttemptView(deployment, status): &AttemptView<'_>| Attempt {
            deployment: deployment.to_owned(),
            status,
        };
        let price = |price: &PriceView<'_>| Price {
            entry: price.entry.into(),
            rates: price.rates.iter().map(|(name, rate)| ((*name).to_owned().into(), *rate)).collect(),
        };
        Ended {
            id: self.id,
            outcome: self.outcome,
            status: self.status,
            attempts: self.attempts.iter().map(attempt).collect(),
            model_id: text(self.model_id),
            region: text(self.region),
            usage: self.usage.clone(),
            basis: self.basis,
            price: self.price.as_ref().map(price),
            cost: self.cost,
            latency_us: self.latency_us,
            time_to_first_byte_us: self.time_to_first_byte_us,
            aws_request_id: text(self.aws_request_id),
        }
    }
}
