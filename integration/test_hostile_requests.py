"""What a client types chooses no host and widens no permission, and neither one key nor nobody can take the gateway from others."""

import json
import re
import socket
import stat
import time
import urllib.parse

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl, curl_json, raw_exchange, raw_post
from harness.gateway import MASTER_KEY
from harness.process import run_to_end
from harness.signing import generate_pair, send, signed_headers
from harness.simulator import fault
from harness.waiting import eventually

PATH = "/bedrock/model/my-claude/converse"
MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    config = model_list(
        deployment("my-claude"),
        deployment("my-cohere-model", "cohere.command-r-v1:0"),
        deployment("far", "cohere.command-r-v1:0", aws_region_name="eu-west-9"),
        bedgate_settings={"aws": {"further_regions": ["ap-southeast-9", "cn-north-1"]}},
    )
    with spawn_gateway(config=config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def converse_arn(gateway, key, partition: str, region: str):
    """A Converse call to an inference profile somewhere."""
    arn = f"arn:{partition}:bedrock:{region}:123456789012:inference-profile/x"
    return curl_json(f"{gateway.base}/model/{urllib.parse.quote(arn, safe='')}/converse", key, CONVERSE)


# --- invariant 3: the host -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "eu-west-9", "ap-southeast-9"])
def test_an_arn_chooses_among_the_regions_that_aws_has_and_those_that_are_configured(gateway, key, simulator, region):
    with simulator.recording() as upstream:
        assert converse_arn(gateway, key, "aws", region).status == 200
    assert upstream.one().credential[2] == region


@pytest.mark.parametrize(
    "partition, region",
    [
        ("aws", "s3-us-west-2"),
        ("aws", "zaa-x-1"),
        ("aws", "us-west-99"),
        ("aws", "us-east-1.evil.example"),
        ("aws", "US-EAST-1"),
        ("aws-cn", "cn-north-1"),
        ("aws", "cn-north-1"),
        ("aws-us-gov", "us-gov-west-1"),
        ("aws-cn", "us-west-2"),
    ],
)
def test_invariant_3_an_arn_reaches_no_other_region_and_no_other_partition(gateway, key, simulator, partition, region):
    with simulator.recording() as upstream:
        answer = converse_arn(gateway, key, partition, region)
    upstream.nothing()
    assert answer.status == 400 and answer.headers["x-amzn-errortype"].startswith("ValidationException")
    assert region in answer.json()["message"]


def test_arns_of_no_region_take_nothing_from_those_of_a_real_one(gateway, key):
    for first in "abcdefghi":
        for second in "abcdefghi":
            path = f"/bedrock/model/arn%3Aaws%3Abedrock%3Az{first}{second}-x-1%3A1%3Ainference-profile%2Fx/converse"
            assert raw_exchange(gateway.port, raw_post(path, key, CONVERSE)).status == 400
    assert converse_arn(gateway, MASTER_KEY, "aws", "us-east-2").status == 200


# --- operations that nobody knows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/model/us.anthropic.claude-3-5-sonnet-20240620-v1:0/%63onverse",
        "/model/us.anthropic.claude-3-5-sonnet-20240620-v1:0/converse/",
        "/model/us.anthropic.claude-3-5-sonnet-20240620-v1:0/brand-new",
        "/%6dodel/us.anthropic.claude-3-5-sonnet-20240620-v1:0/converse",
        "//model/us.anthropic.claude-3-5-sonnet-20240620-v1:0/converse",
        "/openai/v1/chat/completions/",
    ],
)
@pytest.mark.parametrize("who", ["restricted", "master"])
def test_a_known_path_in_another_writing_is_nobodys_new_operation(gateway, simulator, who, path):
    restricted = {"models": ["my-cohere-model"], "allowed_routes": ["/bedrock-runtime/model/*", "/bedrock-runtime/*"]}
    key = gateway.generate_key(**restricted) if who == "restricted" else MASTER_KEY
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, raw_post(f"/bedrock-runtime{path}", key, CONVERSE))
    upstream.nothing()
    assert answer.status in (400, 403, 404), answer.raw[:300]


