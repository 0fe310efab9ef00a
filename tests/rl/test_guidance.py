import dataclasses

import numpy as np

from rl.guidance import GuidanceConfig, Search, WaypointFollower, project_action
from rl.transforms import apply_delta, pose
from rl.types import Box, Guide, Waypoint
from tests.rl.arms import DOWN, SCALE, at, waypoint

BOX = Box(lower=np.array([0.4, -0.1, 0.0]), upper=np.array([0.6, 0.1, 0.2]))


def follow(*waypoints: Waypoint, max_steps: int = 50, actions: int = 6, **config) -> WaypointFollower:
    guide = Guide(waypoints=waypoints, max_steps=max_steps)
    return WaypointFollower(guide, action_scale=SCALE, actions=actions, config=GuidanceConfig(**config))


def gripper_commands(follower: WaypointFollower, openings: list[float]) -> list[float | None]:
    """The seventh entry of the action at each measured opening of an arm that stays at (0.5, 0, 0.1)."""
    actions = [follower.next_action(at(0.5, 0, 0.1, opening=opening)) for opening in openings]
    return [None if action is None else float(action[6]) for action in actions]


HERE = (0.5, 0, 0.1)


def project(action: list[float], position: list[float], box: Box = BOX) -> tuple[np.ndarray, bool]:
    return project_action(np.array(action), T_base_ref=pose(np.array(position), DOWN), box=box, action_scale=SCALE)


def test_action_that_stays_inside_the_box_is_not_changed():
    action, changed = project([0.5, -0.5, 1, 0.3, 0, 0], [0.5, 0, 0.1])
    np.testing.assert_array_equal(action, [0.5, -0.5, 1, 0.3, 0, 0])
    assert not changed


def test_step_that_leaves_the_box_stops_at_its_face():
    action, changed = project([1, 0.5, 0, 0.3, 0, 0], [0.596, 0, 0.1])
    np.testing.assert_allclose(action, [0.4, 0.5, 0, 0.3, 0, 0], atol=1e-9)
    assert changed


def test_from_outside_the_box_can_only_be_approached(rng: np.random.Generator):
    for _ in range(200):
        position = rng.uniform([0.3, -0.2, -0.1], [0.7, 0.2, 0.3])
        action, _ = project(list(rng.uniform(-1, 1, 6)), list(position))
        before = np.linalg.norm(BOX.project(position) - position)
        moved = position + action[:3] * SCALE[:3]
        assert np.linalg.norm(BOX.project(moved) - moved) <= before + 1e-12


def test_box_equal_to_everything_changes_nothing(rng: np.random.Generator):
    everything = Box(lower=np.full(3, -10.0), upper=np.full(3, 10.0))
    proposed = rng.uniform(-1, 1, 6)
    action, changed = project(list(proposed), [0.5, 0, 0.1], everything)
    np.testing.assert_array_equal(action, proposed)
    assert not changed


