//! Step 8: the way to AWS. awc sends one request and hands back the response as it comes: no redirect is
//! followed, nothing is decompressed, nothing is retried.

use std::sync::Arc;
use std::time::Duration;

use actix_service::{Service, fn_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector as TcpConnector, Resolver};
use awc::error::{ConnectError as AwcConnectError, SendRequestError};
use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

use crate::config::AwsConfig;
use crate::route::Endpoint;
use crate::sign::UpstreamHead;

mod connection;
mod framing;

use connection::{Transport, WatchedConnection};

/// A connection is not used longer than this, so that DNS changes are followed.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);
/// How long a closing connection may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// AWS's answer: its head, and its body as a stream.
pub type Answer = awc::ClientResponse;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    /// No connection could be made: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection failed before the response's head.
    #[error("the connection failed before the answer: {0}")]
    BrokeOff(String),
    /// No head came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
}

/// A worker's connections to AWS.
#[derive(Clone)]
pub struct UpstreamClient {
    plain: awc::Client,
    tls: awc::Client,
}

impl std::fmt::Debug for UpstreamClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamClient")
    }
}

impl UpstreamClient {
    /// The connections of this worker thread.
    #[must_use]
    pub fn new(config: &AwsConfig, tls: &Arc<rustls::ClientConfig>) -> Self {
        Self { plain: client(config, None), tls: client(config, Some(Arc::clone(tls))) }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// No answer came.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        head: UpstreamHead,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, SendFailure> {
        let client = if endpoint.tls { &self.tls } else { &self.plain };
        let question_mark = if head.query.is_empty() { "" } else { "?" };
        // Always http: where TLS is wanted, the connector of that client speaks it, beneath awc.
        let uri = format!("http://{}{}{question_mark}{}", endpoint.authority, head.path, head.query);
        let uri =
            actix_http::Uri::try_from(uri).map_err(|error| SendFailure::Unsendable(error.to_string()))?;
        let may_go_without_body = matches!(head.method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS");
        let mut request = client.request(head.method, uri);
        *request.headers_mut() = head.headers;
        let sending =
            if body.is_empty() && may_go_without_body { request.send() } else { request.send_body(body) };
        match tokio::time::timeout(timeout, sending).await {
            Ok(answer) => answer.map_err(failure),
            Err(_) => Err(SendFailure::Timeout(timeout)),
        }
    }
}

fn failure(error: SendRequestError) -> SendFailure {
    match error {
        SendRequestError::Connect(AwcConnectError::Disconnected) => {
            SendFailure::BrokeOff("it was closed by the other side".to_owned())
        }
        SendRequestError::Connect(error) => SendFailure::Connect(error.to_string()),
        SendRequestError::Url(error) => SendFailure::Unsendable(error.to_string()),
        error => SendFailure::BrokeOff(error.to_string()),
    }
}

fn client(config: &AwsConfig, tls: Option<Arc<rustls::ClientConfig>>) -> awc::Client {
    let tcp = TcpConnector::new(Resolver::default()).service();
    let tls = tls.map(TlsConnector::from);
    let connect = move |info: ConnectInfo<actix_http::Uri>| {
        let connecting = tcp.call(info);
        let tls = tls.clone();
        async move {
            let connection = connecting.await?;
            let host = connection.hostname().to_owned();
            let (tcp, uri) = connection.into_parts();
            tcp.set_nodelay(true).map_err(ConnectError::Io)?;
            let transport = match tls {
                None => Transport::Plain(tcp),
                Some(tls) => {
                    let name = ServerName::try_from(host).map_err(|_| ConnectError::Unresolved)?;
                    Transport::Tls(Box::new(tls.connect(name, tcp).await.map_err(ConnectError::Io)?))
                }
            };
            Ok::<_, ConnectError>(Connection::new(uri, WatchedConnection::new(transport)))
        }
    };
    let connector = awc::Connector::new()
        .connector(fn_service(connect))
        .timeout(config.connect_timeout)
        .handshake_timeout(config.connect_timeout)
        .conn_keep_alive(config.keep_alive)
        .conn_lifetime(CONNECTION_LIFETIME)
        .disconnect_timeout(DISCONNECT_TIMEOUT)
        .limit(config.max_connections);
    awc::Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .finish()
}

/// TLS to AWS: trusts the given certificates (PEM), else the system's store.
///
/// # Errors
/// No certificate can be read.
pub fn tls_config(ca_bundle: Option<&[u8]>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match ca_bundle {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                log::warn!(
                    "the system has no CA certificates: TLS to AWS will fail; install ca-certificates or set AWS_CA_BUNDLE"
                );
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