def test_an_unknown_operation_needs_the_exact_route_and_no_model_list(gateway, simulator):
    path = "/bedrock-agent-runtime/brand-new/thing"
    cases = [
        ({}, 403),
        ({"allowed_routes": ["/bedrock-agent-runtime/brand-new/*"]}, 403),
        ({"allowed_routes": [path], "models": ["my-claude"]}, 403),
        ({"allowed_routes": [path]}, 200),
    ]
    for fields, status in cases:
        with simulator.recording() as upstream:
            answer = raw_exchange(gateway.port, raw_post(path, gateway.generate_key(**fields), b"{}"))
        assert len(upstream.all()) == (status == 200) and answer.status == status, (fields, answer.raw[:300])


def test_an_aws_json_operation_that_bedgate_does_not_know_keeps_its_target(gateway, simulator):
    target = "AmazonBedrockKeystoneRuntimeService.BrandNew"
    request = raw_post("/bedrock-data-automation-runtime/", MASTER_KEY, b"{}", f"X-Amz-Target: {target}")
    with simulator.recording() as upstream:
        raw_exchange(gateway.port, request)
    seen = upstream.one()
    assert seen.header("x-amz-target") == target and "x-amz-target" in seen.signed_headers


# --- what a plain key may not run ----------------------------------------------------------------------------------------------

RUNTIME = "arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A123456789012%3Aruntime%2Fx"


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", f"/runtimes/{RUNTIME}/commands"),
        ("POST", "/code-interpreters/aws.codeinterpreter.v1/tools/invoke"),
        ("PUT", "/code-interpreters/aws.codeinterpreter.v1/sessions/start"),
        ("PUT", "/browsers/aws.browser.v1/sessions/start"),
        ("POST", "/browsers/aws.browser.v1/sessions/invoke"),
        ("POST", "/memories/memory-1234567890/memoryRecords/batchCreate"),
        ("POST", "/memories/memory-1234567890/events"),
        ("DELETE", "/sessions/abc/"),
    ],
)
def test_a_plain_key_runs_no_code_and_changes_nothing_that_others_stored(gateway, key, simulator, method, path):
    request = raw_post(f"/bedrock{path}", key, b"{}").replace(b"POST", method.encode(), 1)
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, request)
        upstream.nothing()
        assert answer.status == 403 and b"AccessDeniedException" in answer.raw, answer.raw[:300]
        allowed = gateway.generate_key(allowed_routes=[f"/bedrock{path}"])
        raw_exchange(gateway.port, request.replace(key.encode(), allowed.encode()))
        assert len(upstream.all()) == 1


# --- invariant 2: keys and signatures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, path", [("GET", "/key/{}/regenerate"), ("POST", "/key/{}/regenerate/"), ("PUT", "/key/%73k-{}/x")]
)
def test_invariant_2_a_key_in_a_path_is_neither_echoed_nor_logged(gateway, method, path):
    key = gateway.generate_key()
    written = path.format(key.removeprefix("sk-") if "%73k" in path else key)
    answer = gateway.call(method, written)
    assert answer.status == 404
    secret = key.removeprefix("sk-")
    assert secret.encode() not in answer.body
    assert secret not in gateway.errors()


def test_invariant_2_a_key_in_a_bedrock_path_is_not_shown(gateway, key):
    answer = gateway.call("POST", f"/bedrock/brand-new/{key}/thing", {}, key=key)
    assert answer.status == 404 and key.encode() not in answer.body and b"sk-" in answer.body
    gateway.call("POST", f"/bedrock/model/{key}/converse", json.loads(CONVERSE), key=key)
    assert key not in gateway.errors()


def test_invariant_2_a_configured_key_header_is_never_forwarded(spawn_gateway, simulator):
    config = model_list(deployment("my-claude"), general_settings={"litellm_key_header_name": "anthropic-key"})
    with spawn_gateway(config=config) as running:
        made = running.call("POST", "/key/generate", {}, key=None, headers={"anthropic-key": f"Bearer {MASTER_KEY}"})
        key = made.json()["key"]
        running.secrets.add(key)
        with simulator.recording() as upstream:
            answer = curl_json(f"http://127.0.0.1:{running.port}{PATH}", None, CONVERSE, "-H", f"anthropic-key: {key}")
        assert answer.status == 200
        assert "anthropic-key" not in upstream.one().header_names
        # What the harness asks at the end carries the key where this gateway looks for it.
        running.assert_no_secret_in("the log", running.errors())


