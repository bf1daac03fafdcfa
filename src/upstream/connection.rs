//! A connection to AWS: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::Uri;
use actix_rt::net::TcpStream;
use actix_service::Service as _;
use actix_tls::connect::{ConnectError, ConnectInfo, ConnectorService, Resolver};
use futures_util::task::noop_waker_ref;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Makes connections.
pub(super) struct Dialler {
    tcp: ConnectorService,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

impl Dialler {
    /// With TLS where it is given. Name, TCP and TLS together may take `timeout`.
    pub(super) fn new(tls: Option<Arc<rustls::ClientConfig>>, timeout: Duration) -> Self {
        let tcp = actix_tls::connect::Connector::new(Resolver::default()).service();
        Self { tcp, tls: tls.map(TlsConnector::from), timeout }
    }

    /// A new connection to the authority of this URI.
    pub(super) async fn connect(&self, uri: Uri) -> Result<Connection, awc::error::ConnectError> {
        let connecting = tokio::time::timeout(self.timeout, self.handshakes(uri));
        let transport = connecting.await.map_err(|_| awc::error::ConnectError::Timeout)??;
        Ok(Connection { transport, opened: Instant::now() })
    }

    async fn handshakes(&self, uri: Uri) -> Result<Transport, ConnectError> {
        let connection = self.tcp.call(ConnectInfo::new(uri)).await?;
        let host = connection.hostname().to_owned();
        let (tcp, _) = connection.into_parts();
        tcp.set_nodelay(true).map_err(ConnectError::Io)?;
        let Some(tls) = &self.tls else { return Ok(Transport::Plain(tcp)) };
        let name = ServerName::try_from(host).map_err(|_| ConnectError::Unresolved)?;
        let secured = tls.connect(name, tcp).await.map_err(ConnectError::Io)?;
        Ok(Transport::Tls(Box::new(secured)))
    }
}

/// The bytes' way.
#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    opened: Instant,
}

impl Connection {
    /// When it was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether HTTP/2 may be spoken: over TLS where the handshake said so, else with prior knowledge.
    pub(super) fn takes_http2(&self) -> bool {
        match &self.transport {
            Transport::Plain(_) => true,
            Transport::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether a connection that nobody uses is still good: not closed by the other side, and nothing came that was
    /// not asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(noop_waker_ref());
        Pin::new(self).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, parts),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
