//! What is written down of a request: its beginning before anything goes to AWS, its end before the client
//! has the whole answer.

mod fields;
mod packed;
mod view;

use serde::{Deserialize, Serialize};

pub use self::fields::{Fields, ListItem, ListView};
pub use self::packed::{PackedBegun, PackedEnded, PackedEvent};
pub use self::view::{AttemptView, BegunView, EndedView, EventView, PriceView};
use crate::domain::{EventId, KeyHash, NanoUsd, Service, UnixMicros};
pub use crate::pricing::CostBasis;
use crate::pricing::Price;
use crate::usage::Usage;

/// Who is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Payer {
    /// A virtual key, by its account: the hash of the first value it had, in most cases.
    Key(KeyHash),
    /// The master key: stored under [`Payer::MASTER`].
    Master,
    /// No master key is set, so nobody was asked: stored under [`Payer::ANONYMOUS`].
    Anonymous,
}

impl Payer {
    /// The name LiteLLM gives the master key's own calls.
    pub const MASTER: &str = "litellm_proxy_master_key";
    /// The name of calls made while no master key is set.
    pub const ANONYMOUS: &str = "anonymous";
}

/// Hexadecimal name of the key's account, or a fixed name.
impl std::fmt::Display for Payer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(hash) => hash.fmt(f),
            Self::Master => f.write_str(Self::MASTER),
            Self::Anonymous => f.write_str(Self::ANONYMOUS),
        }
    }
}

/// Written to the journal before the first byte of a request goes to AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The event's id; the answer's `x-litellm-call-id` unless the client sent its own.
    pub id: EventId,
    /// When the request's head had been read.
    pub started_at: UnixMicros,
    /// Who is charged.
    pub payer: Payer,
    /// The key's team.
    pub team_id: Option<String>,
    /// The key's user.
    pub user_id: Option<String>,
    /// The customer on whose behalf the call was made.
    pub end_user: Option<String>,
    /// Tags of the key, then of the request.
    pub tags: Vec<String>,
    /// The session the client named.
    pub session_id: Option<String>,
    /// The id by which the client knows the call, if it named one (`x-litellm-call-id`).
    pub call_id: Option<String>,
    /// The AWS service.
    pub service: Service,
    /// The AWS operation, such as `ConverseStream`; `Unknown` for one the table does not know.
    pub operation: String,
    /// The model name the client asked for, decoded.
    pub requested_model: Option<String>,
    /// The deployment first chosen.
    pub deployment: String,
    /// The model id that deployment sends to AWS.
    pub model_id: Option<String>,
    /// The region of that deployment.
    pub region: String,
    /// What the request is taken to have cost if its end is never seen.
    pub estimate: Option<NanoUsd>,
}

/// How a request that went to AWS ended. What bedgate itself refuses has no event: it costs nothing, and an event for
/// each would let anybody, with a key or without, fill the journal and the database. Refusals are counted
/// (`bedgate_gateway_errors`) and have their line in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The whole answer went to the client.
    Complete,
    /// AWS answered with an error, the answer broke off, or no connection could be made.
    UpstreamError,
    /// The client left before the answer's end.
    ClientGone,
    /// The gateway ended it: it was stopped, or died (then it was found in the journal at the next start), or a limit of
    /// streams that go both ways was reached.
    Interrupted,
}

impl Outcome {
    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::UpstreamError => "upstream_error",
            Self::ClientGone => "client_gone",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One try at one deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The deployment tried.
    pub deployment: String,
    /// Its status, or 0 where no response head came.
    pub status: u16,
}

/// Written to the journal before the chunk that ends the response goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The id of the [`Begun`] it ends.
    pub id: EventId,
    /// How it ended.
    pub outcome: Outcome,
    /// The status sent to the client.
    pub status: u16,
    /// Every try, in order; the last one answered.
    pub attempts: Vec<Attempt>,
    /// The model id that answered, where the attempt differs from [`Begun::model_id`].
    pub model_id: Option<String>,
    /// The region that answered, where it differs from [`Begun::region`].
    pub region: Option<String>,
    /// What was used.
    pub usage: Option<Usage>,
    /// How sure the cost is.
    pub basis: CostBasis,
    /// The price it was charged at.
    pub price: Option<Price>,
    /// The cost; `None` where it is not known.
    pub cost: Option<NanoUsd>,
    /// From the head read to the end, in microseconds.
    pub latency_us: u64,
    /// From the head read to the first byte of the answer's body, in microseconds.
    pub time_to_first_byte_us: Option<u64>,
    /// `x-amzn-requestid` of the answer.
    pub aws_request_id: Option<String>,
}

/// One request, whole: a row of `spend_events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendEvent {
    /// How it began.
    pub begun: Begun,
    /// How it ended.
    pub ended: Ended,
}

impl SpendEvent {
    /// The event of a request whose end was never written: charged at its estimate and marked so.
    #[must_use]
    pub fn interrupted(begun: Begun) -> Self {
        let ended = EndedView::interrupted(begun.id, begun.estimate).to_ended();
        Self { begun, ended }
    }

    /// The model id that answered.
    #[must_use]
    pub fn model_id(&self) -> Option<&str> {
        self.ended.model_id.as_deref().or(self.begun.model_id.as_deref())
    }
}
