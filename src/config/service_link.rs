//! Ports out of the environment, past what Kubernetes puts there: a Service named `bedgate` sets
//! `BEDGATE_PORT=tcp://10.96.3.4:4000` in every pod of its namespace.
//!
//! <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>

use super::section::Context;

/// Protocols of a Service.
const PROTOCOLS: [&str; 3] = ["tcp://", "udp://", "sctp://"];

/// The port that a variable names. A link to a Service is none: it is noted, and the next place is asked.
pub(super) fn port(name: &'static str, ctx: &mut Context) -> Option<u16> {
    let value = ctx.environment.filled(name)?;
    if PROTOCOLS.iter().any(|protocol| value.starts_with(protocol)) {
        let note = format!(
            "environment: {name}={value} (Kubernetes' link to a Service, not a port; enableServiceLinks: false keeps it away)"
        );
        ctx.ignore(note);
        return None;
    }
    ctx.variable(name)
}
