"""Who may call: every header form of a key, and what boto3 raises when it is not good enough. Refused calls never reach AWS."""

import time

import pytest
from botocore.exceptions import ClientError

from harness.asking import CONVERSE, MESSAGES, deployment, model_list
from harness.clients import boto3_client, curl, curl_json, document_client
from harness.gateway import MASTER_KEY
from harness.waiting import eventually

PATH = "/model/my-claude/converse"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    with spawn_gateway(
        config=model_list(deployment("my-claude"), deployment("other")), database=request.param
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def refusal(gateway, simulator, key: str, model: str = "my-claude") -> tuple[int, str, str]:
    """Status, code and message as boto3 raises them; asserts that AWS was not called."""
    with simulator.recording() as upstream, pytest.raises(ClientError) as raised:
        boto3_client("bedrock-runtime", gateway.base, access_key_id=key).converse(modelId=model, messages=MESSAGES)
    upstream.nothing()
    error = raised.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]


SIGV4 = "AWS4-HMAC-SHA256 Credential={key}/20260101/us-west-2/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=00"


@pytest.mark.parametrize(
    "header",
    [
        "litellm_user_api_key: {key}",
        "litellm_user_api_key: Bearer {key}",
        "x-litellm-api-key: {key}",
        "x-litellm-api-key: Bearer {key}",
        "x-litellm-api-key: bearer {key}",
        "x-litellm-api-key: Basic {key}",
        "Authorization: Bearer {key}",
        "Authorization: bearer {key}",
        "Authorization: BEARER {key}",
        "Authorization: Basic {key}",
        f"Authorization: {SIGV4}",
        "API-Key: {key}",
        "x-api-key: {key}",
        "x-api-key: Bearer {key}",
        "x-goog-api-key: {key}",
        "Ocp-Apim-Subscription-Key: {key}",
    ],
)
def test_a_key_is_found_in_every_header_that_litellm_reads(gateway, key, header):
    answer = curl_json(f"{gateway.base}{PATH}", None, CONVERSE, "-H", header.format(key=key))
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    "first, second",
    [
        ("litellm_user_api_key", "x-litellm-api-key"),
        ("x-litellm-api-key", "Authorization"),
        ("Authorization", "API-Key"),
        ("API-Key", "x-api-key"),
        ("x-api-key", "x-goog-api-key"),
    ],
)
def test_a_bad_key_in_an_earlier_header_is_not_made_good_by_a_later_one(gateway, key, simulator, first, second):
    headers = ("-H", f"{first}: Bearer sk-wrong-key-000000000000", "-H", f"{second}: Bearer {key}")
    with simulator.recording() as upstream:
        assert curl_json(f"{gateway.base}{PATH}", None, CONVERSE, *headers).status == 403
    upstream.nothing()


def test_invariant_2_nothing_leaves_for_aws_without_a_key(gateway, simulator):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}{PATH}", None, CONVERSE)
    upstream.nothing()
    assert answer.status == 403
    assert answer.headers["x-amzn-errortype"].startswith("MissingAuthenticationTokenException")
    assert answer.json()["message"]


def test_an_unknown_key_raises_unrecognized_client(gateway, simulator):
    key = "sk-nobody-has-made-this-key-1234"
    gateway.secrets.add(key)
    status, code, message = refusal(gateway, simulator, key)
    assert (status, code) == (403, "UnrecognizedClientException")
    assert key not in message


def test_a_blocked_key_raises_access_denied_until_it_is_unblocked(gateway, simulator):
    key = gateway.generate_key()
    client = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    client.converse(modelId="my-claude", messages=MESSAGES)
    assert gateway.call("POST", "/key/block", {"key": key}).status == 200
    status, code, message = refusal(gateway, simulator, key)
    assert (status, code) == (403, "AccessDeniedException") and "blocked" in message.lower()
    assert gateway.call("POST", "/key/unblock", {"key": key}).status == 200
    client.converse(modelId="my-claude", messages=MESSAGES)


def test_an_expired_key_raises_access_denied(gateway, simulator):
    key = gateway.generate_key(duration="1s")

    def expired():
        try:
            boto3_client("bedrock-runtime", gateway.base, access_key_id=key).converse(
                modelId="my-claude", messages=MESSAGES
            )
            return False
        except ClientError:
            return True

    began = time.monotonic()
    eventually(expired, 5, "the key expires")
    assert time.monotonic() - began < 4
    status, code, message = refusal(gateway, simulator, key)
    assert (status, code) == (403, "AccessDeniedException") and "expired" in message.lower()


