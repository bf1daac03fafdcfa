"""Whether cost grows with what there is: keys, models, open streams. Each row is to be flat."""

import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import time

from measures import SPARE_FILES, UNARY, command, load, many_connections, warm_up
from targets import RUNNING, Bedgate, Mock

# How many of each; the first is what the others are compared with.
KEYS = (1, 1_000, 100_000)
MODELS = (1, 100, 1_000)
STREAMS = (0, 1_000, 10_000)
# Opens with a frame and says nothing for so long: what is measured meanwhile is not its doing.
SILENT_SECONDS = 90
SILENT = f"mock.stream-1-{SILENT_SECONDS * 1000}"


def with_keys(bedgate: Bedgate, count: int) -> None:
    """Gives it so many keys: copies of the one it has, made while it is down, since making them one by one takes long."""
    bedgate.popen.terminate()
    bedgate.popen.wait(45)
    path = next((bedgate.folder / "data").glob("*.sqlite*"))
    with sqlite3.connect(path) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(keys)")]
        taken = ", ".join({"hash": "lower(hex(randomblob(32)))", "key_alias": "NULL"}.get(name, name) for name in columns)
        database.execute(
            f"WITH RECURSIVE copies(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM copies WHERE n < ?) "
            f"INSERT INTO keys SELECT {taken} FROM (SELECT * FROM keys LIMIT 1) CROSS JOIN copies WHERE ? > 1",
            (count, count),
        )
        found = database.execute("SELECT count(*) FROM keys").fetchone()[0]
    assert found == count, found
    bedgate.start()


def cost(bedgate: Bedgate, size, count: int, figures: dict) -> None:
    """CPU a request, start and memory."""
    warm_up(bedgate)
    runs = [many_connections(bedgate, size)["many.cpu"] for _ in range(size.rounds)]
    figures[count] = (statistics.median(runs), bedgate.start_seconds * 1e3, bedgate.memory_bytes() / (1 << 20))


def by_keys(mock: Mock, models: list[str], size) -> dict:
    """One gateway for each number of keys."""
    figures: dict = {}
    for count in KEYS:
        bedgate = Bedgate(mock, models)
        with_keys(bedgate, count)
        cost(bedgate, size, count, figures)
        bedgate.stop()
    return figures


def by_models(mock: Mock, models: list[str], size) -> dict:
    """One gateway for each number of models; which of them is asked for is the last of the list."""
    figures: dict = {}
    for count in MODELS:
        others = [f"model-{number}-of-many" for number in range(count - 1)]
        random.Random(count).shuffle(others)
        bedgate = Bedgate(mock, [*others, *models])
        cost(bedgate, size, count, figures)
        bedgate.stop()
    return figures


def by_streams(mock: Mock, models: list[str], size) -> dict:
    """Unary requests beside open streams that are silent; fewer streams where the machine allows fewer files."""
    figures: dict = {}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for wanted in STREAMS:
        count = min(wanted, (files - 2 * SPARE_FILES) // 2)
        bedgate = Bedgate(mock, [*models, SILENT])
        warm_up(bedgate)
        asking = None
        if count:
            asking = subprocess.Popen(
                command("slow", bedgate, SILENT, streams=count, opened_per_second=1_000),
                stdout=subprocess.PIPE,
                text=True,
            )
            asking.stdout.readline()
            time.sleep(2)
        try:
            runs = []
            for _ in range(size.rounds):
                # The streams' own events stay open, so nothing is waited for.
                seen = load("unary", bedgate, UNARY, settles=False, connections=64, requests=size.unary)
                runs.append(seen["cpu"] / seen["requests"] * 1e6)
            memory = bedgate.memory_bytes() / (1 << 20)
            figures[count] = (statistics.median(runs), bedgate.start_seconds * 1e3, memory)
        finally:
            if asking:
                asking.kill()
                asking.wait()
            bedgate.stop()
    return figures


def table(title: str, figures: dict) -> list[str]:
    """One line for each number."""
    first = next(iter(figures.values()))[0]
    return [
        f"| {title} {count:,} | {cpu:,.0f} | {cpu / first:.2f} | {start:,.0f} | {memory:,.1f} |"
        for count, (cpu, start, memory) in figures.items()
    ]


def growth(models: list[str], size) -> str:
    """All of it, as Markdown."""
    mock = Mock()
    lines = [
        "| with | CPU a request, µs | against the first | start, ms | memory, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for title, measure in (("keys:", by_keys), ("models:", by_models), ("open streams:", by_streams)):
        lines += table(title, measure(mock, models, size))
        print(f"{title} done", file=sys.stderr)
    for target in reversed(RUNNING[:]):
        target.stop()
    return "\n".join(lines)
