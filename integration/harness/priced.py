"""Fixtures of modules about spend: gateways with one model, `priced`, whose prices the tests know. Import what you need."""

import pytest

from .asking import deployment, model_list

CONFIG = model_list(
    deployment("priced", "amazon.nova-pro-v1:0", input_cost_per_token=0.000001, output_cost_per_token=0.0001),
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(spawn_gateway, request):
    """One, on each kind of database."""
    with spawn_gateway(config=CONFIG, database=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def two_gateways(spawn_gateway, postgres):
    """Two, on one Postgres."""
    with spawn_gateway(config=CONFIG, database="postgres") as one:
        with spawn_gateway(config=CONFIG, env={"DATABASE_URL": one.env["DATABASE_URL"]}) as two:
            yield one, two
