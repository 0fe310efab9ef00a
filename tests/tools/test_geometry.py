import numpy as np
import pytest

from rl.types import Box
from tests.tools.scenes import WORKSPACE
from tools.errors import ToolRetry
from tools.geometry import exploration_bbox

PAIR = [[0.51, 0.02, 0.10], [0.49, -0.01, 0.12]]


def test_union_of_two_keypoints_worked_by_hand():
    box = exploration_bbox("two_keypoint_union", PAIR, [[0.01, 0.02], [0.0, 0.015], [0.02, 0.06]], WORKSPACE)
    np.testing.assert_allclose(box.lower, [0.48, -0.01, 0.08], atol=1e-12)
    np.testing.assert_allclose(box.upper, [0.53, 0.035, 0.18], atol=1e-12)


def test_direct_box_takes_its_corners():
    box = exploration_bbox("direct_bbox3d", [[0.45, -0.05, 0.1], [0.55, 0.05, 0.2]], 0.0, WORKSPACE)
    np.testing.assert_allclose([box.lower, box.upper], [[0.45, -0.05, 0.1], [0.55, 0.05, 0.2]], atol=1e-12)


def test_offset_moves_the_box_from_the_tools_tip_to_the_tcp():
    at_tip = exploration_bbox("two_keypoint_union", PAIR, 0.01, WORKSPACE)
    at_tcp = exploration_bbox("two_keypoint_union", PAIR, 0.01, WORKSPACE, offset=(0.0, 0.0, 0.03))
    np.testing.assert_allclose(at_tcp.lower - at_tip.lower, [0, 0, 0.03], atol=1e-12)


def test_box_that_holds_the_workspace_is_the_workspace():
    box = exploration_bbox("direct_bbox3d", [[0, -1, 0], [1, 1, 1]], 0.0, WORKSPACE)
    np.testing.assert_array_equal([box.lower, box.upper], [WORKSPACE.lower, WORKSPACE.upper])


def test_flat_box_is_widened_inside_the_workspace():
    corner = [0.4, -0.1, 0.07]
    box = exploration_bbox("direct_bbox3d", [corner, corner], 0.0, WORKSPACE, min_side_m=0.01)
    np.testing.assert_allclose(box.lower, corner, atol=1e-12)
    np.testing.assert_allclose(box.upper, np.array(corner) + 0.01, atol=1e-12)


def test_every_box_lies_in_the_workspace_and_is_thick_enough(rng: np.random.Generator):
    made = 0
    for _ in range(500):
        points = rng.uniform([0.35, -0.15, 0.0], [0.65, 0.15, 0.3], (2, 3))
        try:
            box = exploration_bbox("two_keypoint_union", points, rng.uniform(0, 0.02, (3, 2)), WORKSPACE)
        except ToolRetry:
            continue
        made += 1
        assert np.all(box.lower >= WORKSPACE.lower - 1e-12) and np.all(box.upper <= WORKSPACE.upper + 1e-12)
        assert np.all(box.upper - box.lower >= 0.010 - 1e-12)
    assert made > 200


def test_workspace_thinner_than_the_smallest_side_is_taken_whole():
    thin = Box(lower=np.array([0.4, 0.0, 0.1]), upper=np.array([0.6, 0.004, 0.2]))
    box = exploration_bbox("direct_bbox3d", [[0.5, 0.001, 0.15], [0.5, 0.001, 0.15]], 0.0, thin)
    np.testing.assert_allclose([box.lower[1], box.upper[1]], [0.0, 0.004], atol=1e-12)


def test_box_that_misses_the_workspace_says_by_what():
    with pytest.raises(ToolRetry, match=r"x range 0.700 to 0.720 m misses the workspace's 0.400 to 0.600 m") as retry:
        exploration_bbox("two_keypoint_union", [[0.71, 0, 0.1], [0.71, 0, 0.1]], 0.01, WORKSPACE)
    assert retry.value.reason == "box_misses_workspace"


@pytest.mark.parametrize(
    ("mode", "points", "margins"),
    [
        ("two_keypoint_union", PAIR, -0.001),
        ("two_keypoint_union", PAIR, 0.5),
        ("two_keypoint_union", PAIR, np.nan),
        ("two_keypoint_union", PAIR, [0.01, 0.01]),
        ("two_keypoint_union", [[0.5, 0, np.nan], [0.5, 0, 0.1]], 0.01),
        ("two_keypoint_union", [[0.5, 0, 0.1]], 0.01),
        ("direct_bbox3d", [[0.55, 0, 0.1], [0.5, 0, 0.1]], 0.01),
        ("sphere", PAIR, 0.01),
    ],
)
def test_bad_arguments_can_be_fixed(mode, points, margins):
    with pytest.raises(ToolRetry):
        exploration_bbox(mode, points, margins, WORKSPACE)
