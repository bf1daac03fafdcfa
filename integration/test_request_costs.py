"""What a request says, wherever it says it, changes the price: behind large pictures, in the body's model, and in no word."""

import json
from concurrent.futures import ThreadPoolExecutor

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


def send(gateway, path, body, key):
    return raw_exchange(gateway.port, raw_post(f"/bedrock/{path}", key, json.dumps(body).encode()))


@pytest.mark.parametrize("enforcement", ["standard", "hard"])
def test_reranks_at_the_same_time_cannot_overrun_a_budget(gateway, enforcement):
    """Each costs ten queries, 0.02 dollars, and could cost thirteen by the bytes of its documents."""
    key = gateway.generate_key(max_budget=0.03, budget_enforcement=enforcement)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: send(gateway, "rerank", rerank(1000), key), range(16)))
    served = [answer for answer in answers if answer.status == 200]
    # A standard budget lets in what finds less than all of it spent or reserved.
    assert len(served) <= (1 if enforcement == "hard" else 2), [answer.status for answer in answers]
    assert served, answers


def test_a_rerank_whose_model_has_a_budget_is_held_to_it(gateway):
    key = gateway.generate_key(model_max_budget={ARN: {"budget_limit": 0.003, "time_period": "1d"}})
    for _ in range(2):
        ask(gateway, "rerank", rerank(1), key)
    answer = send(gateway, "rerank", rerank(1), key)
    assert answer.status == 400 and b"udget" in answer.body, answer
    assert send(gateway, "rerank", rerank(1, "amazon.rerank-v1:0"), key).status == 200


def test_long_documents_are_charged_at_least_as_they_are_counted(gateway):
    body = rerank(1)
    body["sources"][0]["inlineDocumentSource"]["textDocument"]["text"] = "a " * 30_000
    event = ask(gateway, "rerank", body)
    assert (event["metadata"]["cost_basis"], nano_usd(event)) == ("estimated", RERANK_QUERY)


def test_a_rerank_that_may_hide_documents_is_not_called_exact(gateway):
    text = json.dumps(rerank(1))[:-1] + ', "source\\u0073": [1, 2]}'
    answer = raw_exchange(gateway.port, raw_post("/bedrock/rerank", gateway.generate_key(), text.encode()))
    assert gateway.event(answer.headers["x-litellm-call-id"])["metadata"]["cost_basis"] == "usage_unknown"
