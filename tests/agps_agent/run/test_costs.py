import pytest

from agps_agent.models.prices import Price
from agps_agent.run.costs import costs_of_help

COUNTS = {"agent_calls": 3.0, "tokens": 5_500.0, "prompt_tokens": 5_000.0, "completion_tokens": 500.0, "model_s": 4.5}


def test_tokens_seconds_and_money_stand_side_by_side() -> None:
    costs = costs_of_help(COUNTS, Price(prompt=2.0, completion=10.0, source="a list"))
    assert (costs["agent_tokens"], costs["agent_prompt_tokens"], costs["agent_completion_tokens"]) == (
        5_500,
        5_000,
        500,
    )
    assert costs["agent_seconds"] == 4.5
    assert costs["agent_usd"] == pytest.approx(0.010 + 0.005)


def test_no_money_is_named_where_nobody_knows_the_price() -> None:
    assert "agent_usd" not in costs_of_help(COUNTS, None)
