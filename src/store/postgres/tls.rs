//! TLS to Postgres: how far the server's certificate is checked.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::url::{DatabaseUrl, Trust};
use crate::store::StoreError;

/// What a connection to this database does in its handshake. Reads files, once at start.
pub(super) fn client_config(url: &DatabaseUrl) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Tls(error.to_string()))?;
    let builder =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(ServerCheck::new(url, provider)?));
    match &url.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = read_certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| StoreError::Tls(error.to_string()))
        }
    }
}

/// The check of the server's certificate that `sslmode` asks for. Signatures of the handshake are always checked.
#[derive(Debug)]
struct ServerCheck {
    provider: Arc<CryptoProvider>,
    /// `None`: any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Whether the certificate must also be for the host.
    name: bool,
}

impl ServerCheck {
    fn new(url: &DatabaseUrl, provider: Arc<CryptoProvider>) -> Result<Self, StoreError> {
        let chain = match url.trust {
            Trust::Plain | Trust::AnyCertificate => None,
            Trust::Chain | Trust::ChainAndName => {
                let roots = Arc::new(trusted_roots(url.root_certificates.as_deref())?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(verifier.build().map_err(|error| StoreError::Tls(error.to_string()))?)
            }
        };
        Ok(Self { provider, chain, name: url.trust == Trust::ChainAndName })
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is checked last: who fails it has passed everything else.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificates of a file, else the system's.
fn trusted_roots(file: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    let certificates = match file {
        Some(file) => read_certificates(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _unusable) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let place = file.map_or_else(|| "the system's store".to_owned(), |file| file.display().to_string());
        return Err(StoreError::Tls(format!("no usable root certificate in {place}")));
    }
    Ok(roots)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    certificates.map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &rustls_pki_types::pem::Error) -> StoreError {
    StoreError::Tls(format!("cannot read {}: {error}", file.display()))
}
