"""InvokeModelWithBidirectionalStream through the front door: events both ways, each as it comes, and ends that tell the truth."""

import contextlib
import json
import shutil
import signal
import socketserver
import tempfile
import threading
import time
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived
from h2.settings import SettingCodes

from harness.asking import deployment, model_list
from harness.clients import raw_exchange
from harness.http2 import TIMEOUT_SECONDS, Http2Client
from harness.signing import Pair, generate_pair, signed_headers
from harness.simulator import BEARER_TOKEN, Simulator, fault, sha256
from harness.speech import (
    BIDIRECTIONAL,
    CONVERSATION,
    COST_OF_CONVERSATION,
    OF_SPEECH,
    OF_TEXT,
    SIGNED_EVENTS,
    SONIC,
    SPEECH_IN,
    SPEECH_OUT,
    STREAM,
    TEXT_EVENT,
    Chain,
    Talk,
    event,
    frame,
    path_of,
    sound,
)
from harness.spend import attempts, nano_usd, outcome
from harness.waiting import eventually

SECRETS = {"BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789"}
MODEL = "nova-sonic"
LIMITS = {"bidirectional": {"max_event": "64KiB", "idle_timeout": "30s", "max_duration": "60s"}}
CONFIG = model_list(
    deployment("sonic", SONIC),
    deployment("other", SONIC),
    deployment("with-a-bearer-key", SONIC, api_key=BEARER_TOKEN),
    router_settings={"model_group_alias": {"speaker": "sonic"}},
    bedgate_settings=LIMITS,
)


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=CONFIG, env=SECRETS) as running:
        running.secrets.add(BEARER_TOKEN)
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


@pytest.fixture(scope="module")
def pair(gateway):
    return generate_pair(gateway)[1]


@pytest.fixture
def client(gateway):
    with Http2Client(gateway.port) as connection:
        yield connection


WAYS = ["a key", "a pair", "a pair as the AWS SDK for Rust signs", "a key as access key id", "a key beside a signature"]


@pytest.fixture(params=WAYS)
def talk(request, gateway, client, key, pair):
    """Begins to talk in each way that a client may show who it is."""

    def begin(model: str = "sonic") -> Talk:
        match request.param:
            case "a key":
                return Talk.by_key(client, model, key)
            case "a pair":
                return Talk.by_pair(client, gateway, model, pair)
            case "a pair as the AWS SDK for Rust signs":
                return Talk.by_pair(client, gateway, model, pair, payload=None)
            case "a key beside a signature":
                header = ("litellm_user_api_key", f"Bearer {key}")
                return Talk.by_pair(client, gateway, model, Pair("fake", "fake"), more=[header])
        return Talk.by_pair(client, gateway, model, Pair(key, "nobody knows this"))

    return begin


def sent(*texts: str) -> str:
    """SHA-256 of these events as they reach AWS."""
    return sha256(b"".join(event(text) for text in texts))


def one_event(gateway, key: str) -> dict:
    """The only event of a key."""
    rows = eventually(lambda: gateway.events(api_key=key), 15, "the event is in the store")
    assert len(rows) == 1, rows
    return rows[0]


def cut_short(upstream):
    """What AWS saw of the one stream, once it was broken off."""
    return eventually(lambda: upstream.one() if upstream.one().upload else None, 5, "AWS saw the end")


# --- events both ways ----------------------------------------------------------------------------------------------------


def test_invariant_1_events_go_on_byte_for_byte_both_ways(talk, simulator):
    with simulator.recording() as upstream:
        talking = talk()
        talking.say(*CONVERSATION)
        talking.finish()
        answer = talking.ending()
        seen = upstream.one()
    assert (answer.status, answer.ended, answer.headers["content-type"]) == (200, True, STREAM)
    assert (seen.verdict, seen.upload, seen.events) == ("signature", "complete", 4)
    assert seen.body_sha256 == sent(*CONVERSATION), "the events' own bytes"
    assert seen.answer_sha256 == sha256(answer.data), "the answer's bytes"
    assert seen.header("x-amz-content-sha256") == SIGNED_EVENTS and "x-amz-content-sha256" in seen.signed_headers
    assert [list(heard)[0] for heard in talking.heard()][-1] == "completionEnd"


def test_invariant_1_each_side_hears_the_other_before_it_says_more(talk, simulator):
    """The answer's head comes before the first event, and each event is answered before the next is sent."""
    with simulator.recording() as upstream:
        talking = talk()
        talking.client.until(lambda: talking.stream.status == 200)
        assert upstream.one().events == 0
        for count, text in enumerate(CONVERSATION, start=1):
            talking.say(text)
            talking.until_answered(count)
            assert upstream.one().events == count
        assert not talking.stream.is_over
        talking.finish()
        assert talking.ending().ended


def test_the_model_name_becomes_the_deployments_id_and_no_key_goes_on(gateway, talk, simulator):
    with simulator.recording() as upstream:
        talking = talk("speaker")
        talking.finish()
        assert talking.ending().ended
        seen = upstream.one()
    assert seen.path == "/model/amazon.nova-sonic-v1%3A0/invoke-with-bidirectional-stream"
    ours = {"host", ":authority", "user-agent", "accept-encoding", "authorization", "x-amz-date", "x-amz-content-sha256"}
    assert seen.header_names == ours | {"content-type"}


