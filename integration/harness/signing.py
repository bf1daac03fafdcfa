"""Clients that sign with an AWS credential pair of their key: unmodified boto3 and AWS CLI, and requests signed by hand."""

import datetime
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from .clients import RawAnswer, raw_exchange


@dataclass
class Pair:
    """An AWS credential pair."""

    access_key_id: str
    secret_access_key: str

    @classmethod
    def of(cls, answer: dict) -> "Pair":
        """The pair that an answer of /key/generate or /key/aws_credentials shows."""
        return cls(answer["aws_access_key_id"], answer["aws_secret_access_key"])


def generate_pair(gateway, **fields: object) -> tuple[str, Pair]:
    """A new key and its pair."""
    answer = gateway.call("POST", "/key/generate", {"aws_credentials": True, **fields})
    assert answer.status == 200, answer
    pair = Pair.of(answer.json())
    gateway.secrets.update({answer.json()["key"], pair.secret_access_key})
    return answer.json()["key"], pair


def pair_client(service: str, base: str, pair: Pair):
    """boto3 as it is, with the pair as its credentials."""
    session = boto3.Session(pair.access_key_id, pair.secret_access_key, region_name="eu-central-1")
    config = Config(retries={"total_max_attempts": 1}, read_timeout=30, connect_timeout=5)
    return session.client(service, endpoint_url=base, config=config)


def pair_cli(base: str, pair: Pair, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The AWS CLI as it is, with the pair in its two environment variables."""
    env = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": pair.access_key_id,
        "AWS_SECRET_ACCESS_KEY": pair.secret_access_key,
        "AWS_ENDPOINT_URL": base,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_MAX_ATTEMPTS": "1",
    }
    program = Path(sys.executable).parent / "aws"
    return subprocess.run(
        [program, "--output", "json", *arguments], env=env, capture_output=True, text=True, timeout=60
    )


def signed_headers(
    url: str,
    pair: Pair,
    body: bytes,
    payload: str | None = None,
    minutes: int = 0,
    method: str = "POST",
    content_type: str = "application/json",
) -> dict[str, str]:
    """The headers of a request, signed by botocore `minutes` from now; `payload` stands in `x-amz-content-sha256`."""
    request = AWSRequest(method=method, url=url, data=body, headers={"Content-Type": content_type})
    if payload is not None:
        request.headers["X-Amz-Content-SHA256"] = payload
    moment = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(minutes=minutes)
    signer = SigV4Auth(Credentials(pair.access_key_id, pair.secret_access_key), "bedrock", "eu-central-1")
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        signer.add_auth(request)
    return dict(request.headers.items())


def send(gateway, path: str, headers: dict[str, str], body: bytes, method: str = "POST") -> RawAnswer:
    """Sends a request as it is, on a connection that closes after it."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{gateway.port}",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return raw_exchange(gateway.port, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def sha256(body: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(body).hexdigest()
