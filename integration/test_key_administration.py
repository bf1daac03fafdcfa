"""The key endpoints, with LiteLLM's fields and error shapes."""

import hashlib

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json
from harness.gateway import MASTER_KEY


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    with spawn_gateway(config=model_list(deployment("my-claude")), database=request.param) as running:
        yield running


def sha256(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def test_generate_answers_with_litellms_fields(gateway):
    fields = {
        "key_alias": "team-a",
        "models": ["my-claude"],
        "duration": "30d",
        "user_id": "u-1",
        "team_id": "t-1",
        "metadata": {"owner": "me"},
    }
    answer = gateway.call("POST", "/key/generate", fields)
    assert answer.status == 200, answer.body
    made = answer.json()
    gateway.secrets.add(made["key"])
    assert made["token"] == made["token_id"] == sha256(made["key"])
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    assert (made["key_alias"], made["models"], made["user_id"], made["team_id"]) == (
        "team-a",
        ["my-claude"],
        "u-1",
        "t-1",
    )
    assert made["metadata"]["owner"] == "me" and made["expires"]


def test_info_knows_a_key_by_itself_and_by_its_hash(gateway):
    key = gateway.generate_key(key_alias="looked-up")
    for name in (key, sha256(key)):
        info = gateway.call("GET", f"/key/info?key={name}")
        assert info.status == 200
        assert info.json()["info"]["key_alias"] == "looked-up" and info.json()["info"]["spend"] == 0
    own = gateway.call("GET", "/key/info", key=key)
    assert own.status == 200 and own.json()["info"]["key_alias"] == "looked-up"


def test_list_pages_through_the_hashes(gateway):
    made = {sha256(gateway.generate_key()) for _ in range(3)}
    found, page, pages = set(), 1, 1
    while page <= pages:
        answer = gateway.call("GET", f"/key/list?page={page}&size=2").json()
        assert len(answer["keys"]) <= 2 and answer["current_page"] == page
        found.update(answer["keys"])
        page, pages = page + 1, answer["total_pages"]
    assert made <= found and len(found) == answer["total_count"]


def test_delete_says_which_keys_are_gone(gateway):
    key = gateway.generate_key()
    answer = gateway.call("POST", "/key/delete", {"keys": [key]})
    assert answer.status == 200
    assert answer.json()["deleted_keys"] == [sha256(key)], "a key itself is shown once, when it is made (invariant 2)"
    assert gateway.call("GET", f"/key/info?key={key}").status == 404


@pytest.mark.parametrize("path", ["/key/block", "/key/unblock"])
def test_blocking_a_key_that_is_not_there_is_404(gateway, path):
    answer = gateway.call("POST", path, {"key": "sk-not-there-000000000000"})
    assert answer.status == 404 and answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "field, value",
    [("guardrails", ["g"]), ("allowed_cache_controls", ["no-cache"]), ("auto_rotate", True), ("permissions", {"x": True})],
)
def test_a_field_that_is_not_enforced_is_refused_not_stored(gateway, field, value):
    answer = gateway.call("POST", "/key/generate", {field: value})
    assert answer.status == 400
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize("fields", [{"duration": "soon"}, {"models": "not a list"}, {"duration": -3}])
def test_a_field_of_the_wrong_type_is_refused(gateway, fields):
    answer = gateway.call("POST", "/key/generate", fields)
    assert answer.status in (400, 422), answer.body
    assert list(fields)[0] in answer.body.decode()


@pytest.mark.parametrize("key, status", [(None, 401), ("sk-unknown-key-00000000000", 401), ("virtual", 403)])
def test_only_the_master_key_makes_keys(gateway, key, status):
    used = gateway.generate_key() if key == "virtual" else key
    answer = gateway.call("POST", "/key/generate", {}, key=used)
    assert answer.status in (status, 401)
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error) and isinstance(error["code"], str)


