//! Keys and spend as LiteLLM shows them: its field names, floats for money, ISO 8601 for moments.

use serde_json::{Map, Value, json};

use super::duration::iso8601;
use crate::domain::{UnixMicros, Zone};
use crate::store::KeyRecord;
use crate::store::keys::KeyDetails;
use crate::store::spend::SpendRow;

/// A key's row, as in `/key/info` and the full objects of `/key/list`, but for what it has spent.
pub(super) fn key_row_without_spend(details: &KeyDetails, zone: &Zone) -> Map<String, Value> {
    let mut shown = key_fields(&details.record, zone);
    shown.insert("updated_by".to_owned(), json!(details.updated_by));
    shown
}

/// What is known of a key without asking for its spend. Fields of LiteLLM that bedgate does not enforce are there
/// and empty, because clients look for them.
pub(super) fn key_fields(record: &KeyRecord, zone: &Zone) -> Map<String, Value> {
    let mut metadata = record.metadata.as_object().cloned().unwrap_or_default();
    if !record.tags.is_empty() {
        metadata.insert("tags".to_owned(), json!(record.tags));
    }
    let mut fields = object(json!({
        "key_name": record.key_name,
        "key_alias": record.key_alias,
        "spend": 0.0,
        "expires": record.expires_at.and_then(iso8601),
        "models": record.models,
        "user_id": record.user_id,
        "team_id": record.team_id,
        "blocked": record.blocked,
        "metadata": metadata,
        "tags": record.tags,
        "allowed_routes": record.allowed_routes,
        "created_at": iso8601(record.created_at),
        "created_by": record.created_by,
        "updated_at": iso8601(record.updated_at),
    }));
    fields.extend(object(json!({
        "aliases": {},
        "config": {},
        "permissions": {},
        "allowed_cache_controls": [],
        "budget_id": record.budget_id,
        "model_spend": {},
        "organization_id": null,
        "project_id": null,
        "agent_id": null,
        "object_permission": null,
        "litellm_budget_table": null,
    })));
    fields.extend(super::limits::shown(&record.limits, UnixMicros::now(), zone));
    fields
}

/// The answer of `/key/generate`: the only place where a key itself is ever shown.
pub(super) fn generated(
    record: &KeyRecord,
    key: &str,
    spend: f64,
    duration: Option<&str>,
    zone: &Zone,
) -> Map<String, Value> {
    let mut shown = key_fields(record, zone);
    let hash = record.hash.to_string();
    shown.extend(object(json!({
        "key": key,
        "token": hash,
        "token_id": hash,
        "key_type": null,
        "duration": duration,
        "spend": spend,
        "guardrails": null,
        "policies": null,
        "enforced_params": null,
        "updated_by": record.created_by,
    })));
    shown
}

/// A request of this key, as LiteLLM shows its `LiteLLM_SpendLogs`. What LiteLLM has no column for is in `metadata`, above all how
/// sure the cost is: an unknown cost is `0.0` in `spend`, as there, and named in `cost_basis`.
pub(super) fn spend_log(row: &SpendRow, api_key: &str) -> Value {
    let count = |count: Option<i64>| count.unwrap_or_default();
    let written = count(row.cache_write_5m_tokens).saturating_add(count(row.cache_write_1h_tokens));
    let prompt = count(row.input_tokens).saturating_add(count(row.cache_read_tokens)).saturating_add(written);
    let completion = count(row.output_tokens);
    let moment = |after: i64| iso8601(UnixMicros(row.started_at.saturating_add(after)));
    let mut shown = object(json!({
        "request_id": row.call_id.clone().unwrap_or_else(|| row.id.0.to_string()),
        "call_type": if row.service == "bedrock-runtime" { "allm_passthrough_route" } else { "pass_through_endpoint" },
        "api_key": api_key,
        "spend": row.cost().unwrap_or_default().as_usd(),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "startTime": moment(0),
        "endTime": moment(row.latency_us),
        "completionStartTime": row.time_to_first_byte_us.map(moment),
        "request_duration_ms": row.latency_us / 1_000,
        "model": row.model_id.as_ref().or(row.requested_model.as_ref()),
        "model_group": row.requested_model,
        "model_id": row.deployment,
        "custom_llm_provider": "bedrock",
        "user": row.user_id,
        "team_id": row.team_id,
        "end_user": row.end_user,
        "session_id": row.session_id,
        "request_tags": stored_json(Some(&row.tags)),
        "status": if row.outcome == "complete" && row.status < 400 { "success" } else { "failure" },
        "cache_hit": "False",
        "messages": {},
        "response": {},
    }));
    shown.insert("metadata".to_owned(), spend_metadata(row));
    Value::Object(shown)
}

fn spend_metadata(row: &SpendRow) -> Value {
    json!({
        "event_id": row.id.0.to_string(),
        "outcome": row.outcome,
        "http_status": row.status,
        "service": row.service,
        "operation": row.operation,
        "region": row.region,
        "attempts": stored_json(Some(&row.attempts)),
        "cost_basis": row.cost_basis,
        "cost_nano_usd": row.cost_nano,
        "price": stored_json(row.price.as_ref()),
        "cache_read_input_tokens": row.cache_read_tokens,
        "cache_creation_5m_input_tokens": row.cache_write_5m_tokens,
        "cache_creation_1h_input_tokens": row.cache_write_1h_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "units": stored_json(row.units.as_ref()),
        "service_tier": row.tier,
        "latency_optimised": row.latency_optimised,
        "aws_request_id": row.aws_request_id,
    })
}

/// A stored list or object as one, not as a text.
fn stored_json(text: Option<&String>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
