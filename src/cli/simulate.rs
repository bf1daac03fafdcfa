//! `bedgate simulator`: the stand-in for Bedrock alone, for tests.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::EXIT_FAILURE;
use crate::simulator::{self, SimulatedCredentials, SimulatorOptions};
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct SimulatorCommand {
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long)]
    accept_access_key: Vec<String>,
    #[arg(long)]
    accept_secret_key: Vec<String>,
    #[arg(long)]
    accept_bearer: Vec<String>,
    #[arg(long)]
    region: Option<String>,
    #[arg(long)]
    external_id: Option<String>,
    #[arg(long)]
    forbid: Vec<String>,
    #[arg(long)]
    pace_ms: Option<u64>,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[arg(long)]
    no_log: bool,
    #[arg(long)]
    no_signatures: bool,
}

/// Serves until a signal ends the process.
pub(super) fn run(command: SimulatorCommand) -> ExitCode {
    telemetry::start(false);
    let pairs = command.accept_access_key.iter().zip(&command.accept_secret_key);
    let mut credentials: Vec<_> = pairs.map(|(id, secret)| SimulatedCredentials::new(id, secret)).collect();
    if credentials.is_empty() {
        credentials.push(SimulatedCredentials::example());
    }
    let defaults = SimulatorOptions::default();
    let options = SimulatorOptions {
        port: command.port,
        credentials,
        bearer_tokens: command.accept_bearer,
        region: command.region,
        external_id: command.external_id,
        forbidden_values: command.forbid,
        pace: command.pace_ms.map_or(defaults.pace, Duration::from_millis),
        workers: command.workers,
        log_requests: !command.no_log,
        check_signatures: !command.no_signatures,
        ..defaults
    };
    match simulator::start(options) {
        Ok(simulator) => {
            println!("simulator listening on {}", simulator.url());
            // It serves on threads of its own until a signal ends the process.
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("the simulator cannot start: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}
