"""Clients that sign with an AWS credential pair of their key: every SDK as it is, and nothing forwarded that is not verified."""

import json

import pytest
from botocore.exceptions import ClientError

from harness.asking import CLAUDE, CONVERSE, INVOKE_CLAUDE, MESSAGES, deployment, model_list, text_of_stream
from harness.clients import curl_json, document_client
from harness.gateway import MASTER_KEY
from harness.process import run_to_end
from harness.signing import Pair, generate_pair, pair_cli, pair_client, send, sha256, signed_headers
from harness.waiting import eventually

SECRET_KEY = "the-operators-secret-for-secrets-0123456789"
ENV = {"BEDGATE_SECRET_KEY": SECRET_KEY}
CONFIG = model_list(deployment("my-claude"), deployment("other"))
PATH = "/bedrock/model/my-claude/converse"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    with spawn_gateway(config=CONFIG, env=ENV, database=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def made(gateway):
    return generate_pair(gateway)


@pytest.fixture(scope="module")
def pair(made):
    return made[1]


def signed(gateway, pair, body=CONVERSE, path=PATH, **how):
    """The headers of a POST to this path."""
    return signed_headers(f"http://127.0.0.1:{gateway.port}{path}", pair, body, **how)


def error_of(answer) -> tuple[int, str, str]:
    """Status, type and message of an answer of the gateway."""
    return answer.status, answer.headers["x-amzn-errortype"], json.loads(answer.body)["message"]


# --- what works ------------------------------------------------------------------------------------------------------------


def test_a_pair_has_awss_form_and_is_shown_once(gateway, made):
    key, pair = made
    assert pair.access_key_id.startswith("AKIA") and len(pair.access_key_id) == 20
    assert len(pair.secret_access_key) == 40
    listed = gateway.call("GET", f"/key/aws_credentials?key={key}")
    assert [entry["aws_access_key_id"] for entry in listed.json()["aws_credentials"]] == [pair.access_key_id]
    assert pair.secret_access_key.encode() not in listed.body + gateway.call("GET", f"/key/info?key={key}").body


@pytest.mark.parametrize(
    "service, call",
    [
        ("bedrock-runtime", lambda c: c.converse(modelId="my-claude", messages=MESSAGES)["output"]),
        ("bedrock-runtime", lambda c: text_of_stream(c.converse_stream(modelId="my-claude", messages=MESSAGES))),
        ("bedrock-runtime", lambda c: c.invoke_model(modelId="my-claude", body=INVOKE_CLAUDE)["body"].read()),
        ("bedrock-runtime", lambda c: c.converse(modelId=CLAUDE, messages=MESSAGES)["output"]),
        (
            "bedrock-runtime",
            lambda c: c.invoke_model(
                modelId="arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.anthropic.claude-x",
                body=INVOKE_CLAUDE,
                trace="ENABLED",
            )["body"].read(),
        ),
        (
            "bedrock-agent-runtime",
            lambda c: c.retrieve(knowledgeBaseId="KB12345678", retrievalQuery={"text": "x"})["retrievalResults"],
        ),
        (
            "bedrock-agentcore",
            lambda c: c.invoke_agent_runtime(
                agentRuntimeArn="arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/agent-0123456789",
                payload=b"{}",
            )["ResponseMetadata"],
        ),
        ("bedrock", lambda c: c.list_foundation_models(byProvider="a b+c/d")["ResponseMetadata"]),
        ("bedrock-agent", lambda c: c.list_agents(maxResults=5)["ResponseMetadata"]),
    ],
)
def test_boto3_as_it_is_calls_every_service(gateway, simulator, pair, service, call):
    with simulator.recording() as upstream:
        assert call(pair_client(service, gateway.base, pair))
    seen = upstream.one()
    assert pair.access_key_id not in str(seen.headers)


def test_the_aws_cli_needs_two_environment_variables(gateway, pair):
    messages = json.dumps(MESSAGES)
    done = pair_cli(
        gateway.base, pair, "bedrock-runtime", "converse", "--model-id", "my-claude", "--messages", messages
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"]
    retrieve = ("bedrock-agent-runtime", "retrieve", "--knowledge-base-id", "KB12345678")
    done = pair_cli(gateway.base, pair, *retrieve, "--retrieval-query", "text=x")
    assert done.returncode == 0, done.stderr


def test_curl_signs_by_itself(gateway, pair):
    user = f"{pair.access_key_id}:{pair.secret_access_key}"
    signing = ("--aws-sigv4", "aws:amz:eu-central-1:bedrock", "--user", user)
    answer = curl_json(f"{gateway.base}/model/my-claude/converse", None, CONVERSE, *signing)
    assert answer.status == 200, answer.body


def test_the_hash_of_the_body_may_be_sent(gateway, pair):
    answer = send(gateway, PATH, signed(gateway, pair, payload=sha256(CONVERSE)), CONVERSE)
    assert answer.status == 200, answer.raw


def test_a_call_that_is_signed_is_charged_to_the_key(gateway, made):
    key, pair = made
    answer = pair_client("bedrock-runtime", gateway.base, pair).converse(modelId="my-claude", messages=MESSAGES)
    call_id = answer["ResponseMetadata"]["HTTPHeaders"]["x-litellm-call-id"]
    assert gateway.event(call_id)["api_key"] == gateway.call("GET", f"/key/aws_credentials?key={key}").json()["token"]


def test_the_documents_recipe_with_a_key_in_a_header_goes_first(gateway, made):
    client = document_client("bedrock-runtime", gateway.base, made[0])
    assert client.converse(modelId="my-claude", messages=MESSAGES)["output"]
    aws_like = Pair("AKIAIOSFODNN7EXAMPLE", "fake")
    headers = signed(gateway, aws_like) | {"litellm_user_api_key": f"Bearer {made[0]}"}
    assert send(gateway, PATH, headers, CONVERSE).status == 200


# --- what does not, with nothing forwarded -----------------------------------------------------------------------------------


def refused(gateway, simulator, headers, body=CONVERSE, path=PATH) -> tuple[int, str, str]:
    with simulator.recording() as upstream:
        answer = send(gateway, path, headers, body)
    upstream.nothing()
    return error_of(answer)


MISMATCH = "The request signature we calculated does not match the signature you provided."


def test_boto3_raises_what_aws_says_of_a_wrong_secret(gateway, simulator, pair):
    wrong = Pair(pair.access_key_id, "x" * 40)
    for service, call in [
        ("bedrock-runtime", lambda c: c.converse(modelId="my-claude", messages=MESSAGES)),
        ("bedrock-agent", lambda c: c.list_agents()),
    ]:
        with simulator.recording() as upstream, pytest.raises(ClientError, match="InvalidSignatureException") as raised:
            call(pair_client(service, gateway.base, wrong))
        upstream.nothing()
        assert MISMATCH in raised.value.response["Error"]["Message"]


@pytest.mark.parametrize("hash_is_sent", [False, True])
def test_a_body_that_was_changed_on_the_way_is_refused(gateway, simulator, pair, hash_is_sent):
    headers = signed(gateway, pair, payload=sha256(CONVERSE) if hash_is_sent else None)
    status, kind, message = refused(gateway, simulator, headers, CONVERSE.replace(b"Hello", b"Jello"))
    assert (status, kind) == (403, "InvalidSignatureException")
    assert ("x-amz-content-sha256" in message) == hash_is_sent


def test_a_path_query_or_header_that_was_changed_on_the_way_is_refused(gateway, simulator, pair):
    headers = signed(gateway, pair)
    assert MISMATCH in refused(gateway, simulator, headers, path=PATH.replace("my-claude", "other"))[2]
    assert MISMATCH in refused(gateway, simulator, headers, path=f"{PATH}?x=1")[2]
    changed = {**headers, "Content-Type": "application/jason"}
    assert MISMATCH in refused(gateway, simulator, changed)[2]
    added = {**headers, "X-Amzn-Bedrock-Trace": "ENABLED"}
    assert "must be a 'SignedHeader'" in refused(gateway, simulator, added)[2]


def test_a_clock_that_is_off_is_explained(gateway, simulator, pair):
    status, kind, message = refused(gateway, simulator, signed(gateway, pair, minutes=-6))
    assert (status, kind) == (403, "InvalidSignatureException") and message.startswith("Signature expired: ")
    assert refused(gateway, simulator, signed(gateway, pair, minutes=6))[2].startswith("Signature not yet current: ")
    assert send(gateway, PATH, signed(gateway, pair, minutes=4), CONVERSE).status == 200


def test_an_unknown_access_key_id_is_not_recognised(gateway, simulator):
    unknown = Pair("AKIAIOSFODNN7EXAMPLE", "x" * 40)
    with simulator.recording() as upstream, pytest.raises(ClientError, match="UnrecognizedClientException") as raised:
        pair_client("bedrock-runtime", gateway.base, unknown).converse(modelId="my-claude", messages=MESSAGES)
    upstream.nothing()
    assert raised.value.response["Error"]["Message"] == "The security token included in the request is invalid."


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_a_payload_that_is_not_signed_as_a_whole_is_refused(gateway, simulator, pair, payload):
    status, kind, message = refused(gateway, simulator, signed(gateway, pair, payload=payload))
    assert (status, kind) == (403, "InvalidSignatureException") and payload.split("-")[0] in message


def test_incomplete_and_presigned_signatures_are_told_what_is_missing(gateway, simulator, pair):
    headers = signed(gateway, pair)
    cut = {**headers, "Authorization": headers["Authorization"].split(", Signature")[0]}
    assert refused(gateway, simulator, cut)[:2] == (400, "IncompleteSignatureException")
    presigned = f"{PATH}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"
    assert refused(gateway, simulator, {}, path=presigned)[:2] == (400, "IncompleteSignatureException")


def test_a_pair_may_do_what_its_key_may(gateway, simulator):
    _, pair = generate_pair(gateway, models=["other"])
    client = pair_client("bedrock-runtime", gateway.base, pair)
    assert client.converse(modelId="other", messages=MESSAGES)["output"]
    with simulator.recording() as upstream, pytest.raises(client.exceptions.AccessDeniedException):
        client.converse(modelId="my-claude", messages=MESSAGES)
    upstream.nothing()


# --- the life of a pair ------------------------------------------------------------------------------------------------------


def refused_by_boto3(gateway, pair) -> str:
    """The code of the error, or nothing."""
    try:
        pair_client("bedrock-runtime", gateway.base, pair).converse(modelId="my-claude", messages=MESSAGES)
        return ""
    except ClientError as error:
        return error.response["Error"]["Code"]


def test_a_pair_goes_with_its_key_and_can_go_before_it(gateway):
    key, first = generate_pair(gateway)
    answer = gateway.call("POST", "/key/aws_credentials", {"key": key})
    assert answer.status == 200, answer
    second = Pair.of(answer.json())
    gateway.secrets.add(second.secret_access_key)
    assert (refused_by_boto3(gateway, first), refused_by_boto3(gateway, second)) == ("", "")
    named = {"aws_access_key_id": first.access_key_id}
    assert gateway.call("POST", "/key/aws_credentials/delete", named).status == 200
    assert gateway.call("POST", "/key/aws_credentials/delete", named).status == 404
    assert refused_by_boto3(gateway, first) == "UnrecognizedClientException"
    assert gateway.call("POST", "/key/block", {"key": key}).status == 200
    assert refused_by_boto3(gateway, second) == "AccessDeniedException"
    assert gateway.call("POST", "/key/unblock", {"key": key}).status == 200
    assert refused_by_boto3(gateway, second) == ""
    assert gateway.call("POST", "/key/delete", {"keys": [key]}).status == 200
    assert refused_by_boto3(gateway, second) == "UnrecognizedClientException"
    assert gateway.call("POST", "/key/aws_credentials", {"key": key}).status == 404


def test_a_key_has_ten_pairs_at_the_most(gateway):
    key, _ = generate_pair(gateway)
    for _ in range(9):
        answer = gateway.call("POST", "/key/aws_credentials", {"key": key})
        gateway.secrets.add(answer.json()["aws_secret_access_key"])
    assert gateway.call("POST", "/key/aws_credentials", {"key": key}).status == 400


def test_another_instance_follows_within_a_second(spawn_gateway, postgres):
    shared = {"DATABASE_URL": postgres.new_database(), **ENV}
    with spawn_gateway(config=CONFIG, env=shared) as one, spawn_gateway(config=CONFIG, env=shared) as other:
        key, pair = generate_pair(one)
        other.secrets.add(pair.secret_access_key)
        eventually(lambda: refused_by_boto3(other, pair) == "", 5, "the other instance knows the pair")
        assert one.call("POST", "/key/delete", {"keys": [key]}).status == 200
        eventually(lambda: refused_by_boto3(other, pair) != "", 5, "the other instance forgot the pair")


def test_pairs_outlive_a_restart_and_a_new_master_key(spawn_gateway, tmp_path):
    data = tmp_path / "data"
    with spawn_gateway(config=CONFIG, env=ENV, data_dir=data) as running:
        _, pair = generate_pair(running)
        running.kill_and_restart()
        assert refused_by_boto3(running, pair) == ""
    with spawn_gateway(config=CONFIG, env=ENV, data_dir=data, master_key="sk-another-master-key-0123456789") as running:
        assert refused_by_boto3(running, pair) == ""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_pairs_move_to_a_new_secret_key(spawn_gateway, tmp_path, postgres, database):
    """Started once with the new key beside the old one, then with the new one alone."""
    data, at = tmp_path / "data", {} if database == "sqlite" else {"DATABASE_URL": postgres.new_database()}
    new = {"BEDGATE_SECRET_KEY": "the-new-secret-for-secrets-0123456789", **at}
    with spawn_gateway(config=CONFIG, env={**ENV, **at}, data_dir=data) as running:
        _, pair = generate_pair(running)
        _, revoked = generate_pair(running)
        gone = {"aws_access_key_id": revoked.access_key_id}
        assert running.call("POST", "/key/aws_credentials/delete", gone).status == 200
    with spawn_gateway(config=CONFIG, env={**new, "BEDGATE_OLD_SECRET_KEY": SECRET_KEY}, data_dir=data) as running:
        assert refused_by_boto3(running, pair) == ""
        assert "1 AWS credential pairs were encrypted under the new BEDGATE_SECRET_KEY" in running.errors()
        _, made_now = generate_pair(running)
    with spawn_gateway(config=CONFIG, env=new, data_dir=data) as running:
        assert refused_by_boto3(running, pair) == refused_by_boto3(running, made_now) == ""
        assert refused_by_boto3(running, revoked) == "UnrecognizedClientException"
        assert "were encrypted" not in running.errors()


def test_an_instance_with_the_old_key_goes_on_while_another_moves_to_the_new_one(spawn_gateway, postgres):
    at = {"DATABASE_URL": postgres.new_database()}
    new = {"BEDGATE_SECRET_KEY": "the-new-secret-for-secrets-0123456789", "BEDGATE_OLD_SECRET_KEY": SECRET_KEY}
    with spawn_gateway(config=CONFIG, env={**ENV, **at}) as old:
        _, pair = generate_pair(old)
        with spawn_gateway(config=CONFIG, env={**new, **at}) as moved:
            _, made_there = generate_pair(moved)
            assert refused_by_boto3(moved, pair) == refused_by_boto3(old, pair) == ""
            _, made_here = generate_pair(old)
            eventually(lambda: refused_by_boto3(moved, made_here) == "", 5, "the moved instance reads the old key's pair")
            assert refused_by_boto3(old, made_there) == "UnrecognizedClientException"


@pytest.mark.parametrize("now", [{"BEDGATE_SECRET_KEY": "another-secret-for-secrets-0123456789"}, {}])
def test_without_the_right_secret_key_bedgate_says_so_and_does_not_serve(spawn_gateway, tmp_path, now):
    data = tmp_path / "data"
    with spawn_gateway(config=CONFIG, env=ENV, data_dir=data) as running:
        generate_pair(running)
    served = run_to_end(
        ["serve", "--config", str(running.config_path), "--port", "0", "--data-dir", str(data)],
        {"LITELLM_MASTER_KEY": MASTER_KEY, **now},
    )
    assert served.returncode == 70 and "listening" not in served.stdout
    assert "BEDGATE_SECRET_KEY" in served.stderr
    assert "another-secret" not in served.stderr


def test_litellms_variable_is_taken_and_without_any_the_answer_says_what_to_set(spawn_gateway):
    with spawn_gateway(config=CONFIG, env={"LITELLM_SALT_KEY": SECRET_KEY}) as running:
        assert refused_by_boto3(running, generate_pair(running)[1]) == ""
    with spawn_gateway(config=CONFIG) as running:
        answer = running.call("POST", "/key/generate", {"aws_credentials": True})
        assert answer.status == 400 and b"BEDGATE_SECRET_KEY" in answer.body
        assert running.call("GET", "/key/list").json()["total_count"] == 0


def test_settings_allow_unsigned_payloads_and_switch_off_keys_as_access_key_ids(spawn_gateway):
    settings = {"auth": {"allow_unsigned_payload": True, "allow_key_as_access_key_id": False}}
    with spawn_gateway(config={**CONFIG, "bedgate_settings": settings}, env=ENV) as running:
        key, pair = generate_pair(running)
        headers = signed(running, pair, payload="UNSIGNED-PAYLOAD")
        assert send(running, PATH, headers, CONVERSE).status == 200
        assert refused_by_boto3(running, Pair(key, "anything")) == "AccessDeniedException"
        assert refused_by_boto3(running, pair) == ""
