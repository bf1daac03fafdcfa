//! Why a stream that goes both ways ends before AWS ends it, and how the client is told.

use std::time::Duration;

use super::Ending;
use crate::duplex::UploadFault;

/// Why a stream ends before AWS ends it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stopped {
    /// AWS's answer broke off.
    #[error("the answer from Amazon Bedrock broke off: {0}")]
    Upstream(String),
    /// The client's events are not good, or the client has gone.
    #[error("{0}")]
    Upload(UploadFault),
    /// What it cost could not be written down.
    #[error("what the stream cost could not be recorded")]
    NotRecorded,
    /// A hard budget has no room for more.
    #[error("{0}")]
    Budget(String),
    /// Neither side said anything for too long.
    #[error("neither side sent an event for {} s, the gateway's limit (bedgate_settings.bidirectional.idle_timeout)", .0.as_secs())]
    Idle(Duration),
    /// It went on for too long.
    #[error("the stream is as old as it may get, {} s (bedgate_settings.bidirectional.max_duration)", .0.as_secs())]
    TooOld(Duration),
}

impl Stopped {
    /// The exception that says so, as the operation models it.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithBidirectionalStreamOutput.html>
    pub(super) fn exception(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "modelStreamErrorException",
            Self::Upload(fault) => fault.exception(),
            Self::NotRecorded => "internalServerException",
            Self::Budget(_) => "throttlingException",
            Self::Idle(_) | Self::TooOld(_) => "modelTimeoutException",
        }
    }

    /// How the account names it.
    pub(super) fn ending(&self) -> Ending {
        match self {
            Self::Upstream(_) | Self::NotRecorded => Ending::BrokeOff,
            Self::Upload(_) => Ending::Abandoned,
            Self::Budget(_) | Self::Idle(_) | Self::TooOld(_) => Ending::CutOff,
        }
    }
}