def test_events_go_without_signatures_where_a_bedrock_api_key_stands_for_all(talk, simulator):
    with simulator.recording() as upstream:
        talking = talk("with-a-bearer-key")
        talking.say(*CONVERSATION)
        talking.finish()
        assert talking.ending().ended
        seen = upstream.one()
    assert (seen.verdict, seen.upload, seen.body_sha256) == ("bearer", "complete", sent(*CONVERSATION))
    assert seen.header("authorization") == f"Bearer {BEARER_TOKEN}" and seen.header("x-amz-content-sha256") is None


def test_megabytes_go_through_both_ways(gateway, client, pair, simulator):
    texts = [sound(40_000) for _ in range(120)]
    with simulator.recording() as upstream:
        talking = Talk.by_pair(client, gateway, "sonic", pair)
        for text in texts:
            talking.say(text)
        talking.finish()
        answer = talking.ending()
        seen = upstream.one()
    assert (seen.body_sha256, seen.answer_sha256) == (sent(*texts), sha256(answer.data))
    assert talking.answers() == 120 and len(answer.data) > 6 << 20


def test_invariant_8_a_client_waits_while_aws_takes_nothing_and_the_gateway_holds_little(gateway, client, key, simulator):
    with simulator.faults(fault("stop-reading.1", model=MODEL)):
        talking = Talk.by_key(client, "sonic", key)
        talking.say(TEXT_EVENT)
        talking.until_answered(1)
        before, raw, pushed = gateway.memory_bytes(), event(sound(40_000)), 0
        # Until the windows of both connections, and what lies between them, are full.
        client.socket.settimeout(2)
        with pytest.raises(TimeoutError):
            while pushed < 64 << 20:
                talking.send(raw)
                pushed += len(raw)
        assert pushed < 4 << 20, f"{pushed} bytes went in"
        assert gateway.memory_bytes() - before < 8 << 20
        client.reset(talking.number)


# --- signatures ----------------------------------------------------------------------------------------------------------


def tampered(chain: Chain) -> bytes:
    """Another event under the signature of one."""
    good, inner = chain.wrap(event("good")), event("evil")
    length = int.from_bytes(good[4:8], "big")
    return frame(good[12 : 12 + length], inner)


def of_another(chain: Chain) -> bytes:
    return Chain("another secret", chain.region, chain.signature).wrap(event("evil"))


def skipped(chain: Chain) -> bytes:
    chain.wrap(event("never sent"))
    return chain.wrap(event("evil"))


def too_old(chain: Chain) -> bytes:
    return chain.wrap(event("evil"), seconds=-301)


def from_the_future(chain: Chain) -> bytes:
    return chain.wrap(event("evil"), seconds=302)


def unsigned(_: Chain) -> bytes:
    return event("evil")


def no_frame(_: Chain) -> bytes:
    return b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


def damaged(chain: Chain) -> bytes:
    good = chain.wrap(event("evil"))
    return good[:-1] + bytes([good[-1] ^ 1])


BAD = [tampered, of_another, skipped, too_old, from_the_future, unsigned, no_frame, damaged]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_event_of_a_pair_is_refused_and_nothing_of_it_goes_on(gateway, client, simulator, bad):
    key, pair = generate_pair(gateway)
    with simulator.recording() as upstream:
        talking = Talk.by_pair(client, gateway, "sonic", pair)
        talking.say(TEXT_EVENT)
        talking.until_stated(1)
        talking.send(bad(talking.chain) + event("behind it"))
        answer = talking.ending()
        seen = eventually(lambda: upstream.one() if upstream.one().upload else None, 5, "AWS saw the end")
    assert not answer.ended and answer.reset is not None, "the stream is no clean one"
    name, text = talking.exception()
    assert name == "validationException" and "(request " in text
    assert (seen.events, seen.body_sha256, seen.upload) == (1, sent(TEXT_EVENT), "cut short")
    row = one_event(gateway, key)
    assert (outcome(row), row["metadata"]["cost_basis"], nano_usd(row)) == ("client_gone", "estimated", OF_TEXT)


def test_a_bad_event_before_the_answers_head_is_an_error_that_sdks_know(gateway, client, pair, simulator):
    with simulator.faults(fault("stall-before-head.20000", model=MODEL)), simulator.recording() as upstream:
        talking = Talk.by_pair(client, gateway, "sonic", pair)
        talking.send(tampered(talking.chain))
        answer = talking.ending()
        assert [seen.body for seen in upstream.all()] == [b""]
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert "signature of an event does not match" in json.loads(answer.data)["message"]


@pytest.mark.parametrize("payload", [SIGNED_EVENTS, None])
def test_a_head_that_was_signed_with_another_secret_is_refused_before_aws_is_asked(gateway, client, pair, simulator, payload):
    with simulator.recording() as upstream:
        talking = Talk.by_pair(client, gateway, "sonic", Pair(pair.access_key_id, "wrong"), payload)
        answer = talking.ending()
        upstream.nothing()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", sha256(b"{}")])
def test_a_head_that_claims_another_payload_is_refused(gateway, client, pair, simulator, payload):
    with simulator.recording() as upstream:
        answer = Talk.by_pair(client, gateway, "sonic", pair, payload).ending()
        upstream.nothing()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert SIGNED_EVENTS in json.loads(answer.data)["message"]


def test_signed_events_are_refused_for_every_other_operation(gateway, client, pair, simulator):
    path = "/bedrock/model/sonic/converse"
    headers = signed_headers(f"http://127.0.0.1:{gateway.port}{path}", pair, b"", SIGNED_EVENTS)
    given = [(name.lower(), value) for name, value in headers.items() if name.lower() not in ("host", "content-length")]
    with simulator.recording() as upstream:
        answer = client.answer(client.ask(path, b"{}", None, given))
        upstream.nothing()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")


