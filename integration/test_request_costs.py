"""What a request says, wherever it says it, changes the price: behind large pictures, and in no word."""

import json

import pytest

from harness.asking import deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.spend import nano_usd

LARGE = "A" * (5 << 20)
TITAN_IMAGE = "amazon.titan-embed-image-v1"
# Nano-dollars: a token of text, an image.
TITAN_TOKEN, TITAN_PICTURE = 800, 60_000


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
