//! Why a try at a deployment came to nothing, and whether another one may do better.

use super::journal_is_full;
use crate::duplex::UploadFault;
use crate::error::GatewayError;
use crate::sign::SignError;
use crate::upstream::{Answer, SendFailure};

/// Why one try came to nothing.
pub(super) enum TryFailure {
    Sign(SignError),
    /// AWS does not take the credentials of the deployment: which one's, and what it said.
    Refused(String),
    Send(SendFailure),
    Journal(std::io::Error),
    Upload(UploadFault),
}

impl TryFailure {
    /// Whether another deployment may do better, at no risk that AWS bills twice for an answer that was begun: not
    /// after a time-out, when the first may still be at work.
    pub(super) fn may_go_elsewhere(&self) -> bool {
        match self {
            Self::Sign(SignError::NoCredentials(_)) | Self::Refused(_) => true,
            Self::Send(SendFailure::Connect(_) | SendFailure::BrokeOff(_)) => true,
            Self::Sign(_) | Self::Send(_) | Self::Journal(_) | Self::Upload(_) => false,
        }
    }
}

impl From<TryFailure> for GatewayError {
    fn from(failure: TryFailure) -> Self {
        match failure {
            TryFailure::Sign(SignError::NoCredentials(reason)) | TryFailure::Refused(reason) => {
                Self::NoCredentials(reason)
            }
            TryFailure::Sign(SignError::Stopped) => stopping(),
            TryFailure::Sign(error @ SignError::Malformed) => Self::Internal(error.into()),
            TryFailure::Send(SendFailure::Timeout(after)) => Self::UpstreamTimeout(after),
            TryFailure::Send(SendFailure::Unsendable(reason)) => {
                Self::Validation(format!("the request cannot be sent to Amazon Bedrock: {reason}"))
            }
            TryFailure::Send(error) => Self::Unreachable(error.to_string()),
            TryFailure::Upload(fault) => fault.into(),
            TryFailure::Journal(error) => {
                log::error!("the journal cannot be written: {error}");
                journal_is_full()
            }
        }
    }
}

pub(super) fn stopping() -> GatewayError {
    GatewayError::Overloaded {
        reason: "the gateway is stopping".into(),
        retry_after: std::time::Duration::from_secs(1),
    }
}

/// Error types by which AWS says that it does not know, or no longer takes, who signed. The client did not sign, and AWS's
/// words about it (which repeat what was signed, a session token included) are not for its eyes.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>
const CREDENTIALS_REFUSED: [&str; 9] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
/// The error type by which AWS says that who signed may not do this.
const ACCESS_DENIED: &str = "AccessDeniedException";

/// Whether another deployment may answer better: where the AWS SDKs send a request again, and where the identity of this
/// deployment, which the client did not choose, may not do what was asked: then nothing was done, and nothing is billed.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
pub(super) fn may_succeed_elsewhere(answer: &Answer) -> bool {
    is_retryable(answer.status().as_u16(), error_type(answer))
}

/// Whether the identity of the deployment may not do what was asked. That says nothing of what others ask of it: a client
/// that asks for what nobody may do must not have the deployment cool down.
pub(super) fn is_forbidden(answer: &Answer) -> bool {
    error_type(answer) == ACCESS_DENIED
}

fn is_retryable(status: u16, error_type: &str) -> bool {
    matches!((status, error_type), (429 | 500 | 503 | 504, _) | (403, ACCESS_DENIED))
}

/// The error type of an answer that says that AWS does not take the credentials.
pub(super) fn refused_credentials(answer: &Answer) -> Option<&str> {
    let error_type = error_type(answer);
    are_refused(answer.status().as_u16(), error_type).then_some(error_type)
}

fn are_refused(status: u16, error_type: &str) -> bool {
    matches!(status, 400 | 401 | 403) && CREDENTIALS_REFUSED.contains(&error_type)
}

/// The error type that AWS gives with its errors, or nothing.
fn error_type(answer: &Answer) -> &str {
    if answer.status().is_success() {
        return "";
    }
    let header = answer.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    header.map(name_of_error).unwrap_or_default()
}

/// `Name`, `Name:http://…`, `namespace#Name`, or all of it.
/// <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization>
fn name_of_error(text: &str) -> &str {
    let name = text.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_in_four_forms() {
        for text in
            ["FooError", "FooError:http://x.com/y#z/", "aws.protocol#FooError", "a.b#FooError:http://x/"]
        {
            assert_eq!(name_of_error(text), "FooError", "{text}");
        }
    }

    #[test]
    fn what_another_deployment_may_do_better_is_told_from_what_is_the_clients() {
        // Status, error type; whether it is tried elsewhere, and whether the credentials are refused.
        for (status, error_type, elsewhere, refused) in [
            (200, "", false, false),
            (429, "ThrottlingException", true, false),
            (503, "", true, false),
            (400, "ValidationException", false, false),
            (403, "", false, false),
            (403, "AccessDeniedException", true, false),
            (400, "AccessDeniedException", false, false),
            (404, "ResourceNotFoundException", false, false),
            (403, "UnrecognizedClientException", false, true),
            (403, "InvalidSignatureException", false, true),
            (400, "ExpiredTokenException", false, true),
            (200, "InvalidSignatureException", false, false),
        ] {
            let found = (is_retryable(status, error_type), are_refused(status, error_type));
            assert_eq!(found, (elsewhere, refused), "{status} {error_type}");
        }
    }
}