@pytest.mark.parametrize("how", ["without the empty signed event", "inside an event"])
@pytest.mark.parametrize("by", ["a pair", "a key as access key id"])
def test_events_that_end_too_early_are_not_ended_cleanly_towards_aws(gateway, client, key, pair, simulator, by, how):
    with simulator.recording() as upstream:
        talking = Talk.by_pair(client, gateway, "sonic", pair if by == "a pair" else Pair(key, "nobody knows this"))
        talking.say(TEXT_EVENT)
        talking.until_answered(1)
        if how == "inside an event":
            talking.send(talking.chain.wrap(event("half"))[:-10])
        client.h2.end_stream(talking.number)
        client.flush()
        answer = talking.ending()
        seen = eventually(lambda: upstream.one() if upstream.one().upload else None, 5, "AWS saw the end")
    assert (seen.upload, seen.events) == ("cut short", 1)
    assert talking.exception()[0] == "validationException" and not answer.ended


@pytest.mark.parametrize("how", ["at once", "in a frame of its own"])
@pytest.mark.parametrize("by", ["a pair", "a key as access key id"])
def test_invariant_1_what_comes_behind_the_end_of_the_events_is_refused_not_dropped(gateway, client, key, pair, simulator, by, how):
    with simulator.recording() as upstream:
        talking = Talk.by_pair(client, gateway, "sonic", pair if by == "a pair" else Pair(key, "nobody knows this"))
        talking.say(TEXT_EVENT)
        talking.until_stated(1)
        end, more = talking.chain.wrap(b""), talking.chain.wrap(event("more"))
        parts = [end + more] if how == "at once" else [end, more]
        for part in parts:
            client.h2.send_data(talking.number, part)
        client.flush()
        answer = talking.ending()
        seen = cut_short(upstream)
    assert (seen.upload, seen.events, answer.ended) == ("cut short", 1, False)
    name, text = talking.exception()
    assert name == "validationException" and "behind the empty signed event" in text


def test_an_event_over_the_limit_ends_the_stream(gateway, client, key, simulator):
    with simulator.recording() as upstream:
        talking = Talk.by_key(client, "sonic", key)
        talking.say(TEXT_EVENT)
        talking.until_answered(1)
        talking.say(sound(80_000))
        assert not talking.ending().ended
        assert upstream.one().events == 1
    name, text = talking.exception()
    assert name == "validationException" and "65536 bytes" in text and "max_event" in text


@pytest.mark.parametrize("code", [0, 8])
def test_invariant_1_a_stream_that_is_taken_back_is_not_ended_cleanly_towards_aws(gateway, client, simulator, code):
    """Whatever reason the client gives, also none (NO_ERROR)."""
    key = gateway.generate_key()
    with simulator.recording() as upstream:
        talking = Talk.by_key(client, "sonic", key)
        talking.say(TEXT_EVENT)
        talking.until_answered(1)
        client.h2.reset_stream(talking.number, error_code=code)
        client.flush()
        assert cut_short(upstream).upload == "cut short"
    assert outcome(one_event(gateway, key)) == "client_gone"