def test_free_waypoint_is_approached_within_the_action_scale_and_then_reached():
    follower = follow(waypoint(0.53, 0, 0.1))
    np.testing.assert_allclose(follower.next_action(at(0.5, 0, 0.1)), [1, 0, 0, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(follower.next_action(at(0.527, 0, 0.1)), [0.3, 0, 0, 0, 0, 0], atol=1e-9)
    assert follower.next_action(at(0.5295, 0, 0.1)) is None
    assert follower.status == "reached"


def test_diagonal_step_keeps_its_direction():
    action = follow(waypoint(0.56, 0.03, 0.1)).next_action(at(0.5, 0, 0.1))
    np.testing.assert_allclose(action[1] / action[0], 0.5, atol=1e-9)
    assert np.linalg.norm(action[:3] * SCALE[:3]) <= 0.010 + 1e-12


def test_guarded_move_ends_on_contact_and_the_search_presses_from_there():
    follower = follow(
        waypoint(0.5, 0, 0.05, motion="guarded"), waypoint(0.501, 0, 0.05, motion="search", push_m=0.0014)
    )
    follower.next_action(at(0.5, 0, 0.1))
    action = follower.next_action(at(0.5, 0, 0.07, force_z=8.0))
    np.testing.assert_allclose(action[:3] * SCALE[:3], [0.001, 0, -0.0014], atol=1e-9)


def test_search_that_drops_skips_its_rest_and_shifts_what_comes_after_to_what_it_found():
    spiral = [waypoint(0.5 + dx, 0, 0.05, motion="search", push_m=0.001) for dx in (0.001, 0.002, 0.003)]
    follower = follow(waypoint(0.5, 0, 0.05, motion="guarded"), *spiral, waypoint(0.5, 0, 0.06))
    follower.next_action(at(0.5, 0, 0.07, force_z=8.0))
    follower.next_action(at(0.501, 0, 0.07))
    action = follower.next_action(at(0.502, 0, 0.067))
    np.testing.assert_allclose(action[:3] * SCALE[:3], [0, 0, -0.007], atol=1e-9)


def test_search_without_a_drop_ends_blocked_instead_of_pressing_on():
    follower = follow(
        waypoint(0.5, 0, 0.05, motion="guarded"),
        waypoint(0.501, 0, 0.05, motion="search", push_m=0.001),
        waypoint(0.5, 0, 0.03),
    )
    follower.next_action(at(0.5, 0, 0.07, force_z=8.0))
    assert follower.next_action(at(0.501, 0, 0.07, force_z=8.0)) is None
    assert follower.status == "blocked"


def test_arm_that_does_not_move_is_blocked():
    follower = follow(waypoint(0.53, 0, 0.1), blocked_steps=5)
    actions = [follower.next_action(at(0.5, 0, 0.1)) for _ in range(8)]
    assert actions[-1] is None
    assert follower.status == "blocked"


def test_step_budget_ends_the_guidance():
    follower = follow(waypoint(0.59, 0, 0.1), max_steps=2)
    assert [follower.next_action(at(0.5 + 0.01 * i, 0, 0.1)) is None for i in range(3)] == [False, False, True]
    assert follower.status == "budget"


def test_following_from_anywhere_reaches_the_target_pose(rng: np.random.Generator):
    goal = apply_delta(pose(np.array([0.5, 0, 0.1]), DOWN), np.array([0.03, -0.02, 0.05, 0.05, -0.1, 0.2]))
    follower = follow(Waypoint(T_base_tcp=goal, gripper_opening=0.0))
    observation = at(*rng.uniform([0.45, -0.05, 0.05], [0.55, 0.05, 0.15]))
    while (action := follower.next_action(observation)) is not None:
        T = apply_delta(observation.T_base_ref, action * SCALE)
        robot = dataclasses.replace(observation.robot, T_base_tcp=T)
        observation = dataclasses.replace(observation, robot=robot, T_base_ref=T)
    assert follower.status == "reached"
    np.testing.assert_allclose(observation.robot.T_base_tcp, goal, atol=0.003)


def test_guarded_move_that_meets_nothing_skips_the_search_and_goes_on_from_there():
    follower = follow(
        waypoint(0.5, 0, 0.05, motion="guarded"),
        *(waypoint(0.5 + dx, 0, 0.054, motion="search", push_m=0.001) for dx in (0.001, 0.002)),
        waypoint(0.5, 0, 0.04),
    )
    follower.next_action(at(0.5, 0, 0.06))
    action = follower.next_action(at(0.5004, 0, 0.05))
    np.testing.assert_allclose(action[:3] * SCALE[:3], [0, 0, -0.010], atol=1e-9)
    assert follower.status == "following"


def test_grasp_in_place_waits_until_the_gripper_is_closed():
    follower = follow(waypoint(*HERE), actions=7)
    assert gripper_commands(follower, [1.0, 0.6, 0.2, 0.03]) == [-1, -1, -1, None]
    assert follower.status == "reached"


def test_grasp_is_done_when_something_between_the_fingers_stops_them():
    assert gripper_commands(follow(waypoint(*HERE), actions=7), [1.0, 0.6, 0.3, 0.3]) == [-1, -1, -1, None]


def test_gripper_that_has_not_begun_to_move_is_waited_for():
    assert gripper_commands(follow(waypoint(*HERE), actions=7), [1.0, 1.0, 1.0, 0.4, 0.0]) == [-1, -1, -1, -1, None]


def test_gripper_that_never_obeys_is_waited_for_as_long_as_the_budget_says():
    follower = follow(waypoint(*HERE, opening=1.0), actions=7, gripper_steps=3)
    assert gripper_commands(follower, [0.2] * 5) == [1, 1, 1, None, None]
    assert follower.status == "reached"


def test_release_comes_before_the_move_after_it():
    follower = follow(waypoint(*HERE, opening=1.0), waypoint(0.5, 0, 0.15, opening=1.0), actions=7)
    waits, goes = (follower.next_action(at(*HERE, opening=opening)) for opening in (0.1, 0.97))
    np.testing.assert_allclose(waits, [0, 0, 0, 0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(goes, [0, 0, 1, 0, 0, 0, 1], atol=1e-9)


def test_task_without_a_gripper_command_does_not_wait_for_one():
    follower = follow(waypoint(*HERE))
    assert follower.next_action(at(*HERE, opening=0.2)) is None
    assert follower.status == "reached"


def test_waypoint_that_blends_is_passed_without_a_stop():
    follower = follow(waypoint(0.53, 0, 0.1, blend_m=0.01), waypoint(0.53, 0.03, 0.1))
    assert follower.next_action(at(0.519, 0, 0.1))[0] > 0
    moving = at(0.522, 0, 0.1)
    moving = dataclasses.replace(moving, robot=dataclasses.replace(moving.robot, twist=np.full(6, 0.1)))
    np.testing.assert_allclose(follower.next_action(moving)[:2] * SCALE[:2], [0.0026, 0.0097], atol=1e-3)


def test_guarded_move_at_the_end_of_a_plan_ends_it_by_contact_or_reached():
    for force_z, status in ((8.0, "contact"), (0.0, "reached")):
        follower = follow(waypoint(0.5, 0, 0.05, motion="guarded"))
        follower.next_action(at(0.5, 0, 0.06))
        assert follower.next_action(at(0.5, 0, 0.051 if force_z == 0.0 else 0.054, force_z=force_z)) is None
        assert follower.status == status


def test_distance_is_that_to_the_waypoint_approached_last():
    follower = follow(waypoint(0.5, 0, 0.09), waypoint(0.53, 0.04, 0.09))
    follower.next_action(at(0.5, 0, 0.09))
    assert follower.current == 1
    np.testing.assert_allclose(follower.distance_m(at(0.53, 0.0, 0.09)), 0.04, atol=1e-12)


def test_guide_without_waypoints_is_reached_at_once():
    follower = follow()
    assert (follower.next_action(at(*HERE)), follower.status) == (None, "reached")
    assert follower.distance_m(at(*HERE)) is None


def test_search_presses_from_the_contact_and_ends_below_it():
    search, pressing = Search(drop_m=0.0003), waypoint(0.5, 0, 0.05, motion="search", push_m=0.0014)
    np.testing.assert_allclose(search.target(pressing)[2, 3], 0.0486, atol=1e-12)  # nothing was touched
    search.contact_z = 0.07
    np.testing.assert_allclose(search.target(pressing)[2, 3], 0.0686, atol=1e-12)
    assert not search.has_dropped(at(0.5, 0, 0.06).robot)  # it has not begun
    search.begin()
    assert not search.has_dropped(at(0.5, 0, 0.0698).robot)
    assert search.has_dropped(at(0.5, 0, 0.0696).robot)


def test_what_a_search_found_shifts_what_comes_after():
    search, then = Search(drop_m=0.0003), waypoint(0.5, 0.0, 0.03)
    search.contact_z = 0.07
    search.end(at(0.502, -0.001, 0.069).robot, then, skipped=True)
    assert not search.is_under_way
    np.testing.assert_allclose(search.target(then)[:3, 3], [0.502, -0.001, 0.03], atol=1e-12)
