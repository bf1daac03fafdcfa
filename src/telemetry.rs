//! Logs: one access line a request, in words or as JSON, without secrets; everything else through `env_logger`.

mod json;

use std::io::Write as _;

use crate::config::AccessLog;
use crate::domain::mask_keys;

/// The log target of access lines: `RUST_LOG=bedgate::access=off` silences just them.
pub const ACCESS: &str = "bedgate::access";

/// Starts logging: level `info`, or what `RUST_LOG` says. `json` writes every line as one JSON object.
pub fn start(json: bool) {
    let environment = env_logger::Env::default()
        .default_filter_or("info,actix_server=warn,aws_config=error,aws_runtime=error");
    let mut builder = env_logger::Builder::from_env(environment);
    if json {
        builder.format(|out, record| {
            let time = out.timestamp_micros().to_string();
            writeln!(out, "{}", json::line(&time, record))
        });
    }
    // A second start, in tests, changes nothing.
    let _ = builder.try_init();
}

/// What an access line tells.
#[derive(Clone, Debug)]
pub struct AccessLine<'a> {
    /// The event's id.
    pub id: &'a str,
    /// Who called: a payer's name, shortened.
    pub caller: &'a str,
    /// The client's method.
    pub method: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The operation.
    pub operation: &'a str,
    /// The status sent.
    pub status: u16,
    /// How it ended.
    pub outcome: &'a str,
    /// Who answered.
    pub deployment: &'a str,
    /// Tries.
    pub attempts: usize,
    /// Microseconds from the head to the end.
    pub latency_us: u64,
    /// Its cost in dollars, where it is known.
    pub cost: Option<String>,
}

/// Writes an access line.
pub fn access(mode: AccessLog, line: &AccessLine<'_>) {
    let AccessLine {
        id,
        caller,
        method,
        path,
        operation,
        status,
        outcome,
        deployment,
        attempts,
        latency_us,
        cost,
    } = line;
    let path = &*mask_keys(path);
    let cost_text = cost.as_deref().unwrap_or("unknown");
    match mode {
        AccessLog::Off => {}
        AccessLog::Text => log::info!(
            target: ACCESS,
            "{id} {caller} {method} {path} {operation} {status} {outcome} deployment={deployment} attempts={attempts} latency_us={latency_us} cost_usd={cost_text}"
        ),
        AccessLog::Json => log::info!(
            target: ACCESS,
            id = id, caller = caller, method = method, path = path, operation = operation, status = status,
            outcome = outcome, deployment = deployment, attempts = attempts, latency_us = latency_us,
            cost_usd = cost.as_deref();
            "{method} {path} {status}"
        ),
    }
}
