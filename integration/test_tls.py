"""TLS on the gateway's own ports: both versions of HTTP, clients that insist on it, and certificates that change."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from harness.asking import CONVERSE, MESSAGES, deployment, model_list
from harness.certificates import Authority
from harness.clients import curl, curl_json
from harness.gateway import MASTER_KEY
from harness.http2 import Http2Client
from harness.javascript import call, run_javascript, text_of_events
from harness.process import Process, clean_environment, run_to_end
from harness.waiting import eventually

BOTO3 = """
import boto3, json, sys
client = boto3.client("bedrock-runtime", region_name="us-west-2", endpoint_url=sys.argv[1])
whole = client.converse(modelId="my-claude", messages=[{"role": "user", "content": [{"text": "Hello"}]}])
stream = client.converse_stream(modelId="my-claude", messages=[{"role": "user", "content": [{"text": "Hello"}]}])
print(json.dumps([whole["stopReason"], [list(event)[0] for event in stream["stream"]][-1]]))
"""


@pytest.fixture(scope="module")
def authority():
    made = Authority()
    yield made
    shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def issued(authority):
    return authority.issue("first")


def with_tls(cert, key, port: int | None = 0) -> dict:
    """A config with a TLS port beside the plain one."""
    server = {"lame_duck": 0, "shutdown_grace": 15, "tls_cert": str(cert), "tls_key": str(key)}
    if port is not None:
        server["tls_port"] = port
    return model_list(deployment("my-claude"), bedgate_settings={"server": server})


@pytest.fixture(scope="module")
def gateway(spawn_gateway, slow_simulator, issued):
    with spawn_gateway(config=with_tls(issued.certificate, issued.key), upstream=slow_simulator) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.generate_key()


def tls_port(gateway) -> int:
    return int(gateway.tls_url.rsplit(":", 1)[1])


def trusting(root, protocols=("http/1.1",)) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=root)
    context.set_alpn_protocols(list(protocols))
    return context


def connect(port: int, context: ssl.SSLContext, session=None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(raw, server_hostname="127.0.0.1", session=session)


def name_served(port: int, root) -> str:
    """The common name of the certificate that new connections get."""
    with connect(port, trusting(root)) as connection:
        return dict(part[0] for part in connection.getpeercert()["subject"])["commonName"]


# --- clients -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked, version", [("--http2", "2"), ("--http1.1", "1.1")])
@pytest.mark.parametrize("verb", ["converse", "converse-stream"])
def test_curl_speaks_both_versions_over_tls(gateway, key, authority, asked, version, verb):
    url = f"{gateway.tls_url}/bedrock/model/my-claude/{verb}"
    answer = curl_json(url, key, CONVERSE, asked, "--cacert", str(authority.root))
    assert (answer.status, answer.http_version) == (200, version)
    assert answer.body and (verb == "converse-stream" or answer.json()["output"])


def test_a_client_that_does_not_trust_the_root_does_not_send_its_key(gateway, key):
    answer = curl_json(f"{gateway.tls_url}/bedrock/model/my-claude/converse", key, CONVERSE)
    assert answer.status == 0 and answer.exit_code == 60


def test_who_names_no_protocol_speaks_http_1_1(gateway, authority):
    with connect(tls_port(gateway), ssl.create_default_context(cafile=authority.root)) as connection:
        connection.sendall(b"GET /health/liveliness HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_boto3_sends_its_bearer_token_over_tls(gateway, key, authority):
    """botocore refuses to send it to http endpoints."""
    env = clean_environment({"AWS_BEARER_TOKEN_BEDROCK": key, "AWS_CA_BUNDLE": str(authority.root)})
    base = f"{gateway.tls_url}/bedrock"
    done = subprocess.run([sys.executable, "-c", BOTO3, base], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    stop_reason, last_event = json.loads(done.stdout)
    assert stop_reason and last_event == "metadata"


def test_the_aws_cli_sends_its_bearer_token_over_tls(gateway, key, authority):
    env = clean_environment({"AWS_BEARER_TOKEN_BEDROCK": key, "AWS_CA_BUNDLE": str(authority.root)})
    asked = ["bedrock-runtime", "converse", "--region", "us-west-2", "--model-id", "my-claude"]
    endpoint = ["--endpoint-url", f"{gateway.tls_url}/bedrock", "--messages", json.dumps(MESSAGES)]
    program = Path(sys.executable).parent / "aws"
    done = subprocess.run([program, *asked, *endpoint], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"]


@pytest.mark.parametrize("http1", [False, True])
def test_the_javascript_sdk_sends_its_bearer_token_over_tls(gateway, key, authority, http1):
    messages = call("Converse", modelId="my-claude", messages=MESSAGES)
    stream = call("ConverseStream", modelId="my-claude", messages=MESSAGES)
    base = f"{gateway.tls_url}/bedrock"
    whole, streamed = run_javascript(base, [messages, stream], bearer=key, http1=http1, ca=authority.root)
    assert whole["status"] == 200 and whole["output"]["output"], whole
    assert text_of_events(streamed) and "metadata" in streamed["events"][-1]["event"]


# --- the protocol --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(gateway, authority, version):
    context = trusting(authority.root)
    context.minimum_version = context.maximum_version = version
    request = b"GET /health/liveliness HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    with connect(tls_port(gateway), context) as first:
        first.sendall(request)
        first.recv(4096)
        assert first.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        session = first.session
    with connect(tls_port(gateway), context, session) as second:
        assert second.session_reused
        second.sendall(request)
        assert second.recv(12) == b"HTTP/1.1 200"


def test_tls_below_1_2_is_refused(gateway, authority):
    context = ssl.create_default_context(cafile=authority.root)
    # What OpenSSL itself would no longer send.
    context.set_ciphers("ALL:@SECLEVEL=0")
    connect(tls_port(gateway), context).close()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="alert (handshake failure|protocol version)"):
        connect(tls_port(gateway), context)


def test_plain_http_gets_no_answer_from_the_tls_port(gateway, key):
    answer = curl_json(f"http://127.0.0.1:{tls_port(gateway)}/bedrock/model/my-claude/converse", key, CONVERSE)
    assert answer.status == 0 and answer.exit_code != 0


def test_a_handshake_that_does_not_come_is_ended(gateway):
    with socket.create_connection(("127.0.0.1", tls_port(gateway)), timeout=14) as connection:
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 8 < time.monotonic() - began < 13


def test_goaway_at_the_answers_head_loses_nothing_over_tls(gateway, key, authority):
    with Http2Client(tls_port(gateway), root=authority.root) as client:
        number = client.ask("/bedrock/model/my-claude/converse-stream", CONVERSE, key)
        client.until(lambda: client.streams[number].status == 200)
        client.go_away()
        assert client.answer(number).ended


def test_a_stop_says_goaway_over_tls_too(spawn_gateway, slow_simulator, issued, authority):
    with spawn_gateway(config=with_tls(issued.certificate, issued.key), upstream=slow_simulator) as running:
        with Http2Client(tls_port(running), root=authority.root) as client:
            assert client.answer(client.ask("/health/liveliness", b"", method="GET")).status == 200
            began = time.monotonic()
            assert running.terminate() == 0
            assert time.monotonic() - began < 3
            client.until_closed(2)
            assert client.goaways


# --- certificates that change --------------------------------------------------------------------------------------------


def test_a_new_certificate_is_used_by_new_connections_and_a_bad_one_by_none(spawn_gateway, simulator, authority):
    folder = Path(tempfile.mkdtemp(prefix="bedgate-tls-"))
    first, second = authority.issue("one"), authority.issue("two")
    cert, key = folder / "tls.crt", folder / "tls.key"

    def put(certificate: Path, private_key: Path) -> None:
        for source, target in ((certificate, cert), (private_key, key)):
            shutil.copy(source, folder / "new")
            os.replace(folder / "new", target)

    put(first.certificate, first.key)
    with spawn_gateway(config=with_tls(cert, key)) as running:
        port = tls_port(running)
        assert name_served(port, authority.root) == "one"
        with Http2Client(port, root=authority.root) as client:
            put(second.certificate, second.key)
            eventually(lambda: name_served(port, authority.root) == "two", 10, "the new certificate is served")
            assert client.answer(client.ask("/health/liveliness", b"", method="GET")).status == 200

        for bad in ((first.certificate, second.key), (second.key, second.key), (second.certificate, first.certificate)):
            before = running.errors().count("the TLS certificate in use stays")
            put(*bad)
            stays = lambda: running.errors().count("the TLS certificate in use stays") > before  # noqa: B023, E731
            eventually(stays, 10, "the fault is named")
            assert name_served(port, authority.root) == "two"
        cert.unlink()
        eventually(lambda: f"cannot read {cert}" in running.errors(), 10, "the missing file is named")
        assert name_served(port, authority.root) == "two"
        put(first.certificate, first.key)
        eventually(lambda: name_served(port, authority.root) == "one", 10, "a good one is served again")
    shutil.rmtree(folder)


# --- one port ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [("--ssl_certfile_path", "--ssl_keyfile_path"), ("--tls-cert", "--tls-key")])
def test_one_port_speaks_tls_alone_as_litellms_does(simulator, issued, authority, flags, tmp_path):
    arguments = ["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir", str(tmp_path / "data")]
    named = [part for pair in zip(flags, (str(issued.certificate), str(issued.key))) for part in pair]
    env = {**simulator.environment(), "LITELLM_MASTER_KEY": MASTER_KEY}
    (tmp_path / "config.yaml").write_text(json.dumps({"bedgate_settings": {"server": {"lame_duck": 0}}}))
    running = Process([*arguments, "--config", str(tmp_path / "config.yaml"), *named], env, "listening on")
    try:
        assert running.url.startswith("https://") and "http://" not in running.output()
        answer = curl(f"{running.url}/health/liveliness", "--cacert", str(authority.root))
        assert (answer.status, answer.http_version) == (200, "2")
        assert curl(f"http://127.0.0.1:{running.port}/health/liveliness").status == 0
        healthy = run_to_end(["healthcheck", "--port", str(running.port)])
        assert healthy.returncode == 0, healthy.stderr
    finally:
        assert running.terminate() == 0


def test_the_environment_names_a_certificate_as_litellms_does(spawn_gateway, issued, authority):
    env = {"SSL_CERTFILE_PATH": str(issued.certificate), "SSL_KEYFILE_PATH": str(issued.key), "BEDGATE_TLS_PORT": "0"}
    with spawn_gateway(config=model_list(deployment("my-claude")), env=env) as running:
        assert name_served(tls_port(running), authority.root) == "first"


@pytest.mark.parametrize(
    "settings, code, problem",
    [
        ({"tls_cert": "c.pem"}, 64, "server.tls_key: is missing beside the certificate"),
        ({"tls_key": "k.pem"}, 64, "server.tls_cert: is missing beside the private key"),
        ({"tls_port": 4443}, 64, "server.tls_cert: is missing beside tls_port"),
        ({"tls_cert": "c.pem", "tls_key": "k.pem", "tls_port": 4000}, 64, "server.tls_port: is the plain port, too"),
        ({"tls_cert": "/nowhere/c.pem", "tls_key": "/nowhere/k.pem"}, 70, "cannot read /nowhere/c.pem"),
    ],
)
def test_a_wrong_setting_is_named_before_a_port_is_bound(tmp_path, settings, code, problem):
    (tmp_path / "config.yaml").write_text(json.dumps({"bedgate_settings": {"server": settings}}))
    arguments = ["--config", str(tmp_path / "config.yaml"), "--data-dir", str(tmp_path / "data")]
    done = run_to_end(["serve", *arguments])
    assert done.returncode == code and problem in done.stderr, done.stderr
    assert "listening" not in done.stdout
