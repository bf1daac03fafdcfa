//! How admin endpoints say no: in LiteLLM's two shapes, which its clients and dashboards read.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

use crate::error::GatewayError;
use crate::store::{StoreError, TakenName};

/// Echoed input is cut off beyond this many bytes of JSON.
const MAX_ECHO: usize = 256;

/// Why an admin call is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum AdminError {
    /// Nobody can be told from anybody.
    #[error("keys and spend need a master key: set general_settings.master_key or BEDGATE_MASTER_KEY")]
    NoMasterKey,
    /// No key, or one that does not open anything.
    #[error("Authentication Error, {message}")]
    Unauthenticated {
        /// LiteLLM's name for it.
        kind: &'static str,
        /// What is wrong with the key.
        message: String,
    },
    /// A key that may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// A request that makes no sense, or asks for what bedgate does not do.
    #[error("{message}")]
    BadRequest {
        /// What is wrong.
        message: String,
        /// The field it is about.
        param: Option<String>,
    },
    /// What a call names is not there.
    #[error("{message}")]
    NotFound {
        /// What is not there.
        message: String,
        /// The field that names it.
        param: &'static str,
    },
    /// A path or method of LiteLLM's that bedgate does not have. It is not repeated: it may hold a key.
    #[error("bedgate does not serve this path with this method{}", .instead.map(|it| format!("; use {it}")).unwrap_or_default())]
    NotServed {
        /// What to use instead.
        instead: Option<&'static str>,
    },
    /// Fields of the wrong type or out of range.
    #[error("{} fields are not as they should be", .0.len())]
    Invalid(Vec<FieldFault>),
    /// More than an admin call may send.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The database could not do it.
    #[error(transparent)]
    Store(StoreError),
}

/// One field that is not as it should be, in the words of FastAPI.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::http) struct FieldFault {
    kind: &'static str,
    place: Vec<Value>,
    message: String,
    input: Value,
}

impl FieldFault {
    /// A fault at this place (`["body", "models", 0]`); what was sent there is repeated if it is short.
    pub(super) fn new(
        kind: &'static str,
        place: Vec<Value>,
        message: impl Into<String>,
        input: &Value,
    ) -> Self {
        let is_short = input.to_string().len() <= MAX_ECHO;
        let input = if is_short { input.clone() } else { Value::Null };
        Self { kind, place, message: message.into(), input }
    }

    fn to_json(&self) -> Value {
        json!({"type": self.kind, "loc": self.place, "msg": self.message, "input": self.input})
    }
}

impl AdminError {
    /// A bad request about one field.
    pub(super) fn bad(message: impl Into<String>, param: &str) -> Self {
        Self::BadRequest { message: message.into(), param: Some(param.to_owned()) }
    }

    /// The key that is named is not there.
    pub(super) fn no_such_key() -> Self {
        Self::NotFound { message: "Key not found.".to_owned(), param: "key" }
    }

    /// LiteLLM's `type`.
    fn kind(&self) -> &'static str {
        match self {
            Self::NoMasterKey | Self::BadRequest { .. } | Self::TooLarge(_) => "bad_request_error",
            Self::Unauthenticated { kind, .. } => kind,
            Self::Forbidden(_) => "auth_error",
            Self::NotFound { .. } | Self::NotServed { .. } => "not_found_error",
            Self::Invalid(_) => "validation_error",
            Self::Store(error) if error.is_transient() => "no_db_connection",
            Self::Store(_) => "internal_server_error",
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::BadRequest { param, .. } => param.as_deref(),
            Self::NotFound { param, .. } => Some(param),
            Self::Unauthenticated { .. } => Some("None"),
            _ => None,
        }
    }

    /// What the client reads: of the database's troubles, only that there are some.
    fn message(&self) -> String {
        match self {
            Self::Store(error) if error.is_transient() => {
                "the database does not answer; nothing was changed, or it is not known; try again".to_owned()
            }
            Self::Store(_) => "internal error of the gateway".to_owned(),
            _ => self.to_string(),
        }
    }
}

impl ResponseError for AdminError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NoMasterKey | Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound { .. } | Self::NotServed { .. } => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        if let Self::Store(error) = self {
            log::error!("an admin call failed: {error}");
        }
        if let Self::Invalid(faults) = self {
            let detail: Vec<Value> = faults.iter().map(FieldFault::to_json).collect();
            return HttpResponse::build(status).json(json!({ "detail": detail }));
        }
        HttpResponse::build(status).json(json!({"error": {
            "message": self.message(),
            "type": self.kind(),
            "param": self.param(),
            // A text, as LiteLLM has it.
            "code": status.as_str(),
        }}))
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(TakenName::Alias(alias)) => {
                let message = format!(
                    "Key with alias '{alias}' already exists. Unique key aliases across all keys are required."
                );
                Self::bad(message, "key_alias")
            }
            StoreError::Taken(name @ (TakenName::Key | TakenName::FormerKey)) => {
                Self::bad(name.to_string(), "key")
            }
            StoreError::Taken(name @ TakenName::Holder(..)) => {
                Self::bad(format!("{name}; choose another id"), "id")
            }
            other => Self::Store(other),
        }
    }
}

/// What is wrong with a key, in LiteLLM's words for admin calls.
impl From<GatewayError> for AdminError {
    fn from(error: GatewayError) -> Self {
        let (kind, message) = match &error {
            GatewayError::MissingKey => ("auth_error", "No api key passed in.".to_owned()),
            GatewayError::UnknownKey { last4 } => (
                "token_not_found_in_db",
                format!("Invalid proxy server token passed. Received API Key = sk-...{last4}"),
            ),
            GatewayError::AccessDenied(message) if message.contains("expired") => {
                ("expired_key", message.clone())
            }
            other => ("auth_error", other.to_string()),
        };
        Self::Unauthenticated { kind, message }
    }
}
