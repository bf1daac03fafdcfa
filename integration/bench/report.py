"""The table."""

import statistics

Figures = dict[tuple[str, str], list[float]]

# Name, title, unit, whether "added" is meant (less what the mock alone takes), and the bound on the ratio.
ROWS = [
    ("many.cpu", "CPU a request, 64 connections", "µs", False, 2.0),
    ("rate.cpu", "CPU a request, fixed rate", "µs", False, 2.0),
    ("one.cpu", "CPU a request, one connection", "µs", False, 2.0),
    ("one.p50", "added p50, one connection", "µs", True, 1.5),
    ("one.p99", "added p99, one connection", "µs", True, None),
    ("many.rate", "requests a second, 64 connections", "/s", False, None),
    ("many.busy", "… of its core in use meanwhile", "%", False, None),
    ("rate.p50", "p50 from when due, fixed rate", "µs", False, None),
    ("rate.p99", "p99 from when due, fixed rate", "µs", False, None),
    ("rate.p999", "p99.9 from when due, fixed rate", "µs", False, None),
    ("paced.cpu", "CPU a streamed frame, each alone", "µs", False, 1.3),
    ("unpaced.cpu", "CPU a streamed frame, back to back", "µs", False, None),
    ("paced.transit_p50", "added transit of a frame, p50", "µs", True, 1.5),
    ("paced.transit_p99", "added transit of a frame, p99", "µs", True, None),
    ("paced.first_p50", "added time to first byte, p50", "µs", True, None),
    ("body1.cpu", "CPU a request of 1 MiB", "µs", False, 2.5),
    ("body20.cpu", "CPU a request of 20 MiB", "µs", False, None),
    ("slow1000.count", "slow streams at once: many", "", False, None),
    ("slow1000.kib", "memory a stream, many open", "KiB", False, None),
    ("slow1000.errors", "… errors", "", False, None),
    ("slow10000.count", "slow streams at once: very many", "", False, None),
    ("slow10000.kib", "memory a stream, very many open", "KiB", False, 2.5),
    ("slow10000.errors", "… errors", "", False, None),
    ("idle.mib", "memory when idle", "MiB", False, None),
    ("start.fresh", "cold start, no data yet", "ms", False, None),
    ("start.again", "start with data", "ms", False, None),
]
VARIANTS = [
    ("variant.cpu", "CPU a request, 64 connections", "µs"),
    ("variant.rate", "requests a second, 64 connections", "/s"),
    ("variant.p50", "p50, one connection", "µs"),
    ("ledger.rate", "events a second, from the first request to the last event in the database", "/s"),
]

NOTES = """\
How to read it. `direct` is the mock without anything between; `added` is less that. Medians of the rounds; the ratio is the
median of the rounds' own ratios, since the machine changes more from minute to minute than nginx does against bedgate.
What is measured has core 0 for itself; the load client and the mock share core 1, so throughput at 64 connections is
bounded by the ends where the target's core is not in full use. CPU is user and system time of the target's
whole process tree, journal, shipping and database writes included (SQLite is in the process; Postgres is not, it runs
on core 1), until the last event is shipped. bedgate runs with a virtual key (KEY), signing,
metering, journal and shipping on; the access log is off on both. Its ledger cannot be turned off, so there is no such row.
"""


def text_of(figures: Figures, medians: dict[tuple[str, str], float], about: dict) -> str:
    """The whole report, as Markdown."""
    size = about["size"]
    lines = [
        "# Results of the benchmark",
        "",
        f"`{about['command']}`, {about['date']}, commit {about['commit']}.",
        f"{about['machine']}.",
        f"{size.rounds} rounds; fixed rate: {size.rate} a second; requests of 0.6 KB, answers of 1 KB, frames of 0.2 KB.",
        f"The mock alone, on a core of its own: {medians['mock.rate', 'direct']:,.0f} requests a second.",
        "",
        "| measure | unit | direct | nginx | bedgate | bedgate / nginx | at most |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(line for row in ROWS if (line := main_row(figures, *row))),
        "",
        *variants(medians),
        NOTES.replace("KEY", "a budget and rate limits on it" if about["key_has_limits"] else "without budget and rate limits"),
    ]
    return "\n".join(lines)


def main_row(figures: Figures, name: str, title: str, unit: str, is_added: bool, bound: float | None) -> str | None:
    """One measure, or nothing where it was not taken."""
    values = {target: figures.get((name, target), []) for target in ("direct", "nginx", "bedgate")}
    if not values["bedgate"]:
        return None
    shown = dict(values)
    if is_added:
        for target in ("nginx", "bedgate"):
            shown[target] = [value - base for value, base in zip(values[target], values["direct"])]
    ratios = [ours / theirs for ours, theirs in zip(shown["bedgate"], shown["nginx"]) if theirs > 0]
    ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
    cells = [number(shown[target]) if unit != "%" and not name.endswith(".cpu") or target != "direct" else "" for target in shown]
    return f"| {title} | {unit} | {' | '.join(cells)} | {ratio} | {bound or ''} |"


def variants(medians: dict[tuple[str, str], float]) -> list[str]:
    """bedgate beside itself."""
    names = ["bedgate", "bedgate+postgres", "bedgate+tls"]
    if ("variant.cpu", "bedgate+postgres") not in medians:
        return []
    lines = ["| bedgate with | unit | SQLite | Postgres | SQLite, TLS to AWS |", "|---|---|---:|---:|---:|"]
    for name, title, unit in VARIANTS:
        cells = [number([medians[name, each]] if (name, each) in medians else []) for each in names]
        lines.append(f"| {title} | {unit} | {' | '.join(cells)} |")
    return [*lines, ""]


def number(values: list[float]) -> str:
    """The median, to three digits or so."""
    if not values:
        return ""
    value = statistics.median(values)
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.1f}"
