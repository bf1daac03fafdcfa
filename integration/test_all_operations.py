"""Every operation of every Bedrock service, called through bedgate and directly: no difference is seen. botocore calls all but
the one whose request is a stream of events, which takes HTTP/2: that one the AWS SDK for JavaScript calls."""

import functools
import json
import re
from dataclasses import dataclass, field

import botocore
import pytest

from harness.answers import AnsweringPlace, refusal, reply
from harness.comparing import NO_EVENT_STREAM, Answer, ask, client
from harness.gateway import MASTER_KEY, Gateway, run_gateway
from harness.javascript import run_javascript
from harness.service_models import BOTOCORE_VERSION, SERVICES, Call, all_calls
from harness.signing import Pair
from harness.simulator import ACCESS_KEY_ID, CREDENTIALS, SECRET_ACCESS_KEY, Seen, Simulator, fault
from harness.speech import CONVERSATION, SONIC

# What bedgate sends of its own, or signs anew; everything else must be the client's.
OWN_HEADERS = {"host", "user-agent", "authorization", "x-amz-date", "date", "content-length", "accept-encoding"}
# What botocore sends of its own.
HEADERS_OF_BOTOCORE = OWN_HEADERS | {"amz-sdk-invocation-id", "amz-sdk-request"}

# `access-denied` and the like are answers in place of the stream, the last two stand inside it.
ERRORS_OF_STREAMS = (
    "access-denied",
    "internal-error",
    "model-error",
    "model-not-ready",
    "model-timeout",
    "not-found",
    "quota-exceeded",
    "throttle",
    "unavailable",
    "validation-error",
    "exception-in-stream.4",
    "error-in-stream.4",
)

CALLS = [call for call in all_calls() if not call.is_bidirectional]
[BIDIRECTIONAL] = [call for call in all_calls() if call.is_bidirectional]


@dataclass(frozen=True)
class Case:
    """A call at a base of the gateway, with all members that travel in query and headers, or the required ones only."""

    call: Call
    base: str
    with_optional: bool

    def __str__(self) -> str:
        return f"{self.base}/{self.call}" + ("" if self.with_optional else ", required members only")


def cases_of(call: Call) -> list[Case]:
    """Among all of Bedrock in both ways, and at its service's own base (which for bedrock is the same)."""
    bases = dict.fromkeys(("bedrock", call.service))
    return [*(Case(call, base, with_optional=True) for base in bases), Case(call, "bedrock", with_optional=False)]


CASES = [case for call in CALLS for case in cases_of(call)]


@dataclass
class Count:
    """Says at the end of the run how many operations were equal, and who called them."""

    requests: set[Case] = field(default_factory=set)
    answers: set[Call] = field(default_factory=set)

    def pytest_terminal_summary(self, terminalreporter) -> None:
        """The count, and which of them botocore cannot send."""
        total, requests = len(all_calls()), [call for call in all_calls() if set(cases_of(call)) <= self.requests]
        terminalreporter.write_line(
            f"operations equal through bedgate and directly: requests {len(requests)} of {total}, answers and errors"
            f" {len(self.answers)} of {total} (botocore {botocore.__version__} cannot send {BIDIRECTIONAL}: the AWS SDK for"
            " JavaScript did)"
        )


@pytest.fixture(scope="module")
def count(request):
    """What was found equal; printed at the end of the run."""
    kept = Count()
    request.config.pluginmanager.register(kept)
    return kept


cached_client = functools.cache(client)
DIRECT = Pair(ACCESS_KEY_ID, SECRET_ACCESS_KEY)


@dataclass
class Places:
    """One simulator in the place of each service's endpoint, a gateway before them, and clients of both."""

    simulators: dict[str, Simulator]
    gateway: Gateway
    key: str

    def through_gateway(self, call: Call, base: str):
        """A client of the gateway, its access key id the virtual key, or the master key where the call takes that."""
        key = MASTER_KEY if call.is_write else self.key
        return cached_client(call.service, f"{self.gateway.url}/{base}", key, "any-secret-will-do")

    def direct(self, call: Call):
        """A client of the service's own place, with the credentials that the gateway has."""
        return cached_client(call.service, self.simulators[call.service].url, ACCESS_KEY_ID, SECRET_ACCESS_KEY)

    def elsewhere(self, call: Call) -> dict[str, list[str]]:
        """What reached the other services last."""
        return {
            service: [f"{seen.method} {seen.path}" for seen in simulator.requests()[-1:]]
            for service, simulator in self.simulators.items()
            if service != call.service and simulator.requests()
        }


