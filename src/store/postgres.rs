//! Connections to Postgres: how they are made, kept, and waited for.

pub(super) mod copy_line;
mod tls;
pub(super) mod url;

use std::sync::Arc;
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::{Hook, HookError, Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::copy_line::CopyLine;
use self::url::DatabaseUrl;
use super::error::{StoreError, with_causes};
use crate::domain::Secret;

/// How long a call waits for a free connection before it fails.
const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(10);
/// How long making a connection may take in all: every address of every host, TLS, authentication.
const WAIT_FOR_CREATION: Duration = Duration::from_secs(15);
/// How long an idle connection may take to show that it still works.
const WAIT_FOR_RECYCLING: Duration = Duration::from_secs(5);
/// A connection is not used longer than this, give or take the call under way: whatever a failover or a changed DNS
/// name leaves behind comes to an end.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// How long the start waits for a database that is starting too.
pub(super) const WAIT_AT_START: Duration = Duration::from_secs(30);
/// Between two attempts while it waits.
const PAUSE_AT_START: Duration = Duration::from_millis(500);

/// The connections to one database.
#[derive(Clone)]
pub(super) struct PostgresPools {
    /// For everything but events.
    pub(super) pool: Pool<AsyncPgConnection>,
    /// For events.
    pub(super) copy_line: Arc<CopyLine>,
}

impl PostgresPools {
    /// Connections are made when they are needed. They live on `runtime`, whichever thread asked for them: they
    /// outlast the workers.
    pub(super) fn new(url: &Secret, size: usize, runtime: Handle) -> Result<Self, StoreError> {
        let address = Address::of(url)?;
        let copy_line = Arc::new(CopyLine::new(address.clone()));
        Ok(Self { pool: pool(address, size, runtime)?, copy_line })
    }
}

/// Whom to connect to, and how.
#[derive(Clone)]
struct Address {
    config: tokio_postgres::Config,
    connector: MakeRustlsConnect,
}

impl Address {
    fn of(url: &Secret) -> Result<Self, StoreError> {
        let url: DatabaseUrl = url.expose().parse()?;
        if !url.ignored.is_empty() {
            let ignored = url.ignored.join(", ");
            log::warn!(parameters = ignored; "parameters of DATABASE_URL that bedgate does not use");
        }
        if url.is_behind_pooler {
            log::warn!(
                "DATABASE_URL says pgbouncer=true: bedgate uses named prepared statements, so the pooler must either \
                 pool sessions or keep them (PgBouncer 1.21 or later, max_prepared_statements above 0)"
            );
        }
        let connector = MakeRustlsConnect::new(tls::client_config(&url)?);
        Ok(Self { config: url.config, connector })
    }
}

fn pool(address: Address, size: usize, runtime: Handle) -> Result<Pool<AsyncPgConnection>, StoreError> {
    let mut manager_config = ManagerConfig::<AsyncPgConnection>::default();
    manager_config.recycling_method = RecyclingMethod::Fast;
    manager_config.custom_setup = Box::new(move |_| {
        let connecting = runtime.spawn(connect(address.clone()));
        async move {
            let failed = |error: tokio::task::JoinError| ConnectionError::BadConnection(error.to_string());
            connecting.await.map_err(failed)?
        }
        .boxed()
    });
    // The address is in the closure; the manager's own stays empty, so that nothing can print a password.
    let manager = AsyncDieselConnectionManager::new_with_config("", manager_config);
    Pool::builder(manager)
        .max_size(size.max(1))
        .runtime(deadpool::Runtime::Tokio1)
        .wait_timeout(Some(WAIT_FOR_CONNECTION))
        .create_timeout(Some(WAIT_FOR_CREATION))
        .recycle_timeout(Some(WAIT_FOR_RECYCLING))
        .pre_recycle(Hook::sync_fn(|_, metrics| {
            if metrics.age() < CONNECTION_LIFETIME { Ok(()) } else { Err(HookError::message("too old")) }
        }))
        .build()
        .map_err(|error| StoreError::Unreachable(error.to_string()))
}

/// Lets go of a connection that reaches a server without writes, and of those that wait beside it: they were made at
/// the same time, and a pool keeps what answers.
pub(super) fn let_go(pool: &Pool<AsyncPgConnection>, connection: Object<AsyncPgConnection>) {
    log::warn!("the database takes no writes: its connections are made anew");
    drop(Object::take(connection));
    pool.retain(|_, _| false);
}

async fn connect(address: Address) -> ConnectionResult<AsyncPgConnection> {
    let connected = address.config.connect(address.connector).await;
    let (client, connection) = connected.map_err(connection_error)?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// Tells a server that says no from one that is not there (yet).
fn connection_error(error: tokio_postgres::Error) -> ConnectionError {
    let reason = with_causes(&error);
    // <https://www.postgresql.org/docs/current/errcodes-appendix.html>: invalid authorization, invalid catalog name,
    // insufficient privilege.
    let says_no = error
        .code()
        .is_some_and(|code| code.code().starts_with("28") || matches!(code.code(), "3D000" | "42501"));
    if says_no || is_untrusted(&error) {
        ConnectionError::InvalidConnectionUrl(reason)
    } else {
        ConnectionError::BadConnection(reason)
    }
}

/// Whether the handshake failed for its contents, not for the network.
fn is_untrusted(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.and_then(std::io::Error::get_ref).is_some_and(|cause| cause.is::<rustls::Error>())
}

/// Waits, within limits, until the database answers: in a compose file both start at once.
pub(super) async fn wait_until_reachable(
    pool: &Pool<AsyncPgConnection>,
    wait: Duration,
) -> Result<(), StoreError> {
    let deadline = tokio::time::Instant::now() + wait;
    let mut told = false;
    loop {
        match pool.get().await.map_err(StoreError::from) {
            Ok(_) => return Ok(()),
            Err(error @ StoreError::NotAccepted(_)) => return Err(error),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Err(error) => {
                if !told {
                    log::warn!(limit_seconds = wait.as_secs(); "waiting for the database: {error}");
                    told = true;
                }
                tokio::time::sleep(PAUSE_AT_START).await;
            }
        }
    }
}
