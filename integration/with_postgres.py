"""Runs a command with a private Postgres beside it, whose URL it finds in BEDGATE_TEST_POSTGRES_URL.

with_postgres.py [--durable] COMMAND…: a durable one waits for the disk at each commit, as a real one does.
"""

import os
import subprocess
import sys

from harness.postgres import PostgresServer


def main() -> int:
    command = sys.argv[1:]
    durable = command[:1] == ["--durable"]
    server = PostgresServer(durable)
    try:
        environment = {
            **os.environ,
            "BEDGATE_TEST_POSTGRES_URL": server.new_database(),
            "BEDGATE_TEST_POSTGRES_PID": str(server.postmaster()),
        }
        return subprocess.run(command[1:] if durable else command, env=environment).returncode
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
