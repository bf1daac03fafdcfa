//! The model table: names, wildcards and aliases → deployments, each with one region for host and signature.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::balance::{self, Candidate, Health};
use super::regions::{NamedRegion, is_written_like_a_region, region_of_arn};
use super::{Question, Route, RouteError};
use crate::config::{AwsConfig, Config, DeploymentConfig, IdentityConfig, RoutingConfig};
use crate::domain::{FastMap, IdentityId, Region, Service, UnixMicros, known_regions};
use crate::pricing::TierMultiplier;

/// Where a service of a deployment listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// `host:port` to connect to.
    pub authority: String,
    /// The `Host` header: without the port where it is the scheme's own.
    pub host: String,
    /// A path in front of the operation's path; mostly empty.
    pub base_path: String,
}

/// One way to serve a model name.
#[derive(Debug)]
pub struct Deployment {
    /// Its place in the table, which is also the place of its health.
    pub slot: usize,
    /// Shown as `x-litellm-model-id`.
    pub id: String,
    /// The configured name.
    pub model_name: String,
    /// Region of host and signature.
    pub region: Region,
    /// Whose credentials sign.
    pub identity: IdentityId,
    /// For the response's head.
    pub timeout: Duration,
    /// Longest silence inside the response's body.
    pub stream_timeout: Duration,
    /// The id prices are looked up by, where the model id tells no price.
    pub base_model: Option<String>,
    /// Own prices, picodollars a unit.
    pub prices: BTreeMap<String, i64>,
    /// What tiers without a price cost as multiples of the default one.
    pub tier_multipliers: Vec<TierMultiplier>,
    model_id: ModelId,
    endpoints: Vec<Endpoint>,
    order: u32,
    weight: u32,
    health: Health,
}

/// What AWS is told instead of the configured name.
#[derive(Debug)]
enum ModelId {
    Fixed(Arc<str>),
    /// A pattern with one `*`, which stands for what the name's `*` stood for.
    Pattern(String),
    /// What the client wrote.
    AsRequested,
}

impl Deployment {
    /// The endpoint of a service.
    #[must_use]
    pub fn endpoint(&self, service: Service) -> Option<&Endpoint> {
        self.endpoints.get(service as usize)
    }

    /// Its health.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }
}

/// Every deployment, by name. Built once; only health changes afterwards.
#[derive(Debug)]
pub struct RouteTable {
    deployments: Vec<Arc<Deployment>>,
    by_name: FastMap<String, Vec<usize>>,
    wildcards: Vec<(String, Vec<usize>)>,
    /// By the ARN that is their model, for clients that ask by it and not by a name.
    by_arn: FastMap<Arc<str>, Vec<usize>>,
    default: Arc<Deployment>,
    /// The regions that a client's ARN may name, each with the default deployment's like.
    regional: HashMap<Region, Arc<Deployment>>,
    routing: RoutingConfig,
}

