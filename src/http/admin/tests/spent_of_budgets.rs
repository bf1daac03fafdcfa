//! What is shown of budgets, and that a budget holds that was made elsewhere a moment ago.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Gateway, MASTER, spent};
use crate::auth::Caller;
use crate::domain::{EventId, KeyHash, NanoUsd, UnixMicros};
use crate::event::Payer;
use crate::limits::Request;
use crate::store::keys::Change;
use crate::store::{HolderKind, HolderRecord, KeyRecord};

#[tokio::test]
async fn spend_beside_a_budget_is_what_counts_against_it() {
    let gateway = Gateway::new().await;
    let (january, now) = (UnixMicros(1_768_478_400_000_000), UnixMicros::now());
    gateway.post("/budget/new", json!({"budget_id": "monthly", "budget_duration": "30d"})).await;
    let bodies = [
        (json!({"max_budget": 5}), 2.0),
        (json!({"max_budget": 5, "budget_duration": "30d"}), 0.5),
        (json!({"budget_duration": "7d"}), 0.5),
        (json!({"budget_id": "monthly"}), 0.5),
    ];
    let mut keys = Vec::new();
    for (body, expected) in bodies {
        let key = gateway.make(body).await;
        let hash = KeyHash::of(&key);
        let events = [(january, 1_500_000_000), (now, 500_000_000)];
        let events = events.map(|(at, nano)| spent(at, Payer::Key(hash), nano));
        gateway.state.store.insert_spend(&events).await.unwrap();
        let (_, info) = gateway.get(MASTER, &format!("/key/info?key={key}")).await;
        let info = &info["info"];
        assert_eq!((&info["spend"], &info["total_spend"]), (&json!(expected), &json!(2.0)), "{info}");
        keys.push((hash.to_string(), json!(expected)));
    }
    let (_, listed) = gateway.get(MASTER, "/key/list?return_full_object=true").await;
    for row in listed["keys"].as_array().unwrap() {
        let expected = keys.iter().find(|(hash, _)| row["token"] == *hash).map(|(_, spend)| spend);
        assert_eq!(Some(&row["spend"]), expected, "{row}");
    }
    let (_, sums) = gateway.get(MASTER, "/spend/keys").await;
    assert!(sums.as_array().unwrap().iter().all(|row| row["spend"] == json!(2.0)), "of all time: {sums}");
    for (kind, body) in [("team", json!({"team_id": "t"})), ("customer", json!({"user_id": "t"}))] {
        for (duration, expected) in [(Value::Null, 2.0), (json!("30d"), 0.5)] {
            let mut events = [(january, 1_500_000_000), (now, 500_000_000)]
                .map(|(at, nano)| spent(at, Payer::Master, nano));
            for event in &mut events {
                let subject =
                    if kind == "team" { &mut event.begun.team_id } else { &mut event.begun.end_user };
                *subject = Some("t".to_owned());
            }
            if duration.is_null() {
                gateway.post(&format!("/{kind}/new"), body.clone()).await;
                gateway.state.store.insert_spend(&events).await.unwrap();
            }
            let mut changed = body.clone();
            changed["budget_duration"] = duration;
            gateway.post(&format!("/{kind}/update"), changed).await;
            let (_, rows) = gateway.get(MASTER, &format!("/{kind}/list")).await;
            let shown = (&rows[0]["spend"], &rows[0]["total_spend"]);
            assert_eq!(shown, (&json!(expected), &json!(2.0)), "{kind} {rows}");
        }
    }
}

#[tokio::test]
async fn a_budget_that_only_the_database_knows_holds_and_one_that_nobody_knows_lets_nobody_in() {
    let gateway = Gateway::new().await;
    let change = Change { actor: "another gateway".to_owned(), at: UnixMicros::now() };
    let mut budget = HolderRecord::new(HolderKind::Budget, "elsewhere".to_owned(), &change);
    budget.limits.max_budget = Some(NanoUsd::ZERO);
    gateway.state.store.create_holder(budget, change).await.unwrap();
    for (budget_id, expected) in [("elsewhere", "Budget has been exceeded"), ("nobody's", "/budget/new")] {
        let key = KeyRecord { budget_id: Some(budget_id.to_owned()), ..KeyRecord::default() };
        let now = UnixMicros::now();
        let caller = Caller::Key(Arc::new(key));
        let request =
            Request { caller: &caller, model: Some("m"), is_charged: true, id: EventId::at(now), now };
        let refused = gateway.state.limits.admit(request).await.unwrap_err();
        assert!(format!("{refused:?}").contains(expected), "{refused:?}");
    }
}
