"""Compares how many instructions the pure parts take with a stored baseline, whatever else the machine does.

guard.py          compares; exit code 1 where a part takes more than the tolerance
guard.py --renew  writes the baseline anew: commit it together with the change that moved it
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "instructions.tsv"
# Of `ITERATIONS` in instructions.rs.
ITERATIONS = 100
# Percent. Hash seeds and random ids move a count by less than 1; another patch release of the compiler by more.
TOLERANCE = 5.0
# Percent, where the compiler is not the baseline's: a count still shows what became much slower.
TOLERANCE_OF_ANOTHER_COMPILER = 25.0
# The profile of the tests, so that their dependencies are used as they are; only bedgate itself is optimised.
BUILD = [
    "cargo", "bench", "--locked", "--profile", "dev", "--bench", "instructions", "--no-run",
    "--config", "profile.dev.package.bedgate.opt-level=1",
    "--config", "profile.dev.package.bedgate.debug=false",
    "--config", "profile.dev.package.bedgate.codegen-units=16",
    "--message-format", "json-render-diagnostics",
]  # fmt: skip


def compiler() -> str:
    """The compiler's version; counts of two versions differ."""
    text = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout
    return text.split()[1]


def build() -> str:
    """The program that repeats one part."""
    # Incremental compilation cuts the crate into other pieces from time to time, and inlines within pieces.
    environment = {**os.environ, "CARGO_INCREMENTAL": "0"}
    built = subprocess.run(BUILD, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, env=environment)
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    programs = [message["executable"] for message in messages if message.get("executable")]
    return next(program for program in programs if "/instructions-" in program)


def count(program: str, name: str) -> int:
    """Instructions of one repetition of a part."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += ["--collect-atstart=no", "--toggle-collect=*iterations_that_count*", program, name]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": folder})
    found = re.search(r"Collected : (\d+)", ran.stderr)
    if ran.returncode != 0 or found is None or found[1] == "0":
        sys.exit(f"{name} cannot be counted:\n{ran.stdout}{ran.stderr}")
    return int(found[1]) // ITERATIONS


def counts() -> dict[str, int]:
    """Instructions by part."""
    program = build()
    names = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    with ThreadPoolExecutor(os.cpu_count()) as at_once:
        return dict(zip(names, at_once.map(lambda name: count(program, name), names)))


def read_baseline() -> tuple[str, dict[str, int]]:
    """The compiler of the baseline, and its counts."""
    lines = [line.split("\t") for line in BASELINE.read_text().splitlines() if not line.startswith("#")]
    kept = dict(lines)
    return kept.pop("rustc"), {name: int(number) for name, number in kept.items()}


def renew(found: dict[str, int]) -> None:
    """Writes the baseline."""
    head = "# Instructions of one repetition of each part. Written by `benches/guard --renew`.\n"
    rows = [f"rustc\t{compiler()}", *(f"{name}\t{number}" for name, number in found.items())]
    BASELINE.write_text(head + "\n".join(rows) + "\n")
    print(f"{BASELINE.relative_to(HERE.parent)} is renewed: look at its diff, and commit it with what moved it")


def compare(found: dict[str, int]) -> int:
    """Prints a table; the exit code."""
    kept_compiler, kept = read_baseline()
    tolerance = TOLERANCE
    if compiler() != kept_compiler:
        tolerance = TOLERANCE_OF_ANOTHER_COMPILER
        print(f"the baseline is of rustc {kept_compiler}, this is {compiler()}: {tolerance:g} % are tolerated")
    worse, better, other = [], [], sorted(found.keys() ^ kept.keys())
    print(f"{'instructions of':26}{'baseline':>12}{'now':>12}{'change':>9}")
    for name in [name for name in found if name in kept]:
        change = (found[name] / kept[name] - 1) * 100
        print(f"{name:26}{kept[name]:12,}{found[name]:12,}{change:+8.1f}%")
        (worse if change > tolerance else better if change < -tolerance else []).append(name)
    if worse or other:
        print(f"more than {tolerance:g} % slower: {', '.join(worse) or 'none'}; not in both: {', '.join(other) or 'none'}")
        print("If that is meant: benches/guard --renew, and say in the commit why. If not: it is a regression.")
        return 1
    if better:
        print(f"more than {tolerance:g} % faster: {', '.join(better)}. benches/guard --renew keeps that.")
    print(f"no part takes more than {tolerance:g} % more instructions than the baseline")
    return 0


def main() -> int:
    """The command."""
    found = counts()
    if sys.argv[1:] == ["--renew"]:
        renew(found)
        return 0
    return compare(found)


if __name__ == "__main__":
    sys.exit(main())