impl RouteTable {
    /// Builds the table, and the list of distinct identities that its deployments sign with; the default
    /// identity is [`IdentityId`] 0.
    #[must_use]
    pub fn build(config: &Config) -> (Self, Vec<IdentityConfig>) {
        let mut identities = vec![config.aws.default_identity.clone()];
        let mut deployments = Vec::new();
        let mut by_name: FastMap<String, Vec<usize>> = FastMap::default();
        let mut wildcards: Vec<(String, Vec<usize>)> = Vec::new();
        let mut by_arn: FastMap<Arc<str>, Vec<usize>> = FastMap::default();
        for (slot, entry) in config.deployments.iter().enumerate() {
            let known = identities.iter().position(|identity| *identity == entry.identity);
            let identity = known.unwrap_or_else(|| {
                identities.push(entry.identity.clone());
                identities.len() - 1
            });
            let deployment = configured(entry, slot, IdentityId(identity), config);
            if let ModelId::Fixed(id) = &deployment.model_id
                && id.starts_with("arn:")
            {
                by_arn.entry(Arc::clone(id)).or_default().push(slot);
            }
            deployments.push(Arc::new(deployment));
            if !entry.model_name.contains('*') {
                by_name.entry(entry.model_name.clone()).or_default().push(slot);
            } else if let Some((_, slots)) = wildcards.iter_mut().find(|(name, _)| *name == entry.model_name)
            {
                slots.push(slot);
            } else {
                wildcards.push((entry.model_name.clone(), vec![slot]));
            }
        }
        // The longest pattern says most about the name, so it goes first.
        wildcards.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        let default_region = &config.aws.default_region;
        let slot = deployments.len();
        let regional = regions_for_arns(config).map(|region| {
            let id = if region == default_region { DEFAULT_ID.to_owned() } else { region.to_string() };
            (region.clone(), Arc::new(unlisted(id, region, slot, config)))
        });
        let mut regional: HashMap<Region, Arc<Deployment>> = regional.collect();
        let default = regional
            .entry(default_region.clone())
            .or_insert_with(|| Arc::new(unlisted(DEFAULT_ID.to_owned(), default_region, slot, config)));
        let default = Arc::clone(default);
        let routing = config.routing.clone();
        let table = Self { deployments, by_name, wildcards, by_arn, default, regional, routing };
        (table, identities)
    }

    /// Every configured deployment.
    #[must_use]
    pub fn deployments(&self) -> &[Arc<Deployment>] {
        &self.deployments
    }

