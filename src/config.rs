//! The configuration: what LiteLLM's `config.yaml` and the environment say, parsed into types that cannot be
//! wrong, with every fault named at once.
//!
//! `config/` in the repository shows every setting with its default. A LiteLLM configuration works as it is:
//! `model_list`, `general_settings`, `router_settings`, `litellm_settings`, `credential_list`,
//! `environment_variables` and `include` are read as LiteLLM does; what bedgate does not use is named in one
//! warning, after those of settings that restrict callers in LiteLLM and do not hold here. bedgate's own settings
//! stand in `bedgate_settings`, where an unknown key is a fault. Any value may be `os.environ/NAME`; such a variable
//! must be set and not empty.

mod auth;
mod aws;
mod bidirectional;
mod budgets;
mod database_parts;
mod deployments;
mod environment;
#[cfg(test)]
mod environment_tests;
mod fault;
mod files;
mod general;
mod identity;
mod key_policy;
mod limits;
mod listen;
mod model;
mod multipliers;
mod price;
mod regions;
mod restrictions;
mod routing;
mod section;
mod server;
mod service_link;
mod setting;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod weights;
mod yaml;

use std::collections::HashMap;
use std::path::Path;

pub use auth::AuthConfig;
pub use aws::AwsConfig;
pub use bidirectional::BidirectionalConfig;
pub use budgets::BudgetsConfig;
pub use deployments::{DeploymentConfig, UNORDERED};
pub use environment::Environment;
pub use fault::{ConfigFaults, Fault, Place};
pub use general::DatabaseConfig;
pub use identity::IdentityConfig;
pub use key_policy::{KeyBounds, KeyPolicy};
pub use limits::{LimitsConfig, WhenJournalFull};
pub use listen::{Http2Config, TlsConfig};
pub use price::{NotAPrice, picodollars};
pub use restrictions::NotInForce;
pub use routing::RoutingConfig;
pub use server::{AccessLog, ServerConfig};

use crate::domain::Secret;
use crate::pricing::TierMultiplier;
use general::GeneralSettings;
use section::{Context, Section};
use tree::{Node, NodeValue};

/// Everything `serve` needs to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Where and how to listen.
    pub server: ServerConfig,
    /// The master key; `None` is open mode.
    pub master_key: Option<Secret>,
    /// Where keys and spend are kept.
    pub database: DatabaseConfig,
    /// Every usable entry of `model_list`, in its order.
    pub deployments: Vec<DeploymentConfig>,
    /// `bedgate_settings.prices.tier_multipliers`: what service tiers cost as multiples of the default tier, where neither
    /// the list nor a deployment has a price or a multiplier of its own.
    pub tier_multipliers: Vec<TierMultiplier>,
    /// The model names of each access group (`model_info.access_groups`), which model lists may name.
    pub access_groups: HashMap<String, Vec<String>>,
    /// How requests find a deployment.
    pub routing: RoutingConfig,
    /// Regions, endpoints and the default credentials.
    pub aws: AwsConfig,
    /// Bounds on what is held in memory and on disk.
    pub limits: LimitsConfig,
    /// Bounds of requests that stream events both ways.
    pub bidirectional: BidirectionalConfig,
    /// How budgets are held, and that of the whole gateway.
    pub budgets: BudgetsConfig,
    /// What new keys get that is not asked for, and the most they may be given.
    pub key_policy: KeyPolicy,
    /// Which AWS signatures of clients are accepted.
    pub auth: AuthConfig,
    /// Header name that carries the key (`general_settings.litellm_key_header_name`), lower case.
    pub key_header_name: Option<String>,
    /// The access log (`bedgate_settings.access_log`).
    pub access_log: AccessLog,
    /// `litellm_settings.json_logs`, or `JSON_LOGS`: the whole log is JSON, the access log too where there is one.
    pub json_logs: bool,
    /// `environment_variables`, resolved: for `main` to put into the process environment, over what is there,
    /// before any thread starts, because the AWS SDKs read it.
    pub environment_variables: Vec<(String, Secret)>,
    /// Settings that restrict callers in LiteLLM and do not hold here; told first, at start.
    pub not_in_force: Vec<NotInForce>,
    /// Settings and entries that bedgate does not use; shown in one warning at start.
    pub ignored: Vec<String>,
    /// Prices with more than twelve decimals, and what they count as; shown in one warning at start.
    pub rounded: Vec<String>,
}

impl Config {
    /// Whether each line of the log is one JSON object.
    #[must_use]
    pub fn logs_json(&self) -> bool {
        self.json_logs || self.access_log == AccessLog::Json
    }
}

/// Where the configuration is looked for when no path is named.
pub const DEFAULT_CONFIG_PATH: &str = "config";

/// Reads the configuration from a file, or from the YAML files of a directory merged in name order, and from
/// the environment. Without a path it is `config/`, and where that is not there the environment alone.
///
/// # Errors
/// Every fault there is.
pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Config, ConfigFaults> {
    let default = Path::new(DEFAULT_CONFIG_PATH);
    let (tree, faults) = match path.or_else(|| default.exists().then_some(default)) {
        Some(path) => files::read(path),
        None => (Node::empty(Place::file(DEFAULT_CONFIG_PATH)), Vec::new()),
    };
    judge(&tree, faults, environment).map(|(config, _)| config)
}

