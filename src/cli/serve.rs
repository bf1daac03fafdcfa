//! `bedgate serve`: its options, those of LiteLLM that it understands, and what it says at the start.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::litellm_flags::LitellmFlags;
use super::{EXIT_FAILURE, path_or_nothing};
use crate::config::{Config, Environment};
use crate::startup::{Application, StopSignals};

#[derive(Debug, Args)]
pub(super) struct ServeOptions {
    /// A YAML file, or a directory of YAML files [default: config/ if it exists]
    #[arg(long, short, env = "BEDGATE_CONFIG", value_parser = path_or_nothing())]
    pub(super) config: Option<PathBuf>,
    /// Address to listen on [default: 0.0.0.0, or 127.0.0.1 while no master key is set]
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 4000]
    #[arg(long)]
    port: Option<u16>,
    /// Where the journal, the lock and SQLite are [default: data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// PEM file of the certificate for TLS, read again when it changes
    #[arg(long, alias = "ssl_certfile_path")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, alias = "ssl_keyfile_path")]
    tls_key: Option<PathBuf>,
    /// A port of its own for TLS; 0 takes a free one [default: the one port speaks TLS and nothing else]
    #[arg(long)]
    tls_port: Option<u16>,
    #[command(flatten)]
    litellm: LitellmFlags,
}

impl ServeOptions {
    /// An option takes the place of its variable, so that the configuration checks it with the rest, and what the
    /// variable says is not read.
    pub(super) fn put_into(&self, environment: &mut Environment) {
        let paths = [
            ("BEDGATE_DATA_DIR", &self.data_dir),
            ("BEDGATE_TLS_CERT", &self.tls_cert),
            ("BEDGATE_TLS_KEY", &self.tls_key),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                environment.set(name, path.to_string_lossy());
            }
        }
        if let Some(host) = &self.host {
            environment.set("BEDGATE_HOST", host);
        }
        for (name, port) in [("BEDGATE_PORT", self.port), ("BEDGATE_TLS_PORT", self.tls_port)] {
            if let Some(port) = port {
                environment.set(name, port.to_string());
            }
        }
    }

    /// What the configuration's own `environment_variables` may not overrule, and paths that are not UTF-8.
    pub(super) fn apply_to(self, config: &mut Config) {
        let server = &mut config.server;
        server.host = self.host.or_else(|| server.host.take());
        server.port = self.port.unwrap_or(server.port);
        if let Some(data_dir) = self.data_dir {
            server.data_dir = data_dir;
        }
        config.ignored.extend(self.litellm.given.iter().map(|flag| format!("the option --{flag}")));
    }
}

/// Serves until stopped.
pub(super) async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    warn_of(&config);
    let logs_json = config.logs_json();
    run(config, async |application| {
        for url in application.urls() {
            if logs_json {
                log::info!(url = url.as_str(); "listening on {url}");
            } else {
                println!("listening on {url}");
            }
        }
        Ok(())
    })
    .await
}

/// Builds the gateway, says so by `welcome`, and serves until stopped; what is left in the journal decides the exit code.
/// A signal that comes while it is built ends it, too.
pub(super) async fn run(
    config: Config,
    welcome: impl AsyncFnOnce(&Application) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::receive().context("cannot receive signals")?;
    let application = tokio::select! {
        () = signals.next() => {
            log::info!("stopped before it served");
            return Ok(ExitCode::SUCCESS);
        }
        built = Application::build(config) => built?,
    };
    welcome(&application).await?;
    let drained = application.run_until_stopped(signals).await?;
    if drained.is_clean() {
        log::info!("stopped; {} events were shipped", drained.shipped);
        return Ok(ExitCode::SUCCESS);
    }
    log::error!(
        "stopped with events that the database does not have ({drained:?}); they are in the journal and will be shipped at the next start"
    );
    Ok(ExitCode::from(EXIT_FAILURE))
}

fn warn_of(config: &Config) {
    if config.master_key.is_none() {
        log::warn!(
            "NO MASTER KEY IS SET: anybody who reaches this port uses your AWS account; set BEDGATE_MASTER_KEY"
        );
    }
    for setting in &config.not_in_force {
        log::warn!("RESTRICTS IN LITELLM AND DOES NOT HOLD IN BEDGATE: {setting}");
    }
    if !config.rounded.is_empty() {
        log::warn!("rounded, since prices have twelve decimals: {}", config.rounded.join("; "));
    }
    if !config.ignored.is_empty() {
        log::warn!("not used by bedgate: {}", config.ignored.join("; "));
    }
}
