//! The configuration: what LiteLLM's `config.yaml` and the environment say, parsed into types that cannot be
//! wrong, with every fault named at once.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::{Region, Secret, Service};

/// Everything `serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how to listen.
    pub server: ServerConfig,
    /// The master key; `None` is open mode.
    pub master_key: Option<Secret>,
    /// Where keys and spend are kept.
    pub database: DatabaseConfig,
    /// Every usable entry of `model_list`, in its order.
    pub deployments: Vec<DeploymentConfig>,
    /// How requests find a deployment.
    pub routing: RoutingConfig,
    /// Regions, endpoints and the default credentials.
    pub aws: AwsConfig,
    /// Bounds on what is held in memory and on disk.
    pub limits: LimitsConfig,
    /// Header name that carries the key (`general_settings.litellm_key_header_name`), lower case.
    pub key_header_name: Option<String>,
    /// Settings and entries that bedgate does not use; shown in one warning at start.
    pub ignored: Vec<String>,
}

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address; `None`: 0.0.0.0, or 127.0.0.1 while no master key is set.
    pub host: Option<String>,
    /// Port; 0 picks a free one.
    pub port: u16,
    /// Directory of the journal, the lock and SQLite.
    pub data_dir: PathBuf,
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// How long an idle client connection stays open. Keep it above the idle timeout of the load balancer in front.
    pub keep_alive: Duration,
    /// How long readiness is red before connections are refused, at SIGTERM.
    pub lame_duck: Duration,
    /// How long streams may go on after that.
    pub shutdown_grace: Duration,
}

/// Where keys and spend are kept.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `postgres://…`; `None`: SQLite in the data directory.
    pub url: Option<Secret>,
    /// Connections at the most.
    pub pool_size: usize,
}

/// One way to serve a model name.
#[derive(Clone, Debug)]
pub struct DeploymentConfig {
    /// `model_info.id`, or a hash of the entry; shown as `x-litellm-model-id`.
    pub id: String,
    /// `model_name`; may hold `*`.
    pub model_name: String,
    /// The id Bedrock knows, decoded: `us.anthropic…`, or an ARN; for a wildcard entry may hold `*`.
    pub model_id: String,
    /// `aws_region_name`, else the ARN's, else the path form's, else `None` for the default region.
    pub region: Option<Region>,
    /// `aws_bedrock_runtime_endpoint` / `api_base`.
    pub endpoint: Option<url::Url>,
    /// Whose credentials sign.
    pub identity: IdentityConfig,
    /// Share of the traffic among the deployments of one name.
    pub weight: u32,
    /// Lower is tried first.
    pub order: u32,
    /// For the response's head.
    pub timeout: Option<Duration>,
    /// `model_info.base_model`: the id prices are looked up by.
    pub base_model: Option<String>,
    /// Own prices in LiteLLM's field names, picodollars a unit.
    pub prices: BTreeMap<String, i64>,
    /// `model_info` as written, for `/model/info`.
    pub model_info: serde_json::Value,
}

/// Whose credentials sign: equal identities share one set of credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityConfig {
    /// `aws_access_key_id`.
    pub access_key_id: Option<String>,
    /// `aws_secret_access_key`.
    pub secret_access_key: Option<Secret>,
    /// `aws_session_token`.
    pub session_token: Option<Secret>,
    /// `aws_profile_name`.
    pub profile_name: Option<String>,
    /// `aws_role_name`: ARN of the role to assume.
    pub role_arn: Option<String>,
    /// `aws_session_name`.
    pub session_name: Option<String>,
    /// `aws_external_id`.
    pub external_id: Option<String>,
    /// `aws_session_tags`.
    pub session_tags: Vec<(String, String)>,
    /// `aws_web_identity_token`: the token, or a file path, or `os.environ/NAME` already resolved.
    pub web_identity_token: Option<Secret>,
    /// `aws_sts_endpoint`.
    pub sts_endpoint: Option<url::Url>,
    /// `api_key`, else `AWS_BEARER_TOKEN_BEDROCK`: a Bedrock API key, sent as bearer where the service takes it.
    pub bearer_token: Option<Secret>,
}

/// How requests find a deployment.
#[derive(Clone, Debug)]
pub struct RoutingConfig {
    /// Further deployments tried after the first.
    pub num_retries: u32,
    /// Failures within a minute before a deployment cools down.
    pub allowed_fails: u32,
    /// How long it cools down.
    pub cooldown_time: Duration,
    /// No cooling down at all.
    pub disable_cooldowns: bool,
    /// For the response's head, unless the deployment says otherwise.
    pub timeout: Duration,
    /// Longest silence inside a response body.
    pub stream_timeout: Duration,
    /// Model name → names tried after it.
    pub fallbacks: HashMap<String, Vec<String>>,
    /// Tried after any name that has no fallbacks of its own.
    pub default_fallbacks: Vec<String>,
    /// Alias → model name.
    pub model_group_alias: HashMap<String, String>,
    /// Whether ids that no entry names pass with the default region and credentials.
    pub allow_unlisted_models: bool,
}

/// Regions, endpoints, trust and the default credentials.
#[derive(Clone, Debug)]
pub struct AwsConfig {
    /// `AWS_REGION_NAME` > `AWS_REGION` > `AWS_DEFAULT_REGION` > `us-west-2`.
    pub default_region: Region,
    /// `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<url::Url>,
    /// `AWS_ENDPOINT_URL_<SERVICE>` (and `AWS_BEDROCK_RUNTIME_ENDPOINT`).
    pub endpoint_urls: HashMap<Service, url::Url>,
    /// `AWS_ENDPOINT_URL_STS`.
    pub sts_endpoint_url: Option<url::Url>,
    /// `AWS_USE_FIPS_ENDPOINT`.
    pub use_fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    pub use_dualstack: bool,
    /// `AWS_CA_BUNDLE`: trusted instead of the system's store.
    pub ca_bundle: Option<PathBuf>,
    /// The identity of requests that no deployment names.
    pub default_identity: IdentityConfig,
    /// Connections to one host at the most, per worker.
    pub max_connections: usize,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// How long an idle connection to AWS is kept.
    pub keep_alive: Duration,
}

/// Bounds on what is held in memory and on disk.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Largest request body in bytes (`max_request_size_mb`).
    pub max_body_bytes: usize,
    /// Request bytes held by all requests together.
    pub max_buffered_bytes: usize,
    /// Response bytes inspected for usage per response; beyond it the event says `usage unknown`.
    pub max_inspected_bytes: usize,
    /// Journal bytes on disk; beyond it new work is refused.
    pub max_journal_bytes: u64,
    /// How long a response is read on after its client left, to see its usage; zero: not at all.
    pub drain_timeout: Duration,
    /// How many bytes of it.
    pub drain_bytes: u64,
    /// Time for a client to send its request body.
    pub body_timeout: Duration,
}
