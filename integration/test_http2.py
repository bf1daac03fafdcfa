"""HTTP/2 with prior knowledge: the same answers as over HTTP/1.1, clients that behave oddly, and ends that tell the truth."""

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness.asking import CONVERSE, INVOKE_CLAUDE, deployment, model_list
from harness.clients import curl, curl_json, frames, raw_post
from harness.http2 import Http2Client
from harness.simulator import fault, sha256
from harness.spend import outcome
from harness.waiting import eventually

H2C = "--http2-prior-knowledge"
CONVERSE_PATH = "/bedrock/model/my-claude/converse"
STREAM_PATH = "/bedrock/model/my-claude/converse-stream"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 2, 7, 8
FEW = {"server": {"http2": {"max_concurrent_streams": 4, "max_header_list": "8KiB"}, "keep_alive": "1s"}}
UNKNOWN_LENGTH = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}], "inferenceConfig": {"maxTokens": 64}}


@pytest.fixture(scope="module")
def gateway(spawn_gateway, slow_simulator):
    with spawn_gateway(config=model_list(deployment("my-claude")), upstream=slow_simulator) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


@pytest.fixture
def client(gateway):
    with Http2Client(gateway.port) as connection:
        yield connection


def messages_of(body: bytes) -> list[str]:
    """The names of a stream's events."""
    return [headers[":event-type"] for headers, _ in frames(body)]


# --- the same as over HTTP/1.1 -------------------------------------------------------------------------------------------


def test_curl_gets_the_same_answer_over_both(gateway, key):
    answers = [curl_json(gateway.url + CONVERSE_PATH, key, CONVERSE, *version) for version in ([H2C], ["--http1.1"])]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].body == answers[1].body
    # What HTTP/1.1 alone has, HTTP/2 must not have; all else is there over both.
    of_http1 = {"connection", "transfer-encoding", "keep-alive"}
    assert set(answers[0].headers) == set(answers[1].headers) - of_http1


@pytest.mark.parametrize("path", ["/health/liveliness", "/key/info", "/bedrock/no/such/path"])
@pytest.mark.parametrize("method", [["--get"], ["--head"]])
def test_every_endpoint_answers_over_http2(gateway, path, method):
    both = [curl(gateway.url + path, *method, version) for version in (H2C, "--http1.1")]
    assert both[0].status == both[1].status and both[0].status != 0
    assert both[0].headers.get("content-length") == both[1].headers.get("content-length")


def test_a_body_of_20_mib_arrives_as_it_was_sent(gateway, key, slow_simulator):
    body = json.dumps({**json.loads(INVOKE_CLAUDE), "filler": os.urandom(10 << 20).hex()}).encode()
    assert len(body) > 20 << 20
    with slow_simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-claude/invoke", key, body, H2C)
    assert (answer.status, answer.http_version) == (200, "2"), answer.body
    assert upstream.one().body_sha256 == sha256(body)


def test_a_body_without_a_length_arrives_as_it_was_sent(gateway, key, slow_simulator, client):
    with slow_simulator.recording() as upstream:
        number = client.ask(CONVERSE_PATH, None, key)
        client.send(number, CONVERSE[:10])
        client.send(number, CONVERSE[10:], end=True)
        assert client.answer(number).status == 200
    assert upstream.one().body == CONVERSE


@pytest.mark.parametrize("code", [NO_ERROR, CANCEL])
@pytest.mark.parametrize("length", [[], [("content-length", str(len(CONVERSE)))]])
def test_invariant_1_a_body_whose_stream_is_taken_back_is_not_whole(gateway, key, slow_simulator, length, code):
    """Whatever reason the client gives, also none (NO_ERROR)."""
    for part in (CONVERSE[:40], b""):
        with slow_simulator.recording() as upstream, Http2Client(gateway.port) as client:
            number = client.ask(CONVERSE_PATH, None, key, length)
            if part:
                client.send(number, part)
            # Its body is waited for by then.
            time.sleep(0.1)
            client.h2.reset_stream(number, error_code=code)
            client.flush()
            assert client.answer(client.ask("/health/liveliness", b"", method="GET")).status == 200
            time.sleep(0.2)
            upstream.nothing()


