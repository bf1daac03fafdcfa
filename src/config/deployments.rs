//! `model_list`: every usable entry as a deployment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use sha2::{Digest, Sha256};
use url::Url;

use super::fault::Place;
use super::identity::IdentityConfig;
use super::model::{self, BedrockModel, ModelForm};
use super::multipliers;
use super::price;
use super::section::{Context, Section};
use super::setting::{Picodollars, Share, Timeout};
use super::tree::{Node, NodeValue};
use super::weights::{Shares, whole_weights};
use crate::domain::Region;
use crate::pricing::TierMultiplier;

/// One way to serve a model name.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentConfig {
    /// `model_info.id`, or a hash of the entry; shown as `x-litellm-model-id`. Unique.
    pub id: String,
    /// `model_name`; may hold `*`.
    pub model_name: String,
    /// The id Bedrock knows, decoded: `us.anthropic…`, or an ARN; for a wildcard entry may hold `*`.
    pub model_id: String,
    /// `aws_region_name`, else the ARN's, else the path form's, else `None` for the default region.
    pub region: Option<Region>,
    /// `api_base`, else `aws_bedrock_runtime_endpoint`.
    pub endpoint: Option<Url>,
    /// Whose credentials sign.
    pub identity: IdentityConfig,
    /// Share of the traffic among the deployments of one name: `weight`, else `rpm`, else `tpm`. 0: only where
    /// all others failed.
    pub weight: u32,
    /// Lower is tried first; `UNORDERED` where the entry does not say.
    pub order: u32,
    /// For the response's head.
    pub timeout: Option<Duration>,
    /// Longest silence inside a response body.
    pub stream_timeout: Option<Duration>,
    /// `model_info.base_model`, else the id in `model` where `model_id` replaced it: the id prices are looked up
    /// by.
    pub base_model: Option<String>,
    /// Own prices in LiteLLM's field names, picodollars a unit.
    pub prices: BTreeMap<String, i64>,
    /// `tier_multipliers`, else the general ones: what tiers without a price cost as multiples of the default one.
    pub tier_multipliers: Vec<TierMultiplier>,
    /// `model_info` as written, for `/model/info`.
    pub model_info: serde_json::Value,
}

/// The order of an entry that names none: after those that do.
pub const UNORDERED: u32 = u32::MAX;

/// Deployments at the most.
const MAX_DEPLOYMENTS: usize = 10_000;

/// Reads `model_list`. `credentials` is `credential_list`, which entries may name their parameters from.
pub(super) fn read(
    model_list: Option<&Node>,
    credentials: Option<&Node>,
    multipliers: &[TierMultiplier],
    ctx: &mut Context,
) -> Vec<DeploymentConfig> {
    let entries = match model_list {
        Some(Node { value: NodeValue::List(entries), .. }) => entries.as_slice(),
        None | Some(Node { value: NodeValue::Null, .. }) => &[],
        Some(node) => {
            ctx.fault(&node.place, format!("expected a list of models, found {}", node.kind()));
            &[]
        }
    };
    if let Some(one_too_many) = entries.get(MAX_DEPLOYMENTS) {
        ctx.fault(&one_too_many.place, format!("is more than {MAX_DEPLOYMENTS} models"));
        return Vec::new();
    }
    let credentials = named_credentials(credentials, ctx);
    let mut read: Vec<Entry> =
        entries.iter().filter_map(|node| Entry::read(node, &credentials, ctx)).collect();
    settle_weights(&mut read);
    make_ids_unique(&mut read, ctx);
    let with_general = |mut deployment: DeploymentConfig| {
        deployment.tier_multipliers = multipliers::over(deployment.tier_multipliers, multipliers);
        deployment
    };
    read.into_iter().map(|entry| with_general(entry.deployment)).collect()
}

/// The names of each group that entries say they are of: `model_info.access_groups`.
pub(super) fn access_groups(deployments: &[DeploymentConfig]) -> HashMap<String, Vec<String>> {
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    for deployment in deployments {
        let named = deployment.model_info.get("access_groups").and_then(|groups| groups.as_array());
        for group in named.into_iter().flatten().filter_map(|group| group.as_str()) {
            groups.entry(group.to_owned()).or_default().push(deployment.model_name.clone());
        }
    }
    groups
}

/// A deployment and what is still to be settled among its kind.
struct Entry {
    place: Place,
    deployment: DeploymentConfig,
    shares: Shares,
    has_own_id: bool,
}

type Credentials<'t> = HashMap<String, &'t BTreeMap<String, Node>>;

