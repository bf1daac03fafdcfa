//! `bedgate_settings.server`, the part that says how clients are spoken to: TLS and HTTP/2.

use std::path::PathBuf;
use std::time::Duration;

use super::fault::Place;
use super::section::{Context, Section};
use super::service_link;
use super::setting::{Bytes, Positive, Timeout};

/// TLS towards clients: `bedgate_settings.server.tls_cert`, `tls_key` and `tls_port`.
///
/// `BEDGATE_TLS_CERT`, `BEDGATE_TLS_KEY` and `BEDGATE_TLS_PORT` go before the file, then LiteLLM's
/// `SSL_CERTFILE_PATH` and `SSL_KEYFILE_PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// `tls_cert`. PEM file of the certificate and those between it and the root, the gateway's own first. Read
    /// again when it changes.
    pub certificate: PathBuf,
    /// `tls_key`. PEM file of the certificate's private key. Read again when it changes.
    pub key: PathBuf,
    /// `tls_port`. A port of its own for TLS, beside the plain one; 0 picks a free one. `None`: the one port speaks
    /// TLS and nothing else, as LiteLLM's does.
    pub port: Option<u16>,
}

/// Bounds of HTTP/2 connections of clients: `bedgate_settings.server.http2`.
/// <https://www.rfc-editor.org/rfc/rfc9113>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Config {
    /// `max_concurrent_streams`. Requests at once on one connection; further ones are refused so that the client
    /// may send them again. Too low makes clients open more connections.
    pub max_concurrent_streams: u32,
    /// `max_header_list`. Bytes of a request's headers as RFC 9113 counts them (32 more for each header); above: 431.
    pub max_header_list_bytes: u32,
    /// `stream_window`. Bytes of a request's body that may arrive before they are read; too low slows uploads over
    /// long distances.
    pub stream_window: u32,
    /// `connection_window`. The same for all requests of one connection together: what a client can make the gateway
    /// hold before its key is checked.
    pub connection_window: u32,
    /// `ping_interval`. How often a connection is asked whether it still lives.
    pub ping_interval: Duration,
    /// `ping_timeout`. How long its answer may take before the connection is closed.
    pub ping_timeout: Duration,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 200,
            max_header_list_bytes: 64 << 10,
            stream_window: 1 << 20,
            connection_window: 2 << 20,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// Largest window and header list (RFC 9113, section 6.9.1: 2^31-1).
const MAX_WINDOW: u64 = (1 << 31) - 1;
/// Smallest window: what every client may assume before it has read the settings (RFC 9113, section 6.9.2).
const MIN_WINDOW: u64 = 65_535;
/// Most streams of one connection; beyond, one connection could hold a worker.
const MAX_STREAMS: usize = 10_000;

/// Variables that name the certificate and its key, bedgate's own first, then LiteLLM's.
const CERTIFICATE_VARIABLES: [&str; 2] = ["BEDGATE_TLS_CERT", "SSL_CERTFILE_PATH"];
const KEY_VARIABLES: [&str; 2] = ["BEDGATE_TLS_KEY", "SSL_KEYFILE_PATH"];

impl TlsConfig {
    /// Reads the `tls_…` keys of `bedgate_settings.server`; nothing where there are none.
    pub(super) fn read(section: &mut Section<'_>, ctx: &mut Context) -> Option<Self> {
        let (certificate, key) = (section.get("tls_cert", ctx), section.get("tls_key", ctx));
        let port = section.get("tls_port", ctx);
        let mut named = |variables: [&str; 2], in_file: Option<PathBuf>| {
            variables.into_iter().find_map(|name| ctx.variable(name)).or(in_file)
        };
        let (certificate, key) = (named(CERTIFICATE_VARIABLES, certificate), named(KEY_VARIABLES, key));
        let port = service_link::port("BEDGATE_TLS_PORT", ctx).or(port);
        let (missing, problem) = match (certificate, key) {
            (Some(certificate), Some(key)) => return Some(Self { certificate, key, port }),
            (None, None) if port.is_none() => return None,
            (None, None) => ("tls_cert", "is missing beside tls_port; TLS needs a certificate and its key"),
            (None, Some(_)) => ("tls_cert", "is missing beside the private key"),
            (Some(_), None) => ("tls_key", "is missing beside the certificate"),
        };
        ctx.fault(&section.place.key(missing), problem);
        None
    }
}

impl Http2Config {
    pub(super) fn read(mut section: Section<'_>, ctx: &mut Context) -> Self {
        let default = Self::default();
        let streams = section.get::<Positive>("max_concurrent_streams", ctx).map(|streams| streams.0);
        if streams.is_some_and(|streams| streams > MAX_STREAMS) {
            ctx.fault(
                &section.place.key("max_concurrent_streams"),
                format!("expected at most {MAX_STREAMS}"),
            );
        }
        let header_list = size(&mut section, "max_header_list", 1, ctx);
        let stream_window = size(&mut section, "stream_window", MIN_WINDOW, ctx);
        let connection_window = size(&mut section, "connection_window", MIN_WINDOW, ctx);
        let mut timeout =
            |key: &'static str, ctx: &mut Context| section.get::<Timeout>(key, ctx).map(|timeout| timeout.0);
        let (interval, answer) = (timeout("ping_interval", ctx), timeout("ping_timeout", ctx));
        section.refuse_rest(ctx);
        let streams = streams.and_then(|streams| u32::try_from(streams).ok());
        Self {
            max_concurrent_streams: streams.unwrap_or(default.max_concurrent_streams),
            max_header_list_bytes: header_list.unwrap_or(default.max_header_list_bytes),
            stream_window: stream_window.unwrap_or(default.stream_window),
            connection_window: connection_window.unwrap_or(default.connection_window),
            ping_interval: interval.unwrap_or(default.ping_interval),
            ping_timeout: answer.unwrap_or(default.ping_timeout),
        }
    }
}

/// A size that HTTP/2 can say.
fn size(section: &mut Section<'_>, key: &'static str, least: u64, ctx: &mut Context) -> Option<u32> {
    let bytes = section.get::<Bytes>(key, ctx)?.0;
    let place: Place = section.place.key(key);
    if bytes < least || bytes > MAX_WINDOW {
        ctx.fault(&place, format!("expected a size from {least} to {MAX_WINDOW} bytes"));
    }
    u32::try_from(bytes).ok()
}
