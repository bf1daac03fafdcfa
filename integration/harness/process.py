"""One run of the binary: started with a clean environment, watched through its output, stopped or killed."""

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from .waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
MASTER_KEY = "sk-master-key-of-the-tests-0123456789"
START_SECONDS = 30
STOP_SECONDS = 30


def binary() -> Path:
    """The bedgate binary under test."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return Path(os.environ.get("BEDGATE_BINARY", target / "debug" / "bedgate"))


def clean_environment(given: dict[str, str] | None = None) -> dict[str, str]:
    """Nothing of the caller's environment but PATH: no real AWS credentials can leak in, no AWS is ever asked."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        **(given or {}),
    }


class Process:
    """A running bedgate command that says where it listens."""

    def __init__(self, arguments: list[str], env: dict[str, str], listening: str, cwd: Path | None = None):
        self.folder = Path(tempfile.mkdtemp(prefix="bedgate-process-"))
        self.arguments, self.env, self.cwd = arguments, clean_environment(env), cwd or self.folder
        self.output_path, self.error_path = self.folder / "stdout", self.folder / "stderr"
        self._listening = re.compile(listening + r" (https?://127\.0\.0\.1:(\d+))")
        self.start()

    def start(self) -> None:
        """Starts it (again), and waits until it says that it listens."""
        self.output_path.write_bytes(b"")
        self._errors_before = len(self.errors())
        with open(self.output_path, "ab") as out, open(self.error_path, "ab") as err:
            self.popen = subprocess.Popen(
                [binary(), *self.arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.cwd,
            )
        found = eventually(self._find_listening, START_SECONDS, f"bedgate {' '.join(self.arguments)} listens")
        self.url, self.port = found.group(1), int(found.group(2))

    def _find_listening(self) -> re.Match[str] | None:
        code = self.popen.poll()
        if code is not None:
            raise RuntimeError(f"bedgate {self.arguments} ended with {code}:\n{self.output()}\n{self.errors()}")
        # A log in JSON has that line, too.
        return self._listening.search(self.output() + self.errors()[self._errors_before :])

    def output(self) -> str:
        """Everything written to standard output since the last start."""
        return self.output_path.read_text(errors="replace")

    def errors(self) -> str:
        """Everything written to standard error, also by earlier starts."""
        return self.error_path.read_text(errors="replace") if self.error_path.exists() else ""

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit code; a process that does not end in time is killed and the test fails."""
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {STOP_SECONDS} s:\n{self.errors()[-4000:]}") from None

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait()

    def memory_bytes(self) -> int:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.popen.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def run_to_end(arguments: list[str], env: dict[str, str] | None = None, within: float = 30, cwd: Path | None = None):
    """Runs a command that ends by itself."""
    return subprocess.run(
        [binary(), *arguments],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        cwd=cwd,
    )
