//! TLS towards clients: the certificate, read again when its files change; a bad new one is named and the old one stays.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::ProducesTickets;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsConfig;

/// How often the files are looked at. Two small files: a renewed certificate is in use within seconds.
const RELOAD_POLL: Duration = Duration::from_secs(2);
/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// A file holds no private key.
    #[error("{} holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1, not encrypted)", .0.display())]
    NoKey(PathBuf),
    /// They cannot be used, or do not belong together.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The gateway's certificate, as new connections get it.
pub struct Certificate {
    files: TlsConfig,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<rustls::ServerConfig>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What the files held.
#[derive(Clone, PartialEq, Eq)]
struct Held {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Reads the certificate and its key, and follows their files from now on. Must be called inside an actix system.
    ///
    /// # Errors
    /// It cannot be read or used.
    pub fn open(files: &TlsConfig) -> Result<Arc<Self>, TlsFault> {
        let held = Held::read(files)?;
        let tickets = rustls::crypto::ring::Ticketer::new()?;
        let config = held.server_config(files, Arc::clone(&tickets))?;
        let opened = Self { files: files.clone(), tickets, current: ArcSwap::from_pointee(config) };
        let opened = Arc::new(opened);
        actix_rt::spawn(Arc::clone(&opened).follow(held));
        Ok(opened)
    }

    pub(super) fn current(&self) -> Arc<rustls::ServerConfig> {
        self.current.load_full()
    }

    /// Looks at the files now and then. Sessions that were begun under an older certificate can go on: it is the
    /// same gateway.
    async fn follow(self: Arc<Self>, mut seen: Held) {
        let mut unreadable = String::new();
        loop {
            tokio::time::sleep(RELOAD_POLL).await;
            let held = match Held::read(&self.files) {
                Ok(held) if held == seen => continue,
                Ok(held) => held,
                Err(fault) => {
                    let text = fault.to_string();
                    if text != unreadable {
                        log::error!("the TLS certificate in use stays: {text}");
                        unreadable = text;
                    }
                    continue;
                }
            };
            unreadable.clear();
            match held.server_config(&self.files, Arc::clone(&self.tickets)) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    log::info!("the TLS certificate was read again and is in use");
                }
                Err(fault) => log::error!("the TLS certificate in use stays: {fault}"),
            }
            seen = held;
        }
    }
}

impl Held {
    fn read(files: &TlsConfig) -> Result<Self, TlsFault> {
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    /// TLS 1.2 and 1.3, with session tickets; no early data, which could be sent twice.
    fn server_config(
        &self,
        files: &TlsConfig,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<rustls::ServerConfig, TlsFault> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| TlsFault::NoCertificate(files.certificate.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsFault::NoKey(files.key.clone()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = tickets;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFault> {
    let unreadable = |error| TlsFault::Unreadable { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(unreadable(io::Error::other("it is too large for a certificate or a key")));
    }
    std::fs::read(path).map_err(unreadable)
}
