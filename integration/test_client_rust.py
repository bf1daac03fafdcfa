"""The AWS SDK for Rust, built here as its users build it: unary, streams, and the errors of its own types."""

import os
import subprocess

import pytest

from harness.asking import deployment, model_list
from harness.process import REPOSITORY
from harness.signing import generate_pair
from harness.simulator import fault
from harness.waiting import eventually

CRATE = REPOSITORY / "integration" / "clients-rust"
ENV = {"BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789"}
CALLS = {
    "converse": "Converse",
    "converse-stream": "ConverseStream",
    "invoke": "InvokeModel",
    "invoke-stream": "InvokeModelWithResponseStream",
}
BY_CALL = pytest.mark.parametrize("call", CALLS)
# The first build takes minutes on a busy machine.
BUILD_SECONDS = 1_200

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 60)


@pytest.fixture(scope="module")
def program():
    target = CRATE / "target"
    command = ["cargo", "build", "--locked", "--quiet", "--target-dir", target]
    subprocess.run(command, cwd=CRATE, check=True, timeout=BUILD_SECONDS)
    return target / "debug" / "bedgate-client-rust"


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("my-claude"), deployment("other")), env=ENV) as running:
        yield running


@pytest.fixture
def asked(gateway, program):
    """Runs a call with a new key; the key, and what came of it."""

    def ask(call: str, model: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        key, pair = generate_pair(gateway, models=["my-claude"])
        env = {
            "PATH": os.environ["PATH"],
            "BEDGATE_URL": gateway.url,
            "BEDGATE_ACCESS_KEY_ID": pair.access_key_id,
            "BEDGATE_SECRET_ACCESS_KEY": pair.secret_access_key,
        }
        return key, subprocess.run([program, call, model], env=env, capture_output=True, text=True, timeout=60)

    return ask


@BY_CALL
def test_it_asks_and_is_charged_to_its_key(gateway, asked, call):
    key, done = asked(call, "my-claude")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    rows = eventually(lambda: gateway.events(api_key=key), 15, "the event is in the store")
    assert [(row["metadata"]["operation"], row["status"]) for row in rows] == [(CALLS[call], "success")]
    assert rows[0]["spend"] > 0


@BY_CALL
def test_it_raises_the_modelled_error_where_the_gateway_says_no(asked, call):
    _, done = asked(call, "other")
    assert done.returncode == 1
    assert done.stderr.startswith('AccessDeniedException code=Some("AccessDeniedException")'), done.stderr
    assert "may not use the model" in done.stderr


@BY_CALL
def test_it_raises_the_modelled_error_where_aws_says_no(asked, simulator, call):
    with simulator.faults(fault("throttle")):
        _, done = asked(call, "my-claude")
    assert done.returncode == 1
    assert done.stderr.startswith('ThrottlingException code=Some("ThrottlingException")'), done.stderr
