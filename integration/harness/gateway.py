"""A running gateway: the real binary on a free port, with a data directory of its own, checked when it is let go."""

import contextlib
import json
import re
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from .process import MASTER_KEY, Process
from .spend import nano_usd
from .waiting import eventually

# Nobody balances load in front of the tests: SIGTERM need not wait for one to notice.
ENDING = {"server": {"lame_duck": 0, "shutdown_grace": 15}}


def with_ending(config: str | dict) -> str:
    """The config as text, with a short farewell; JSON is YAML."""
    if isinstance(config, str):
        return f"{config}\nbedgate_settings: {json.dumps(ENDING)}\n"
    settings = {**ENDING, **config.get("bedgate_settings", {})}
    return json.dumps({**config, "bedgate_settings": settings})


@dataclass
class Answer:
    """An answer of the gateway's own endpoints."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict:
        """The body as JSON."""
        return json.loads(self.body)


class Gateway(Process):
    """`bedgate serve`."""

    def __init__(
        self, config: str, env: dict[str, str], data_dir: Path, secrets: set[str], arguments: tuple[str, ...] = ()
    ):
        self.data_dir, self.secrets = data_dir, secrets
        self.config_path = data_dir.parent / f"config-{data_dir.name}.yaml"
        self.config_path.write_text(config)
        self.expected_exit = 0
        super().__init__(
            [
                "serve",
                "--config",
                str(self.config_path),
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--data-dir",
                str(data_dir),
                *arguments,
            ],
            env,
            listening="listening on",
        )

    @property
    def base(self) -> str:
        """Where Bedrock's API is."""
        return f"{self.url}/bedrock"

    @property
    def tls_url(self) -> str:
        """Where TLS is spoken, beside the plain port."""
        return re.search(r"listening on (https://\S+)", self.output()).group(1)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        key: str | None = MASTER_KEY,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """A plain HTTP call; `body` is JSON unless it is bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            given["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=given)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def generate_key(self, **fields: object) -> str:
        """A new virtual key."""
        answer = self.call("POST", "/key/generate", fields)
        assert answer.status == 200, answer
        key = answer.json()["key"]
        self.secrets.add(key)
        return key

    def events(self, **query: object) -> list[dict]:
        """Rows of GET /spend/logs; without a page number, of all pages."""
        if "page" in query or "request_id" in query:
            return self._page_of_events(query)
        rows, page = [], 1
        while found := self._page_of_events({**query, "page": page, "page_size": 1000}):
            rows.extend(found)
            page += 1
        return rows

    def _page_of_events(self, query: dict[str, object]) -> list[dict]:
        answer = self.call("GET", "/spend/logs?" + "&".join(f"{name}={value}" for name, value in query.items()))
        assert answer.status == 200, answer
        return answer.json()

    def spend_of(self, key: str) -> int:
        """What /key/info says that a key spent, in nano-dollars."""
        return nano_usd(self.call("GET", f"/key/info?key={key}").json()["info"])

    def event(self, call_id: str) -> dict:
        """The one event of a call, once it has been shipped."""
        rows = eventually(lambda: self.events(request_id=call_id), 15, f"the event of {call_id} is in the store")
        assert len(rows) == 1, rows
        return rows[0]

    def metrics(self) -> str:
        """The text of /metrics."""
        return self.call("GET", "/metrics").body.decode()

    def unshipped(self) -> list[Path]:
        """Journal segments on disk that hold something."""
        return [path for path in (self.data_dir / "journal").rglob("*") if path.is_file() and path.suffix == ".journal"]

    def kill_and_restart(self) -> None:
        """kill -9, then the same command on the same data."""
        self.kill()
        self.start()

    def assert_no_secret_in(self, where: str, text: str) -> None:
        """None of the secrets that this gateway was given stands in the text."""
        for secret in self.secrets:
            assert secret not in text, f"{where} shows the secret {secret[:6]}…"


@contextlib.contextmanager
def run_gateway(
    config: str | dict,
    env: dict[str, str],
    data_dir: Path | None = None,
    arguments: tuple[str, ...] = (),
    master_key: str | None = MASTER_KEY,
) -> Iterator[Gateway]:
    """Runs a gateway. When it is let go: /metrics and the log show no secret, SIGTERM ends it with 0, nothing is unshipped."""
    folder = Path(tempfile.mkdtemp(prefix="bedgate-gateway-"))
    given = dict(env) if master_key is None else {"LITELLM_MASTER_KEY": master_key, **env}
    secrets = {
        value for name, value in given.items() if name.endswith(("_KEY", "_TOKEN", "_BEDROCK")) and len(value) > 8
    }
    if "@" in given.get("DATABASE_URL", ""):
        secrets.add(given["DATABASE_URL"].split("@")[0].rsplit(":", 1)[-1])
    gateway = Gateway(with_ending(config), given, data_dir or folder / "data", secrets, arguments)
    try:
        yield gateway
        finish(gateway)
    finally:
        if gateway.popen.poll() is None:
            gateway.kill()


def finish(gateway: Gateway) -> None:
    """What must hold at every gateway's end."""
    if gateway.popen.poll() is None:
        gateway.assert_no_secret_in("/metrics", gateway.metrics())
        code = gateway.terminate()
        assert code == gateway.expected_exit, f"exit code {code}:\n{gateway.errors()[-4000:]}"
        assert gateway.unshipped() == [], "events were left in the journal"
    log = gateway.output() + gateway.errors()
    gateway.assert_no_secret_in("the log", log)
    assert "panicked" not in log, log[-4000:]
