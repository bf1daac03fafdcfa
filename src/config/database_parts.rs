//! LiteLLM's `DATABASE_HOST`, `DATABASE_USERNAME`, `DATABASE_PASSWORD` and `DATABASE_NAME`: the database's URL in parts,
//! as its Helm chart sets them.

use std::net::Ipv6Addr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::fault::Place;
use super::section::Context;
use super::service_link;
use crate::domain::Secret;

/// What there must be. A password may be missing, as with LiteLLM: not every server asks for one.
const NEEDED: [&str; 3] = ["DATABASE_HOST", "DATABASE_USERNAME", "DATABASE_NAME"];
const PASSWORD: &str = "DATABASE_PASSWORD";

/// The URL that the variables make together; nothing where none of them is set. Some without the others are a fault: the
/// gateway would keep keys and spend elsewhere than meant.
pub(super) fn url(ctx: &mut Context) -> Option<Secret> {
    let value = |name: &str| ctx.environment.filled(name).map(str::to_owned);
    let (parts, password) = (NEEDED.map(value), value(PASSWORD));
    if parts.iter().all(Option::is_none) && password.is_none() {
        return None;
    }
    let [Some(host), Some(user), Some(name)] = &parts else {
        name_the_missing(&parts, password.is_some(), ctx);
        return None;
    };
    let place = authority(host, ctx)?;
    let schema = ctx.environment.filled("DATABASE_SCHEMA").map(encoded);
    let password = password.map_or_else(String::new, |password| format!(":{}", encoded(&password)));
    let schema = schema.map_or_else(String::new, |schema| format!("?schema={schema}"));
    Some(Secret::new(format!("postgresql://{}{password}@{place}/{}{schema}", encoded(user), encoded(name))))
}

fn name_the_missing(parts: &[Option<String>; 3], has_password: bool, ctx: &mut Context) {
    let named = |wanted: bool| {
        let pairs = NEEDED.iter().zip(parts).filter(move |(_, value)| value.is_some() == wanted);
        pairs.map(|(name, _)| *name)
    };
    let set: Vec<_> = named(true).chain(has_password.then_some(PASSWORD)).collect();
    let missing: Vec<_> = named(false).collect();
    let password = if has_password { "" } else { " (and DATABASE_PASSWORD, if the database asks for one)" };
    let problem = format!(
        "{} set without {}: set what is missing{password}, or DATABASE_URL, or unset what is there to use SQLite",
        if set.len() == 1 { "is" } else { "are" },
        missing.join(", "),
    );
    ctx.fault(&Place::variable(&set.join(", ")), problem);
}

/// Host and port. The host may carry its port, since LiteLLM writes it into the URL as it is.
fn authority(host: &str, ctx: &mut Context) -> Option<String> {
    let is_host = |c: char| c.is_alphanumeric() || "-._:[],".contains(c);
    if !host.chars().all(is_host) {
        ctx.fault(&Place::variable("DATABASE_HOST"), "expected a host name or an address, and nothing else");
        return None;
    }
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    match service_link::port("DATABASE_PORT", ctx) {
        Some(port) if !has_port => Some(format!("{host}:{port}")),
        _ => Some(host),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
