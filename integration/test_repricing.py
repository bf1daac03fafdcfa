"""What had no price is listed, and charged later by one command."""

import json

from harness.asking import CONVERSE, deployment, model_list
from harness.clients import curl_json
from harness.process import run_to_end
from harness.spend import nano_usd

UNHEARD_OF = "newvendor.brand-new-v1:0"


def test_an_event_without_a_price_is_charged_later_and_once(spawn_gateway):
    with spawn_gateway(config=model_list(deployment("new", UNHEARD_OF, model_info={"id": "new-1"}))) as gateway:
        key = gateway.generate_key()
        answer = curl_json(f"{gateway.base}/model/new/converse", key, CONVERSE)
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
