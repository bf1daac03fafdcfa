//! `bedgate healthcheck`: asks the gateway on this machine whether it is ready, for containers that have no curl.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// A container's health check must answer by then.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the answer that are read, at the most.
const MAX_ANSWER: u64 = 64 << 10;
const REQUEST: &[u8] = b"GET /health/readiness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Asks in plain HTTP, and over TLS where the port does not answer that: exit 0 if the gateway is ready.
pub(super) fn check(host: &str, port: u16) -> ExitCode {
    // Who listens on every address listens on this one.
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let answer = ask_plainly(host, port);
    let speaks_http = answer.as_ref().is_ok_and(|head| head.starts_with("HTTP/1.1 "));
    let answer = if speaks_http { answer } else { ask_over_tls(host, port).or(answer) };
    match answer {
        Ok(head) if head.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(head) => {
            eprintln!("not ready: {}", head.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask_plainly(host: &str, port: u16) -> std::io::Result<String> {
    ask(connect(host, port)?)
}

fn ask_over_tls(host: &str, port: u16) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ThisMachine(provider)))
        .with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let session = rustls::ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    ask(rustls::StreamOwned::new(session, connect(host, port)?))
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let address = (host, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

fn ask(mut connection: impl Read + Write) -> std::io::Result<String> {
    connection.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let read = connection.take(MAX_ANSWER).read_to_end(&mut answer);
    // A port that speaks TLS alone answers plain HTTP with an alert, and may reset the connection after it.
    if answer.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Takes any certificate: the question goes to this very machine, names no secret, and who answers on a port of it
/// could as well answer without one. What the certificate is worth is for clients to say.
#[derive(Debug)]
struct ThisMachine(Arc<CryptoProvider>);

impl ServerCertVerifier for ThisMachine {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
