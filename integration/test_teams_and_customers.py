"""What keys, teams, customers and budgets show of what was spent, and start with, through the front door."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.asking import CONVERSE
from harness.clients import raw_exchange, raw_post
from harness.priced import gateway, two_gateways  # noqa: F401
from harness.waiting import eventually


def ask(gateway, key, *headers):
    return raw_exchange(gateway.port, raw_post("/bedrock/model/priced/converse", key, CONVERSE, *headers)).status


def post(gateway, path, **fields):
    answer = gateway.call("POST", path, fields)
    assert answer.status == 200, answer.body
    return answer.json()


def info(gateway, key):
    return gateway.call("GET", f"/key/info?key={key}").json()["info"]


def team_info(gateway, team):
    return gateway.call("GET", f"/team/info?team_id={team}").json()["team_info"]


def customer_info(gateway, customer):
    return gateway.call("GET", f"/customer/info?end_user_id={customer}").json()


@pytest.mark.parametrize("duration", [None, "1d", "30d", "named"])
def test_a_key_that_has_spent_before_is_held_to_it_in_the_window_that_is_open(gateway, duration):
    fields = {"max_budget": 1, "budget_duration": duration}
    if duration == "named":
        budget = f"monthly-{time.time_ns()}"
        post(gateway, "/budget/new", budget_id=budget, max_budget=1, budget_duration="30d")
        fields = {"budget_id": budget}
    over, under = gateway.generate_key(spend=5, **fields), gateway.generate_key(spend=0.5, **fields)
    assert [ask(gateway, over), ask(gateway, under)] == [400, 200]
    assert info(gateway, over)["spend"] == info(gateway, over)["total_spend"] == 5


def test_a_team_made_again_has_spent_nothing(gateway):
    team = f"team-{time.time_ns()}"

    def make():
        post(gateway, "/team/new", team_id=team, max_budget=0.0000001)
        return gateway.generate_key(team_id=team)

    key = make()
    assert ask(gateway, key) == 200
    eventually(lambda: team_info(gateway, team)["spend"] > 0, 5, "shipped")
    assert ask(gateway, key) == 400
    post(gateway, "/team/delete", team_ids=[team])
    key = make()
    shown = team_info(gateway, team)
    assert shown["spend"] == 0 and shown["total_spend"] > 0, shown
    assert [ask(gateway, key), ask(gateway, key)] == [200, 400]
    # What LiteLLM has no path for: spend set anew.
    assert post(gateway, "/team/update", team_id=team, spend=0)["data"]["spend"] == 0
    assert [ask(gateway, key), ask(gateway, key)] == [200, 400]


def test_a_team_that_was_a_label_before_has_spent_nothing(gateway):
    team = f"label-{time.time_ns()}"
    key = gateway.generate_key(team_id=team)
    assert ask(gateway, key) == 200
    eventually(lambda: gateway.spend_of(key) > 0, 5, "shipped")
    made = post(gateway, "/team/new", team_id=team, max_budget=0.0000001)
    assert made["spend"] == 0 and made["total_spend"] > 0
    assert [ask(gateway, key), ask(gateway, key)] == [200, 400]


def test_what_a_label_spends_while_its_team_is_made_is_not_the_teams(gateway):
    team = f"busy-label-{time.time_ns()}"
    key = gateway.generate_key(team_id=team)
    # Answered after a second and a half, at 0.2 dollars.
    slow = CONVERSE.replace(b'"Hello', b'"simulate.stall-before-head.1500 simulate.usage.100000.1000 Hello')
    request = raw_post("/bedrock/model/priced/converse", key, slow)

    def in_flight():
        return "bedgate_requests_in_flight 0" not in gateway.metrics().splitlines()

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(raw_exchange, gateway.port, request)
        eventually(in_flight, 10, "in flight")
        post(gateway, "/team/new", team_id=team, max_budget=0.1)
        assert answer.result().status == 200
    eventually(lambda: team_info(gateway, team)["total_spend"] > 0.1, 5, "shipped")
    assert team_info(gateway, team)["spend"] == 0
    assert ask(gateway, key) == 200


@pytest.mark.parametrize("base", ["/customer", "/end_user"])
def test_a_customer_made_again_has_spent_nothing(gateway, base):
    customer, key = f"customer-{time.time_ns()}", gateway.generate_key()
    header = f"x-litellm-customer-id: {customer}"
    post(gateway, f"{base}/new", user_id=customer, max_budget=0.0000001)
    assert ask(gateway, key, header) == 200
    eventually(lambda: customer_info(gateway, customer)["spend"] > 0, 5, "shipped")
    assert ask(gateway, key, header) == 400
    post(gateway, f"{base}/delete", user_ids=[customer])
    assert post(gateway, f"{base}/new", user_id=customer, max_budget=0.0000001)["spend"] == 0
    assert [ask(gateway, key, header), ask(gateway, key, header)] == [200, 400]
    assert post(gateway, f"{base}/update", user_id=customer, spend=2)["spend"] == 2
    assert post(gateway, f"{base}/update", user_id=customer, max_budget=1)["spend"] == 2
    assert ask(gateway, key, header) == 400
    post(gateway, f"{base}/update", user_id=customer, spend=0)
    assert ask(gateway, key, header) == 200


def test_the_budget_that_is_named_is_shown_beside_what_was_spent(gateway):
    budget, customer = f"shown-{time.time_ns()}", f"holder-{time.time_ns()}"
    post(gateway, "/budget/new", budget_id=budget, max_budget=7, budget_duration="1d", rpm_limit=9)
    key = gateway.generate_key(budget_id=budget)
    post(gateway, "/customer/new", user_id=customer, budget_id=budget)
    [listed] = gateway.call("GET", f"/key/list?return_full_object=true&key_hash={key}").json()["keys"]
    for shown in (info(gateway, key), listed, customer_info(gateway, customer)):
        table = shown["litellm_budget_table"]
        assert (table["budget_id"], table["max_budget"], table["rpm_limit"]) == (budget, 7, 9)
        assert shown["budget_reset_at"] == table["budget_reset_at"] != None
    assert info(gateway, gateway.generate_key())["litellm_budget_table"] is None
    assert post(gateway, "/customer/new", user_id=f"plain-{time.time_ns()}")["litellm_budget_table"] is None


def test_spend_is_refused_where_it_cannot_be_set_with_what_to_do(gateway):
    answer = gateway.call("POST", "/key/update", {"key": gateway.generate_key(), "spend": 0})
    assert answer.status == 400 and "reset_spend" in answer.json()["error"]["message"], answer.body
    answer = gateway.call("POST", "/budget/new", {"spend": 5})
    assert answer.status == 400 and answer.json()["error"]["message"].endswith("does not take them: spend"), answer.body


def test_a_budget_made_on_one_gateway_holds_on_the_other_at_once(two_gateways):
    one, two = two_gateways
    for _ in range(5):
        budget = f"new-{time.time_ns()}"
        post(one, "/budget/new", budget_id=budget, max_budget=0)
        key = two.generate_key(budget_id=budget)
        assert ask(two, key) == 400
        made = f"of-{budget}"
        post(two, "/customer/new", user_id=made, budget_id=budget)
        assert ask(two, two.generate_key(), f"x-litellm-customer-id: {made}") == 400

        budget = f"seen-{time.time_ns()}"
        post(one, "/budget/new", budget_id=budget, max_budget=3)
        answer = two.call("POST", "/budget/info", {"budgets": [budget]})
        assert answer.json()[0]["max_budget"] == 3, answer.body
        post(two, "/budget/delete", id=budget)
        gone = one.call("POST", "/key/generate", {"budget_id": budget})
        assert gone.status == 400, "deleted on the other one a moment ago"
        team = post(one, "/team/new", max_budget=1)["team_id"]
        assert team_info(two, team)["max_budget"] == 1
        post(two, "/team/delete", team_ids=[team])
