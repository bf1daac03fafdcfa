"""Which region a call goes to: the deployment's, the ARN's in the path, the signature's where that is allowed, the default."""

import contextlib
import json
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl, curl_json
from harness.gateway import MASTER_KEY
from harness.signing import generate_pair

ENV = {"BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789"}
BEARER = ("-H", f"Authorization: Bearer {MASTER_KEY}")


def arn(service: str, resource: str, region: str = "eu-west-1") -> str:
    return f"arn:aws:{service}:{region}:123456789012:{resource}"


@pytest.fixture(scope="module", params=[False, True], ids=["signatures do not count", "signatures count"])
def gateway(spawn_gateway, request):
    settings = {"routing": {"region_from_signature": request.param}}
    config = model_list(deployment("my-claude"), bedgate_settings=settings)
    with spawn_gateway(config=config, env={**ENV, "AWS_REGION": "us-east-2"}) as running:
        running.counts = request.param
        yield running


def region_of(upstream) -> str:
    return upstream.one().credential[2]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/tags/" + quote(arn("bedrock", "agent/AGENT12345"), safe="")),
        ("GET", "/tags/" + arn("bedrock-agentcore", "runtime%2Fx")),
        ("GET", "/guardrails/" + quote(arn("bedrock", "guardrail/gr1234567890"), safe="")),
        ("GET", "/async-invoke/" + quote(arn("bedrock", "async-invoke/abc123456789"), safe="")),
        ("POST", f"/guardrail/{quote(arn('bedrock', 'guardrail/gr1234567890'), safe='')}/version/1/apply"),
        ("POST", f"/model/{quote(arn('bedrock', 'inference-profile/us.amazon.nova-pro-v1:0'), safe='')}/converse"),
    ],
)
def test_the_region_of_an_arn_in_the_path_counts(gateway, simulator, method, path):
    with simulator.recording() as upstream:
        curl_json(gateway.base + path, MASTER_KEY, CONVERSE, "-X", method)
    assert region_of(upstream) == "eu-west-1"


def test_a_deployments_own_region_counts_most(gateway, simulator):
    with simulator.recording() as upstream:
        assert curl_json(f"{gateway.base}/model/my-claude/converse", MASTER_KEY, CONVERSE).status == 200
    assert region_of(upstream) == "us-west-2"


@pytest.mark.parametrize(
    "path", ["/foundation-models", "/guardrails/gr1234567890", "/tags/" + quote(arn("bedrock", "x", ""), safe="")]
)
def test_else_the_default_region_counts(gateway, simulator, path):
    with simulator.recording() as upstream:
        curl(gateway.base + path, *BEARER)
    assert region_of(upstream) == "us-east-2"


def client(gateway, pair, service: str, region: str = "ap-southeast-2"):
    session = boto3.Session(pair.access_key_id, pair.secret_access_key, region_name=region)
    return session.client(service, endpoint_url=gateway.base, config=Config(retries={"total_max_attempts": 1}))


def test_a_signatures_region_counts_where_it_is_allowed(gateway, simulator):
    _, pair = generate_pair(gateway)
    signed_for = "ap-southeast-2" if gateway.counts else "us-east-2"
    model = arn("bedrock", "inference-profile/us.amazon.nova-pro-v1:0")
    messages = json.loads(CONVERSE)["messages"]
    calls = [
        (lambda: client(gateway, pair, "bedrock").list_foundation_models(), signed_for),
        (lambda: client(gateway, pair, "bedrock-agent").list_agents(), signed_for),
        (lambda: converse("amazon.nova-pro-v1:0"), signed_for),
        (lambda: converse("my-claude"), "us-west-2"),
        (lambda: converse(model), "eu-west-1"),
    ]

    def converse(name):
        client(gateway, pair, "bedrock-runtime").converse(modelId=name, messages=messages)

    for call, expected in calls:
        with simulator.recording() as upstream:
            call()
        assert region_of(upstream) == expected


@pytest.mark.parametrize("region", ["evil.example", "localhost", "us-west-2.evil.example-1", "x" * 70 + "-a-1"])
def test_invariant_3_a_signatures_region_names_no_host(gateway, simulator, region):
    scope = f"{MASTER_KEY}/20260101/{region}/bedrock/aws4_request"
    signed = f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"
    with simulator.recording() as upstream:
        curl(f"{gateway.base}/foundation-models", "-H", signed)
    assert region_of(upstream) == "us-east-2"


def test_invariant_8_no_request_adds_a_region_or_takes_one_away(spawn_gateway, simulator):
    with spawn_gateway(config=model_list()) as running:

        def ask(region: str):
            return curl(f"{running.base}/guardrails/" + quote(arn("bedrock", "guardrail/gr1", region), safe=""), *BEARER)

        for number in range(70):
            answer = ask(f"us-made-up{number:02}-1")
            assert answer.status == 400 and "further_regions" in answer.json()["message"]
        assert ask("eu-west-1").status == 200


# --- operations that share a path --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service, call, signing_name",
    [
        ("bedrock-agent", lambda c: c.list_tags_for_resource(resourceArn=arn("bedrock", "agent/A")), "bedrock"),
        (
            "bedrock-agent-runtime",
            lambda c: c.list_tags_for_resource(
                resourceArn=arn("bedrock", "session/12345678-1234-1234-1234-123456789012")
            ),
            "bedrock",
        ),
        (
            "bedrock-agentcore-control",
            lambda c: c.list_tags_for_resource(resourceArn=arn("bedrock-agentcore", "runtime/agent-0123456789")),
            "bedrock-agentcore",
        ),
        (
            "bedrock-data-automation",
            lambda c: c.list_tags_for_resource(
                resourceARN=arn("bedrock", "data-automation-project/123456789012", "us-west-2")
            ),
            "bedrock",
        ),
    ],
)
def test_operations_that_share_a_path_are_signed_for_their_own_service(
    spawn_gateway, simulator, service, call, signing_name
):
    """Each service has an endpoint of its own here, so that the request shows where it went."""
    name = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
    with spawn_gateway(config=model_list(), env={**ENV, name: f"{simulator.url}/at-{service}"}) as running:
        _, pair = generate_pair(running)
        # The simulator knows no path with such a beginning, and may refuse it.
        with simulator.recording() as upstream, contextlib.suppress(ClientError):
            call(client(running, pair, service))
    seen = upstream.one()
    assert seen.path.startswith(f"/at-{service}/")
    assert seen.credential[3] == signing_name


def test_the_scope_of_a_signature_tells_services_apart_where_no_arn_does(spawn_gateway, simulator):
    env = {"AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": f"{simulator.url}/at-control"}
    with spawn_gateway(config=model_list(), env=env) as running:
        for scope, expected in [("bedrock-agentcore", "/at-control/tags/x"), ("bedrock", "/tags/x")]:
            credential = f"{MASTER_KEY}/20260101/us-west-2/{scope}/aws4_request"
            signed = f"Authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"
            with simulator.recording() as upstream:
                curl(f"{running.base}/tags/x", "-H", signed)
            assert upstream.one().path == expected
