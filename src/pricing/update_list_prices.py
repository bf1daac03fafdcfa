#!/usr/bin/env python3
"""Writes list-prices.tsv beside this file from a LiteLLM price map.

    pip download --no-deps litellm==1.102.4 && unzip litellm-*.whl litellm/model_prices_and_context_window_backup.json
    src/pricing/update_list_prices.py litellm/model_prices_and_context_window_backup.json 'LiteLLM 1.102.4' 'November 2026'

Prices are copied as exact decimals. A price of zero is left out: mostly it stands for one that is not known yet. What is
free is named in FREE and marked so.
"""

import json
import pathlib
import re
import sys
from decimal import Decimal

PROVIDERS = {"bedrock", "bedrock_converse", "bedrock_mantle"}
FREE: set[str] = set()  # entries that cost nothing, each with the page of AWS that says so
PRICE_FIELD = re.compile(r"^(input|output|cache|guardrail)_\w*cost\w*$")
COLUMNS = ["entry", "api", "mode", "max_input_tokens", "max_output_tokens", "usd_per_unit_json"]


def prices(entry):
    """The prices of an entry, exact and without an exponent; a price by kind becomes `field.kind`."""
    amounts = {}
    for field, value in entry.items():
        by_kind = value if isinstance(value, dict) else {None: value}
        if PRICE_FIELD.match(field):
            amounts.update({field if kind is None else f"{field}.{kind}": price for kind, price in by_kind.items()})
    numbers = {field: value for field, value in amounts.items() if isinstance(value, Decimal) and value != 0}
    return {field: f"{value.normalize():f}" for field, value in sorted(numbers.items())}


def row(name, entry):
    """One line of the table."""
    limits = [entry.get("max_input_tokens", ""), entry.get("max_output_tokens", "")]
    limits = ["" if limit in (None, "") else str(int(limit)) for limit in limits]
    amounts = {"free": "0"} if name in FREE else prices(entry)
    amounts = json.dumps(amounts, separators=(",", ":"))
    return "\t".join([name, entry["litellm_provider"], entry.get("mode", ""), *limits, amounts])


def main(price_map, source, date):
    text = pathlib.Path(price_map).read_text(encoding="utf-8")
    entries = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    rows = [row(name, entry) for name, entry in sorted(entries.items()) if entry.get("litellm_provider") in PROVIDERS]
    header = [
        "# List prices of Amazon Bedrock in USD per unit, by LiteLLM's entry and field names.",
        f"# As of {date}, as published in the price map of {source} (its entries of the providers",
        "# bedrock, bedrock_converse and bedrock_mantle). Zero prices are left out; `free` marks what is free.",
        "# Regenerate with update_list_prices.py beside this file.",
        "\t".join(COLUMNS),
    ]
    table = pathlib.Path(__file__).with_name("list-prices.tsv")
    table.write_text("\n".join(header + rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
