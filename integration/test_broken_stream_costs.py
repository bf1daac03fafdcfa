"""What a stream costs that ends too early: what AWS stated is charged, what it sent bounds the rest, and a refusal is free."""

import json

import pytest

from harness.asking import CONVERSE, INVOKE_CLAUDE, MESSAGES, deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.simulator import fault
from harness.spend import nano_usd, outcome

# List prices in nano-dollars a token, as the profile of the USA has them.
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SONNET_INPUT, SONNET_OUTPUT, SONNET_WRITE_1H = 3_300, 16_500, 6_600
STATED = "usage.10.1.0.0.100000"
NO_BOUND = json.dumps({"messages": MESSAGES}).encode()
CHAT = b'{"model": "sonnet", "max_tokens": 8, "stream": true, "stream_options": {"include_usage": true}, "messages": []}'
ANTHROPIC = b'{"model": "sonnet", "max_tokens": 8, "stream": true, "messages": []}'


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("sonnet", CLAUDE))) as running:
        yield running


@pytest.fixture
def key(gateway):
    return gateway.generate_key()


def ask(gateway, simulator, key, path, body, *actions):
    with simulator.faults(fault(*actions)):
        answer = raw_exchange(gateway.port, raw_post(path, key, body))
    assert answer.status == 200, answer
    return gateway.event(answer.headers["x-litellm-call-id"])


def basis(event) -> str:
    return event["metadata"]["cost_basis"]


@pytest.mark.parametrize(
    "path, body",
    [
        ("/bedrock/model/sonnet/converse-stream", NO_BOUND),
        ("/bedrock/model/sonnet/invoke-with-response-stream", INVOKE_CLAUDE),
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", ANTHROPIC),
    ],
)
def test_an_exception_before_anything_of_an_answer_is_free(gateway, simulator, key, path, body):
    event = ask(gateway, simulator, key, path, body, "exception-in-stream.0")
    assert (basis(event), nano_usd(event), outcome(event)) == ("free", 0, "upstream_error")


def test_an_agent_that_fails_has_asked_models_and_is_not_free(gateway, simulator, key):
    path = "/bedrock/agents/AGENT12345/agentAliases/ALIAS12345/sessions/1/text"
    event = ask(gateway, simulator, key, path, b'{"inputText": "Hello"}', "exception-in-stream.0")
    assert (basis(event), outcome(event)) == ("usage_unknown", "upstream_error")


def test_a_budget_outlives_throttling_inside_of_streams(gateway, simulator):
    key = gateway.generate_key(max_budget=0.015, budget_enforcement="hard")
    body = json.dumps({"messages": MESSAGES, "inferenceConfig": {"maxTokens": 300}}).encode()
    for _ in range(5):
        ask(gateway, simulator, key, "/bedrock/model/sonnet/converse-stream", body, "exception-in-stream.0")


def test_an_exception_behind_content_costs_what_was_sent_and_not_the_longest_answer(gateway, simulator, key):
    path = "/bedrock/model/sonnet/converse-stream"
    event = ask(gateway, simulator, key, path, NO_BOUND, "exception-in-stream.3")
    assert (basis(event), outcome(event)) == ("estimated", "upstream_error")
    # Three events of some hundred bytes; the model's longest answer is 64,000 tokens.
    assert 3 * SONNET_OUTPUT < nano_usd(event) < 200 * SONNET_OUTPUT
    event = ask(gateway, simulator, key, path, CONVERSE, "exception-in-stream.8")
    assert nano_usd(event) < 8 * SONNET_OUTPUT + len(CONVERSE) * SONNET_WRITE_1H, "never more than the request allows"


@pytest.mark.parametrize(
    "path, body",
    [("/bedrock/model/sonnet/invoke-with-response-stream", INVOKE_CLAUDE), ("/v1/messages", ANTHROPIC)],
)
@pytest.mark.parametrize("end", ["exception-in-stream.3", "close-in-stream.3"])
def test_what_aws_stated_before_a_stream_broke_is_charged(gateway, simulator, key, path, body, end):
    event = ask(gateway, simulator, key, path, body, STATED, end)
    stated = 10 * SONNET_INPUT + 100_000 * SONNET_WRITE_1H
    assert (basis(event), outcome(event)) == ("estimated", "upstream_error")
    assert stated + SONNET_OUTPUT <= nano_usd(event) <= stated + 8 * SONNET_OUTPUT
    if end.startswith("close"):
        assert nano_usd(event) == stated + 8 * SONNET_OUTPUT, "AWS may have finished the longest answer"
    assert event["prompt_tokens"] >= 10 and event["total_tokens"] > 100_000, event


@pytest.mark.parametrize("path, body", [("/v1/messages", ANTHROPIC), ("/v1/chat/completions", CHAT)])
def test_usage_of_the_whole_answer_is_charged_without_the_event_that_ends_the_stream(
    gateway, simulator, key, path, body
):
    event = ask(gateway, simulator, key, path, body, "usage.10.20", "no-end")
    assert (basis(event), nano_usd(event)) == ("exact", 10 * SONNET_INPUT + 20 * SONNET_OUTPUT)


@pytest.mark.parametrize("end", ["exception-in-stream.3", "close-in-stream.3"])
def test_invariant_6_a_broken_stream_costs_no_more_than_was_reserved(gateway, simulator, end):
    """Converse does not heed `max_tokens`: what is reserved is the model's longest answer, and no more may be charged."""
    key = gateway.generate_key(max_budget=1.2, budget_enforcement="hard")
    body = json.dumps({"messages": MESSAGES, "max_tokens": 999_999_999}).encode()
    event = ask(gateway, simulator, key, "/bedrock/model/sonnet/converse-stream", body, end)
    assert basis(event) == "estimated"
    assert 0 < nano_usd(event) <= 1_200_000_000
