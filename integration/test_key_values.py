"""A key whose value changes, and whose spend is set anew: what it spent stays its own, on one gateway and on two."""

import hashlib
import json
import sqlite3
import threading

import pytest

from harness.asking import CONVERSE
from harness.clients import raw_exchange, raw_post
from harness.gateway import MASTER_KEY
from harness.priced import CONFIG, gateway, two_gateways  # noqa: F401
from harness.spend import nano_usd
from harness.waiting import eventually

# Answered after a second and a half, at 0.2 dollars.
SLOW = CONVERSE.replace(b'"Hello', b'"simulate.stall-before-head.1500 simulate.usage.100000.1000 Hello')
SLOW_COST = 200_000_000


def ask(gateway, key, body=CONVERSE):
    return raw_exchange(gateway.port, raw_post("/bedrock/model/priced/converse", key, body))


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def regenerate(gateway, key, **fields) -> str:
    answer = gateway.call("POST", "/key/regenerate", {"key": key, **fields})
    assert answer.status == 200, answer.body
    new = answer.json()["key"]
    gateway.secrets.add(new)
    return new


def spent(gateway, key) -> int:
    """What one cheap call cost, once it is shipped."""
    answer = ask(gateway, key)
    assert answer.status == 200, answer.body
    return nano_usd(gateway.event(answer.headers["x-litellm-call-id"]))


class InFlight:
    """A slow request that has gone to AWS when this was made."""

    def __init__(self, gateway, key):
        self.answers = []
        self.thread = threading.Thread(target=lambda: self.answers.append(ask(gateway, key, SLOW)))
        before = in_flight(gateway)
        self.thread.start()
        eventually(lambda: in_flight(gateway) > before, 10, "in flight")

    def cost(self, gateway) -> int:
        """Waits for its end and says what it cost."""
        self.thread.join()
        assert self.answers[0].status == 200, self.answers[0].body
        return nano_usd(gateway.event(self.answers[0].headers["x-litellm-call-id"]))


def in_flight(gateway) -> int:
    lines = gateway.metrics().splitlines()
    return int(next(line.split()[-1] for line in lines if line.startswith("bedgate_requests_in_flight")))


@pytest.mark.parametrize("gateways", [1, 2])
def test_what_is_in_flight_or_unshipped_when_a_key_is_regenerated_counts_for_its_new_value(two_gateways, gateways):
    one, two = two_gateways[0], two_gateways[gateways - 1]
    key = one.generate_key(max_budget=0.1, model_max_budget={"priced": {"budget_limit": 0.1}})
    eventually(lambda: ask(two, key).status == 200, 2, "known")
    slow = InFlight(two, key)
    # Not shipped, perhaps, when the key is changed.
    assert ask(two, key).status == 200
    new = regenerate(one, key)
    assert slow.cost(two) == SLOW_COST
    eventually(lambda: spend_of(one, new) > SLOW_COST, 5, "counted")
    assert spend_of(one, new) == sum(nano_usd(row) for row in one.events(api_key=new))
    for gateway in two_gateways:
        eventually(lambda: ask(gateway, new).status == 400, 2, "refused")


def spend_of(gateway, key) -> int:
    return gateway.spend_of(key)


def test_a_key_that_gets_its_first_value_back_counts_nothing_twice_on_any_gateway(two_gateways):
    one, two = two_gateways
    cost = spent(one, one.generate_key())
    first, second = "sk-the-first-value-0001", "sk-the-second-value-0002"
    # A budget with room for three calls.
    one.generate_key(key=first, max_budget=2.5 * cost / 1e9)
    assert spent(one, first) == cost
    regenerate(one, first, new_key=second)
    eventually(lambda: ask(two, second).status == 200, 2, "known")
    regenerate(two, second, new_key=first)
    eventually(lambda: spend_of(one, first) == 2 * cost, 5, "both calls counted once")
    eventually(lambda: ask(two, first).status == 200, 2, "there is room for the third")
    for gateway in two_gateways:
        eventually(lambda: ask(gateway, first).status == 400, 3, "used up")
    eventually(lambda: spend_of(one, first) >= 3 * cost, 5, "shipped")
    for gateway in two_gateways:
        assert spend_of(gateway, first) == sum(nano_usd(row) for row in gateway.events(api_key=first))