@pytest.fixture(scope="module")
def places():
    """Every service has a port of its own, so that a call that goes to the wrong one is seen."""
    simulators = {service: Simulator() for service in SERVICES}
    overrides = {
        f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}": simulator.url
        for service, simulator in simulators.items()
    }
    try:
        with run_gateway({}, {**CREDENTIALS, "AWS_REGION": "us-west-2", **overrides}) as gateway:
            yield Places(simulators, gateway, gateway.generate_key())
        assert all(simulator.violations() == 0 for simulator in simulators.values())
    finally:
        for simulator in simulators.values():
            simulator.kill()


def test_the_models_are_those_the_table_was_made_from():
    assert botocore.__version__ == BOTOCORE_VERSION
    assert len(all_calls()) == 523
    assert str(BIDIRECTIONAL) == "bedrock-runtime.InvokeModelWithBidirectionalStream"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_call_arrives_as_if_sent_directly(places, count, case):
    call, parameters = case.call, case.call.parameters(case.with_optional)
    with places.simulators[call.service].recording() as upstream:
        answer = ask(places.through_gateway(call, case.base), call, parameters)
        direct_answer = ask(places.direct(call), call, parameters)
        arrived = upstream.all()
    assert len(arrived) == 2, f"it went elsewhere: {places.elsewhere(call)}"
    forwarded, direct = arrived
    assert (answer.request_id, direct_answer.request_id) == (forwarded.request_id, direct.request_id)
    assert_same_request(call, forwarded, direct)
    if case.with_optional:
        assert call.bound("header") <= forwarded.header_names, "a member of the request is missing"
    assert_signed_for(call, forwarded)
    assert_same_answer(answer, direct_answer)
    count.requests.add(case)


@pytest.mark.parametrize("case", cases_of(BIDIRECTIONAL), ids=str)
def test_a_stream_of_events_arrives_as_if_sent_directly(places, count, case):
    simulator = places.simulators[BIDIRECTIONAL.service]
    with simulator.recording() as upstream:
        answer = converse(f"{places.gateway.url}/{case.base}", Pair(places.key, "any-secret-will-do"))
        direct_answer = converse(simulator.url, DIRECT)
        forwarded, direct = upstream.all()
    assert (answer["requestId"], direct_answer["requestId"]) == (forwarded.request_id, direct.request_id)
    assert (forwarded.method, forwarded.path, forwarded.query) == (direct.method, direct.path, direct.query)
    assert (forwarded.body_sha256, forwarded.upload, forwarded.events) == (direct.body_sha256, "complete", len(CONVERSATION))
    assert forwarded.header("content-type") == direct.header("content-type")
    # Members of the request travel in no header but this one.
    assert BIDIRECTIONAL.bound("header") == BIDIRECTIONAL.bound("querystring") == set()
    assert forwarded.header_names <= OWN_HEADERS | {":authority", "content-type", "x-amz-content-sha256"}
    assert forwarded.credential == [ACCESS_KEY_ID, forwarded.credential[1], "us-west-2", "bedrock", "aws4_request"]
    assert (forwarded.status, forwarded.verdict) == (direct.status, direct.verdict) == (200, "signature")
    assert_same_conversation(answer, direct_answer)
    count.requests.add(case)


def test_what_answers_a_stream_of_events_arrives_as_if_asked_directly(places, count):
    """Events of the model, and each error of the service and of the stream that AWS's place knows."""
    simulator = places.simulators[BIDIRECTIONAL.service]
    for base in ("bedrock", BIDIRECTIONAL.service):
        base_url = f"{places.gateway.url}/{base}"
        for how in (None, *ERRORS_OF_STREAMS):
            with simulator.faults(*([] if how is None else [fault(how)])):
                answer = converse(base_url, Pair(places.key, "any-secret-will-do"))
                direct_answer = converse(simulator.url, DIRECT)
            assert ("error" in answer) == (how is not None), (how, answer)
            assert_same_conversation(answer, direct_answer)
    count.answers.add(BIDIRECTIONAL)


def converse(base: str, pair: Pair) -> dict:
    """A conversation of the AWS SDK for JavaScript, each event after the answer to the one before."""
    job = {"operation": BIDIRECTIONAL.name, "input": {"modelId": SONIC}, "told": CONVERSATION, "inTurn": True}
    [result] = run_javascript(base, [job], pair=pair)
    return result


