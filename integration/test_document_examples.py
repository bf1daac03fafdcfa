"""Every example of LiteLLM's document "Bedrock (boto3) SDK", by curl, boto3 and the AWS CLI."""

import json

import pytest

from harness.asking import DOCUMENT_CONFIG, MESSAGES, QUICK_START_CONFIG, completion_of_agent, text_of_stream
from harness.clients import aws_cli, boto3_client, curl_json, document_client, frames

HELLO = '{"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}'
GUARDRAIL = '{"contents": [{"text": {"text": "Hello world"}}], "source": "INPUT"}'
RETRIEVE = json.dumps(
    {
        "nextToken": "string",
        "retrievalConfiguration": {
            "vectorSearchConfiguration": {
                "filter": {"equals": {"key": "animal", "value": "cat"}},
                "numberOfResults": 5,
                "overrideSearchType": "HYBRID",
            }
        },
        "retrievalQuery": {"text": "string"},
    }
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    with spawn_gateway(
        config=DOCUMENT_CONFIG + QUICK_START_CONFIG.split("\n", 1)[1], database=request.param
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    """As the document generates it: a body of `{}`, authorised by the master key."""
    return gateway.generate_key()


def test_the_quick_start_calls_converse_by_the_configured_name(gateway, key, simulator):
    body = (
        '{\n    "messages": [\n        {\n            "role": "user",\n            "content": [{"text": "Hello, how are you?"}]\n'
        '        }\n    ],\n    "inferenceConfig": {\n        "maxTokens": 100\n    }\n}'
    )
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-bedrock-model/converse", key, body)
    assert answer.status == 200
    assert answer.json()["output"]["message"]["role"] == "assistant"
    assert answer.json()["usage"]["outputTokens"] > 0
    assert upstream.one().path == "/model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"
    assert upstream.one().credential[2:] == ["us-west-2", "bedrock", "aws4_request"]


def test_a_second_configured_name_goes_to_its_own_model_and_region(gateway, key, simulator):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-cohere-model/converse", key, HELLO)
    assert answer.status == 200
    assert upstream.one().path == "/model/cohere.command-r-v1%3A0/converse"
    assert upstream.one().credential[2:4] == ["us-east-1", "bedrock"]


def test_converse_stream_by_the_configured_name_arrives_as_event_stream_frames(gateway, key):
    body = '{"messages": [{"role": "user", "content": [{"text": "Tell me a short story"}]}], "inferenceConfig": {"temperature": 0.7, "maxTokens": 200}}'
    answer = curl_json(f"{gateway.base}/model/my-claude-model/converse-stream", key, body)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    kinds = [headers[":event-type"] for headers, _ in frames(answer.body)]
    assert kinds[0] == "messageStart" and kinds[-1] == "metadata" and "contentBlockDelta" in kinds


@pytest.mark.parametrize("verb", ["invoke", "invoke-with-response-stream"])
def test_the_legacy_invoke_endpoints_work_by_the_configured_name(gateway, key, verb):
    body = '{"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}'
    answer = curl_json(f"{gateway.base}/model/my-claude-model/{verb}", key, body)
    assert answer.status == 200
    if verb == "invoke":
        assert answer.json()["type"] == "message" and answer.json()["usage"]["output_tokens"] > 0
    else:
        assert [headers[":event-type"] for headers, _ in frames(answer.body)].count("chunk") > 2


def test_a_raw_model_id_passes_with_the_default_region(gateway, key, simulator):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/cohere.command-r-v1:0/converse", key, HELLO)
    assert answer.status == 200 and "output" in answer.json()
    assert upstream.one().path == "/model/cohere.command-r-v1:0/converse"
    assert upstream.one().credential[2] == "us-west-2"


@pytest.mark.parametrize(
    "path",
    ["guardrail/guardrailIdentifier/version/guardrailVersion/apply", "guardrail/my-guardrail-id/version/1/apply"],
)
def test_a_guardrail_is_applied(gateway, key, path):
    answer = curl_json(f"{gateway.base}/{path}", key, GUARDRAIL)
    assert answer.status == 200
    assert answer.json()["action"] in ("NONE", "GUARDRAIL_INTERVENED") and "usage" in answer.json()


def test_a_knowledge_base_is_queried(gateway, key, simulator):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/knowledgebases/KB12345678/retrieve", key, RETRIEVE)
    assert answer.status == 200 and answer.json()["retrievalResults"]
    assert upstream.one().body == RETRIEVE.encode()


def test_a_key_generated_with_an_empty_body_has_the_documents_shape_and_works(gateway):
    answer = gateway.call("POST", "/key/generate", {})
    assert answer.status == 200
    key = answer.json()["key"]
    gateway.secrets.add(key)
    assert key.startswith("sk-") and len(key) > 20
    assert curl_json(f"{gateway.base}/model/cohere.command-r-v1:0/converse", key, HELLO).status == 200


def test_the_documents_boto3_recipe_invokes_an_agent(gateway, key):
    client = document_client("bedrock-agent-runtime", gateway.base, key)
    response = client.invoke_agent(
        agentId="L1RT58GYRW", agentAliasId="MFPSBCXYTW", sessionId="12345", inputText="Who do you know?"
    )
    assert completion_of_agent(response)


@pytest.mark.parametrize(
    "recipe",
    [document_client, lambda service, base, key: boto3_client(service, base, access_key_id=key)],
    ids=["the key in a header", "the key as access key id"],
)
def test_boto3_converses_and_streams(gateway, key, recipe):
    client = recipe("bedrock-runtime", gateway.base, key)
    whole = client.converse(modelId="my-claude-model", messages=MESSAGES)
    assert whole["output"]["message"]["content"][0]["text"]
    assert text_of_stream(client.converse_stream(modelId="my-claude-model", messages=MESSAGES))
    raw = client.invoke_model(
        modelId="anthropic.claude-3-haiku-20240307-v1:0",
        body=json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": MESSAGES}),
    )
    assert json.loads(raw["body"].read())["role"] == "assistant"
    streamed = client.invoke_model_with_response_stream(
        modelId="my-claude-model",
        body=json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": MESSAGES}),
    )
    assert b"message_stop" in b"".join(event["chunk"]["bytes"] for event in streamed["body"])


def test_boto3_applies_a_guardrail_and_retrieves_from_a_knowledge_base(gateway, key):
    runtime = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    applied = runtime.apply_guardrail(
        guardrailIdentifier="my-guardrail-id",
        guardrailVersion="1",
        source="INPUT",
        content=[{"text": {"text": "Hello world"}}],
    )
    assert applied["action"]
    agents = boto3_client("bedrock-agent-runtime", gateway.base, access_key_id=key)
    assert agents.retrieve(knowledgeBaseId="KB12345678", retrievalQuery={"text": "string"})["retrievalResults"]


def test_the_aws_cli_converses_and_retrieves(gateway, key):
    said = aws_cli(
        gateway.base,
        key,
        "bedrock-runtime",
        "converse",
        "--model-id",
        "my-claude-model",
        "--messages",
        json.dumps(MESSAGES),
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["output"]["message"]["content"][0]["text"]
    found = aws_cli(
        gateway.base,
        key,
        "bedrock-agent-runtime",
        "retrieve",
        "--knowledge-base-id",
        "KB12345678",
        "--retrieval-query",
        '{"text": "string"}',
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["retrievalResults"]


def test_without_a_master_key_anything_works_as_key(spawn_gateway):
    with spawn_gateway(config=DOCUMENT_CONFIG, master_key=None) as open_gateway:
        for key in ("sk-anything", "anything", None):
            assert curl_json(f"{open_gateway.base}/model/cohere.command-r-v1:0/converse", key, HELLO).status == 200
        assert open_gateway.call("POST", "/key/generate", {}, key=None).status == 400
        assert "master key" in open_gateway.errors().lower(), "open mode must be warned about"
