"""The AWS SDK for JavaScript v3, run by Node in a process of its own."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from .signing import Pair

FOLDER = Path(__file__).resolve().parents[1] / "javascript"


def call(operation: str, **members: object) -> dict:
    """One call: the operation's name as in the SDK's command, and the members of its input."""
    return {"operation": operation, "input": members}


def run_javascript(
    endpoint: str,
    calls: list[dict],
    pair: Pair | None = None,
    bearer: str | None = None,
    http1: bool = False,
    service: str = "bedrock-runtime",
    ca: Path | None = None,
    together: bool = False,
    within: float = 60,
) -> list[dict]:
    """What came of each call: status, output and events, or the error. The credentials stand in the environment."""
    env = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "NODE_NO_WARNINGS": "1"}
    if pair is not None:
        env |= {"AWS_ACCESS_KEY_ID": pair.access_key_id, "AWS_SECRET_ACCESS_KEY": pair.secret_access_key}
    if bearer is not None:
        env["AWS_BEARER_TOKEN_BEDROCK"] = bearer
    if ca is not None:
        env["NODE_EXTRA_CA_CERTS"] = str(ca)
    job = {"endpoint": endpoint, "service": service, "calls": calls, "http1": http1, "together": together}
    node = shutil.which("node")
    assert node and (FOLDER / "node_modules").is_dir(), "integration/run installs Node's packages"
    done = subprocess.run(
        [node, "call.mjs"], input=json.dumps(job), cwd=FOLDER, env=env, capture_output=True, text=True, timeout=within
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text_of_events(result: dict) -> str:
    """The text of a ConverseStream answer."""
    deltas = (entry["event"].get("contentBlockDelta", {}).get("delta", {}) for entry in result["events"])
    return "".join(delta.get("text", "") for delta in deltas)
