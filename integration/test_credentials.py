"""Whose credentials sign: the default ones, a deployment's own, an assumed role's, or a bearer key."""

import json
import urllib.parse

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json
from harness.gateway import MASTER_KEY
from harness.simulator import ACCESS_KEY_ID, BEARER_TOKEN, SECRET_ACCESS_KEY, Simulator, fault

NOVA = "amazon.nova-lite-v1:0"
ROLE = "arn:aws:iam::123456789012:role/bedrock-of-team-a"
OWN_SECRET = "own-secret-access-key-of-a-deployment"


def of_a_role(simulator) -> dict:
    """A deployment that assumes a role."""
    return deployment(
        "role",
        NOVA,
        aws_role_name=ROLE,
        aws_session_name="bedgate-tests",
        aws_external_id="external-7",
        aws_session_tags=[{"Key": "team", "Value": "a b"}],
        aws_sts_endpoint=simulator.url,
    )


@pytest.fixture(scope="module")
def gateway(spawn_gateway, simulator):
    session = simulator.assume_role("arn:aws:iam::123456789012:role/of-the-operator")
    config = model_list(
        deployment("plain", NOVA),
        deployment(
            "static",
            NOVA,
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
        ),
        of_a_role(simulator),
        deployment("bearer", NOVA, api_key=BEARER_TOKEN),
    )
    with spawn_gateway(config=config) as running:
        running.session = session
        running.secrets.update({BEARER_TOKEN, session["SecretAccessKey"], session["SessionToken"]})
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def converse(gateway, key, model):
    return curl_json(f"{gateway.base}/model/{model}/converse", key, CONVERSE)


def test_the_default_credentials_come_from_the_environment(gateway, key, simulator):
    with simulator.recording() as upstream:
        assert converse(gateway, key, "plain").status == 200
    assert upstream.one().credential[0] == ACCESS_KEY_ID
    assert upstream.one().header("x-amz-security-token") is None


def test_a_deployment_signs_with_its_own_key_and_session_token(gateway, key, simulator):
    with simulator.recording() as upstream:
        assert converse(gateway, key, "static").status == 200
    seen, session = upstream.one(), gateway.session
    assert seen.credential[0] == session["AccessKeyId"]
    assert (
        seen.header("x-amz-security-token") == session["SessionToken"] and "x-amz-security-token" in seen.signed_headers
    )
    assert seen.signature == seen.signature_by_botocore(session["SecretAccessKey"], session["SessionToken"])


def test_a_wrong_secret_is_told_to_the_administrator_and_awss_words_about_it_to_nobody(spawn_gateway):
    """They repeat all that was signed."""
    config = model_list(deployment("wrong", NOVA, aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=OWN_SECRET))
    with spawn_gateway(config=config) as running:
        running.secrets.add(OWN_SECRET)
        answer = converse(running, running.generate_key(), "wrong")
        told = converse(running, MASTER_KEY, "wrong").json()["message"]
    assert answer.status == 500
    assert answer.headers["x-amzn-errortype"] == "InternalServerException"
    assert "administrator" in answer.json()["message"]
    assert "InvalidSignatureException" in told
    assert "host" not in answer.body.decode() + told


def test_a_role_is_assumed_once_with_external_id_and_session_tags(spawn_gateway, simulator):
    """Once, whether ahead of the first call or for it."""
    with simulator.recording() as upstream, spawn_gateway(config=model_list(of_a_role(simulator))) as running:
        key = running.generate_key()
        for _ in range(3):
            assert converse(running, key, "role").status == 200
    calls = upstream.all()
    assumed = [seen for seen in calls if seen.credential[3] == "sts"]
    signed = [seen for seen in calls if seen.credential[3] == "bedrock"]
    assert len(assumed) == 1 and len(signed) == 3
    asked = dict(urllib.parse.parse_qsl(assumed[0].body.decode()))
    assert asked["Action"] == "AssumeRole" and asked["RoleArn"] == ROLE
    assert (asked["RoleSessionName"], asked["ExternalId"]) == ("bedgate-tests", "external-7")
    assert (asked["Tags.member.1.Key"], asked["Tags.member.1.Value"]) == ("team", "a b")
    for seen in signed:
        assert seen.credential[0].startswith("ASIA") and seen.header("x-amz-security-token")