    /// Every name a client may use, sorted: configured names and aliases, but for those that are hidden.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let hidden = &self.routing.hidden_aliases;
        let aliases = self.routing.model_group_alias.keys().filter(|alias| !hidden.contains(*alias));
        let mut names: Vec<&str> = self.by_name.keys().chain(aliases).map(String::as_str).collect();
        names.extend(self.wildcards.iter().map(|(pattern, _)| pattern.as_str()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The next deployment for a call.
    ///
    /// # Errors
    /// The model is unknown, or every deployment of it was tried.
    pub fn next(&self, question: &Question) -> Result<Route, RouteError> {
        let Some(name) = question.model.as_deref() else {
            let deployment = self.in_region(question.region.clone())?;
            return self.once(deployment, question).map(|deployment| Route { deployment, model_id: None });
        };
        let group = self.group(name);
        if group.is_empty() {
            return self.unlisted(name, question);
        }
        let mut groups = vec![(name, group)];
        let fallbacks = self.routing.fallbacks.get(name).unwrap_or(&self.routing.default_fallbacks);
        if !question.tried.is_empty() {
            groups.extend(fallbacks.iter().map(|name| (name.as_str(), self.group(name))));
        }
        groups.iter().find_map(|(name, slots)| self.pick(name, slots, question)).ok_or(RouteError::NoneLeft)
    }

    /// Notes a try that failed.
    pub fn failed(&self, deployment: &Deployment, now: UnixMicros) {
        if !self.routing.disable_cooldowns {
            deployment.health.failed(now, self.routing.allowed_fails, self.routing.cooldown_time);
        }
    }

    /// The deployments of a name: through its alias, exactly, or by the longest pattern that matches.
    fn group(&self, name: &str) -> &[usize] {
        let name = self.routing.model_group_alias.get(name).map_or(name, String::as_str);
        if let Some(slots) = self.by_name.get(name) {
            return slots;
        }
        let matching = self.wildcards.iter().find(|(pattern, _)| captured(pattern, name).is_some());
        matching.map_or(&[], |(_, slots)| slots.as_slice())
    }

    fn pick(&self, name: &str, slots: &[usize], question: &Question) -> Option<Route> {
        let tried_here = question.tried.iter().filter(|slot| slots.contains(slot)).count();
        if tried_here > usize::try_from(self.routing.num_retries).unwrap_or(usize::MAX) {
            return None;
        }
        let candidates: Vec<Candidate<'_>> = slots
            .iter()
            .filter_map(|&slot| self.deployments.get(slot))
            .map(|d| Candidate { slot: d.slot, order: d.order, weight: d.weight, health: &d.health })
            .collect();
        let slot = balance::pick(&candidates, &question.tried, question.now, question.random)?;
        self.deployments.get(slot).map(|deployment| route(deployment, name))
    }

    /// What is no name of the configuration. An ARN is one account's, so it goes where the entries that have it are, with
    /// their credentials and at their prices. Any other id goes to the default deployment, or the same in the region of its
    /// ARN or of the request.
    fn unlisted(&self, name: &str, question: &Question) -> Result<Route, RouteError> {
        if !self.routing.allow_unlisted_models {
            return Err(RouteError::UnknownModel(name.to_owned()));
        }
        if let Some(slots) = self.by_arn.get(name) {
            return self.pick(name, slots, question).ok_or(RouteError::NoneLeft);
        }
        let deployment = self.in_region(region_of_arn(name).or_else(|| question.region.clone()))?;
        self.once(deployment, question).map(|deployment| route(&deployment, name))
    }

    fn once(&self, deployment: &Arc<Deployment>, question: &Question) -> Result<Arc<Deployment>, RouteError> {
        if question.tried.is_empty() { Ok(Arc::clone(deployment)) } else { Err(RouteError::NoneLeft) }
    }

    /// The default deployment, or the same in another region: one of those that are known beforehand, since what a
    /// client types is never part of a host name. What an ARN has in the region's place and is none is for AWS to judge,
    /// and a signature's region is only a wish.
    fn in_region(&self, named: Option<NamedRegion>) -> Result<&Arc<Deployment>, RouteError> {
        let Some(NamedRegion { partition, region }) = named else { return Ok(&self.default) };
        let in_its_partition = |known: &Region| match (&partition, known.partition()) {
            (Some(named), Some(of_region)) => of_region.id == *named,
            _ => true,
        };
        let known = region.parse::<Region>().ok().filter(in_its_partition);
        match known.and_then(|region| self.regional.get(&region)) {
            Some(deployment) => Ok(deployment),
            None if partition.is_some() && is_written_like_a_region(&region) => {
                Err(RouteError::ForeignRegion(region.chars().take(MAX_SHOWN_REGION).collect()))
            }
            None => Ok(&self.default),
        }
    }
}

/// How the deployment of calls that no entry names is shown.
const DEFAULT_ID: &str = "default";
/// Of a region that is refused, so many characters are repeated.
const MAX_SHOWN_REGION: usize = 32;

/// The regions that the ARN of a model may name where no entry names the model: of the default region's partition, since
/// the default credentials sign, those that AWS has, and those that the configuration names.
fn regions_for_arns(config: &Config) -> impl Iterator<Item = &Region> {
    let partition = config.aws.default_region.partition();
    let of_entries = config.deployments.iter().filter_map(|entry| entry.region.as_ref());
    let named = of_entries.chain(&config.aws.further_regions);
    known_regions().iter().chain(named).filter(move |region| region.partition() == partition)
}

fn route(deployment: &Arc<Deployment>, name: &str) -> Route {
    let model_id = match &deployment.model_id {
        ModelId::Fixed(id) => Arc::clone(id),
        ModelId::Pattern(pattern) => match captured(&deployment.model_name, name) {
            Some(stood_for) => pattern.replacen('*', stood_for, 1).into(),
            None => name.into(),
        },
        ModelId::AsRequested => name.into(),
    };
    Route { deployment: Arc::clone(deployment), model_id: Some(model_id) }
}

/// What the `*` of a pattern stands for in a name; a `bedrock/` in front of the pattern may be missing in the
/// name, since clients send Bedrock's own ids.
fn captured<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    let fits = |pattern: &str| {
        let (before, after) = pattern.split_once('*')?;
        let middle = name.strip_prefix(before)?.strip_suffix(after)?;
        (!middle.is_empty()).then_some(middle)
    };
    fits(pattern).or_else(|| pattern.strip_prefix("bedrock/").and_then(fits))
}

fn configured(entry: &DeploymentConfig, slot: usize, identity: IdentityId, config: &Config) -> Deployment {
    let region = entry.region.clone().unwrap_or_else(|| config.aws.default_region.clone());
    let model_id = if entry.model_id.contains('*') {
        ModelId::Pattern(entry.model_id.clone())
    } else {
        ModelId::Fixed(entry.model_id.as_str().into())
    };
    Deployment {
        slot,
        id: entry.id.clone(),
        model_name: entry.model_name.clone(),
        endpoints: endpoints(&config.aws, &region, entry.endpoint.as_ref()),
        region,
        identity,
        timeout: entry.timeout.unwrap_or(config.routing.timeout),
        stream_timeout: entry.stream_timeout.unwrap_or(config.routing.stream_timeout),
        base_model: entry.base_model.clone(),
        prices: entry.prices.clone(),
        tier_multipliers: entry.tier_multipliers.clone(),
        model_id,
        order: entry.order,
        weight: entry.weight,
        health: Health::default(),
    }
}

/// What serves calls that no entry names.
fn unlisted(id: String, region: &Region, slot: usize, config: &Config) -> Deployment {
    Deployment {
        slot,
        id,
        model_name: String::new(),
        region: region.clone(),
        identity: IdentityId(0),
        timeout: config.routing.timeout,
        stream_timeout: config.routing.stream_timeout,
        base_model: None,
        prices: BTreeMap::new(),
        tier_multipliers: config.tier_multipliers.clone(),
        model_id: ModelId::AsRequested,
        endpoints: endpoints(&config.aws, region, None),
        order: 0,
        weight: 1,
        health: Health::default(),
    }
}

/// The endpoints of every service, in the order of [`Service::ALL`].
fn endpoints(aws: &AwsConfig, region: &Region, runtime: Option<&url::Url>) -> Vec<Endpoint> {
    Service::ALL.into_iter().map(|service| endpoint(aws, region, service, runtime)).collect()
}

/// A deployment's own endpoint (for bedrock-runtime) > `AWS_ENDPOINT_URL_<SERVICE>` > `AWS_ENDPOINT_URL` > AWS.
/// <https://docs.aws.amazon.com/general/latest/gr/bedrock.html>
fn endpoint(aws: &AwsConfig, region: &Region, service: Service, runtime: Option<&url::Url>) -> Endpoint {
    let own = runtime.filter(|_| service == Service::BedrockRuntime);
    let overridden = own.or_else(|| aws.endpoint_urls.get(&service)).or(aws.endpoint_url.as_ref());
    if let Some(url) = overridden {
        return endpoint_of_url(url);
    }
    let prefix = service.host_prefix();
    let fips = if aws.use_fips { "-fips" } else { "" };
    let is_mantle = service == Service::BedrockMantle;
    let host = match (aws.use_dualstack || is_mantle, region.dns_suffix()) {
        (true, "amazonaws.com") => format!("{prefix}{fips}.{region}.api.aws"),
        (true, "amazonaws.com.cn") => format!("{prefix}{fips}.{region}.api.amazonwebservices.com.cn"),
        (_, suffix) => format!("{prefix}{fips}.{region}.{suffix}"),
    };
    Endpoint { tls: true, authority: format!("{host}:443"), host, base_path: String::new() }
}

fn endpoint_of_url(url: &url::Url) -> Endpoint {
    let tls = url.scheme() == "https";
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
    Endpoint {
        tls,
        authority: format!("{host}:{port}"),
        host: url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")),
        base_path: url.path().trim_end_matches('/').to_owned(),
    }
}
