//! What can go wrong with a client's request inside the gateway, and how the client's SDK is told: AWS's error
//! shape (`x-amzn-errortype`, JSON `message`), so that boto3 and its kin raise the modelled exception.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::operation::Unresolved;

/// In which API's form a client expects an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `x-amzn-errortype` and `{"message": …, "__type": …}`.
    Aws,
    /// `{"error": {"message", "type", "param", "code"}}`.
    /// <https://platform.openai.com/docs/guides/error-codes>
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}}`.
    /// <https://docs.claude.com/en/api/errors>
    Anthropic,
}

/// Why bedgate itself answers a request on a Bedrock path. Errors that AWS made are never turned into this:
/// they are relayed byte for byte.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The client showed no key.
    #[error(
        "no key: send your bedgate key as `Authorization: Bearer sk-…`, or as the AWS access key id of a signing client"
    )]
    MissingKey,
    /// The client showed a key that does not exist.
    #[error("the key (…{last4}) is not known here; ask your administrator for a new one")]
    UnknownKey {
        /// The last four characters, to tell keys apart.
        last4: String,
    },
    /// The client signed with an access key id that does not exist.
    #[error("The security token included in the request is invalid.")]
    UnknownAccessKeyId,
    /// The client's AWS signature is not good.
    #[error("{0}")]
    InvalidSignature(String),
    /// The client's AWS signature lacks a part.
    #[error("{0}")]
    IncompleteSignature(String),
    /// The key exists but may not do this.
    #[error("{0}")]
    AccessDenied(String),
    /// The request cannot be understood.
    #[error("{0}")]
    Validation(String),
    /// The request line is no Bedrock operation.
    #[error(transparent)]
    NoOperation(#[from] Unresolved),
    /// AWS keeps no such response for this key.
    #[error("no response with this id was made with this key")]
    NoSuchResponse,
    /// The body is larger than the limit.
    #[error(
        "the request body is larger than {limit} bytes, the limit set by the gateway (bedgate_settings.limits.max_body)"
    )]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The client did not send its body in time.
    #[error("the request body did not arrive within {} seconds", .0.as_secs())]
    BodyTimeout(Duration),
    /// The client broke off its body.
    #[error("the request body broke off: {0}")]
    BodyBroken(String),
    /// A bound of the gateway is reached; the same request may go through later.
    #[error("{reason}; try again in {} s", .retry_after.as_secs().max(1))]
    Overloaded {
        /// Which bound.
        reason: Cow<'static, str>,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// A budget has no room for the request. AWS SDKs do not retry it.
    #[error("{0}")]
    BudgetExceeded(String),
    /// A rate limit is reached. AWS SDKs retry it, later.
    #[error("{}", .0.reason)]
    RateLimited(Box<RateRefusal>),
    /// There are no AWS credentials to sign with.
    #[error("{0}")]
    NoCredentials(String),
    /// AWS could not be reached.
    #[error("Amazon Bedrock could not be reached by the gateway ({0}); try again")]
    Unreachable(String),
    /// AWS did not begin to answer in time.
    #[error("Amazon Bedrock did not begin to answer within {} seconds", .0.as_secs())]
    UpstreamTimeout(Duration),
    /// A fault of the gateway: the client learns nothing but an id to report.
    #[error("internal error of the gateway")]
    Internal(#[source] anyhow::Error),
}

/// A header that tells of a limit.
pub type LimitHeader = (HeaderName, HeaderValue);

/// A rate limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRefusal {
    /// What the client reads.
    pub reason: String,
    /// When it is worth trying again.
    pub retry_after: Duration,
    /// Headers that tell limits and what is left of them.
    pub headers: Vec<LimitHeader>,
}

impl GatewayError {
    /// Status and AWS error type.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>
    fn shape(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MissingKey => (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException"),
            Self::UnknownKey { .. } | Self::UnknownAccessKeyId => {
                (StatusCode::FORBIDDEN, "UnrecognizedClientException")
            }
            Self::InvalidSignature(_) => (StatusCode::FORBIDDEN, "InvalidSignatureException"),
            Self::IncompleteSignature(_) => (StatusCode::BAD_REQUEST, "IncompleteSignatureException"),
            Self::AccessDenied(_) => (StatusCode::FORBIDDEN, "AccessDeniedException"),
            Self::Validation(_) | Self::BodyBroken(_) => (StatusCode::BAD_REQUEST, "ValidationException"),
            Self::NoOperation(Unresolved::NoSuchOperation { .. }) => {
                (StatusCode::NOT_FOUND, "UnknownOperationException")
            }
            Self::NoSuchResponse => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            Self::NoOperation(Unresolved::UnsafePath(_)) => (StatusCode::BAD_REQUEST, "ValidationException"),
            Self::BudgetExceeded(_) => (StatusCode::BAD_REQUEST, "ServiceQuotaExceededException"),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException"),
            Self::BodyTimeout(_) => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
            Self::Overloaded { .. } | Self::Unreachable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException")
            }
            Self::UpstreamTimeout(_) => (StatusCode::GATEWAY_TIMEOUT, "ServiceUnavailableException"),
            Self::NoCredentials(_) | Self::Internal(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException")
            }
        }
    }

    /// The AWS error type, for logs and metrics.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        self.shape().1
    }

    /// When the client should try again, for those who may.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::Unreachable(_) => Some(Duration::from_secs(1)),
            Self::RateLimited(refusal) => Some(refusal.retry_after),
            _ => None,
        }
    }

    /// The answer to the client; `request_id` is what it may quote when it asks for help.
    #[must_use]
    pub fn answer(&self, request_id: &str, shape: ErrorShape) -> HttpResponse {
        let (status, error_type) = self.shape();
        let mut answer = HttpResponse::build(self.status_in(shape));
        answer.insert_header(("x-amzn-errortype", error_type));
        answer.insert_header(("x-amzn-requestid", request_id));
        if let Some(wait) = self.retry_after() {
            answer.insert_header(("retry-after", wait.as_secs().max(1).to_string()));
        }
        if let Self::RateLimited(refusal) = self {
            for (name, value) in refusal.headers.iter().cloned() {
                answer.insert_header((name, value));
            }
        }
        if matches!(self, Self::BodyTooLarge { .. } | Self::BodyTimeout(_) | Self::BodyBroken(_)) {
            answer.force_close();
        }
        let message = self.to_string();
        let named = native_type(status, self.is_about_the_key());
        answer.json(match shape {
            // `__type` is where clients of awsJson services look.
            ErrorShape::Aws => json!({ "message": message, "__type": error_type }),
            ErrorShape::OpenAi => {
                json!({ "error": { "message": message, "type": named, "param": null, "code": error_type } })
            }
            ErrorShape::Anthropic => {
                json!({ "type": "error", "error": { "type": named, "message": message }, "request_id": request_id })
            }
        })
    }

    /// AWS says 403 where OpenAI and Anthropic say 401, and their SDKs tell the two apart.
    fn status_in(&self, shape: ErrorShape) -> StatusCode {
        match shape {
            ErrorShape::OpenAi | ErrorShape::Anthropic if self.is_about_the_key() => StatusCode::UNAUTHORIZED,
            _ => self.shape().0,
        }
    }

    fn is_about_the_key(&self) -> bool {
        matches!(
            self,
            Self::MissingKey
                | Self::UnknownKey { .. }
                | Self::UnknownAccessKeyId
                | Self::InvalidSignature(_)
                | Self::IncompleteSignature(_)
        )
    }
}

/// The name that OpenAI's and Anthropic's APIs give an error of that status.
fn native_type(status: StatusCode, is_about_the_key: bool) -> &'static str {
    match status.as_u16() {
        _ if is_about_the_key => "authentication_error",
        400 => "invalid_request_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 504 => "overloaded_error",
        _ => "api_error",
    }
}

/// So that actix can answer where no request id is at hand.
impl ResponseError for GatewayError {
    fn status_code(&self) -> StatusCode {
        self.shape().0
    }

    fn error_response(&self) -> HttpResponse {
        self.answer(&uuid::Uuid::new_v4().to_string(), ErrorShape::Aws)
    }
}
