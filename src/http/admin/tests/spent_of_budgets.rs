//! What is shown of budgets, and that a budget holds that was made elsewhere a moment ago.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Gateway, MASTER, spent};
use crate::auth::Caller;
use crate::config::BudgetsConfig;
use crate::domain::{EventId, KeyHash, NanoUsd, UnixMicros};
use crate::event::Payer;
use crate::limits::{LimitTable, Request};
use crate::store::keys::Change;
use crate::store::{HolderKind, HolderRecord, KeyPatch, KeyRecord};

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
    let december = Change { actor: "somebody".to_owned(), at: UnixMicros(1_764_547_200_000_000) };
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
                let of = if kind == "team" { HolderKind::Team } else { HolderKind::Customer };
                let made = HolderRecord::new(of, "t".to_owned(), &december);
                gateway.state.store.create_holder(made, december.clone()).await.unwrap();
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

#[tokio::test]
async fn a_budget_that_is_not_there_is_asked_for_once_a_while_and_known_as_soon_as_it_is_told_of() {
    let gateway = Gateway::new().await;
    let caller =
        Caller::Key(Arc::new(KeyRecord { budget_id: Some("late".to_owned()), ..KeyRecord::default() }));
    let refusal = async || {
        let now = UnixMicros::now();
        let request =
            Request { caller: &caller, model: Some("m"), is_charged: true, id: EventId::at(now), now };
        format!("{:?}", gateway.state.limits.admit(request).await.unwrap_err())
    };
    assert!(refusal().await.contains("/budget/new"));
    let change = Change { actor: "another gateway".to_owned(), at: UnixMicros::now() };
    let mut budget = HolderRecord::new(HolderKind::Budget, "late".to_owned(), &change);
    budget.limits.max_budget = Some(NanoUsd::ZERO);
    let budget = gateway.state.store.create_holder(budget, change).await.unwrap();
    // The database would tell of it now; nobody asks.
    assert!(refusal().await.contains("/budget/new"));
    gateway.state.limits.holders.apply(&[budget]);
    assert!(refusal().await.contains("Budget has been exceeded"));
}

#[tokio::test]
async fn a_reset_goes_by_what_is_shown_as_spent_also_of_a_budget_that_only_the_database_knows() {
    let gateway = Gateway::new().await;
    let (january, now) = (UnixMicros(1_768_478_400_000_000), UnixMicros::now());
    let change = Change { actor: "another gateway".to_owned(), at: now };
    for body in [json!({"budget_duration": "30d"}), json!({"budget_id": "elsewhere"})] {
        let key = gateway.make(json!({})).await;
        let hash = KeyHash::of(&key);
        let events = [(january, 1_500_000_000), (now, 500_000_000)];
        let events = events.map(|(at, nano)| spent(at, Payer::Key(hash), nano));
        gateway.state.store.insert_spend(&events).await.unwrap();
        let mut patch = KeyPatch::default();
        if body["budget_id"].is_null() {
            patch.limits.budget_duration = Some(Some("30d".to_owned()));
        } else {
            let mut budget = HolderRecord::new(HolderKind::Budget, "elsewhere".to_owned(), &change);
            budget.limits.budget_duration = Some("30d".to_owned());
            budget.limits.max_budget = Some(NanoUsd(9_000_000_000));
            gateway.state.store.create_holder(budget, change.clone()).await.unwrap();
            patch.budget_id = Some(Some("elsewhere".to_owned()));
        }
        let updated = gateway.state.store.update_key(hash, patch, "key.update", change.clone()).await;
        gateway.state.keys.put(updated.unwrap().unwrap());
        let path = format!("/key/{key}/reset_spend");
        let (status, refused) = gateway.post(&path, json!({"reset_to": 1})).await;
        assert_eq!((status.as_u16(), &refused["error"]["param"]), (400, &json!("reset_to")), "{refused}");
        let (_, answer) = gateway.post(&path, json!({"reset_to": 0.25})).await;
        let shown = (&answer["spend"], &answer["previous_spend"]);
        assert_eq!(shown, (&json!(0.25), &json!(0.5)), "{body} {answer}");
    }
}

#[tokio::test]
async fn what_a_customer_is_shown_to_have_spent_is_what_the_budget_of_all_customers_counts() {
    let mut gateway = Gateway::new().await;
    let config =
        BudgetsConfig { max_end_user_budget_id: Some("trial".to_owned()), ..BudgetsConfig::default() };
    gateway.state.limits = LimitTable::new(gateway.state.store.clone(), &config, Arc::default()).into();
    gateway
        .post("/budget/new", json!({"budget_id": "trial", "max_budget": 1, "budget_duration": "30d"}))
        .await;
    let (january, now) = (UnixMicros(1_768_478_400_000_000), UnixMicros::now());
    let mut events =
        [(january, 1_500_000_000), (now, 500_000_000)].map(|(at, nano)| spent(at, Payer::Master, nano));
    events.iter_mut().for_each(|event| event.begun.end_user = Some("someone".to_owned()));
    gateway.state.store.insert_spend(&events).await.unwrap();
    for (own, expected) in [(json!({}), 0.5), (json!({"max_budget": 3}), 2.0)] {
        let mut body = own.clone();
        body["user_id"] = json!("someone");
        let path = if own["max_budget"].is_null() { "/customer/new" } else { "/customer/update" };
        let (_, shown) = gateway.post(path, body).await;
        assert_eq!(
            (&shown["spend"], &shown["total_spend"]),
            (&json!(expected), &json!(2.0)),
            "{own} {shown}"
        );
    }
}
