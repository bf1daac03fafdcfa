//! What can go wrong between bedgate and its database, told apart by what helps: trying again, or not.

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as QueryError};

use super::postgres::url::DatabaseUrlError;

/// Why the store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it broke.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The server is there and does not let bedgate in: wrong password, no such database, a certificate that is not
    /// trusted. People mend that, not time; but they can while bedgate runs.
    #[error("the database does not let bedgate in: {0}")]
    NotAccepted(String),
    /// Every connection was busy, or the database did not answer, for the named limit of time.
    #[error("the database did not answer in time: {0}")]
    TimedOut(&'static str),
    /// The connection reaches a server that takes no writes (any more): after a failover, say.
    #[error("the database takes no writes: {0}")]
    ReadOnly(String),
    /// The database could not do it now.
    #[error("the database failed: {0}")]
    Failed(String),
    /// The database refuses this row or query, and would again.
    #[error("the database refused what was written: {0}")]
    Refused(String),
    /// Another key has this alias, or a key with this hash exists.
    #[error("{0}")]
    Taken(TakenName),
    /// The URL cannot be used; not its source too, or the text would be told twice.
    #[error("DATABASE_URL: {0}")]
    Url(DatabaseUrlError),
    /// Certificates for the database cannot be used.
    #[error("TLS to the database: {0}")]
    Tls(String),
    /// A migration failed; none of those that were pending has been applied.
    #[error("migration failed: {0}")]
    Migration(String),
    /// The database was made by a later release.
    #[error(
        "the database is newer than this bedgate: it holds the migrations {}, which this release does not know; \
         start the newer release, or undo them with it", .0.join(", ")
    )]
    Newer(Vec<String>),
    /// The file of the embedded database cannot be opened.
    #[error("cannot open {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
}

/// What is unique and was already there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakenName {
    /// The alias of another key.
    #[error("another key has the alias {0:?}")]
    Alias(String),
    /// The key itself.
    #[error("this key exists already")]
    Key,
    /// A value that a key had before: it was deleted, or has another value now.
    #[error("a key had this value before and was deleted, or has another value by now")]
    FormerKey,
    /// A team, a customer or a budget.
    #[error("the {kind} {id:?} exists already", kind = .0.as_str(), id = .1)]
    Holder(crate::store::HolderKind, String),
}

impl StoreError {
    /// Whether the same call may succeed later. Refused rows never will: drop them, loudly.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::NotAccepted(_)
                | Self::TimedOut(_)
                | Self::ReadOnly(_)
                | Self::Failed(_)
        )
    }
}

impl From<DatabaseUrlError> for StoreError {
    fn from(error: DatabaseUrlError) -> Self {
        Self::Url(error)
    }
}

impl From<QueryError> for StoreError {
    fn from(error: QueryError) -> Self {
        use DatabaseErrorKind as Kind;
        match &error {
            QueryError::DatabaseError(kind, information) => {
                let message = information.message().to_owned();
                match kind {
                    Kind::UnableToSendCommand | Kind::ClosedConnection => Self::Unreachable(message),
                    Kind::UniqueViolation
                    | Kind::ForeignKeyViolation
                    | Kind::NotNullViolation
                    | Kind::CheckViolation
                    | Kind::RestrictViolation
                    | Kind::ExclusionViolation => Self::Refused(message),
                    Kind::ReadOnlyTransaction => Self::ReadOnly(message),
                    // 22003, for which diesel has no kind: a sum of this row's numbers fits into no column.
                    _ if message.contains("out of range") => Self::Refused(message),
                    // Deadlock, full disk, shutdown, missing rights: people or time can mend all of these, and
                    // text and numbers are made storable before they are sent.
                    _ => Self::Failed(message),
                }
            }
            QueryError::SerializationError(_)
            | QueryError::DeserializationError(_)
            | QueryError::QueryBuilderError(_)
            | QueryError::InvalidCString(_) => Self::Refused(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let is_refusal = match error.sqlite_error_code() {
            Some(Code::ConstraintViolation | Code::TypeMismatch | Code::TooBig) => true,
            // A value that cannot be bound.
            None => matches!(error, rusqlite::Error::ToSqlConversionFailure(_)),
            // Full disk, another process's lock, a file that went away: people or time can mend all of these.
            Some(_) => false,
        };
        if is_refusal { Self::Refused(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        // <https://www.postgresql.org/docs/current/errcodes-appendix.html>: integrity constraint violation, numeric value
        // out of range; read-only transaction.
        let code = error.code().map_or("", |code| code.code());
        let is_refusal = code.starts_with("23") || code == "22003";
        match error.as_db_error() {
            None => Self::Unreachable(with_causes(&error)),
            Some(answer) if code == "25006" => Self::ReadOnly(answer.message().to_owned()),
            Some(answer) if is_refusal => Self::Refused(answer.message().to_owned()),
            Some(answer) => Self::Failed(answer.message().to_owned()),
        }
    }
}

impl From<ConnectionError> for StoreError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::InvalidConnectionUrl(reason) => Self::NotAccepted(reason),
            ConnectionError::BadConnection(reason) => Self::Unreachable(reason),
            other => Self::Unreachable(with_causes(&other)),
        }
    }
}

impl From<diesel_async::pooled_connection::deadpool::PoolError> for StoreError {
    fn from(error: diesel_async::pooled_connection::deadpool::PoolError) -> Self {
        use deadpool::managed::{PoolError, TimeoutType};
        use diesel_async::pooled_connection::PoolError as CauseError;
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::TimedOut("every connection is in use"),
            PoolError::Timeout(TimeoutType::Create) => Self::TimedOut("connecting"),
            PoolError::Timeout(TimeoutType::Recycle) => Self::TimedOut("checking a connection"),
            PoolError::Backend(CauseError::ConnectionError(cause)) => cause.into(),
            PoolError::Backend(CauseError::QueryError(cause)) => cause.into(),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// An error and what caused it, on one line: tokio-postgres says `error connecting to server` and keeps the reason
/// in the cause.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
