//! Admin calls from the outside: the real handlers on an embedded database.

mod spent_of_budgets;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use serde_json::{Value, json};

use super::{AdminState, MAX_BODY, configure, not_served};
use crate::auth::{Authenticator, KeyDirectory, Vault};
use crate::config::{AuthConfig, BudgetsConfig, DatabaseConfig};
use crate::domain::{EventId, KeyHash, NanoUsd, Secret, Service, UnixMicros};
use crate::event::{Attempt, Begun, CostBasis, Ended, Outcome, Payer, SpendEvent};
use crate::limits::LimitTable;
use crate::store::Store;
use crate::usage::Usage;

const MASTER: &str = "sk-master-0123456789";

/// A gateway's admin side with a database of its own.
struct Gateway {
    _directory: tempfile::TempDir,
    state: AdminState,
}

impl Gateway {
    async fn new() -> Self {
        Self::with_master_key(Some(MASTER)).await
    }

    async fn with_master_key(master_key: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = DatabaseConfig { url: None, pool_size: 2 };
        let store = Store::open(&config, directory.path()).await.unwrap();
        store.migrate().await.unwrap();
        let vault = Vault::new(&Secret::new("an operator's secret")).unwrap();
        let keys = Arc::new(KeyDirectory::with_vault(Some(vault)));
        let master_key = master_key.map(Secret::new);
        let authenticator = Arc::new(Authenticator::new(
            master_key.as_ref(),
            None,
            &AuthConfig::default(),
            Arc::clone(&keys),
        ));
        let limits = LimitTable::new(store.clone(), &BudgetsConfig::default(), Arc::default());
        let limits = Arc::new(limits);
        let key_policy = Arc::default();
        let state = AdminState { store, keys, limits, key_policy, authenticator };
        Self { _directory: directory, state }
    }

    /// Sends a call as the holder of this key.
    async fn send(&self, key: &str, request: TestRequest) -> (StatusCode, Value) {
        let state = web::Data::new(self.state.clone());
        let app =
            init_service(App::new().app_data(state).configure(configure).configure(not_served::configure))
                .await;
        let request = if key.is_empty() {
            request
        } else {
            request.insert_header(("authorization", format!("Bearer {key}")))
        };
        let response = call_service(&app, request.to_request()).await;
        let status = response.status();
        let body = read_body(response).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(MASTER, TestRequest::post().uri(path).set_payload(body.to_string())).await
    }

    async fn get(&self, key: &str, path: &str) -> (StatusCode, Value) {
        self.send(key, TestRequest::get().uri(path)).await
    }

    /// The answer's headers, and its body as JSON.
    async fn head_and_body(&self, path: &str) -> (HeaderMap, Value) {
        let state = web::Data::new(self.state.clone());
        let app = init_service(App::new().app_data(state).configure(configure)).await;
        let request =
            TestRequest::get().uri(path).insert_header(("authorization", format!("Bearer {MASTER}")));
        let response = call_service(&app, request.to_request()).await;
        let headers = response.headers().clone();
        (headers, serde_json::from_slice(&read_body(response).await).unwrap())
    }

