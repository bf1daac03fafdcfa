//! Listening: every worker's door, where a connection is told to be HTTP/1.1 or HTTP/2, plain or TLS, and all of
//! them reach the same handlers.
//!
//! HTTP/1.1 is served by our own `listen/http1.rs`. HTTP/2 is served by hyper, because the `h2` that actix-http is built
//! on drops the answers of a client that says GOAWAY as soon as it has an answer's head, as the AWS SDK for JavaScript does.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{IntoServiceFactory, ServiceFactory, fn_factory};
use actix_web::dev::AppConfig;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::config::{Http2Config, ServerConfig};

mod door;
mod http1;
mod http2;
mod preface;
mod socket;
mod tls;

use door::{PlainDoor, TlsDoor};

pub use http2::UnsizedBody;
pub use tls::{Certificate, TlsFault};

/// A client has this long to send its first request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How much longer the server itself waits at a stop, so that the stop's own deadline comes first.
const SERVER_PATIENCE_SECONDS: u64 = 1;
/// Connections waiting to be accepted.
const BACKLOG: u32 = 4096;

/// Binds a port. Must be called inside an actix system.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Takes connections from now on.
///
/// # Errors
/// Somebody else listens there.
pub fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?.into_std()
}

/// A socket that is bound.
#[derive(Debug)]
pub struct Socket {
    /// Where connections come in.
    pub listener: TcpListener,
    /// The certificate, where nothing but TLS is spoken.
    pub certificate: Option<Arc<Certificate>>,
}

/// The open connections of clients.
#[derive(Clone, Debug)]
pub struct Connections {
    count: Arc<AtomicUsize>,
    cut: Arc<watch::Sender<bool>>,
}

impl Default for Connections {
    fn default() -> Self {
        Self { count: Arc::default(), cut: Arc::new(watch::Sender::new(false)) }
    }
}

impl Connections {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Closes all of them, whatever is under way on them. The server's own stop would wait for them as long as streams
    /// may go on.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Counts a connection until it is dropped.
    fn enter(&self) -> OpenConnection {
        self.count.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.count))
    }

    /// Resolves when all are to be closed.
    async fn is_cut(&self) {
        let mut cut = self.cut.subscribe();
        // The sender is held by `self`.
        let _ = cut.wait_for(|is_cut| *is_cut).await;
    }
}

/// A client's connection, counted until it is closed.
struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the doors of all workers share.
#[derive(Clone)]
struct Shared {
    keep_alive: Duration,
    client_write_timeout: Duration,
    http2: Http2Config,
    connections: Connections,
    stopping: GracefulShutdownSignal,
}

/// Starts the workers; `make_app` is called on each of them, once for each socket.
///
/// # Errors
/// A socket cannot be listened on.
pub fn serve<F, I, S, B>(
    sockets: Vec<Socket>,
    config: &ServerConfig,
    connections: &Connections,
    make_app: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let grace = config.shutdown_grace.as_secs() + SERVER_PATIENCE_SECONDS;
    let mut builder = Server::build().shutdown_timeout(grace).disable_signals();
    if config.workers > 0 {
        builder = builder.workers(config.workers);
    }
    let shared = Shared {
        keep_alive: config.keep_alive,
        client_write_timeout: config.client_write_timeout,
        http2: config.http2.clone(),
        connections: connections.clone(),
        stopping: builder.graceful_shutdown_signal(),
    };
    for Socket { listener, certificate } in sockets {
        let (make_app, shared) = (make_app.clone(), shared.clone());
        builder =
            match certificate {
                None => builder.listen("plain", listener, move || {
                    let (make_app, shared) = (make_app.clone(), shared.clone());
                    fn_factory(move || {
                        let (app, shared): (S, _) = (make_app().into_factory(), shared.clone());
                        async move { Ok::<_, ()>(PlainDoor::new(door::open::<S, B>(app, shared).await?)) }
                    })
                })?,
                Some(certificate) => builder.listen("TLS", listener, move || {
                    let (make_app, shared, certificate) =
                        (make_app.clone(), shared.clone(), Arc::clone(&certificate));
                    fn_factory(move || {
                        let (app, shared): (S, _) = (make_app().into_factory(), shared.clone());
                        let certificate = Arc::clone(&certificate);
                        async move {
                            Ok::<_, ()>(TlsDoor::new(door::open::<S, B>(app, shared).await?, certificate))
                        }
                    })
                })?,
            };
    }
    Ok(builder.run())
}
