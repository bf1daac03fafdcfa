"""What a request says, wherever it says it, changes the price: behind large pictures, in the body's model, and in no word."""

import json

import pytest

from harness.asking import deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.spend import nano_usd

LARGE = "A" * (5 << 20)
TITAN_IMAGE = "amazon.titan-embed-image-v1"
# Nano-dollars: a token of text, an image, a query.
TITAN_TOKEN, TITAN_PICTURE = 800, 60_000
RERANK_QUERY = 2_000_000
ARN = "arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0"


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("sonnet"))) as running:
        yield running


def ask(gateway, path, body, key=None):
    answer = raw_exchange(gateway.port, raw_post(f"/bedrock/{path}", key or gateway.generate_key(), json.dumps(body).encode()))
    assert answer.status == 200, answer
    return gateway.event(answer.headers["x-litellm-call-id"])


@pytest.mark.parametrize(
    "body, pictures",
    [
        ({"inputText": "x", "inputImage": LARGE}, 1),
        ({"inputImage": LARGE, "inputText": "x"}, 1),
        ({"inputText": "image", "inputImage": None}, 0),
        ({"inputText": "image_url", "inputImage": ""}, 0),
    ],
)
def test_pictures_are_charged_at_any_size_and_only_where_there_are_some(gateway, body, pictures):
    event = ask(gateway, f"model/{TITAN_IMAGE}/invoke", body)
    tokens = event["prompt_tokens"]
    assert event["metadata"]["cost_basis"] == "exact"
    assert nano_usd(event) == tokens * TITAN_TOKEN + pictures * TITAN_PICTURE


def test_the_tier_asked_for_behind_a_large_text_counts(gateway):
    body = {"messages": [{"role": "user", "content": [{"text": LARGE}]}], "serviceTier": {"type": "flex"}}
    assert ask(gateway, "model/sonnet/converse", body)["metadata"]["service_tier"] == "flex"


def rerank(count, model=ARN):
    return {
        "queries": [{"type": "TEXT", "textQuery": {"text": "q"}}],
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": model}},
        },
        "sources": [{"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "a"}}}] * count,
    }


@pytest.mark.parametrize("model", [ARN, "cohere.rerank-v3-5:0"])
def test_a_rerank_is_priced_by_the_model_in_its_body(gateway, model):
    event = ask(gateway, "rerank", rerank(101, model))
    assert (event["metadata"]["cost_basis"], nano_usd(event)) == ("exact", 2 * RERANK_QUERY)
    assert event["model"] == event["model_group"] == model


def test_a_budget_holds_for_reranks(gateway):
    key = gateway.generate_key(max_budget=0.003)
    for _ in range(2):
        ask(gateway, "rerank", rerank(1), key)
    answer = raw_exchange(gateway.port, raw_post("/bedrock/rerank", key, json.dumps(rerank(1)).encode()))
    assert answer.status == 400 and b"Budget has been exceeded" in answer.body, answer
