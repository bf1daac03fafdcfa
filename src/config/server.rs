//! `bedgate_settings.server` and `bedgate_settings.access_log`: where and how to listen.

use std::path::PathBuf;
use std::time::Duration;

use super::listen::{Http2Config, TlsConfig};
use super::section::{Context, Section};
use super::service_link;
use super::setting::Setting;
use super::tree::Scalar;

/// Where and how to listen: `bedgate_settings.server`.
///
/// `BEDGATE_HOST`, `BEDGATE_PORT` and `BEDGATE_DATA_DIR` go before the file, so that one file serves several
/// machines; then LiteLLM's `HOST` and `PORT`, which its Helm chart sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// `host`. Address; `None`: 0.0.0.0, or 127.0.0.1 while no master key is set.
    pub host: Option<String>,
    /// `port`; 0 picks a free one.
    pub port: u16,
    /// `data_dir`. Directory of the journal, the lock and SQLite. Must outlive the process: what is not yet in
    /// the database is here alone.
    pub data_dir: PathBuf,
    /// `workers`. Worker threads; 0: one per core.
    pub workers: usize,
    /// `keep_alive`. How long an idle client connection stays open. Keep it above the idle timeout of the load
    /// balancer in front (60 s at an ALB): below it, now and then a request meets a closing connection.
    pub keep_alive: Duration,
    /// `client_write_timeout`. How long a client may take nothing of an answer that waits for it; then its connection, or
    /// its stream of HTTP/2, is broken and the request ends as `client_gone`. Too low cuts clients that pause while they
    /// read; without a limit (0) one that stops reading holds its answer, and its place in the journal, for ever. Of
    /// HTTP/1.1, and of connections that take nothing at all, on Linux only.
    pub client_write_timeout: Duration,
    /// `lame_duck`. How long readiness is red before connections are refused, at SIGTERM: the time a load
    /// balancer needs to notice. 0: not at all.
    pub lame_duck: Duration,
    /// `shutdown_grace`. How long streams may go on after that. Too low cuts answers that were paid for; too
    /// high delays deployments. Kubernetes' `terminationGracePeriodSeconds` must be above both together.
    pub shutdown_grace: Duration,
    /// TLS towards clients; `None`: not at all.
    pub tls: Option<TlsConfig>,
    /// `http2`. Bounds of HTTP/2 connections.
    pub http2: Http2Config,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: 4000,
            data_dir: PathBuf::from("data"),
            workers: 0,
            keep_alive: Duration::from_secs(90),
            client_write_timeout: Duration::from_secs(120),
            lame_duck: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(120),
            tls: None,
            http2: Http2Config::default(),
        }
    }
}

/// Worker threads at the most.
const MAX_WORKERS: u16 = 1024;

/// Variables that say where to listen: bedgate's own, and LiteLLM's, whose names other programs use for other things, so
/// that they count only where nothing else says it.
const HOST_VARIABLES: [&str; 2] = ["BEDGATE_HOST", "HOST"];
const PORT_VARIABLES: [&str; 2] = ["BEDGATE_PORT", "PORT"];

impl ServerConfig {
    /// Worker threads: as set, or one per core.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        if self.workers > 0 { self.workers } else { cores() }
    }

    /// `is_open`: whoever reaches the port may call.
    pub(super) fn read(mut section: Section<'_>, is_open: bool, ctx: &mut Context) -> Self {
        let default = Self::default();
        let host = section.get("host", ctx);
        let port = section.get("port", ctx);
        let data_dir = section.get("data_dir", ctx);
        let workers = section.get::<u16>("workers", ctx).unwrap_or_default();
        if workers > MAX_WORKERS {
            ctx.fault(&section.place.key("workers"), format!("expected at most {MAX_WORKERS}"));
        }
        let keep_alive = section.get("keep_alive", ctx);
        let client_write_timeout = section.get("client_write_timeout", ctx);
        let lame_duck = section.get("lame_duck", ctx);
        let shutdown_grace = section.get("shutdown_grace", ctx);
        let tls = TlsConfig::read(&mut section, ctx);
        let http2 = Http2Config::read(section.section("http2", ctx), ctx);
        let place = section.place.key("tls_port");
        section.refuse_rest(ctx);
        let [own_host, other_host] = HOST_VARIABLES.map(|name| ctx.variable(name));
        // Nobody opens an account of AWS to the network by a name that means something else elsewhere.
        let host = own_host.or(host).or(other_host.filter(|_| !is_open));
        let [own_port, other_port] = PORT_VARIABLES.map(|name| service_link::port(name, ctx));
        let port = own_port.or(port).or(other_port).unwrap_or(default.port);
        if port != 0 && tls.as_ref().is_some_and(|tls| tls.port == Some(port)) {
            let problem = "is the plain port, too; leave it out to speak nothing but TLS";
            ctx.fault(&place, problem);
        }
        Self {
            host,
            port,
            data_dir: ctx.variable("BEDGATE_DATA_DIR").or(data_dir).unwrap_or(default.data_dir),
            workers: workers.into(),
            keep_alive: keep_alive.unwrap_or(default.keep_alive),
            client_write_timeout: client_write_timeout.unwrap_or(default.client_write_timeout),
            lame_duck: lame_duck.unwrap_or(default.lame_duck),
            shutdown_grace: shutdown_grace.unwrap_or(default.shutdown_grace),
            tls,
            http2,
        }
    }
}

/// The access log: one line for each request, to standard error. Never holds a key, a prompt or an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// No access log; faults are logged all the same.
    Off,
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl AccessLog {
    /// JSON in place of words, where the whole log is JSON.
    pub(super) fn as_json_if(self, json: bool) -> Self {
        if json && self == Self::Text { Self::Json } else { self }
    }
}

impl Setting for AccessLog {
    const EXPECTED: &'static str = "off, text or json";

    fn parse(scalar: &Scalar) -> Option<Self> {
        match scalar {
            Scalar::Bool(false) => Some(Self::Off),
            Scalar::Text(text) => match text.as_str() {
                "off" => Some(Self::Off),
                "text" => Some(Self::Text),
                "json" => Some(Self::Json),
                _ => None,
            },
            _ => None,
        }
    }
}
