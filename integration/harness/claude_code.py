"""Claude Code against a gateway and a simulator of its own, all on a network without a way out; what came of it as JSON.

`python claude_code.py < {"recipe": …, "program": …, "models": […]}`, inside of `sandbox.run_alone`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.asking import deployment, model_list  # noqa: E402
from harness.gateway import run_gateway  # noqa: E402
from harness.process import REPOSITORY  # noqa: E402
from harness.signing import generate_pair  # noqa: E402
from harness.simulator import Simulator, fault  # noqa: E402
from harness.waiting import eventually  # noqa: E402

PACKAGE = REPOSITORY / "integration" / "claude-code"
SECONDS = 70
QUIET = {
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
}


def install() -> Path:
    """The folder that holds the program `claude`, from the package's lock; no script of any package is run."""
    modules = PACKAGE / "node_modules"
    wanted, installed = PACKAGE / "package-lock.json", modules / ".bedgate-installed"
    if not installed.exists() or installed.read_bytes() != wanted.read_bytes():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True, timeout=600)
        installed.write_bytes(wanted.read_bytes())
    [program] = modules.glob("@anthropic-ai/claude-code-linux-*/claude")
    return program.parent


def run(order: dict) -> dict:
    """One run of a recipe: its result, what reached AWS's place, and the rows of spend."""
    simulator, home = Simulator(), tempfile.mkdtemp(prefix="bedgate-claude-")
    env = simulator.environment(BEDGATE_SECRET_KEY="the-operators-secret-for-secrets-0123456789")
    config = model_list(deployment("my-claude-model"), deployment("other"))
    with run_gateway(config, env) as gateway:
        key, pair = generate_pair(gateway, models=order["models"])
        if order["fault"]:
            simulator.set_faults(fault(order["fault"]))
        given = {
            "PATH": f"{order['program']}:/usr/bin:/bin",
            "HOME": home,
            "BEDGATE_URL": gateway.url,
            "BEDGATE_KEY": key,
            "BEDGATE_ACCESS_KEY_ID": pair.access_key_id,
            "BEDGATE_SECRET_ACCESS_KEY": pair.secret_access_key,
            **QUIET,
        }
        done = subprocess.run(
            ["bash", "-euc", order["recipe"]],
            env=given,
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        seen = [f"{one.method} {one.path} {one.status}" for one in simulator.requests()]
        rows = eventually(lambda: [gateway.events(api_key=key)] if len(gateway.events(api_key=key)) >= len(seen) else [])
        lines = [line.split("access] ", 1)[1] for line in gateway.errors().splitlines() if "access] " in line]
    violations = simulator.violations()
    simulator.kill()
    return {
        "code": done.returncode,
        "output": done.stdout,
        "errors": done.stderr,
        "upstream": seen,
        "rows": rows[0],
        "access": lines,
        "violations": violations,
    }


if __name__ == "__main__":
    json.dump(run(json.loads(os.environ["BEDGATE_ORDER"])), sys.stdout)
