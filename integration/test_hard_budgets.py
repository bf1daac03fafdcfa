"""What a hard budget takes to be the worst that a request can cost: nothing that a client writes talks it down."""

import json

import pytest

from harness.asking import MESSAGES, deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.spend import nano_usd

# A dollar for ten thousand tokens of answer: the longest one of this model.
CONFIG = model_list(
    deployment("priced", "amazon.nova-pro-v1:0", input_cost_per_token=0.000001, output_cost_per_token=0.0001)
)
SHORT = {"messages": MESSAGES, "inferenceConfig": {"maxTokens": 8}}


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=CONFIG) as running:
        yield running


def ask(gateway, key, body: dict | str, *headers: str):
    raw = (body if isinstance(body, str) else json.dumps(body)).encode()
    return raw_exchange(gateway.port, raw_post("/bedrock/model/priced/converse", key, raw, *headers))


@pytest.fixture(scope="module")
def key(gateway):
    """May spend a tenth of what the model's longest answer costs."""
    return gateway.generate_key(max_budget=0.1, budget_enforcement="hard")


def test_a_short_answer_fits(gateway, key):
    assert ask(gateway, key, SHORT).status == 200
    assert ask(gateway, key, SHORT, "x-amzn-bedrock-service-tier: default").status == 200
    assert ask(gateway, key, {**SHORT, "requestMetadata": {"user": "x" * 100}}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"messages": MESSAGES}, id="no bound"),
        pytest.param({"messages": MESSAGES, "max_tokens": 8}, id="a member that Converse does not heed"),
        pytest.param({**SHORT, "additionalModelRequestFields": {"max_tokens": 9999}}, id="handed on to the model"),
        pytest.param(
            json.dumps(SHORT)[:-1] + ', "inferenceConfig": {"maxTokens": 9999}, "inferenceConfig": {"maxTokens": 8}}',
            id="twice",
        ),
        pytest.param(json.dumps(SHORT).replace("maxTokens", "max\\u0054okens"), id="an escaped name"),
        pytest.param({**SHORT, "inferenceConfig": {"maxTokens": 8, "max_new_tokens": "x" * 17_000}}, id="too large"),
        pytest.param({**SHORT, "user": "x" * 17_000}, id="too large beside it"),
        pytest.param({**SHORT, "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}, id="guardrail"),
    ],
)
def test_what_hides_or_lacks_a_bound_is_refused_before_it_is_sent(gateway, key, simulator, body):
    with simulator.recording() as upstream:
        answer = ask(gateway, key, body)
        upstream.nothing()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ServiceQuotaExceededException")
    assert ask(gateway, gateway.generate_key(), body).status == 200, "without a hard budget it passes"


@pytest.mark.parametrize(
    "headers",
    [
        ["x-amzn-bedrock-service-tier: priority"],
        ["x-amzn-bedrock-service-tier: default", "x-amzn-bedrock-service-tier: priority"],
        ["x-amzn-bedrock-performanceconfig-latency: optimized"],
        ["x-amzn-bedrock-guardrailidentifier: g"],
    ],
)
def test_headers_that_raise_the_price_are_refused(gateway, key, headers):
    assert ask(gateway, key, SHORT, *headers).status == 400


def test_a_guardrail_beside_the_model_leaves_the_cost_an_estimate(gateway):
    guarded = {**SHORT, "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}
    answers = [ask(gateway, gateway.generate_key(), body) for body in (SHORT, guarded)]
    plain, beside = (gateway.event(answer.headers["x-litellm-call-id"]) for answer in answers)
    assert plain["metadata"]["cost_basis"] == "exact"
    assert beside["metadata"]["cost_basis"] == "estimated"
    assert nano_usd(beside) == beside["prompt_tokens"] * 1_000 + beside["completion_tokens"] * 100_000
