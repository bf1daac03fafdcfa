"""What had no price is listed, and charged later by one command."""

import json

import pytest

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json
from harness.process import run_to_end
from harness.spend import nano_usd

UNHEARD_OF = "newvendor.brand-new-v1:0"


@pytest.mark.parametrize("asked", ["new", UNHEARD_OF], ids=["by name", "by an id that no entry had"])
def test_an_event_without_a_price_is_charged_later_and_once(spawn_gateway, asked):
    entries = [deployment("new", UNHEARD_OF, model_info={"id": "new-1"})] if asked == "new" else []
    with spawn_gateway(config=model_list(*entries)) as gateway:
        key = gateway.generate_key()
        answer = curl_json(f"{gateway.base}/model/{asked}/converse", key, CONVERSE)
        event = gateway.event(answer.headers["x-litellm-call-id"])
        assert event["spend"] == 0 and event["metadata"]["cost_basis"] == "unpriced"
        listed = gateway.call("GET", "/spend/unpriced").json()
        assert [row["request_id"] for row in listed] == [event["request_id"]]

        priced = model_list(
            deployment(
                "new",
                UNHEARD_OF,
                model_info={"id": "new-1"},
                input_cost_per_token="0.000001",
                output_cost_per_token="0.000002",
            )
        )
        gateway.config_path.write_text(json.dumps(priced))
        for charged in ("1 events charged", "0 events charged"):
            where = ["--config", str(gateway.config_path), "--data-dir", str(gateway.data_dir)]
            done = run_to_end(["reprice", *where], gateway.env)
            assert charged in done.stdout, done

        expected = event["prompt_tokens"] * 1_000 + event["completion_tokens"] * 2_000
        assert nano_usd(gateway.event(event["request_id"])) == expected > 0
        assert gateway.spend_of(key) == expected
        assert gateway.call("GET", "/spend/unpriced").json() == []


def test_a_tier_without_a_price_costs_its_dated_multiple_and_later_ones_price_what_was_before(spawn_gateway):
    """Nova Lite, 60 and 240 nano-dollars a token, has no list price for a tier."""
    nova = model_list(deployment("nova", "amazon.nova-lite-v1:0", model_info={"id": "nova-1"}))

    def with_multiplier(multiplier, day):
        entry = {"tier": "flex", "multiplier": multiplier, "from": day}
        return {**nova, "bedgate_settings": {"prices": {"tier_multipliers": [entry]}}}

    with spawn_gateway(config=with_multiplier(0.5, "2020-01-01")) as gateway:
        key = gateway.generate_key()

        def call(tier):
            body = json.dumps({**json.loads(CONVERSE), **({"serviceTier": {"type": tier}} if tier else {})})
            answer = curl_json(f"{gateway.base}/model/nova/converse", key, body)
            assert answer.status == 200, answer.body
            event = gateway.event(answer.headers["x-litellm-call-id"])
            return event, 60 * event["prompt_tokens"] + 240 * event["completion_tokens"]

        plain, list_price = call(None)
        assert nano_usd(plain) == list_price
        flex, list_price = call("flex")
        assert nano_usd(flex) == list_price // 2, "both are even"
        assert flex["metadata"]["service_tier"] == "flex" and flex["metadata"]["cost_basis"] == "exact"
        assert flex["metadata"]["price"]["entry"] == "amazon.nova-lite-v1:0 × 0.5 (flex, from 2020-01-01)"
        unpriced, list_price = call("priority")
        assert unpriced["metadata"]["cost_basis"] == "unpriced"
        for day, charged in (("2999-01-01", "0 events charged"), ("2020-01-01", "1 events charged")):
            priority = {"tier": "priority", "multiplier": 1.75, "from": day}
            config = {**nova, "bedgate_settings": {"prices": {"tier_multipliers": [priority]}}}
            gateway.config_path.write_text(json.dumps(config))
            where = ["--config", str(gateway.config_path), "--data-dir", str(gateway.data_dir)]
            assert charged in run_to_end(["reprice", *where], gateway.env).stdout
        again = gateway.event(unpriced["request_id"])
        assert nano_usd(again) == list_price * 7 // 4 and "× 1.75 (priority" in again["metadata"]["price"]["entry"]
        assert nano_usd(gateway.event(flex["request_id"])) == nano_usd(flex), "a row keeps the price it was charged at"
