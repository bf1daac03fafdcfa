//! Where credentials come from: the configured keys, a profile, a role, a web identity token, or the default
//! chain of the AWS SDKs (environment, profile, SSO, IRSA, ECS, IMDS).

use aws_config::BehaviorVersion;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::config::IdentityConfig;
use crate::domain::{Region, Secret};

/// How the description of a failed fetch begins.
pub(super) const NO_CREDENTIALS: &str = "the gateway has no AWS credentials to sign this request with";

/// What all providers share.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    http: SharedHttpClient,
    region: aws_config::Region,
    sts_endpoint: Option<url::Url>,
}

impl ProviderSettings {
    /// `ca_bundle` (PEM) is trusted instead of the system's store; `sts_endpoint` stands in for AWS's STS.
    #[must_use]
    pub fn new(region: &Region, ca_bundle: Option<Vec<u8>>, sts_endpoint: Option<url::Url>) -> Self {
        let trust = match ca_bundle {
            Some(pem) => tls::TrustStore::empty().with_native_roots(false).with_pem_certificate(pem),
            None => tls::TrustStore::empty().with_native_roots(true),
        };
        let crypto = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let builder = aws_smithy_http_client::Builder::new().tls_provider(crypto);
        let http = match tls::TlsContext::builder().with_trust_store(trust).build() {
            Ok(context) => builder.tls_context(context).build_https(),
            Err(_) => builder.build_https(),
        };
        Self { http, region: aws_config::Region::new(region.as_str().to_owned()), sts_endpoint }
    }

    fn provider_config(&self) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_region(Some(self.region.clone()))
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_http_client(self.http.clone())
    }
}

/// Where one identity's credentials come from.
#[derive(Debug)]
pub struct Provider {
    identity: IdentityConfig,
    settings: ProviderSettings,
    base: Option<SharedCredentialsProvider>,
}

impl Provider {
    /// The provider of an identity.
    pub async fn new(identity: IdentityConfig, settings: ProviderSettings) -> Self {
        let base = base(&identity, &settings).await;
        Self { identity, settings, base }
    }

    /// The Bedrock API key of the identity.
    #[must_use]
    pub fn bearer(&self) -> Option<Secret> {
        self.identity.bearer_token.clone()
    }

    /// Fetches a key pair.
    ///
    /// # Errors
    /// What was tried and why it failed; no secret is in it.
    pub async fn fetch(&self) -> Result<Credentials, String> {
        let fetched = match (&self.identity.role_arn, &self.identity.web_identity_token) {
            (Some(role), Some(token)) => self.assume_with_token(role, token).await,
            (Some(role), None) => self.assume(role).await,
            (None, _) => match &self.base {
                Some(base) => base.provide_credentials().await.map_err(|error| whole_text(&error)),
                None => Err("no key pair is configured".to_owned()),
            },
        };
        fetched.map_err(|reason| self.describe(&reason))
    }

    /// An error that says where credentials were looked for.
    pub(super) fn describe(&self, reason: &str) -> String {
        let looked_in = match &self.identity {
            IdentityConfig { role_arn: Some(role), .. } => format!("by assuming the role {role}"),
            IdentityConfig { access_key_id: Some(_), .. } => "in the configured aws_access_key_id".to_owned(),
            IdentityConfig { profile_name: Some(profile), .. } => format!("in the profile {profile:?}"),
            _ => "in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), the shared profile, SSO, \
                  a web identity token, the container's and the instance's metadata"
                .to_owned(),
        };
        format!("{NO_CREDENTIALS}; it looked {looked_in}: {reason}")
    }

    async fn assume(&self, role: &str) -> Result<Credentials, String> {
        let mut call = self.sts().assume_role().role_arn(role).role_session_name(self.session_name());
        if let Some(id) = &self.identity.external_id {
            call = call.external_id(id);
        }
        for (key, value) in &self.identity.session_tags {
            let tag = aws_sdk_sts::types::Tag::builder().key(key).value(value).build();
            call = call.tags(tag.map_err(|error| error.to_string())?);
        }
        let answer = call.send().await.map_err(|error| whole_text(&error))?;
        from_sts(answer.credentials())
    }

    async fn assume_with_token(&self, role: &str, token: &Secret) -> Result<Credentials, String> {
        // The setting holds a token, or the path of a file that holds one and is renewed from outside.
        let from_file = tokio::fs::read_to_string(token.expose()).await.ok();
        let token = from_file.as_deref().map_or(token.expose(), str::trim);
        let call = self.sts().assume_role_with_web_identity().role_arn(role).web_identity_token(token);
        let answer =
            call.role_session_name(self.session_name()).send().await.map_err(|error| whole_text(&error))?;
        from_sts(answer.credentials())
    }

    fn session_name(&self) -> String {
        self.identity.session_name.clone().unwrap_or_else(|| "bedgate".to_owned())
    }

    fn sts(&self) -> aws_sdk_sts::Client {
        let endpoint = self.identity.sts_endpoint.as_ref().or(self.settings.sts_endpoint.as_ref());
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.settings.region.clone())
            .http_client(self.settings.http.clone());
        config.set_credentials_provider(self.base.clone());
        config.set_endpoint_url(endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned()));
        aws_sdk_sts::Client::from_conf(config.build())
    }
}

/// What a key pair comes from before any role: configured keys > a profile > the default chain.
async fn base(identity: &IdentityConfig, settings: &ProviderSettings) -> Option<SharedCredentialsProvider> {
    let IdentityConfig { access_key_id, secret_access_key, session_token, profile_name, .. } = identity;
    if let (Some(id), Some(secret)) = (access_key_id, secret_access_key) {
        let token = session_token.as_ref().map(|token| token.expose().to_owned());
        let pair = Credentials::new(id, secret.expose(), token, None, "configuration");
        return Some(SharedCredentialsProvider::new(pair));
    }
    let config = settings.provider_config();
    if let Some(profile) = profile_name {
        let provider =
            ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile).build();
        return Some(SharedCredentialsProvider::new(provider));
    }
    Some(SharedCredentialsProvider::new(DefaultCredentialsChain::builder().configure(config).build().await))
}

fn from_sts(answer: Option<&aws_sdk_sts::types::Credentials>) -> Result<Credentials, String> {
    let pair = answer.ok_or("STS answered without credentials")?;
    let expiry = std::time::SystemTime::try_from(*pair.expiration()).ok();
    let token = Some(pair.session_token().to_owned());
    Ok(Credentials::new(pair.access_key_id(), pair.secret_access_key(), token, expiry, "AssumeRole"))
}

/// An error and its causes, in one line.
/// In one line: it goes into the log.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
