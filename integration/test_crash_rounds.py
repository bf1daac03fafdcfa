"""kill -9 at random instants, round after round: what reached AWS is in the ledger, once, and whole answers are exact.

Ten rounds by default; `BEDGATE_CRASH_ROUNDS=100 integration/run -k crash_rounds` for a hundred.
"""

import json
import os
import random
import threading
import time

import pytest

from harness.asking import deployment, model_list
from harness.clients import raw_exchange, raw_post
from harness.spend import nano_usd, outcome, sonnet_cost
from harness.waiting import eventually
from test_crash import usage_of

ROUNDS = int(os.environ.get("BEDGATE_CRASH_ROUNDS", "10"))
CLIENTS = 4
LONGEST_ROUND_SECONDS = 0.8


class MarkedLoad:
    """Clients whose every call carries a name of its own: in the body, where AWS's place sees it, and as its call id."""

    def __init__(self, port: int, key: str, names: "Names"):
        self.whole: dict[str, dict] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(port, key, names)) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _client(self, port: int, key: str, names: "Names") -> None:
        while not self._stop.is_set():
            name = names.next()
            messages = [{"role": "user", "content": [{"text": f"<{name}>"}]}]
            body = json.dumps({"messages": messages, "inferenceConfig": {"maxTokens": 8}}).encode()
            path = f"/bedrock/model/sonnet/{random.choice(('converse', 'converse-stream'))}"
            try:
                answer = raw_exchange(port, raw_post(path, key, body, f"x-litellm-call-id: {name}"), timeout=10)
            except OSError:
                self._stop.wait(0.01)
                continue
            if answer.status == 200 and answer.ended_clean:
                self.whole[name] = usage_of(answer)

    def stop(self) -> dict[str, dict]:
        """No more calls; the usage of every answer that came whole."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.whole


class Names:
    """Names that no two calls share."""

    def __init__(self) -> None:
        self._count, self._lock = 0, threading.Lock()

    def next(self) -> str:
        """Another one."""
        with self._lock:
            self._count += 1
            return f"call-{self._count}"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_invariants_4_and_5_crash_rounds_lose_no_event_and_double_none(spawn_gateway, simulator, capsys, database):
    names, whole, reached = Names(), {}, set()
    with spawn_gateway(config=model_list(deployment("sonnet")), database=database) as running:
        key = running.generate_key()
        for _ in range(ROUNDS):
            with simulator.recording() as upstream:
                load = MarkedLoad(running.port, key, names)
                time.sleep(random.uniform(0.05, LONGEST_ROUND_SECONDS))  # the moment of the kill is the test's input
                running.kill()
                whole.update(load.stop())
                reached |= {name_in(seen.body) for seen in upstream.all() if seen.status == 200}
            running.start()
        rows = eventually(lambda: (found := running.events()) and len(found) >= len(reached) and found, 30, "shipped")
        ledger = [row["request_id"] for row in rows]
        lost = reached - set(ledger)
        doubled = len(ledger) - len(set(ledger))
        by_name = {row["request_id"]: row for row in rows}
        inexact = [name for name, usage in whole.items() if nano_usd(by_name[name]) != sonnet_cost(usage)]
        spent = sum(nano_usd(row) for row in rows)
        eventually(lambda: running.spend_of(key) == spent, 10, "the key's sum is the sum of its events")
        interrupted = sum(outcome(row) == "interrupted" for row in rows)
        with capsys.disabled():
            print(
                f"\n{database}: {ROUNDS} kills, {len(reached)} requests reached AWS, {len(whole)} answers came whole, "
                f"{len(rows)} events ({interrupted} interrupted): {len(lost)} lost, {doubled} doubled, "
                f"{len(inexact)} whole answers inexact"
            )
    assert reached and whole and set(whole) <= reached
    assert (lost, doubled, inexact) == (set(), 0, [])


def name_in(body: bytes) -> str:
    """The name of the call with this body."""
    return body.split(b"<", 1)[1].split(b">", 1)[0].decode()
