"""A connection of HTTP/1.1 as clients use and misuse it: kept, pipelined, slow, half closed, left, broken off."""

import contextlib
import re
import socket
import time

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.simulator import fault
from harness.spend import outcome

PATH = "/bedrock/model/my-claude/converse"
STREAM_PATH = "/bedrock/model/my-claude/converse-stream"
WRONG_KEY = "sk-unknown-key-000000000"


@pytest.fixture(scope="module")
def gateway(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {"keep_alive": "1s"}, "limits": {"drain_timeout": 0}})
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def kept(request: bytes) -> bytes:
    """The request on a connection that is kept."""
    return request.replace(b"Connection: close\r\n", b"")


@contextlib.contextmanager
def connected(gateway, timeout: float = 20):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout) as connection:
        yield connection


def one_answer(connection: socket.socket) -> bytes:
    """Head and body of an answer with a length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536) or pytest.fail(f"it ended: {answer!r}")
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536) or pytest.fail("it ended in the body")
    assert len(body) == length, "more came than the answer"
    return head + b"\r\n\r\n" + body


def test_requests_follow_each_other_on_one_connection_also_sent_together(gateway, key):
    request = kept(raw_post(PATH, key, CONVERSE))
    with connected(gateway) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    together = raw_exchange(gateway.port, request * 3 + raw_post(PATH, key, CONVERSE))
    assert together.raw.count(b"HTTP/1.1 200 OK\r\n") == 4 and not together.reset
    assert together.raw.count(b"connection: close") == 1, "only the last one ends it"


def test_a_head_and_a_body_may_come_byte_by_byte(gateway, key):
    request = raw_post(PATH, key, CONVERSE)
    with connected(gateway) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(request)):
            connection.sendall(request[at : at + 1])
        assert one_answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_idle_connection_is_closed_cleanly_after_keep_alive(gateway, key):
    with connected(gateway) as connection:
        connection.sendall(kept(raw_post(PATH, key, CONVERSE)))
        one_answer(connection)
        began = time.monotonic()
        assert connection.recv(1) == b""
    assert 0.8 < time.monotonic() - began < 5


def test_continue_is_said_when_the_body_is_wanted_and_not_before_the_key_is_known(gateway, key, slow_simulator):
    def head_of(shown: str) -> tuple[bytes, bytes]:
        request = raw_post(PATH, shown, CONVERSE, "Expect: 100-continue")
        return tuple(request.partition(b"\r\n\r\n")[::2])

    head, body = head_of(key)
    with connected(gateway) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert one_answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    head, _ = head_of(WRONG_KEY)
    with slow_simulator.recording() as upstream, connected(gateway) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert one_answer(connection).startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert connection.recv(1) == b"", "without the body nothing else can follow"
        upstream.nothing()


def test_an_answer_arrives_though_the_client_still_sends(gateway):
    """A refused upload: the connection ends after the answer, and is not reset before the client has read it."""
    request = raw_post(PATH, WRONG_KEY, b"").replace(b"Content-Length: 0", b"Content-Length: 50000000")
    with connected(gateway) as connection:
        connection.sendall(request)
        connection.sendall(b"x" * 300_000)
        time.sleep(0.3)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n") and answer.endswith(b"}")


def test_a_small_body_that_nobody_read_leaves_the_connection_good(gateway, key):
    with connected(gateway) as connection:
        connection.sendall(kept(raw_post(PATH, WRONG_KEY, CONVERSE)))
        assert one_answer(connection).startswith(b"HTTP/1.1 403 ")
        connection.sendall(kept(raw_post(PATH, key, CONVERSE)))
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_in_a_stream_is_noticed_before_the_next_chunk(gateway, key, slow_simulator):
    slow_simulator.set_faults(fault("stall-in-stream.2.20000"))
    began = time.monotonic()
    with connected(gateway) as connection:
        connection.sendall(raw_post(STREAM_PATH, key, CONVERSE, "x-litellm-call-id: left-in-a-stream"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert outcome(gateway.event("left-in-a-stream")) == "client_gone"
    assert time.monotonic() - began < 15


def test_invariant_1_a_short_answer_is_no_clean_end_for_a_client_that_knows_no_chunks(gateway, key, slow_simulator):
    """HTTP/1.0 ends an answer with the connection: a broken one is reset."""
    request = raw_post(STREAM_PATH, key, CONVERSE).replace(b"HTTP/1.1", b"HTTP/1.0")
    whole = raw_exchange(gateway.port, request)
    assert whole.status == 200 and not whole.reset and b"chunked" not in whole.raw
    slow_simulator.set_faults(fault("cut-in-frame.3"))
    broken = raw_exchange(gateway.port, request)
    assert broken.reset and len(broken.raw) < len(whole.raw)


def test_invariant_1_a_stop_ends_no_answer_cleanly_that_only_the_connection_ends(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {"lame_duck": 0, "shutdown_grace": "500ms"}})
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        key = running.generate_key()
        slow_simulator.set_faults(fault("stall-in-stream.2.20000"))
        with connected(running) as connection:
            connection.sendall(raw_post(STREAM_PATH, key, CONVERSE).replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
            running.popen.terminate()
            with pytest.raises(ConnectionResetError):
                while connection.recv(65536):
                    pass
        assert running.popen.wait(20) == 0


def test_without_keep_alive_each_answer_ends_its_connection_and_says_so(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {"lame_duck": 0, "keep_alive": 0}})
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        key = running.generate_key()
        answer = raw_exchange(running.port, kept(raw_post(PATH, key, CONVERSE)))
        assert answer.status == 200 and answer.headers["connection"] == "close" and not answer.reset


def test_line_feeds_alone_end_no_line(gateway, key, slow_simulator):
    request = raw_post(PATH, key, CONVERSE)
    with slow_simulator.recording() as upstream:
        for at in range(1, 4):
            lines = request.split(b"\r\n")
            bare = b"\r\n".join(lines[:at]) + b"\n" + b"\r\n".join(lines[at:])
            assert raw_exchange(gateway.port, bare).status == 400
        upstream.nothing()


def test_invariant_10_a_connection_in_use_gets_its_answer_at_a_stop_and_an_idle_one_is_closed(
    spawn_gateway, slow_simulator
):
    with spawn_gateway(config=model_list(deployment("my-claude")), upstream=slow_simulator) as running:
        key = running.generate_key()
        with connected(running) as idle, connected(running) as busy:
            for connection in (idle, busy):
                connection.sendall(kept(raw_post(PATH, key, CONVERSE)))
                one_answer(connection)
            busy.sendall(kept(raw_post(STREAM_PATH, key, CONVERSE)))
            answer = busy.recv(65536)
            running.popen.terminate()
            while piece := busy.recv(65536):
                answer += piece
            assert answer.endswith(b"0\r\n\r\n")
            assert idle.recv(1) == b""
            assert running.popen.wait(20) == 0