def test_a_key_does_not_see_another_key(gateway):
    mine, other = gateway.generate_key(), gateway.generate_key()
    assert gateway.call("GET", f"/key/info?key={other}", key=mine).status in (401, 403)
    assert gateway.call("GET", "/key/list", key=mine).status in (200, 401, 403)
    assert other not in gateway.call("GET", "/key/list", key=mine).body.decode()


@pytest.mark.parametrize(
    "fields, shown",
    [
        ({"max_budget": "10"}, {"max_budget": 10.0}),
        ({"rpm_limit": "60", "tpm_limit": 1000.0}, {"rpm_limit": 60, "tpm_limit": 1000}),
        (
            {"model_max_budget": {"my-claude": {"budget_limit": "0.5", "time_period": "1d"}}},
            {"model_max_budget": {"my-claude": {"budget_limit": 0.5, "time_period": "1d"}}},
        ),
        ({"model_rpm_limit": {"my-claude": "5"}}, {"model_rpm_limit": {"my-claude": 5}}),
    ],
)
def test_a_number_may_be_sent_as_a_text(gateway, fields, shown):
    made = gateway.call("POST", "/key/generate", fields)
    assert made.status == 200, made.body
    gateway.secrets.add(made.json()["key"])
    changed = gateway.call("POST", "/key/update", {"key": gateway.generate_key(), **fields})
    for answer in (made.json(), changed.json()):
        assert {name: answer[name] for name in shown} == shown


@pytest.mark.parametrize("text", ["", "ten", "inf", "nan", "-1", "1e400"])
def test_a_text_that_is_no_amount_is_refused(gateway, text):
    for fields in ({"max_budget": text}, {"rpm_limit": text}, {"model_max_budget": {"m": {"budget_limit": text}}}):
        answer = gateway.call("POST", "/key/generate", fields)
        assert answer.status == 422 and list(fields)[0] in answer.body.decode(), (fields, answer.body)


KEY_POLICY = {
    "default_key_generate_params": {"max_budget": 5, "models": ["my-claude"], "team_id": "trial", "duration": "30d"},
    "upperbound_key_generate_params": {
        "max_budget": 10,
        "budget_duration": "30d",
        "duration": "90d",
        "tpm_limit": 1000,
        "rpm_limit": 60,
        "max_parallel_requests": 4,
    },
}


@pytest.fixture(scope="module")
def bounded(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("my-claude"), litellm_settings=KEY_POLICY)) as running:
        yield running


def test_a_new_key_gets_the_defaults_and_the_bounds_where_it_asks_for_nothing(bounded):
    for fields in ({}, {"max_budget": None, "models": [], "rpm_limit": None}):
        made = bounded.call("POST", "/key/generate", fields).json()
        bounded.secrets.add(made["key"])
        assert (made["max_budget"], made["models"], made["team_id"]) == (5.0, ["my-claude"], "trial")
        assert (made["rpm_limit"], made["tpm_limit"], made["max_parallel_requests"]) == (60, 1000, 4)
        assert made["budget_duration"] == "30d" and made["expires"]
    asked = {"max_budget": 10, "rpm_limit": 7, "models": ["other"], "team_id": "mine", "duration": "1h"}
    made = bounded.call("POST", "/key/generate", asked).json()
    bounded.secrets.add(made["key"])
    assert {name: made[name] for name in asked} == asked


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_budget", 1_000_000),
        ("max_budget", "10.01"),
        ("rpm_limit", 61),
        ("tpm_limit", 1001),
        ("max_parallel_requests", 5),
        ("budget_duration", "60d"),
        ("duration", "91d"),
    ],
)
def test_what_is_above_the_bound_is_refused_when_a_key_is_made_changed_or_made_anew(bounded, field, value):
    key = bounded.generate_key()
    for path, fields in [("/key/generate", {}), ("/key/update", {"key": key}), ("/key/regenerate", {"key": key})]:
        answer = bounded.call("POST", path, {**fields, field: value})
        assert answer.status == 400, (path, answer.body)
        error = answer.json()["error"]
        assert error["message"].startswith(f"{field} is over max limit set in config - user_value="), error
        assert error["code"] == "400"
    assert bounded.call("GET", f"/key/info?key={key}").json()["info"]["max_budget"] == 5