# --- who may -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["HTTP/1.1", "a chunked body over HTTP/1.1"])
def test_http1_is_told_what_to_do(gateway, key, simulator, way):
    length, body = ("Transfer-Encoding: chunked", b"0\r\n\r\n") if "chunked" in way else ("Content-Length: 0", b"")
    lines = [f"POST {path_of('sonic')} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", length, "Connection: close"]
    with simulator.recording() as upstream:
        answer = raw_exchange(gateway.port, ("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        upstream.nothing()
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert "HTTP/2" in json.loads(answer.body)["message"] and "h2c" in json.loads(answer.body)["message"]


def refused(gateway, client, key: str | None, model: str = "sonic", headers=()) -> tuple[int, str]:
    """Status and error of a stream that is refused before its first event."""
    given = [] if key is None else [("authorization", f"Bearer {key}")]
    answer = Talk(client, path_of(model), [*given, *headers]).ending()
    return answer.status, answer.headers["x-amzn-errortype"]


def test_invariant_2_without_a_good_key_nothing_goes_to_aws(gateway, client, simulator):
    with simulator.recording() as upstream:
        assert refused(gateway, client, None) == (403, "MissingAuthenticationTokenException")
        assert refused(gateway, client, "sk-nobody-has-this-key") == (403, "UnrecognizedClientException")
        upstream.nothing()


def test_models_rates_and_teams_hold_as_for_every_request(gateway, client, simulator):
    limited = gateway.generate_key(models=["other"])
    slow = gateway.generate_key(rpm_limit=1)
    gateway.call("POST", "/team/new", {"team_id": "readers", "models": ["other"]})
    of_team = gateway.generate_key(team_id="readers")
    with simulator.recording() as upstream:
        assert refused(gateway, client, limited) == (403, "AccessDeniedException")
        assert refused(gateway, client, of_team) == (403, "AccessDeniedException")
        upstream.nothing()
    talking = Talk.by_key(client, "sonic", slow)
    talking.finish()
    assert talking.ending().ended
    assert refused(gateway, client, slow) == (429, "ThrottlingException")


@pytest.mark.parametrize("by", ["a key", "a pair"])
@pytest.mark.parametrize("end", ["block", "delete"])
def test_invariant_2_no_event_of_a_key_that_may_no_more_goes_to_aws(gateway, client, simulator, by, end):
    key, pair = generate_pair(gateway)
    with simulator.recording() as upstream:
        talking = Talk.by_key(client, "sonic", key) if by == "a key" else Talk.by_pair(client, gateway, "sonic", pair)
        talking.say(TEXT_EVENT)
        talking.until_stated(1)
        asked = {"key": key} if end == "block" else {"keys": [key]}
        assert gateway.call("POST", f"/key/{end}", asked).status == 200
        assert not talking.stream.is_over
        talking.say(TEXT_EVENT)
        assert not talking.ending().ended
        seen = cut_short(upstream)
    assert (seen.events, seen.upload) == (1, "cut short")
    name, text = talking.exception()
    assert name == "validationException" and end in text


# --- money ---------------------------------------------------------------------------------------------------------------


def test_invariant_5_text_and_speech_are_charged_at_their_own_prices(gateway, client):
    key = gateway.generate_key()
    talking = Talk.by_key(client, "sonic", key)
    talking.say(*CONVERSATION)
    talking.finish()
    assert talking.ending().ended
    row = one_event(gateway, key)
    assert (row["metadata"]["operation"], row["status"], row["metadata"]["cost_basis"]) == (BIDIRECTIONAL, "success", "exact")
    assert nano_usd(row) == COST_OF_CONVERSATION
    assert row["metadata"]["units"] == {"input_speech_token": 50, "output_speech_token": 60}
    assert (row["prompt_tokens"], row["completion_tokens"]) == (14, 6)
    assert row["metadata"]["aws_request_id"] == talking.stream.headers["x-amzn-requestid"]


def test_usage_that_is_not_stated_is_unknown(gateway, client, simulator):
    key = gateway.generate_key()
    with simulator.faults(fault("no-usage", model=MODEL)):
        talking = Talk.by_key(client, "sonic", key)
        talking.say(*CONVERSATION)
        talking.finish()
        assert talking.ending().ended
    assert one_event(gateway, key)["metadata"]["cost_basis"] == "usage_unknown"


def test_invariant_4_a_client_that_leaves_pays_for_what_was_used_so_far(gateway, simulator):
    key = gateway.generate_key()
    with simulator.recording() as upstream:
        with Http2Client(gateway.port) as leaving:
            talking = Talk.by_key(leaving, "sonic", key)
            talking.say(*CONVERSATION)
            talking.until_answered(4)
            talking.until_stated(4)
        seen = eventually(lambda: upstream.one() if upstream.one().upload else None, 5, "AWS saw the end")
    assert seen.upload == "cut short"
    row = one_event(gateway, key)
    assert (outcome(row), row["metadata"]["cost_basis"]) == ("client_gone", "estimated")
    assert nano_usd(row) == COST_OF_CONVERSATION


def test_a_client_that_leaves_before_the_answers_head_is_noticed(gateway, simulator):
    key = gateway.generate_key()
    with simulator.faults(fault("stall-before-head.20000", model=MODEL)), simulator.recording() as upstream:
        with Http2Client(gateway.port) as leaving:
            Talk.by_key(leaving, "sonic", key).say(TEXT_EVENT)
            eventually(lambda: len(upstream.all()) == 1, 5, "AWS was asked")
        row = one_event(gateway, key)
        eventually(lambda: simulator.under_way() == 0, 5, "AWS was told to stop")
    assert (outcome(row), attempts(row), row["metadata"]["cost_basis"]) == ("client_gone", [0], "usage_unknown")


def test_the_usage_of_a_client_that_leaves_after_its_last_event_is_read_to_the_end(gateway, simulator):
    key = gateway.generate_key()
    slow = fault("stall-in-stream.9.1000", model=MODEL)
    with simulator.faults(slow), simulator.recording() as upstream:
        with Http2Client(gateway.port) as leaving:
            talking = Talk.by_key(leaving, "sonic", key)
            talking.say(*CONVERSATION)
            talking.finish()
            leaving.until(lambda: len(talking.heard()) == 9)
            leaving.reset(talking.number)
            row = one_event(gateway, key)
            assert upstream.one().upload == "complete"
    assert (outcome(row), nano_usd(row)) == ("client_gone", COST_OF_CONVERSATION)


def test_invariant_6_a_hard_budget_lets_no_stream_in_whose_cost_nothing_bounds(gateway, client, simulator):
    key = gateway.generate_key(max_budget=1, budget_enforcement="hard")
    with simulator.recording() as upstream:
        assert refused(gateway, client, key) == (400, "ServiceQuotaExceededException")
        upstream.nothing()


def test_invariant_6_a_stream_ends_before_the_hard_budget_is_used_up(spawn_gateway, simulator):
    """1.7 thousandths of a dollar an event: after the second of them a third would not fit into four."""
    settings = {**LIMITS, "budgets": {"estimate_without_bound": 0.001}}
    config = model_list(deployment("sonic", SONIC), bedgate_settings=settings)
    dear = fault("usage.0.0.100.100", model=MODEL)
    with spawn_gateway(config=config) as running, Http2Client(running.port) as client, simulator.faults(dear):
        key = running.generate_key(max_budget=0.004, budget_enforcement="hard")
        with simulator.recording() as upstream:
            talking = Talk.by_key(client, "sonic", key)
            said = 0
            while talking.exception() is None and said < 10:
                said += 1
                talking.say(sound())
                client.until(lambda: talking.stream.is_over or talking.statements() >= said)
                if said == 2:
                    client.until(lambda: talking.exception() is not None)
            answer = talking.ending()
            seen = eventually(lambda: upstream.one() if upstream.one().upload else None, 5, "AWS saw the end")
        name, text = talking.exception()
        assert name == "throttlingException" and "Budget has been exceeded" in text and not answer.ended
        row = one_event(running, key)
        assert nano_usd(row) == 2 * 100 * (SPEECH_IN + SPEECH_OUT) <= 4_000_000
        assert (outcome(row), seen.events, seen.upload) == ("interrupted", 2, "cut short")
        assert refused(running, client, key) == (400, "ServiceQuotaExceededException")


def statement(speech: int) -> bytes:
    """A frame that states this usage, as AWS sends it."""
    tokens = {"input": {"speechTokens": speech, "textTokens": 0}, "output": {"speechTokens": 0, "textTokens": 0}}
    return event(json.dumps({"event": {"usageEvent": {"details": {"total": tokens}}}}))


class StopsInFrames(socketserver.BaseRequestHandler):
    """In AWS's place: each DATA of events is answered with a statement and the beginning of a frame."""

    heard = 0

    def handle(self) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        self.request.sendall(connection.data_to_send())
        while received := self.request.recv(65536):
            for happened in connection.receive_data(received):
                if isinstance(happened, RequestReceived):
                    connection.send_headers(happened.stream_id, [(":status", "200"), ("content-type", STREAM)])
                elif isinstance(happened, DataReceived):
                    type(self).heard += 1
                    if type(self).heard == 1:
                        connection.send_data(happened.stream_id, statement(1_000) + statement(2_000) + event("half")[:-10])
            self.request.sendall(connection.data_to_send())


def test_invariant_6_a_used_up_budget_does_not_wait_for_the_end_of_a_frame(spawn_gateway):
    """AWS stops inside one: no event is taken any more, and after a second the stream is broken off without words."""
    settings = {**LIMITS, "budgets": {"estimate_without_bound": 0.001}}
    config = model_list(deployment("sonic", SONIC), bedgate_settings=settings)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), StopsInFrames) as place:
        threading.Thread(target=place.serve_forever, daemon=True).start()
        env = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{place.server_address[1]}"}
        with spawn_gateway(config=config, env=env) as running, Http2Client(running.port) as client:
            key = running.generate_key(max_budget=0.007, budget_enforcement="hard")
            talking = Talk.by_key(client, "sonic", key)
            talking.say(TEXT_EVENT)
            client.until(lambda: talking.stream.data.endswith(event("half")[-50:-10]))
            began = time.monotonic()
            talking.say(TEXT_EVENT, TEXT_EVENT)
            answer = talking.ending()
            assert 0.5 < time.monotonic() - began < 3
            assert not answer.ended and talking.exception() is None
            row = one_event(running, key)
        place.shutdown()
    assert StopsInFrames.heard == 1
    assert (outcome(row), nano_usd(row)) == ("interrupted", 2_000 * SPEECH_IN)