def assert_same_conversation(through_gateway: dict, direct: dict) -> None:
    """Events, and the error if there is one, but for the moments and ids of one call."""

    def lasting(result: dict) -> tuple:
        said = json.dumps([entry["event"] for entry in result["events"]], sort_keys=True)
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "(an id)", said), result.get("error"), result.get("status")

    assert lasting(through_gateway) == lasting(direct)


@pytest.mark.parametrize("call", [pytest.param(call, id=str(call)) for call in CALLS if call.is_write])
def test_a_call_that_takes_the_master_key_is_refused_to_others_with_the_modelled_exception(places, call):
    caller = cached_client(call.service, f"{places.gateway.url}/bedrock", places.key, "any-secret-will-do")
    with places.simulators[call.service].recording() as upstream:
        with pytest.raises(caller.exceptions.AccessDeniedException) as caught:
            ask(caller, call, call.parameters())
        upstream.nothing()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.fixture(scope="module")
def answering():
    """A gateway in front of a place that gives any answer; and that place."""
    place = AnsweringPlace()
    try:
        with run_gateway({}, {**CREDENTIALS, "AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL": place.url}) as gateway:
            yield gateway, place
    finally:
        place.stop()


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_an_answer_arrives_as_if_asked_directly(answering, count, call):
    gateway, place = answering
    parameters, place.reply = call.parameters(), reply(call)
    through = cached_client(call.service, f"{gateway.url}/{call.service}", MASTER_KEY, "any-secret-will-do")
    direct = cached_client(call.service, place.url, ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    answer, direct_answer = ask(through, call, parameters), ask(direct, call, parameters)
    assert answer.status == call.model.http.get("responseCode", 200)
    assert answer.request_id == place.reply.request_id
    assert_same_answer(answer, direct_answer)
    assert NO_EVENT_STREAM not in answer.parsed
    if call.model.output_shape is not None and answer.status != 204:
        assert set(json.loads(answer.parsed)) == set(call.model.output_shape.members), "the answer lacks members"

    refused = refusal(call)
    if refused is not None:
        place.reply, shape = refused
        assert_raises_the_same(through, direct, call, parameters, shape.name)
    count.answers.add(call)


def assert_raises_the_same(through, direct, call: Call, parameters: dict, name: str) -> None:
    """The modelled exception of AWS, its status, its text and its request's id."""
    raised = []
    for caller in (through, direct):
        with pytest.raises(getattr(caller.exceptions, name)) as caught:
            ask(caller, call, parameters)
        about = caught.value.response["ResponseMetadata"]
        raised.append((caught.value.response["Error"], about["HTTPStatusCode"], about["RequestId"]))
    assert raised[0] == raised[1]


def assert_same_request(call: Call, forwarded: Seen, direct: Seen) -> None:
    """Method, path, query and body to the byte; the headers that are the client's; and no others."""
    assert (forwarded.method, forwarded.path, forwarded.query) == (direct.method, direct.path, direct.query)
    assert (forwarded.body, forwarded.body_sha256) == (direct.body, direct.body_sha256)
    assert forwarded.header("host") == direct.header("host")
    sent = [(name, value) for name, value in direct.headers if name not in HEADERS_OF_BOTOCORE]
    arrived = [(name, value) for name, value in forwarded.headers if name not in OWN_HEADERS]
    assert sorted(arrived) == sorted(sent)
    may_come = OWN_HEADERS | call.bound("header") | {"content-type", "x-amz-target"}
    assert forwarded.header_names <= may_come, "a header came that is no member"
    assert forwarded.header("user-agent").startswith("bedgate/")
    assert forwarded.header("accept-encoding") == "identity"
    assert (forwarded.header("content-length") or "0") == (direct.header("content-length") or "0")


def assert_signed_for(call: Call, forwarded: Seen) -> None:
    """The signature is bedgate's, for the right service and region, good to the simulator and to botocore."""
    access_key_id, _, region, service, terminator = forwarded.credential
    assert (access_key_id, region, service, terminator) == (
        ACCESS_KEY_ID,
        "us-west-2",
        call.model.service_model.signing_name,
        "aws4_request",
    )
    assert (forwarded.status, forwarded.verdict) == (200, "signature")
    assert forwarded.signature_by_botocore(SECRET_ACCESS_KEY) == forwarded.signature


def assert_same_answer(through_gateway: Answer, direct: Answer) -> None:
    """Status, headers but for bedgate's own, and what botocore made of the body."""
    assert (through_gateway.status, through_gateway.parsed) == (direct.status, direct.parsed)
    of_aws = {name: value for name, value in through_gateway.headers.items() if not name.startswith("x-litellm-")}
    assert of_aws == direct.headers