def test_a_regenerated_key_shows_and_keeps_what_it_spent_in_the_window_of_its_budget(gateway):
    key = gateway.generate_key(max_budget=1, budget_duration="1d")
    cost = spent(gateway, key)
    new = regenerate(gateway, regenerate(gateway, key))
    assert spend_of(gateway, new) == cost
    assert spent(gateway, new) == cost and spend_of(gateway, new) == 2 * cost
    assert reset(gateway, new, {"reset_to": cost / 1e9}).status == 200
    newest = regenerate(gateway, new)
    assert spend_of(gateway, newest) == cost
    assert spent(gateway, newest) == cost and spend_of(gateway, newest) == 2 * cost


def test_a_regenerated_keys_new_value_is_shown_though_the_database_fails_afterwards(spawn_gateway):
    with spawn_gateway(config=CONFIG, database="sqlite") as gateway:
        key = gateway.generate_key()
        (file,) = gateway.data_dir.glob("*.sqlite")
        with sqlite3.connect(file, timeout=10) as database:
            # The new row cannot be read; what was handed to the statement was in order.
            database.execute(
                "CREATE TRIGGER unreadable AFTER INSERT ON keys BEGIN UPDATE keys SET models = '?' WHERE hash = NEW.hash; END"
            )
        new = regenerate(gateway, key)
        with sqlite3.connect(file, timeout=10) as database:
            database.execute("DROP TRIGGER unreadable")
            database.execute("UPDATE keys SET models = '[]'")
        database.close()
        assert ask(gateway, new).status == 200


@pytest.mark.parametrize("named", [False, True])
def test_a_regenerated_key_keeps_what_it_spent_of_its_budgets_of_models(gateway, named):
    limits = {"model_max_budget": {"priced": {"budget_limit": 0.0000001, "time_period": "1d"}}}
    if named:
        limits = {"budget_id": gateway.call("POST", "/budget/new", limits).json()["budget_id"]}
    key = gateway.generate_key(**limits)
    assert ask(gateway, key).status == 200
    new = regenerate(gateway, key)
    assert ask(gateway, new).status == 400
    assert ask(gateway, regenerate(gateway, new)).status == 400


def test_a_request_under_the_old_value_holds_its_place_among_those_of_the_new_one(gateway):
    key = gateway.generate_key(max_parallel_requests=1)
    slow = InFlight(gateway, key)
    new = regenerate(gateway, key)
    assert ask(gateway, new).status == 429
    slow.cost(gateway)
    assert ask(gateway, new).status == 200


def test_an_account_is_found_by_any_of_its_values_and_listed_once_under_its_current_one(gateway):
    key = gateway.generate_key(key_alias=f"account {gateway.port}")
    cost = spent(gateway, key)
    new = regenerate(gateway, key)
    spent(gateway, new)

    def listed(path: str) -> list[dict]:
        rows = gateway.call("GET", path).json()
        return [row for row in rows if row["key_alias"] == f"account {gateway.port}"]

    for _ in ["living", "deleted"]:
        for name in [key, new, sha256(key), sha256(new)]:
            rows = gateway.events(api_key=name)
            assert [(row["api_key"], nano_usd(row)) for row in rows] == [(sha256(new), cost)] * 2, name
            days = gateway.call("GET", f"/global/spend/logs?api_key={name}").json()
            assert [(row["api_key"], nano_usd(row)) for row in days] == [(sha256(new), 2 * cost)], name
        (row,) = listed("/spend/keys")
        assert (row["token"], row["key_name"]) == (sha256(new), f"sk-...{new[-4:]}") and nano_usd(row) == 2 * cost
        (row,) = listed("/global/spend/keys")
        assert row["api_key"] == sha256(new) and round(row["total_spend"] * 1e9) == 2 * cost
        day = rows[0]["startTime"][:10]
        by_day = gateway.call("GET", f"/spend/logs?start_date={day}&end_date={day}").json()
        assert round(by_day[0][sha256(new)] * 1e9) == 2 * cost
        gateway.call("POST", "/key/delete", {"keys": [new]})


