"""What goes in comes out: request bytes, paths, queries, headers, signatures; and the answer's bytes."""

import json
import urllib.parse
import urllib.request

import pytest

from harness.asking import CLAUDE, CONVERSE, deployment, model_list
from harness.clients import boto3_client, curl, curl_json, raw_exchange, raw_post
from harness.simulator import ACCESS_KEY_ID, SECRET_ACCESS_KEY, sha256

ODD = '{ "b":1,\r\n\t"messages" : [{"role":"user","content":[{"text":"Grüße \\u00fc 你好 🦀 \\/ \\u2028"}]}],"a" :{"z":1e2,"y":1.0,"x":-0}, "b":2 }  \n'.encode()
PROFILE = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abcdef123456"


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(
        config=model_list(deployment("my-claude"), deployment("team/claude"), deployment("my-profile", PROFILE))
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def test_invariant_1_request_bytes_reach_bedrock_unmodified(gateway, key, simulator):
    with simulator.recording() as upstream:
        assert curl_json(f"{gateway.base}/model/my-claude/converse", key, ODD).status == 200
    assert upstream.one().body_sha256 == sha256(ODD)


def test_a_chunked_request_arrives_with_the_same_bytes(gateway, key, simulator):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-claude/converse", key, ODD, "-H", "Transfer-Encoding: chunked")
    assert answer.status == 200
    assert upstream.one().body_sha256 == sha256(ODD)


@pytest.mark.parametrize(
    "path, body",
    [
        ("/model/{model}/converse", CONVERSE),
        ("/model/{model}/converse-stream", CONVERSE),
        ("/guardrail/abc/version/1/apply", b'{"contents": [{"text": {"text": "Hello"}}], "source": "INPUT"}'),
        ("/model/{model}/converse", b"not json at all"),
    ],
)
def test_invariant_1_response_bytes_reach_the_client_unmodified(gateway, key, simulator, path, body):
    """The same question straight to the simulator, signed by botocore, and through the gateway: the same bytes."""
    path = path.format(model=urllib.parse.quote(CLAUDE, safe=""))
    through = curl_json(f"{gateway.base}{path}", key, body)
    status, direct = _signed_directly(simulator, path, body)
    assert (through.status, through.body) == (status, direct)
    assert through.body


def _signed_directly(simulator, path: str, body: bytes) -> tuple[int, bytes]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("POST", simulator.url + path, headers={"content-type": "application/json"}, data=body)
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "bedrock", "us-west-2").add_auth(request)
    prepared = urllib.request.Request(simulator.url + path, data=body, method="POST", headers=dict(request.headers))
    try:
        with urllib.request.urlopen(prepared, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


ARN_SEGMENT = urllib.parse.quote(PROFILE, safe="")
ARN_COLONS = PROFILE.replace("/", "%2F")


@pytest.mark.parametrize(
    "sent, arrives",
    [
        ("/model/amazon.nova-pro-v1%3A0/converse", "/model/amazon.nova-pro-v1%3A0/converse"),
        ("/model/amazon.nova-pro-v1:0/converse", "/model/amazon.nova-pro-v1:0/converse"),
        (f"/model/{ARN_SEGMENT}/converse", f"/model/{ARN_SEGMENT}/converse"),
        (f"/model/{ARN_COLONS}/converse", f"/model/{ARN_COLONS}/converse"),
        ("/model/my-claude/converse", "/model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"),
        ("/model/team%2Fclaude/converse", "/model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"),
        ("/model/team/claude/converse", "/model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"),
        ("/model/my-profile/converse", f"/model/{ARN_SEGMENT}/converse"),
    ],
)
def test_a_path_arrives_in_the_encoding_it_was_sent_in(gateway, key, simulator, sent, arrives):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}{sent}", key, CONVERSE)
    assert answer.status == 200, answer.body
    assert upstream.one().path == arrives


@pytest.mark.parametrize(
    "query", ["maxResults=10&nextToken=a%2Fb%2B%3D", "byProvider=Amazon&x=%20~", "a=&b", "z=1&a=2&z=0"]
)
def test_a_query_arrives_in_the_encoding_it_was_sent_in_and_is_signed(gateway, simulator, query):
    key = gateway.generate_key()
    with simulator.recording() as upstream:
        curl(f"{gateway.base}/foundation-models?{query}", "-H", f"Authorization: Bearer {key}")
    seen = upstream.one()
    assert (seen.method, seen.path, seen.query) == ("GET", "/foundation-models", query)
    assert seen.verdict == "signature", seen
    assert seen.signature == seen.signature_by_botocore(SECRET_ACCESS_KEY)


@pytest.mark.parametrize(
    "path",
    [
        "/model/my-claude/converse",
        "/model/amazon.nova-pro-v1:0/converse",
        "/model/amazon.nova-pro-v1%3A0/converse",
        "/model/my-profile/converse-stream",
        "/guardrail/abc/version/1/apply",
        "/knowledgebases/KB12345678/retrieve",
        "/agents/AGENT12345/agentAliases/ALIAS12345/sessions/s%201/text",
    ],
)
def test_botocore_computes_the_same_signature_for_what_arrived(gateway, key, simulator, path):
    with simulator.recording() as upstream:
        curl_json(f"{gateway.base}{path}", key, ODD)
    seen = upstream.one()
    assert seen.credential[0] == ACCESS_KEY_ID
    assert "host" in seen.signed_headers and "x-amz-date" in seen.signed_headers
    assert seen.signature == seen.signature_by_botocore(SECRET_ACCESS_KEY)
    assert seen.body_sha256 == sha256(ODD)