/// Reads the configuration from the text of one file, called `config.yaml` in faults; `include` is not followed.
///
/// # Errors
/// Every fault there is.
pub fn parse(text: &str, environment: &Environment) -> Result<Config, ConfigFaults> {
    let tree = Node::parse("config.yaml", text).map_err(|fault| ConfigFaults(vec![fault]))?;
    judge(&tree, Vec::new(), environment).map(|(config, _)| config)
}

/// The sections of a configuration that bedgate reads. A slip in one of these names is a fault.
const SECTIONS: [&str; 7] = [
    "model_list",
    "general_settings",
    "router_settings",
    "litellm_settings",
    "environment_variables",
    "credential_list",
    "bedgate_settings",
];

/// Reads every setting out of the merged tree; the context tells what was looked for.
fn judge(
    tree: &Node,
    faults: Vec<Fault>,
    environment: &Environment,
) -> Result<(Config, Context), ConfigFaults> {
    let mut context = Context::new(environment.clone());
    context.faults = faults;
    let ctx = &mut context;
    let mut top = Section::open(Some(tree), tree.place.clone(), "", ctx);
    let variables = top.take("environment_variables", ctx);
    let environment_variables = exported_variables(variables, ctx);
    let general = GeneralSettings::read(top.section("general_settings", ctx), ctx);
    let (model_list, credentials) = (top.take("model_list", ctx), top.take("credential_list", ctx));
    let mut litellm = top.section("litellm_settings", ctx);
    let json_logs =
        litellm.get("json_logs", ctx).unwrap_or(false) | ctx.variable("JSON_LOGS").unwrap_or(false);
    let mut own = top.section("bedgate_settings", ctx);
    let server = ServerConfig::read(own.section("server", ctx), general.master_key.is_none(), ctx);
    let of_general = (general.user_header_name, general.global_max_parallel);
    let budgets = BudgetsConfig::read(own.section("budgets", ctx), &mut litellm, of_general, ctx);
    let key_policy = KeyPolicy::read(&mut litellm, ctx);
    let mut prices = own.section("prices", ctx);
    let tier_multipliers = multipliers::read(prices.take("tier_multipliers", ctx), ctx);
    prices.refuse_rest(ctx);
    let config = Config {
        master_key: general.master_key,
        database: general.database,
        deployments: deployments::read(model_list, credentials, &tier_multipliers, ctx),
        access_groups: HashMap::new(),
        routing: RoutingConfig::read(
            top.section("router_settings", ctx),
            litellm,
            own.section("routing", ctx),
            general.pass_through_timeout,
            ctx,
        ),
        aws: AwsConfig::read(own.section("aws", ctx), ctx),
        limits: LimitsConfig::read(
            own.section("limits", ctx),
            general.max_request_size,
            server.worker_count(),
            ctx,
        ),
        bidirectional: BidirectionalConfig::read(own.section("bidirectional", ctx), ctx),
        budgets,
        key_policy,
        auth: AuthConfig::read(own.section("auth", ctx), ctx),
        key_header_name: general.key_header_name,
        access_log: own.get::<AccessLog>("access_log", ctx).unwrap_or_default().as_json_if(json_logs),
        json_logs,
        environment_variables,
        not_in_force: Vec::new(),
        ignored: Vec::new(),
        rounded: Vec::new(),
        server,
        tier_multipliers,
    };
    own.refuse_rest(ctx);
    regions::require_known(&config.aws, ctx);
    // A key that begins with `x-` is a place for YAML anchors.
    top.take_where(|key, _| key.starts_with("x-"));
    top.ignore_rest(ctx, |meant| SECTIONS.contains(&meant));
    if context.faults.is_empty() {
        let ignored = std::mem::take(&mut context.ignored);
        let not_in_force = std::mem::take(&mut context.not_in_force);
        let rounded = std::mem::take(&mut context.rounded);
        let access_groups = deployments::access_groups(&config.deployments);
        Ok((Config { ignored, not_in_force, rounded, access_groups, ..config }, context))
    } else {
        Err(ConfigFaults(context.faults))
    }
}

/// `environment_variables`: set for everything that is read after, and handed to the process.
fn exported_variables(node: Option<&Node>, ctx: &mut Context) -> Vec<(String, Secret)> {
    let map = match node.map(|node| (&node.value, node)) {
        None | Some((NodeValue::Null, _)) => return Vec::new(),
        Some((NodeValue::Map(map), _)) => map,
        Some((_, node)) => {
            ctx.fault(&node.place, "expected a map from names to values");
            return Vec::new();
        }
    };
    let mut exported = Vec::new();
    for (name, value) in map {
        if name.is_empty() || name.contains(['=', '\0']) {
            ctx.fault(&value.place, "is not the name of an environment variable");
        } else if value.is_blank() {
            exported.push((name.clone(), Secret::new("")));
        } else if let Some(ExportedValue(text)) = ctx.read(value) {
            exported.push((name.clone(), Secret::new(text)));
        }
    }
    for (name, value) in &exported {
        ctx.environment.set(name.clone(), value.expose());
    }
    exported
}

/// The text of a variable: numbers and flags as LiteLLM writes them.
struct ExportedValue(String);

impl setting::Setting for ExportedValue {
    const EXPECTED: &'static str = "a text, a number or true or false, without a zero byte";
    const HIDDEN: bool = true;

    fn parse(scalar: &tree::Scalar) -> Option<Self> {
        let text = match scalar {
            tree::Scalar::Bool(flag) => (if *flag { "True" } else { "False" }).to_owned(),
            tree::Scalar::Number(text) | tree::Scalar::Text(text) => text.clone(),
        };
        (!text.contains('\0')).then_some(Self(text))
    }
}
