import dataclasses

import numpy as np
import pytest

from rl.teacher import PathTeacher, moved_to, place_of
from rl.transforms import apply_delta, pose, rotvec_to_matrix
from rl.types import Observation, Waypoint
from tests.rl.arms import DOWN, SCALE, at, waypoint

INTO_A_HOLE = (
    waypoint(0.5, 0.0, 0.106),
    waypoint(0.5, 0.0, 0.088, motion="guarded", max_step_m=0.008),
    waypoint(0.504, 0.0, 0.1, motion="search"),
    waypoint(0.5, 0.0, 0.088, max_step_m=0.01),
)
"""Above a hole whose rim is at z 0.1, down to contact, a spiral, and in."""

FOLD = (
    waypoint(0.40, 0.0, 0.05, opening=1.0, max_step_m=0.03),
    waypoint(0.40, 0.0, 0.02, opening=1.0, max_step_m=0.03),
    waypoint(0.40, 0.0, 0.02, opening=0.0, max_step_m=0.03),
    waypoint(0.40, 0.0, 0.08, opening=0.0, max_step_m=0.03),
    waypoint(0.60, 0.0, 0.08, opening=0.0, max_step_m=0.03),
    waypoint(0.60, 0.0, 0.03, opening=0.0, max_step_m=0.03),
    waypoint(0.60, 0.0, 0.03, opening=1.0, max_step_m=0.03),
    waypoint(0.60, 0.0, 0.08, opening=1.0, max_step_m=0.03),
)
"""Over a corner, down, close, up, across, down, open, up."""


def taught(observation: Observation, path: tuple[Waypoint, ...] = INTO_A_HOLE, actions: int = 6) -> np.ndarray:
    return PathTeacher(path, action_scale=SCALE, actions=actions).label(observation)


def test_far_off_the_path_the_label_goes_straight_to_where_it_begins():
    np.testing.assert_allclose(taught(at(0.44, 0.0, 0.136)), np.array([2, 0, -1, 0, 0, 0]) / 5**0.5, atol=1e-9)


def test_above_the_hole_within_the_gate_the_label_goes_down_with_the_step_of_the_descent():
    np.testing.assert_allclose(taught(at(0.5004, 0.0, 0.104)), [-0.02, 0, -0.8, 0, 0, 0], atol=5e-3)


def test_beside_the_axis_near_the_rim_the_label_keeps_its_height():
    np.testing.assert_allclose(taught(at(0.502, 0.0, 0.101)), [-0.2, 0, 0, 0, 0, 0], atol=1e-9)


def test_the_less_it_is_off_the_axis_the_faster_the_label_goes_on_meanwhile():
    downwards = [-taught(at(0.5 + off, 0.0, 0.104))[2] for off in (0.0007, 0.0010, 0.0012, 0.0016, 0.002)]
    np.testing.assert_allclose(downwards, [0.8, 0.6, 0.4, 0.0, 0.0], atol=0.01)


def test_beside_what_stands_around_the_hole_the_label_goes_up_first():
    np.testing.assert_allclose(taught(at(0.51, 0.0, 0.096)), [0, 0, 1, 0, 0, 0], atol=1e-9)


def test_pressed_on_the_rim_beside_the_hole_the_label_lets_go_and_goes_to_the_axis():
    pressed = at(0.5006, 0.0, 0.1, force_z=8.0)
    np.testing.assert_allclose(taught(pressed), [-0.06, 0, 0, 0, 0, 0], atol=1e-9)
    assert taught(at(0.5006, 0.0, 0.1))[2] < -0.7
    assert taught(at(0.5006, 0.0, 0.093, force_z=8.0))[2] < -0.4