def test_invariant_6_streams_at_once_share_a_hard_budget(spawn_gateway, simulator):
    """Each says events until it is cut off: together they spend no more than there is."""
    settings = {**LIMITS, "budgets": {"estimate_without_bound": 0.0034}}
    config = model_list(deployment("sonic", SONIC), bedgate_settings=settings)
    dear = fault("usage.0.0.100.100", model=MODEL)
    with spawn_gateway(config=config) as running, Http2Client(running.port) as client, simulator.faults(dear):
        key = running.generate_key(max_budget=0.03, budget_enforcement="hard")
        talks = [Talk.by_key(client, "sonic", key) for _ in range(6)]
        going = talks
        for said in range(1, 30):
            for talking in going:
                talking.say(sound())
            for talking in going:
                client.until(lambda: talking.stream.is_over or talking.statements() >= said or talking.exception())
            going = [talking for talking in going if talking.exception() is None]
            if not going:
                break
        assert [talking.exception()[0] for talking in talks] == ["throttlingException"] * 6
        rows = eventually(lambda: running.events(api_key=key)[5:] and running.events(api_key=key), 15, "all events")
        spent = sum(nano_usd(row) for row in rows)
        # All of it but what each one's next step would have cost.
        assert 30_000_000 - 6 * 2 * 1_700_000 < spent <= 30_000_000


def test_many_conversations_at_once_are_charged_to_the_last_token(gateway, client, simulator):
    key = gateway.generate_key()
    talks = [Talk.by_key(client, "sonic", key) for _ in range(30)]
    for count, text in enumerate(CONVERSATION, start=1):
        for talking in talks:
            talking.say(text)
        for talking in talks:
            talking.until_answered(count)
    for talking in talks:
        talking.finish()
    assert all(talking.ending().ended for talking in talks)
    eventually(lambda: len(gateway.events(api_key=key)) == 30, 15, "all events are in the store")
    assert gateway.spend_of(key) == 30 * COST_OF_CONVERSATION


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_invariant_4_a_stream_of_a_killed_gateway_is_interrupted_and_has_one_event(spawn_gateway, database):
    config = model_list(deployment("sonic", SONIC), bedgate_settings={**LIMITS, "budgets": {"estimate_without_bound": 0.25}})
    with spawn_gateway(config=config, database=database) as running:
        key = running.generate_key()
        with Http2Client(running.port) as client:
            talking = Talk.by_key(client, "sonic", key, "killed-1")
            talking.say(*CONVERSATION)
            talking.until_answered(4)
            running.kill_and_restart()
        row = running.event("killed-1")
        assert (outcome(row), nano_usd(row)) == ("interrupted", 250_000_000)