    /// Makes a key and says which.
    async fn make(&self, body: Value) -> String {
        let (status, answer) = self.post("/key/generate", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["key"].as_str().unwrap().to_owned()
    }

    async fn spend(&self, payer: Payer, nano: i64) -> SpendEvent {
        let event = spent(UnixMicros(1_768_478_400_000_000), payer, nano);
        self.state.store.insert_spend(std::slice::from_ref(&event)).await.unwrap();
        event
    }
}

/// A request that began at this moment and cost so much.
fn spent(started_at: UnixMicros, payer: Payer, nano: i64) -> SpendEvent {
    let id = EventId::at(started_at);
    let begun = Begun {
        id,
        started_at,
        payer,
        team_id: None,
        user_id: None,
        end_user: None,
        tags: vec!["blue".to_owned()],
        session_id: None,
        call_id: None,
        service: Service::BedrockRuntime,
        operation: "Converse".to_owned(),
        requested_model: Some("claude".to_owned()),
        deployment: "deployment".to_owned(),
        model_id: Some("anthropic.claude".to_owned()),
        region: "us-west-2".to_owned(),
        estimate: None,
    };
    let mut ended = SpendEvent::interrupted(begun.clone()).ended;
    ended.outcome = Outcome::Complete;
    ended.status = 200;
    ended.attempts = vec![Attempt { deployment: "deployment".to_owned(), status: 200 }];
    ended.usage =
        Some(Usage { input_tokens: 10, output_tokens: 5, cache_read_tokens: 3, ..Usage::default() });
    ended.basis = CostBasis::Exact;
    ended.cost = Some(NanoUsd(nano));
    SpendEvent { begun, ended: Ended { latency_us: 1_500_000, ..ended } }
}

#[tokio::test]
async fn a_key_is_made_with_no_body_at_all() {
    let gateway = Gateway::new().await;
    for request in
        [TestRequest::post().uri("/key/generate"), TestRequest::post().uri("/key/generate").set_payload("{}")]
    {
        let (status, answer) = gateway.send(MASTER, request).await;
        assert_eq!(status, StatusCode::OK);
        let key = answer["key"].as_str().unwrap();
        assert_eq!((key.len(), &key[..3]), (25, "sk-"));
        assert_eq!(answer["token"], KeyHash::of(key).to_string());
        assert_eq!(answer["token_id"], answer["token"]);
        assert_eq!(answer["key_name"], format!("sk-...{}", &key[21..]));
        assert_eq!(answer["expires"], Value::Null);
        assert_eq!(answer["models"], json!([]));
        assert!(answer.as_object().unwrap().contains_key("litellm_budget_table"));
        // In force at once, and kept.
        assert!(gateway.state.keys.find(&KeyHash::of(key)).is_some());
        let (status, info) = gateway.get(key, "/key/info").await;
        assert_eq!(status, StatusCode::OK, "{info}");
        assert_eq!(info["info"]["key_name"], answer["key_name"]);
        assert_eq!(info["info"]["created_by"], "litellm_proxy_master_key");
    }
}

#[tokio::test]
async fn what_is_asked_for_is_what_is_kept() {
    let gateway = Gateway::new().await;
    let key = gateway
        .make(json!({
            "key": "sk-of-my-own-0001", "key_alias": "mine", "duration": "30d", "models": ["claude"],
            "user_id": "u", "team_id": "t", "metadata": {"a": 1, "tags": ["blue"]}, "blocked": null,
            "allowed_routes": ["/bedrock/*"], "spend": 1.5, "max_budget": null, "guardrails": [],
            "send_invite_email": false, "aliases": {}, "key_type": "llm_api",
        }))
        .await;
    assert_eq!(key, "sk-of-my-own-0001");
    let record = gateway.state.keys.find(&KeyHash::of(&key)).unwrap();
    assert_eq!((record.tags.as_slice(), &record.metadata), (&["blue".to_owned()][..], &json!({"a": 1})));
    let lasts = record.expires_at.unwrap().0 - record.created_at.0;
    assert_eq!(lasts, 30 * 86_400_000_000);
    let (_, info) = gateway.get(MASTER, "/key/info?key=sk-of-my-own-0001").await;
    assert_eq!(info["key"], key);
    let info = &info["info"];
    assert_eq!(info["metadata"], json!({"a": 1, "tags": ["blue"]}));
    assert_eq!((&info["spend"], &info["team_id"]), (&json!(1.5), &json!("t")));
    assert!(info["expires"].as_str().unwrap().ends_with('Z'));
    // The same key or alias again.
    for body in [json!({"key": "sk-of-my-own-0001"}), json!({"key_alias": "mine"})] {
        let (status, answer) = gateway.post("/key/generate", body).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("400")));
    }
}