impl Entry {
    fn read(node: &Node, credentials: &Credentials<'_>, ctx: &mut Context) -> Option<Self> {
        if !matches!(node.value, NodeValue::Map(_)) {
            ctx.fault(&node.place, format!("expected model_name and litellm_params, found {}", node.kind()));
            return None;
        }
        let mut entry = Section::open(Some(node), node.place.clone(), "model_list", ctx);
        let model_name: Option<String> = entry.get("model_name", ctx);
        let mut params = entry.section("litellm_params", ctx);
        let info_node = entry.take("model_info", ctx);
        let mut info = Section::open(info_node, node.place.key("model_info"), "model_list.model_info", ctx);
        entry.ignore_rest(ctx, |_| false);
        let (model, model_of_prices) = served_model(&mut params, model_name.as_deref(), ctx)?;
        let Some(model_name) = model_name else {
            ctx.fault(&node.place.key("model_name"), "is missing; it is the name clients call the model by");
            return None;
        };
        if model.model_id.contains('*') && !model_name.contains('*') {
            let problem = "holds * but model_name does not; write the same wildcard in both";
            ctx.fault(&params.place.key("model"), problem);
        }
        let credential = params.get::<String>("litellm_credential_name", ctx);
        fill_from_credential(&mut params, credential.as_deref(), credentials, ctx);
        let shares = ["weight", "rpm", "tpm"].map(|key| params.get::<Share>(key, ctx).map(|share| share.0));
        let mut deployment = DeploymentConfig::read(model_name, model, &mut params, &mut info, ctx);
        deployment.base_model = deployment.base_model.or(model_of_prices);
        info.note_restrictions(ctx);
        deployment.model_info = info_node.map_or_else(|| serde_json::json!({}), Node::to_json);
        params.ignore_rest(ctx, |meant| meant.starts_with("aws_") || meant == "api_key");
        let has_own_id = !deployment.id.is_empty();
        if !has_own_id {
            deployment.id = hashed_id(&deployment);
        }
        Some(Self { place: node.place.clone(), deployment, shares, has_own_id })
    }
}

impl DeploymentConfig {
    /// What `litellm_params` and `model_info` say of one deployment, apart from others.
    fn read(
        model_name: String,
        model: BedrockModel,
        params: &mut Section<'_>,
        info: &mut Section<'_>,
        ctx: &mut Context,
    ) -> Self {
        let region_node = params.take("aws_region_name", ctx);
        let region: Option<Region> = region_node.and_then(|node| ctx.read(node)).or(model.region);
        let api_base: Option<Url> = params.get("api_base", ctx);
        let runtime_endpoint: Option<Url> = params.get("aws_bedrock_runtime_endpoint", ctx);
        let endpoint = api_base.or(runtime_endpoint);
        if let Some(region) = region.as_ref().filter(|_| endpoint.is_none()) {
            let in_model = || params.place.key("model");
            let place =
                region_node.filter(|node| !node.is_blank()).map_or_else(in_model, |node| node.place.clone());
            ctx.regions.push((place, region.clone()));
        }
        Self {
            id: info.get("id", ctx).unwrap_or_default(),
            model_name,
            model_id: model.model_id,
            region,
            endpoint,
            identity: IdentityConfig::read(params, ctx),
            weight: 1,
            order: params.get("order", ctx).unwrap_or(UNORDERED),
            timeout: params.get::<Timeout>("timeout", ctx).map(|timeout| timeout.0),
            stream_timeout: params.get::<Timeout>("stream_timeout", ctx).map(|timeout| timeout.0),
            base_model: info.get("base_model", ctx).map(without_prefixes),
            prices: own_prices(params, info, ctx),
            tier_multipliers: own_multipliers(params, info, ctx),
            model_info: serde_json::Value::Null,
        }
    }
}

/// The model of `model` and `model_id`, and the id for prices where the two differ; nothing for an entry that
/// is ignored or faulty.
fn served_model(
    params: &mut Section<'_>,
    model_name: Option<&str>,
    ctx: &mut Context,
) -> Option<(BedrockModel, Option<String>)> {
    let provider: Option<String> = params.get("custom_llm_provider", ctx);
    let model_node = params.take("model", ctx);
    let id_node = params.take("model_id", ctx);
    let Some(model_node) = model_node.filter(|node| !node.is_blank()) else {
        ctx.fault(&params.place.key("model"), "is missing; write bedrock/<model id>");
        return None;
    };
    let model: String = ctx.read(model_node)?;
    let form = model::parse(&model, provider.as_deref());
    let of_model = match form {
        Ok(ModelForm::Bedrock(model)) => model,
        Ok(ModelForm::NotServed(reason)) => {
            let name = model_name.map(|name| format!("{name}, ")).unwrap_or_default();
            ctx.ignore(format!("{} ({name}{reason})", model_node.place));
            return None;
        }
        Err(problem) => {
            ctx.fault(&model_node.place, problem);
            return None;
        }
    };
    let Some(id_node) = id_node.filter(|node| !node.is_blank()) else { return Some((of_model, None)) };
    let model_id: String = ctx.read(id_node)?;
    match model::parse(&model_id, Some("bedrock")) {
        Ok(ModelForm::Bedrock(model)) => Some((
            BedrockModel { region: model.region.or(of_model.region), model_id: model.model_id },
            Some(of_model.model_id),
        )),
        Ok(ModelForm::NotServed(problem)) | Err(problem) => {
            ctx.fault(&id_node.place, problem);
            None
        }
    }
}

