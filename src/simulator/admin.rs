//! What tests and people ask the simulator about itself, under `/__simulator/`.

use super::answer;
use super::faults::{FaultRule, MAX_RULES};
use super::server::Shared;
use super::wire::{Head, Reply};

/// Where these paths begin.
pub(super) const PREFIX: &str = "/__simulator/";
/// How many requests one answer lists at most when nothing else is asked.
const DEFAULT_LIMIT: usize = 1_000;

pub(super) fn answer(head: &Head, body: &[u8], shared: &Shared) -> Reply {
    let path = head.path.strip_prefix(PREFIX).unwrap_or_default();
    match (head.method.as_str(), path) {
        ("GET", "requests") => requests(head, shared),
        ("DELETE", "requests") => {
            shared.log.clear();
            answer::json(serde_json::json!({}))
        }
        ("GET", "stats") => answer::json(serde_json::to_value(shared.log.stats()).unwrap_or_default()),
        ("PUT", "faults") => match serde_json::from_slice::<Vec<FaultRule>>(body) {
            Ok(rules) if rules.len() <= MAX_RULES => {
                shared.faults.replace(rules);
                answer::json(serde_json::json!({}))
            }
            Ok(_) => answer::error(400, "ValidationException", &format!("more than {MAX_RULES} rules")),
            Err(failure) => answer::error(400, "ValidationException", &failure.to_string()),
        },
        ("DELETE", "faults") => {
            shared.faults.replace(Vec::new());
            answer::json(serde_json::json!({}))
        }
        _ => answer::error(404, "ResourceNotFoundException", "The simulator has no such page."),
    }
}

fn requests(head: &Head, shared: &Shared) -> Reply {
    let parameter = |name: &str| {
        head.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(held, _)| *held == name)
            .map(|(_, value)| answer::decoded(value))
    };
    let number = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok());
    let after = number("after").unwrap_or(0);
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT);
    let part = parameter("path_contains").unwrap_or_default();
    let mut records = shared.log.snapshot();
    records.retain(|record| record.sequence > after && answer::decoded(&record.path).contains(&part));
    records.truncate(limit);
    answer::json(serde_json::to_value(records).unwrap_or_default())
}