#[tokio::test]
async fn bad_bodies_are_named_field_by_field() {
    let gateway = Gateway::new().await;
    let long = "x".repeat(257);
    // body, status, what the answer must contain
    let cases = [
        (json!({"max_budget": -5}), 422, "\"loc\":[\"body\",\"max_budget\"]"),
        (json!({"budget_duration": "soon"}), 422, "\"loc\":[\"body\",\"budget_duration\"]"),
        (json!({"rpm_limit": 1.5}), 422, "int_type"),
        (json!({"rpm_limit": "five"}), 422, "int_parsing"),
        (json!({"modles": ["typo"]}), 400, "modles"),
        (json!({"guardrails": ["g"]}), 400, "guardrails"),
        (json!({"key_type": "management"}), 400, "key_type"),
        (json!({"metadata": {"model_rpm_limit": {"a": 1}}}), 400, "metadata.model_rpm_limit"),
        (json!({"key": "0123456789abcdef"}), 400, "must start with 'sk-'"),
        (json!({"key": "sk-short"}), 400, "16 to 256"),
        (json!({"key": "sk-with spaces in it"}), 400, "without spaces"),
        (json!({"duration": "soon"}), 422, "\"loc\":[\"body\",\"duration\"]"),
        (json!({"duration": 5}), 422, "string_type"),
        (json!({"models": "claude"}), 422, "list_type"),
        (json!({"models": ["a", 7]}), 422, "\"loc\":[\"body\",\"models\",1]"),
        (json!({"blocked": "yes"}), 422, "bool_type"),
        (json!({"metadata": []}), 422, "dict_type"),
        (json!({"metadata": {"tags": 1}}), 422, "\"loc\":[\"body\",\"metadata\",\"tags\"]"),
        (json!({"spend": -1}), 422, "greater_than_equal"),
        (json!({"spend": 1e300}), 422, "too large"),
        (json!({"spend": [1]}), 422, "float_type"),
        (json!({"spend": "one"}), 422, "float_parsing"),
        (json!({"key_alias": long}), 422, "string_too_long"),
        (json!({"key_alias": "a\u{0}"}), 422, "control characters"),
        (json!([1]), 422, "model_attributes_type"),
    ];
    for (body, status, expected) in cases {
        let (answered, answer) = gateway.post("/key/generate", body.clone()).await;
        assert_eq!(answered.as_u16(), status, "{body} {answer}");
        assert!(answer.to_string().contains(expected), "{body}: {answer}");
    }
    let broken = TestRequest::post().uri("/key/generate").set_payload("{\"a\":");
    let (status, answer) = gateway.send(MASTER, broken).await;
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &json!("request_body")));
    let large = TestRequest::post().uri("/key/generate").set_payload(vec![b' '; MAX_BODY + 1]);
    let (status, answer) = gateway.send(MASTER, large).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (413, &json!("413")));
    assert_eq!(gateway.state.store.load_keys().await.unwrap().keys.len(), 0);
}

