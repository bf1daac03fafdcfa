"""Fixtures: one simulator and one Postgres for the whole run, gateways by the module or by the test."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(
    AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/nonexistent", AWS_SHARED_CREDENTIALS_FILE="/nonexistent"
)
sys.path.insert(0, str(Path(__file__).parent))

from harness.gateway import MASTER_KEY, run_gateway  # noqa: E402
from harness.postgres import PostgresServer  # noqa: E402
from harness.simulator import Simulator  # noqa: E402


def check_and_stop(running: Simulator) -> None:
    """Invariant 2, over everything the tests sent: no key header, virtual key or hop-by-hop header reached AWS's place."""
    assert running.violations() == 0
    running.kill()


@pytest.fixture(scope="session", autouse=True)
def folders_of_this_run():
    """What processes of the tests write goes at the end: one folder, which Postgres' own user can reach into."""
    with tempfile.TemporaryDirectory(prefix="bedgate-tests-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        tempfile.tempdir = folder
        yield
        tempfile.tempdir = None


@pytest.fixture(scope="session")
def postgres():
    """A Postgres of the tests' own; not the one that the outage tests stop."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def simulator():
    """Answers in AWS's place, at once."""
    running = Simulator()
    yield running
    check_and_stop(running)


@pytest.fixture(scope="session")
def slow_simulator():
    """Answers in AWS's place, 60 ms between two frames of a stream."""
    running = Simulator(pace_ms=60)
    yield running
    check_and_stop(running)


@pytest.fixture(autouse=True)
def no_fault_outlives_its_test(request):
    """Faults are ordered by the test that wants them."""
    yield
    for name in ("simulator", "slow_simulator"):
        if name in request.fixturenames:
            request.getfixturevalue(name).set_faults()


@pytest.fixture(scope="session")
def spawn_gateway(simulator, request):
    """Starts a gateway on a free port: `with spawn_gateway(config=…, env=…, database="sqlite"|"postgres") as gateway`."""

    @contextlib.contextmanager
    def spawn(
        config=None, env=None, database="sqlite", upstream=None, data_dir=None, master_key=MASTER_KEY, arguments=()
    ):
        given = (upstream or simulator).environment() | (env or {})
        if database == "postgres":
            given["DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
        with run_gateway(config or {}, given, data_dir, arguments, master_key) as gateway:
            yield gateway

    return spawn
