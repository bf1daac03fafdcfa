//! The `aws_*` parameters of an entry and their `AWS_*` variables → whose credentials sign.

use url::Url;

use super::fault::Place;
use super::section::{Context, Section};
use super::tree::{Node, NodeValue};
use crate::domain::Secret;

/// Whose credentials sign: equal identities share one set of credentials. Where several kinds are set, sign with
/// the first of: bearer token, role (by web identity, else from the other credentials), static keys, profile,
/// the AWS SDKs' chain.
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
    pub sts_endpoint: Option<Url>,
    /// `api_key`, else `AWS_BEARER_TOKEN_BEDROCK`: a Bedrock API key, sent as bearer where the service takes it.
    pub bearer_token: Option<Secret>,
}

/// Session tags at the most.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const MAX_SESSION_TAGS: usize = 50;

impl IdentityConfig {
    /// The identity that the environment alone names. Static keys are left to the AWS SDKs' chain, which reads
    /// them itself.
    pub(super) fn of_environment(ctx: &mut Context) -> Self {
        let mut identity = Self::default();
        identity.fill_from_environment(ctx);
        identity.resolve_web_identity(&Place::variable("AWS_WEB_IDENTITY_TOKEN"), ctx);
        identity
    }

    /// Reads an entry's `aws_*` parameters and `api_key`.
    pub(super) fn read(params: &mut Section<'_>, ctx: &mut Context) -> Self {
        let names_keys = params.holds("aws_access_key_id") && params.holds("aws_secret_access_key");
        let mut identity = Self {
            access_key_id: params.get("aws_access_key_id", ctx),
            secret_access_key: params.get("aws_secret_access_key", ctx),
            session_token: params.get("aws_session_token", ctx),
            profile_name: params.get("aws_profile_name", ctx),
            role_arn: params.get("aws_role_name", ctx),
            session_name: params.get("aws_session_name", ctx),
            external_id: params.get("aws_external_id", ctx),
            session_tags: session_tags(params.take("aws_session_tags", ctx), ctx),
            web_identity_token: params.get("aws_web_identity_token", ctx),
            sts_endpoint: params.get("aws_sts_endpoint", ctx),
            bearer_token: params.get("api_key", ctx),
        };
        if !names_keys {
            identity.complete_static_keys(params, ctx);
        }
        identity.fill_from_environment(ctx);
        identity.resolve_web_identity(&params.place.key("aws_web_identity_token"), ctx);
        let has_token_alone = identity.web_identity_token.is_some() && identity.role_arn.is_none();
        if has_token_alone {
            let problem = "needs the role it is exchanged for; set aws_role_name";
            ctx.fault(&params.place.key("aws_web_identity_token"), problem);
        }
        identity
    }

    /// Half of a pair of static keys takes its other half from the environment; without one it is a fault.
    fn complete_static_keys(&mut self, params: &Section<'_>, ctx: &mut Context) {
        if self.access_key_id.is_some() && self.secret_access_key.is_none() {
            self.secret_access_key = ctx.variable("AWS_SECRET_ACCESS_KEY");
        }
        if self.secret_access_key.is_some() && self.access_key_id.is_none() {
            self.access_key_id = ctx.variable("AWS_ACCESS_KEY_ID");
        }
        let missing = match (&self.access_key_id, &self.secret_access_key) {
            (Some(_), None) => "aws_secret_access_key",
            (None, Some(_)) => "aws_access_key_id",
            _ if self.session_token.is_some() && self.access_key_id.is_none() => "aws_access_key_id",
            _ => return,
        };
        ctx.fault(&params.place.key(missing), "is missing beside the other half of the credentials");
    }

    fn resolve_web_identity(&mut self, place: &Place, ctx: &mut Context) {
        let Some(token) = self.web_identity_token.take() else { return };
        match without_oidc(&token, ctx) {
            Ok(token) => self.web_identity_token = Some(token),
            Err(problem) => ctx.fault(place, problem),
        }
    }

    /// What is not set comes from the environment, as in LiteLLM, but never over what the entry names itself:
    /// a bearer token or a profile of the environment does not replace an entry's own credentials.
    fn fill_from_environment(&mut self, ctx: &mut Context) {
        let has_own_keys = self.access_key_id.is_some();
        let has_own_source = has_own_keys
            || self.profile_name.is_some()
            || self.web_identity_token.is_some()
            || self.bearer_token.is_some();
        if !has_own_source && self.role_arn.is_none() {
            self.bearer_token = ctx.variable("AWS_BEARER_TOKEN_BEDROCK");
        }
        if !has_own_source {
            self.profile_name = ctx.variable("AWS_PROFILE_NAME");
        }
        if self.role_arn.is_none() {
            self.role_arn = ctx.variable("AWS_ROLE_NAME");
        }
        if self.role_arn.is_none() {
            return;
        }
        if !has_own_source {
            self.web_identity_token = ctx.variable("AWS_WEB_IDENTITY_TOKEN");
        }
        self.session_name = self.session_name.take().or_else(|| ctx.variable("AWS_SESSION_NAME"));
        self.external_id = self.external_id.take().or_else(|| ctx.variable("AWS_EXTERNAL_ID"));
        self.sts_endpoint = self.sts_endpoint.take().or_else(|| ctx.variable("AWS_STS_ENDPOINT"));
    }
}

/// LiteLLM's `oidc/env/NAME` and `oidc/file/PATH`; its other kinds ask services that bedgate does not know.
fn without_oidc(token: &Secret, ctx: &Context) -> Result<Secret, String> {
    let Some(kind) = token.expose().strip_prefix("oidc/") else { return Ok(token.clone()) };
    if let Some(path) = kind.strip_prefix("file/") {
        return Ok(Secret::new(path));
    }
    let Some(name) = kind.strip_prefix("env/") else {
        return Err(
            "this kind of oidc/… is not known; use oidc/env/NAME, oidc/file/PATH or a file's path".into()
        );
    };
    let missing = || format!("the environment variable {name} is not set; set it or remove this key");
    ctx.environment.filled(name).map(Secret::new).ok_or_else(missing)
}

/// `[{Key: …, Value: …}]`, as STS takes them, or a map.
fn session_tags(node: Option<&Node>, ctx: &mut Context) -> Vec<(String, String)> {
    let mut tags = Vec::new();
    if let Some(Node { value: NodeValue::Map(map), .. }) = node {
        tags.extend(map.iter().filter_map(|(key, value)| Some((key.clone(), ctx.read(value)?))));
        return tags;
    }
    for element in ctx.elements(node) {
        let mut tag = Section::open(Some(element), element.place.clone(), "session_tag", ctx);
        match (tag.get("Key", ctx), tag.get("Value", ctx)) {
            (Some(key), value) => tags.push((key, value.unwrap_or_default())),
            _ => ctx.fault(&element.place, "expected a tag such as {Key: team, Value: search}"),
        }
        tag.refuse_rest(ctx);
    }
    if let Some(node) = node.filter(|_| tags.len() > MAX_SESSION_TAGS) {
        ctx.fault(&node.place, format!("STS takes at most {MAX_SESSION_TAGS} tags"));
    }
    tags
}
