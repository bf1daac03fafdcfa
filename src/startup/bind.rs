//! The sockets: bound before anything is changed on disk or in the database, and listening once the gateway can serve.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpSocket;

use crate::config::Config;
use crate::http::listen::{self, Certificate, Socket};

/// A socket that has its address. Until it listens, clients are refused, so that nothing that looks whether the port is
/// open takes the gateway for ready.
pub(super) struct Bound {
    socket: TcpSocket,
    certificate: Option<Arc<Certificate>>,
}

/// The plain port, the TLS port, or both. The certificate is read before a port is bound.
pub(super) fn bind(config: &Config) -> anyhow::Result<Vec<Bound>> {
    let server = &config.server;
    let certificate = server.tls.as_ref().map(Certificate::open).transpose()?;
    let tls_port = server.tls.as_ref().and_then(|tls| tls.port);
    let (first, second) = match (certificate, tls_port) {
        (Some(certificate), Some(port)) => (None, Some((port, certificate))),
        (certificate, _) => (certificate, None),
    };
    let mut sockets = vec![Bound { socket: socket(config, server.port)?, certificate: first }];
    if let Some((port, certificate)) = second {
        sockets.push(Bound { socket: socket(config, port)?, certificate: Some(certificate) });
    }
    Ok(sockets)
}

fn socket(config: &Config, port: u16) -> anyhow::Result<TcpSocket> {
    let default_host = if config.master_key.is_some() { "0.0.0.0" } else { "127.0.0.1" };
    let host = config.server.host.as_deref().unwrap_or(default_host);
    let cannot = || format!("cannot listen on {host}:{port}");
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs().with_context(cannot)?;
    let mut failure = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match listen::bind(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure).with_context(cannot)
}

impl Bound {
    /// Takes connections from now on; the scheme that is spoken, and where.
    pub(super) fn listen(self) -> anyhow::Result<(Socket, &'static str, SocketAddr)> {
        let address = self.socket.local_addr()?;
        let listener = listen::listen(self.socket).with_context(|| format!("cannot listen on {address}"))?;
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        Ok((Socket { listener, certificate: self.certificate }, scheme, address))
    }
}
