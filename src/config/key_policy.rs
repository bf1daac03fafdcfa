//! `litellm_settings.default_key_generate_params` and `upperbound_key_generate_params`: what new keys get that is not asked
//! for, and the most that may be asked for.

use serde_json::{Map, Value, json};

use super::budgets::{BudgetDuration, Dollars};
use super::section::{Context, Section, variable_name};
use super::setting::Setting;
use super::tree::{Node, NodeValue, Scalar};
use crate::domain::NanoUsd;
use crate::domain::period::Period;

/// What `/key/generate` fills in and refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyPolicy {
    /// `default_key_generate_params`: fields of `/key/generate` for requests that leave them out.
    pub defaults: Map<String, Value>,
    /// `upperbound_key_generate_params`.
    pub bounds: KeyBounds,
}

/// The most a key may be given: more is refused, and a new key that asks for nothing gets so much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBounds {
    /// `max_budget`, in dollars.
    pub max_budget: Option<NanoUsd>,
    /// `budget_duration`.
    pub budget_duration: Option<String>,
    /// `max_parallel_requests`.
    pub max_parallel: Option<u64>,
    /// `tpm_limit`.
    pub tpm: Option<u64>,
    /// `rpm_limit`.
    pub rpm: Option<u64>,
    /// `duration`: how long a key may live.
    pub duration: Option<String>,
}

impl KeyPolicy {
    pub(super) fn read(litellm: &mut Section<'_>, ctx: &mut Context) -> Self {
        let mut defaults = litellm.section("default_key_generate_params", ctx);
        let mut bounds = litellm.section("upperbound_key_generate_params", ctx);
        let policy =
            Self { defaults: read_defaults(&mut defaults, ctx), bounds: KeyBounds::read(&mut bounds, ctx) };
        defaults.ignore_rest(ctx, |_| true);
        bounds.ignore_rest(ctx, |_| true);
        policy
    }
}

impl KeyBounds {
    fn read(section: &mut Section<'_>, ctx: &mut Context) -> Self {
        let mut count = |key| section.get::<Count>(key, ctx).map(|count| count.0);
        let (max_parallel, tpm, rpm) =
            (count("max_parallel_requests"), count("tpm_limit"), count("rpm_limit"));
        Self {
            max_budget: section.get::<Dollars>("max_budget", ctx).map(|dollars| dollars.0),
            budget_duration: section.get::<BudgetDuration>("budget_duration", ctx).map(|text| text.0),
            max_parallel,
            tpm,
            rpm,
            duration: section.get::<Lifetime>("duration", ctx).map(|text| text.0),
        }
    }
}

fn read_defaults(section: &mut Section<'_>, ctx: &mut Context) -> Map<String, Value> {
    let mut defaults = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            defaults.insert(name.to_owned(), value);
        }
    };
    put("max_budget", section.get::<Dollars>("max_budget", ctx).map(|dollars| json!(dollars.0.as_usd())));
    for key in ["max_parallel_requests", "tpm_limit", "rpm_limit"] {
        put(key, section.get::<Count>(key, ctx).map(|count| json!(count.0)));
    }
    for key in ["user_id", "team_id"] {
        put(key, section.get::<String>(key, ctx).map(Value::from));
    }
    put("budget_duration", section.get::<BudgetDuration>("budget_duration", ctx).map(|text| json!(text.0)));
    put("duration", section.get::<Lifetime>("duration", ctx).map(|text| json!(text.0)));
    let models = section.take("models", ctx);
    put("models", Some(json!(ctx.texts(models))).filter(|models| *models != json!([])));
    if let Some(node) = section.take("metadata", ctx).filter(|node| !node.is_blank()) {
        match &node.value {
            NodeValue::Map(_) => put("metadata", Some(resolved(node, ctx))),
            _ => ctx.fault(&node.place, format!("expected a map, found {}", node.kind())),
        }
    }
    defaults
}

/// A value as JSON, with the variables it names.
fn resolved(node: &Node, ctx: &mut Context) -> Value {
    match &node.value {
        NodeValue::Scalar(scalar) if variable_name(scalar).is_some() => {
            ctx.read::<String>(node).map_or(Value::Null, Value::from)
        }
        NodeValue::List(nodes) => nodes.iter().map(|node| resolved(node, ctx)).collect(),
        NodeValue::Map(map) => map.iter().map(|(key, node)| (key.clone(), resolved(node, ctx))).collect(),
        _ => node.to_json(),
    }
}

/// A whole number from 0.
struct Count(u64);

impl Setting for Count {
    const EXPECTED: &'static str = "a whole number from 0";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let (Scalar::Number(text) | Scalar::Text(text)) = scalar else { return None };
        text.trim().parse().ok().filter(|count| i64::try_from(*count).is_ok()).map(Self)
    }
}

/// How long a key lives.
struct Lifetime(String);

impl Setting for Lifetime {
    const EXPECTED: &'static str = "a duration such as 12h, 7d, 30d or 1mo";

    fn parse(scalar: &Scalar) -> Option<Self> {
        String::parse(scalar).filter(|text| Period::parse(text).is_some()).map(Self)
    }
}
