from collections.abc import Sequence

import numpy as np
import pytest

from rl.lessons import Notes, disturbed
from rl.loop import Step
from rl.teacher import Lesson
from rl.types import EpisodeOutcome, FloatArray, Observation, Transition
from tests.rl.arms import at


class Says:
    """A teacher that says the same of every step, or nothing."""

    def __init__(self, value: float | None) -> None:
        self.value = value

    def teach(self, rollout: Sequence[Observation], outcome: EpisodeOutcome) -> Lesson | None:
        return None if self.value is None else Lesson(actions=np.full((len(rollout), 6), self.value))


def ended(*, success: bool) -> EpisodeOutcome:
    return EpisodeOutcome(
        episode=0,
        success=success,
        terminated=success,
        truncated=not success,
        steps=3,
        guided_steps=1,
        pruned_steps=0,
        final_robot=None,
        intervention_ids=(),
        interventions=(),
    )


def rollout(guided: Sequence[bool]) -> Notes:
    """Step n was meant to be 0.1 n, and 0.9 was executed."""
    notes = Notes()
    for n, is_guided in enumerate(guided):
        transition = Transition(
            observation={},
            action=np.full(6, 0.9, np.float32),
            reward=0.0,
            next_observation={},
            terminated=False,
            truncated=False,
            guided=is_guided,
        )
        step = Step(
            transition=transition,
            info={},
            outcome=None,
            observation=at(0.5, 0.0, 0.1 + 0.01 * n),
            meant=np.full(6, 0.1 * n),
            begins_episode=n == 0,
        )
        notes.take(step)
    return notes


def taught(notes: Notes, value: float | None, *, success: bool = True, keeps: bool = True) -> list[float] | None:
    lesson = notes.lesson(Says(value), ended(success=success), keeps_guidance=keeps)
    return None if lesson is None else [float(row[0]) for row in lesson.actions]


def test_what_guidance_meant_goes_before_what_the_teacher_says_from_the_first_guided_step_on() -> None:
    assert taught(rollout([False, True, False]), -0.5) == pytest.approx([-0.5, 0.1, 0.2])


def test_what_guidance_meant_is_taught_where_the_teacher_says_nothing() -> None:
    actions = taught(rollout([False, True, True]), None)
    assert actions is not None and np.isnan(actions[0]) and actions[1:] == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("success", "keeps", "guided"), [(False, True, True), (True, False, True), (True, True, False)]
)
def test_the_teacher_alone_is_heard_of_failures_and_of_what_was_not_guided(
    success: bool, keeps: bool, guided: bool
) -> None:
    notes = rollout([False, guided, guided])
    assert taught(notes, -0.5, success=success, keeps=keeps) == pytest.approx([-0.5] * 3)
    assert taught(notes, None, success=success, keeps=keeps) is None


def test_notes_begin_anew_with_each_episode() -> None:
    notes = rollout([True, True, True])
    for step in range(2):
        transition = Transition(
            observation={},
            action=np.zeros(6, np.float32),
            reward=0.0,
            next_observation={},
            terminated=False,
            truncated=False,
            guided=False,
        )
        notes.take(
            Step(
                transition=transition,
                info={},
                outcome=None,
                observation=at(0.4, 0.0, 0.1),
                meant=np.zeros(6),
                begins_episode=step == 0,
            )
        )
    np.testing.assert_allclose(notes.poses(), [[0.4, 0.0, 0.1, 0.0]] * 2)


def test_noise_is_a_share_of_the_step_and_leaves_rotation_and_gripper_alone() -> None:
    action = np.array([0.5, -0.1, 0.0, 0.3, 0.2, 0.1, -1.0])
    drawn = np.array([disturbed(action, 0.2, seed=(0, n, 0)) for n in range(4_000)])
    np.testing.assert_array_equal(drawn[:, 3:], np.tile(action[3:], (4_000, 1)))
    np.testing.assert_allclose(drawn[:, :3].mean(0), action[:3], atol=0.01)
    np.testing.assert_allclose(drawn[:, :3].std(0), 0.2 * 0.5, atol=0.005)


def test_noise_never_leaves_the_range_of_actions_and_a_pause_stays_a_pause() -> None:
    assert max(np.abs(disturbed(np.ones(6), 1.0, seed=(n,))).max() for n in range(50)) == 1.0
    np.testing.assert_array_equal(disturbed(np.zeros(6), 1.0, seed=(0,)), np.zeros(6))


def test_the_same_seed_disturbs_in_the_same_way() -> None:
    action: FloatArray = np.full(6, 0.5)
    np.testing.assert_array_equal(disturbed(action, 0.2, seed=(1, 2, 3)), disturbed(action, 0.2, seed=(1, 2, 3)))
    assert (disturbed(action, 0.2, seed=(1, 2, 3)) != disturbed(action, 0.2, seed=(1, 2, 4))).any()
