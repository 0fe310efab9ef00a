from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from annotated_types import Interval, Le, Lt

from rl.bounds import NotNegative, Positive, check_bounds
from rl.errors import ConfigError


@dataclass(frozen=True)
class Hole:
    clearance_m: Positive = 0.001
    lead_in_m: NotNegative = 0.0
    share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    sides: Annotated[int, Lt(100)] | None = None
    place_m: tuple[Annotated[float, Le(1.0)], float] = (0.5, 0.0)
    name: str = "hole"


@pytest.mark.parametrize(
    "good", [{}, {"lead_in_m": 0}, {"share": 1.0}, {"sides": None}, {"sides": 99}, {"place_m": (-9.0, 0.0)}]
)
def test_values_at_and_within_the_limits_pass(good: dict[str, Any]) -> None:
    check_bounds(Hole(**good))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"clearance_m": 0.0}, "clearance_m is 0.0; ask for more than 0."),
        ({"lead_in_m": -1e-6}, "lead_in_m is -1e-06; ask for at least 0."),
        ({"share": 1.5}, "share is 1.5; ask for at most 1."),
        ({"sides": 100}, "sides is 100; ask for less than 100."),
        ({"place_m": (2.0, 0.0)}, "place_m is 2.0; ask for at most 1."),
        ({"place_m": (0.0, float("nan"))}, "place_m is nan; give a finite number."),
        ({"share": float("inf")}, "share is inf; give a finite number."),
        ({"share": "half"}, "share is 'half'; give a number."),
    ],
)
def test_value_outside_is_refused_with_its_limit(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        check_bounds(Hole(**bad))
    assert str(refusal.value) == words


@dataclass(frozen=True)
class Block:
    hole: Hole = Hole()


def test_dataclass_within_is_looked_at_too() -> None:
    with pytest.raises(ConfigError, match="share is 2.0; ask for at most 1"):
        check_bounds(Block(hole=Hole(share=2.0)))


@dataclass(frozen=True)
class TightHole(Hole):
    clearance_m: float = 0.0001


def test_class_that_changes_a_default_keeps_the_limit() -> None:
    with pytest.raises(ConfigError, match="clearance_m is -1.0; ask for more than 0"):
        check_bounds(TightHole(clearance_m=-1.0))
