"""What a call cost, to the nano-dollar, and where it is written down."""

import json
import socket
import threading
from decimal import Decimal

import pytest

from harness.asking import CLAUDE, CONVERSE, INVOKE_CLAUDE, MESSAGES, deployment, model_list
from harness.clients import curl_json, frames, raw_exchange, raw_post
from harness.simulator import fault
from harness.spend import (
    COMMAND_R_INPUT,
    COMMAND_R_OUTPUT,
    HAIKU_INPUT,
    HAIKU_OUTPUT,
    SONNET_INPUT,
    SONNET_OUTPUT,
    nano_usd,
    outcome,
    sonnet_cost,
)
from harness.waiting import eventually


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    config = model_list(
        deployment("sonnet"),
        deployment("command-r", "cohere.command-r-v1:0"),
        deployment("haiku", "anthropic.claude-3-haiku-20240307-v1:0"),
        deployment(
            "own-price", "amazon.nova-pro-v1:0", input_cost_per_token=0.000001, output_cost_per_token=0.0000020005
        ),
    )
    with spawn_gateway(config=config, database=request.param) as running:
        yield running


@pytest.fixture
def key(gateway):
    return gateway.generate_key()


def call(gateway, key, path, body):
    answer = curl_json(f"{gateway.base}/model/{path}", key, body)
    assert answer.status == 200, answer.body
    return answer, gateway.event(answer.headers["x-litellm-call-id"])


@pytest.mark.parametrize(
    "model, input_price, output_price",
    [
        ("sonnet", SONNET_INPUT, SONNET_OUTPUT),
        ("command-r", COMMAND_R_INPUT, COMMAND_R_OUTPUT),
        ("haiku", HAIKU_INPUT, HAIKU_OUTPUT),
        (CLAUDE, SONNET_INPUT, SONNET_OUTPUT),
    ],
)
def test_invariant_5_converse_costs_its_tokens_times_the_list_price(gateway, key, model, input_price, output_price):
    answer, event = call(gateway, key, f"{model}/converse", CONVERSE)
    usage = answer.json()["usage"]
    assert (event["prompt_tokens"], event["completion_tokens"]) == (usage["inputTokens"], usage["outputTokens"])
    assert nano_usd(event) == usage["inputTokens"] * input_price + usage["outputTokens"] * output_price > 0


def test_invariant_5_a_converse_stream_costs_what_its_metadata_says(gateway, key):
    answer, event = call(gateway, key, "sonnet/converse-stream", CONVERSE)
    usage = json.loads(list(frames(answer.body))[-1][1])["usage"]
    assert nano_usd(event) == sonnet_cost(usage) > 0


def test_invariant_5_invoke_costs_what_its_usage_says(gateway, key):
    answer, event = call(gateway, key, "sonnet/invoke", INVOKE_CLAUDE)
    usage = answer.json()["usage"]
    assert nano_usd(event) == usage["input_tokens"] * SONNET_INPUT + usage["output_tokens"] * SONNET_OUTPUT > 0


def test_invariant_5_an_invoke_stream_costs_what_its_invocation_metrics_say(gateway, key):
    import base64

    answer, event = call(gateway, key, "sonnet/invoke-with-response-stream", INVOKE_CLAUDE)
    last = json.loads(base64.b64decode(json.loads(list(frames(answer.body))[-1][1])["bytes"]))
    metrics = last["amazon-bedrock-invocationMetrics"]
    assert (
        nano_usd(event) == metrics["inputTokenCount"] * SONNET_INPUT + metrics["outputTokenCount"] * SONNET_OUTPUT > 0
    )


@pytest.mark.parametrize("output_tokens, output_cost", [(1, 2_000), (2, 4_001), (3, 6_002)])
def test_a_deployments_own_price_is_used_and_rounded_once_half_to_even(gateway, key, output_tokens, output_cost):
    """Output costs 2000.5 nano-dollars a token: 2000.5, 4001 and 6001.5 beside a whole number for the input."""
    body = json.dumps({"messages": MESSAGES, "inferenceConfig": {"maxTokens": output_tokens}}).encode()
    answer, event = call(gateway, key, "own-price/converse", body)
    usage = answer.json()["usage"]
    assert usage["outputTokens"] == output_tokens
    assert nano_usd(event) == usage["inputTokens"] * 1_000 + output_cost


