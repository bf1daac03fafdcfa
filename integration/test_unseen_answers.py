"""What AWS may finish and bill although nobody sees its answer: waits that end, connections that break, a forced stop."""

import json
import signal
import socket
import time

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.simulator import fault
from harness.spend import SONNET_OUTPUT, attempts, nano_usd, outcome
from harness.waiting import eventually

CONFIG = model_list(deployment("sonnet"), router_settings={"timeout": 1, "num_retries": 0, "disable_cooldowns": True})
# The longest answer that the request allows is eight tokens; what its input is taken for lies in the rest.
LEAST = 8 * SONNET_OUTPUT


def ask(gateway, key, name, operation="converse", body=CONVERSE):
    return raw_exchange(
        gateway.port, raw_post(f"/bedrock/model/sonnet/{operation}", key, body, f"x-litellm-call-id: {name}")
    )


def basis(event) -> str:
    return event["metadata"]["cost_basis"]


@pytest.fixture
def gateway(spawn_gateway):
    with spawn_gateway(config=CONFIG) as running:
        yield running


@pytest.mark.parametrize("what", ["stall-before-head.3000", "reset-before-head", "close-before-head"])
def test_a_request_that_aws_has_and_nobody_sees_answered_is_charged_at_its_estimate(gateway, simulator, what):
    with simulator.faults(fault(what, model="claude-3-5-sonnet")):
        answer = ask(gateway, gateway.generate_key(), "unseen-1")
        assert answer.status in (502, 503, 504), answer
        event = gateway.event("unseen-1")
    assert (basis(event), outcome(event), attempts(event)) == ("estimated", "upstream_error", [0])
    assert LEAST < nano_usd(event) < 3 * LEAST


def test_what_never_reached_aws_and_what_aws_refused_are_free(gateway, simulator, spawn_gateway):
    with simulator.faults(fault("throttle", model="claude-3-5-sonnet")):
        assert ask(gateway, gateway.generate_key(), "refused-1").status == 429
    assert (basis(gateway.event("refused-1")), nano_usd(gateway.event("refused-1"))) == ("free", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    with spawn_gateway(config=CONFIG, env=nobody) as running:
        assert ask(running, running.generate_key(), "unsent-1").status in (502, 503)
        assert (basis(running.event("unsent-1")), nano_usd(running.event("unsent-1"))) == ("free", 0)


def test_a_free_call_stays_free_when_nobody_sees_its_answer(gateway, simulator):
    body = json.dumps({"input": {"converse": json.loads(CONVERSE)}}).encode()
    with simulator.faults(fault("stall-before-head.3000", model="claude-3-5-sonnet")):
        assert ask(gateway, gateway.generate_key(), "free-1", "count-tokens", body).status == 504
    assert (basis(gateway.event("free-1")), nano_usd(gateway.event("free-1"))) == ("free", 0)


def test_tokens_stay_reserved_where_nobody_knows_what_was_used(gateway, simulator):
    if time.time() % 60 > 45:
        time.sleep(61 - time.time() % 60)  # the count starts anew with the minute of the clock
    key = gateway.generate_key(tpm_limit=1000)
    with simulator.faults(fault("stall-before-head.3000", model="claude-3-5-sonnet")):
        assert ask(gateway, key, "tokens-1").status == 504
    left = int(ask(gateway, key, "tokens-2").headers["x-ratelimit-remaining-tokens"])
    with simulator.faults(fault("throttle", model="claude-3-5-sonnet")):
        assert ask(gateway, key, "tokens-3").status == 429
    # Eight tokens of answer, and a token for four bytes of the body, twice; a refusal uses nothing.
    reserved = 8 + -(-len(CONVERSE) // 4)
    assert left == 1000 - 2 * reserved


@pytest.mark.parametrize("when", ["before the head", "in the stream"])
@pytest.mark.parametrize("how", ["the grace is over", "a second signal"])
def test_what_a_forced_stop_cuts_is_interrupted_and_charged_at_its_estimate(spawn_gateway, simulator, when, how):
    grace = 1 if how == "the grace is over" else 20
    server = {"lame_duck": 0 if grace == 1 else 20, "shutdown_grace": grace}
    config = model_list(deployment("sonnet"), bedgate_settings={"server": server})
    what = "stall-before-head.25000" if when == "before the head" else "stall-in-stream.2.25000"
    with spawn_gateway(config=config) as running, simulator.faults(fault(what, model="claude-3-5-sonnet")):
        key = running.generate_key()
        with simulator.recording() as upstream, socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(
                raw_post("/bedrock/model/sonnet/converse-stream", key, CONVERSE, "x-litellm-call-id: cut-1")
            )
            if when == "in the stream":
                assert connection.recv(20).startswith(b"HTTP/1.1 200")
            eventually(lambda: upstream.all(), what="AWS has the request")
            began = time.monotonic()
            running.popen.send_signal(signal.SIGTERM)
            if how == "a second signal":
                eventually(lambda: "stopping" in running.errors(), what="the stop has begun")
                running.popen.send_signal(signal.SIGTERM)
            assert running.wait() == 0
            assert time.monotonic() - began < 10
        simulator.set_faults()
        running.start()
        event = running.event("cut-1")
        running.kill()  # which need not wait until load balancers notice
    assert (outcome(event), basis(event)) == ("interrupted", "estimated")
    assert LEAST < nano_usd(event) < 3 * LEAST


def test_a_client_that_takes_nothing_is_cut_off_and_its_request_ends(spawn_gateway, simulator):
    server = {"lame_duck": 0, "client_write_timeout": 2}
    config = model_list(deployment("sonnet"), bedgate_settings={"server": server, "limits": {"drain_timeout": 1}})
    with spawn_gateway(config=config) as running, simulator.faults(fault("huge-body.64", model="claude-3-5-sonnet")):
        key = running.generate_key()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", running.port))
            connection.sendall(raw_post("/bedrock/model/sonnet/converse", key, CONVERSE, "x-litellm-call-id: deaf-1"))
            # It reads nothing, and stays.
            assert outcome(running.event("deaf-1")) == "client_gone"
