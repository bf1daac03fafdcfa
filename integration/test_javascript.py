"""The AWS SDK for JavaScript v3 as it is: its default form, which speaks HTTP/2 with prior knowledge and says GOAWAY as soon
as it has an answer's head, and with the handler for HTTP/1.1."""

import pytest

from harness.asking import INVOKE_CLAUDE, MESSAGES, deployment, model_list
from harness.javascript import call, run_javascript, text_of_events
from harness.signing import generate_pair
from harness.simulator import fault
from harness.spend import SONNET_OUTPUT
from harness.waiting import eventually

ENV = {"BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789"}
FEW_TOKENS = {"maxTokens": 8}
CONVERSE = call("Converse", modelId="my-claude", messages=MESSAGES, inferenceConfig=FEW_TOKENS)
STREAM = call("ConverseStream", modelId="my-claude", messages=MESSAGES, inferenceConfig=FEW_TOKENS)


@pytest.fixture(scope="module")
def gateway(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude"), deployment("other"))
    with spawn_gateway(config=config, env=ENV, upstream=slow_simulator) as running:
        yield running


@pytest.fixture(scope="module")
def pair(gateway):
    return generate_pair(gateway)[1]


@pytest.fixture(params=[False, True], ids=["h2c, its default", "HTTP/1.1"])
def run(request, gateway, pair):
    """Runs calls one after another with one client."""

    def calls(*wanted, **how):
        return run_javascript(gateway.base, list(wanted), pair=how.pop("pair", pair), http1=request.param, **how)

    return calls


def test_a_whole_answer(run, slow_simulator):
    with slow_simulator.recording() as upstream:
        first, second = run(CONVERSE, CONVERSE)
    assert first["status"] == second["status"] == 200, first
    assert first["output"]["output"]["message"]["content"][0]["text"]
    assert first["output"]["usage"]["outputTokens"] == 8
    assert len(upstream.all()) == 2


def test_a_whole_answer_whose_body_is_slower_than_its_head(run, slow_simulator):
    """With GOAWAY between the two: the answer came out empty, and no error said so, with the h2 of actix-http."""
    with slow_simulator.faults(fault("stall-in-stream.0.700", model="claude-3-5-sonnet")):
        (answer,) = run(CONVERSE)
    assert answer["status"] == 200, answer
    assert answer["output"]["output"]["message"]["content"][0]["text"]


def test_a_stream_that_is_slower_than_its_head(run):
    (answer,) = run(STREAM)
    assert answer["status"] == 200, answer
    names = [next(iter(entry["event"])) for entry in answer["events"]]
    assert names[0] == "messageStart" and names[-1] == "metadata" and names.count("contentBlockDelta") >= 8
    assert text_of_events(answer)
    assert answer["events"][-1]["event"]["metadata"]["usage"]["outputTokens"] == 8
    moments = [entry["at"] for entry in answer["events"]]
    assert moments[-1] - moments[0] > 60 * (len(moments) - 2) * 0.5, "the events came in one lump"


def test_invoke_model_and_its_stream(run):
    body = {"modelId": "my-claude", "contentType": "application/json", "body": INVOKE_CLAUDE.decode()}
    whole, stream = run(call("InvokeModel", **body), call("InvokeModelWithResponseStream", **body))
    assert whole["status"] == 200 and '"type":"message"' in whole["output"]["body"].replace(" ", ""), whole
    assert len(stream["events"]) >= 8 and all("chunk" in entry["event"] for entry in stream["events"])


def test_apply_guardrail(run):
    content = [{"text": {"text": "Hello"}}]
    guardrail = {"guardrailIdentifier": "gr0123456789", "guardrailVersion": "1", "source": "INPUT"}
    (answer,) = run(call("ApplyGuardrail", **guardrail, content=content))
    assert answer["status"] == 200 and answer["output"]["action"] in ("NONE", "GUARDRAIL_INTERVENED"), answer


def test_calls_at_once(run):
    answers = run(*[CONVERSE, STREAM] * 5, together=True)
    assert [answer.get("status") for answer in answers] == [200] * 10, answers
    assert all("metadata" in answer["events"][-1]["event"] for answer in answers[1::2])


def test_an_error_of_aws_is_its_modelled_class(run, slow_simulator):
    with slow_simulator.faults(fault("throttle", model="claude-3-5-sonnet")):
        for answer in run(CONVERSE, STREAM):
            assert answer["error"]["name"] == "ThrottlingException" and answer["error"]["isModelled"], answer
            assert answer["error"]["status"] == 429


def test_an_error_of_the_gateway_is_its_modelled_class(run, gateway):
    _, of_another = generate_pair(gateway, models=["other"])
    (answer,) = run(CONVERSE, pair=of_another)
    error = answer["error"]
    assert (error["name"], error["isModelled"], error["status"]) == ("AccessDeniedException", True, 403), answer


def test_an_exception_inside_a_stream_is_raised(run, slow_simulator):
    with slow_simulator.faults(fault("exception-in-stream.3", model="claude-3-5-sonnet")):
        (answer,) = run(STREAM)
    assert answer["error"]["name"] == "throttlingException" or answer["error"]["name"] == "ThrottlingException", answer


def test_invariant_1_a_stream_that_breaks_off_is_an_error(run, slow_simulator):
    with slow_simulator.faults(fault("cut-in-frame.3", model="claude-3-5-sonnet")):
        (answer,) = run(STREAM)
    assert "error" in answer, answer


def test_the_agent_runtime(run):
    retrieve = call("Retrieve", knowledgeBaseId="KB12345678", retrievalQuery={"text": "Hello"})
    agent = {"agentId": "AGENT12345", "agentAliasId": "ALIAS12345", "sessionId": "1", "inputText": "Hello"}
    found, invoked = run(retrieve, call("InvokeAgent", **agent), service="bedrock-agent-runtime")
    assert found["status"] == 200 and "retrievalResults" in found["output"], found
    assert any("chunk" in entry["event"] for entry in invoked["events"]), invoked


def test_its_calls_are_charged_to_the_key(run, gateway):
    key, pair = generate_pair(gateway)
    run(CONVERSE, STREAM, pair=pair)
    both = 2 * (FEW_TOKENS["maxTokens"] * SONNET_OUTPUT)
    eventually(lambda: gateway.spend_of(key) > both, 15, "both calls were charged to the key")
