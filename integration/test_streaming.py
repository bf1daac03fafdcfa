"""Streams: events as they come, memory that stays flat, and a short response that is never a clean end."""

import json
import socket
import threading
import time

import pytest

from harness.asking import (
    CONVERSE,
    INVOKE_CLAUDE,
    MESSAGES,
    completion_of_agent,
    deployment,
    model_list,
    text_of_stream,
)
from harness.clients import boto3_client, frames, raw_exchange, raw_post
from harness.simulator import fault

CUTS = {
    "the body ends short of Content-Length": ("converse", "short-body"),
    "the connection is reset inside the body": ("converse", "reset-in-stream.1"),
    "the chunked body lacks its last chunk": ("converse-stream", "close-in-stream.3"),
    "the chunked body ends inside a chunk": ("converse-stream", "close-in-chunk.3"),
    "the stream is cut inside a frame": ("converse-stream", "cut-in-frame.3"),
    "the stream ends cleanly, but inside a frame": ("converse-stream", "clean-cut-in-frame.3"),
    "the connection is reset inside the stream": ("converse-stream", "reset-in-stream.3"),
    "the invoke stream is cut inside a frame": ("invoke-with-response-stream", "cut-in-frame.2"),
    "the invoke stream ends cleanly inside a frame": ("invoke-with-response-stream", "clean-cut-in-frame.2"),
    "the invoke stream lacks its last chunk": ("invoke-with-response-stream", "close-in-stream.2"),
}


@pytest.fixture(scope="module")
def gateway(spawn_gateway, slow_simulator):
    with spawn_gateway(config=model_list(deployment("my-claude")), upstream=slow_simulator) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


@pytest.mark.parametrize(
    "path",
    [
        "/model/my-claude/converse-stream",
        "/model/my-claude/invoke-with-response-stream",
        "/agents/AGENT12345/agentAliases/ALIAS12345/sessions/1/text",
    ],
)
def test_invariant_1_events_arrive_as_they_come(gateway, key, path):
    """The simulator waits 60 ms between two frames: so must the client see them, not all at the end."""
    body = {"agents": b'{"inputText": "Who do you know?"}'}.get(
        path.split("/")[1], INVOKE_CLAUDE if "invoke" in path else CONVERSE
    )
    answer = raw_exchange(gateway.port, raw_post(f"/bedrock{path}", key, body))
    assert answer.status == 200 and answer.ended_clean
    count = sum(1 for _ in frames(answer.body))
    assert count >= 2
    times = [moment for moment, _ in answer.arrivals]
    assert times[-1] - times[0] > 0.06 * (count - 1) * 0.5, "the frames came in one lump"
    assert len(times) >= count - 1


def test_a_streaming_client_sees_its_first_event_long_before_the_last(gateway, key):
    client = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    moments = [time.monotonic() for _ in client.converse_stream(modelId="my-claude", messages=MESSAGES)["stream"]]
    assert len(moments) >= 4
    assert moments[-1] - moments[0] > 0.06 * (len(moments) - 2) * 0.5


@pytest.mark.parametrize("what", CUTS)
def test_invariant_1_a_short_response_is_never_a_clean_end(gateway, key, slow_simulator, what):
    """A broken connection (also one without a head: the answer broke off before its head was on the way), an
    exception frame, or an error; but nothing that a client takes for whole."""
    verb, action = CUTS[what]
    body = INVOKE_CLAUDE if verb.startswith("invoke") else CONVERSE
    with slow_simulator.faults(fault(action, model="claude-3-5-sonnet")):
        answer = raw_exchange(gateway.port, raw_post(f"/bedrock/model/my-claude/{verb}", key, body))
    if answer.status in (0, 200):
        ended_by_exception = any(
            headers.get(":message-type") in ("exception", "error") for headers, _ in frames(_whole_frames(answer.body))
        )
        assert not answer.ended_clean or ended_by_exception, answer.raw[-200:]
    else:
        assert answer.status in (502, 503), answer.raw[:300]


def _whole_frames(body: bytes) -> bytes:
    whole = 0
    while len(body) >= whole + 12 and len(body) >= whole + int.from_bytes(body[whole : whole + 4], "big"):
        whole += int.from_bytes(body[whole : whole + 4], "big")
    return body[:whole]


def test_boto3_raises_when_a_stream_breaks_off(gateway, key, slow_simulator):
    client = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    with slow_simulator.faults(fault("cut-in-frame.3", model="claude-3-5-sonnet")), pytest.raises(Exception) as raised:
        text_of_stream(client.converse_stream(modelId="my-claude", messages=MESSAGES))
    assert not isinstance(raised.value, AssertionError)


def test_an_exception_frame_of_aws_reaches_the_client_as_it_is(gateway, key, slow_simulator):
    client = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    with (
        slow_simulator.faults(fault("exception-in-stream.2", model="claude-3-5-sonnet")),
        pytest.raises(client.exceptions.ClientError) as raised,
    ):
        text_of_stream(client.converse_stream(modelId="my-claude", messages=MESSAGES))
    assert raised.value.response["Error"]["Code"] == "throttlingException"


def test_many_slow_streams_take_flat_memory(gateway, key):
    """Fifty streams at once, twice: the second round may not leave the process bigger than the first did."""

    def stream():
        assert raw_exchange(
            gateway.port, raw_post("/bedrock/model/my-claude/converse-stream", key, CONVERSE)
        ).ended_clean

    def round_of_fifty() -> int:
        threads = [threading.Thread(target=stream) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return gateway.memory_bytes()

    round_of_fifty()
    first = round_of_fifty()
    second = round_of_fifty()
    assert second - first < 8 << 20, f"{first} → {second}"


def test_a_client_that_reads_slowly_holds_back_the_upstream_and_still_gets_everything(gateway, key):
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(raw_post("/bedrock/model/my-claude/converse-stream", key, CONVERSE))
        raw = b""
        while chunk := connection.recv(256):
            raw += chunk
    assert raw.endswith(b"0\r\n\r\n")


def test_an_agent_streams_through_the_documents_recipe(gateway, key):
    client = boto3_client("bedrock-agent-runtime", gateway.base, access_key_id=key)
    response = client.invoke_agent(
        agentId="AGENT12345", agentAliasId="ALIAS12345", sessionId="12345", inputText="Who do you know?"
    )
    assert completion_of_agent(response)


def test_a_stream_that_stalls_is_broken_off(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), router_settings={"stream_timeout": 1})
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        key = running.generate_key()
        with slow_simulator.faults(fault("stall-in-stream.2.20000", model="claude-3-5-sonnet")):
            began = time.monotonic()
            answer = raw_exchange(running.port, raw_post("/bedrock/model/my-claude/converse-stream", key, CONVERSE))
        assert time.monotonic() - began < 10
        assert not answer.ended_clean or answer.status in (503, 504) or b"exception" in answer.body


def test_the_usage_of_a_stream_stands_in_its_metadata_event(gateway, key):
    answer = raw_exchange(gateway.port, raw_post("/bedrock/model/my-claude/converse-stream", key, CONVERSE))
    headers, payload = list(frames(answer.body))[-1]
    assert headers[":event-type"] == "metadata"
    assert json.loads(payload)["usage"]["outputTokens"] > 0