def test_an_answer_whose_head_carries_the_usage_names_its_cost(gateway, key):
    answer, event = call(gateway, key, "sonnet/invoke", INVOKE_CLAUDE)
    assert int(Decimal(answer.headers["x-litellm-response-cost"]) * 10**9) == nano_usd(event) > 0


def test_key_info_shows_the_sum_of_its_events(gateway, key):
    total = sum(
        nano_usd(call(gateway, key, path, body)[1])
        for path, body in [
            ("sonnet/converse", CONVERSE),
            ("command-r/converse", CONVERSE),
            ("haiku/converse-stream", CONVERSE),
        ]
    )
    assert gateway.spend_of(key) == total > 0


def test_a_call_with_the_master_key_counts_under_a_fixed_name(gateway):
    from harness.gateway import MASTER_KEY

    _, event = call(gateway, MASTER_KEY, "sonnet/converse", CONVERSE)
    assert event["api_key"] == "litellm_proxy_master_key"


def test_an_event_holds_the_hash_of_the_key_and_who_answered(gateway, key):
    import hashlib

    answer, event = call(gateway, key, "sonnet/converse", CONVERSE)
    assert event["api_key"] == hashlib.sha256(key.encode()).hexdigest()
    assert event["model_group"] == "sonnet" and CLAUDE in event["model"]
    assert event["status"] == "success"
    assert key not in json.dumps(event) and "Hello" not in json.dumps(event)
    assert event["request_id"] == answer.headers["x-litellm-call-id"]


def test_a_call_id_of_the_clients_own_is_kept(gateway, key):
    answer = curl_json(f"{gateway.base}/model/sonnet/converse", key, CONVERSE, "-H", "x-litellm-call-id: my-own-id-42")
    assert answer.headers["x-litellm-call-id"] == "my-own-id-42"
    assert gateway.event("my-own-id-42")["spend"] > 0


def test_an_error_of_aws_costs_nothing_and_is_written_down(gateway, key, simulator):
    with simulator.faults(fault("throttle", model="command-r")):
        answer = curl_json(f"{gateway.base}/model/command-r/converse", key, CONVERSE)
    assert answer.status == 429
    event = gateway.event(answer.headers["x-litellm-call-id"])
    assert nano_usd(event) == 0 and event["status"] == "failure"


def test_invariant_4_a_refused_call_has_no_spend(gateway):
    key = gateway.generate_key(models=["haiku"])
    assert curl_json(f"{gateway.base}/model/sonnet/converse", key, CONVERSE).status == 403
    assert gateway.spend_of(key) == 0


