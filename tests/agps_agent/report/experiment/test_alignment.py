import numpy as np
import pytest

from agps_agent.report.experiment.alignment import Plain, distances_mm, is_in_top, nested_interval

# Ten points: values 0 to 9, the highest at y = 0, z = 30.
PLAIN = Plain(
    y_mm=np.array([-20.0, -10.0, 0.0, 10.0, 20.0]),
    z_mm=np.array([20.0, 30.0]),
    values=np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 9.0, 8.0, 7.0]]),
)


def test_best_tenth_of_ten_points_is_the_highest_one() -> None:
    assert PLAIN.threshold == pytest.approx(8.1)  # a tenth of the way from 8 to 9
    np.testing.assert_array_equal(PLAIN.best_mm, [0.0, 30.0])


def test_centre_counts_by_the_point_nearest_to_it_and_beside_the_plane_not_at_all() -> None:
    centres = np.array([[0.0, 30.0], [4.9, 34.9], [5.1, 30.0], [0.0, 24.9], [0.0, 35.1], [0.0, 400.0]])
    assert is_in_top(PLAIN, centres).tolist() == [True, True, False, False, False, False]


def test_distance_is_to_the_highest_value_in_the_plane() -> None:
    np.testing.assert_allclose(distances_mm(PLAIN, np.array([[0.0, 30.0], [3.0, 34.0]])), [0.0, 5.0])


def test_interval_of_equal_values_is_a_point_and_of_zeros_and_ones_lies_about_their_mean() -> None:
    assert nested_interval([np.full(5, 2.0), np.full(9, 2.0)]) == (2.0, 2.0)
    low, high = nested_interval([np.array([0.0, 1.0] * 8)])
    # 16 tosses: standard deviation 0.125, so 95 % within 4 of 16 of the mean.
    assert (low, high) == pytest.approx((0.25, 0.75), abs=0.0626)


def test_runs_that_differ_widen_the_interval() -> None:
    # The values of a run are alike: only which runs are drawn matters, and a quarter of the draws is one of them twice.
    assert nested_interval([np.zeros(20), np.ones(20)]) == (0.0, 1.0)
