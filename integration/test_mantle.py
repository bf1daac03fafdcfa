"""The endpoint "mantle": its paths, its own host and signing name, what of it a key may use, and what it costs."""

import json

import openai
import pytest

from harness.asking import CLAUDE, deployment, model_list
from harness.clients import curl, curl_json
from harness.gateway import MASTER_KEY
from harness.simulator import SECRET_ACCESS_KEY
from harness.spend import SONNET_INPUT, SONNET_OUTPUT, nano_usd

HELLO = [{"role": "user", "content": "Hello"}]
QUESTION = {"max_tokens": 8, "messages": HELLO, "input": "Hello"}
# What clients write below /bedrock-mantle, what goes to AWS, and what the event names.
PATHS = {
    "/v1/chat/completions": "OpenAiChatCompletions",
    "/openai/v1/chat/completions": "OpenAiChatCompletions",
    "/v1/responses": "OpenAiResponses",
    "/openai/v1/responses": "OpenAiResponses",
    "/anthropic/v1/messages": "AnthropicMessages",
}


@pytest.fixture(scope="module")
def gateway(spawn_gateway, simulator):
    config = model_list(deployment("my-claude"), deployment("other"))
    env = {"AWS_ENDPOINT_URL_BEDROCK_MANTLE": f"{simulator.url}/", "AWS_REGION": "us-east-1"}
    with spawn_gateway(config=config, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key(models=["my-claude"])


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
def test_a_models_answer_is_charged(gateway, key, simulator, path, is_stream):
    body = json.dumps(
        {"model": "my-claude", **QUESTION, "stream": is_stream, "stream_options": {"include_usage": True}}
    )
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.url}/bedrock-mantle{path}", key, body)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream" if is_stream else "application/json")
    seen = upstream.one()
    assert seen.path == path and json.loads(seen.body)["model"] == CLAUDE
    assert seen.credential[2:4] == ["us-west-2", "bedrock-mantle"]
    assert seen.signature == seen.signature_by_botocore(SECRET_ACCESS_KEY)
    row = gateway.event(answer.headers["x-litellm-call-id"])
    assert (row["metadata"]["service"], row["metadata"]["operation"]) == ("bedrock-mantle", PATHS[path])
    assert row["metadata"]["cost_basis"] == "exact" and row["model_group"] == "my-claude"
    assert nano_usd(row) == row["prompt_tokens"] * SONNET_INPUT + row["completion_tokens"] * SONNET_OUTPUT


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_the_key_may_not_use_is_refused_in_the_form_of_the_api(gateway, key, simulator, path):
    body = json.dumps({"model": "other", **QUESTION})
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.url}/bedrock-mantle{path}", key, body)
    upstream.nothing()
    assert answer.status == 403 and answer.json()["error"]["type"] == "permission_error"
    assert ("type" in answer.json()) == path.startswith("/anthropic")


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models"])
def test_the_models_are_awss_own_list_and_cost_nothing(gateway, key, simulator, path):
    with simulator.recording() as upstream:
        client = openai.OpenAI(base_url=f"{gateway.url}/bedrock-mantle{path.removesuffix('/models')}", api_key=key)
        models = [model.id for model in client.models.list()]
    assert "openai.gpt-oss-120b" in models
    seen = upstream.one()
    assert seen.path == path and seen.credential[2:4] == ["us-east-1", "bedrock-mantle"]


def test_what_the_table_does_not_know_takes_the_master_key(gateway, key, simulator):
    url = f"{gateway.url}/bedrock-mantle/v1/organization/projects"
    with simulator.recording() as upstream:
        refused = curl(url, "-H", f"Authorization: Bearer {key}")
    upstream.nothing()
    assert refused.status == 403
    with simulator.recording() as upstream:
        assert curl(url, "-H", f"Authorization: Bearer {MASTER_KEY}").status == 200
    assert upstream.one().path == "/v1/organization/projects"