def test_invariant_5_concurrent_calls_are_counted_exactly_once_each(gateway, key):
    calls, ids, lock = 60, [], threading.Lock()

    def worker():
        for _ in range(calls // 6):
            answer = raw_exchange(gateway.port, raw_post("/bedrock/model/sonnet/converse", key, CONVERSE))
            with lock:
                ids.append((answer.headers["x-litellm-call-id"], json.loads(answer.body)["usage"]))

    threads = [threading.Thread(target=worker) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sum(usage["inputTokens"] * SONNET_INPUT + usage["outputTokens"] * SONNET_OUTPUT for _, usage in ids)
    assert len({call_id for call_id, _ in ids}) == calls
    eventually(
        lambda: gateway.spend_of(key) == expected,
        15,
        "spend is the sum",
    )


def test_a_client_that_leaves_is_charged_for_what_aws_reported(spawn_gateway, slow_simulator):
    with spawn_gateway(config=model_list(deployment("sonnet")), upstream=slow_simulator) as running:
        key = running.generate_key()
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(
                raw_post("/bedrock/model/sonnet/converse-stream", key, CONVERSE, "x-litellm-call-id: gone-1")
            )
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(200)
        event = running.event("gone-1")
    whole = event["prompt_tokens"] * SONNET_INPUT + event["completion_tokens"] * SONNET_OUTPUT
    assert event["completion_tokens"] > 3 and nano_usd(event) == whole
    assert outcome(event) == "client_gone"


def test_postgres_holds_bedgates_tables_in_a_schema_of_its_own(spawn_gateway, postgres):
    with spawn_gateway(database="postgres") as running:
        database = running.env["DATABASE_URL"]
        call(running, running.generate_key(), f"{CLAUDE}/converse", CONVERSE)
        schemas = postgres.query(
            database,
            "select distinct schemaname from pg_tables where schemaname not in ('pg_catalog','information_schema')",
        )
        assert schemas == "bedgate"
        assert postgres.query(database, "select count(*) from bedgate.spend_events") == "1"


def test_spend_is_summed_by_tag_key_user_and_day(gateway):
    import time
    from datetime import datetime, timedelta, timezone

    mark = f"tag {time.time_ns()}"
    key = gateway.generate_key(tags=[mark, "of the key"], user_id=f"user of {mark}")
    costs = []
    for tags in ("", f"{mark} two,{mark}", f"{mark} two"):
        answer = curl_json(f"{gateway.base}/model/sonnet/converse", key, CONVERSE, "-H", f"x-litellm-tags: {tags}")
        costs.append(nano_usd(gateway.event(answer.headers["x-litellm-call-id"])))

    def tags(query=""):
        answer = gateway.call("GET", f"/spend/tags?limit=1000{query}")
        assert answer.status == 200, answer.body
        rows = {row["individual_request_tag"]: row for row in answer.json()}
        found = [rows[tag] for tag in (mark, f"{mark} two") if tag in rows]
        return [(row["log_count"], round(row["total_spend"] * 1e9)) for row in found]

    expected = [(3, sum(costs)), (2, sum(costs[1:]))]
    assert tags() == expected
    today = datetime.now(timezone.utc)
    day = lambda days: (today + timedelta(days=days)).strftime("%Y-%m-%d")
    assert tags(f"&start_date={day(-1)}&end_date={day(1)}") == expected
    assert tags(f"&start_date={day(2)}") == tags(f"&end_date={day(-2)}") == []

    def one(path, field, value, query=""):
        rows = gateway.call("GET", f"{path}?limit=1000{query}").json()
        return [round(row["spend"] * 1e9) for row in rows if row[field] == value]

    for path, field, value in [
        ("/spend/keys", "token", gateway.call("GET", f"/key/info?key={key}").json()["info"].get("token") or hash_of(key)),
        ("/spend/users", "user_id", f"user of {mark}"),
    ]:
        assert one(path, field, value) == one(path, field, value, f"&start_date={day(-1)}") == [sum(costs)]
        assert one(path, field, value, f"&end_date={day(-2)}") == []
    total = gateway.call("GET", "/global/spend").json()
    assert total["spend"] > 0 and "max_budget" in total
    assert gateway.call("GET", f"/global/spend?end_date={day(-2)}").json()["spend"] == 0
    for query in ("start_date=soon", "end_date=2026-13-01"):
        for path in ("tags", "keys", "users", "logs"):
            assert gateway.call("GET", f"/spend/{path}?{query}").status == 422, path
    assert gateway.call("GET", "/spend/tags", key=key).status in (401, 403)


def hash_of(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()


def test_a_number_that_no_answer_can_mean_holds_up_no_event(gateway, simulator):
    key = gateway.generate_key()
    absurd = f"usage.{2**64 - 1}.{2**64 - 1}"
    with simulator.faults(fault(absurd, model="claude-3-5-sonnet")):
        for number in range(3):
            name = f"x-litellm-call-id: absurd-{number}-{key[-8:]}"
            raw_exchange(gateway.port, raw_post("/bedrock/model/sonnet/converse", key, CONVERSE, name))
    answer = raw_exchange(gateway.port, raw_post("/bedrock/model/sonnet/converse", key, CONVERSE))
    assert nano_usd(gateway.event(answer.headers["x-litellm-call-id"])) > 0
    for number in range(3):
        assert gateway.event(f"absurd-{number}-{key[-8:]}")["prompt_tokens"] == 10**15


def today() -> str:
    from datetime import datetime, timezone

    return datetime.now(timezone.utc).strftime("%Y-%m-%d")


def test_two_dates_sum_up_each_day_and_rows_are_all_there(gateway):
    """LiteLLM's script for a bill: sums of days with both dates, every request with summarize=false."""
    key = gateway.generate_key(user_id=f"user of {__name__}")
    first_day = today()
    calls = 130

    def worker(count):
        for _ in range(count):
            raw_exchange(gateway.port, raw_post("/bedrock/model/haiku/converse", key, CONVERSE))

    threads = [threading.Thread(target=worker, args=(calls // 5,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dates = f"start_date={first_day}&end_date={today()}"

    def rows(query=""):
        answer = gateway.call("GET", f"/spend/logs?{dates}&api_key={key}&summarize=false{query}")
        assert answer.status == 200, answer.body
        return answer, answer.json()

    eventually(lambda: len(rows()[1]) == calls, 15, "all requests are in the store")
    total = sum(nano_usd(row) for row in rows()[1])
    assert total == gateway.spend_of(key) > 0

    of_key = gateway.call("GET", f"/spend/logs?{dates}&api_key={key}").json()
    assert round(sum(day["spend"] for day in of_key) * 1e9) == total
    assert {day["startTime"] for day in of_key} >= {first_day}
    day = of_key[0]
    assert round(day[hash_of(key)] * 1e9) == round(day["users"][f"user of {__name__}"] * 1e9) > 0
    assert list(day["models"]) == ["anthropic.claude-3-haiku-20240307-v1:0"]

    everybody = gateway.call("GET", f"/spend/logs?{dates}").json()
    everything = gateway.call("GET", f"/spend/logs?{dates}&summarize=false").json()
    assert len(everything) > calls
    for day in everybody:
        of_day = [row for row in everything if row["startTime"].startswith(day["startTime"])]
        assert round(day["spend"] * 1e9) == sum(nano_usd(row) for row in of_day)
        for names, field in (("users", "user"), ("models", "model")):
            for name, spend in day[names].items():
                expected = sum(nano_usd(row) for row in of_day if (row[field] or "") == name)
                assert round(spend * 1e9) == expected, (names, name)
    own = gateway.call("GET", f"/spend/logs?{dates}", key=key).json()
    assert own == of_key, "a key sees its own days only"

    answer, page = rows("&page=2&page_size=100")
    assert (len(page), answer.headers["x-has-more"]) == (calls - 100, "false")
    answer, page = rows("&page_size=100")
    assert (len(page), answer.headers["x-has-more"], answer.headers["x-next-page"]) == (100, "true", "2")
    assert gateway.call("HEAD", f"/spend/logs?{dates}").body == b""


def test_the_dashboards_sums_are_those_of_the_events(gateway, key):
    _, event = call(gateway, key, "sonnet/converse", CONVERSE)
    (row,) = [row for row in gateway.call("GET", "/global/spend/keys").json() if row["api_key"] == hash_of(key)]
    assert round(row["total_spend"] * 1e9) == nano_usd(event) and row["key_name"] == f"sk-...{key[-4:]}"
    days = gateway.call("GET", "/global/spend/logs").json()
    total = round(gateway.call("GET", "/global/spend").json()["spend"] * 1e9)
    assert sum(round(day["spend"] * 1e9) for day in days) == total
    models = gateway.call("GET", "/global/spend/models").json()
    assert models[0]["total_spend"] > 0 and len(models) <= 10
    teams = gateway.call("GET", "/global/spend/teams").json()
    assert {"daily_spend", "teams", "total_spend_per_team"} == set(teams) and "Unassigned" in teams["teams"]
    assert sum(round(team["total_spend"] * 1e9) for team in teams["total_spend_per_team"]) == total
