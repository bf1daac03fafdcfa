"""Runs the benchmark: targets in turn, round after round, and one table at the end."""

import argparse
import contextlib
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime, timezone

from growth import growth
from measures import FULL, MODELS, QUICK, ROUND, Failed, Size, many_connections, one_connection, slow_streams, warm_up
from report import text_of
from targets import ENDS_CORE, HERE, REPOSITORY, RUNNING, TARGET_CORE, Bedgate, Mock, Nginx, Target

sys.path.insert(0, str(HERE.parent))
from harness.postgres import PostgresServer  # noqa: E402

# Figures by measure and target: one for each round.
Figures = dict[tuple[str, str], list[float]]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a first look, under two minutes")
    parser.add_argument("--write", action="store_true", help="write the table to RESULTS.md")
    parser.add_argument("--only", default="", help="measures whose name contains this, such as unpaced")
    parser.add_argument("--growth", action="store_true", help="only whether cost grows with keys, models and open streams")
    parser.add_argument("--profile-guided", action="store_true", help="with a binary built for this load (see run)")
    parser.add_argument("--rounds", type=int, default=0, help="instead of 2 (quick) or 5")
    return parser.parse_args()


def note(figures: Figures, target: str, found: dict[str, float]) -> None:
    """Keeps what one run found."""
    for name, value in found.items():
        figures[name, target].append(value)


def rounds(figures: Figures, targets: list[Target], size: Size, wanted: list) -> None:
    """Each measure on each target in turn, the order turned round every time, so that a slow minute of the machine
    meets all of them."""
    for number in range(size.rounds):
        for measure in wanted:
            for target in targets if number % 2 == 0 else reversed(targets):
                note(figures, target.name, measure(target, size))
        print(f"round {number + 1} of {size.rounds} done", file=sys.stderr)


def starting(figures: Figures, nginx: Nginx, bedgate: Bedgate) -> None:
    """Start with and without data, and memory before any request."""
    note(figures, "bedgate", {"start.fresh": bedgate.start_seconds * 1e3})
    note(figures, "nginx", {"start.fresh": nginx.start_seconds * 1e3})
    time.sleep(1)
    for target in (nginx, bedgate):
        note(figures, target.name, {"idle.mib": target.memory_bytes() / (1 << 20)})
    for _ in range(3):
        bedgate.restart()
        note(figures, "bedgate", {"start.again": bedgate.start_seconds * 1e3})


def ledger_speed(figures: Figures, bedgate: Bedgate, size: Size) -> None:
    """Events a second into the database, from the first request to the last event shipped."""
    bedgate.settle()
    started = time.monotonic()
    seen = many_connections(bedgate, size)
    note(figures, bedgate.name, {"ledger.rate": size.unary / (time.monotonic() - started)})
    note(figures, bedgate.name, {"variant.rate": seen["many.rate"], "variant.cpu": seen["many.cpu"]})


def variant(figures: Figures, bedgate: Bedgate, size: Size) -> None:
    """A bedgate set up otherwise: its unary figures and its ledger's."""
    warm_up(bedgate)
    for _ in range(size.rounds):
        ledger_speed(figures, bedgate, size)
        seen = one_connection(bedgate, size)
        note(figures, bedgate.name, {"variant.p50": seen["one.p50"]})


def machine() -> str:
    """What this ran on."""
    cpu = subprocess.run(["lscpu"], capture_output=True, text=True).stdout
    model = next((line.split(":", 1)[1].strip() for line in cpu.splitlines() if line.startswith("Model name")), "?")
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().rsplit("/", 1)[-1]
    load = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, nginx {nginx}, {load}"


def commit() -> str:
    """The commit, and whether anything was changed since."""
    git = ["git", "-C", str(REPOSITORY)]
    name = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock", "migrations"],
        capture_output=True,
        text=True,
    ).stdout
    return f"{name}{' and uncommitted changes' if changed else ''}"


def main() -> None:
    """Everything, and whatever happens, everything is stopped."""
    options = arguments()
    if os.cpu_count() < 2:
        sys.exit("two cores are needed: one for what is measured, one for both ends of it")
    size = QUICK if options.quick else FULL
    if options.rounds:
        size = Size(**{**vars(size), "rounds": options.rounds})
    about = {"machine": machine(), "commit": commit(), "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}
    about["command"] = " ".join(["integration/bench/run", *sys.argv[1:]])
    os.sched_setaffinity(0, {ENDS_CORE})
    figures: Figures = defaultdict(list)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.growth:
            print(growth(MODELS, size))
            return
        measure_all(figures, size, options)
    except Failed as failure:
        sys.exit(f"no figures: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for target in reversed(RUNNING[:]):
            target.stop()
    medians = {place: statistics.median(values) for place, values in figures.items()}
    about["size"], about["key_has_limits"] = size, Bedgate.key_has_limits
    text = text_of(figures, medians, about)
    print(text)
    if options.write:
        (HERE / "RESULTS.md").write_text(text)


def measure_all(figures: Figures, size: Size, options: argparse.Namespace) -> None:
    """The whole run."""
    wanted = [measure for measure in ROUND if options.only in measure.__name__]
    mock_alone = Mock(core=TARGET_CORE)
    note(figures, "direct", {"mock.rate": many_connections(mock_alone, size)["many.rate"]})
    mock_alone.stop()
    mock = Mock()
    nginx, bedgate = Nginx(mock), Bedgate(mock, MODELS)
    starting(figures, nginx, bedgate)
    targets = [mock, nginx, bedgate]
    for target in targets:
        warm_up(target)
    rounds(figures, targets, size, wanted)
    if options.only:
        return
    ledger_speed(figures, bedgate, size)
    for streams in size.slow:
        for kind in (Nginx, Bedgate):
            # Fresh ones, so that memory freed by earlier loads hides nothing.
            target = kind(mock) if kind is Nginx else kind(mock, MODELS)
            warm_up(target)
            note(figures, target.name, slow_streams(target, streams))
            target.stop()
    bedgate.stop()
    with postgres_server() as postgres:
        bedgate = Bedgate(mock, MODELS, name="bedgate+postgres", database=postgres.new_database())
        variant(figures, bedgate, size)
        bedgate.stop()
    with_tls = Mock(tls=True)
    variant(figures, Bedgate(with_tls, MODELS, name="bedgate+tls", tls=True), size)


@contextlib.contextmanager
def postgres_server():
    """A Postgres of its own."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


main()
