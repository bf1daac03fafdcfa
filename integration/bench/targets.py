"""What is measured: the mock asked directly, nginx, bedgate; each a process tree with its CPU time and memory."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LOAD = HERE / "load" / "target" / "release" / "bench-load"
BEDGATE = Path(os.environ.get("BEDGATE_BINARY", REPOSITORY / "target" / "release" / "bedgate"))
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# One core for what is measured, the other for both ends of it.
TARGET_CORE, ENDS_CORE = 0, 1
START_SECONDS = 30
MASTER_KEY = "sk-master-key-of-the-benchmark-0123456789"
PRICED_AS = "anthropic.claude-3-5-sonnet-20240620-v1:0"


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(core: int, command: list) -> list[str]:
    """The command on one core; before others, where this may be asked for."""
    first = ["nice", "-n", "-10"] if os.geteuid() == 0 else []
    return [*first, "taskset", "-c", str(core), *map(str, command)]


def http(method: str, url: str, body: dict | None = None, key: str | None = None) -> bytes:
    """A plain call."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


# Whatever was started, to be stopped at the end.
RUNNING: list["Target"] = []


class Target:
    """Something that requests go through."""

    prefix, key = "/bedrock", "sk-nobody"

    def __init__(self, name: str):
        self.name, self.popen, self.port = name, None, 0
        self.folder = Path(tempfile.mkdtemp(prefix=f"bedgate-bench-{name}-"))
        RUNNING.append(self)

    def spawn(self, core: int, command: list, env: dict[str, str] | None = None, stdout=subprocess.DEVNULL) -> None:
        """Starts it in a session of its own, so that Ctrl-C reaches this program alone, which then stops it."""
        with open(self.folder / "stderr", "ab") as errors:
            self.popen = subprocess.Popen(
                pinned(core, command),
                env={"PATH": os.environ["PATH"], **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=errors,
                cwd=self.folder,
                start_new_session=True,
            )

    def wait_until_alive(self) -> float:
        """Seconds until it answers."""
        started = time.monotonic()
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as conn:
                conn.sendall(b"GET /health/liveliness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                if conn.recv(4096).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - started
            if self.popen.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise RuntimeError(f"{self.name} does not start: {self.errors()}")
            time.sleep(0.0005)

    def errors(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "stderr").read_text(errors="replace")[-2000:]

    def pids(self) -> list[int]:
        """The process and its children."""
        pid = self.popen.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """User and system time of all of it."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_SECOND

    def memory_bytes(self) -> int:
        """Resident memory of all of it."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in self.pids())

    def settle(self) -> None:
        """Waits until work that belongs to requests of the past is done."""

    def stop(self) -> None:
        """Ends it; kills it where it does not end."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(45)
            except subprocess.TimeoutExpired:
                self.popen.send_signal(signal.SIGKILL)
                self.popen.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self in RUNNING:
            RUNNING.remove(self)


class Mock(Target):
    """The upstream; asked directly, it is what the others are compared with."""

    prefix = ""

    def __init__(self, core: int = ENDS_CORE, tls: bool = False):
        super().__init__("direct")
        self.authority = self.folder / "certificate.pem"
        options = []
        if tls:
            self._make_certificate()
            options = [f"certificate={self.authority}", f"key={self.folder / 'key.pem'}"]
        self.spawn(core, [LOAD, "mock", "port=0", *options], stdout=subprocess.PIPE)
        self.port = json.loads(self.popen.stdout.readline())["port"]

    def _make_certificate(self) -> None:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        more = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"]
        out = ["-keyout", self.folder / "key.pem", "-out", self.authority]
        subprocess.run([*command.split(), *more, *out], check=True, capture_output=True)


class Nginx(Target):
    """A plain reverse proxy: the measure of what cannot be avoided."""

    def __init__(self, mock: Mock):
        super().__init__("nginx")
        self.port = free_port()
        given = {"FOLDER": str(self.folder), "PORT": str(self.port), "MOCK": str(mock.port)}
        text = (HERE / "nginx.conf").read_text()
        comments, directives = text.split("daemon off;", 1)
        for name, value in given.items():
            directives = directives.replace(name, value)
        (self.folder / "nginx.conf").write_text(f"daemon off;{directives}")
        self.folder.chmod(0o755)
        self.start()

    def start(self) -> None:
        """Starts it, timed."""
        self.spawn(TARGET_CORE, ["nginx", "-c", self.folder / "nginx.conf", "-p", self.folder])
        self.start_seconds = self.wait_until_alive()


class Bedgate(Target):
    """bedgate with everything on but the access log: key, signature, metering, journal, shipping."""

    key_has_limits = True

    def __init__(self, mock: Mock, models: list[str], name: str = "bedgate", tls: bool = False, database: str = ""):
        super().__init__(name)
        self.port = free_port()
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self.env = {
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "AWS_ACCESS_KEY_ID": "AKIAOFTHEBENCHMARK00",
            "AWS_SECRET_ACCESS_KEY": "secret-access-key-of-the-benchmark-00000",
            "AWS_REGION": "us-west-2",
            "AWS_ENDPOINT_URL": f"{scheme}://{host}:{mock.port}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }
        if tls:
            self.env["AWS_CA_BUNDLE"] = str(mock.authority)
        if database:
            self.env["DATABASE_URL"] = database
        config = {
            "model_list": [
                {
                    "model_name": model,
                    "litellm_params": {"model": f"bedrock/{model}", "custom_llm_provider": "bedrock"},
                    "model_info": {"base_model": PRICED_AS},
                }
                for model in models
            ],
            "bedgate_settings": {
                "access_log": "off",
                "server": {"workers": 1, "lame_duck": 0, "shutdown_grace": 10},
                # The default is 4096 a worker; one worker carries all 10,000 streams here.
                "aws": {"max_connections": 16384},
            },
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))
        self.start()
        self.key = self._make_key()

    def _make_key(self) -> str:
        """A key with a budget and limits that are never reached; without, where bedgate does not take them yet."""
        url = f"http://127.0.0.1:{self.port}/key/generate"
        limits = {"max_budget": 1e6, "rpm_limit": 1_000_000_000, "tpm_limit": 1_000_000_000_000}
        try:
            answer = http("POST", url, limits, MASTER_KEY)
        except urllib.error.HTTPError:
            Bedgate.key_has_limits = False
            answer = http("POST", url, {}, MASTER_KEY)
        return json.loads(answer)["key"]

    def start(self) -> None:
        """Starts it, timed."""
        command = [BEDGATE, "serve", "--config", self.folder / "config.yaml", "--host", "127.0.0.1"]
        command += ["--port", self.port, "--data-dir", self.folder / "data"]
        self.spawn(TARGET_CORE, command, self.env)
        self.start_seconds = self.wait_until_alive()

    def waiting_events(self) -> int:
        """Events that the database does not have yet."""
        return json.loads(http("GET", f"http://127.0.0.1:{self.port}/health/readiness"))["ledger"]["waiting"]

    def settle(self) -> None:
        """Waits until every event is in the database: its CPU belongs to the requests."""
        deadline = time.monotonic() + 120
        while self.waiting_events() > 0:
            if time.monotonic() > deadline:
                sys.exit("bedgate does not ship its events")
            time.sleep(0.1)

    def restart(self) -> None:
        """Stops it in order and starts it again on its data."""
        self.popen.terminate()
        self.popen.wait(45)
        self.start()
