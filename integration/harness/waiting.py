"""Waiting without sleeping blindly: ask again until it is so, or say what was still wrong at the deadline."""

import time
from typing import Callable, TypeVar

T = TypeVar("T")
PAUSE_SECONDS = 0.02


def eventually(attempt: Callable[[], T], within: float = 10.0, what: str = "") -> T:
    """Calls `attempt` until it returns something true without an AssertionError, and returns that."""
    deadline = time.monotonic() + within
    while True:
        last: object
        try:
            value = attempt()
            if value:
                return value
            last = f"got {value!r}"
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what or attempt}: {last}")
        time.sleep(PAUSE_SECONDS)
