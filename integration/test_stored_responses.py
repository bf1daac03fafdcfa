"""Responses that AWS keeps under an id: for the key that made them, and for the master key."""

import contextlib

import openai
import pytest

from harness.asking import deployment, model_list
from harness.clients import curl_json
from harness.gateway import MASTER_KEY
from harness.waiting import eventually

HELLO = {"model": "my-claude", "input": "Hello", "max_output_tokens": 8}
BASES = ["/v1", "/bedrock/openai/v1", "/bedrock-mantle/v1"]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    with spawn_gateway(config=model_list(deployment("my-claude")), database=request.param) as running:
        yield running


@pytest.fixture
def key(gateway):
    return gateway.generate_key()


def client(gateway, key: str, base: str = "/v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + base, api_key=key, max_retries=0)


def reach(asking: openai.OpenAI, response_id: str) -> dict[str, object]:
    """Every call that takes the id of a response."""
    return {
        "retrieve": lambda: asking.responses.retrieve(response_id),
        "delete": lambda: asking.responses.delete(response_id),
        "cancel": lambda: asking.responses.cancel(response_id),
        "input items": lambda: asking.responses.input_items.list(response_id),
        "go on": lambda: asking.responses.create(**HELLO, previous_response_id=response_id),
    }


def made_whole(asking: openai.OpenAI) -> str:
    return asking.responses.create(**HELLO).id


def made_as_a_stream(asking: openai.OpenAI) -> str:
    with asking.responses.create(**HELLO, stream=True) as stream:
        return next(event.response.id for event in stream if event.type == "response.created")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("make", [made_whole, made_as_a_stream])
def test_a_key_reaches_its_own_responses(gateway, key, simulator, make, base):
    asking = client(gateway, key, base)
    response_id = make(asking)
    assert asking.responses.retrieve(response_id).id == response_id
    for name, call in reach(asking, response_id).items():
        # The simulator takes no POST without a body, which a cancellation is.
        with simulator.recording() as upstream, contextlib.suppress(openai.BadRequestError):
            call()
        assert upstream.one(), name


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("make", [made_whole, made_as_a_stream])
def test_no_other_key_reaches_them(gateway, key, simulator, make, base):
    response_id = make(client(gateway, key, base))
    other = client(gateway, gateway.generate_key(), base)
    for name, call in reach(other, response_id).items():
        with simulator.recording() as upstream, pytest.raises(openai.NotFoundError) as raised:
            call()
        upstream.nothing()
        assert raised.value.type == "not_found_error", name


def test_a_key_reaches_what_it_made_under_an_earlier_value_and_who_takes_that_value_does_not(gateway):
    value = f"sk-earlier-value-{gateway.port:08}"
    response_id = made_whole(client(gateway, gateway.generate_key(key=value)))
    new = gateway.call("POST", "/key/regenerate", {"key": value}).json()["key"]
    gateway.secrets.add(new)
    assert client(gateway, new).responses.retrieve(response_id).id == response_id
    gateway.generate_key(key=value)
    with pytest.raises(openai.NotFoundError):
        client(gateway, value).responses.retrieve(response_id)


def test_nobodys_responses_are_for_the_master_key_alone(gateway, key, simulator):
    for response_id in ("resp_of_nobody", "resp_" + "x" * 500):
        with simulator.recording() as upstream, pytest.raises(openai.NotFoundError):
            client(gateway, key).responses.retrieve(response_id)
        upstream.nothing()
        assert client(gateway, MASTER_KEY).responses.retrieve(response_id).id == response_id
    of_master = made_whole(client(gateway, MASTER_KEY))
    with pytest.raises(openai.NotFoundError):
        client(gateway, key).responses.retrieve(of_master)


@pytest.mark.parametrize(
    "body",
    [
        '{"model": "my-claude", "input": "x", "previous_response_id": "a", "previous_response_id": "b"}',
        '{"model": "my-claude", "input": "x", "previous_response_id": ["a"]}',
    ],
)
def test_a_body_that_hides_a_response_is_refused(gateway, key, simulator, body):
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.url}/v1/responses", key, body)
    upstream.nothing()
    assert answer.status == 400


def test_it_is_known_after_kill_9_and_by_other_instances(spawn_gateway, postgres):
    at = {"DATABASE_URL": postgres.new_database()}
    config = model_list(deployment("my-claude"))
    with spawn_gateway(config=config, env=at) as one, spawn_gateway(config=config, env=at) as other:
        key, stranger = one.generate_key(), one.generate_key()
        response_id = made_whole(client(one, key))

        def known_elsewhere():
            try:
                return client(other, key).responses.retrieve(response_id)
            except openai.APIStatusError:
                return None

        def stranger_is_known_elsewhere():
            return other.call("GET", "/v1/models", key=stranger).status == 200

        assert eventually(known_elsewhere, 10, "the other instance knows").id == response_id
        eventually(stranger_is_known_elsewhere, 10, "the other instance knows the other key")
        one.kill_and_restart()
        assert client(one, key).responses.retrieve(response_id).id == response_id
        for running in (one, other):
            with pytest.raises(openai.NotFoundError):
                client(running, stranger).responses.retrieve(response_id)