@pytest.mark.parametrize(
    "query",
    ["X-Amz-Signature=00&X-Amz-Credential=sk-0123456789abcdef", "a=b&x-amz-algorithm=x", "X-Amz-Security%2DToken=t"],
)
def test_invariant_2_a_signature_in_the_query_is_refused_beside_a_key(gateway, key, simulator, query):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-claude/converse?{query}", key, CONVERSE)
    upstream.nothing()
    assert answer.status == 400 and answer.headers["x-amzn-errortype"] == "IncompleteSignatureException"
    assert "query" in answer.json()["message"]


def test_every_connection_header_names_headers_of_this_hop(gateway, key, simulator):
    request = raw_post(PATH, key, CONVERSE, "Connection: anthropic-beta", "anthropic-beta: x", "anthropic-version: y")
    with simulator.recording() as upstream:
        assert raw_exchange(gateway.port, request).status == 200
    assert "anthropic-beta" not in upstream.one().header_names
    assert upstream.one().header("anthropic-version") == "y"


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket"])
def test_a_request_for_websockets_is_refused_at_once(gateway, key, simulator, upgrade):
    request = raw_post(PATH, key, CONVERSE, f"Upgrade: {upgrade}").replace(b"Connection: close", b"Connection: Upgrade")
    with simulator.recording() as upstream:
        began = time.monotonic()
        answer = raw_exchange(gateway.port, request, timeout=10)
    upstream.nothing()
    assert answer.status == 400 and time.monotonic() - began < 8


# --- invariant 8: nobody takes all ----------------------------------------------------------------------------------------------