FORBIDDEN = [
    "authorization-of-client",
    "cookie",
    "expect",
    "x-api-key",
    "api-key",
    "x-litellm-api-key",
    "litellm_user_api_key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-forwarded-for",
    "x-amz-user-agent",
    "x-litellm-tags",
    "te",
    "proxy-authorization",
    "keep-alive",
    "upgrade",
    "x-anything-else",
]


def test_invariant_2_no_key_header_client_signature_or_hop_by_hop_header_is_forwarded(gateway, key, simulator):
    sent = {
        "Cookie": "session=1",
        "Accept-Encoding": "gzip",
        "x-api-key": key,
        "API-Key": key,
        "x-litellm-api-key": key,
        "litellm_user_api_key": f"Bearer {key}",
        "x-goog-api-key": key,
        "Ocp-Apim-Subscription-Key": key,
        "X-Forwarded-For": "10.0.0.1",
        "x-amz-user-agent": "me",
        "x-amz-security-token": "client-token",
        "X-Amz-Date": "20200101T000000Z",
        "x-amz-content-sha256": "0" * 64,
        "x-litellm-tags": "a",
        "TE": "trailers",
        "Proxy-Authorization": "Basic abc",
        "x-anything-else": "1",
        "Connection": "x-hop",
        "x-hop": "1",
    }
    headers = [part for name, value in sent.items() for part in ("-H", f"{name}: {value}")]
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-claude/converse", key, CONVERSE, *headers)
    assert answer.status == 200, answer.body
    seen = upstream.one()
    assert seen.header_names.isdisjoint(FORBIDDEN), seen.header_names & set(FORBIDDEN)
    assert "x-hop" not in seen.header_names
    assert seen.header("accept-encoding") in (None, "identity"), "AWS must not compress what the gateway passes on"
    assert seen.header("x-amz-date") != "20200101T000000Z"
    assert seen.header("x-amz-security-token") is None
    assert not any(key in value for _, value in seen.headers)


def test_headers_that_belong_to_the_operation_arrive(gateway, key, simulator):
    sent = {
        "x-amzn-bedrock-guardrailidentifier": "gr-1",
        "x-amzn-bedrock-guardrailversion": "1",
        "x-amzn-bedrock-trace": "ENABLED",
        "x-amzn-bedrock-performanceconfig-latency": "optimized",
        "accept": "application/json",
        "anthropic-beta": "context-1m-2025-08-07",
    }
    headers = [part for name, value in sent.items() for part in ("-H", f"{name}: {value}")]
    with simulator.recording() as upstream:
        curl_json(f"{gateway.base}/model/my-claude/invoke", key, CONVERSE, *headers)
    seen = upstream.one()
    for name, value in {**sent, "content-type": "application/json"}.items():
        assert seen.header(name) == value, name
    signed = seen.signed_headers
    assert all(name in signed for name in seen.header_names if name.startswith("x-amz-")), (
        "AWS asks that every x-amz-* be signed"
    )


def test_a_put_a_delete_and_an_empty_body_keep_their_method(gateway, simulator):
    from harness.gateway import MASTER_KEY

    agents = boto3_client("bedrock-agent", gateway.base, access_key_id=MASTER_KEY)
    with simulator.recording() as upstream:
        for call in (
            lambda: agents.get_agent(agentId="AGENT12345"),
            lambda: agents.delete_agent(agentId="AGENT12345", skipResourceInUseCheck=True),
        ):
            try:
                call()
            except agents.exceptions.ClientError:
                pass
    first, second = upstream.all()
    assert (first.method, first.path) == ("GET", "/agents/AGENT12345/")
    assert (second.method, second.path, second.query) == (
        "DELETE",
        "/agents/AGENT12345/",
        "skipResourceInUseCheck=true",
    )
    for seen in (first, second):
        assert seen.signature == seen.signature_by_botocore(SECRET_ACCESS_KEY)


def test_invariant_9_an_error_of_aws_is_relayed_byte_for_byte(gateway, key, simulator):
    through = curl_json(f"{gateway.base}/model/{urllib.parse.quote(CLAUDE, safe='')}/converse", key, b"[]")
    status, direct = _signed_directly(simulator, f"/model/{urllib.parse.quote(CLAUDE, safe='')}/converse", b"[]")
    assert (through.status, through.body) == (status, direct)
    assert through.status == 400 and through.headers["x-amzn-errortype"].startswith("ValidationException")
    assert through.headers["x-amzn-requestid"]


def test_a_response_with_a_content_length_keeps_it(gateway, key):
    answer = raw_exchange(gateway.port, raw_post("/bedrock/model/my-claude/converse", key, CONVERSE))
    assert answer.status == 200 and answer.ended_clean
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(answer.body)["usage"]