def test_a_limit_that_an_update_lifts_becomes_the_bound(bounded):
    key = bounded.generate_key(max_budget=1)
    answer = bounded.call("POST", "/key/update", {"key": key, "max_budget": None, "rpm_limit": None})
    assert answer.status == 200, answer.body
    assert (answer.json()["max_budget"], answer.json()["rpm_limit"]) == (10, 60)
    assert bounded.call("POST", "/key/update", {"key": key, "duration": "-1"}).status == 400


BOUNDS = {"max_budget": 10, "budget_duration": "30d", "rpm_limit": 60}


@pytest.fixture(scope="module")
def bounded_with_budgets(spawn_gateway):
    """Bounds without defaults, and the budgets `small` and `large` on each side of them."""
    settings = {"upperbound_key_generate_params": BOUNDS}
    with spawn_gateway(config=model_list(deployment("my-claude"), litellm_settings=settings)) as running:
        for budget_id, amount in (("small", 0.5), ("large", 500)):
            made = running.call("POST", "/budget/new", {"budget_id": budget_id, "max_budget": amount})
            assert made.status == 200, made.body
        yield running


# How a key is made, what is changed of it, and what it has then.
CHANGES_WITHIN_BOUNDS = [
    ({"budget_id": "small"}, {"budget_id": None}, {"max_budget": 10, "budget_duration": "30d", "rpm_limit": 60}),
    ({"budget_id": "small"}, {"max_budget": None}, {"max_budget": None, "budget_id": "small"}),
    ({"budget_id": "small"}, {"budget_duration": None}, {"budget_duration": None, "budget_id": "small"}),
    ({"budget_id": "small", "max_budget": 5}, {"max_budget": None}, {"max_budget": None, "budget_id": "small"}),
    ({"max_budget": 5}, {"budget_duration": None}, {"max_budget": 5, "budget_duration": None}),
    ({"max_budget": 5}, {"budget_id": "large"}, {"max_budget": 5, "budget_id": "large"}),
    ({"max_budget": 5}, {"max_budget": None, "rpm_limit": None}, {"max_budget": 10, "rpm_limit": 60}),
    ({"budget_id": "large"}, {"max_budget": None}, {"max_budget": 10, "budget_id": "large"}),
    ({"budget_id": "small"}, {"rpm_limit": 5}, {"max_budget": None, "budget_id": "small", "rpm_limit": 5}),
]


@pytest.mark.parametrize(
    "path, made, change, expected",
    [(path, *case) for path in ("/key/update", "/key/regenerate") for case in CHANGES_WITHIN_BOUNDS],
)
def test_a_changed_key_has_no_more_than_the_bound_and_no_less_than_it_asks_for(
    bounded_with_budgets, path, made, change, expected
):
    key = bounded_with_budgets.generate_key(**made)
    answer = bounded_with_budgets.call("POST", path, {"key": key, **change})
    assert answer.status == 200, answer.body
    if path == "/key/regenerate":
        key = answer.json()["key"]
        bounded_with_budgets.secrets.add(key)
    info = bounded_with_budgets.call("GET", f"/key/info?key={key}").json()["info"]
    assert {name: info[name] for name in expected} == expected


def test_a_key_is_not_given_a_named_budget_above_the_bound(bounded_with_budgets):
    key = bounded_with_budgets.generate_key(budget_id="small")
    of_its_own = bounded_with_budgets.generate_key(max_budget=5)
    for fields in ({"key": key}, {"key": of_its_own, "max_budget": None}):
        answer = bounded_with_budgets.call("POST", "/key/update", {**fields, "budget_id": "large"})
        assert answer.status == 400, answer.body
        expected = "max_budget is over max limit set in config - user_value=500.0; max_value=10.0"
        assert answer.json()["error"]["message"] == expected
    assert bounded_with_budgets.call("GET", f"/key/info?key={key}").json()["info"]["budget_id"] == "small"


