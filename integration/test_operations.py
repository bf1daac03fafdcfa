"""What operators use: health, metrics, lists of models, the log."""

import http.client
import json
import re

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json
from harness.spend import sonnet_cost
from harness.waiting import eventually


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(
        config=model_list(deployment("my-claude", model_info={"id": "claude-in-oregon"}), deployment("other"))
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key(models=["my-claude"])


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness"])
def test_liveness_answers_without_a_key(gateway, path):
    answer = gateway.call("GET", path, key=None)
    assert answer.status == 200 and answer.body == b'"I\'m alive!"'


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_readiness_says_that_the_database_is_connected(spawn_gateway, database):
    with spawn_gateway(database=database) as running:
        answer = running.call("GET", "/health/readiness", key=None)
        assert answer.status == 200
        assert (answer.json()["status"], answer.json()["db"]) == ("healthy", "connected")


def test_the_list_of_models_holds_what_the_key_may_use(gateway, key):
    mine = gateway.call("GET", "/v1/models", key=key)
    assert mine.status == 200
    assert [(model["id"], model["object"]) for model in mine.json()["data"]] == [("my-claude", "model")]
    everything = gateway.call("GET", "/v1/models")
    assert {model["id"] for model in everything.json()["data"]} == {"my-claude", "other"}
    for path in ("/v1/models", "/model/info"):
        refused = gateway.call("GET", path, key="sk-unknown-key-00000000000")
        assert (refused.status, refused.json()["error"]["code"]) == (401, "401")
        assert gateway.call("GET", path, key=None).status == 401
    assert [entry["model_name"] for entry in gateway.call("GET", "/model/info", key=key).json()["data"]] == [
        "my-claude"
    ]


def test_answers_name_the_call_and_the_deployment(gateway, key):
    answer = curl_json(f"{gateway.base}/model/my-claude/converse", key, CONVERSE)
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-litellm-call-id"])
    assert answer.headers["x-litellm-model-id"] == "claude-in-oregon"
    assert answer.headers["x-amzn-requestid"]


def test_metrics_count_requests_tokens_and_cost(gateway, key):
    def value(sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} ([0-9.e+-]+)$", gateway.metrics(), re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    samples = [
        'bedgate_requests_total{operation="Converse",status="200",outcome="complete"}',
        'bedgate_tokens_total{kind="Input"}',
        'bedgate_tokens_total{kind="Output"}',
        'bedgate_cost_nano_usd_total{basis="exact"}',
        "bedgate_upstream_attempts_total",
    ]
    before = [value(sample) for sample in samples]
    usage = curl_json(f"{gateway.base}/model/my-claude/converse", key, CONVERSE).json()["usage"]
    grown = [1, usage["inputTokens"], usage["outputTokens"], sonnet_cost(usage), 1]
    expected = [earlier + more for earlier, more in zip(before, grown, strict=True)]
    eventually(lambda: [value(sample) for sample in samples] == expected, what=f"{samples} grow by {grown}")
    assert gateway.metrics().rstrip().endswith("# EOF")


def test_the_ledger_has_nothing_waiting_once_all_is_shipped(gateway, key):
    curl_json(f"{gateway.base}/model/my-claude/converse", key, CONVERSE)
    eventually(lambda: re.search(r"^bedgate_ledger_events_waiting 0$", gateway.metrics(), re.MULTILINE))
    assert re.search(r"^bedgate_requests_in_flight 0$", gateway.metrics(), re.MULTILINE)


def test_one_access_line_a_request_and_no_secret(gateway, key):
    answer = curl_json(f"{gateway.base}/model/my-claude/converse", key, CONVERSE)
    call_id = answer.headers["x-litellm-call-id"]
    lines = eventually(
        lambda: [line for line in gateway.errors().splitlines() if call_id in line], what="the access line"
    )
    assert len(lines) == 1
    assert re.search(
        r"/model/my-claude/converse Converse 200 complete deployment=claude-in-oregon attempts=1", lines[0]
    )
    assert "Hello, how are you" not in gateway.errors(), "what people say to models has no place in the log"
    gateway.assert_no_secret_in("the log", gateway.errors())


def test_an_admin_call_has_an_access_line_that_shows_the_route_and_no_key(gateway, key):
    assert gateway.call("POST", f"/key/{key}/reset_spend", {"reset_to": 0}).status == 200
    eventually(
        lambda: [line for line in gateway.errors().splitlines() if "POST /key/{key}/reset_spend" in line],
        what="the access line",
    )
    assert key not in gateway.errors()


@pytest.mark.parametrize(
    ("config", "env"),
    [
        ({"bedgate_settings": {"access_log": "json"}}, {}),
        ({"litellm_settings": {"json_logs": True}}, {}),
        ({}, {"JSON_LOGS": "true"}),
    ],
)
def test_every_line_of_the_log_is_one_json_object_when_asked(spawn_gateway, config, env):
    with spawn_gateway(config=config, env=env) as running:
        curl_json(f"{running.base}/model/amazon.nova-pro-v1:0/converse", running.generate_key(), CONVERSE)
        lines = eventually(lambda: [line for line in running.errors().splitlines() if "/converse" in line])
        line = json.loads(lines[0])
        assert line["level"] == "INFO" and line["target"] == "bedgate::access" and line["time"]
        assert (line["method"], line["status"], line["attempts"]) == ("POST", 200, 1)
        assert line["path"].endswith("/converse") and line["outcome"] == "complete" and float(line["cost_usd"]) > 0
        assert isinstance(line["latency_us"], int) and "{" not in line["message"]
        eventually(lambda: "listening on" in running.errors(), what="the start is told in the log")
        assert running.output() == "", "and nowhere else"
    assert all(isinstance(json.loads(line), dict) for line in running.errors().splitlines())


def test_a_connection_is_kept_for_the_next_request(gateway, key):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.connect()
    local_port = connection.sock.getsockname()[1]
    for _ in range(3):
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/bedrock/model/my-claude/converse", CONVERSE, headers)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        assert connection.sock.getsockname()[1] == local_port
    connection.close()


def test_other_paths_are_404(gateway):
    assert gateway.call("GET", "/no-such-page").status == 404