def test_a_virtual_key_sees_what_it_spent_under_earlier_values(gateway):
    key = gateway.generate_key()
    cost = spent(gateway, key)
    new = regenerate(gateway, key)
    for asked in ["", f"?api_key={new}", f"?api_key={key}", f"?api_key={sha256(key)}"]:
        rows = gateway.call("GET", f"/spend/logs{asked}", key=new).json()
        assert [(row["api_key"], nano_usd(row)) for row in rows] == [(sha256(new), cost)], asked
    assert gateway.call("GET", "/spend/logs?api_key=sk-nobodys-0001", key=new).status == 403
    other = gateway.generate_key()
    assert gateway.call("GET", f"/spend/logs?api_key={new}", key=other).status == 403


def test_a_key_made_with_a_deleted_ones_value_inherits_no_spend(gateway):
    value = f"sk-made-again-{gateway.port:08}"
    for _ in range(2):
        gateway.generate_key(key=value, max_budget=0.0000001)
        assert spend_of(gateway, value) == 0
        assert ask(gateway, value).status == 200
        assert ask(gateway, value).status == 400
        eventually(lambda: spend_of(gateway, value) > 0, 5, "shipped")
        assert len(gateway.events(api_key=value)) == 1
        gateway.call("POST", "/key/delete", {"keys": [value]})


def test_keys_that_had_the_same_value_one_after_the_other_are_one_row_of_sums(gateway):
    value = f"sk-one-row-{gateway.port:08}"
    total = 0
    for alias in ["first", "second", "third"]:
        gateway.generate_key(key=value, key_alias=f"{alias} {gateway.port}")
        total += spent(gateway, value)
        for path, name, spend in [("/spend/keys", "token", "spend"), ("/global/spend/keys", "api_key", "total_spend")]:
            rows = [row for row in gateway.call("GET", path).json() if row[name] == sha256(value)]
            assert [(row["key_alias"], round(row[spend] * 1e9)) for row in rows] == [(f"{alias} {gateway.port}", total)]
        if alias != "third":
            gateway.call("POST", "/key/delete", {"keys": [value]})
    everybody = gateway.call("GET", "/spend/keys").json()
    assert [row["spend"] for row in everybody] == sorted((row["spend"] for row in everybody), reverse=True)
    most = gateway.call("GET", "/spend/keys?limit=1")
    assert (most.json(), most.headers["x-has-more"]) == (everybody[:1], "true")


def reset(gateway, key, body: dict):
    return gateway.call("POST", f"/key/{key}/reset_spend", body)


def test_a_reset_cuts_by_the_start_of_requests_for_the_budget_and_where_spend_is_shown(gateway):
    key = gateway.generate_key(max_budget=1)
    cost = spent(gateway, key)
    slow = InFlight(gateway, key)
    answer = reset(gateway, key, {"reset_to": cost / 1e9})
    assert answer.status == 200, answer.body
    assert (nano_usd(answer.json()), answer.json()["previous_spend"]) == (cost, cost / 1e9)
    assert slow.cost(gateway) == SLOW_COST
    assert spend_of(gateway, key) == cost
    assert spent(gateway, key) == cost and spend_of(gateway, key) == 2 * cost
    gateway.call("POST", "/key/update", {"key": key, "max_budget": 2.5 * cost / 1e9})
    assert ask(gateway, key).status == 200
    assert ask(gateway, key).status == 400


