"""Bounds on bodies, and invariant 3: whatever the client types, it reaches no other host and no other path."""

import re
import socket
import time

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json, raw_exchange, raw_post
from harness.simulator import sha256
from harness.waiting import eventually

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    config = model_list(deployment("my-claude"), general_settings={"max_request_size_mb": 1})
    with spawn_gateway(config=config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def padded(size: int) -> bytes:
    """A Converse body of exactly this many bytes."""
    start, end = b'{"messages": [{"role": "user", "content": [{"text": "', b'"}]}]}'
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_a_body_up_to_the_limit_passes(gateway, key, simulator, size):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-claude/converse", key, padded(size))
    assert answer.status == 200
    assert upstream.one().body_sha256 == sha256(padded(size))


def test_invariant_8_a_content_length_over_the_limit_is_refused_before_the_body_is_sent(gateway, key, simulator):
    head = raw_post("/bedrock/model/my-claude/converse", key, b"").replace(
        b"Content-Length: 0", b"Content-Length: %d" % (LIMIT + 1)
    )
    with simulator.recording() as upstream:
        began = time.monotonic()
        answer = raw_exchange(gateway.port, head, timeout=5)
    upstream.nothing()
    assert answer.status == 413 and time.monotonic() - began < 2
    assert b"1048576" in answer.body


def test_invariant_8_a_chunked_body_over_the_limit_is_refused_while_it_is_sent(gateway, key, simulator):
    head = raw_post("/bedrock/model/my-claude/converse", key, b"").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    with (
        simulator.recording() as upstream,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection,
    ):
        connection.sendall(head)
        answer = b""
        try:
            for _ in range(LIMIT // 65536 + 1):
                connection.sendall(chunk)
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
    upstream.nothing()
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]


def test_invariant_8_request_bytes_of_all_requests_together_are_bounded(spawn_gateway):
    """One upload that stands still one byte before its end holds nearly all there is; the next one is told to come back."""
    config = model_list(
        deployment("my-claude"), bedgate_settings={"limits": {"max_body": "1MiB", "max_buffered": "1MiB"}}
    )
    with spawn_gateway(config=config) as running:
        key = running.generate_key()
        held_back = raw_post("/bedrock/model/my-claude/converse", key, padded(LIMIT - 1000))
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(held_back[:-1])

            held = re.compile(rf"^bedgate_buffered_request_bytes {LIMIT - 1001}$", re.MULTILINE)
            eventually(lambda: held.search(running.metrics()), 5, "the first upload is held")
            answer = raw_exchange(running.port, raw_post("/bedrock/model/my-claude/converse", key, padded(LIMIT // 2)))
            assert answer.status == 503 and answer.headers["retry-after"] and b"ServiceUnavailableException" in answer.raw
            connection.sendall(held_back[-1:])
            whole = b""
            while piece := connection.recv(65536):
                whole += piece
        assert whole.startswith(b"HTTP/1.1 200")
        assert curl_json(f"{running.base}/model/my-claude/converse", key, padded(LIMIT // 2)).status == 200


def test_a_body_that_does_not_come_is_given_up(spawn_gateway, simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"limits": {"body_timeout": "500ms"}})
    with spawn_gateway(config=config) as running, simulator.recording() as upstream:
        request = raw_post("/bedrock/model/my-claude/converse", running.generate_key(), CONVERSE)
        answer = raw_exchange(running.port, request[:-1], timeout=10)
        assert answer.status == 408
        upstream.nothing()


def test_the_key_is_checked_before_the_body_is_read(gateway, simulator):
    head = raw_post("/bedrock/model/my-claude/converse", "sk-unknown-key-000000000", b"").replace(
        b"Content-Length: 0", b"Content-Length: 1000"
    )
    answer = raw_exchange(gateway.port, head, timeout=5)
    assert answer.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/bedrock/model/my-claude/../../guardrails/abc",
        "/bedrock/model/%2e%2e/guardrails",
        "/bedrock/model/my-claude/converse/../../../guardrails",
        "/bedrock/../__simulator/requests",
        "/bedrock/%2e%2e/__simulator/requests",
        "/bedrock//__simulator/requests",
        "/bedrock/./model/x/converse",
        "/bedrock/model/..%2f..%2fguardrails/converse/..",
        "/bedrock/model/%2e%2e%2f%2e%2e%2fguardrails%2fx/../..",
        "/bedrock/.%2e/admin",
        "/bedrock/@evil.example/",
        "/bedrock/http://evil.example/model/x/converse",
        "/bedrock/__simulator/faults",
        "/bedrock/\\evil.example/",
        "/bedrock/model/x%0d%0aHost:%20evil.example/converse%0d%0a",
        "/bedrock/model/x%00/converse",
    ],
)
def test_invariant_3_a_path_that_climbs_reaches_no_other_path(gateway, key, simulator, path):
    """Refused, and nothing is sent upstream."""
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, raw_post(path, key, CONVERSE), timeout=10)
    assert answer.status in (400, 403, 404, 405), (answer.status, answer.body[:200])
    assert b"The simulator has no such page" not in answer.body
    upstream.nothing()


@pytest.mark.parametrize("host", ["evil.example", "169.254.169.254", "bedrock.us-east-1.amazonaws.com", "127.0.0.1:1"])
def test_invariant_3_a_foreign_host_header_changes_nothing(gateway, key, simulator, host):
    request = raw_post("/bedrock/model/my-claude/converse", key, CONVERSE).replace(
        b"Host: 127.0.0.1", b"Host: " + host.encode()
    )
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, request)
    assert answer.status == 200
    assert upstream.one().header("host") == simulator.url.removeprefix("http://")


@pytest.mark.parametrize(
    "target",
    ["http://evil.example/bedrock/model/my-claude/converse", "//evil.example/bedrock/model/my-claude/converse"],
)
def test_invariant_3_an_absolute_form_target_reaches_only_bedrock(gateway, key, simulator, target):
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, raw_post(target, key, CONVERSE))
    for seen in upstream.all():
        assert seen.header("host") == simulator.url.removeprefix("http://")
        assert seen.path == "/model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"
    assert answer.status in (200, 400, 404)


