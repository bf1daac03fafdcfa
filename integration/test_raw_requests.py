"""Requests as no client library writes them: refused, or read in the one way that cannot be misread; nothing smuggled on."""

import socket
import time

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import raw_exchange
from harness.gateway import MASTER_KEY

PATH = "/bedrock/model/my-claude/converse"
AT_AWS = "/model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"
LENGTH = f"Content-Length: {len(CONVERSE)}"
CHUNKED = "Transfer-Encoding: chunked"
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CONVERSE), CONVERSE)


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("my-claude"))) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def head(key: str, *headers: str, target: str = PATH, method: str = "POST", version: str = "HTTP/1.1") -> bytes:
    """The head of a request on a connection that closes after it."""
    lines = [
        f"{method} {target} {version}",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def assert_refused(gateway, simulator, request: bytes, statuses: tuple[int, ...] = (400,)) -> None:
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, request, timeout=20)
    upstream.nothing()
    assert answer.status in statuses, answer.raw[:300]


@pytest.mark.parametrize(
    "headers",
    [
        (LENGTH, LENGTH),
        (LENGTH, "Content-Length: 3"),
        (f"{LENGTH}, {len(CONVERSE)}",),
        (f"Content-Length: +{len(CONVERSE)}",),
        ("Content-Length: 0x10",),
        ("Content-Length: -1",),
    ],
    ids=["the same twice", "two that disagree", "a list", "a sign", "hexadecimal", "negative"],
)
def test_a_length_that_is_not_one_plain_number_is_refused(gateway, key, simulator, headers):
    assert_refused(gateway, simulator, head(key, *headers) + CONVERSE)


@pytest.mark.parametrize(
    "headers",
    [
        (CHUNKED, LENGTH),
        (LENGTH, CHUNKED),
        (CHUNKED, CHUNKED),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: identity",),
    ],
    ids=["before a length", "after a length", "twice", "not last", "not alone", "odd", "control", "space", "identity"],
)
def test_a_transfer_coding_that_could_be_read_in_two_ways_is_refused(gateway, key, simulator, headers):
    assert_refused(gateway, simulator, head(key, *headers) + ONE_CHUNK)


def test_chunks_are_not_for_http_1_0(gateway, key, simulator):
    assert_refused(gateway, simulator, head(key, CHUNKED, version="HTTP/1.0") + ONE_CHUNK)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n%s\r\n0\r\n\r\n" % CONVERSE,
        b"+%x\r\n%s\r\n0\r\n\r\n" % (len(CONVERSE), CONVERSE),
        b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(CONVERSE), CONVERSE),
        b"fffffffffffffffff\r\n%s\r\n0\r\n\r\n" % CONVERSE,
        b"%x\r\n%sXX0\r\n\r\n" % (len(CONVERSE), CONVERSE),
        b"%x\n%s\n0\n\n" % (len(CONVERSE), CONVERSE),
        b"%x;a\n%s\r\n0\r\n\r\n" % (len(CONVERSE), CONVERSE),
        b"\r\n%s\r\n0\r\n\r\n" % CONVERSE,
        b"%x 12\r\n%s\r\n0\r\n\r\n" % (len(CONVERSE), CONVERSE),
        b"%x;a\rb\r\n%s\r\n0\r\n\r\n" % (len(CONVERSE), CONVERSE),
        b"%x\r\n%s\r\n0\r\n\n" % (len(CONVERSE), CONVERSE),
        b"%x\r\n%s\r\n0\r\na: b\n\r\n" % (len(CONVERSE), CONVERSE),
    ],
    ids=[
        *("no number", "a sign", "0x", "too large", "no line end", "bare line feeds", "in an extension", "empty"),
        *("two numbers", "a bare CR", "a line feed for the end", "a line feed in a trailer"),
    ],
)
def test_chunks_that_are_not_well_formed_are_refused(gateway, key, simulator, body):
    assert_refused(gateway, simulator, head(key, CHUNKED) + body)


@pytest.mark.parametrize("path", ["/key/generate", "/key/block", "/team/new", PATH])
def test_after_a_malformed_body_nothing_is_a_request(gateway, path):
    hidden = b"GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n"
    request = head(MASTER_KEY, CHUNKED, target=path).replace(b"Connection: close\r\n", b"")
    answer = raw_exchange(gateway.port, request + b"x\r\n0\r\n\r\n" + hidden)
    assert answer.status == 400 and answer.raw.count(b"HTTP/1.1 ") == 1


def test_extensions_and_trailers_of_chunks_stay_behind(gateway, key, simulator):
    body = b"%x;a=b\r\n%s\r\n0\r\nX-Amzn-Bedrock-Trace: ENABLED\r\nAuthorization: Bearer x\r\n\r\n"
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, head(key, CHUNKED) + body % (len(CONVERSE), CONVERSE))
    assert answer.status == 200
    seen = upstream.one()
    assert seen.body == CONVERSE and "x-amzn-bedrock-trace" not in seen.header_names


@pytest.mark.parametrize(
    "header",
    [
        "X-Amzn-Bedrock-Trace: a\rX-Evil: 1",
        "X-Amzn-Bedrock-Trace: a\r\n b",
        "X-Amzn-Bedrock-Trace: a\0b",
        "X Evil: 1",
        "XEvil",
        ": x",
        "Host: evil.example",
    ],
    ids=["bare CR", "folded", "NUL", "space in name", "no colon", "no name", "second host"],
)
def test_headers_that_are_not_well_formed_are_refused(gateway, key, simulator, header):
    assert_refused(gateway, simulator, head(key, LENGTH, header) + CONVERSE)


