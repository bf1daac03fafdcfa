"""Runs a command with a private Postgres beside it, whose URL it finds in BEDGATE_TEST_POSTGRES_URL."""

import os
import subprocess
import sys

from harness.postgres import PostgresServer


def main() -> int:
    server = PostgresServer()
    try:
        environment = {**os.environ, "BEDGATE_TEST_POSTGRES_URL": server.new_database()}
        return subprocess.run(sys.argv[1:], env=environment).returncode
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
