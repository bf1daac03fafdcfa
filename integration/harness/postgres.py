"""A private Postgres: its own cluster in a temporary folder on a free port, stopped and removed at the end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

from .waiting import eventually

PASSWORD = "postgres-password-of-the-tests"


def _programs() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    if found is None:
        raise RuntimeError("no Postgres server programs found; integration/run installs them")
    return Path(found).resolve().parent


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """A cluster that belongs to the tests. Postgres refuses to run as root, so root runs it as `postgres`."""

    def __init__(self, durable: bool = False) -> None:
        self.fsync = "on" if durable else "off"
        self.programs = _programs()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="bedgate-postgres-"))
        self.data = self.folder / "data"
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            shutil.chown(password_file, "postgres", "postgres")
        self._run(
            "initdb",
            "--pgdata",
            self.data,
            "--username=bedgate",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--encoding=UTF8",
            "--no-sync",
        )
        self.start()

    def _command(self, program: str, *arguments: object) -> list[str]:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        return [*as_user, str(self.programs / program), *map(str, arguments)]

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(self._command(program, *arguments), capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync={self.fsync} -c max_connections=50"
        self._run(
            "pg_ctl", "start", "--pgdata", self.data, "--log", self.folder / "log", "--options", options, "--wait"
        )
        eventually(lambda: self.query("postgres", "select 1") == "1", 20, "Postgres answers")

    def postmaster(self) -> int:
        """The process that all others of the cluster are children of."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """Stops it at once, as a crash would."""
        self._run("pg_ctl", "stop", "--pgdata", self.data, "--mode=immediate", "--wait")

    def pause(self, paused: bool) -> None:
        """SIGSTOP or SIGCONT for every process of the cluster: connections stay open and nobody answers."""
        postmaster = self.postmaster()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in [postmaster, *map(int, children)]:
            os.kill(pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def new_database(self) -> str:
        """A fresh database, as the URL for DATABASE_URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.query("postgres", f'create database "{name}"')
        return f"postgresql://bedgate:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def query(self, database: str, sql: str) -> str:
        """What psql prints for one statement."""
        name = database.rsplit("/", 1)[-1]
        done = subprocess.run(
            ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bedgate", "-d", name, "-At", "-c", sql],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "5"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def remove(self) -> None:
        """Stops the server, if it runs, and deletes the cluster."""
        try:
            if (self.data / "postmaster.pid").exists():
                self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
