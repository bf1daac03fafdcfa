//! An event as its records read: texts and lists borrowed from them, so that shipping copies none.

use serde::Serialize;

use super::fields::{Fields, ListItem, ListView};
use super::{Attempt, Begun, CostBasis, Ended, Outcome, Payer, SpendEvent};
use crate::domain::{EventId, KeyHash, NanoUsd, Service, UnixMicros};
use crate::pricing::Price;
use crate::usage::Usage;

/// [`Begun`], borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Begun says what they are")]
pub struct BegunView<'r> {
    pub id: EventId,
    pub started_at: UnixMicros,
    pub payer: Payer,
    pub team_id: Option<&'r str>,
    pub user_id: Option<&'r str>,
    pub end_user: Option<&'r str>,
    pub tags: ListView<'r, &'r str>,
    pub session_id: Option<&'r str>,
    pub call_id: Option<&'r str>,
    pub service: Service,
    pub operation: &'r str,
    pub requested_model: Option<&'r str>,
    pub deployment: &'r str,
    pub model_id: Option<&'r str>,
    pub region: &'r str,
    pub estimate: Option<NanoUsd>,
}

/// [`Attempt`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptView<'r>(pub &'r str, pub u16);

impl<'r> ListItem<'r> for AttemptView<'r> {
    fn read(fields: &mut Fields<'r>) -> Option<Self> {
        Some(Self(fields.text()?, fields.small()?))
    }
}

/// [`Price`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Price says what they are")]
pub struct PriceView<'r> {
    pub entry: &'r str,
    pub rates: ListView<'r, (&'r str, i64)>,
}

/// [`Ended`], borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Ended says what they are")]
pub struct EndedView<'r> {
    pub id: EventId,
    pub outcome: Outcome,
    pub status: u16,
    pub attempts: ListView<'r, AttemptView<'r>>,
    pub model_id: Option<&'r str>,
    pub region: Option<&'r str>,
    pub usage: Option<Usage>,
    pub basis: CostBasis,
    pub price: Option<PriceView<'r>>,
    pub cost: Option<NanoUsd>,
    pub latency_us: u64,
    pub time_to_first_byte_us: Option<u64>,
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

/// Each field in the order in which [`Begun`] has it: so it was written.
impl<'r> BegunView<'r> {
    /// Reads a record; `None` where it is no [`Begun`], whole.
    pub(super) fn read(record: &'r [u8]) -> Option<Self> {
        let mut fields = Fields::of(record);
        let begun = Self {
            id: fields.id()?,
            started_at: UnixMicros(fields.signed()?),
            payer: payer(&mut fields)?,
            team_id: fields.optional_text()?,
            user_id: fields.optional_text()?,
            end_user: fields.optional_text()?,
            tags: fields.list()?,
            session_id: fields.optional_text()?,
            call_id: fields.optional_text()?,
            service: fields.take()?,
            operation: fields.text()?,
            requested_model: fields.optional_text()?,
            deployment: fields.text()?,
            model_id: fields.optional_text()?,
            region: fields.text()?,
            estimate: fields.optional(Fields::amount)?,
        };
        fields.are_over().then_some(begun)
    }
}

fn payer(fields: &mut Fields<'_>) -> Option<Payer> {
    match fields.variant()? {
        0 => Some(Payer::Key(KeyHash(fields.bytes()?))),
        1 => Some(Payer::Master),
        2 => Some(Payer::Anonymous),
        _ => None,
    }
}

/// Each field in the order in which [`Ended`] has it: so it was written.
impl<'r> EndedView<'r> {
    /// Reads a record; `None` where it is no [`Ended`], whole.
    pub(super) fn read(record: &'r [u8]) -> Option<Self> {
        let mut fields = Fields::of(record);
        let ended = Self {
            id: fields.id()?,
            outcome: fields.take()?,
            status: fields.small()?,
            attempts: fields.list()?,
            model_id: fields.optional_text()?,
            region: fields.optional_text()?,
            usage: fields.optional(usage)?,
            basis: fields.take()?,
            price: fields.optional(price)?,
            cost: fields.optional(Fields::amount)?,
            latency_us: fields.count()?,
            time_to_first_byte_us: fields.optional(Fields::count)?,
            aws_request_id: fields.optional_text()?,
        };
        fields.are_over().then_some(ended)
    }
}

fn price<'r>(fields: &mut Fields<'r>) -> Option<PriceView<'r>> {
    Some(PriceView { entry: fields.text()?, rates: fields.list()? })
}

fn usage(fields: &mut Fields<'_>) -> Option<Usage> {
    Some(Usage {
        input_tokens: fields.count()?,
        output_tokens: fields.count()?,
        cache_read_tokens: fields.count()?,
        cache_write_5m_tokens: fields.count()?,
        cache_write_1h_tokens: fields.count()?,
        reasoning_tokens: fields.count()?,
        units: fields.take()?,
        tier: fields.take()?,
        latency_optimised: fields.flag()?,
        image: fields.take()?,
    })
}

impl<'r> EndedView<'r> {
    /// The end of a request whose end was never written: charged at its estimate and marked so.
    pub(super) fn interrupted(id: EventId, estimate: Option<NanoUsd>) -> Self {
        Self {
            id,
            outcome: Outcome::Interrupted,
            status: 0,
            attempts: ListView::EMPTY,
            model_id: None,
            region: None,
            usage: None,
            basis: if estimate.is_some() { CostBasis::Estimated } else { CostBasis::UsageUnknown },
            price: None,
            cost: estimate,
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
            tags: self.tags.iter().map(str::to_owned).collect(),
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
    pub(super) fn to_ended(&self) -> Ended {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let attempt = |AttemptView(deployment, status)| Attempt { deployment: deployment.to_owned(), status };
        let price = |price: &PriceView<'_>| Price {
            entry: price.entry.into(),
            rates: price.rates.iter().map(|(name, rate)| (name.to_owned().into(), rate)).collect(),
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
