"""One function a measure: drives one target once and returns figures by name."""

import json
import resource
import subprocess
import time
from dataclasses import dataclass

from targets import ENDS_CORE, LOAD, Target, pinned

UNARY = "mock.unary"
PACED = "mock.stream-200-10"
UNPACED = "mock.stream-2000-0"
SLOW = {1_000: "mock.stream-3-2500", 10_000: "mock.stream-6-5000"}
MODELS = [UNARY, PACED, UNPACED, *SLOW.values()]
RUN_SECONDS = 240
# Files a target has open besides its connections, at the most.
SPARE_FILES = 200


@dataclass(frozen=True)
class Size:
    """How much is asked."""

    rounds: int
    unary: int
    single: int
    rate: int
    rate_seconds: int
    streams: int
    bodies: int
    large_bodies: int
    slow: tuple[int, ...]


QUICK = Size(2, 10_000, 2_000, 2_000, 2, 32, 200, 12, (1_000,))
FULL = Size(5, 40_000, 8_000, 2_000, 5, 96, 600, 24, (1_000, 10_000))


class Failed(Exception):
    """A load that had errors: its figures mean nothing."""


def command(kind: str, target: Target, model: str, **options: int) -> list[str]:
    """The load client's command line."""
    verb = "converse-stream" if "stream" in model else "converse"
    path = f"{target.prefix}/model/{model}/{verb}"
    given = {"port": target.port, "path": path, "key": target.key, **options}
    return pinned(ENDS_CORE, [LOAD, kind, *(f"{name}={value}" for name, value in given.items())])


def load(kind: str, target: Target, model: str, settles: bool = True, **options: int) -> dict:
    """Runs the load client; adds the target's CPU seconds, what it still had to do afterwards included if it settles."""
    before = target.cpu_seconds()
    done = subprocess.run(
        command(kind, target, model, **options), capture_output=True, text=True, timeout=RUN_SECONDS
    )
    if done.returncode != 0 or not done.stdout:
        raise Failed(f"{target.name} {kind}: {done.stderr[-500:]}")
    at_end = target.cpu_seconds()
    figures = json.loads(done.stdout)
    if figures["errors"]:
        raise Failed(f"{target.name} {kind}: {figures['errors']} errors, {done.stderr[-500:]} {target.errors()}")
    if settles:
        target.settle()
    figures["cpu"] = target.cpu_seconds() - before
    figures["busy"] = (at_end - before) / figures["seconds"]
    return figures


def warm_up(target: Target) -> None:
    """Connections, caches and branch predictors."""
    load("unary", target, UNARY, connections=64, requests=3_000)
    load("streams", target, PACED, connections=4, streams=4)


def one_connection(target: Target, size: Size) -> dict[str, float]:
    """Latency with nobody else there."""
    seen = load("unary", target, UNARY, connections=1, requests=size.single)
    return {
        "one.p50": seen["latency_p50_us"],
        "one.p99": seen["latency_p99_us"],
        "one.cpu": seen["cpu"] / seen["requests"] * 1e6,
    }


def many_connections(target: Target, size: Size) -> dict[str, float]:
    """As much as goes over 64 connections."""
    seen = load("unary", target, UNARY, connections=64, requests=size.unary)
    return {
        "many.rate": seen["requests"] / seen["seconds"],
        "many.busy": seen["busy"] * 100,
        "many.cpu": seen["cpu"] / seen["requests"] * 1e6,
    }


def fixed_rate(target: Target, size: Size) -> dict[str, float]:
    """Latency from when each request was due, at the same load for all."""
    seen = load("rate", target, UNARY, connections=64, rate=size.rate, seconds=size.rate_seconds)
    return {
        "rate.p50": seen["latency_p50_us"],
        "rate.p99": seen["latency_p99_us"],
        "rate.p999": seen["latency_p999_us"],
        "rate.cpu": seen["cpu"] / seen["requests"] * 1e6,
    }


def paced_streams(target: Target, size: Size) -> dict[str, float]:
    """32 streams at once, a frame each 10 ms in each: every frame goes through alone."""
    seen = load("streams", target, PACED, connections=32, streams=size.streams)
    return {
        "paced.cpu": seen["cpu"] / seen["frames"] * 1e6,
        "paced.transit_p50": seen["transit_p50_us"],
        "paced.transit_p99": seen["transit_p99_us"],
        "paced.first_p50": seen["first_byte_p50_us"],
    }


def unpaced_streams(target: Target, size: Size) -> dict[str, float]:
    """Frames back to back: they arrive in heaps."""
    seen = load("streams", target, UNPACED, connections=8, streams=size.streams // 4)
    return {"unpaced.cpu": seen["cpu"] / seen["frames"] * 1e6}


def bodies(target: Target, size: Size) -> dict[str, float]:
    """Request bodies of 1 MiB and 20 MiB."""
    one = load("unary", target, UNARY, connections=4, requests=size.bodies, body=1 << 20)
    twenty = load("unary", target, UNARY, connections=2, requests=size.large_bodies, body=20 << 20)
    return {
        "body1.cpu": one["cpu"] / one["requests"] * 1e6,
        "body20.cpu": twenty["cpu"] / twenty["requests"] * 1e6,
    }


ROUND = [one_connection, many_connections, fixed_rate, paced_streams, unpaced_streams, bodies]


def slow_streams(target: Target, wanted: int) -> dict[str, float]:
    """Resident memory of open streams, each of them; fewer streams where the machine allows fewer files."""
    streams = min(wanted, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES) // 2)
    before = target.memory_bytes()
    asking = subprocess.Popen(
        command("slow", target, SLOW[wanted], streams=streams, opened_per_second=1_000),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        asking.stdout.readline()
        time.sleep(1)
        during = target.memory_bytes()
        out, err = asking.communicate(timeout=RUN_SECONDS)
    finally:
        asking.kill()
        asking.wait()
    figures = json.loads(out)
    target.settle()
    return {
        f"slow{wanted}.count": streams,
        f"slow{wanted}.kib": (during - before) / streams / 1024,
        f"slow{wanted}.errors": figures["errors"],
        f"slow{wanted}.transit_p99": figures["transit_p99_us"],
    }