def test_a_bearer_key_is_sent_instead_of_a_signature(gateway, key, simulator):
    with simulator.recording() as upstream:
        assert converse(gateway, key, "bearer").status == 200
    seen = upstream.one()
    assert seen.header("authorization") == f"Bearer {BEARER_TOKEN}"
    assert seen.header("x-amz-date") is None


def test_expired_credentials_are_refreshed_once_and_the_call_is_made_once_more(gateway, key, simulator):
    assert converse(gateway, key, "role").status == 200
    with simulator.faults(fault("expired-token", times=1, path="/converse")), simulator.recording() as upstream:
        answer = converse(gateway, key, "role")
    assert answer.status == 200, answer.body
    assert [seen.credential[3] for seen in upstream.all()] == ["bedrock", "sts", "bedrock"]


def test_credentials_that_stay_expired_are_tried_only_twice(gateway, key, simulator):
    with simulator.faults(fault("expired-token", path="/converse")), simulator.recording() as upstream:
        answer = converse(gateway, key, "role")
    # Whose credentials they are is not the client's affair.
    assert answer.status == 500
    assert answer.headers["x-amzn-errortype"] == "InternalServerException"
    assert len([seen for seen in upstream.all() if seen.credential[3] == "bedrock"]) <= 2


def test_without_credentials_a_500_in_aws_shape_tells_the_administrator_where_they_were_looked_for(
    spawn_gateway, simulator
):
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    with spawn_gateway(env=nothing) as running:
        with simulator.recording() as upstream:
            answer = converse(running, MASTER_KEY, NOVA)
        upstream.nothing()
    assert answer.status == 500
    assert answer.headers["x-amzn-errortype"].startswith("InternalServerException")
    assert "environment" in answer.json()["message"].lower() and "profile" in answer.json()["message"].lower()


def test_a_profile_of_the_shared_files_signs(spawn_gateway, tmp_path):
    with_profile = Simulator(accept=("AKIAOFPROFILE", "secret-of-the-profile-0123"))
    credentials = tmp_path / "credentials"
    credentials.write_text(
        "[team-b]\naws_access_key_id = AKIAOFPROFILE\naws_secret_access_key = secret-of-the-profile-0123\n"
    )
    config = model_list(deployment("profiled", NOVA, aws_profile_name="team-b"))
    with spawn_gateway(
        config=config, upstream=with_profile, env={"AWS_SHARED_CREDENTIALS_FILE": str(credentials)}
    ) as running:
        running.secrets.add("secret-of-the-profile-0123")
        with with_profile.recording() as upstream:
            assert converse(running, running.generate_key(), "profiled").status == 200
        assert upstream.one().credential[0] == "AKIAOFPROFILE"
    with_profile.kill()


def test_secrets_may_come_from_the_environment_by_name(spawn_gateway, simulator):
    config = model_list(
        deployment(
            "named",
            NOVA,
            aws_access_key_id="os.environ/TEAM_A_ID",
            aws_secret_access_key="os.environ/TEAM_A_SECRET_ACCESS_KEY",
        )
    )
    env = {
        "TEAM_A_ID": ACCESS_KEY_ID,
        "TEAM_A_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
    }
    with spawn_gateway(config=config, env=env) as running:
        with simulator.recording() as upstream:
            answer = converse(running, running.generate_key(), "named")
    assert answer.status == 200, answer.body
    assert upstream.one().credential[0] == ACCESS_KEY_ID


def test_model_info_shows_no_credentials(gateway):
    listed = gateway.call("GET", "/model/info")
    assert listed.status == 200
    assert {entry["model_name"] for entry in listed.json()["data"]} == {"plain", "static", "role", "bearer"}
    gateway.assert_no_secret_in("/model/info", json.dumps(listed.json()))
    assert SECRET_ACCESS_KEY not in listed.body.decode()
