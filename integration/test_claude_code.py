"""Claude Code: the program itself, on a network without a way out, in each form of its recipe; and the requests it may make."""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from harness import claude_code
from harness.asking import deployment, model_list
from harness.clients import curl, curl_json
from harness.sandbox import run_alone, unshare
from test_client_recipes import RECIPES

FORMS = dict(
    zip(
        ["Bedrock, key", "Bedrock, pair", "Anthropic API"],
        [recipe.text for recipe in RECIPES if recipe.needs == "claude-code"],
        strict=True,
    )
)
INVOKE = "POST /model/us.anthropic.claude-3-5-sonnet-20240620-v1%3A0/invoke-with-response-stream"
MESSAGES_PATH = "POST /anthropic/v1/messages"
needs_own_network = pytest.mark.skipif(unshare() is None, reason="this machine gives no network namespaces")


def ask_claude_code(form: str, models: list[str], fault: str | None = None) -> dict:
    """Runs a form of the recipe where no route leads out."""
    order = {"recipe": FORMS[form], "program": str(claude_code.install()), "models": models, "fault": fault}
    env = {
        "PATH": os.environ["PATH"],
        "TMPDIR": tempfile.gettempdir(),
        "BEDGATE_ORDER": json.dumps(order),
        **{name: os.environ[name] for name in ("BEDGATE_BINARY", "CARGO_TARGET_DIR") if name in os.environ},
    }
    script = Path(claude_code.__file__)
    done = run_alone([sys.executable, "-B", str(script)], env, script.parent, timeout=claude_code.SECONDS + 60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["violations"] == 0
    return said


@needs_own_network
@pytest.mark.timeout(700)
@pytest.mark.parametrize("form", FORMS)
def test_claude_code_asks_and_its_session_is_charged(form):
    said = ask_claude_code(form, ["my-claude-model"])
    assert said["code"] == 0, said
    assert len(said["output"]) > 100
    asked = [row for row in said["rows"] if row["spend"] > 0]
    assert asked and {row["metadata"]["cost_basis"] for row in asked} == {"exact"}
    assert {row["model_group"] for row in asked} == {"my-claude-model"}
    assert len({row["session_id"] for row in asked}) == 1 and asked[0]["session_id"]
    expected = MESSAGES_PATH if form == "Anthropic API" else INVOKE
    assert f"{expected} 200" in said["upstream"], said["upstream"]
    if form == "Bedrock, pair":
        assert "GET /inference-profiles 200" in said["upstream"], said["upstream"]


@needs_own_network
@pytest.mark.timeout(700)
@pytest.mark.parametrize("form", FORMS)
def test_claude_code_shows_what_the_gateway_and_aws_say(form):
    refused = ask_claude_code(form, ["other"])
    assert refused["code"] != 0
    assert "may not use the model" in refused["output"] + refused["errors"], refused
    of_aws = ask_claude_code(form, ["my-claude-model"], "validation-error")
    assert of_aws["code"] != 0
    assert "400" in of_aws["output"] + of_aws["errors"], of_aws
    assert any(line.endswith(" 400") for line in of_aws["upstream"])


# --- the requests that it may make --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("my-claude"), deployment("other"))) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key(models=["my-claude"])


@pytest.mark.parametrize("path", ["", "/", "/bedrock", "/bedrock/", "/bedrock/anthropic", "/bedrock-runtime"])
def test_somebody_is_there_without_a_key(gateway, simulator, path):
    with simulator.recording() as upstream:
        answer = gateway.call("HEAD", path, key=None)
    upstream.nothing()
    assert (answer.status, answer.body) == (200, b"")
    assert gateway.call("HEAD", "/no-such-place", key=None).status == 404


def test_inference_profiles_are_awss_answer_and_take_a_key(gateway, key, simulator):
    path = f"{gateway.base}/inference-profiles?type=SYSTEM_DEFINED&maxResults=100"
    with simulator.recording() as upstream:
        answer = curl(path, "-H", f"Authorization: Bearer {key}")
    seen = upstream.one()
    assert (seen.path, seen.query) == ("/inference-profiles", "type=SYSTEM_DEFINED&maxResults=100")
    assert seen.credential[3] == "bedrock"
    assert answer.json()["inferenceProfileSummaries"]
    with simulator.recording() as upstream:
        assert curl(path).status == 403
    upstream.nothing()


BETA = ("-H", "anthropic-beta: context-management-2025-06-27,interleaved-thinking-2025-05-14")
QUESTION = {"max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    "path, body, operation",
    [
        (
            "/bedrock/model/my-claude/count-tokens",
            {"input": {"invokeModel": {"body": "e30="}}},
            "CountTokens",
        ),
        ("/v1/messages/count_tokens", {"model": "my-claude", **QUESTION}, "AnthropicCountTokens"),
        ("/v1/messages/count_tokens?beta=true", {"model": "my-claude", **QUESTION}, "AnthropicCountTokens"),
    ],
)
def test_tokens_are_counted_for_nothing(gateway, simulator, path, body, operation):
    key = gateway.generate_key(models=["my-claude"])
    call_id = f"count {operation} {len(path)}"
    with simulator.recording() as upstream:
        answer = curl_json(gateway.url + path, key, json.dumps(body), *BETA, "-H", f"x-litellm-call-id: {call_id}")
    assert answer.status == 200
    assert answer.json().get("inputTokens", answer.json().get("input_tokens")) > 0
    seen = upstream.one()
    assert seen.query == (path.split("?")[1] if "?" in path else "")
    assert seen.header("anthropic-beta") == BETA[1].split(": ")[1]
    [row] = [row for row in _rows(gateway, key) if row["metadata"]["operation"] == operation]
    assert row["spend"] == 0 and row["metadata"]["cost_basis"] == "free"


def _rows(gateway, key) -> list[dict]:
    from harness.waiting import eventually

    return eventually(lambda: gateway.events(api_key=key), 15, "the event is in the store")


def test_its_attribution_is_recorded_and_stays_here(gateway, key, simulator):
    attribution = {"session-id": "session-7", "agent-id": "agent-2", "parent-agent-id": "agent-1"}
    headers = [part for name, value in attribution.items() for part in ("-H", f"x-claude-code-{name}: {value}")]
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["x-1"], **QUESTION})
    with simulator.recording() as upstream:
        answer = curl_json(f"{gateway.base}/model/my-claude/invoke", key, body, *headers)
    seen = upstream.one()
    assert not [name for name in seen.header_names if name.startswith("x-claude-code")]
    assert seen.body == body.encode()
    row = gateway.event(answer.headers["x-litellm-call-id"])
    assert row["session_id"] == "session-7"
    assert row["request_tags"] == ["claude-code-agent:agent-2", "claude-code-parent-agent:agent-1"]


def test_errors_of_aws_are_untouched(gateway, key, simulator):
    from harness.simulator import fault

    with simulator.faults(fault("validation-error")):
        body = json.dumps({"anthropic_version": "bedrock-2023-05-31", **QUESTION})
        through = curl_json(f"{gateway.base}/model/my-claude/invoke", key, body)
    assert through.status == 400
    assert through.headers["x-amzn-errortype"].startswith("ValidationException:http://internal.amazon.com")
    assert set(through.json()) == {"message"}
