"""Clients: curl, boto3 in the document's recipes, the AWS CLI, and a raw socket that sees how a response really ended."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

import boto3
from botocore.config import Config

TIMEOUT_SECONDS = 30
_session = boto3.Session(region_name="us-west-2")


# --- boto3 ---------------------------------------------------------------------------------------------------------------


def boto3_client(
    service: str, base: str, access_key_id: str = "my-fake-key-id", attempts: int = 1, region: str = "us-west-2"
):
    """A client that signs with made-up credentials; the access key id may be a virtual key."""
    return _session.client(
        service,
        region_name=region,
        endpoint_url=base,
        aws_access_key_id=access_key_id,
        aws_secret_access_key="my-fake-access-key",
        config=Config(retries={"total_max_attempts": attempts}, read_timeout=TIMEOUT_SECONDS, connect_timeout=5),
    )


def document_client(service: str, base: str, key: str, header: str = "litellm_user_api_key"):
    """The recipe of LiteLLM's document: fake credentials, the key in a header injected before sending."""
    client = boto3_client(service, base)
    custom_headers = {header: f"Bearer {key}"}

    def inject_custom_headers(request, **_):
        request.headers.update(custom_headers)

    client.meta.events.register("before-send.*.*", inject_custom_headers)
    return client


# --- command lines -------------------------------------------------------------------------------------------------------


@dataclass
class Curl:
    """What curl got."""

    status: int
    headers: dict[str, str]
    body: bytes
    exit_code: int
    seconds: float
    http_version: str = ""

    def json(self) -> dict:
        """The body as JSON."""
        return json.loads(self.body)


def curl(*arguments: str, stdin: bytes | None = None) -> Curl:
    """Runs curl with these arguments."""
    with tempfile.TemporaryDirectory(prefix="bedgate-curl-") as folder:
        head, body = Path(folder, "head"), Path(folder, "body")
        began = time.monotonic()
        done = subprocess.run(
            [
                "curl",
                "--silent",
                "--noproxy",
                "*",
                "--max-time",
                str(TIMEOUT_SECONDS),
                "--dump-header",
                head,
                "--output",
                body,
                "--write-out",
                "%{http_code} %{http_version}",
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            env={"PATH": os.environ["PATH"]},
        )
        seconds = time.monotonic() - began
        lines = head.read_bytes().decode("latin-1").split("\r\n") if head.exists() else []
        pairs = (line.split(": ", 1) for line in lines if ": " in line)
        headers = {name.lower(): value for name, value in pairs}
        status, _, version = done.stdout.decode().partition(" ")
        content = body.read_bytes() if body.exists() else b""
        return Curl(int(status or 0), headers, content, done.returncode, seconds, version)


def curl_json(url: str, key: str | None, body: str | bytes, *more: str) -> Curl:
    """POSTs JSON as the document does."""
    authorization = [] if key is None else ["-H", f"Authorization: Bearer {key}"]
    data = body.encode() if isinstance(body, str) else body
    return curl(
        "-X",
        "POST",
        url,
        *authorization,
        "-H",
        "Content-Type: application/json",
        "--data-binary",
        "@-",
        *more,
        stdin=data,
    )


def aws_cli(base: str, key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The AWS CLI, its access key id the virtual key."""
    env = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_MAX_ATTEMPTS": "1",
    }
    program = Path(sys.executable).parent / "aws"
    return subprocess.run(
        [program, "--endpoint-url", base, "--output", "json", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


# --- the raw socket --------------------------------------------------------------------------------------------------------


@dataclass
class RawAnswer:
    """A response exactly as it came, and how the connection ended."""

    raw: bytes = b""
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    reset: bool = False

    @property
    def head(self) -> bytes:
        """Status line and headers."""
        return self.raw.split(b"\r\n\r\n", 1)[0]

    @property
    def status(self) -> int:
        """The status, 0 if no whole head came."""
        return int(self.raw.split(b" ", 2)[1]) if b"\r\n\r\n" in self.raw else 0

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines}

    @property
    def body(self) -> bytes:
        """The body, with the chunked coding taken off as far as it came."""
        return self._decode()[0]

    @property
    def ended_clean(self) -> bool:
        """Whether a client would take the response for whole."""
        return self.status != 0 and not self.reset and self._decode()[1]

    def _decode(self) -> tuple[bytes, bool]:
        rest = self.raw.split(b"\r\n\r\n", 1)[1] if b"\r\n\r\n" in self.raw else b""
        if "content-length" in self.headers:
            return rest, len(rest) == int(self.headers["content-length"])
        if self.headers.get("transfer-encoding") != "chunked":
            return rest, True
        body = b""
        while b"\r\n" in rest:
            size_text, rest = rest.split(b"\r\n", 1)
            size = int(size_text.split(b";")[0], 16)
            if size == 0:
                return body, rest == b"\r\n"
            body += rest[:size]
            if len(rest) < size + 2:
                return body, False
            rest = rest[size + 2 :]
        return body, False


def raw_exchange(port: int, request: bytes, timeout: float = TIMEOUT_SECONDS) -> RawAnswer:
    """Sends bytes as they are, reads until the other side closes, and notes when what came."""
    answer = RawAnswer()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                answer.raw += chunk
                answer.arrivals.append((time.monotonic(), len(chunk)))
        except (ConnectionResetError, BrokenPipeError):
            answer.reset = True
    return answer


def raw_post(path: str, key: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST on a connection that closes after it."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def frames(body: bytes) -> Iterator[tuple[dict, bytes]]:
    """Headers and payload of every whole event-stream frame (botocore's own reader)."""
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for message in buffer:
        yield message.headers, message.payload
