import math
from dataclasses import dataclass

import pytest

from rl.errors import ConfigError
from rl.ranges import FINITE, SEED, SHARE, Range, above, at_least, check_range, check_ranges


@pytest.mark.parametrize(
    ("wanted", "inside", "outside", "words"),
    [
        (SHARE, (0, 0.5, 1), (-1e-9, 1.1), "a value in [0, 1]"),
        (Range(0, 1, without_least=True), (1e-9, 1), (0, 1.1), "a value in (0, 1]"),
        (Range(0, 1, without_most=True), (0, 0.9), (-1, 1), "a value in [0, 1)"),
        (at_least(1), (1, 10**400), (0, 0.99), "at least 1"),
        (above(0), (1e-9, 3), (0, -1), "more than 0"),
        (Range(most=0), (0, -5), (1e-9,), "at most 0"),
        (FINITE, (0, -1e300), (), "a finite number"),
        (SEED, (0, 4294967295), (-1, 4294967296), "a value in [0, 4294967295]"),
    ],
)
def test_range_says_what_it_holds(wanted, inside, outside, words):
    assert all(wanted.holds(value) for value in inside)
    assert not any(wanted.holds(value) for value in (*outside, math.nan, math.inf, -math.inf, "1", True, None))
    assert str(wanted) == words


@dataclass(frozen=True)
class Settings:
    count: int = 1
    gain: float = 1.0
    limits: tuple[float, float] | None = None
    name: str = "x"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(count=0), "arm.count is 0; ask for at least 1."),
        (Settings(count="two"), "arm.count is two; ask for a finite number: at least 1."),
        (Settings(gain=math.nan), "arm.gain is nan; ask for a finite number."),
        (Settings(limits=(0.0, math.inf)), "arm.limits is (0.0, inf); ask for a finite number."),
    ],
)
def test_first_setting_that_cannot_work_is_named(settings, words):
    check_ranges(Settings(), "arm.", count=at_least(1))
    with pytest.raises(ConfigError) as refused:
        check_ranges(settings, "arm.", count=at_least(1))
    assert str(refused.value) == words


def test_number_that_is_infinite_is_not_told_that_it_is_too_small():
    with pytest.raises(ConfigError, match=r"^speed is inf; ask for a finite number: more than 0\.$"):
        check_range("speed", math.inf, above(0))