@pytest.mark.parametrize("length", [[], [("content-length", str(len(CONVERSE)))]])
def test_a_body_with_trailers_is_whole(gateway, key, slow_simulator, client, length):
    with slow_simulator.recording() as upstream:
        number = client.ask(CONVERSE_PATH, None, key, length)
        client.send(number, CONVERSE)
        client.h2.send_headers(number, [("x-checksum", "abc")], end_stream=True)
        client.flush()
        assert client.answer(number).status == 200
    assert upstream.one().body == CONVERSE


def test_invariant_1_trailers_that_never_come_make_no_whole_body(gateway, key, slow_simulator, client):
    with slow_simulator.recording() as upstream:
        number = client.ask(CONVERSE_PATH, None, key)
        client.send(number, CONVERSE)
        time.sleep(0.1)
        client.h2.reset_stream(number, error_code=NO_ERROR)
        client.flush()
        time.sleep(0.3)
        upstream.nothing()


def test_a_body_above_the_limit_is_refused_while_it_is_sent(gateway, key):
    answer = curl_json(f"{gateway.base}/model/my-claude/invoke", key, bytes(26 << 20), H2C)
    assert answer.status == 413 and answer.headers["x-amzn-errortype"] == "RequestEntityTooLargeException"


def test_invariant_1_events_arrive_as_they_come_over_http2(gateway, key, client):
    number = client.ask(STREAM_PATH, CONVERSE, key)
    moments = []
    while not client.streams[number].is_over:
        before = len(client.streams[number].data)
        client.read_once()
        if len(client.streams[number].data) > before:
            moments.append(time.monotonic())
    stream = client.streams[number]
    assert stream.status == 200 and stream.ended
    names = messages_of(stream.data)
    assert names[0] == "messageStart" and names[-1] == "metadata"
    assert len(moments) >= len(names) - 1
    assert moments[-1] - moments[0] > 0.06 * (len(names) - 1) * 0.5, "the frames came in one lump"


def test_many_requests_share_a_connection(gateway, key, client):
    numbers = [client.ask(STREAM_PATH, CONVERSE, key) for _ in range(20)]
    began = time.monotonic()
    answers = [client.answer(number) for number in numbers]
    assert all(answer.status == 200 and answer.ended for answer in answers)
    assert {messages_of(answer.data)[-1] for answer in answers} == {"metadata"}
    assert time.monotonic() - began < 20 * 0.3, "they were answered one after another"