def test_invariant_4_who_has_a_whole_answer_has_its_event_also_after_a_kill(spawn_gateway):
    with spawn_gateway(config=CONFIG, env=SECRETS) as running:
        key = running.generate_key()
        with Http2Client(running.port) as client:
            talking = Talk.by_key(client, "sonic", key, "whole-1")
            talking.say(*CONVERSATION)
            talking.finish()
            assert talking.ending().ended
            running.kill_and_restart()
        row = running.event("whole-1")
        assert (outcome(row), nano_usd(row)) == ("complete", COST_OF_CONVERSATION)


# --- when AWS fails ------------------------------------------------------------------------------------------------------

BROKEN = ["reset-in-stream.4", "close-in-stream.4", "cut-in-frame.4", "clean-cut-in-frame.4"]


@pytest.mark.parametrize("how", BROKEN)
def test_invariant_1_an_answer_that_breaks_off_is_no_clean_end(gateway, client, simulator, how):
    key = gateway.generate_key()
    with simulator.faults(fault(how, model=MODEL)):
        talking = Talk.by_key(client, "sonic", key)
        talking.say(*CONVERSATION)
        answer = talking.ending()
    assert answer.status == 200 and not answer.ended and answer.reset is not None
    is_on_boundary = "frame" not in how
    assert (talking.exception() or ("none",))[0] == ("modelStreamErrorException" if is_on_boundary else "none")
    row = one_event(gateway, key)
    assert (outcome(row), row["metadata"]["cost_basis"], nano_usd(row)) == ("upstream_error", "estimated", OF_TEXT)


def test_invariant_9_an_exception_of_aws_inside_the_stream_is_relayed(gateway, client, simulator):
    key = gateway.generate_key()
    with simulator.faults(fault("exception-in-stream.4", model=MODEL)), simulator.recording() as upstream:
        talking = Talk.by_key(client, "sonic", key)
        talking.say(*CONVERSATION)
        answer = talking.ending()
        seen = eventually(lambda: upstream.one() if upstream.one().answer_sha256 else None, 5, "the end")
    assert talking.exception()[0] == "throttlingException"
    assert seen.answer_sha256 == sha256(answer.data)
    assert outcome(one_event(gateway, key)) == "upstream_error"


@pytest.mark.parametrize("how, status", [("validation-error", 400), ("access-denied", 403), ("model-timeout", 408)])
def test_invariant_9_an_error_of_aws_is_relayed_byte_for_byte(gateway, client, simulator, how, status):
    key = gateway.generate_key()
    with simulator.faults(fault(how, model=MODEL)), simulator.recording() as upstream:
        answer = Talk.by_key(client, "sonic", key).ending()
        seen = upstream.one()
    assert (answer.status, answer.ended, seen.status) == (status, True, status)
    assert answer.headers["x-amzn-errortype"].endswith(":http://internal.amazon.com/coral/com.amazon.bedrock/")
    assert list(json.loads(answer.data)) == ["message"] and answer.headers["x-amzn-requestid"] == seen.request_id
    row = one_event(gateway, key)
    assert (outcome(row), nano_usd(row)) == ("upstream_error", 0)


@pytest.fixture
def two_regions(spawn_gateway):
    entries = [deployment("twice", SONIC, aws_region_name=region, order=at) for at, region in enumerate(["us-east-1", "us-west-2"], 1)]
    settings = {"bedgate_settings": LIMITS, "router_settings": {"disable_cooldowns": True}}
    with spawn_gateway(config=model_list(*entries, **settings)) as running:
        yield running


def in_region(region: str, *actions: str) -> dict:
    return {"match": {"region": region}, "actions": list(actions)}


@pytest.mark.parametrize("how, first", [("throttle", 429), ("close-before-head", 0)])
def test_invariant_7_another_deployment_is_asked_where_no_event_was_taken(two_regions, simulator, how, first):
    key = two_regions.generate_key()
    with simulator.faults(in_region("us-east-1", how)), Http2Client(two_regions.port) as client:
        talking = Talk.by_key(client, "twice", key)
        client.until(lambda: talking.stream.status == 200)
        talking.say(*CONVERSATION)
        talking.finish()
        assert talking.ending().ended and talking.answers() == 4
    row = one_event(two_regions, key)
    assert attempts(row) == [first, 200] and nano_usd(row) == COST_OF_CONVERSATION


def test_invariant_7_none_is_asked_once_an_event_was_taken(two_regions, simulator):
    key = two_regions.generate_key()
    late = in_region("us-east-1", "stall-before-head.300", "close-before-head")
    with simulator.faults(late), Http2Client(two_regions.port) as client, simulator.recording() as upstream:
        talking = Talk.by_key(client, "twice", key)
        talking.say(TEXT_EVENT)
        answer = talking.ending()
        assert len(upstream.all()) == 1
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (503, "ServiceUnavailableException")
    row = one_event(two_regions, key)
    assert (attempts(row), outcome(row)) == ([0], "upstream_error")


def test_a_place_that_speaks_no_http2_is_no_way_to_aws(spawn_gateway, simulator):
    """Nothing but HTTP/1.1: the connection is closed at the first bytes."""
    class Closes(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Closes) as place:
        threading.Thread(target=place.serve_forever, daemon=True).start()
        env = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{place.server_address[1]}"}
        with spawn_gateway(config=CONFIG, env=env) as running, Http2Client(running.port) as client:
            assert refused(running, client, running.generate_key()) == (503, "ServiceUnavailableException")
        place.shutdown()


