//! `bedgate_settings.aws` and the `AWS_*` variables: regions, endpoints, trust and the default credentials.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::fault::Place;
use super::identity::IdentityConfig;
use super::section::{Context, Section};
use super::setting::{Positive, Timeout};
use crate::domain::{Region, Service};

/// Regions, endpoints, trust and the default credentials: `bedgate_settings.aws` and the variables the AWS
/// SDKs read. Where both speak, the variable counts.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsConfig {
    /// `AWS_REGION_NAME` > `AWS_REGION` > `AWS_DEFAULT_REGION` > `us-west-2`.
    pub default_region: Region,
    /// `further_regions`. Regions that ARNs in requests may name beside those that bedgate knows and those of `model_list`:
    /// for regions that AWS opened later. They must be of the default region's partition.
    pub further_regions: Vec<Region>,
    /// `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<Url>,
    /// `AWS_ENDPOINT_URL_<SERVICE>` (and `AWS_BEDROCK_RUNTIME_ENDPOINT`).
    pub endpoint_urls: HashMap<Service, Url>,
    /// `AWS_ENDPOINT_URL_STS`.
    pub sts_endpoint_url: Option<Url>,
    /// `use_fips`, `AWS_USE_FIPS_ENDPOINT`.
    pub use_fips: bool,
    /// `use_dualstack`, `AWS_USE_DUALSTACK_ENDPOINT`.
    pub use_dualstack: bool,
    /// `AWS_CA_BUNDLE`, else `SSL_CERT_FILE`: trusted instead of the system's store.
    pub ca_bundle: Option<PathBuf>,
    /// The identity of requests that no deployment names. Mostly empty: the rest is for the credential chain
    /// of the AWS SDKs to find.
    pub default_identity: IdentityConfig,
    /// `max_connections`. Connections to one host at the most, per worker; further requests wait. Each stream
    /// takes one.
    pub max_connections: usize,
    /// `connect_timeout`. For TCP and TLS together; after it the next deployment is tried.
    pub connect_timeout: Duration,
    /// `keep_alive`. How long an idle connection to AWS is kept. AWS closes them on its own after a while: too
    /// high, and more requests meet a closing connection.
    pub keep_alive: Duration,
}

/// The region when nothing names one, as in LiteLLM.
const DEFAULT_REGION: &str = "us-west-2";

impl Default for AwsConfig {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant; a test makes this call")]
        let default_region = DEFAULT_REGION.parse().expect("the default region is a region");
        Self {
            default_region,
            further_regions: Vec::new(),
            endpoint_url: None,
            endpoint_urls: HashMap::new(),
            sts_endpoint_url: None,
            use_fips: false,
            use_dualstack: false,
            ca_bundle: None,
            default_identity: IdentityConfig::default(),
            max_connections: 4096,
            connect_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(20),
        }
    }
}

impl AwsConfig {
    pub(super) fn read(mut section: Section<'_>, ctx: &mut Context) -> Self {
        let default = Self::default();
        let further_regions = section.take("further_regions", ctx);
        let further_regions =
            ctx.elements(further_regions).into_iter().filter_map(|node| ctx.read(node)).collect();
        let use_fips = section.get("use_fips", ctx);
        let use_dualstack = section.get("use_dualstack", ctx);
        let max_connections = section.get::<Positive>("max_connections", ctx);
        let connect_timeout = section.get::<Timeout>("connect_timeout", ctx);
        let keep_alive = section.get("keep_alive", ctx);
        section.refuse_rest(ctx);
        let region = ["AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find(|name| ctx.environment.filled(name).is_some())
            .and_then(|name| ctx.variable(name));
        Self {
            default_region: region.unwrap_or(default.default_region),
            further_regions,
            endpoint_url: ctx.variable("AWS_ENDPOINT_URL"),
            endpoint_urls: endpoint_urls(ctx),
            sts_endpoint_url: ctx.variable("AWS_ENDPOINT_URL_STS"),
            use_fips: ctx.variable("AWS_USE_FIPS_ENDPOINT").or(use_fips).unwrap_or(default.use_fips),
            use_dualstack: ctx
                .variable("AWS_USE_DUALSTACK_ENDPOINT")
                .or(use_dualstack)
                .unwrap_or(default.use_dualstack),
            ca_bundle: ctx.variable("AWS_CA_BUNDLE").or_else(|| ctx.variable("SSL_CERT_FILE")),
            default_identity: IdentityConfig::of_environment(ctx),
            max_connections: max_connections.map_or(default.max_connections, |number| number.0),
            connect_timeout: connect_timeout.map_or(default.connect_timeout, |timeout| timeout.0),
            keep_alive: keep_alive.unwrap_or(default.keep_alive),
        }
    }
}

/// `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` and its like, and LiteLLM's name for that one.
fn endpoint_urls(ctx: &mut Context) -> HashMap<Service, Url> {
    let mut urls: HashMap<Service, Url> = HashMap::new();
    for service in Service::ALL {
        let name = service.host_prefix().to_uppercase().replace('-', "_");
        if let Some(url) = ctx.variable(&format!("AWS_ENDPOINT_URL_{name}")) {
            urls.insert(service, url);
        }
    }
    if let Some(url) = ctx.variable::<Url>("AWS_BEDROCK_RUNTIME_ENDPOINT") {
        let of_sdk = urls.entry(Service::BedrockRuntime).or_insert_with(|| url.clone());
        if *of_sdk != url {
            let problem = "says something else than AWS_ENDPOINT_URL_BEDROCK_RUNTIME; unset one of the two";
            ctx.fault(&Place::variable("AWS_BEDROCK_RUNTIME_ENDPOINT"), problem);
        }
    }
    urls
}
