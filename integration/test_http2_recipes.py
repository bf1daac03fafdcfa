"""The sections of docs/clients.md that need HTTP/2 or TLS: their recipes are run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.asking import DOCUMENT_CONFIG
from harness.certificates import Authority
from harness.javascript import FOLDER
from harness.process import REPOSITORY
from harness.signing import generate_pair

PAGE = (REPOSITORY / "docs" / "clients.md").read_text()
RECIPES = re.findall(r"^```(\w+) http2\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = {
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "-e"],
}


@pytest.fixture(scope="module")
def environment(spawn_gateway):
    """What the page says is set, and nothing else."""
    authority = Authority()
    issued = authority.issue("gateway")
    env = {
        "BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789",
        "BEDGATE_TLS_CERT": str(issued.certificate),
        "BEDGATE_TLS_KEY": str(issued.key),
        "BEDGATE_TLS_PORT": "0",
    }
    with spawn_gateway(config=DOCUMENT_CONFIG, env=env) as gateway:
        key, pair = generate_pair(gateway)
        yield {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
            "BEDGATE_URL": gateway.url,
            "BEDGATE_TLS_URL": gateway.tls_url,
            "BEDGATE_CA": str(authority.root),
            "NODE_EXTRA_CA_CERTS": str(authority.root),
            "BEDGATE_KEY": key,
            "BEDGATE_ACCESS_KEY_ID": pair.access_key_id,
            "BEDGATE_SECRET_ACCESS_KEY": pair.secret_access_key,
        }
    shutil.rmtree(authority.folder)


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_the_recipe_works_as_it_stands_on_the_page(environment, number):
    language, text = RECIPES[number]
    command = [*COMMANDS[language], text]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_recipes_were_found():
    assert sorted(language for language, _ in RECIPES) == [
        *["bash"] * 2,
        *["javascript"] * 4,
        "python",
    ]