def test_cookies_in_several_headers_and_a_host_beside_the_authority_are_no_fault(gateway, key, client):
    headers = [("host", "gateway.example"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]
    assert client.answer(client.ask(CONVERSE_PATH, CONVERSE, key, headers)).status == 200


def test_the_preface_may_come_in_pieces(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        for piece in (b"P", b"RI * HTTP/2.0\r\n", b"\r\nSM\r\n\r", b"\n", b"\0\0\0\x04\0\0\0\0\0"):
            connection.sendall(piece)
            time.sleep(0.03)
        assert connection.recv(9)[3] == 4, "the server's settings come first"


# --- clients that behave oddly -------------------------------------------------------------------------------------------


def test_goaway_at_the_answers_head_loses_nothing_of_a_slow_body(gateway, key, client):
    """What the AWS SDK for JavaScript v3 does after each request."""
    number = client.ask(STREAM_PATH, CONVERSE, key)
    client.until(lambda: client.streams[number].status == 200)
    client.go_away()
    stream = client.answer(number)
    assert stream.ended and messages_of(stream.data)[-1] == "metadata"


def test_goaway_at_the_head_of_an_answer_whose_body_stalls(gateway, key, client, slow_simulator):
    with slow_simulator.faults(fault("stall-in-stream.0.700", model="claude-3-5-sonnet")):
        number = client.ask(CONVERSE_PATH, CONVERSE, key)
        client.until(lambda: client.streams[number].status == 200)
        client.go_away()
        stream = client.answer(number)
    assert stream.ended and json.loads(stream.data)["output"]


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("upstream", ["that sends on", "that is silent"])
def test_a_client_that_goes_is_noticed_at_once(spawn_gateway, slow_simulator, how, upstream):
    """RST_STREAM or a closed connection: the stream from AWS is let go within a second, also while AWS says nothing."""
    config = model_list(deployment("my-claude"), bedgate_settings={"limits": {"drain_timeout": 0}})
    silent = fault("stall-in-stream.3.20000", model="claude-3-5-sonnet")
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        key, call_id = running.generate_key(), f"gone-{how}-{len(upstream)}"
        with slow_simulator.faults(*([silent] if "silent" in upstream else [])):
            client = Http2Client(running.port)
            number = client.ask(STREAM_PATH, json.dumps(UNKNOWN_LENGTH).encode(), key, [("x-litellm-call-id", call_id)])
            client.until(lambda: len(client.streams[number].data) > 0)
            assert "bedgate_requests_in_flight 1" in running.metrics()
            if how == "reset":
                client.reset(number)
            else:
                client.socket.close()
            began = time.monotonic()
            eventually(lambda: "bedgate_requests_in_flight 0" in running.metrics(), 5, "the request has ended")
            assert time.monotonic() - began < 1.0
        if how == "reset":
            with client:
                assert client.answer(client.ask(CONVERSE_PATH, CONVERSE, key)).ended, "the connection goes on"
        event = running.event(call_id)
        assert outcome(event) == "client_gone"


def test_a_stream_that_is_taken_back_before_its_answer_is_recorded_all_the_same(gateway, key, client, slow_simulator):
    with slow_simulator.faults(fault("stall-before-head.400", model="claude-3-5-sonnet")):
        number = client.ask(CONVERSE_PATH, CONVERSE, key, [("x-litellm-call-id", "taken-back-1")])
        eventually(lambda: "bedgate_requests_in_flight 1" in gateway.metrics(), 5, "it is under way")
        client.reset(number)
        event = gateway.event("taken-back-1")
    assert event["completion_tokens"] > 0 and event["spend"] > 0
    assert outcome(event) == "client_gone"


CUTS = {
    "the body ends short of Content-Length": ("converse", "short-body"),
    "the connection is reset inside the body": ("converse", "reset-in-stream.1"),
    "the chunked body lacks its last chunk": ("converse-stream", "close-in-stream.3"),
    "the stream is cut inside a frame": ("converse-stream", "cut-in-frame.3"),
    "the stream ends cleanly, but inside a frame": ("converse-stream", "clean-cut-in-frame.3"),
}


@pytest.mark.parametrize("what", CUTS)
def test_invariant_1_a_short_answer_resets_its_stream_and_nothing_else(gateway, key, client, slow_simulator, what):
    verb, action = CUTS[what]
    with slow_simulator.faults(fault(action, model="claude-3-5-sonnet")):
        stream = client.answer(client.ask(f"/bedrock/model/my-claude/{verb}", CONVERSE, key))
    assert not stream.ended or stream.status in (502, 503), stream
    assert stream.ended or stream.reset == INTERNAL_ERROR
    assert client.answer(client.ask(CONVERSE_PATH, CONVERSE, key)).ended, "the connection goes on"


def test_a_tiny_window_slows_one_stream_and_no_other(gateway, key):
    with Http2Client(gateway.port, window=7, takes_data=False) as client:
        number = client.ask(STREAM_PATH, CONVERSE, key)
        client.until(lambda: len(client.streams[number].data) == 7)
        other = client.ask("/health/liveliness", b"", method="GET")
        client.until(lambda: client.streams[other].status == 200)
        stream = client.streams[number]
        while not stream.is_over:
            for open_stream in (number, other):
                if not client.streams[open_stream].is_over:
                    client.h2.increment_flow_control_window(97, open_stream)
            client.h2.increment_flow_control_window(200)
            client.flush()
            client.read_once()
        assert stream.ended and messages_of(stream.data)[-1] == "metadata"


def test_streams_above_the_limit_are_refused_so_that_they_may_be_sent_again(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {**FEW["server"], "lame_duck": 0}})
    with spawn_gateway(config=config, upstream=slow_simulator) as running, Http2Client(running.port) as client:
        key = running.generate_key()
        # Before the server's settings have come the client may not know the limit.
        numbers = [client.ask(STREAM_PATH, CONVERSE, key) for _ in range(6)]
        answers = [client.answer(number) for number in numbers]
        assert [answer.ended for answer in answers] == [True] * 4 + [False] * 2
        assert [answer.reset for answer in answers[4:]] == [REFUSED_STREAM] * 2
        assert client.answer(client.ask(CONVERSE_PATH, CONVERSE, key)).ended, "there is room again"


def test_headers_above_the_limit_are_answered_431(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {**FEW["server"], "lame_duck": 0}})
    with spawn_gateway(config=config, upstream=slow_simulator) as running, Http2Client(running.port) as client:
        key = running.generate_key()
        number = client.ask(CONVERSE_PATH, b"", key, [("x-large", "x" * 9000)])
        assert client.answer(number).status == 431
        assert client.answer(client.ask(CONVERSE_PATH, CONVERSE, key)).ended, "the connection goes on"


