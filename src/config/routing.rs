//! `router_settings`, the like-named parts of `litellm_settings`, and `bedgate_settings.routing`: how requests
//! find a deployment.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::section::{Context, Section};
use super::setting::{Setting, Timeout};
use super::tree::{Node, NodeValue};

/// How requests find a deployment: `router_settings`, else the setting of the same name in `litellm_settings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingConfig {
    /// `num_retries`. Further deployments tried after the first. Too high, and a client waits long for an
    /// error; 0: only the first.
    pub num_retries: u32,
    /// `allowed_fails`. Failures within a minute before a deployment cools down.
    pub allowed_fails: u32,
    /// `cooldown_time`. How long it cools down.
    pub cooldown_time: Duration,
    /// `disable_cooldowns`. No cooling down at all.
    pub disable_cooldowns: bool,
    /// `timeout`, else `general_settings.pass_through_request_timeout`, else `litellm_settings.request_timeout`.
    /// For the response's head, unless the deployment says otherwise.
    pub timeout: Duration,
    /// `stream_timeout`. Longest silence inside a response body.
    pub stream_timeout: Duration,
    /// `fallbacks`. Model name → names tried after it.
    pub fallbacks: HashMap<String, Vec<String>>,
    /// `default_fallbacks`. Tried after any name that has no fallbacks of its own.
    pub default_fallbacks: Vec<String>,
    /// `model_group_alias`. Alias → model name.
    pub model_group_alias: HashMap<String, String>,
    /// Aliases that lists of models leave out (`hidden: true`).
    pub hidden_aliases: BTreeSet<String>,
    /// `bedgate_settings.routing.allow_unlisted_models`. Whether ids that no entry names pass with the default
    /// region and credentials.
    pub allow_unlisted_models: bool,
    /// `bedgate_settings.routing.region_from_signature`. Whether calls that no entry serves and no ARN places go to the
    /// region that the client signed for, instead of the default one.
    pub region_from_signature: bool,
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            num_retries: 2,
            allowed_fails: 3,
            cooldown_time: Duration::from_secs(5),
            disable_cooldowns: false,
            timeout: Duration::from_secs(600),
            stream_timeout: Duration::from_secs(300),
            fallbacks: HashMap::new(),
            default_fallbacks: Vec::new(),
            model_group_alias: HashMap::new(),
            hidden_aliases: BTreeSet::new(),
            allow_unlisted_models: true,
            region_from_signature: false,
        }
    }
}

/// Further deployments tried after the first, at the most.
const MAX_RETRIES: u32 = 100;

/// LiteLLM's name for what bedgate does: a weighted pick.
const ONLY_STRATEGY: &str = "simple-shuffle";

/// The setting of the first section, else of the second; both are judged.
fn of_either<T: Setting>(
    first: &mut Section<'_>,
    second: &mut Section<'_>,
    key: &'static str,
    ctx: &mut Context,
) -> Option<T> {
    let (first, second) = (first.get(key, ctx), second.get(key, ctx));
    first.or(second)
}

impl RoutingConfig {
    /// `pass_through_timeout` is that of `general_settings`.
    pub(super) fn read<'t>(
        mut router: Section<'t>,
        mut litellm: Section<'t>,
        mut own: Section<'t>,
        pass_through_timeout: Option<Duration>,
        ctx: &mut Context,
    ) -> Self {
        let default = Self::default();
        let request_timeout = litellm.get::<Timeout>("request_timeout", ctx).map(|timeout| timeout.0);
        let timeout = router.get::<Timeout>("timeout", ctx).map(|timeout| timeout.0);
        let stream_timeout = router.get::<Timeout>("stream_timeout", ctx).map(|timeout| timeout.0);
        let mut routing = Self {
            num_retries: of_either(&mut router, &mut litellm, "num_retries", ctx)
                .unwrap_or(default.num_retries),
            allowed_fails: of_either(&mut router, &mut litellm, "allowed_fails", ctx)
                .unwrap_or(default.allowed_fails),
            cooldown_time: of_either(&mut router, &mut litellm, "cooldown_time", ctx)
                .unwrap_or(default.cooldown_time),
            disable_cooldowns: router.get("disable_cooldowns", ctx).unwrap_or(default.disable_cooldowns),
            timeout: timeout.or(pass_through_timeout).or(request_timeout).unwrap_or(default.timeout),
            stream_timeout: stream_timeout.unwrap_or(default.stream_timeout),
            allow_unlisted_models: own
                .get("allow_unlisted_models", ctx)
                .unwrap_or(default.allow_unlisted_models),
            region_from_signature: own
                .get("region_from_signature", ctx)
                .unwrap_or(default.region_from_signature),
            ..default
        };
        if routing.num_retries > MAX_RETRIES {
            ctx.fault(&router.place.key("num_retries"), format!("expected at most {MAX_RETRIES}"));
        }
        routing.read_names(&mut router, ctx);
        routing.read_names(&mut litellm, ctx);
        if let Some(names) = routing.fallbacks.remove("*").filter(|_| routing.default_fallbacks.is_empty()) {
            routing.default_fallbacks = names;
        }
        router.take_where(|key, node| key == "routing_strategy" && node.to_json() == ONLY_STRATEGY);
        router.ignore_rest(ctx, |_| true);
        litellm.ignore_rest(ctx, |_| true);
        own.refuse_rest(ctx);
        routing
    }

    /// Fallbacks and aliases; what an earlier section said stays.
    fn read_names(&mut self, section: &mut Section<'_>, ctx: &mut Context) {
        let names = section.take("default_fallbacks", ctx);
        let names = ctx.texts(names);
        if self.default_fallbacks.is_empty() {
            self.default_fallbacks = names;
        }
        let fallbacks = section.take("fallbacks", ctx);
        self.read_fallbacks(fallbacks, ctx);
        let aliases = section.take("model_group_alias", ctx);
        self.read_aliases(aliases, ctx);
    }

    /// `[{name: [other, …]}, …]`; of two entries for one name the first counts.
    fn read_fallbacks(&mut self, node: Option<&Node>, ctx: &mut Context) {
        for element in ctx.elements(node) {
            let NodeValue::Map(map) = &element.value else {
                ctx.fault(&element.place, "expected a map from a model name to a list of model names");
                continue;
            };
            for (name, names) in map {
                let names = ctx.texts(Some(names));
                self.fallbacks.entry(name.clone()).or_insert(names);
            }
        }
    }

    /// `{alias: name}` or `{alias: {model: name, hidden: true}}`.
    fn read_aliases(&mut self, node: Option<&Node>, ctx: &mut Context) {
        let Some(node) = node else { return };
        let map = match &node.value {
            NodeValue::Map(map) => map,
            NodeValue::Null => return,
            _ => return ctx.fault(&node.place, "expected a map from aliases to model names"),
        };
        for (alias, target) in map {
            let mut is_hidden = false;
            let name: Option<String> = if matches!(target.value, NodeValue::Map(_)) {
                let mut detail = Section::open(Some(target), target.place.clone(), "model_group_alias", ctx);
                is_hidden = detail.get("hidden", ctx).unwrap_or_default();
                let name = detail.get("model", ctx);
                detail.ignore_rest(ctx, |_| false);
                name
            } else {
                ctx.read(target)
            };
            let Some(name) = name else {
                ctx.fault(&target.place, "names no model; write the model name or {model: name}");
                continue;
            };
            if is_hidden {
                self.hidden_aliases.insert(alias.clone());
            }
            self.model_group_alias.entry(alias.clone()).or_insert(name);
        }
    }
}