@pytest.mark.parametrize(
    "header",
    [
        "X-Amzn-Bedrock-Trace: a\rX-Evil: 1",
        "X-Amzn-Bedrock-Trace: a\nX-Evil: 1",
        "X-Amzn-Bedrock-Trace: a\r\n X-Evil: 1",
    ],
)
def test_invariant_3_line_breaks_in_headers_smuggle_nothing(gateway, key, simulator, header):
    with simulator.recording() as upstream:
        raw_exchange(gateway.port, raw_post("/bedrock/model/my-claude/converse", key, CONVERSE, header), timeout=10)
    for seen in upstream.all():
        assert "x-evil" not in seen.header_names
        assert all("\r" not in value and "\n" not in value for _, value in seen.headers)


def test_invariant_3_two_lengths_that_disagree_are_refused(gateway, key, simulator):
    request = raw_post("/bedrock/model/my-claude/converse", key, CONVERSE, "Content-Length: 3")
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, request, timeout=10)
    upstream.nothing()
    assert answer.status == 400
    both = raw_post("/bedrock/model/my-claude/converse", key, CONVERSE, "Transfer-Encoding: chunked")
    with simulator.recording() as upstream:
        raw_exchange(gateway.port, both, timeout=10)
    assert len(upstream.all()) <= 1


@pytest.mark.parametrize("region", ["evil.example/", "us-west-2@evil", "us west", "x" * 80])
def test_invariant_3_a_region_from_an_arn_cannot_name_a_host(gateway, key, simulator, region):
    from urllib.parse import quote

    arn = quote(f"arn:aws:bedrock:{region}:123456789012:inference-profile/us.amazon.nova-pro-v1:0", safe="")
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/{arn}/converse", key, CONVERSE)
    assert answer.status in (200, 400, 404)
    for seen in upstream.all():
        assert seen.header("host") == simulator.url.removeprefix("http://")
        assert region not in seen.credential


def test_an_unknown_path_below_bedrock_is_refused_in_aws_shape(gateway, key, simulator):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/no/such/operation/at/all", key, b"{}")
    upstream.nothing()
    assert answer.status == 404
    assert answer.headers["x-amzn-errortype"].startswith("UnknownOperationException")


def test_garbage_on_the_socket_leaves_the_gateway_serving(gateway, key):
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST /bedrock HTTP/9.9\r\n\r\n",
        b"\x00" * 4096,
        b"A" * 200_000,
    ):
        try:
            raw_exchange(gateway.port, garbage + b"\r\n\r\n", timeout=3)
        except OSError:
            pass
    assert curl_json(f"{gateway.base}/model/my-claude/converse", key, CONVERSE).status == 200
