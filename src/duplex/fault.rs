//! Why the events of a client are taken no further, and how the client is told: by an error before the answer's head, by
//! an exception inside the answer after it.

use super::frames::FrameFault;
use crate::error::GatewayError;
use crate::limits::BufferIsFull;

/// Why the events of a client are taken no further. Nothing of what was refused goes to AWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// Bytes that are no frame, or too large a one.
    #[error("{0}")]
    Frame(#[from] FrameFault),
    /// The request's head was signed and an event was not.
    #[error("an event came without the signature that the request's head announced")]
    Unsigned,
    /// A signature is not the next one of the chain.
    #[error(
        "the signature of an event does not match the one calculated; check your AWS Secret Access Key, and that events \
         are sent in the order in which they were signed"
    )]
    WrongSignature,
    /// The time of a signature is too far from now.
    #[error("the signature of an event is of {}, more than {minutes} minutes from now", moment(*.millis))]
    Skewed {
        /// When it was signed, in milliseconds since 1970.
        millis: i64,
        /// How far it may be off.
        minutes: i64,
    },
    /// The upload ended before its events did.
    #[error("the request ended without the empty signed event that ends its events, or inside an event")]
    CutShort,
    /// The gateway holds as much as it may.
    #[error("{0}")]
    Full(#[from] BufferIsFull),
    /// The client has gone, or its connection broke.
    #[error("the client's stream broke off: {0}")]
    ClientGone(String),
    /// Bytes came behind the end of the events.
    #[error("data came behind the empty signed event that ends the request's events")]
    BehindTheEnd,
    /// The caller may no more.
    #[error("{0}")]
    Refused(String),
    /// No signature for AWS could be made.
    #[error("an event could not be signed for Amazon Bedrock")]
    Unsignable,
    /// The answer is over: nothing more is wanted.
    #[error("the answer is over")]
    Abandoned,
}

fn moment(millis: i64) -> String {
    crate::sign::sigv4::amz_date(crate::domain::UnixMicros(millis.saturating_mul(1_000)))
}

impl UploadFault {
    /// Whether nobody is left to be told.
    #[must_use]
    pub fn is_of_client_gone(&self) -> bool {
        matches!(self, Self::ClientGone(_) | Self::Abandoned)
    }

    /// The exception by which a client is told inside the answer, as the operation models it.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithBidirectionalStreamOutput.html>
    #[must_use]
    pub fn exception(&self) -> &'static str {
        match self {
            Self::Full(_) => "serviceUnavailableException",
            Self::Unsignable => "internalServerException",
            _ => "validationException",
        }
    }
}

impl From<UploadFault> for GatewayError {
    fn from(fault: UploadFault) -> Self {
        let text = fault.to_string();
        match fault {
            UploadFault::Unsigned | UploadFault::WrongSignature | UploadFault::Skewed { .. } => {
                Self::InvalidSignature(text)
            }
            UploadFault::Frame(_) | UploadFault::CutShort | UploadFault::BehindTheEnd => {
                Self::Validation(text)
            }
            UploadFault::Full(_) => {
                Self::Overloaded { reason: text.into(), retry_after: std::time::Duration::from_secs(1) }
            }
            UploadFault::Refused(_) => Self::AccessDenied(text),
            UploadFault::Unsignable => Self::Internal(anyhow::Error::msg(text)),
            UploadFault::ClientGone(_) | UploadFault::Abandoned => Self::BodyBroken(text),
        }
    }
}