def test_a_named_budget_is_not_hidden_by_the_defaults(bounded):
    assert bounded.call("POST", "/budget/new", {"budget_id": "tiny", "max_budget": 0.5}).status == 200
    made = bounded.call("POST", "/key/generate", {"budget_id": "tiny"}).json()
    bounded.secrets.add(made["key"])
    assert (made["max_budget"], made["budget_id"], made["rpm_limit"]) == (None, "tiny", 60)


def test_malformed_json_is_a_400(gateway):
    answer = gateway.call("POST", "/key/generate", b"{nonsense")
    assert answer.status == 400 and "error" in answer.json()


def test_the_master_key_works_on_bedrock_paths(gateway):
    assert curl_json(f"{gateway.base}/model/my-claude/converse", MASTER_KEY, CONVERSE).status == 200


def test_a_key_that_the_body_names_is_regenerated(gateway):
    old = gateway.generate_key(key_alias="to be changed", models=["my-claude"])
    answer = gateway.call("POST", "/key/regenerate", {"key": old})
    assert answer.status == 200, answer.body
    new = answer.json()["key"]
    gateway.secrets.add(new)
    assert new != old and answer.json()["key_alias"] == "to be changed" and answer.json()["token"] == sha256(new)
    assert curl_json(f"{gateway.base}/model/my-claude/converse", new, CONVERSE).status == 200
    assert curl_json(f"{gateway.base}/model/my-claude/converse", old, CONVERSE).status == 403
    by_hash = gateway.call("POST", "/key/regenerate", {"key": sha256(new), "new_key": "sk-of-my-own-choice-01"})
    gateway.secrets.add("sk-of-my-own-choice-01")
    assert by_hash.status == 200 and by_hash.json()["key"] == "sk-of-my-own-choice-01"
    gone = gateway.call("POST", "/key/regenerate", {"key": old})
    assert gone.status == 404 and gone.json()["error"]["param"] == "key"
    assert gateway.call("POST", "/key/regenerate", {}).status == 422


def test_a_team_shows_all_its_keys(gateway):
    team = gateway.call("POST", "/team/new", {"team_alias": "many keys"}).json()["team_id"]
    made = {sha256(gateway.generate_key(team_id=team)) for _ in range(130)}
    info = gateway.call("GET", f"/team/info?team_id={team}").json()
    assert len(info["keys"]) == 130 and {key["token"] for key in info["keys"]} == made
    assert info["team_info"]["team_id"] == info["team_id"] == team
    missing = gateway.call("POST", "/team/delete", {"team_ids": [team, "no such team"]})
    assert missing.status == 404 and missing.json()["error"]["param"] == "team_ids"


def test_keys_are_listed_in_the_order_asked_for(gateway):
    user = "sorted"
    made = [sha256(gateway.generate_key(user_id=user, key_alias=alias)) for alias in ("s-b", "s-c", "s-a")]

    def listed(query=""):
        answer = gateway.call("GET", f"/key/list?user_id={user}{query}")
        assert answer.status == 200, answer.body
        return answer.json()["keys"]

    assert listed() == listed("&sort_by=created_at") == listed("&sort_by=created_at&sort_order=desc") == made[::-1]
    assert listed("&sort_by=created_at&sort_order=asc") == made
    assert listed("&sort_by=key_alias&sort_order=ASC") == [made[2], made[0], made[1]]
    assert listed("&sort_by=token&sort_order=desc") == sorted(made, reverse=True)
    assert sorted(listed("&sort_by=spend")) == sorted(listed("&sort_by=max_budget")) == sorted(made)
    for query in ("sort_by=key", "sort_order=up"):
        assert gateway.call("GET", f"/key/list?{query}").status == 422


