import math

import numpy as np
import pytest

from agps_agent.detectors.standstill import Standstill
from rl.types import FloatArray


def frames(*values: float) -> FloatArray:
    return np.array([[value, 0.0] for value in values])


FAST, SLOW = frames(0, 4, 8), frames(0, 2, 4, 6, 8)


@pytest.mark.parametrize(("alpha", "limit"), [(0.0, 0.5), (0.05, 0.5), (0.7, 2.0), (1.0, 2.0)])
def test_limit_worked_by_hand(alpha: float, limit: float) -> None:
    """The fast one changes by 4 where the slow one changes by 2: ratio 2. The slow one by 2 where the other does 4."""
    assert Standstill([FAST, SLOW], 1, alpha).limit == pytest.approx(limit)


def holds(still: Standstill, *values: float) -> bool:
    return still.holds(list(frames(*values)))


def test_what_is_still_on_the_way_is_not_where_good_rollouts_search() -> None:
    """They change by 2 per step up to 6, and by 0.2 afterwards."""
    searching = frames(0, 2, 4, 6, 6.2, 6.4, 6.6)
    still = Standstill([searching, searching], 1, 0.05)
    assert still.limit == pytest.approx(1.0)
    assert holds(still, 1.5, 2.0)
    assert not holds(still, 6.1, 6.4)
    assert holds(still, 6.3, 6.4)


def test_good_rollout_that_comes_again_never_stands_still() -> None:
    still = Standstill([FAST] * 5, 1, 0.05)
    assert not any(still.holds(FAST[:n]) for n in (1, 2, 3))


def test_the_nearer_half_of_good_rollouts_counts() -> None:
    """Two pass here by 2 per step; two crawl by 0.1, far away."""
    still = Standstill([SLOW, SLOW, frames(50, 50.1, 50.2), frames(60, 60.1, 60.2)], 1, 0.05)
    assert still.limit == pytest.approx(1.0)
    assert holds(still, 3.5, 4.0)
    assert not holds(still, 1.5, 4.0)
    assert not holds(still, 50.0, 50.2)


def test_nothing_stands_still_before_the_window_is_full() -> None:
    still = Standstill([SLOW, SLOW], 2, 0.05)
    assert not holds(still, 3.0, 3.0)
    assert holds(still, 3.0, 3.0, 3.0)


@pytest.mark.parametrize("references", [[], [SLOW], [frames(0, 1), frames(0, 2), SLOW]])
def test_fewer_than_two_that_are_longer_than_the_window_tell_nothing(references: list[FloatArray]) -> None:
    assert math.isinf(Standstill(references, 2, 0.05).limit)


def test_moment_at_which_a_good_rollout_was_held_is_no_example() -> None:
    """The held one changes by 4 afterwards where the slow one changes by 2."""
    held = frames(0, 0, 0, 4, 8)
    still = Standstill([held, SLOW], 1, 0.05)
    assert still.limit == pytest.approx(0.5)
    assert holds(still, 1.0, 1.0)


def test_where_good_rollouts_show_no_change_only_none_is_standing_still() -> None:
    still = Standstill([frames(1, 1, 1)] * 3, 1, 0.05)
    assert still.limit == 0.0
    assert holds(still, 1.0, 1.0)
    assert not holds(still, 1.0, 1.001)
