"""Rows of GET /spend/logs, and prices worked out by hand."""

# List prices in nano-dollars a token, from the published dollars for a million tokens.
SONNET_INPUT, SONNET_OUTPUT = 3_000, 15_000  # 3.00 and 15.00
COMMAND_R_INPUT, COMMAND_R_OUTPUT = 500, 1_500  # 0.50 and 1.50
HAIKU_INPUT, HAIKU_OUTPUT = 250, 1_250  # 0.25 and 1.25


def nano_usd(row: dict) -> int:
    """The spend of a row, or of a key's info, in nano-dollars. JSON holds dollars as a double, which is exact enough to
    give back the integer up to some millions of dollars."""
    return round(row["spend"] * 1e9)


def outcome(row: dict) -> str:
    """complete, upstream_error, client_gone, refused or interrupted."""
    return row["metadata"]["outcome"]


def attempts(row: dict) -> list[int]:
    """The status of every try, in their order."""
    return [status for _deployment, status in row["metadata"]["attempts"]]


def sonnet_cost(usage: dict) -> int:
    """What a Converse usage costs on Claude 3.5 Sonnet."""
    return usage["inputTokens"] * SONNET_INPUT + usage["outputTokens"] * SONNET_OUTPUT
