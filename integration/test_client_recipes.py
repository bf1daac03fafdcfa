"""The page docs/clients.md: its recipes are run as they stand there."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.asking import DOCUMENT_CONFIG
from harness.process import MASTER_KEY, REPOSITORY
from harness.signing import generate_pair

PAGE = REPOSITORY / "docs" / "clients.md"
RUST = REPOSITORY / "integration" / "clients-rust" / "src"
ENV = {"BEDGATE_SECRET_KEY": "the-operators-secret-for-secrets-0123456789"}
FENCE = re.compile(r"^```(\w+)(?: ([\w-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """One fenced block of the page."""

    name: str
    language: str
    needs: str | None
    text: str


def recipes() -> list[Recipe]:
    """All of them, each under the name of its section."""
    page = PAGE.read_text()
    found = []
    for number, block in enumerate(FENCE.finditer(page), 1):
        section = [heading.group(1) for heading in HEADING.finditer(page, 0, block.start())][-1]
        found.append(Recipe(f"{number} {section}", *block.groups()))
    return found


RECIPES = recipes()
RUN_HERE = [recipe for recipe in RECIPES if recipe.language in ("bash", "python") and recipe.needs is None]


@pytest.fixture(scope="module")
def gateway(spawn_gateway):
    with spawn_gateway(config=DOCUMENT_CONFIG, env=ENV) as running:
        yield running


@pytest.fixture(scope="module")
def environment(gateway):
    """What the page says is set, and nothing else."""
    key, pair = generate_pair(gateway)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "BEDGATE_URL": gateway.url,
        "BEDGATE_KEY": key,
        "BEDGATE_ACCESS_KEY_ID": pair.access_key_id,
        "BEDGATE_SECRET_ACCESS_KEY": pair.secret_access_key,
        "BEDGATE_MASTER_KEY": MASTER_KEY,
    }


@pytest.mark.parametrize("recipe", RUN_HERE, ids=[recipe.name for recipe in RUN_HERE])
def test_the_recipe_works_as_it_stands_on_the_page(environment, recipe):
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[recipe.language]
    done = subprocess.run([*command, recipe.text], env=environment, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_rust_on_the_page_is_what_the_rust_client_is_built_from():
    on_the_page = [recipe.text for recipe in RECIPES if recipe.language == "rust"]
    assert on_the_page == [(RUST / name).read_text() for name in ("recipe.rs", "talk.rs")]


def test_every_block_of_the_page_is_run_by_some_test():
    here = {("bash", None), ("python", None), ("bash", "claude-code"), ("rust", None)}
    known = here | {(language, "http2") for language in ("bash", "python", "javascript")}
    assert {(recipe.language, recipe.needs) for recipe in RECIPES} <= known
    assert len(RUN_HERE) >= 12


def test_the_page_is_found_from_the_readme():
    assert "docs/clients.md" in (REPOSITORY / "README.md").read_text()