@pytest.mark.parametrize(
    "method, path, instead",
    [
        ("GET", "/global/spend/report?start_date=2026-01-01&end_date=2026-01-31", "/spend/logs?start_date="),
        ("GET", "/global/activity", "/spend/keys"),
        ("GET", "/global/activity/model", "/spend/keys"),
        ("POST", "/user/new", "user_id"),
        ("GET", "/user/daily/activity", "/spend/logs?user_id="),
        ("GET", "/spend/logs/v2", "page_size="),
        ("POST", "/spend/calculate", "x-litellm-response-cost"),
        ("POST", "/v2/key/info", "/key/list"),
        ("GET", "/key/aliases", "/key/list"),
        ("POST", "/team/member_add", "team_id"),
        ("POST", "/model/new", "model_list"),
        ("GET", "/organization/list", "/team/new"),
        ("GET", "/health/services", "/health/readiness"),
        ("GET", "/key/generate", "/key/generate"),
        ("GET", "/cache/ping", ""),
    ],
)
def test_a_path_of_litellm_that_is_not_served_says_what_to_use(gateway, method, path, instead):
    answer = gateway.call(method, path, {} if method == "POST" else None)
    assert answer.status == 404
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == "404"
    assert "bedgate does not serve" in error["message"] and instead in error["message"]


def test_a_refused_path_does_not_repeat_a_key(gateway):
    key = gateway.generate_key()
    assert key not in gateway.call("POST", f"/key/{key}/no-such-thing", {}).body.decode()


def test_a_wrong_base_for_bedrock_is_refused_in_aws_shape(gateway):
    answer = gateway.call("POST", "/model/my-claude/converse", CONVERSE)
    assert answer.status == 404 and answer.headers["x-amzn-errortype"].startswith("UnknownOperation")


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness", "/metrics", "/v1/models", "/key/list"])
def test_what_can_be_read_can_be_asked_for_with_head(gateway, path):
    head, whole = gateway.call("HEAD", path), gateway.call("GET", path)
    assert (head.status, head.body) == (whole.status, b"") == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_health_names_the_deployments_without_a_call_to_aws(gateway, simulator):
    with simulator.recording() as upstream:
        answer = gateway.call("GET", "/health")
    upstream.nothing()
    assert answer.status == 200
    health = answer.json()
    assert (health["healthy_count"], health["unhealthy_count"], health["unhealthy_endpoints"]) == (1, 0, [])
    (endpoint,) = health["healthy_endpoints"]
    assert endpoint["model"].startswith("bedrock/") and endpoint["aws_region_name"] == "us-west-2"
    assert gateway.call("GET", "/health?model=other").json()["healthy_count"] == 0
    assert gateway.call("GET", "/health", key=None).status == 401


def test_models_are_shown_by_page(gateway):
    info = gateway.call("GET", "/model/info").json()["data"]
    page = gateway.call("GET", "/v2/model/info").json()
    assert page == {"data": info, "total_count": 1, "current_page": 1, "total_pages": 1, "size": 50}
    assert gateway.call("GET", "/v2/model/info?page=2&size=1").json()["data"] == []


def test_the_metrics_that_are_documented_are_those_that_there_are(gateway):
    import re
    from pathlib import Path

    text = (Path(__file__).parent.parent / "docs" / "coming-from-litellm.md").read_text()
    documented = set(re.findall(r"`(bedgate_[a-z_]+[a-z])`", text))
    shown = gateway.metrics()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", shown, re.M))
    assert documented == {name + ("_total" if kind == "counter" else "") for name, kind in kinds.items()}
    assert curl_json(f"{gateway.base}/model/my-claude/converse", MASTER_KEY, CONVERSE).status == 200
    labels = {label for names in re.findall(r"^bedgate_\w+\{([^}]*)\}", gateway.metrics(), re.M) for label in re.findall(r'(\w+)=', names)}
    assert labels - {"le"} <= set(re.findall(r"`([a-z_]+)`", text)), labels
    assert 'kind="Input"' in gateway.metrics()
