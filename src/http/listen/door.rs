//! A worker's door: what a connection goes through before it is HTTP/1.1 or HTTP/2.

use std::fmt::Debug;
use std::future::ready;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Request, Response};
use actix_service::{Service, ServiceFactory, fn_factory};
use actix_web::dev::AppConfig;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http2::Http2;
use super::preface::{self, Spoken};
use super::tls::Certificate;
use super::{DISCONNECT_TIMEOUT, HEAD_TIMEOUT, Shared, socket};

/// A client has this long for its part of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker's handlers, as connections of HTTP/1.1 and of HTTP/2 reach them.
pub(super) struct Door<H> {
    http1: H,
    http2: Http2,
    shared: Shared,
}

impl<H> Door<H> {
    /// Serves a connection in a task of its own: only its end, and the stop of the gateway, are waited for here, so
    /// that requests wake nobody else.
    async fn serve_http1<T>(&self, stream: T, peer: Option<SocketAddr>)
    where
        H: Service<(T, Option<SocketAddr>), Response = (), Error = DispatchError>,
        H::Future: 'static,
    {
        let mut serving = actix_rt::spawn(self.http1.call((stream, peer)));
        tokio::select! {
            served = &mut serving => if let Ok(Err(error)) = served {
                log::debug!("a connection of HTTP/1.1 ended: {error}");
            },
            () = self.shared.connections.is_cut() => {
                serving.abort();
                let _ = serving.await;
            }
        }
    }
}

/// Makes the worker's app, once, and both ways to it.
pub(super) async fn open<T, S, B>(
    app: S,
    shared: Shared,
) -> Result<
    Door<
        impl Service<(T, Option<SocketAddr>), Response = (), Error = DispatchError, Future: 'static> + 'static,
    >,
    (),
>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let app = app.new_service(AppConfig::default()).await;
    let app = Rc::new(app.map_err(|error| log::error!("a worker cannot start: {error:?}"))?);
    let http2 = Http2::new(Rc::clone(&app), &shared);
    let stopping = shared.stopping.clone();
    let http1 = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(shared.keep_alive)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .h1::<_, B>(fn_factory(move || ready(Ok::<_, ()>(Rc::clone(&app)))))
        .new_service(())
        .await?;
    Ok(Door { http1, http2, shared })
}

/// The door of the plain port: the first bytes tell which HTTP it is.
pub(super) struct PlainDoor<H>(Rc<Door<H>>);

impl<H> PlainDoor<H> {
    pub(super) fn new(door: Door<H>) -> Self {
        Self(Rc::new(door))
    }
}

impl<H> Service<TcpStream> for PlainDoor<H>
where
    H: Service<(TcpStream, Option<SocketAddr>), Response = (), Error = DispatchError> + 'static,
    H::Future: 'static,
{
    type Response = ();
    type Error = ();
    type Future = LocalBoxFuture<'static, Result<(), ()>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        let door = Rc::clone(&self.0);
        Box::pin(async move {
            let _open = door.shared.connections.enter();
            socket::prepare(&stream, door.shared.client_write_timeout);
            let spoken = tokio::select! {
                biased;
                spoken = timeout(HEAD_TIMEOUT, preface::peek(&stream)) => spoken,
                () = door.shared.stopping.notified() => return Ok(()),
            };
            let peer = stream.peer_addr().ok();
            match spoken {
                Ok(Ok(Spoken::Http1)) => door.serve_http1(stream, peer).await,
                Ok(Ok(Spoken::Http2)) => door.http2.serve(stream, peer).await,
                Ok(Ok(Spoken::Nothing)) | Ok(Err(_)) | Err(_) => {}
            }
            Ok(())
        })
    }
}

/// The door of the TLS port: the handshake tells which HTTP it is (ALPN); who does not say speaks HTTP/1.1.
pub(super) struct TlsDoor<H> {
    door: Rc<Door<H>>,
    certificate: Arc<Certificate>,
}

impl<H> TlsDoor<H> {
    pub(super) fn new(door: Door<H>, certificate: Arc<Certificate>) -> Self {
        Self { door: Rc::new(door), certificate }
    }
}

impl<H> Service<TcpStream> for TlsDoor<H>
where
    H: Service<(TlsStream<TcpStream>, Option<SocketAddr>), Response = (), Error = DispatchError> + 'static,
    H::Future: 'static,
{
    type Response = ();
    type Error = ();
    type Future = LocalBoxFuture<'static, Result<(), ()>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        let door = Rc::clone(&self.door);
        let acceptor = TlsAcceptor::from(self.certificate.current());
        Box::pin(async move {
            let _open = door.shared.connections.enter();
            let peer = stream.peer_addr().ok();
            socket::prepare(&stream, door.shared.client_write_timeout);
            let accepted = tokio::select! {
                biased;
                accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => accepted,
                () = door.shared.stopping.notified() => return Ok(()),
            };
            match accepted {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                    door.http2.serve(stream, peer).await;
                }
                Ok(Ok(stream)) => door.serve_http1(stream, peer).await,
                Ok(Err(error)) => log::debug!("a TLS handshake failed: {error}"),
                Err(_) => log::debug!("a TLS handshake took too long"),
            }
            Ok(())
        })
    }
}
