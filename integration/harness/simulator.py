"""The simulator in AWS's place: what reached it, faults to order, and an independent check of what was signed."""

import contextlib
import hashlib
import json
import urllib.request
from dataclasses import dataclass
from typing import Iterator

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .process import MASTER_KEY, Process

ACCESS_KEY_ID = "AKIAOFTHESIMULATOR00"
SECRET_ACCESS_KEY = "secret-access-key-of-the-simulator-00000"
BEARER_TOKEN = "bedrock-api-key-of-the-tests-0123456789"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}


@dataclass
class Seen:
    """One request as it arrived upstream."""

    request_id: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    body_sha256: str
    status: int
    verdict: str
    violation: str | None
    events: int
    upload: str
    answer_sha256: str

    @classmethod
    def from_json(cls, entry: dict) -> "Seen":
        return cls(
            request_id=entry["request_id"],
            method=entry["method"],
            path=entry["path"],
            query=entry["query"],
            headers=[(name.lower(), value) for name, value in entry["headers"]],
            body=(entry["body"] or "").encode(),
            body_sha256=entry["body_sha256"],
            status=entry["status"],
            verdict=entry["verdict"],
            violation=entry["violation"],
            events=entry["events"],
            upload=entry["upload"],
            answer_sha256=entry["answer_sha256"],
        )

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def header_names(self) -> set[str]:
        """Lower-case names of all headers."""
        return {name for name, _ in self.headers}

    @property
    def credential(self) -> list[str]:
        """access key id, date, region, service, aws4_request."""
        authorization = self.header("authorization") or ""
        return authorization.split("Credential=", 1)[1].split(",", 1)[0].split("/")

    @property
    def signed_headers(self) -> list[str]:
        """Names in SignedHeaders."""
        return (self.header("authorization") or "").split("SignedHeaders=", 1)[1].split(",", 1)[0].split(";")

    def signature_by_botocore(self, secret: str, token: str | None = None) -> str:
        """The signature that botocore computes for what arrived: method, path, query, signed headers, body hash."""
        access_key_id, _, region, service, _ = self.credential
        signer = SigV4Auth(Credentials(access_key_id, secret, token), service, region)
        url = f"http://{self.header('host')}{self.path}" + (f"?{self.query}" if self.query else "")
        request = AWSRequest(method=self.method, url=url)
        for name in self.signed_headers:
            request.headers[name] = ",".join(value for key, value in self.headers if key == name)
        request.headers["X-Amz-Content-SHA256"] = self.body_sha256
        request.context["timestamp"] = self.header("x-amz-date")
        if "x-amz-content-sha256" not in self.signed_headers:
            # botocore takes the body's hash from this header; as it was not signed, it is not among the signed ones.
            signer.headers_to_sign = lambda req: _only(req, self.signed_headers)  # type: ignore[method-assign]
        return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)

    @property
    def signature(self) -> str:
        """The signature that arrived."""
        return (self.header("authorization") or "").split("Signature=", 1)[1]


def _only(request: AWSRequest, names: list[str]):
    from botocore.compat import HTTPHeaders

    kept = HTTPHeaders()
    for name in names:
        kept[name] = request.headers[name]
    return kept


class Simulator(Process):
    """`bedgate simulator`, in AWS's place. Counts a request that carries the master key or a secret key as a violation."""

    def __init__(self, pace_ms: int = 0, accept: tuple[str, str] = (ACCESS_KEY_ID, SECRET_ACCESS_KEY)):
        options = {
            "--port": "0",
            "--pace-ms": str(pace_ms),
            "--accept-access-key": accept[0],
            "--accept-secret-key": accept[1],
            "--accept-bearer": BEARER_TOKEN,
        }
        forbidden = [part for secret in (accept[1], MASTER_KEY) for part in ("--forbid", secret)]
        arguments = [part for option in options.items() for part in option]
        super().__init__(["simulator", *arguments, *forbidden], {}, listening="simulator listening on")

    def environment(self, **more: str) -> dict[str, str]:
        """What a gateway needs to use this as AWS, with the default credentials."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_REGION": "us-west-2",
            **more,
        }

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def requests(self) -> list[Seen]:
        """Every request that arrived since the log was last cleared, oldest first; bounded by the simulator's log."""
        return [Seen.from_json(entry) for entry in json.loads(self._call("GET", "/__simulator/requests?limit=100000"))]

    @contextlib.contextmanager
    def recording(self) -> Iterator["Recording"]:
        """What arrives from now on; what arrived before is forgotten."""
        self._call("DELETE", "/__simulator/requests")
        yield Recording(self)

    def under_way(self) -> int:
        """How many requests have no whole answer yet."""
        stats = json.loads(self._call("GET", "/__simulator/stats"))
        return stats["requests"] - stats["answered"]

    def violations(self) -> int:
        """How many requests carried something that must never reach AWS, since the start."""
        return json.loads(self._call("GET", "/__simulator/stats"))["violations"]

    def assume_role(self, role: str) -> dict[str, str]:
        """Temporary credentials that this simulator knows: AccessKeyId, SecretAccessKey, SessionToken."""
        sts = boto3.client(
            "sts",
            region_name="us-west-2",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
        )
        return sts.assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]

    @contextlib.contextmanager
    def faults(self, *rules: dict) -> Iterator[None]:
        """Misbehaves by these rules inside the block."""
        self.set_faults(*rules)
        try:
            yield
        finally:
            self.set_faults()

    def set_faults(self, *rules: dict) -> None:
        """Replaces all rules."""
        self._call("PUT", "/__simulator/faults", list(rules))


class Recording:
    """What reached the simulator since the recording began."""

    def __init__(self, simulator: Simulator):
        self._simulator = simulator

    def all(self) -> list[Seen]:
        """All of it, oldest first."""
        return self._simulator.requests()

    def one(self) -> Seen:
        """The only request."""
        seen = self.all()
        assert len(seen) == 1, f"expected one request upstream, found {seen}"
        return seen[0]

    def nothing(self) -> None:
        """Asserts that nothing arrived."""
        assert self.all() == []


def fault(*actions: str, times: int | None = None, model: str | None = None, path: str | None = None) -> dict:
    """One rule: what happens to requests whose model id or path contains a text. Actions: see the simulator's `Fault`."""
    match = {key: value for key, value in (("model_contains", model), ("path_contains", path)) if value is not None}
    return {"match": match, "actions": list(actions), **({} if times is None else {"times": times})}


def sha256(body: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(body).hexdigest()
