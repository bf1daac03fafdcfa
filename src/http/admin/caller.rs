//! Who makes an admin call: the master key may do everything, a virtual key may look at itself.

use actix_web::HttpRequest;

use super::AdminState;
use super::error::AdminError;
use super::query::Query;
use crate::auth::Caller;
use crate::domain::{KeyHash, UnixMicros, mask_keys};
use crate::event::Payer;
use crate::store::KeyRecord;
use crate::store::keys::Change;

/// Somebody whose key was checked.
pub(super) enum AdminCaller {
    /// The holder of the master key.
    Master,
    /// The holder of a virtual key.
    Key(std::sync::Arc<KeyRecord>),
}

impl AdminCaller {
    /// Who sent this request.
    pub(super) fn of(state: &AdminState, req: &HttpRequest) -> Result<Self, AdminError> {
        match state.authenticator.authenticate(req.headers(), UnixMicros::now())? {
            Caller::Master => Ok(Self::Master),
            Caller::Key(key) => Ok(Self::Key(key)),
            Caller::Anonymous => Err(AdminError::NoMasterKey),
        }
    }

    /// The change the master key's holder is about to make now; nobody else may make any.
    pub(super) fn master(state: &AdminState, req: &HttpRequest) -> Result<Change, AdminError> {
        match Self::of(state, req)? {
            Self::Master => Ok(Change { actor: Payer::MASTER.to_owned(), at: UnixMicros::now() }),
            Self::Key(_) => Err(AdminError::Forbidden(format!(
                "only the master key may call {}; a virtual key may read /key/info and /spend/logs about itself",
                mask_keys(req.path())
            ))),
        }
    }

    /// Which key this caller may look at, of the one it asks for (`None`: its own).
    pub(super) fn may_see(&self, asked: Option<KeyHash>) -> Result<Option<KeyHash>, AdminError> {
        match self {
            Self::Master => Ok(asked),
            Self::Key(own) if asked.is_none_or(|asked| asked == own.hash) => Ok(Some(own.hash)),
            Self::Key(_) => Err(AdminError::Forbidden("a virtual key may only look at itself".to_owned())),
        }
    }
}

/// The key that `?key=` names, as it was named, and its hash; without one, the caller's own.
pub(super) fn key_asked_for(
    caller: &AdminCaller,
    req: &HttpRequest,
) -> Result<(Option<String>, KeyHash), AdminError> {
    let mut query = Query::parse(req.query_string());
    let asked = query.text("key");
    query.finish()?;
    let hash = caller
        .may_see(asked.as_deref().map(hash_of))?
        .ok_or_else(|| AdminError::bad("the master key is not a virtual key: name one with ?key=", "key"))?;
    Ok((asked, hash))
}

/// The hash of a key that is named by itself or by its hash.
pub(super) fn hash_of(key_or_hash: &str) -> KeyHash {
    KeyHash::from_hex(key_or_hash).unwrap_or_else(|| KeyHash::of(key_or_hash))
}