#[tokio::test]
async fn the_error_shapes_are_those_of_litellm() {
    let gateway = Gateway::new().await;
    let (_, answer) = gateway.send("", TestRequest::post().uri("/key/generate")).await;
    insta::assert_json_snapshot!("no_key", answer);
    let (_, answer) = gateway.get("sk-nobody-0123456789", "/key/info").await;
    insta::assert_json_snapshot!("unknown_key", answer);
    let (_, answer) = gateway.post("/key/generate", json!({"models": "claude", "blocked": 1})).await;
    insta::assert_json_snapshot!("wrong_types", answer);
    let (_, answer) = gateway.post("/key/block", json!({"key": "sk-nobody-0123456789"})).await;
    insta::assert_json_snapshot!("no_such_key", answer);
    let open = Gateway::with_master_key(None).await;
    let (status, answer) = open.post("/key/generate", json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    insta::assert_json_snapshot!("no_master_key", answer);
}

#[tokio::test]
async fn a_key_is_blocked_changed_and_deleted() {
    let gateway = Gateway::new().await;
    let key = gateway.make(json!({"key_alias": "first", "team_id": "t", "duration": "1h"})).await;
    let hash = KeyHash::of(&key);
    let (status, answer) = gateway.post("/key/block", json!({"key": key})).await;
    assert_eq!((status, &answer["blocked"]), (StatusCode::OK, &json!(true)));
    let (status, answer) = gateway.get(&key, "/key/info").await;
    assert_eq!((status.as_u16(), &answer["error"]["type"]), (401, &json!("auth_error")));
    gateway.post("/key/unblock", json!({"key": hash.to_string()})).await;
    assert_eq!(gateway.get(&key, "/key/info").await.0, StatusCode::OK);

    let update =
        json!({"key": key, "key_alias": "second", "team_id": null, "duration": "-1", "models": ["m"]});
    let (status, answer) = gateway.post("/key/update", update).await;
    assert_eq!((status, &answer["key_alias"]), (StatusCode::OK, &json!("second")), "{answer}");
    assert_eq!((&answer["team_id"], &answer["expires"]), (&Value::Null, &Value::Null));
    let (status, answer) = gateway.post("/key/update", json!({"key_alias": "second", "tags": ["x"]})).await;
    assert_eq!((status, &answer["tags"]), (StatusCode::OK, &json!(["x"])));
    assert_eq!(gateway.state.keys.find(&hash).unwrap().models, ["m"]);
    for body in [json!({}), json!({"key": key, "mcp_rpm_limit": 1})] {
        assert_eq!(gateway.post("/key/update", body).await.0, StatusCode::BAD_REQUEST);
    }

    let (status, answer) = gateway.post("/key/delete", json!({"key_aliases": ["second"]})).await;
    assert_eq!((status, &answer["deleted_keys"]), (StatusCode::OK, &json!([hash.to_string()])));
    assert!(gateway.state.keys.find(&hash).is_none());
    assert_eq!(gateway.get(&key, "/key/info").await.0, StatusCode::UNAUTHORIZED);
    for path in ["/key/delete", "/key/block", "/key/update"] {
        let body = if path == "/key/delete" { json!({"keys": [key]}) } else { json!({"key": key}) };
        assert_eq!(gateway.post(path, body).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(gateway.post("/key/delete", json!({})).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(gateway.post("/key/block", json!({})).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_virtual_key_sees_itself_and_changes_nothing() {
    let gateway = Gateway::new().await;
    let own = gateway.make(json!({})).await;
    let other = gateway.make(json!({})).await;
    gateway.spend(Payer::Key(KeyHash::of(&own)), 10).await;
    gateway.spend(Payer::Key(KeyHash::of(&other)), 20).await;
    for path in ["/key/info".to_owned(), format!("/key/info?key={own}"), "/spend/logs".to_owned()] {
        assert_eq!(gateway.get(&own, &path).await.0, StatusCode::OK, "{path}");
    }
    let (_, logs) = gateway.get(&own, "/spend/logs").await;
    assert_eq!((logs.as_array().unwrap().len(), &logs[0]["spend"]), (1, &json!(1e-8)));
    for path in [
        format!("/key/info?key={other}"),
        format!("/spend/logs?api_key={other}"),
        format!("/spend/logs?api_key={}", Payer::MASTER),
        "/key/list".to_owned(),
        "/spend/keys".to_owned(),
        "/global/spend".to_owned(),
    ] {
        let (status, answer) = gateway.get(&own, &path).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("403")), "{path}");
    }
    for path in ["generate", "update", "delete", "block", "unblock"] {
        let request =
            TestRequest::post().uri(&format!("/key/{path}")).set_payload(json!({"key": own}).to_string());
        assert_eq!(gateway.send(&own, request).await.0, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages() {
    let gateway = Gateway::new().await;
    for number in 0..5 {
        gateway.make(json!({"team_id": if number < 2 { "t" } else { "u" }})).await;
    }
    let (_, page) = gateway.get(MASTER, "/key/list?page=2&size=2").await;
    assert_eq!(page["keys"].as_array().unwrap().len(), 2);
    let counts = [&page["total_count"], &page["current_page"], &page["total_pages"]];
    assert_eq!(counts, [&json!(5), &json!(2), &json!(3)]);
    let (_, page) =
        gateway.get(MASTER, "/key/list?team_id=t&return_full_object=true&include_team_keys=true").await;
    assert_eq!((&page["total_count"], &page["keys"][0]["team_id"]), (&json!(2), &json!("t")));
    assert_eq!(page["keys"][0]["token"].as_str().unwrap().len(), 64);
    for (query, status) in [("size=101", 422), ("page=0", 422), ("page=x", 422), ("organization_id=o", 400)] {
        assert_eq!(gateway.get(MASTER, &format!("/key/list?{query}")).await.0.as_u16(), status, "{query}");
    }
}

#[tokio::test]
async fn spend_is_shown_from_the_database() {
    let gateway = Gateway::new().await;
    let key = gateway.make(json!({"key_alias": "payer"})).await;
    let hash = KeyHash::of(&key);
    let event = gateway.spend(Payer::Key(hash), 1_500_000_000).await;
    gateway.spend(Payer::Master, 500_000_000).await;
    let (_, info) = gateway.get(&key, "/key/info").await;
    assert_eq!(info["info"]["spend"], json!(1.5));
    let (_, keys) = gateway.get(MASTER, "/spend/keys").await;
    assert_eq!((&keys[0]["key_alias"], &keys[0]["spend"]), (&json!("payer"), &json!(1.5)));
    assert_eq!((&keys[1]["token"], &keys[1]["spend"]), (&json!(Payer::MASTER), &json!(0.5)));
    let (_, global) = gateway.get(MASTER, "/global/spend").await;
    assert_eq!(global["spend"], json!(2.0));
    let cases = [
        (String::new(), 2),
        (format!("?api_key={key}"), 1),
        (format!("?api_key={hash}"), 1),
        (format!("?api_key={}", Payer::MASTER), 1),
        (format!("?request_id={}", event.begun.id), 1),
        ("?start_date=2026-01-15&end_date=2026-01-15&summarize=false".to_owned(), 2),
        ("?start_date=2026-01-16".to_owned(), 0),
        ("?page_size=1".to_owned(), 1),
        ("?start_date=2026-01-15&end_date=2026-01-16&page=1".to_owned(), 2),
        ("?summarize=true".to_owned(), 2),
    ];
    for (query, expected) in cases {
        let (status, logs) = gateway.get(MASTER, &format!("/spend/logs{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query} {logs}");
        assert_eq!(logs.as_array().unwrap().len(), expected, "{query}");
    }
    assert_eq!(gateway.get(MASTER, "/spend/logs?start_date=soon").await.0.as_u16(), 422);
    assert_eq!(gateway.get(MASTER, "/spend/logs?user_id=%00").await.0.as_u16(), 422);
    let (_, mut logs) = gateway.get(MASTER, &format!("/spend/logs?api_key={key}")).await;
    for (field, shown) in [("api_key", "[hash]"), ("request_id", "[id]")] {
        logs[0][field] = json!(shown);
    }
    logs[0]["metadata"]["event_id"] = json!("[id]");
    insta::assert_json_snapshot!("spend_log", logs[0]);
}

#[tokio::test]
async fn two_dates_sum_up_days_as_litellm_does() {
    let gateway = Gateway::new().await;
    let key = gateway.make(json!({})).await;
    let hash = KeyHash::of(&key);
    assert_eq!(
        gateway.get(MASTER, "/spend/logs?start_date=2026-01-01&end_date=2026-01-31").await.1,
        json!([])
    );
    gateway.spend(Payer::Key(hash), 1_500_000_000).await;
    gateway.spend(Payer::Master, 500_000_000).await;
    let later = UnixMicros(1_768_478_400_000_000 + 40 * 86_400_000_000);
    let later = spent(later, Payer::Master, 1);
    gateway.state.store.insert_spend(&[later]).await.unwrap();
    let day = |cost: f64, payers: Value| {
        let mut day = json!({"startTime": "2026-01-15", "spend": cost,
            "users": {"": cost}, "models": {"anthropic.claude": cost}});
        day.as_object_mut().unwrap().extend(payers.as_object().unwrap().clone());
        day
    };
    let empty = |date: &str| json!({"startTime": date, "spend": 0.0, "users": {}, "models": {}});
    let of_all = day(2.0, json!({ hash.to_string(): 1.5, Payer::MASTER: 0.5 }));
    let of_key = day(1.5, json!({ hash.to_string(): 1.5 }));
    let both = "start_date=2026-01-01&end_date=2026-01-15";
    let cases = [
        (both.to_owned(), json!([of_all])),
        (format!("{both}&summarize=true"), json!([of_all])),
        (format!("{both}&api_key={key}"), json!([of_key])),
        (format!("{both}&api_key={hash}&user_id=nobody"), json!([])),
        (
            "start_date=2026-01-15&end_date=2026-01-17".to_owned(),
            json!([of_all, empty("2026-01-16"), empty("2026-01-17")]),
        ),
        ("start_date=2026-01-15T11:59:00Z&end_date=2026-01-15T12:01:00Z".to_owned(), json!([of_all])),
        ("start_date=2026-01-15T11:59:00Z&end_date=2026-01-15T12:00:00Z".to_owned(), json!([])),
        ("start_date=2026-01-16&end_date=2026-01-31".to_owned(), json!([])),
        ("start_date=2026-02-01&end_date=2026-01-01".to_owned(), json!([])),
    ];
    for (query, expected) in cases {
        let (status, days) = gateway.get(MASTER, &format!("/spend/logs?{query}")).await;
        assert_eq!((status, &days), (StatusCode::OK, &expected), "{query}");
    }
    // A key sees what it spent, whatever it asks for; two months are read in more than one go.
    let (_, own) = gateway.get(&key, &format!("/spend/logs?{both}")).await;
    assert_eq!(own, json!([of_key]));
    let (_, days) = gateway.get(MASTER, "/spend/logs?start_date=1970-01-01&end_date=9999-12-31").await;
    let days = days.as_array().unwrap();
    assert_eq!((&days[0], &days[1]["startTime"], days.len()), (&of_all, &json!("2026-02-24"), 2 + 366));
    assert_eq!(days[1]["spend"], json!(1e-9));
    let (status, answer) = gateway.get(MASTER, &format!("/spend/logs?{both}&summarize=true&page=1")).await;
    assert_eq!((status.as_u16(), &answer["error"]["param"]), (400, &json!("page")));
}

#[tokio::test]
async fn all_requests_are_listed_unless_a_page_is_asked_for() {
    let gateway = Gateway::new().await;
    let begun = |number: i64| UnixMicros(1_768_478_400_000_000 + number * 1_000_000);
    let all: Vec<SpendEvent> = (0..1_203).map(|number| spent(begun(number), Payer::Master, number)).collect();
    gateway.state.store.insert_spend(&all).await.unwrap();
    let spend = |rows: &Value| -> Vec<i64> {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["metadata"]["cost_nano_usd"].as_i64().unwrap()).collect()
    };
    for query in [
        "",
        "?start_date=2026-01-15&end_date=2026-01-15&summarize=false",
        "?api_key=litellm_proxy_master_key",
    ] {
        let (status, rows) = gateway.get(MASTER, &format!("/spend/logs{query}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(spend(&rows), (0..1_203).rev().collect::<Vec<_>>(), "{query}");
    }
    for (query, costs, more, next) in [
        ("page_size=1000", (203..1_203).rev().collect::<Vec<_>>(), "true", Some("2")),
        ("page=2&page_size=1000", (0..203).rev().collect(), "false", None),
        ("page=3", (903..1_003).rev().collect(), "true", Some("4")),
        ("page=14", Vec::new(), "false", None),
    ] {
        let (headers, rows) = gateway.head_and_body(&format!("/spend/logs?{query}")).await;
        assert_eq!(spend(&rows), costs, "{query}");
        assert_eq!(headers.get("x-has-more").unwrap(), more, "{query}");
        assert_eq!(headers.get("x-next-page").map(|next| next.to_str().unwrap()), next, "{query}");
    }
}

#[tokio::test]
async fn sums_and_lists_hold_everything_or_say_that_they_do_not() {
    let gateway = Gateway::new().await;
    let mut all = Vec::new();
    for number in 0..130_i64 {
        let hash = KeyHash::of(&format!("sk-{number}"));
        let mut event = spent(UnixMicros(1_768_478_400_000_000 + number), Payer::Key(hash), 1);
        event.begun.user_id = Some(format!("user {number}"));
        event.begun.tags = vec![format!("tag {number}")];
        event.begun.model_id = Some(format!("model {number}"));
        (event.ended.basis, event.ended.cost) = (CostBasis::Unpriced, None);
        all.push(event);
    }
    gateway.state.store.insert_spend(&all).await.unwrap();
    let month = "start_date=2026-01-01&end_date=2026-01-31";
    for (path, size) in [
        ("/spend/keys?", "limit"),
        ("/spend/users?", "limit"),
        ("/spend/tags?", "limit"),
        ("/spend/unpriced?", "page_size"),
        (&format!("/global/spend/keys?{month}&"), "limit"),
        (&format!("/global/spend/models?{month}&"), "limit"),
    ] {
        if !path.starts_with("/global/spend/models") {
            let (headers, rows) = gateway.head_and_body(path).await;
            assert_eq!(rows.as_array().unwrap().len(), 130, "{path}");
            assert_eq!(headers.get("x-has-more").unwrap(), "false", "{path}");
        }
        for (count, more) in [(129, "true"), (130, "false"), (1_000, "false")] {
            let (headers, rows) = gateway.head_and_body(&format!("{path}{size}={count}")).await;
            assert_eq!(rows.as_array().unwrap().len(), count.min(130), "{path} {count}");
            assert_eq!(headers.get("x-has-more").unwrap(), more, "{path} {count}");
        }
    }
    gateway.post("/team/new", json!({"team_id": "many"})).await;
    for _ in 0..130 {
        gateway.make(json!({"team_id": "many"})).await;
    }
    let (_, info) = gateway.get(MASTER, "/team/info?team_id=many").await;
    assert_eq!(
        (info["keys"].as_array().unwrap().len(), &info["team_info"]["team_id"]),
        (130, &json!("many"))
    );
}

#[tokio::test]
async fn what_litellm_sums_up_for_everybody_is_summed_up_alike() {
    let gateway = Gateway::new().await;
    gateway.post("/team/new", json!({"team_id": "t", "team_alias": "the team"})).await;
    let key = gateway.make(json!({"key_alias": "mine"})).await;
    let now = UnixMicros::now();
    let mut first = spent(now, Payer::Key(KeyHash::of(&key)), 2_000_000_000);
    first.begun.team_id = Some("t".to_owned());
    let second = spent(now, Payer::Master, 1_000_000_000);
    let mut no_model = spent(now, Payer::Master, 500_000_000);
    no_model.begun.model_id = None;
    // Longer ago than LiteLLM looks.
    let old = spent(UnixMicros(now.0 - 40 * 86_400_000_000), Payer::Master, 7);
    gateway.state.store.insert_spend(&[first, second, no_model, old]).await.unwrap();
    let get = async |path: &str| gateway.get(MASTER, path).await.1;
    let name = format!("sk-...{}", &key[key.len() - 4..]);
    let keys = json!([
        {"api_key": KeyHash::of(&key).to_string(), "key_alias": "mine", "key_name": name, "total_spend": 2.0},
        {"api_key": Payer::MASTER, "key_alias": null, "key_name": null, "total_spend": 1.5},
    ]);
    assert_eq!(get("/global/spend/keys").await, keys);
    assert_eq!(get("/global/spend/models").await, json!([{"model": "anthropic.claude", "total_spend": 3.0}]));
    let days = get("/global/spend/logs").await;
    let today = days[0]["date"].clone();
    assert_eq!(days, json!([{"date": today, "spend": 3.5}]));
    let of_key = get(&format!("/global/spend/logs?api_key={key}")).await;
    assert_eq!(of_key, json!([{"date": today, "spend": 2.0, "api_key": KeyHash::of(&key).to_string()}]));
    for dates in ["start_date=2000-01-01", "end_date=2026-01-01", "start_date=2024-01-01&end_date=2025-01-01"]
    {
        let (status, refused) = gateway.get(MASTER, &format!("/global/spend/teams?{dates}")).await;
        assert_eq!((status.as_u16(), &refused["error"]["param"]), (400, &json!("start_date")), "{dates}");
    }
    let teams = get("/global/spend/teams").await;
    let totals = json!([
        {"team_id": "the team", "total_spend": 2.0}, {"team_id": "Unassigned", "total_spend": 1.5},
    ]);
    assert_eq!(teams["daily_spend"], json!([{"date": today, "the team": 2.0, "Unassigned": 1.5}]));
    assert_eq!(
        (&teams["teams"], &teams["total_spend_per_team"]),
        (&json!(["Unassigned", "the team"]), &totals)
    );
}

#[tokio::test]
async fn what_is_not_there_is_named_by_its_own_field() {
    let gateway = Gateway::new().await;
    let cases = [
        ("/team/delete", json!({"team_ids": ["none"]}), "team_ids"),
        ("/team/update", json!({"team_id": "none"}), "team_id"),
        ("/team/block", json!({"team_id": "none"}), "team_id"),
        ("/customer/update", json!({"user_id": "none"}), "user_id"),
        ("/budget/delete", json!({"id": "none"}), "id"),
        ("/key/regenerate", json!({"key": "sk-none-0123456789012"}), "key"),
        ("/key/aws_credentials/delete", json!({"aws_access_key_id": "AKIANONE"}), "aws_access_key_id"),
    ];
    for (path, body, param) in cases {
        let (status, answer) = gateway.post(path, body).await;
        assert_eq!((status.as_u16(), &answer["error"]["param"]), (404, &json!(param)), "{path} {answer}");
    }
    for (path, param) in
        [("/team/info?team_id=none", "team_id"), ("/customer/info?end_user_id=none", "end_user_id")]
    {
        let (status, answer) = gateway.get(MASTER, path).await;
        assert_eq!((status.as_u16(), &answer["error"]["param"]), (404, &json!(param)), "{path}");
    }
}
