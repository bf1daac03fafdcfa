//! AWS credential pairs of keys: with one, any AWS SDK signs for a key as it would for AWS. The secret is shown once.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::caller::{AdminCaller, hash_of, key_asked_for};
use super::duration::iso8601;
use super::error::AdminError;
use super::fields::Fields;
use super::{AdminState, read_body};
use crate::auth::{Vault, new_access_key_id, new_secret_access_key};
use crate::domain::{KeyHash, Secret};
use crate::store::StoreError;
use crate::store::keys::{Change, KeptPair, KeyChange, MAX_PAIRS_PER_KEY, SealedPair};

/// A pair as it is shown, once.
pub(super) struct NewPair {
    access_key_id: String,
    secret: Secret,
}

impl NewPair {
    /// The members of the answer that show it.
    pub(super) fn shown(&self) -> [(String, Value); 2] {
        [
            ("aws_access_key_id".to_owned(), json!(self.access_key_id)),
            ("aws_secret_access_key".to_owned(), json!(self.secret.expose())),
        ]
    }
}

/// Fails where secrets cannot be kept: asked before anything is changed.
pub(super) fn require_vault(state: &AdminState) -> Result<&Vault, AdminError> {
    state.keys.pairs().vault().ok_or_else(|| {
        let message = "AWS credentials are kept encrypted, and there is no key for that: set BEDGATE_SECRET_KEY (or \
                       LITELLM_SALT_KEY) in bedgate's environment, to 16 random characters or more";
        AdminError::bad(message, "aws_credentials")
    })
}

/// Makes a pair for a key; in force here when this returns.
pub(super) async fn issue(
    state: &AdminState,
    key_hash: KeyHash,
    change: Change,
) -> Result<NewPair, AdminError> {
    let vault = require_vault(state)?;
    let access_key_id = new_access_key_id(rand::random());
    let secret = new_secret_access_key(rand::random());
    let sealed = vault
        .seal(&access_key_id, &secret, rand::random())
        .map_err(|fault| AdminError::Store(StoreError::Refused(fault.to_string())))?;
    let pair = SealedPair {
        access_key_id: access_key_id.clone(),
        key_hash,
        sealed,
        sealed_by: vault.id().to_owned(),
        created_at: change.at,
        created_by: Some(change.actor.clone()),
        ..SealedPair::default()
    };
    match state.store.create_pair(pair, change).await? {
        KeptPair::Kept(pair) => {
            state.keys.apply(vec![KeyChange::Pair(Box::new(pair))]);
            Ok(NewPair { access_key_id, secret })
        }
        KeptPair::NoSuchKey => Err(AdminError::no_such_key()),
        KeptPair::TooMany => Err(AdminError::bad(
            format!("a key has {MAX_PAIRS_PER_KEY} AWS credential pairs at the most; delete one first"),
            "key",
        )),
    }
}

/// `POST /key/aws_credentials {"key": …}`: a new pair for a key that exists.
pub(super) async fn create(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let hash = hash_of(&named(&read_body(payload).await?, "key")?);
    let pair = issue(&state, hash, change).await?;
    let mut answer = serde_json::Map::from_iter(pair.shown());
    answer.insert("token".to_owned(), hash.to_string().into());
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer))
}

/// `GET /key/aws_credentials?key=`: the pairs of a key, without their secrets; without `key`, the caller's own.
pub(super) async fn list(state: web::Data<AdminState>, req: HttpRequest) -> Result<HttpResponse, AdminError> {
    let caller = AdminCaller::of(&state, &req)?;
    let (_, hash) = key_asked_for(&caller, &req)?;
    let pairs = state.store.load_pairs(Some(hash)).await?;
    let shown: Vec<Value> = pairs
        .iter()
        .map(|pair| {
            json!({
                "aws_access_key_id": pair.access_key_id,
                "created_at": iso8601(pair.created_at),
                "created_by": pair.created_by,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "token": hash.to_string(), "aws_credentials": shown })))
}

/// `POST /key/aws_credentials/delete {"aws_access_key_id": …}`: the pair is refused from now on.
pub(super) async fn delete(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let access_key_id = named(&read_body(payload).await?, "aws_access_key_id")?;
    let revoked = state.store.revoke_pair(access_key_id.clone(), change).await?;
    let no_such_pair = || AdminError::NotFound {
        message: "AWS credential pair not found.".to_owned(),
        param: "aws_access_key_id",
    };
    let pair = revoked.ok_or_else(no_such_pair)?;
    state.keys.apply(vec![KeyChange::Pair(Box::new(pair))]);
    Ok(HttpResponse::Ok().json(json!({ "deleted_aws_access_key_id": access_key_id })))
}

/// The one field of a body, which must be there.
fn named(body: &[u8], field: &str) -> Result<String, AdminError> {
    let mut fields = Fields::parse(body)?;
    let value = fields.text(field);
    if value.is_none() && !fields.has_faults() {
        let _: Option<()> = fields.fault(field, "missing", "Field required", &Value::Null);
    }
    fields.finish()?;
    Ok(value.unwrap_or_default())
}
