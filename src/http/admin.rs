//! The administration of keys and the look at spend, with LiteLLM's paths and fields.
//!
//! | path | |
//! |---|---|
//! | `POST /key/generate`, `/key/update`, `/key/delete`, `/key/block`, `/key/unblock` | master key |
//! | `POST /key/regenerate`, `/key/reset_spend` | master key |
//! | `POST /key/aws_credentials`, `/key/aws_credentials/delete` | master key |
//! | `/team/…`, `/customer/…` (also `/end_user/…`), `/budget/…`: `new`, `info`, `list`, `update`, `delete` | master key |
//! | `GET /key/list`, `/spend/unpriced`, `/spend/keys`, `/spend/users`, `/spend/tags` | master key |
//! | `GET /global/spend`, `/global/spend/keys`, `/global/spend/models`, `/global/spend/teams`, `/global/spend/logs` | master key |
//! | `GET /key/info`, `/key/aws_credentials`, `/spend/logs` | master key, or a virtual key about itself |
//!
//! A change is in force on this instance when the call returns, on others within a second
//! ([`follow_keys`](crate::store::follow_keys)). What LiteLLM has and bedgate has not is refused by [`not_served`].

mod caller;
mod credentials;
mod duration;
mod error;
mod fields;
mod generate;
mod holders;
mod key_policy;
mod keys;
mod limits;
mod listing;
pub mod not_served;
mod query;
mod regenerate;
mod show;
mod spend;
mod spent;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Bytes, ServiceConfig};

pub(super) use self::error::AdminError;
pub(super) use self::query::Query;
use super::get_or_head;
use crate::auth::{Authenticator, KeyDirectory};
use crate::config::KeyPolicy;
use crate::limits::LimitTable;
use crate::store::Store;

/// Largest body of an admin call, in bytes.
const MAX_BODY: usize = 1_048_576;
/// How long a client may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What admin calls work on. Put it into the application as `web::Data`.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// Where keys and spend are kept.
    pub store: Store,
    /// The keys in force on this instance.
    pub keys: Arc<KeyDirectory>,
    /// The limits in force on this instance.
    pub limits: Arc<LimitTable>,
    /// What keys get that is not asked for, and the most they may be given.
    pub key_policy: Arc<KeyPolicy>,
    /// Who may call.
    pub authenticator: Arc<Authenticator>,
}

/// Adds the paths to an application that has an [`AdminState`].
pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/key/generate", web::post().to(generate::generate))
        .route("/key/info", get_or_head().to(keys::info))
        .route("/key/list", get_or_head().to(keys::list))
        .route("/key/update", web::post().to(keys::update))
        .route("/key/delete", web::post().to(keys::delete))
        .route("/key/block", web::post().to(keys::block))
        .route("/key/unblock", web::post().to(keys::unblock))
        .route("/key/aws_credentials", web::post().to(credentials::create))
        .route("/key/aws_credentials", get_or_head().to(credentials::list))
        .route("/key/aws_credentials/delete", web::post().to(credentials::delete))
        .route("/key/regenerate", web::post().to(regenerate::regenerate))
        .route("/key/{key}/regenerate", web::post().to(regenerate::regenerate))
        .route("/key/reset_spend", web::post().to(regenerate::reset_spend))
        .route("/key/{key}/reset_spend", web::post().to(regenerate::reset_spend))
        .configure(holders::configure)
        .configure(spend::configure);
}

/// The body of a call, within its limits of size and time.
async fn read_body(payload: web::Payload) -> Result<Bytes, AdminError> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, payload.to_bytes_limited(MAX_BODY));
    let unreadable = |what: &str| AdminError::bad(what, "request_body");
    match reading.await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) => Err(unreadable("the request body broke off")),
        Ok(Err(_)) => Err(AdminError::TooLarge(MAX_BODY)),
        Err(_) => Err(unreadable("the request body did not arrive in time")),
    }
}
