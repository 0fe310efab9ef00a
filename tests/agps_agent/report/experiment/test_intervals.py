import math

import numpy as np
import pytest

from agps_agent.report.curves import NEVER
from agps_agent.report.experiment.intervals import mean_band, median_interval


def test_one_value_has_no_interval_but_itself() -> None:
    assert median_interval([400.0]) == (400.0, 400.0)


def test_interval_of_three_values_is_that_of_all_27_resamples() -> None:
    # Median 1 in 7 of 27 resamples (three 1s, or two and another), 2 in 13, 3 in 7: both tails are thinner than 7 / 27.
    assert median_interval([1.0, 2.0, 3.0]) == (1.0, 3.0)


def test_five_equal_but_for_one_are_as_sure_as_five_can_be() -> None:
    # The odd one must be drawn 3 times of 5 to be the median: 10 * 16 / 3125 + 5 * 4 / 3125 + 1 / 3125 = 5.8 %.
    assert median_interval([1.0, 1.0, 1.0, 1.0, 9.0]) == (1.0, 9.0)
    # Of six values it must be drawn 4 times; at 3 the median is halfway. P(>= 3) = 6.2 %, P(>= 4) = 0.9 %.
    assert median_interval([1.0, 1.0, 1.0, 1.0, 1.0, 9.0]) == (1.0, 5.0)


def test_run_that_never_got_there_is_later_than_all() -> None:
    low, high = median_interval([400.0, 800.0, NEVER])
    assert low == 400.0 and math.isinf(high)


def test_many_values_are_drawn_with_a_fixed_seed() -> None:
    values = [float(n) for n in range(20)]
    low, high = median_interval(values)
    assert (low, high) == median_interval(values)
    assert 4.0 < low < 9.5 < high < 15.0


def test_band_of_two_curves_reaches_from_one_to_the_other() -> None:
    # Resamples of two: both the first, one of each (twice), both the second. The outer ones have a quarter each.
    low, high = mean_band(np.array([[0.0, 0.5], [1.0, 0.5]]))
    np.testing.assert_allclose(low, [0.0, 0.5])
    np.testing.assert_allclose(high, [1.0, 0.5])


def test_band_of_equal_curves_is_a_line() -> None:
    low, high = mean_band(np.full((8, 3), 0.25))
    assert low == pytest.approx([0.25] * 3) and high == pytest.approx([0.25] * 3)
