//! `general_settings`: the master key, the database and what else of it bedgate honours.

use std::time::Duration;

use super::database_parts;
use super::fault::Place;
use super::restrictions;
use super::section::{Context, Section};
use super::setting::{Mebibytes, Positive, Timeout};
use super::tree::NodeValue;
use crate::domain::Secret;

/// Where keys and spend are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// `general_settings.database_url`, else `DATABASE_URL`: `postgres://…`; else what LiteLLM's `DATABASE_HOST` and the
    /// variables beside it make together. `None`: SQLite in the data directory.
    pub url: Option<Secret>,
    /// `general_settings.database_connection_pool_limit`. Connections at the most, beside the one by which events go.
    /// Requests never wait for one; a few are enough.
    pub pool_size: usize,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, pool_size: 10 }
    }
}

/// What `general_settings` and the variables beside it say.
#[derive(Default)]
pub(super) struct GeneralSettings {
    pub(super) master_key: Option<Secret>,
    pub(super) database: DatabaseConfig,
    pub(super) key_header_name: Option<String>,
    pub(super) user_header_name: Option<String>,
    pub(super) global_max_parallel: Option<u64>,
    pub(super) max_request_size: Option<Mebibytes>,
    pub(super) pass_through_timeout: Option<Duration>,
}

/// Variables that hold the master key, bedgate's own first.
const MASTER_KEY_VARIABLES: [&str; 2] = ["BEDGATE_MASTER_KEY", "LITELLM_MASTER_KEY"];

/// LiteLLM's other ways to check callers. Without a master key, ignoring one would open the gateway.
const OTHER_AUTHENTICATION: [&str; 4] =
    ["custom_auth", "enable_jwt_auth", "enable_oauth2_auth", "enable_oauth2_proxy_auth"];

impl GeneralSettings {
    pub(super) fn read(mut section: Section<'_>, ctx: &mut Context) -> Self {
        let default = DatabaseConfig::default();
        let faults_before = ctx.faults.len();
        let master_key = master_key(&mut section, ctx);
        let is_open = master_key.is_none() && ctx.faults.len() == faults_before;
        for (_, node) in section.take_where(|key, _| OTHER_AUTHENTICATION.contains(&key)) {
            let is_off = matches!(node.value, NodeValue::Null) || node.to_json() == false;
            if is_open && !is_off {
                let problem = "bedgate does not know this way to check callers, and no master key is set, so \
                               anyone could call; set master_key or remove this key";
                ctx.fault(&node.place, problem);
            } else if !is_off {
                ctx.not_in_force(&node.place, restrictions::WHO);
            }
        }
        let pool_size = section.get::<Positive>("database_connection_pool_limit", ctx);
        let settings = Self {
            master_key,
            database: DatabaseConfig {
                url: database_url(&mut section, ctx),
                pool_size: pool_size.map_or(default.pool_size, |limit| limit.0),
            },
            key_header_name: header_name(&mut section, "litellm_key_header_name", ctx),
            user_header_name: header_name(&mut section, "user_header_name", ctx),
            global_max_parallel: section
                .get::<Positive>("global_max_parallel_requests", ctx)
                .and_then(|limit| u64::try_from(limit.0).ok()),
            max_request_size: section.get("max_request_size_mb", ctx),
            pass_through_timeout: section
                .get::<Timeout>("pass_through_request_timeout", ctx)
                .map(|timeout| timeout.0),
        };
        section.ignore_rest(ctx, |_| true);
        settings
    }
}

/// The master key of the file and of the environment. A key that is meant to be there but is blank, or two
/// that differ, are faults: neither may end in a gateway that anyone can call.
fn master_key(section: &mut Section<'_>, ctx: &mut Context) -> Option<Secret> {
    let mut keys: Vec<(Place, Secret)> = Vec::new();
    if let Some(node) = section.take("master_key", ctx) {
        let faults_before = ctx.faults.len();
        match ctx.read::<Secret>(node).filter(|key| !key.expose().trim().is_empty()) {
            Some(key) => keys.push((node.place.clone(), key)),
            None if ctx.faults.len() == faults_before => {
                ctx.fault(&node.place, "is blank; write the key, or remove this line to let anyone call");
            }
            None => {}
        }
    }
    let is_set_in_file = !keys.is_empty();
    for name in MASTER_KEY_VARIABLES {
        match ctx.environment.get(name).map(str::to_owned) {
            None => {}
            Some(key) if !key.trim().is_empty() => keys.push((Place::variable(name), Secret::new(key))),
            Some(_) if is_set_in_file => {}
            Some(_) => {
                let problem = "is set but empty; give it a value, or unset it to let anyone call";
                ctx.fault(&Place::variable(name), problem);
            }
        }
    }
    let (first, rest) = keys.split_first()?;
    for (place, _) in rest.iter().filter(|(_, key)| *key != first.1) {
        ctx.fault(place, format!("is another master key than that of {}; keep one of the two", first.0));
    }
    Some(first.1.clone())
}

fn database_url(section: &mut Section<'_>, ctx: &mut Context) -> Option<Secret> {
    let in_file =
        section.get::<Secret>("database_url", ctx).map(|url| (section.place.key("database_url"), url));
    let variable = || Some((Place::variable("DATABASE_URL"), ctx.variable::<Secret>("DATABASE_URL")?));
    let Some((place, url)) = in_file.or_else(variable) else { return database_parts::url(ctx) };
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme));
    if !is_postgres {
        ctx.fault(&place, "expected postgres://user:password@host:5432/database; unset it to use SQLite");
        return None;
    }
    Some(url)
}

/// The name in lower case, as header names are compared.
fn header_name(section: &mut Section<'_>, key: &'static str, ctx: &mut Context) -> Option<String> {
    let name: String = section.get(key, ctx)?;
    // https://www.rfc-editor.org/rfc/rfc9110#name-tokens
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(is_of_token) {
        ctx.fault(&section.place.key(key), "expected the name of an HTTP header");
        return None;
    }
    Some(name.to_ascii_lowercase())
}