def test_a_reset_says_what_it_lacks_and_sets_no_more_than_was_spent(gateway):
    key = gateway.generate_key()
    cost = spent(gateway, key)
    for body in [{}, {"reset_to": None}, {"reset_to": -1}, {"reset_to": "x"}]:
        answer = reset(gateway, key, body)
        assert answer.status == 422 and answer.json()["detail"][0]["loc"] == ["body", "reset_to"], answer.body
    answer = reset(gateway, key, {"reset_to": 5})
    assert answer.status == 400 and answer.json()["error"]["param"] == "reset_to", answer.body
    assert f"reset_to (5.0) must be <= current spend ({cost / 1e9!r})" == answer.json()["error"]["message"]
    assert spend_of(gateway, key) == cost
    for path in ["/key/update", "/key/regenerate"]:
        answer = gateway.call("POST", path, {"key": key, "spend": 0})
        assert answer.status == 400 and "/key/{key}/reset_spend" in answer.json()["error"]["message"], answer.body
        assert answer.json()["error"]["param"] == "spend"
    assert reset(gateway, key, {"reset_to": cost / 2e9}).status == 200
    assert spend_of(gateway, key) == cost / 2


def test_a_reset_of_a_budget_that_starts_anew_sets_no_more_than_its_window_holds(gateway):
    key = gateway.generate_key(max_budget=1, budget_duration="1d")
    spent(gateway, key)
    assert reset(gateway, key, {"reset_to": 0}).status == 200
    assert reset(gateway, key, {"reset_to": 0.5}).status == 400


def test_a_key_is_regenerated_with_what_an_update_takes(gateway):
    key = gateway.generate_key(models=["other"], key_alias=f"old {gateway.port}", duration="1s")
    eventually(lambda: b"expired" in ask(gateway, key).body, 5, "expired")
    changes = {
        "models": ["priced"],
        "metadata": {"x": 1},
        "tags": ["blue"],
        "key_alias": f"new {gateway.port}",
        "rpm_limit": 7,
        "blocked": False,
        "duration": "1h",
    }
    answer = gateway.call("POST", "/key/regenerate", {"key": key, **changes})
    assert answer.status == 200, answer.body
    shown, new = answer.json(), answer.json()["key"]
    gateway.secrets.add(new)
    assert {name: shown[name] for name in changes} == {**changes, "metadata": {"x": 1, "tags": ["blue"]}}
    assert ask(gateway, new).status == 200
    # As LiteLLM's pages send it: what is empty asks for nothing.
    new = regenerate(gateway, new, duration="", grace_period="")
    info = gateway.call("GET", f"/key/info?key={new}").json()["info"]
    assert (info["models"], info["key_alias"], info["expires"]) == (
        ["priced"],
        f"new {gateway.port}",
        shown["expires"],
    )


@pytest.mark.parametrize(
    "fields, param, reason",
    [
        ({"grace_period": "1h"}, "grace_period", "there is no grace_period"),
        ({"aws_credentials": True}, "aws_credentials", "/key/aws_credentials"),
        ({"guardrails": ["x"]}, "guardrails", "does not enforce"),
        ({"budget_id": "nobody's"}, "budget_id", "nobody's"),
        ({"key_alias": "taken"}, "key_alias", "already exists"),
        ({"new_key": MASTER_KEY}, "key", "this is the master key"),
    ],
)
def test_what_regenerate_does_not_take_is_refused_and_nothing_changes(gateway, fields, param, reason):
    if "key_alias" in fields:
        gateway.call("POST", "/key/generate", {"key_alias": "taken"})
    key = gateway.generate_key()
    answer = gateway.call("POST", "/key/regenerate", {"key": key, "models": ["other"], **fields})
    assert answer.status == 400, answer.body
    assert answer.json()["error"]["param"] == param and reason in answer.json()["error"]["message"], answer.body
    assert MASTER_KEY not in answer.body.decode()
    assert ask(gateway, key).status == 200


def test_no_key_has_the_master_keys_value(gateway):
    answer = gateway.call("POST", "/key/generate", {"key": MASTER_KEY})
    assert answer.status == 400 and "this is the master key" in json.loads(answer.body)["error"]["message"]
    assert MASTER_KEY not in answer.body.decode()