def test_a_deleted_key_is_unknown(gateway, simulator):
    key = gateway.generate_key()
    assert gateway.call("POST", "/key/delete", {"keys": [key]}).status == 200
    assert refusal(gateway, simulator, key)[1] == "UnrecognizedClientException"


def test_a_model_that_the_key_may_not_use_raises_access_denied(gateway, simulator):
    key = gateway.generate_key(models=["other"])
    status, code, message = refusal(gateway, simulator, key, "my-claude")
    assert (status, code) == (403, "AccessDeniedException")
    assert "other" in message and "my-claude" in message
    boto3_client("bedrock-runtime", gateway.base, access_key_id=key).converse(modelId="other", messages=MESSAGES)


def test_the_model_list_also_binds_models_named_in_bodies(gateway, simulator):
    key = gateway.generate_key(models=["other"])
    agents = boto3_client("bedrock-agent-runtime", gateway.base, access_key_id=key)
    model = "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-pro-v1:0"
    denied = {
        "InvokeInlineAgent": lambda: agents.invoke_inline_agent(
            sessionId="session-1",
            foundationModel="amazon.nova-pro-v1:0",
            inputText="hi",
            instruction="You are an agent of forty characters and more.",
        ),
        "RetrieveAndGenerate": lambda: agents.retrieve_and_generate(
            input={"text": "hi"},
            retrieveAndGenerateConfiguration={
                "type": "KNOWLEDGE_BASE",
                "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB12345678", "modelArn": model},
            },
        ),
    }
    with simulator.recording() as upstream:
        for name, call in denied.items():
            with pytest.raises(ClientError) as raised:
                call()
            assert raised.value.response["Error"]["Code"] == "AccessDeniedException", name
    upstream.nothing()


def test_changing_aws_resources_takes_the_master_key(gateway, simulator, key):
    with simulator.recording() as upstream, pytest.raises(ClientError) as raised:
        boto3_client("bedrock", gateway.base, access_key_id=key).delete_guardrail(guardrailIdentifier="gr1234567890")
    upstream.nothing()
    assert raised.value.response["Error"]["Code"] == "AccessDeniedException"
    with simulator.recording() as upstream:
        curl("-X", "DELETE", f"{gateway.base}/guardrails/gr1234567890", "-H", f"Authorization: Bearer {MASTER_KEY}")
    assert upstream.one().method == "DELETE"


def test_allowed_routes_let_a_key_change_aws_resources(gateway, simulator):
    key = gateway.generate_key(allowed_routes=["/bedrock/guardrails/*"])
    with simulator.recording() as upstream:
        curl("-X", "DELETE", f"{gateway.base}/guardrails/gr1234567890", "-H", f"Authorization: Bearer {key}")
    assert upstream.one().method == "DELETE"


def test_reading_is_allowed_to_every_key(gateway, simulator, key):
    with simulator.recording() as upstream:
        curl(f"{gateway.base}/foundation-models", "-H", f"Authorization: Bearer {key}")
    assert upstream.one().path == "/foundation-models"


@pytest.mark.parametrize(
    "service, call",
    [
        ("bedrock-runtime", lambda client: client.converse(modelId="my-claude", messages=MESSAGES)),
        (
            "bedrock-agent-runtime",
            lambda client: client.retrieve(knowledgeBaseId="KB12345678", retrievalQuery={"text": "x"}),
        ),
        ("bedrock", lambda client: client.list_foundation_models()),
        ("bedrock-agent", lambda client: client.list_agents()),
    ],
)
def test_invariant_9_every_service_raises_the_modelled_exception_for_a_blocked_key(gateway, simulator, service, call):
    key = gateway.generate_key()
    assert gateway.call("POST", "/key/block", {"key": key}).status == 200
    client = document_client(service, gateway.base, key)
    with simulator.recording() as upstream, pytest.raises(client.exceptions.AccessDeniedException):
        call(client)
    upstream.nothing()


def test_a_configured_key_header_is_read(spawn_gateway):
    config = model_list(deployment("my-claude"), general_settings={"litellm_key_header_name": "X-My-Key"})
    with spawn_gateway(config=config) as running:
        made = running.call("POST", "/key/generate", {}, key=None, headers={"X-My-Key": f"Bearer {MASTER_KEY}"})
        key = made.json()["key"]
        running.secrets.add(key)
        assert curl_json(f"{running.base}{PATH}", None, CONVERSE, "-H", f"X-My-Key: Bearer {key}").status == 200


def test_keys_work_after_a_restart(spawn_gateway):
    with spawn_gateway() as running:
        key = running.generate_key(key_alias="lasting")
        running.kill_and_restart()
        answer = curl_json(f"{running.base}/model/amazon.nova-pro-v1:0/converse", key, CONVERSE)
        assert answer.status == 200, answer.body