def test_too_many_and_too_large_headers_are_refused(gateway, key, simulator):
    many = [f"X-{number}: 1" for number in range(120)]
    assert_refused(gateway, simulator, head(key, LENGTH, *many) + CONVERSE, (431,))
    assert_refused(gateway, simulator, head(key, LENGTH, "X-A: " + "a" * 200_000) + CONVERSE, (431,))


@pytest.mark.parametrize(
    "target",
    [
        f"http://evil.example{PATH}",
        f"https://bedrock.us-east-1.amazonaws.com{PATH}",
        f"http://user:password@evil.example{PATH}",
        f"{PATH}#fragment",
    ],
)
def test_of_an_absolute_target_only_path_and_query_count(gateway, key, simulator, target):
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, head(key, LENGTH, target=target) + CONVERSE)
    assert answer.status == 200
    seen = upstream.one()
    assert (seen.path, seen.query) == (AT_AWS, "")
    assert seen.header("host") == simulator.url.removeprefix("http://")


@pytest.mark.parametrize(
    "method, target, statuses",
    [
        ("CONNECT", "evil.example:443", (400, 404, 405)),
        ("POST", "evil.example:443", (400, 404)),
        ("OPTIONS", "*", (400, 404, 405)),
        ("TRACE", PATH, (400, 404, 405)),
        ("POST", f"{PATH} x", (400,)),
        ("POST", f"{PATH}\xe9", (400,)),
    ],
)
def test_other_forms_of_targets_and_methods_reach_nothing(gateway, key, simulator, method, target, statuses):
    assert_refused(gateway, simulator, head(key, "Content-Length: 0", target=target, method=method), statuses)


def test_a_websocket_is_refused_at_once(gateway, key, simulator):
    began = time.monotonic()
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    request = head(key, *upgrade, target="/bedrock/foundation-models", method="GET")
    assert_refused(gateway, simulator, request.replace(b"Connection: close", b"Connection: Upgrade"))
    assert time.monotonic() - began < 15


def test_an_upgrade_to_h2c_is_passed_over(gateway, key, simulator):
    with simulator.recording() as upstream:
        upgrade = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings")
        answer = raw_exchange(gateway.port, head(key, LENGTH, *upgrade) + CONVERSE)
    assert answer.status == 200
    assert not {"upgrade", "http2-settings"} & upstream.one().header_names


def test_no_second_request_hides_in_a_body(gateway, key, simulator):
    """A length that is too short: what is left over is judged as a request of its own, and has no key."""
    hidden = b"POST /bedrock/model/other/converse HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    request = head(key, LENGTH).replace(b"Connection: close\r\n", b"") + CONVERSE + hidden
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, request + head(key, LENGTH) + CONVERSE)
    assert answer.status == 200 and b"MissingAuthenticationTokenException" in answer.raw
    assert [seen.path for seen in upstream.all()] == [AT_AWS] * len(upstream.all())


def test_headers_that_are_no_members_are_dropped_or_signed(gateway, key, simulator):
    odd = {
        "x-amz-evil": "1",
        "x-amz-meta-a": "b",
        "x-amz-target": "Evil.Operation",
        "x-amz-security-token": "token",
        "x-amz-date": "20200101T000000Z",
        "x-amz-content-sha256": "00",
        "x-amz-user-agent": "evil",
        "x-amzn-trace-id": "Root=1",
        "x-amzn-bedrock-new-member": "2",
    }
    lines = [f"{name}: {value}" for name, value in odd.items()]
    with simulator.recording() as upstream:
        assert raw_exchange(gateway.port, head(key, LENGTH, *lines) + CONVERSE).status == 200
    seen = upstream.one()
    arrived = {name for name in seen.header_names if name.startswith("x-amz")}
    assert arrived == {"x-amz-date", "x-amzn-bedrock-new-member"}
    assert arrived <= set(seen.signed_headers)
    assert seen.header("x-amz-date") != odd["x-amz-date"]


def test_what_any_connection_header_names_stays_behind(gateway, key, simulator):
    lines = ("Connection: x-amzn-bedrock-trace", "X-Amzn-Bedrock-Trace: ENABLED", "X-Amzn-Bedrock-Guardrailversion: 1")
    with simulator.recording() as upstream:
        assert raw_exchange(gateway.port, head(key, LENGTH, *lines) + CONVERSE).status == 200
    assert {name for name in upstream.one().header_names if name.startswith("x-amzn")} == {
        "x-amzn-bedrock-guardrailversion"
    }


# --- uploads that nobody wants -----------------------------------------------------------------------------------------------

# actix closes a connection with an unread body some seconds after the answer.
TAKEN_SECONDS = 12.0
PAUSE_SECONDS = 0.02


@pytest.mark.parametrize(
    "target, shown, status",
    [
        ("/key/generate", "sk-wrong-0000000000000000", 401),
        ("/key/block", "sk-wrong-0000000000000000", 401),
        ("/team/new", "sk-wrong-0000000000000000", 401),
        ("/health/liveliness", MASTER_KEY, 404),
        ("/no-such-path", MASTER_KEY, 404),
        ("/bedrock/model/my-claude/converse", "sk-wrong-0000000000000000", 403),
    ],
)
def test_invariant_8_an_upload_that_was_refused_is_not_read_for_ever(gateway, target, shown, status):
    """Chunk after chunk, as long as the gateway takes them: it answers, and soon takes no more."""
    chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    answer, began = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PAUSE_SECONDS) as connection:
        connection.sendall(head(shown, CHUNKED, target=target).replace(b"Connection: close\r\n", b""))
        try:
            while time.monotonic() - began < 2 * TAKEN_SECONDS:
                connection.sendall(chunk)
                try:
                    answer += connection.recv(65536)
                except TimeoutError:
                    pass
        except OSError:
            pass
    assert time.monotonic() - began < TAKEN_SECONDS
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:200]
