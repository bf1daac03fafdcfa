"""Budgets and rate limits, through the front door: what is let in, what is refused and how, on one gateway and on two."""

import json
import threading
import time

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json, raw_exchange, raw_post
from harness.gateway import MASTER_KEY
from harness.spend import nano_usd
from harness.waiting import eventually

CONFIG = model_list(
    deployment("sonnet"),
    deployment("haiku", "anthropic.claude-3-haiku-20240307-v1:0"),
    deployment("priced", "amazon.nova-pro-v1:0", input_cost_per_token=0.000001, output_cost_per_token=0.0001),
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    with spawn_gateway(config=CONFIG, database=request.param) as running:
        yield running


def ask(gateway, key, model="priced", *headers, body=CONVERSE):
    answer = raw_exchange(gateway.port, raw_post(f"/bedrock/model/{model}/converse", key, body, *headers))
    return answer


def cost_of_one(gateway) -> int:
    """What one call of the tests costs, in nano-dollars."""
    answer = ask(gateway, gateway.generate_key())
    return nano_usd(gateway.event(answer.headers["x-litellm-call-id"]))


def burst(gateway, key, count: int, threads: int = 50) -> dict[int, int]:
    """So many calls at once; how many answers there were of each status."""
    statuses: dict[int, int] = {}
    lock, left = threading.Lock(), [count]

    def worker():
        while True:
            with lock:
                if left[0] == 0:
                    return
                left[0] -= 1
            status = ask(gateway, key).status
            with lock:
                statuses[status] = statuses.get(status, 0) + 1

    running = [threading.Thread(target=worker) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return statuses


def assert_quota(answer, *parts: str) -> None:
    assert answer.status == 400, answer.body
    assert answer.headers["x-amzn-errortype"] == "ServiceQuotaExceededException"
    message = json.loads(answer.body)["message"]
    for part in parts:
        assert part in message, message


def settled_spend(gateway, key, calls: int) -> int:
    """What the ledger holds of a key once all its calls are in it."""
    import hashlib

    payer = hashlib.sha256(key.encode()).hexdigest()
    rows = eventually(lambda: (found := gateway.events(api_key=payer)) and len(found) >= calls and found, 20, "shipped")
    return sum(nano_usd(row) for row in rows)


@pytest.mark.parametrize("enforcement", ["hard", "standard"])
def test_invariant_6_a_burst_does_not_overrun_a_budget(gateway, enforcement):
    one = cost_of_one(gateway)
    # Its worst case is what it costs plus the gateway's margin for input; leave room for ten.
    budget = 10 * one if enforcement == "standard" else 10 * one + 3_000_000
    key = gateway.generate_key(max_budget=budget / 1e9, budget_enforcement=enforcement)
    statuses = burst(gateway, key, 500)
    assert set(statuses) == {200, 400} and statuses[200] >= 1, statuses
    spent = settled_spend(gateway, key, statuses[200])
    assert spent == statuses[200] * one
    assert spent <= budget + (one if enforcement == "standard" else 0)
    # One after the other, what is left is spent, too.
    while (answer := ask(gateway, key)).status == 200:
        statuses[200] += 1
        assert statuses[200] <= 11
    assert_quota(answer, "Budget has been exceeded!")
    assert statuses[200] == 10 if enforcement == "standard" else statuses[200] >= 8
    spent = settled_spend(gateway, key, statuses[200])
    assert budget - 3 * one <= spent <= budget


def test_a_refusal_names_budget_spend_and_reset(gateway):
    key = gateway.generate_key(max_budget=0, budget_duration="1d", key_alias=f"poor {time.time_ns()}")
    assert_quota(ask(gateway, key), "Key=poor", "Max budget: 0.000000000", "resets at", "T00:00:00Z")
    info = gateway.call("GET", f"/key/info?key={key}").json()["info"]
    assert info["max_budget"] == 0 and info["budget_duration"] == "1d" and info["budget_reset_at"].endswith("T00:00:00Z")


def test_a_hard_budget_refuses_what_nothing_bounds_and_free_calls_pass(gateway):
    key = gateway.generate_key(max_budget=100, budget_enforcement="hard")
    assert ask(gateway, key).status == 200
    assert_quota(
        ask(gateway, key, body=json.dumps({"messages": [{"content": [{"image": {}}]}]}).encode()),
        "nothing bounds what this request could cost",
    )
    poor = gateway.generate_key(max_budget=0)
    body = json.dumps({"input": {"converse": json.loads(CONVERSE)}}).encode()
    assert curl_json(f"{gateway.base}/model/sonnet/count-tokens", poor, body).status == 200


def test_a_raised_budget_lets_in_again_and_a_lifted_one_lifts(gateway):
    key = gateway.generate_key(max_budget=0)
    assert_quota(ask(gateway, key))
    for change in ({"max_budget": 1}, {"max_budget": None}):
        assert gateway.call("POST", "/key/update", {"key": key, **change}).status == 200
        assert ask(gateway, key).status == 200
    assert gateway.call("POST", "/key/update", {"key": key, "max_budget": 0}).status == 200
    assert_quota(ask(gateway, key))


def test_a_models_budget_of_a_key_holds_for_that_model_only(gateway):
    key = gateway.generate_key(model_max_budget={"priced": {"budget_limit": 0.0000001, "time_period": "1d"}})
    assert ask(gateway, key).status == 200
    assert_quota(ask(gateway, key), "Model=priced")
    assert ask(gateway, key, "haiku").status == 200


def test_a_soft_budget_warns_and_lets_in(gateway):
    key = gateway.generate_key(soft_budget=0.0000001)
    assert "x-bedgate-soft-budget-exceeded" not in ask(gateway, key).headers
    answer = ask(gateway, key)
    assert answer.status == 200 and "Key=" in answer.headers["x-bedgate-soft-budget-exceeded"]
    assert "bedgate_soft_budgets_exceeded_total" in gateway.metrics()


def test_spend_counts_towards_the_budget_after_kill_and_restart(spawn_gateway):
    with spawn_gateway(config=CONFIG) as running:
        key = running.generate_key(max_budget=0.0000001)
        assert ask(running, key).status == 200
        running.kill_and_restart()
        assert_quota(ask(running, key))


def test_requests_a_minute_are_limited_and_shown(gateway):
    wait_for_a_young_minute()
    key = gateway.generate_key(rpm_limit=2)
    first = ask(gateway, key)
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2" and first.headers["x-ratelimit-remaining-requests"] == "1"
    assert ask(gateway, key).status == 200
    third = ask(gateway, key)
    assert third.status == 429 and third.headers["x-amzn-errortype"] == "ThrottlingException"
    assert 1 <= int(third.headers["retry-after"]) <= 60
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert "Limit type: requests" in json.loads(third.body)["message"]


def test_tokens_a_minute_are_limited_by_what_was_used(gateway):
    wait_for_a_young_minute()
    key = gateway.generate_key(tpm_limit=20)
    first = ask(gateway, key)
    usage = json.loads(first.body)["usage"]
    statuses = [first.status]
    while statuses[-1] == 200 and len(statuses) < 30:
        statuses.append(ask(gateway, key).status)
    used = usage["inputTokens"] + usage["outputTokens"]
    assert statuses[-1] == 429 and len(statuses) - 1 == -(-20 // used)


def test_a_models_rate_of_a_key_holds_for_that_model_only(gateway):
    wait_for_a_young_minute()
    key = gateway.generate_key(model_rpm_limit={"priced": 1})
    assert [ask(gateway, key).status, ask(gateway, key).status, ask(gateway, key, "haiku").status] == [200, 429, 200]


def test_requests_at_the_same_time_are_limited(spawn_gateway, slow_simulator):
    with spawn_gateway(config=CONFIG, upstream=slow_simulator) as running:
        key = running.generate_key(max_parallel_requests=1)
        statuses = []

        def stream():
            request = raw_post("/bedrock/model/sonnet/converse-stream", key, CONVERSE)
            statuses.append(raw_exchange(running.port, request).status)

        threads = [threading.Thread(target=stream) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 429, 429]
        eventually(lambda: ask(running, key).status == 200, 5, "the place is free again")


def test_requests_of_all_callers_at_the_same_time_are_limited(spawn_gateway, slow_simulator):
    config = {**CONFIG, "general_settings": {"global_max_parallel_requests": 2}}
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        keys = [running.generate_key() for _ in range(4)]
        answers = []

        def stream(key):
            request = raw_post("/bedrock/model/sonnet/converse-stream", key, CONVERSE)
            answers.append(raw_exchange(running.port, request))

        threads = [threading.Thread(target=stream, args=[key]) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status for answer in answers) == [200, 200, 429, 429]
        assert any(b"Rate limit exceeded for Gateway" in answer.body for answer in answers)
        eventually(lambda: ask(running, keys[0]).status == 200, 5, "the places are free again")


def test_settings_that_restrict_in_litellm_and_not_here_are_warned_of_first_and_apart(spawn_gateway):
    config = {
        **CONFIG,
        "general_settings": {"allowed_routes": ["/chat/completions"], "alerting": ["slack"]},
        "litellm_settings": {"telemetry": False, "guardrails": [{"pii": {"default_on": True}}]},
    }
    with spawn_gateway(config=config) as running:
        warnings = [line for line in running.errors().splitlines() if "WARN" in line]
    apart = [line for line in warnings if "DOES NOT HOLD IN BEDGATE" in line]
    assert len(apart) == 2 and warnings[:2] == apart, warnings
    assert "allowed_routes: give keys allowed_routes" in apart[0] and "litellm_settings.guardrails" in apart[1]
    assert not any("telemetry" in line or "alerting" in line for line in apart)
    assert any("telemetry" in line and "alerting" in line for line in warnings)


def wait_for_a_young_minute() -> None:
    """Limits are counted by the minute of the clock: a test must not straddle two."""
    eventually(lambda: time.time() % 60 < 45, 20, "the minute is young")


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_budget", -1),
        ("max_budget", "much"),
        ("soft_budget", -0.5),
        ("budget_duration", "soon"),
        ("rpm_limit", 1.5),
        ("tpm_limit", "five"),
        ("max_parallel_requests", -1),
        ("model_max_budget", {"m": {"budget_limit": -1}}),
        ("model_rpm_limit", {"m": "x"}),
        ("budget_enforcement", "lax"),
    ],
)
def test_a_limit_that_makes_no_sense_is_422_and_named(gateway, field, value):
    answer = gateway.call("POST", "/key/generate", {field: value})
    assert answer.status == 422, answer.body
    assert any(field in fault["loc"] for fault in answer.json()["detail"])


def test_a_team_shares_budget_rate_models_and_block(gateway):
    wait_for_a_young_minute()
    team = gateway.call("POST", "/team/new", {"team_alias": "a team", "max_budget": 0.0000001}).json()["team_id"]
    one, two = gateway.generate_key(team_id=team), gateway.generate_key(team_id=team)
    assert ask(gateway, one).status == 200
    assert_quota(ask(gateway, two), "Team=a team")
    change = {"team_id": team, "max_budget": None, "rpm_limit": 1000, "models": ["haiku"]}
    assert gateway.call("POST", "/team/update", change).json()["data"]["models"] == ["haiku"]
    refused = ask(gateway, one)
    assert refused.status == 403 and "may not use the model" in json.loads(refused.body)["message"]
    answer = ask(gateway, two, "haiku")
    assert answer.status == 200 and answer.headers["x-ratelimit-limit-requests"] == "1000"
    assert gateway.call("POST", "/team/block", {"team_id": team}).json()["blocked"] is True
    assert ask(gateway, two, "haiku").status == 403
    assert gateway.call("POST", "/team/unblock", {"team_id": team}).status == 200
    assert ask(gateway, two, "haiku").status == 200
    info = gateway.call("GET", f"/team/info?team_id={team}").json()
    assert len(info["keys"]) == 2 and info["team_info"]["rpm_limit"] == 1000
    assert team in [row["team_id"] for row in gateway.call("GET", "/team/list").json()]
    eventually(lambda: gateway.call("GET", f"/team/info?team_id={team}").json()["team_info"]["spend"] > 0, 5, "spent")
    assert gateway.call("POST", "/team/delete", {"team_ids": [team]}).json() == {"deleted_teams": [team]}
    assert gateway.call("GET", f"/team/info?team_id={team}").status == 404
    assert ask(gateway, one, "haiku").status == 403


@pytest.mark.parametrize("how", ["header", "requestMetadata", "metadata", "user"])
def test_a_customer_has_a_budget_and_can_be_blocked(gateway, how):
    customer = f"customer-{how}-{time.time_ns()}"
    key = gateway.generate_key()
    body = json.loads(CONVERSE)
    if how == "requestMetadata":
        body["requestMetadata"] = {"end_user": customer}
    elif how == "metadata":
        body["metadata"] = {"user_id": customer}
    elif how == "user":
        body["user"] = customer
    headers = [f"x-litellm-customer-id: {customer}"] if how == "header" else []

    def call():
        return ask(gateway, key, "priced", *headers, body=json.dumps(body).encode())

    assert call().status == 200
    made = gateway.call("POST", "/customer/new", {"user_id": customer, "max_budget": 0.0000001})
    assert made.status == 200, made.body
    eventually(lambda: gateway.call("GET", f"/customer/info?end_user_id={customer}").json()["spend"] > 0, 5, "spent")
    assert_quota(call(), f"Customer={customer}")
    assert ask(gateway, key).status == 200
    assert gateway.call("POST", "/end_user/update", {"user_id": customer, "max_budget": None}).status == 200
    assert call().status == 200
    assert gateway.call("POST", "/customer/block", {"user_ids": [customer]}).json()["blocked_users"][0]["blocked"]
    assert call().status == 403
    assert gateway.call("POST", "/end_user/unblock", {"user_ids": [customer]}).status == 200
    assert call().status == 200
    assert gateway.call("POST", "/customer/delete", {"user_ids": [customer]}).json()["deleted_customers"] == 1
    assert gateway.call("GET", f"/customer/info?end_user_id={customer}").status == 404


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_customer_whose_name_is_not_ascii_is_held_to_its_limits(gateway, encoding):
    customer, key = f"müller-{encoding}-{time.time_ns()}", gateway.generate_key()
    blocked = gateway.call("POST", "/customer/block", {"user_ids": [customer]})
    assert blocked.status == 200, blocked.body
    request = raw_post("/bedrock/model/priced/converse", key, CONVERSE, "x-litellm-customer-id: NAME")
    assert raw_exchange(gateway.port, request.replace(b"NAME", customer.encode(encoding))).status == 403


def test_a_named_budget_limits_the_keys_that_refer_to_it_each(gateway):
    budget = f"small-{time.time_ns()}"
    fields = {"budget_id": budget, "max_budget": 0.0000001, "budget_duration": "7d"}
    assert gateway.call("POST", "/budget/new", fields).status == 200
    one, two = gateway.generate_key(budget_id=budget), gateway.generate_key(budget_id=budget)
    assert ask(gateway, one).status == 200
    assert_quota(ask(gateway, one))
    assert ask(gateway, two).status == 200
    assert gateway.call("POST", "/budget/delete", {"id": budget}).status == 400
    assert gateway.call("POST", "/budget/update", {"budget_id": budget, "max_budget": 100}).status == 200
    assert ask(gateway, one).status == 200
    info = gateway.call("POST", "/budget/info", {"budgets": [budget]}).json()
    assert info[0]["max_budget"] == 100 and info[0]["budget_duration"] == "7d"
    assert gateway.call("POST", "/key/generate", {"budget_id": "nobody's"}).status == 400


def test_a_regenerated_key_keeps_what_was_spent_and_a_reset_forgets_it(gateway):
    key = gateway.generate_key(max_budget=0.0000001)
    assert ask(gateway, key).status == 200
    eventually(lambda: gateway.spend_of(key) > 0, 5, "shipped")
    new = gateway.call("POST", f"/key/{key}/regenerate").json()["key"]
    gateway.secrets.add(new)
    assert ask(gateway, key).status == 403
    assert_quota(ask(gateway, new))
    assert gateway.spend_of(new) > 0
    answer = gateway.call("POST", f"/key/{new}/reset_spend", {"reset_to": 0})
    assert answer.status == 200 and answer.json()["spend"] == 0, answer.body
    assert ask(gateway, new).status == 200
    assert_quota(ask(gateway, new))


def test_the_whole_gateway_has_a_budget(spawn_gateway):
    config = {**CONFIG, "litellm_settings": {"max_budget": 0.0000001, "budget_duration": "1d"}}
    with spawn_gateway(config=config) as running:
        assert ask(running, running.generate_key()).status == 200
        assert_quota(ask(running, running.generate_key()), "Gateway")
        assert_quota(ask(running, MASTER_KEY), "Gateway")
        assert running.call("GET", "/global/spend").json()["max_budget"] == 0.0000001


def test_a_customer_without_a_budget_of_its_own_has_the_default_one(spawn_gateway):
    config = {**CONFIG, "litellm_settings": {"max_end_user_budget": 0.0000001}}
    with spawn_gateway(config=config) as running:
        key = running.generate_key()

        def call(customer):
            return ask(running, key, "priced", f"x-litellm-customer-id: {customer}")

        assert call("nobody made").status == 200
        assert_quota(call("nobody made"), "Customer=nobody made", "does not reset")
        assert ask(running, key).status == 200, "calls for nobody have no customer's budget"
        running.call("POST", "/customer/new", {"user_id": "rich", "max_budget": 100})
        assert [call("rich").status, call("rich").status] == [200, 200]
        running.call("POST", "/customer/new", {"user_id": "plain", "alias": "without a budget"})
        assert [call("plain").status, call("plain").status] == [200, 400]
        running.kill_and_restart()
        assert call("nobody made").status == 400


def test_the_default_of_customers_may_be_a_named_budget(spawn_gateway):
    wait_for_a_young_minute()
    config = {**CONFIG, "litellm_settings": {"max_end_user_budget_id": "trial"}}
    with spawn_gateway(config=config) as running:
        key = running.generate_key()
        headers = ["x-litellm-customer-id: someone"]
        assert ask(running, key, "priced", *headers).status == 200, "there is no such budget yet"
        running.call("POST", "/budget/new", {"budget_id": "trial", "max_budget": 1, "budget_duration": "1d", "rpm_limit": 1})
        assert [ask(running, key, "priced", *headers).status for _ in range(2)] == [200, 429]
        running.call("POST", "/budget/update", {"budget_id": "trial", "max_budget": 0, "rpm_limit": None})
        assert_quota(ask(running, key, "priced", *headers), "Customer=someone", "resets at")


def test_budgets_start_anew_where_the_day_begins_in_the_configured_zone(spawn_gateway):
    # Kiritimati is 14 hours ahead of UTC all year, so its days begin at 10:00 UTC.
    config = {**CONFIG, "litellm_settings": {"timezone": "Pacific/Kiritimati"}}
    with spawn_gateway(config=config) as running:
        key = running.generate_key(max_budget=0, budget_duration="1d")
        assert_quota(ask(running, key), "resets at", "T10:00:00Z")
        info = running.call("GET", f"/key/info?key={key}").json()["info"]
        assert info["budget_reset_at"].endswith("T10:00:00Z")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_an_unknown_cost_counts_as_its_estimate_also_after_a_restart_and_elsewhere(spawn_gateway, database):
    """A model without a price: what its calls cost is not known, and an estimate is set for such calls."""
    config = {
        **model_list(deployment("unpriced", "newvendor.brand-new-v1:0")),
        "bedgate_settings": {"budgets": {"estimate_without_bound": 0.10, "enforcement": "hard"}},
    }
    with spawn_gateway(config=config, database=database) as running:
        key = running.generate_key(max_budget=0.25)
        assert [ask(running, key, "unpriced").status for _ in range(2)] == [200, 200]
        assert_quota(ask(running, key, "unpriced"), "Current cost: 0.200000000")
        eventually(lambda: len(running.events()) == 2, 10, "shipped")
        assert running.spend_of(key) == 0, "spend is what is known"
        assert_quota(ask(running, key, "unpriced"), "Current cost: 0.200000000")
        running.kill_and_restart()
        assert_quota(ask(running, key, "unpriced"), "Current cost: 0.200000000")
        if database == "postgres":
            with spawn_gateway(config=config, env={"DATABASE_URL": running.env["DATABASE_URL"]}) as other:
                assert_quota(ask(other, key, "unpriced"), "Current cost: 0.200000000")


@pytest.fixture(scope="module")
def two_gateways(spawn_gateway, postgres):
    with spawn_gateway(config=CONFIG, database="postgres") as one:
        with spawn_gateway(config=CONFIG, env={"DATABASE_URL": one.env["DATABASE_URL"]}) as two:
            yield one, two


def within_a_second(attempt) -> None:
    eventually(attempt, 1.0, "in force on the other gateway within a second")


def test_a_block_and_a_budget_are_in_force_on_the_other_gateway_within_a_second(two_gateways):
    one, two = two_gateways
    key = one.generate_key()
    within_a_second(lambda: ask(two, key).status == 200)
    one.call("POST", "/key/update", {"key": key, "max_budget": 0})
    within_a_second(lambda: ask(two, key).status == 400)
    one.call("POST", "/key/update", {"key": key, "max_budget": None})
    within_a_second(lambda: ask(two, key).status == 200)
    one.call("POST", "/key/block", {"key": key})
    within_a_second(lambda: ask(two, key).status == 403)


def test_a_team_and_a_customer_made_here_hold_there_within_a_second(two_gateways):
    one, two = two_gateways
    team = one.call("POST", "/team/new", {"max_budget": 0}).json()["team_id"]
    key = one.generate_key(team_id=team)
    within_a_second(lambda: ask(two, key).status == 400)
    one.call("POST", "/team/update", {"team_id": team, "max_budget": 5})
    within_a_second(lambda: ask(two, key).status == 200)
    one.call("POST", "/customer/block", {"user_ids": ["mallory"]})
    within_a_second(lambda: ask(two, key, "priced", "x-litellm-end-user-id: mallory").status == 403)


def test_what_is_spent_here_counts_there(two_gateways):
    one, two = two_gateways
    key = one.generate_key(max_budget=0.0000001)
    assert ask(one, key).status == 200
    # Shipping takes a moment; from then on it is one poll, or the next request.
    eventually(lambda: one.spend_of(key) > 0, 5, "shipped")
    within_a_second(lambda: ask(two, key).status == 400)