# --- time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["idle_timeout", "max_duration"])
def test_invariant_8_a_stream_that_outlasts_a_limit_is_told_so(spawn_gateway, simulator, limit):
    settings = {"bidirectional": {**LIMITS["bidirectional"], limit: "500ms"}}
    config = model_list(deployment("sonic", SONIC), bedgate_settings=settings)
    with spawn_gateway(config=config) as running, Http2Client(running.port) as client:
        key = running.generate_key()
        with simulator.recording() as upstream:
            talking = Talk.by_key(client, "sonic", key)
            began = time.monotonic()
            talking.say(TEXT_EVENT)
            assert not talking.ending().ended
            assert 0.4 < time.monotonic() - began < 5
            seen = eventually(lambda: upstream.one() if upstream.one().upload else None, 5, "AWS saw the end")
        name, text = talking.exception()
        assert name == "modelTimeoutException" and limit in text
        assert (seen.upload, outcome(one_event(running, key))) == ("cut short", "interrupted")


def test_a_conversation_that_goes_on_is_not_idle(spawn_gateway):
    settings = {"bidirectional": {**LIMITS["bidirectional"], "idle_timeout": "400ms"}}
    config = model_list(deployment("sonic", SONIC), bedgate_settings=settings)
    with spawn_gateway(config=config) as running, Http2Client(running.port) as client:
        talking = Talk.by_key(client, "sonic", running.generate_key())
        began, said = time.monotonic(), 0
        while time.monotonic() - began < 1.5:
            said += 1
            talking.say(TEXT_EVENT)
            talking.until_answered(said)
        talking.finish()
        assert talking.ending().ended


def test_invariant_10_a_stop_lets_a_conversation_come_to_its_end(spawn_gateway):
    with spawn_gateway(config=CONFIG, env=SECRETS) as running:
        key = running.generate_key()
        with Http2Client(running.port) as client:
            talking = Talk.by_key(client, "sonic", key)
            talking.say(TEXT_EVENT)
            talking.until_answered(1)
            stopping = threading.Thread(target=running.terminate)
            stopping.start()
            client.until(lambda: bool(client.goaways))
            for count, text in enumerate(CONVERSATION, start=2):
                talking.say(text)
                talking.until_answered(count)
            talking.finish()
            assert talking.ending().ended
            stopping.join(10)
        assert running.popen.returncode == 0 and running.unshipped() == []


def test_what_outlasts_the_grace_is_cut_and_recorded(spawn_gateway, simulator):
    server = {"lame_duck": 0, "shutdown_grace": "1s"}
    config = model_list(deployment("sonic", SONIC), bedgate_settings={**LIMITS, "server": server})
    data_dir = Path(tempfile.mkdtemp(prefix="bedgate-cut-")) / "data"
    with spawn_gateway(config=config, data_dir=data_dir) as running, Http2Client(running.port) as client:
        talking = Talk.by_key(client, "sonic", running.generate_key(), "cut-1")
        talking.say(TEXT_EVENT)
        talking.until_stated(1)
        began = time.monotonic()
        assert running.terminate() == 0, running.errors()[-2000:]
        assert time.monotonic() - began < 6
    with spawn_gateway(config=config, data_dir=data_dir) as running:
        row = running.event("cut-1")
        assert (outcome(row), nano_usd(row)) == ("interrupted", OF_TEXT)
    shutil.rmtree(data_dir.parent)


# --- clients that take nothing of their answers --------------------------------------------------------------------------


@pytest.fixture
def deaf(spawn_gateway, simulator):
    """A gateway whose streams may live for 2.5 s, with 1.7 thousandths of a dollar an event; a client that takes nothing."""
    bounds = {**LIMITS["bidirectional"], "max_duration": "2500ms", "idle_timeout": "500ms"}
    settings = {"bidirectional": bounds, "budgets": {"estimate_without_bound": 0.001}}
    config = model_list(deployment("sonic", SONIC), bedgate_settings=settings)
    dear = fault("usage.0.0.100.100", model=MODEL)
    with spawn_gateway(config=config) as running, Http2Client(running.port, window=0, takes_data=False) as client:
        with simulator.faults(dear), simulator.recording() as upstream:
            yield running, client, upstream


def talk_on(talking: Talk, text: str, seconds: float, pause: float = 0.02) -> bytes:
    """Says events, whatever the answer, as fast as the windows let it; what of the last one is still to be sent."""
    client, left = talking.client, b""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not talking.stream.is_over:
        left = left or event(text)
        room = min(client.h2.local_flow_control_window(talking.number), client.h2.max_outbound_frame_size)
        client.socket.settimeout(TIMEOUT_SECONDS)
        client.h2.send_data(talking.number, left[:room])
        client.flush()
        left = left[room:]
        client.socket.settimeout(pause)
        with contextlib.suppress(TimeoutError):
            client.read_once()
    client.socket.settimeout(TIMEOUT_SECONDS)
    return left


def test_invariant_6_a_client_that_takes_nothing_gets_no_more_of_a_hard_budget(deaf):
    running, client, upstream = deaf
    key = running.generate_key(max_budget=0.004, budget_enforcement="hard")
    talking = Talk.by_key(client, "sonic", key)
    client.until(lambda: talking.stream.status == 200)
    talk_on(talking, sound(), 1)
    seen, row = cut_short(upstream), one_event(running, key)
    # With room for two events and no third, one more may be under way.
    assert (seen.events in (2, 3), seen.upload, outcome(row)) == (True, "cut short", "interrupted"), seen
    assert nano_usd(row) in (2 * 1_700_000, 3 * 1_700_000)


