"""Which models a key may use, in LiteLLM's terms: lists of keys and teams, special names, aliases, access groups."""

import time

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json, raw_exchange, raw_post
from harness.simulator import fault


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    config = model_list(
        deployment("my-claude", model_info={"access_groups": ["beta", "all-of-them"]}),
        deployment("my-cohere", "cohere.command-r-v1:0", model_info={"access_groups": ["all-of-them"]}),
        router_settings={"model_group_alias": {"nick": "my-claude", "old": {"model": "my-claude", "hidden": True}}},
    )
    with spawn_gateway(config=config) as running:
        for team, models in (("narrow", ["my-cohere"]), ("wide", [])):
            assert running.call("POST", "/team/new", {"team_id": team, "models": models}).status == 200
        yield running


def may_use(gateway, key: str) -> set[str]:
    """The names that the key may call, by calling each."""
    names = ["my-claude", "my-cohere", "nick", "old"]
    answers = {
        name: curl_json(f"{gateway.base}/model/{name}/converse", key, CONVERSE).status for name in names
    }
    assert set(answers.values()) <= {200, 403}, answers
    return {name for name, status in answers.items() if status == 200}


def listed(gateway, key: str) -> set[str]:
    """The names that /v1/models shows the key."""
    return {entry["id"] for entry in gateway.call("GET", "/v1/models", key=key).json()["data"]}


OF_CLAUDE = {"my-claude", "nick", "old"}
EVERYTHING = OF_CLAUDE | {"my-cohere"}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, EVERYTHING),
        ({"models": ["all-proxy-models"]}, EVERYTHING),
        ({"models": ["all-team-models"]}, EVERYTHING),
        ({"models": ["all-team-models"], "team_id": "wide"}, EVERYTHING),
        ({"models": ["all-team-models"], "team_id": "narrow"}, {"my-cohere"}),
        ({"team_id": "narrow"}, {"my-cohere"}),
        ({"models": ["my-claude"], "team_id": "narrow"}, set()),
        ({"models": ["no-default-models"]}, set()),
        ({"models": ["my-claude"]}, OF_CLAUDE),
        ({"models": ["nick"]}, {"nick"}),
        ({"models": ["beta"]}, OF_CLAUDE),
        ({"models": ["all-of-them"]}, EVERYTHING),
        ({"models": ["gamma"]}, set()),
    ],
)
def test_a_model_list_admits_what_it_admits_in_litellm(gateway, fields, expected):
    key = gateway.generate_key(**fields)
    assert may_use(gateway, key) == expected
    assert listed(gateway, key) == expected - {"old"}
    shown = {entry["model_name"] for entry in gateway.call("GET", "/model/info", key=key).json()["data"]}
    assert shown == expected & {"my-claude", "my-cohere"}


def test_the_stream_timeout_of_an_entry_counts(spawn_gateway, slow_simulator):
    config = model_list(deployment("my-claude", stream_timeout=1))
    with spawn_gateway(config=config, upstream=slow_simulator) as running:
        with slow_simulator.faults(fault("stall-in-stream.2.20000", model="claude-3-5-sonnet")):
            began = time.monotonic()
            request = raw_post("/bedrock/model/my-claude/converse-stream", running.generate_key(), CONVERSE)
            answer = raw_exchange(running.port, request)
        assert time.monotonic() - began < 10 and not answer.ended_clean
