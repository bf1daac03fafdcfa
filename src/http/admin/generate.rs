//! `POST /key/generate`: makes a key and shows it, once.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::caller::AdminCaller;
use super::error::AdminError;
use super::fields::Fields;
use super::{AdminState, credentials, duration, key_policy, read_body, show};
use crate::auth::Authenticator;
use crate::domain::{KeyHash, NanoUsd, UnixMicros, key_name, new_virtual_key};
use crate::store::keys::Change;
use crate::store::limit_set::SpendReset;
use crate::store::{HolderKind, KeyRecord};

/// Shortest key a client may choose, in characters (LiteLLM's limit).
const MIN_KEY: usize = 16;
/// Longest, so that it fits into any header.
const MAX_KEY: usize = 256;
/// Random bytes of a key that bedgate makes up: 128 bits, 22 characters.
const RANDOM_BYTES: usize = 16;

pub(super) async fn generate(
    state: web::Data<AdminState>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, AdminError> {
    let change = AdminCaller::master(&state, &req)?;
    let fields = Fields::parse(&read_body(payload).await?)?;
    // Its limits bound the key's, also where another gateway made it a moment ago.
    if let Some(id) = fields.peek("budget_id") {
        state.limits.look_up(HolderKind::Budget, id).await?;
    }
    let wanted = WantedKey::parse(&state, fields, &change, rand::random())?;
    super::holders::require_budget(&state, wanted.record.budget_id.as_deref()).await?;
    if wanted.aws_credentials {
        credentials::require_vault(&state)?;
    }
    let record = state.store.create_key(wanted.record, wanted.spend, change.clone()).await?;
    state.keys.put(record.clone());
    let mut answer = show::generated(
        &record,
        &wanted.key,
        wanted.spend.as_usd(),
        wanted.duration.as_deref(),
        state.limits.zone(),
    );
    if wanted.aws_credentials {
        answer.extend(credentials::issue(&state, record.hash, change).await?.shown());
    }
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(answer))
}

/// A key as asked for.
pub(super) struct WantedKey {
    pub(super) key: String,
    pub(super) record: KeyRecord,
    pub(super) spend: NanoUsd,
    pub(super) duration: Option<String>,
    /// Whether an AWS credential pair is to come with it.
    pub(super) aws_credentials: bool,
}

impl WantedKey {
    /// Reads the body of the call, and completes it by what the configuration says of new keys.
    fn parse(
        state: &AdminState,
        mut fields: Fields,
        change: &Change,
        random: [u8; RANDOM_BYTES],
    ) -> Result<Self, AdminError> {
        let named = fields.peek("budget_id").and_then(|id| state.limits.holders.find(HolderKind::Budget, id));
        key_policy::complete(
            &state.key_policy,
            &mut fields,
            named.as_ref().map(|budget| &budget.limits),
            change.at,
        );
        let key = fields.text("key");
        let duration = fields.text("duration");
        let expires_at =
            duration.as_deref().and_then(|text| read_expiry(&mut fields, text, change.at)).flatten();
        let spend = super::limits::money(&mut fields, "spend").unwrap_or_default();
        let limits = super::limits::read(&mut fields);
        let budget_id = fields.text("budget_id").filter(|id| !id.is_empty());
        let (metadata, metadata_tags) = fields.metadata().unwrap_or_else(|| (json!({}), None));
        let mut record = KeyRecord {
            key_alias: fields.text("key_alias").filter(|alias| !alias.is_empty()),
            team_id: fields.text("team_id").filter(|id| !id.is_empty()),
            user_id: fields.text("user_id").filter(|id| !id.is_empty()),
            models: fields.texts("models").unwrap_or_default(),
            allowed_routes: fields.texts("allowed_routes").unwrap_or_default(),
            tags: fields.texts("tags").or(metadata_tags).unwrap_or_default(),
            metadata,
            expires_at,
            blocked: fields.boolean("blocked").unwrap_or_default(),
            created_at: change.at,
            updated_at: change.at,
            created_by: Some(change.actor.clone()),
            budget_id,
            ..KeyRecord::default()
        };
        let aws_credentials = fields.boolean("aws_credentials").unwrap_or_default();
        fields.finish()?;
        key_policy::refuse_above(&state.key_policy.bounds, &limits, duration.as_deref(), change.at)?;
        limits.apply(&mut record.limits, change.at);
        if spend != NanoUsd::ZERO {
            // Counts in the window that is open now, also of a budget that starts anew.
            record.limits.reset = Some(SpendReset { at: change.at, to: spend });
        }
        let key = match key {
            Some(key) => checked_key(key, &state.authenticator)?,
            None => new_virtual_key(random),
        };
        record.hash = KeyHash::of(&key);
        record.key_name = key_name(&key);
        Ok(Self { key, record, spend, duration, aws_credentials })
    }
}

/// When a duration ends; `-1` is never.
#[expect(clippy::option_option, reason = "outer: whether it could be read; inner: whether it ends")]
pub(super) fn read_expiry(fields: &mut Fields, text: &str, now: UnixMicros) -> Option<Option<UnixMicros>> {
    if text == "-1" {
        return Some(None);
    }
    if let Some(moment) = duration::after(now, text) {
        return Some(Some(moment));
    }
    let message = "Value error, a duration is a number and s, m, h, d, w or mo, such as 30s, 12h, 7d or 1mo";
    fields.fault("duration", "value_error", message, &Value::from(text))
}

/// A key that a client chose. Never repeats it: it is one.
pub(super) fn checked_key(key: String, authenticator: &Authenticator) -> Result<String, AdminError> {
    let message = if !key.starts_with("sk-") {
        "Invalid key format. LiteLLM Virtual Key must start with 'sk-'."
    } else if key.len() < MIN_KEY || key.len() > MAX_KEY {
        "a key of your own must have 16 to 256 characters"
    } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        "a key of your own must be printable ASCII without spaces, to fit into a header"
    } else if authenticator.is_master(&KeyHash::of(&key)) {
        "this is the master key, and would still open the gateway once the master key is changed; choose another value"
    } else {
        return Ok(key);
    };
    Err(AdminError::bad(message, "key"))
}
