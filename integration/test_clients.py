"""Clients run for real: each asks and streams, raises its own modelled class, and is charged to its key."""

import json

import pytest

from harness.asking import CONVERSE, INVOKE_CLAUDE, MESSAGES, deployment, model_list
from harness.clients import aws_cli, curl, curl_json
from harness.sdks import HELLO, WAYS, Access, embed
from harness.signing import generate_pair, pair_cli
from harness.simulator import fault
from harness.waiting import eventually

ENV = {"BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789"}
TITAN = "amazon.titan-embed-text-v2:0"
BY_NAME = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    config = model_list(deployment("my-claude"), deployment("other"), deployment("my-titan", TITAN))
    with spawn_gateway(config=config, env=ENV) as running:
        yield running


@pytest.fixture
def access(gateway) -> Access:
    """A key of the test's own, so that its one row of spend is known."""
    key, pair = generate_pair(gateway, models=["my-claude", "my-titan"])
    return Access(gateway.url, key, pair)


def only_row(gateway, access: Access) -> dict:
    """The one request that the key is charged for."""
    rows = eventually(lambda: gateway.events(api_key=access.key), 15, "the event is in the store")
    assert len(rows) == 1, rows
    return rows[0]


def assert_charged(gateway, access: Access, operation: str) -> None:
    """The row names the operation, the deployment's model and what AWS reported."""
    row = only_row(gateway, access)
    assert row["metadata"]["operation"] == operation
    assert (row["model_group"], row["status"]) == ("my-claude", "success")
    assert row["prompt_tokens"] > 0 and row["completion_tokens"] > 0
    assert row["spend"] > 0 and row["metadata"]["cost_basis"] == "exact"


@BY_NAME
def test_it_asks_and_is_charged_to_its_key(gateway, access, way):
    assert way.ask(access, "my-claude")
    assert_charged(gateway, access, way.operation)


@BY_NAME
def test_it_raises_its_own_class_where_the_gateway_says_no(gateway, access, simulator, way):
    with simulator.recording() as upstream, pytest.raises(way.refused) as raised:
        way.ask(access, "other")
    upstream.nothing()
    assert "may not use the model" in str(raised.value)
    if way.code:
        assert raised.value.response["Error"]["Code"] == way.code
        assert type(raised.value).__name__ == way.code


@BY_NAME
def test_it_raises_its_own_class_where_aws_says_no(gateway, access, simulator, way):
    with simulator.faults(fault("throttle")), pytest.raises(way.throttled) as raised:
        way.ask(access, "my-claude")
    if way.code:
        assert raised.value.response["Error"]["Code"] == "ThrottlingException"
    assert only_row(gateway, access)["metadata"]["http_status"] == 429


def test_langchain_embeds(gateway, access):
    assert len(embed(access, "my-titan")) > 100
    row = only_row(gateway, access)
    assert row["metadata"]["operation"] == "InvokeModel" and row["spend"] > 0


# --- command lines -----------------------------------------------------------------------------------------------------------


def test_the_aws_cli_asks_with_a_pair_and_with_the_key(gateway, access):
    question = ("converse", "--model-id", "my-claude", "--messages", json.dumps(MESSAGES))
    for done in (
        pair_cli(access.bedrock, access.pair, "bedrock-runtime", *question),
        aws_cli(access.bedrock, access.key, "bedrock-runtime", *question),
    ):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["output"]["message"]["content"][0]["text"]
    rows = eventually(lambda: len(gateway.events(api_key=access.key)) == 2 and gateway.events(api_key=access.key))
    assert all(row["spend"] > 0 for row in rows)


def test_the_aws_cli_names_the_exception(access, simulator):
    question = ("converse", "--model-id", "other", "--messages", json.dumps(MESSAGES))
    done = pair_cli(access.bedrock, access.pair, "bedrock-runtime", *question)
    assert done.returncode == 255 and "AccessDeniedException" in done.stderr
    with simulator.faults(fault("throttle")):
        done = pair_cli(access.bedrock, access.pair, "bedrock-runtime", *question[:2], "my-claude", *question[3:])
    assert done.returncode == 255 and "ThrottlingException" in done.stderr


CURL = {
    "bearer": lambda access: ("-H", f"Authorization: Bearer {access.key}"),
    "x-api-key": lambda access: ("-H", f"x-api-key: {access.key}"),
    "signature": lambda access: (
        "--aws-sigv4",
        "aws:amz:us-west-2:bedrock",
        "--user",
        f"{access.pair.access_key_id}:{access.pair.secret_access_key}",
    ),
}


@pytest.mark.parametrize("shown", CURL)
@pytest.mark.parametrize(
    "operation, path, body",
    [
        ("Converse", "/bedrock/model/my-claude/converse", CONVERSE),
        ("ConverseStream", "/bedrock/model/my-claude/converse-stream", CONVERSE),
        ("InvokeModelWithResponseStream", "/bedrock/model/my-claude/invoke-with-response-stream", INVOKE_CLAUDE),
        (
            "AnthropicMessages",
            "/v1/messages",
            json.dumps({"model": "my-claude", "max_tokens": 8, "messages": HELLO, "stream": True}),
        ),
        (
            "OpenAiChatCompletions",
            "/v1/chat/completions",
            json.dumps(
                {"model": "my-claude", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
            ),
        ),
    ],
)
def test_curl_shows_its_key_in_any_way(gateway, access, shown, operation, path, body):
    answer = curl_json(gateway.url + path, None, body, *CURL[shown](access))
    assert answer.status == 200, answer.body
    assert_charged(gateway, access, operation)


def test_curl_reads_the_error_in_the_form_of_each_api(gateway, access):
    refused = json.dumps({"model": "other", "max_tokens": 8, "messages": HELLO})
    bearer = CURL["bearer"](access)
    of_aws = curl_json(f"{gateway.base}/model/other/converse", None, CONVERSE, *bearer)
    assert of_aws.headers["x-amzn-errortype"] == "AccessDeniedException" and of_aws.json()["message"]
    of_openai = curl_json(f"{gateway.url}/v1/chat/completions", None, refused, *bearer)
    assert of_openai.json()["error"]["type"] == "permission_error"
    of_anthropic = curl_json(f"{gateway.url}/v1/messages", None, refused, *bearer)
    assert (of_anthropic.json()["type"], of_anthropic.json()["error"]["type"]) == ("error", "permission_error")
    assert {of_aws.status, of_openai.status, of_anthropic.status} == {403}


def test_the_list_of_models_is_what_openai_and_anthropic_clients_find(gateway, access):
    import openai

    listed = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=access.key).models.list()
    assert {model.id for model in listed} == {"my-claude", "my-titan"}
    answer = curl(f"{gateway.url}/v1/models", *CURL["x-api-key"](access))
    assert {model["id"] for model in answer.json()["data"]} == {"my-claude", "my-titan"}
