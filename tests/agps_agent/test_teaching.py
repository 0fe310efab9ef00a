from dataclasses import replace

import numpy as np

from agps_agent.teaching import PlanTeacher
from rl.transforms import pose
from rl.types import EpisodeOutcome, Guide, Observation, RobotState, Waypoint

DOWN = np.diag([1.0, -1.0, -1.0])
SCALE = np.array([0.01, 0.01, 0.01, 0.06, 0.06, 0.06])


def at(x: float, y: float, z: float) -> Observation:
    T = pose(np.array([x, y, z]), DOWN)
    robot = RobotState(T_base_tcp=T, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
    return Observation(images={}, state=np.zeros(19, np.float32), robot=robot, T_base_ref=T, step=0)


def waypoint(x: float, y: float, z: float, **kwargs) -> Waypoint:
    return Waypoint(T_base_tcp=pose(np.array([x, y, z]), DOWN), gripper_opening=0.0, **kwargs)


SEARCHES = Guide(
    waypoints=(
        waypoint(0.5, 0.0, 0.11),
        waypoint(0.5, 0.0, 0.09, motion="guarded"),
        waypoint(0.501, 0.0, 0.1, motion="search"),
        waypoint(0.5, 0.0, 0.09),
    ),
    max_steps=30,
)
GOES = Guide(waypoints=(waypoint(0.5, 0.0, 0.11), waypoint(0.5, 0.0, 0.09)), max_steps=30)


def ended(success: bool, where: Observation) -> EpisodeOutcome:
    return EpisodeOutcome(
        episode=0,
        success=success,
        terminated=success,
        truncated=not success,
        steps=1,
        guided_steps=0,
        pruned_steps=0,
        final_robot=where.robot,
    )


def make() -> PlanTeacher:
    return PlanTeacher(action_scale=SCALE, actions=6)


def test_before_the_first_success_there_is_nothing_to_teach():
    teacher = make()
    teacher.note(SEARCHES)
    assert teacher.teach([at(0.5, 0.0, 0.2)], ended(False, at(0.5, 0.0, 0.1))) is None


def test_plan_that_felt_its_way_is_taught_to_where_the_arm_succeeded():
    teacher = make()
    teacher.note(SEARCHES)
    lesson = teacher.teach([at(0.5, 0.0, 0.11)], ended(True, at(0.502, 0.0, 0.092)))
    np.testing.assert_allclose(lesson.actions, [[0.2, 0, 0, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(lesson.goal, [0.502, 0.0, 0.092])


def test_plan_in_free_space_is_taught_as_it_was_given():
    teacher = make()
    teacher.note(GOES)
    lesson = teacher.teach([at(0.49, 0.0, 0.11)], ended(True, at(0.502, 0.0, 0.092)))
    np.testing.assert_allclose(lesson.actions, [[1.0, 0, 0, 0, 0, 0]], atol=1e-6)


def test_what_has_succeeded_is_taught_in_rollouts_without_help_too():
    teacher = make()
    teacher.note(GOES)
    teacher.teach([at(0.49, 0.0, 0.11)], ended(True, at(0.5, 0.0, 0.09)))
    teacher.start_episode()
    lesson = teacher.teach([at(0.5, 0.006, 0.11)], ended(False, at(0.5, 0.006, 0.11)))
    np.testing.assert_allclose(lesson.actions, np.array([[0, -6, -20, 0, 0, 0]]) / 436**0.5, atol=1e-6)


def test_first_plan_of_a_rollout_is_the_one_to_teach():
    teacher = make()
    teacher.note(GOES)
    teacher.note(replace(GOES, waypoints=GOES.waypoints[1:]))
    lesson = teacher.teach([at(0.5, 0.0, 0.15)], ended(True, at(0.5, 0.0, 0.09)))
    assert lesson.actions.shape == (1, 6)
