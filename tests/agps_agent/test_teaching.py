from dataclasses import replace

import numpy as np

from agps_agent.teaching import PlanTeacher, without_rise
from rl.teacher import Lesson
from rl.types import EpisodeOutcome, Guide, Observation
from tests.rl.arms import SCALE, at, waypoint

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


def rollout(
    teacher: PlanTeacher, seen: Observation, outcome: EpisodeOutcome, *plans: Guide, holds: bool = True
) -> Lesson | None:
    """One rollout with these plans, taught after the next one has begun, as the loop does it."""
    unmoved = ("usb-000000",) if holds else ()
    teacher.start_episode(unmoved)
    for plan in plans:
        teacher.note(plan, "usb-000000")
    teacher.finish_episode(outcome)
    teacher.start_episode(unmoved)
    return teacher.teach([seen], outcome)


def test_before_the_first_success_there_is_nothing_to_teach():
    assert rollout(make(), at(0.5, 0.0, 0.2), ended(False, at(0.5, 0.0, 0.1)), SEARCHES) is None


def test_plan_that_felt_its_way_is_taught_to_where_the_arm_succeeded():
    lesson = rollout(make(), at(0.5, 0.0, 0.11), ended(True, at(0.502, 0.0, 0.092)), SEARCHES)
    np.testing.assert_allclose(lesson.actions, [[0.2, 0, 0, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(lesson.goal[:3], [0.502, 0.0, 0.092])


def test_plan_in_free_space_is_taught_as_it_was_given():
    lesson = rollout(make(), at(0.49, 0.0, 0.11), ended(True, at(0.502, 0.0, 0.092)), GOES)
    np.testing.assert_allclose(lesson.actions, [[1.0, 0, 0, 0, 0, 0]], atol=1e-6)


def test_what_has_succeeded_is_taught_in_rollouts_without_help_too():
    teacher = make()
    rollout(teacher, at(0.49, 0.0, 0.11), ended(True, at(0.5, 0.0, 0.09)), GOES)
    lesson = rollout(teacher, at(0.5, 0.006, 0.11), ended(False, at(0.5, 0.006, 0.11)))
    np.testing.assert_allclose(lesson.actions, np.array([[0, -6, -20, 0, 0, 0]]) / 436**0.5, atol=1e-6)
    np.testing.assert_allclose(lesson.goal[:3], [0.5, 0.0, 0.09])


def test_in_a_scene_that_has_moved_a_failure_teaches_nothing():
    teacher = make()
    rollout(teacher, at(0.49, 0.0, 0.11), ended(True, at(0.5, 0.0, 0.09)), SEARCHES)
    assert rollout(teacher, at(0.5, 0.0, 0.11), ended(False, at(0.5, 0.0, 0.11)), holds=False) is None


def test_in_a_scene_that_has_moved_a_success_that_was_felt_says_where_the_plan_leads_now():
    teacher = make()
    rollout(teacher, at(0.49, 0.0, 0.11), ended(True, at(0.5, 0.0, 0.09)), SEARCHES)
    lesson = rollout(teacher, at(0.53, 0.0, 0.11), ended(True, at(0.53, 0.004, 0.09)), holds=False)
    np.testing.assert_allclose(lesson.actions, [[0, 0.4, 0, 0, 0, 0]], atol=1e-6)


def test_in_a_scene_that_has_moved_a_success_in_free_space_does_not_say_where_the_targets_are():
    teacher = make()
    rollout(teacher, at(0.49, 0.0, 0.11), ended(True, at(0.5, 0.0, 0.09)), GOES)
    assert rollout(teacher, at(0.53, 0.0, 0.11), ended(True, at(0.53, 0.0, 0.09)), holds=False) is None


def test_first_plan_of_a_rollout_is_the_one_to_teach():
    second = replace(GOES, waypoints=(waypoint(0.45, 0.0, 0.11), waypoint(0.45, 0.0, 0.09)))
    lesson = rollout(make(), at(0.49, 0.0, 0.11), ended(True, at(0.5, 0.0, 0.09)), GOES, second)
    np.testing.assert_allclose(lesson.actions, [[1.0, 0, 0, 0, 0, 0]], atol=1e-6)


def test_plan_that_no_record_keeps_is_not_taught_afterwards_as_nobody_knows_whether_its_scene_has_moved():
    teacher = make()
    teacher.start_episode(())
    teacher.note(GOES, None)
    teacher.finish_episode(ended(True, at(0.5, 0.0, 0.09)))
    assert teacher.teach([at(0.49, 0.0, 0.11)], ended(True, at(0.5, 0.0, 0.09))) is not None
    assert rollout(teacher, at(0.49, 0.0, 0.11), ended(False, at(0.49, 0.0, 0.11))) is None


def test_resumed_teacher_teaches_what_the_first_one_did():
    first, second = make(), make()
    rollout(first, at(0.5, 0.0, 0.11), ended(True, at(0.502, 0.0, 0.092)), SEARCHES)
    second.load_state_dict(first.state_dict())
    failure = at(0.48, 0.01, 0.13), ended(False, at(0.5, 0.0, 0.11))
    lessons = [rollout(teacher, *failure) for teacher in (first, second)]
    np.testing.assert_array_equal(lessons[0].actions, lessons[1].actions)
    np.testing.assert_array_equal(lessons[0].goal, lessons[1].goal)


def test_several_successes_in_one_scene_are_averaged_and_a_moved_scene_begins_anew():
    teacher = make()
    for x in (0.5002, 0.4996, 0.5004):
        lesson = rollout(teacher, at(0.5, 0.0, 0.2), ended(True, at(x, 0.0, 0.092)), SEARCHES)
    np.testing.assert_allclose(lesson.goal[:3], [0.500067, 0.0, 0.092], atol=1e-6)
    lesson = rollout(teacher, at(0.5, 0.0, 0.2), ended(True, at(0.53, 0.0, 0.092)), holds=False)
    np.testing.assert_allclose(lesson.goal[:3], [0.53, 0.0, 0.092], atol=1e-6)


def test_plan_that_does_nothing_but_search_is_not_taught():
    only = replace(SEARCHES, waypoints=SEARCHES.waypoints[2:3])
    assert rollout(make(), at(0.5, 0.0, 0.11), ended(True, at(0.5, 0.0, 0.09)), only) is None


def asked_beside() -> PlanTeacher:
    """A plan that was asked for 5 cm beside the hole, near the table: up, across, down and in; it succeeded."""
    teacher = make()
    rises = Guide(waypoints=(waypoint(0.45, 0.03, 0.11), *SEARCHES.waypoints), max_steps=30)
    teacher.start_episode(("usb-000000",))
    teacher.note(rises, "usb-000000", np.array([0.4505, 0.0302, 0.085]))
    teacher.finish_episode(ended(True, at(0.5, 0.0, 0.09)))
    return teacher


def test_nobody_is_taught_to_go_first_to_where_the_arm_was_when_the_plan_was_asked_for():
    """From the other side of the hole and above: straight towards its axis, away from where the plan began."""
    lesson = asked_beside().teach([at(0.55, -0.03, 0.2)], ended(True, at(0.5, 0.0, 0.09)))
    direction = lesson.actions[0, :3] / np.linalg.norm(lesson.actions[0, :3])
    np.testing.assert_allclose(
        direction, np.array([-0.05, 0.03, -0.09]) / np.linalg.norm([0.05, 0.03, 0.09]), atol=1e-6
    )


def test_first_waypoint_is_the_plans_own_where_it_does_not_only_rise():
    above = np.array([0.5, 0.0, 0.15])
    assert without_rise(SEARCHES.waypoints, above) == SEARCHES.waypoints  # asked for above the hole: it is its axis
    assert without_rise(SEARCHES.waypoints, np.array([0.4, 0.0, 0.2])) == SEARCHES.waypoints
    around = (waypoint(0.45, 0.1, 0.11), *SEARCHES.waypoints)
    assert without_rise(around, np.array([0.45, 0.03, 0.085])) == around  # another way was chosen on purpose
    free = (waypoint(0.45, 0.03, 0.11), *GOES.waypoints)
    assert without_rise(free, np.array([0.45, 0.03, 0.085])) == free  # in free space the way is entered anywhere
    assert without_rise(around, None) == around
    twice = (waypoint(0.45, 0.03, 0.1), waypoint(0.45, 0.03, 0.11), *SEARCHES.waypoints)
    assert without_rise(twice, np.array([0.45, 0.03, 0.085])) == SEARCHES.waypoints