MALFORMED = {
    "connection": [("connection", "close")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "keep-alive": [("keep-alive", "timeout=5")],
    "upgrade": [("upgrade", "websocket")],
    "te other than trailers": [("te", "gzip")],
    "upper case": [("X-Upper", "a")],
    "a length that is not the body's": [("content-length", "5")],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_http2_forbids_is_refused_and_nothing_forwarded(gateway, key, slow_simulator, client, what):
    with slow_simulator.recording() as upstream:
        number = client.ask(CONVERSE_PATH, CONVERSE, key, MALFORMED[what])
        client.until(lambda: client.closed or client.streams[number].is_over)
        upstream.nothing()
    stream = client.streams[number]
    assert client.closed or stream.reset == PROTOCOL_ERROR or stream.status == 400, stream


def test_two_lengths_are_refused(gateway, key, slow_simulator, client):
    lengths = [("content-length", str(len(CONVERSE)))] * 2
    with slow_simulator.recording() as upstream:
        stream = client.answer(client.ask(CONVERSE_PATH, CONVERSE, key, lengths))
        upstream.nothing()
    assert stream.status == 400 or stream.reset == PROTOCOL_ERROR


def test_who_opens_and_resets_streams_as_fast_as_it_can_is_disconnected(gateway, key):
    """CVE-2023-44487."""
    with Http2Client(gateway.port) as client:
        client.until(lambda: client.h2.remote_settings.max_concurrent_streams < 1000)
        for _ in range(300):
            number = client.h2.get_next_available_stream_id()
            given = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", CONVERSE_PATH)]
            client.h2.send_headers(number, given)
            client.h2.reset_stream(number)
        client.flush()
        client.until(lambda: bool(client.goaways) or client.closed)
    assert gateway.call("GET", "/health/liveliness").status == 200


def test_bytes_that_are_no_frames_end_the_connection(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        received = b""
        while chunk := _read(connection):
            received += chunk
    assert gateway.call("GET", "/health/liveliness").status == 200


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_an_idle_connection_is_told_to_go_and_closed(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {**FEW["server"], "lame_duck": 0}})
    with spawn_gateway(config=config, upstream=slow_simulator) as running, Http2Client(running.port) as client:
        key = running.generate_key()
        # Longer than it may be idle: a connection with a stream is not idle.
        body = json.dumps({**UNKNOWN_LENGTH, "inferenceConfig": {"maxTokens": 30}}).encode()
        assert client.answer(client.ask(STREAM_PATH, body, key)).ended
        began = time.monotonic()
        client.until_closed(10)
        assert client.goaways and 0.7 < time.monotonic() - began < 4


@pytest.fixture(scope="module")
def impatient(spawn_gateway, slow_simulator):
    """A gateway that waits for its clients for a second."""
    server = {"lame_duck": 0, "client_write_timeout": "1s"}
    settings = {"server": server, "limits": {"drain_timeout": "1s"}}
    config = model_list(deployment("my-claude"), bedgate_settings=settings)
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        yield running


@pytest.mark.parametrize("path, window", [(CONVERSE_PATH, 0), (STREAM_PATH, 0), (STREAM_PATH, 100)])
def test_invariant_8_a_client_that_takes_nothing_is_cut_off(impatient, path, window):
    call_id = f"deaf-{len(path)}-{window}"
    with Http2Client(impatient.port, window=window, takes_data=False) as client:
        number = client.ask(path, CONVERSE, impatient.generate_key(), [("x-litellm-call-id", call_id)])
        client.until(lambda: len(client.streams[number].data) == window and client.streams[number].status == 200)
        began = time.monotonic()
        assert client.answer(number).reset == CANCEL
        assert 0.5 < time.monotonic() - began < 4
        assert client.answer(client.ask("/nowhere", b"", method="HEAD")).ended, "the connection goes on"
        if path == STREAM_PATH:
            assert outcome(impatient.event(call_id)) == "client_gone"


def test_a_client_that_takes_a_little_at_a_time_and_one_that_waits_for_aws_are_not_cut_off(impatient, slow_simulator):
    with slow_simulator.faults(fault("stall-in-stream.3.2500", model="claude-3-5-sonnet")):
        with Http2Client(impatient.port, window=0, takes_data=False) as client:
            number = client.ask(STREAM_PATH, CONVERSE, impatient.generate_key())
            stream, began = client.streams[number], time.monotonic()
            client.socket.settimeout(0.2)
            while not stream.is_over and time.monotonic() - began < 15:
                client.h2.increment_flow_control_window(400, number)
                client.flush()
                try:
                    client.read_once()
                except TimeoutError:
                    pass
                time.sleep(0.1)
    assert stream.ended and messages_of(stream.data)[-1] == "metadata"
    assert time.monotonic() - began > 2.5


# --- the stop ------------------------------------------------------------------------------------------------------------


def test_invariant_10_a_stop_says_goaway_and_streams_finish(spawn_gateway, slow_simulator):
    with spawn_gateway(config=model_list(deployment("my-claude")), upstream=slow_simulator) as running:
        key = running.generate_key()
        idle, client = Http2Client(running.port), Http2Client(running.port)
        with idle, client:
            assert idle.answer(idle.ask(CONVERSE_PATH, CONVERSE, key)).ended
            body = json.dumps({**UNKNOWN_LENGTH, "inferenceConfig": {"maxTokens": 30}}).encode()
            number = client.ask(STREAM_PATH, body, key, [("x-litellm-call-id", "drained-1")])
            client.until(lambda: client.streams[number].status == 200)
            stopping = threading.Thread(target=running.terminate)
            stopping.start()
            client.until(lambda: bool(client.goaways))
            assert not client.streams[number].is_over, "it is told while its stream goes on"
            began = time.monotonic()
            idle.until_closed(2)
            assert time.monotonic() - began < 1
            stream = client.answer(number)
            assert stream.ended and messages_of(stream.data)[-1] == "metadata"
            client.until_closed(2)
            stopping.join(10)
        assert running.popen.returncode == 0, running.errors()[-2000:]
        assert running.unshipped() == []


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_what_outlasts_the_grace_is_cut_and_recorded(spawn_gateway, slow_simulator, version):
    """Also where the client takes nothing: the end of its event is written, and the exit is clean."""
    config = model_list(
        deployment("my-claude"), bedgate_settings={"server": {"lame_duck": 0, "shutdown_grace": "1s"}}
    )
    silent = fault("stall-in-stream.3.30000", model="claude-3-5-sonnet")
    data_dir = Path(tempfile.mkdtemp(prefix="bedgate-cut-")) / "data"
    with slow_simulator.faults(silent):
        with spawn_gateway(config=config, upstream=slow_simulator, data_dir=data_dir) as running:
            key = running.generate_key()
            if version == "HTTP/2":
                client = Http2Client(running.port)
                number = client.ask(STREAM_PATH, CONVERSE, key, [("x-litellm-call-id", "cut-1")])
                client.until(lambda: len(client.streams[number].data) > 0)
                connection = client.socket
            else:
                connection = socket.create_connection(("127.0.0.1", running.port), timeout=10)
                connection.sendall(raw_post(STREAM_PATH, key, CONVERSE, "x-litellm-call-id: cut-1"))
                connection.recv(10)
            with connection:
                began = time.monotonic()
                assert running.terminate() == 0, running.errors()[-2000:]
                assert time.monotonic() - began < 6
    with spawn_gateway(config=config, upstream=slow_simulator, data_dir=data_dir) as running:
        assert outcome(running.event("cut-1")) == "interrupted"
    shutil.rmtree(data_dir.parent)


def test_a_second_signal_does_not_wait(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), bedgate_settings={"server": {"lame_duck": 0, "shutdown_grace": "25s"}})
    silent = fault("stall-in-stream.3.30000", model="claude-3-5-sonnet")
    with slow_simulator.faults(silent), spawn_gateway(config=config, upstream=slow_simulator) as running:
        key = running.generate_key()
        with Http2Client(running.port) as client:
            number = client.ask(STREAM_PATH, CONVERSE, key)
            client.until(lambda: len(client.streams[number].data) > 0)
            running.popen.send_signal(signal.SIGTERM)
            client.until(lambda: bool(client.goaways))
            began = time.monotonic()
            running.popen.send_signal(signal.SIGTERM)
            assert running.wait() == 0
            assert time.monotonic() - began < 4