def test_within_the_hole_the_label_presses_on():
    np.testing.assert_allclose(taught(at(0.5, 0.0, 0.093)), [0, 0, -0.5, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("observation", "moves", "command"),
    [
        (at(0.40, 0.0, 0.06, opening=1.0), [0, 0, -1], 1.0),
        (at(0.40, 0.0, 0.02, opening=1.0), [0, 0, 0], -1.0),
        (at(0.40, 0.0, 0.02, opening=0.0), [0, 0, 1], -1.0),
        (at(0.50, 0.0, 0.08, opening=0.0), [1, 0, 0], -1.0),
        (at(0.50, 0.03, 0.08, opening=0.0), [0, -1, 0], -1.0),
        (at(0.60, 0.0, 0.03, opening=0.0), [0, 0, 0], 1.0),
        (at(0.60, 0.0, 0.04, opening=1.0), [0, 0, 1], 1.0),
    ],
)
def test_gripper_and_place_tell_how_far_along_a_plan_is(observation: Observation, moves: list[int], command: float):
    label = taught(observation, FOLD, actions=7)
    np.testing.assert_array_equal(np.sign(np.where(np.abs(label[:3]) < 0.2, 0, label[:3])), moves)
    assert label[6] == command


def test_label_depends_on_the_observation_alone():
    teacher = PathTeacher(FOLD, action_scale=SCALE, actions=7)
    here, there = at(0.5, 0.0, 0.08), at(0.4, 0.0, 0.06, opening=1.0)
    first = teacher.label(here)
    teacher.label(there)
    np.testing.assert_array_equal(teacher.label(here), first)


def test_label_followed_from_anywhere_ends_in_the_hole(rng: np.random.Generator):
    teacher = PathTeacher(INTO_A_HOLE, action_scale=SCALE)
    for _ in range(20):
        position = rng.uniform([0.44, -0.06, 0.12], [0.56, 0.06, 0.2])
        for _ in range(40):
            observation = at(*position)
            position = apply_delta(observation.T_base_ref, teacher.label(observation) * SCALE)[:3, 3]
        np.testing.assert_allclose(position, [0.5, 0.0, 0.088], atol=1e-6)


def test_label_is_an_action(rng: np.random.Generator):
    for path in (INTO_A_HOLE, FOLD):
        for _ in range(200):
            observation = at(*rng.uniform([0.3, -0.2, 0.0], [0.7, 0.2, 0.3]), opening=float(rng.integers(2)))
            assert np.abs(taught(observation, path, actions=7)).max() <= 1.0


def test_plan_is_moved_and_turned_to_where_a_success_was_and_keeps_its_heights():
    turned = rotvec_to_matrix(np.array([0.0, 0.0, np.pi / 2])) @ DOWN
    path = (waypoint(0.5, 0.1, 0.2), waypoint(0.5, 0.0, 0.1))
    moved = moved_to(path, [pose(np.array([0.6, 0.2, 0.103]), turned)])
    np.testing.assert_allclose(moved[1].T_base_tcp, pose(np.array([0.6, 0.2, 0.1]), turned), atol=1e-12)
    np.testing.assert_allclose(moved[0].T_base_tcp, pose(np.array([0.5, 0.2, 0.2]), turned), atol=1e-12)


def test_plan_is_moved_to_the_middle_of_several_successes():
    path = (waypoint(0.5, 0.0, 0.2), waypoint(0.5, 0.0, 0.1))
    ends = [
        pose(np.array([0.5 + x, y, 0.102]), rotvec_to_matrix(np.array([0, 0, turn])) @ DOWN)
        for x, y, turn in ((0.0002, 0.0, 0.05), (-0.0002, 0.0002, -0.03), (0.0006, 0.0001, 0.01))
    ]
    turned = rotvec_to_matrix(np.array([0, 0, 0.01])) @ DOWN
    np.testing.assert_allclose(moved_to(path, ends)[1].T_base_tcp, pose(np.array([0.5002, 0.0001, 0.1]), turned))


def test_corner_that_a_plan_cuts_is_on_the_path():
    lifted = dataclasses.replace(FOLD[3], blend_m=0.03)
    path = (*FOLD[:3], lifted, *FOLD[4:])
    on_its_way = at(0.42, 0.0, 0.065, opening=0.0)
    assert taught(on_its_way, path, actions=7)[0] > 0.9
    assert taught(on_its_way, FOLD, actions=7)[0] < 0.5


def test_way_to_the_path_is_as_fast_as_a_free_move():
    slow = dataclasses.replace(FOLD[1], max_step_m=0.008)
    label = taught(at(0.40, 0.06, 0.05, opening=1.0), (FOLD[0], slow, *FOLD[2:]), actions=7)
    np.testing.assert_allclose(label[:3], [0, -1.0, 0], atol=1e-9)


def test_place_is_where_a_tool_is_and_how_far_it_has_turned():
    turned = rotvec_to_matrix(np.array([0.0, 0.0, -0.2])) @ DOWN
    np.testing.assert_allclose(place_of(pose(np.array([0.5, 0.1, 0.2]), turned)), [0.5, 0.1, 0.2, -0.2])


def test_path_that_begins_with_something_held_says_nothing_to_open_fingers_elsewhere():
    """The rest of a fold, asked for with the corner in the fingers: how to take it is not part of it."""
    rest = FOLD[3:]
    for beside in (at(0.40, 0.0, 0.02, opening=1.0), at(0.30, 0.1, 0.15, opening=1.0), at(0.5, 0.0, 0.08, opening=1.0)):
        assert np.isnan(taught(beside, rest, actions=7)).all()
    np.testing.assert_allclose(taught(at(0.50, 0.0, 0.08, opening=0.0), rest, actions=7)[[0, 6]], [1.0, -1.0])
    np.testing.assert_allclose(taught(at(0.60, 0.0, 0.04, opening=1.0), rest, actions=7)[[2, 6]], [1.0, 1.0])


def test_path_that_begins_with_open_fingers_opens_those_that_are_closed():
    label = taught(at(0.40, 0.0, 0.15, opening=0.0), FOLD[:2], actions=7)
    assert label[6] == 1.0 and not np.isnan(label).any()