def held_back(request: bytes, port: int) -> socket.socket:
    """A connection that has sent all of a request but its last byte."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(request[:-1])
    return connection


def padded(size: int) -> bytes:
    """A Converse body of exactly this many bytes."""
    start, end = b'{"messages": [{"role": "user", "content": [{"text": "', b'"}]}]}'
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.fixture(scope="module")
def narrow(spawn_gateway):
    limits = {"max_body": "1MiB", "max_buffered": "8MiB", "max_buffered_per_key": "1MiB", "max_buffered_unproven": "1MiB"}
    config = model_list(deployment("my-claude"), bedgate_settings={"limits": limits})
    with spawn_gateway(config=config, env={"BEDGATE_SECRET_KEY": "the-operators-secret-0123456789"}) as running:
        yield running


def await_held(running, size: int) -> None:
    held = re.compile(rf"^bedgate_buffered_request_bytes {size}$", re.MULTILINE)
    eventually(lambda: held.search(running.metrics()), 5, f"{size} bytes are held")


def test_invariant_8_one_key_cannot_take_the_room_of_all(narrow):
    greedy, other = narrow.generate_key(), narrow.generate_key()
    with held_back(raw_post(PATH, greedy, padded(MIB)), narrow.port):
        await_held(narrow, MIB - 1)
        refused = raw_exchange(narrow.port, raw_post(PATH, greedy, CONVERSE))
        assert refused.status == 503 and b"max_buffered_per_key" in refused.body
        assert raw_exchange(narrow.port, raw_post(PATH, other, padded(MIB))).status == 200
    await_held(narrow, 0)
    assert raw_exchange(narrow.port, raw_post(PATH, greedy, padded(MIB))).status == 200


def test_invariant_8_signatures_that_are_not_proven_yet_share_a_small_room(narrow):
    _, pair = generate_pair(narrow)
    url = f"http://127.0.0.1:{narrow.port}{PATH}"
    headers = signed_headers(url, pair, padded(MIB))
    # Anybody can send what only looks like a signature of a pair that exists.
    forged = {name: re.sub("Signature=.{8}", "Signature=00000000", str(value)) for name, value in headers.items()}
    assert send(narrow, PATH, forged, padded(MIB)).status == 403
    lines = [f"{name}: {value}" for name, value in forged.items() if name.lower() not in ("content-type",)]
    request = raw_post(PATH, "x", padded(MIB), *lines).replace(b"Authorization: Bearer x\r\n", b"", 1)
    request = request.replace(b"Host: 127.0.0.1\r\n", f"Host: 127.0.0.1:{narrow.port}\r\n".encode(), 1)
    with held_back(request, narrow.port):
        await_held(narrow, MIB - 1)
        small = signed_headers(url, pair, CONVERSE)
        refused = send(narrow, PATH, small, CONVERSE)
        assert refused.status == 503 and b"max_buffered_unproven" in refused.body
        assert raw_exchange(narrow.port, raw_post(PATH, narrow.generate_key(), padded(MIB))).status == 200
    await_held(narrow, 0)
    assert send(narrow, PATH, headers, padded(MIB)).status == 200


def test_a_large_body_of_a_blocked_key_that_signs_is_not_read(narrow):
    key, pair = generate_pair(narrow)
    assert narrow.call("POST", "/key/block", {"key": key}).status == 200
    headers = signed_headers(f"http://127.0.0.1:{narrow.port}{PATH}", pair, padded(MIB))
    lines = [f"{name}: {value}" for name, value in headers.items() if name.lower() != "content-type"]
    request = raw_post(PATH, "x", padded(MIB), *lines).replace(b"Authorization: Bearer x\r\n", b"", 1)
    request = request.replace(b"Host: 127.0.0.1\r\n", f"Host: 127.0.0.1:{narrow.port}\r\n".encode(), 1)
    head = request.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", narrow.port), timeout=5) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 403") and b"UnrecognizedClientException" in answer


# --- the house ------------------------------------------------------------------------------------------------------------------


def test_the_journal_is_nobody_elses_to_read(spawn_gateway, simulator):
    with spawn_gateway(config=model_list(deployment("my-claude"))) as running:
        with simulator.faults(fault("stall-in-stream.1.3000", model="claude-3-5-sonnet")):
            request = raw_post("/bedrock/model/my-claude/converse-stream", running.generate_key(), CONVERSE)
            with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
                connection.sendall(request)
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
                journal = running.data_dir / "journal"
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in journal.glob("*.journal")}
        assert modes and set(modes.values()) == {0o600}, modes
        assert stat.S_IMODE(journal.stat().st_mode) == 0o700


def test_an_open_gateway_takes_nothing_from_foreign_web_pages(spawn_gateway, simulator):
    with spawn_gateway(config=model_list(deployment("my-claude")), master_key=None) as running:
        url = f"{running.base}/model/my-claude/converse"
        simple = ("-X", "POST", url, "-H", "Content-Type: text/plain", "--data-binary", CONVERSE.decode())
        with simulator.recording() as upstream:
            assert curl(*simple, "-H", "Origin: https://evil.example").status == 403
            assert curl(*simple, "-H", "Sec-Fetch-Site: cross-site").status == 403
            assert curl(f"{running.url}/v1/models", "-H", "Origin: null").status == 401
            upstream.nothing()
            assert curl(*simple).status == 200
            assert curl(*simple, "-H", "Origin: http://localhost:3000").status == 200


def test_who_has_a_key_learns_nothing_of_the_gateways_credentials(spawn_gateway):
    config = model_list(deployment("my-claude", aws_profile_name="the-secret-profile"))
    with spawn_gateway(config=config) as running:
        answer = curl_json(f"{running.base}/model/my-claude/converse", running.generate_key(), CONVERSE)
        assert answer.status == 500 and "administrator" in answer.json()["message"]
        assert "the-secret-profile" not in answer.json()["message"]
        assert answer.headers["x-amzn-requestid"] in answer.json()["message"]
        told = curl_json(f"{running.base}/model/my-claude/converse", MASTER_KEY, CONVERSE)
        assert "the-secret-profile" in told.json()["message"]
        assert re.search(rf"{answer.headers['x-amzn-requestid']}: no AWS credentials: .*the-secret-profile", running.errors())


def test_the_healthcheck_asks_where_the_configuration_says(spawn_gateway, tmp_path):
    config = tmp_path / "config.yaml"
    with spawn_gateway() as running:
        server = {"host": "127.0.0.1", "port": running.port}
        config.write_text(json.dumps({"bedgate_settings": {"server": server}}))
        assert run_to_end(["healthcheck", "--config", str(config)]).returncode == 0
        assert run_to_end(["healthcheck"], {"BEDGATE_CONFIG": str(config)}).returncode == 0
    assert run_to_end(["healthcheck", "--config", str(config)]).returncode == 1