fn without_prefixes(base_model: String) -> String {
    match model::parse(&base_model, Some("bedrock")) {
        Ok(ModelForm::Bedrock(model)) => model.model_id,
        _ => base_model,
    }
}

/// Whether a field of `litellm_params` or `model_info` is a price for one unit: `input_cost_per_token`,
/// `cache_read_input_token_cost`, `output_cost_per_image`, …
fn is_price(key: &str, node: &Node) -> bool {
    let is_named_so = key.contains("cost_per_") || key.contains("token_cost");
    is_named_so && matches!(node.value, NodeValue::Scalar(_))
}

/// The prices of `model_info` and, before them, of `litellm_params`.
fn own_prices(params: &mut Section<'_>, info: &mut Section<'_>, ctx: &mut Context) -> BTreeMap<String, i64> {
    let of_info = info.take_where(is_price);
    let of_params = params.take_where(is_price);
    let mut prices = BTreeMap::new();
    for (key, node) in of_info.into_iter().chain(of_params) {
        if let Some(Picodollars { amount, rounded_from }) = ctx.read(node) {
            if let Some(written) = rounded_from {
                ctx.rounded.push(format!("{}: {written} counts as {}", node.place, price::shown(amount)));
            }
            prices.insert(key.to_owned(), amount);
        }
    }
    prices
}

/// The multipliers of `litellm_params`, else of `model_info`.
fn own_multipliers(
    params: &mut Section<'_>,
    info: &mut Section<'_>,
    ctx: &mut Context,
) -> Vec<TierMultiplier> {
    let (of_params, of_info) = (params.take("tier_multipliers", ctx), info.take("tier_multipliers", ctx));
    multipliers::read(of_params.or(of_info), ctx)
}

/// `credential_list`: parameters under a name, for several entries to share.
fn named_credentials<'t>(node: Option<&'t Node>, ctx: &mut Context) -> Credentials<'t> {
    let mut named = HashMap::new();
    for element in ctx.elements(node) {
        let mut credential = Section::open(Some(element), element.place.clone(), "credential_list", ctx);
        let name: Option<String> = credential.get("credential_name", ctx);
        let values = credential.take("credential_values", ctx);
        credential.take_where(|key, _| key == "credential_info");
        credential.ignore_rest(ctx, |_| true);
        if let (Some(name), Some(Node { value: NodeValue::Map(values), .. })) = (name, values) {
            named.insert(name, values);
        }
    }
    named
}

fn fill_from_credential<'t>(
    params: &mut Section<'t>,
    name: Option<&str>,
    credentials: &Credentials<'t>,
    ctx: &mut Context,
) {
    let Some(name) = name else { return };
    match credentials.get(name) {
        Some(values) => params.fill_from(values),
        None => {
            let problem = format!("no entry of credential_list is named {name:?}");
            ctx.fault(&params.place.key("litellm_credential_name"), problem);
        }
    }
}

/// Weights count among the deployments of one name.
fn settle_weights(entries: &mut [Entry]) {
    let mut groups: HashMap<String, Vec<&mut Entry>> = HashMap::new();
    for entry in entries {
        groups.entry(entry.deployment.model_name.clone()).or_default().push(entry);
    }
    for group in groups.into_values() {
        let shares: Vec<Shares> = group.iter().map(|entry| entry.shares).collect();
        for (entry, weight) in group.into_iter().zip(whole_weights(&shares)) {
            entry.deployment.weight = weight;
        }
    }
}

/// A stable id of what the entry stands for, without its secrets.
fn hashed_id(deployment: &DeploymentConfig) -> String {
    let identity = &deployment.identity;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let parts = [
        deployment.model_name.clone(),
        deployment.model_id.clone(),
        deployment.region.as_ref().map(ToString::to_string).unwrap_or_default(),
        deployment.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
        text(&identity.access_key_id),
        text(&identity.profile_name),
        text(&identity.role_arn),
    ];
    hex::encode(Sha256::digest(parts.join("\n")))
}

/// Entries that are alike get ids of their own by their number; two that were given one id are a fault.
fn make_ids_unique(entries: &mut [Entry], ctx: &mut Context) {
    let mut ids: HashSet<String> = HashSet::new();
    for entry in entries.iter().filter(|entry| entry.has_own_id) {
        if !ids.insert(entry.deployment.id.clone()) {
            let problem = "is the id of another entry too; give each its own";
            ctx.fault(&entry.place.key("model_info").key("id"), problem);
        }
    }
    for entry in entries.iter_mut().filter(|entry| !entry.has_own_id) {
        let first = entry.deployment.id.clone();
        let mut number = 1;
        while !ids.insert(entry.deployment.id.clone()) {
            number += 1;
            entry.deployment.id = hex::encode(Sha256::digest(format!("{first}\n{number}")));
        }
    }
}
