"""InvokeModelWithBidirectionalStream by the AWS SDKs for JavaScript and for Rust: what they get directly they get through bedgate."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness.asking import deployment, model_list
from harness.certificates import Authority
from harness.javascript import run_javascript
from harness.signing import Pair, generate_pair
from harness.simulator import ACCESS_KEY_ID, SECRET_ACCESS_KEY, fault
from harness.speech import BIDIRECTIONAL, CONVERSATION, COST_OF_CONVERSATION, SONIC, sound
from harness.spend import nano_usd, outcome
from harness.tls_front import TlsFront
from harness.waiting import eventually
from test_client_rust import BUILD_SECONDS, program  # noqa: F401

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 60)

DIRECT = Pair(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
LIMITS = {"bidirectional": {"max_event": "64KiB"}}
IDENTITY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def authority():
    made = Authority()
    yield made
    shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def front(authority, simulator):
    """AWS's place over TLS."""
    running = TlsFront(simulator.port, authority.issue("aws"))
    yield running
    running.stop()


@pytest.fixture(scope="module", params=["h2c", "TLS"])
def gateway(request, spawn_gateway, authority, front):
    """With a TLS port beside the plain one; AWS is reached by HTTP/2 with prior knowledge, or over TLS."""
    issued = authority.issue("gateway")
    env = {
        "BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789",
        "BEDGATE_TLS_CERT": str(issued.certificate),
        "BEDGATE_TLS_KEY": str(issued.key),
        "BEDGATE_TLS_PORT": "0",
    }
    if request.param == "TLS":
        env |= {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": front.url, "AWS_CA_BUNDLE": str(authority.root)}
    config = model_list(deployment(SONIC, SONIC), deployment("other", SONIC), bedgate_settings=LIMITS)
    with spawn_gateway(config=config, env=env) as running:
        yield running


@pytest.fixture
def pair_of_key(gateway):
    """A new key that may use one model, and its pair."""
    return generate_pair(gateway, models=[SONIC])


def lasting(text: str) -> str:
    """Without what is of one call only."""
    return IDENTITY.sub("(an id)", text)


def cost(gateway, key: str) -> int:
    """What the one conversation of a key cost."""
    rows = eventually(lambda: gateway.events(api_key=key), 15, "the event is in the store")
    assert [(row["metadata"]["operation"], outcome(row)) for row in rows] == [(BIDIRECTIONAL, "complete")]
    return nano_usd(rows[0])


def test_a_place_that_offers_no_http2_is_no_way_to_aws(spawn_gateway, authority, simulator):
    old = TlsFront(simulator.port, authority.issue("old"), protocols=("http/1.1",))
    env = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": old.url, "AWS_CA_BUNDLE": str(authority.root)}
    try:
        with spawn_gateway(config=model_list(deployment(SONIC, SONIC)), env=env) as running:
            (result,) = run_javascript(running.base, [conversation()], pair=Pair(running.generate_key(), "anything"))
            assert result["error"]["name"] == "ServiceUnavailableException" and result["error"]["isModelled"], result
    finally:
        old.stop()


# --- JavaScript ----------------------------------------------------------------------------------------------------------


def conversation(told=CONVERSATION, in_turn: bool = True, model: str = SONIC) -> dict:
    """A job for the SDK: these events, each after the answer to the one before."""
    return {"operation": BIDIRECTIONAL, "input": {"modelId": model}, "told": told, "inTurn": in_turn}


def heard(result: dict) -> list[str]:
    """The events that the SDK gave out, as far as they are the same for every call."""
    return [lasting(json.dumps(entry["event"], sort_keys=True)) for entry in result["events"]]


@pytest.mark.parametrize("transport", ["h2c, its default", "TLS"])
def test_the_sdk_for_javascript_hears_the_same_through_bedgate(gateway, authority, front, simulator, pair_of_key, transport):
    key, pair = pair_of_key
    direct_url, url = (front.url, gateway.tls_url) if transport == "TLS" else (simulator.url, gateway.url)
    with simulator.recording() as upstream:
        (direct,) = run_javascript(direct_url, [conversation()], pair=DIRECT, ca=authority.root)
        (through,) = run_javascript(f"{url}/bedrock", [conversation()], pair=pair, ca=authority.root)
        arrived = upstream.all()
    assert direct["status"] == through["status"] == 200, (direct, through)
    assert heard(through) == heard(direct) and len(heard(direct)) == 10
    assert [(seen.verdict, seen.upload, seen.body_sha256) for seen in arrived] == [
        ("signature", "complete", arrived[0].body_sha256)
    ] * 2
    assert through["requestId"] == arrived[1].request_id
    assert cost(gateway, key) == COST_OF_CONVERSATION


def test_the_sdk_for_javascript_may_show_a_key_in_place_of_its_access_key_id(gateway, pair_of_key):
    key, _ = pair_of_key
    (result,) = run_javascript(gateway.base, [conversation(in_turn=False)], pair=Pair(key, "anything"))
    assert result["status"] == 200 and len(result["events"]) == 10, result
    assert cost(gateway, key) == COST_OF_CONVERSATION


def test_the_sdk_for_javascript_raises_the_modelled_exceptions(gateway, simulator, pair_of_key):
    _, pair = pair_of_key

    def raised(job: dict, **how) -> tuple[str, bool]:
        (result,) = run_javascript(gateway.base, [job], pair=pair, **how)
        return result["error"]["name"], result["error"]["isModelled"]

    assert raised(conversation(model="other")) == ("AccessDeniedException", True)
    assert raised(conversation([sound(80_000)])) == ("ValidationException", True)
    assert raised(conversation(), http1=True) == ("ValidationException", True)
    with simulator.faults(fault("throttle", model="sonic")):
        assert raised(conversation()) == ("ThrottlingException", True)
    with simulator.faults(fault("exception-in-stream.4", model="sonic")):
        assert raised(conversation()) == ("ThrottlingException", True)
    with simulator.faults(fault("reset-in-stream.4", model="sonic")):
        assert raised(conversation()) == ("ModelStreamErrorException", True)


# --- Rust ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def talk(program, authority):  # noqa: F811
    """Runs the program with these environment variables."""

    def run(model: str, pair: Pair, told=CONVERSATION, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": os.environ["PATH"],
            "BEDGATE_CA": str(authority.root),
            "BEDGATE_ACCESS_KEY_ID": pair.access_key_id,
            "BEDGATE_SECRET_ACCESS_KEY": pair.secret_access_key,
            **env,
        }
        return subprocess.run([program, "talk", model, *told], env=given, capture_output=True, text=True, timeout=60)

    return run


def test_the_sdk_for_rust_hears_the_same_through_bedgate(gateway, front, simulator, pair_of_key, talk):
    key, pair = pair_of_key
    with simulator.recording() as upstream:
        direct = talk(SONIC, DIRECT, BEDGATE_URL="https://unused.invalid", DIRECT_URL=front.url)
        through = talk(SONIC, pair, BEDGATE_URL=gateway.tls_url)
        arrived = upstream.all()
    assert (direct.returncode, through.returncode) == (0, 0), direct.stderr + through.stderr
    assert lasting(through.stdout) == lasting(direct.stdout) and len(direct.stdout.splitlines()) == 10
    assert [(seen.verdict, seen.upload, seen.body_sha256) for seen in arrived] == [
        ("signature", "complete", arrived[0].body_sha256)
    ] * 2
    assert cost(gateway, key) == COST_OF_CONVERSATION


def test_the_sdk_for_rust_may_show_a_key_in_place_of_its_access_key_id(gateway, pair_of_key, talk):
    key, _ = pair_of_key
    done = talk(SONIC, Pair(key, "anything"), BEDGATE_URL=gateway.tls_url)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 10, done.stderr
    assert cost(gateway, key) == COST_OF_CONVERSATION


def test_the_sdk_for_rust_raises_the_modelled_exceptions(gateway, simulator, pair_of_key, talk):
    _, pair = pair_of_key

    def raised(model: str = SONIC, told=CONVERSATION) -> str:
        done = talk(model, pair, told, BEDGATE_URL=gateway.tls_url)
        assert done.returncode == 1
        return done.stderr.split(" ", 1)[0]

    assert raised("other") == "AccessDeniedException"
    assert raised(told=[sound(80_000)]) == "ValidationException"
    with simulator.faults(fault("throttle", model="sonic")):
        assert raised() == "ThrottlingException"
    with simulator.faults(fault("exception-in-stream.4", model="sonic")):
        assert raised() == "ThrottlingException"
    with simulator.faults(fault("reset-in-stream.4", model="sonic")):
        assert raised() == "ModelStreamErrorException"
