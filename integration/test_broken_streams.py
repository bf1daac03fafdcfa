"""Streams that the gateway must break off: each SDK raises its own class, with a reason, and nothing looks whole."""

import os
import resource
import stat
import threading

import anthropic
import openai
import pytest
from botocore.exceptions import EventStreamError

from harness.asking import CONVERSE, INVOKE_CLAUDE, MESSAGES, deployment, model_list, text_of_stream
from harness.clients import boto3_client, frames, raw_exchange, raw_post
from harness.process import binary
from harness.sdks import HELLO, REGION
from harness.simulator import fault
from harness.spend import outcome
from harness.waiting import eventually

# After this many frames or events, and not inside of one.
AT_BOUNDARY = fault("close-in-stream.3")
IN_FRAME = fault("cut-in-frame.3")


@pytest.fixture(scope="module")
def gateway(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"))
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        yield running


@pytest.fixture
def key(gateway):
    return gateway.generate_key()


def converse(gateway, key):
    client = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    return text_of_stream(client.converse_stream(modelId="my-claude", messages=MESSAGES))


def invoke(gateway, key):
    client = boto3_client("bedrock-runtime", gateway.base, access_key_id=key)
    answer = client.invoke_model_with_response_stream(modelId="my-claude", body=INVOKE_CLAUDE)
    return [event["chunk"]["bytes"] for event in answer["body"]]


def agent(gateway, key):
    client = boto3_client("bedrock-agent-runtime", gateway.base, access_key_id=key)
    answer = client.invoke_agent(agentId="AGENT12345", agentAliasId="ALIAS12345", sessionId="12345", inputText="Hi")
    return list(answer["completion"])


@pytest.mark.parametrize(
    "ask, exception, cut",
    [
        (converse, "modelStreamErrorException", "close-in-stream.3"),
        (invoke, "modelStreamErrorException", "close-in-stream.3"),
        (agent, "internalServerException", "close-in-stream.1"),
        (converse, "modelStreamErrorException", "reset-in-stream.3"),
        (converse, "modelStreamErrorException", "close-in-stream.0"),
    ],
)
def test_boto3_raises_the_modelled_exception(gateway, key, slow_simulator, ask, exception, cut):
    with slow_simulator.faults(fault(cut)), pytest.raises(EventStreamError) as raised:
        ask(gateway, key)
    assert raised.value.response["Error"]["Code"] == exception
    message = raised.value.response["Error"]["Message"]
    assert "the answer from Amazon Bedrock broke off" in message and "of the gateway)" in message
    [row] = eventually(lambda: gateway.events(api_key=key))
    assert outcome(row) == "upstream_error"
    assert row["metadata"]["event_id"] in message


def test_anthropic_raises_its_error_for_server_sent_events_and_for_frames(gateway, key, slow_simulator):
    plain = anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0)
    of_bedrock = anthropic.AnthropicBedrock(
        base_url=gateway.base, api_key=key, aws_region=REGION, max_retries=0
    )
    for client in (plain, of_bedrock):
        with (
            slow_simulator.faults(AT_BOUNDARY),
            pytest.raises(anthropic.APIStatusError) as raised,
            client.messages.stream(model="my-claude", max_tokens=8, messages=HELLO) as stream,
        ):
            stream.until_done()
        assert "broke off" in str(raised.value)
    assert raised.value.status_code


def test_openai_raises_its_error(gateway, key, slow_simulator):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)
    calls = [
        lambda: client.chat.completions.create(model="my-claude", messages=HELLO, stream=True),
        lambda: client.responses.create(model="my-claude", input="Hello", stream=True),
    ]
    for call in calls:
        with slow_simulator.faults(AT_BOUNDARY), pytest.raises(openai.APIError) as raised:
            list(call())
        assert "broke off" in raised.value.message
        assert (raised.value.type, raised.value.code) == ("api_error", "internal_error")


@pytest.mark.parametrize("path, body", [("converse-stream", CONVERSE), ("invoke-with-response-stream", INVOKE_CLAUDE)])
def test_invariant_1_the_exception_frame_is_the_last_and_the_connection_breaks_off(
    gateway, key, slow_simulator, path, body
):
    with slow_simulator.faults(AT_BOUNDARY):
        answer = raw_exchange(gateway.port, raw_post(f"/bedrock/model/my-claude/{path}", key, body))
    assert answer.status == 200 and not answer.ended_clean
    kinds = [headers[":message-type"] for headers, _ in frames(answer.body)]
    assert kinds == ["event"] * 3 + ["exception"]


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"], ids=["messages", "chat", "responses"]
)
@pytest.mark.parametrize("cut, is_told", [("close-in-stream.3", True), ("cut-in-frame.3", False), ("no-end", True)])
def test_invariant_1_an_error_event_follows_whole_events_only(gateway, key, slow_simulator, path, cut, is_told):
    question = b'{"model": "my-claude", "max_tokens": 8, "stream": true, "messages": [], "input": "Hello"}'
    with slow_simulator.faults(fault(cut)):
        answer = raw_exchange(gateway.port, raw_post(path, key, question))
    assert answer.status == 200 and not answer.ended_clean
    assert (b"broke off" in answer.body) == is_told
    if is_told:
        assert answer.body.endswith(b"\n\n")


def test_invariant_1_nothing_follows_half_a_frame(gateway, key, slow_simulator):
    with slow_simulator.faults(IN_FRAME):
        answer = raw_exchange(gateway.port, raw_post("/bedrock/model/my-claude/converse-stream", key, CONVERSE))
    assert answer.status == 200 and not answer.ended_clean
    assert b"exception" not in answer.body
    with slow_simulator.faults(IN_FRAME), pytest.raises(Exception) as raised:
        converse(gateway, key)
    assert not isinstance(raised.value, EventStreamError)


def test_a_stream_that_falls_silent_ends_with_the_exception_too(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), router_settings={"stream_timeout": 1})
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        with slow_simulator.faults(fault("stall-in-stream.2.20000")), pytest.raises(EventStreamError) as raised:
            converse(running, running.generate_key())
        assert "silent" in str(raised.value)


@pytest.fixture
def gateway_that_can_be_kept_from_writing(spawn_gateway, slow_simulator, tmp_path, monkeypatch):
    """A write beyond the limit on its files fails, and does not kill it."""
    wrapper = tmp_path / "bedgate"
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{binary()}' \"$@\"\n")
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BEDGATE_BINARY", os.fspath(wrapper))
    with spawn_gateway(config=model_list(deployment("my-claude")), upstream=slow_simulator) as running:
        yield running
        if running.popen.poll() is None:
            running.kill()


def test_invariant_4_an_answer_whose_event_cannot_be_written_ends_with_the_exception(
    gateway_that_can_be_kept_from_writing,
):
    running = gateway_that_can_be_kept_from_writing
    key = running.generate_key()
    converse(running, key)
    eventually(lambda: running.events(api_key=key))
    raised: list[BaseException] = []
    has_begun = threading.Event()

    def ask():
        client = boto3_client("bedrock-runtime", running.base, access_key_id=key)
        try:
            for _ in client.converse_stream(modelId="my-claude", messages=MESSAGES)["stream"]:
                has_begun.set()
        except BaseException as error:
            raised.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    # The stream goes on for many times 60 ms.
    assert has_begun.wait(timeout=20)
    resource.prlimit(running.popen.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    asking.join(timeout=30)
    resource.prlimit(running.popen.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    [error] = raised
    assert isinstance(error, EventStreamError), error
    assert error.response["Error"]["Code"] == "internalServerException"
    assert "could not be recorded" in str(error)
