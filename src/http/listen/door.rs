//! A worker's door: what a connection goes through before it is HTTP/1.1 or HTTP/2.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{Service, ServiceFactory};
use actix_web::dev::AppConfig;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::http1::Http1;
use super::http2::Http2;
use super::preface::{self, Spoken};
use super::socket::Abrupt;
use super::tls::Certificate;
use super::{HEAD_TIMEOUT, Shared, socket};

/// A client has this long for its part of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker's handlers, as connections of HTTP/1.1 and of HTTP/2 reach them.
pub(super) struct Door<A, B> {
    http1: Rc<Http1<A, B>>,
    http2: Http2,
    shared: Shared,
}

impl<A, B> Door<A, B>
where
    A: Service<Request, Error = actix_web::Error> + 'static,
    A::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    /// Serves a connection in a task of its own: only its end, and the stop of the gateway, are waited for here, so
    /// that requests wake nobody else.
    async fn serve_http1<T>(&self, stream: T, peer: Option<SocketAddr>)
    where
        T: AsyncRead + AsyncWrite + Abrupt + Unpin + 'static,
    {
        let mut serving = actix_rt::spawn(Rc::clone(&self.http1).serve(stream, peer));
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
pub(super) async fn open<S, B>(app: S, shared: Shared) -> Result<Door<S::Service, B>, ()>
where
    S: ServiceFactory<Request, Config = AppConfig, Error = actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let app = app.new_service(AppConfig::default()).await;
    let app = Rc::new(app.map_err(|error| log::error!("a worker cannot start: {error:?}"))?);
    let http2 = Http2::new(Rc::clone(&app), &shared);
    Ok(Door { http1: Rc::new(Http1::new(app, &shared)), http2, shared })
}

/// The door of the plain port: the first bytes tell which HTTP it is.
pub(super) struct PlainDoor<A, B>(Rc<Door<A, B>>);

impl<A, B> PlainDoor<A, B> {
    pub(super) fn new(door: Door<A, B>) -> Self {
        Self(Rc::new(door))
    }
}

impl<A, B> Service<TcpStream> for PlainDoor<A, B>
where
    A: Service<Request, Error = actix_web::Error> + 'static,
    A::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
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
pub(super) struct TlsDoor<A, B> {
    door: Rc<Door<A, B>>,
    certificate: Arc<Certificate>,
}

impl<A, B> TlsDoor<A, B> {
    pub(super) fn new(door: Door<A, B>, certificate: Arc<Certificate>) -> Self {
        Self { door: Rc::new(door), certificate }
    }
}

impl<A, B> Service<TcpStream> for TlsDoor<A, B>
where
    A: Service<Request, Error = actix_web::Error> + 'static,
    A::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
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
