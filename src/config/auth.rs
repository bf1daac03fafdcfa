//! `bedgate_settings.auth`: which AWS signatures of clients are accepted, and what encrypts their secrets.

use super::fault::Place;
use super::section::{Context, Section};
use crate::domain::Secret;

/// How clients that sign prove who they are: `bedgate_settings.auth`, and `BEDGATE_SECRET_KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// `BEDGATE_SECRET_KEY`, else `LITELLM_SALT_KEY`: encrypts the secrets of AWS credential pairs in the database.
    /// Not set: no pairs can be made. Without it, pairs that were made are lost.
    pub secret_key: Option<Secret>,
    /// `BEDGATE_OLD_SECRET_KEY`: what `secret_key` was before. Pairs encrypted under it are read, and encrypted anew under
    /// `secret_key` when the gateway starts.
    pub old_secret_key: Option<Secret>,
    /// `allow_unsigned_payload`. Whether a signature need not cover the body (`UNSIGNED-PAYLOAD`); then whoever is
    /// between client and gateway can change it unseen.
    pub allow_unsigned_payload: bool,
    /// `allow_key_as_access_key_id`. Whether a virtual key may stand in place of the access key id, as in LiteLLM; the
    /// signature is not checked then, the key alone counts.
    pub allow_key_as_access_key_id: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            secret_key: None,
            old_secret_key: None,
            allow_unsigned_payload: false,
            allow_key_as_access_key_id: true,
        }
    }
}

/// Variables that hold the key for secrets, bedgate's own first.
const SECRET_KEY_VARIABLES: [&str; 2] = ["BEDGATE_SECRET_KEY", "LITELLM_SALT_KEY"];
/// The variable that holds what it was before.
const OLD_SECRET_KEY_VARIABLE: &str = "BEDGATE_OLD_SECRET_KEY";
/// Shortest `BEDGATE_SECRET_KEY`, in bytes: it must not be guessable by who reads the database. LiteLLM's variable is
/// taken as it is.
const MIN_SECRET_KEY: usize = 16;

impl AuthConfig {
    pub(super) fn read(mut section: Section<'_>, ctx: &mut Context) -> Self {
        let default = Self::default();
        let [own, of_litellm] = SECRET_KEY_VARIABLES;
        let own_key = ctx.variable::<Secret>(own);
        if own_key.as_ref().is_some_and(|key| key.expose().len() < MIN_SECRET_KEY) {
            let problem =
                format!("is too short to encrypt with; expected {MIN_SECRET_KEY} random characters or more");
            ctx.fault(&Place::variable(own), problem);
        }
        let config = Self {
            secret_key: own_key.or_else(|| ctx.variable(of_litellm)),
            old_secret_key: ctx.variable(OLD_SECRET_KEY_VARIABLE),
            allow_unsigned_payload: section
                .get("allow_unsigned_payload", ctx)
                .unwrap_or(default.allow_unsigned_payload),
            allow_key_as_access_key_id: section
                .get("allow_key_as_access_key_id", ctx)
                .unwrap_or(default.allow_key_as_access_key_id),
        };
        if config.old_secret_key.is_some() && config.secret_key.is_none() {
            let problem = format!("is what {own} was before, and there is none now; set {own}");
            ctx.fault(&Place::variable(OLD_SECRET_KEY_VARIABLE), problem);
        }
        section.refuse_rest(ctx);
        config
    }
}