@pytest.mark.parametrize("size, limit", [(32, "max_duration"), (40_000, "idle_timeout")])
def test_invariant_8_a_client_that_takes_nothing_does_not_outlast_a_limit(deaf, size, limit):
    """Small events go on until the stream is too old; large ones fill what is held of the answer, and then nobody speaks."""
    running, client, upstream = deaf
    key = running.generate_key()
    talking = Talk.by_key(client, "sonic", key)
    client.until(lambda: talking.stream.status == 200)
    began = time.monotonic()
    talk_on(talking, sound(size), 3)
    seen, row = cut_short(upstream), one_event(running, key)
    assert time.monotonic() - began < 8
    assert (seen.upload, outcome(row)) == ("cut short", "interrupted")
    assert limit in running.errors()
    assert nano_usd(row) > 0
    if size > 32:
        assert seen.events < 16, "events were taken while nobody took the answers"


def test_invariant_4_what_aws_has_said_counts_when_a_client_leaves_that_took_nothing(spawn_gateway, simulator):
    """Also what waits behind all that is held for it."""
    with spawn_gateway(config=CONFIG, env=SECRETS) as running, simulator.recording() as upstream:
        key = running.generate_key()
        with Http2Client(running.port, window=0, takes_data=False) as client:
            talking = Talk.by_key(client, "sonic", key)
            client.until(lambda: talking.stream.status == 200)
            talk_on(talking, sound(4_000), 2, pause=0.001)
        seen, row = cut_short(upstream), one_event(running, key)
    # Of less than 8 000 bytes an answer 256 KiB are held; the others waited behind.
    assert (nano_usd(row), outcome(row)) == (seen.events * OF_SPEECH, "client_gone")
    assert seen.events > 40, "too few to wait"


def test_a_client_that_takes_nothing_for_a_while_gets_all_of_its_answer(gateway, key, simulator):
    with Http2Client(gateway.port, window=0, takes_data=False) as client, simulator.recording() as upstream:
        talking = Talk.by_key(client, "sonic", key)
        client.until(lambda: talking.stream.status == 200)
        left = talk_on(talking, sound(40_000), 1)
        client.takes_data = True
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        client.h2.increment_flow_control_window(1 << 20)
        talking.send(left)
        talking.finish()
        answer = talking.ending()
        assert answer.ended and upstream.one().answer_sha256 == sha256(answer.data)
        assert talking.answers() == upstream.one().events > 8


# --- nothing is left behind ----------------------------------------------------------------------------------------------


def test_connections_and_streams_end_with_their_conversations(spawn_gateway):
    """Whatever the end: none under way, no connection to AWS, no more files open than before."""
    place = Simulator()
    try:
        with spawn_gateway(config=CONFIG, env=SECRETS, upstream=place) as running:
            key = running.generate_key()

            def files() -> int:
                return len(list(Path(f"/proc/{running.popen.pid}/fd").iterdir()))

            def rounds() -> None:
                with Http2Client(running.port) as client:
                    for end in ("finish", "reset", "bad event"):
                        talking = Talk.by_key(client, "sonic", key)
                        talking.say(TEXT_EVENT)
                        talking.until_answered(1)
                        if end == "finish":
                            talking.finish()
                        elif end == "reset":
                            client.reset(talking.number)
                            continue
                        else:
                            talking.send(b"x" * 100)
                        talking.ending()
                    with place.faults(fault("reset-in-stream.2")):
                        talking = Talk.by_key(client, "sonic", key)
                        talking.say(TEXT_EVENT)
                        talking.ending()
                    Talk.by_key(client, "sonic", key).say(TEXT_EVENT)

            rounds()
            eventually(lambda: "bedgate_requests_in_flight 0\n" in running.metrics(), 10, "none is under way")
            before = eventually(lambda: files() if files() == files() else 0, 5)
            for _ in range(5):
                rounds()
            eventually(lambda: "bedgate_requests_in_flight 0\n" in running.metrics(), 10, "none is under way")
            eventually(lambda: files() <= before + 2, 15, f"{before} files were open before")
            eventually(lambda: place.under_way() == 0, 5, "nothing is under way at AWS")
    finally:
        assert place.violations() == 0
        place.kill()


def test_a_client_that_leaves_while_aws_takes_nothing_takes_its_connection_to_aws_along(gateway, key, simulator):
    before = eventually(lambda: simulator.under_way() == 0, 10, "nothing is under way")
    with simulator.faults(fault("stop-reading.1", model=MODEL)), Http2Client(gateway.port) as leaving:
        talking = Talk.by_key(leaving, "sonic", key)
        talking.say(TEXT_EVENT)
        talking.until_answered(1)
        leaving.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                talking.send(event(sound(40_000)))
        assert before and simulator.under_way() == 1
    eventually(lambda: simulator.under_way() == 0, 5, "the connection to AWS is closed")


def test_the_demo_serves_it_too():
    from harness.process import Process

    demo = Process(["demo", "--port", "0", "--simulator-port", "0"], {}, listening="listening on")
    try:
        key = eventually(lambda: demo.output().split("a virtual key:")[1].split()[0], 10, "a key is shown")
        with Http2Client(demo.port) as client:
            talking = Talk.by_key(client, SONIC, key)
            talking.say(*CONVERSATION)
            talking.finish()
            assert talking.ending().ended and talking.answers() == 4
        demo.popen.send_signal(signal.SIGINT)
        assert demo.wait() == 0
    finally:
        demo.popen.kill()
