//! Events as most are: a streamed answer of a model with a list price, to a team's key, with one tag.

use bedgate::domain::{EventId, KeyHash, NanoUsd, Service, UnixMicros};
use bedgate::event::{Attempt, Begun, CostBasis, Ended, Outcome, Payer};
use bedgate::pricing::Price;
use bedgate::usage::Usage;

/// So many keys take turns.
const KEYS: u64 = 20;
/// 2026-01-15T12:00:00Z.
const NOON: i64 = 1_768_478_400_000_000;
/// Microseconds between two events.
const APART: u64 = 100;

/// The beginning and the end of one event; its time, key and cost follow from the number.
pub(crate) fn usual(number: u64) -> (Begun, Ended) {
    let started_at = UnixMicros(NOON + i64::try_from(number * APART).unwrap_or_default());
    let id = EventId::at(started_at);
    let deployment = "claude-sonnet-us-west-2".to_owned();
    let begun = Begun {
        id,
        started_at,
        payer: Payer::Key(KeyHash::of(&format!("key {}", number * 7 % KEYS))),
        team_id: Some("research".to_owned()),
        user_id: None,
        end_user: None,
        tags: vec!["nightly".to_owned()],
        session_id: None,
        call_id: None,
        service: Service::BedrockRuntime,
        operation: "ConverseStream".to_owned(),
        requested_model: Some("claude-sonnet".to_owned()),
        deployment: deployment.clone(),
        model_id: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned()),
        region: "us-west-2".to_owned(),
        estimate: Some(NanoUsd(9_000_000)),
    };
    let rate = |name: &'static str, picodollars| (name.into(), picodollars);
    let ended = Ended {
        id,
        outcome: Outcome::Complete,
        status: 200,
        attempts: vec![Attempt { deployment, status: 200 }],
        model_id: None,
        region: None,
        usage: Some(Usage { input_tokens: 1_200, output_tokens: 350, ..Usage::default() }),
        basis: CostBasis::Exact,
        price: Some(Price {
            entry: "anthropic.claude-sonnet-4-5-20250929-v1:0".into(),
            rates: vec![rate("input_cost_per_token", 3_000_000), rate("output_cost_per_token", 15_000_000)],
        }),
        cost: Some(NanoUsd(8_850_000)),
        latency_us: 4_200_000,
        time_to_first_byte_us: Some(800_000),
        aws_request_id: Some(id.to_string()),
    };
    (begun, ended)
}
