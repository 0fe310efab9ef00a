"""What a finished rollout is taught: what the teacher says of each step, and what guidance meant to do there."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rl.loop import Step
from rl.teacher import Lesson, Teacher, place_of
from rl.types import EpisodeOutcome, FloatArray, Observation


@dataclass
class Notes:
    """What one rollout showed, step by step."""

    seen: list[Observation] = field(default_factory=list)
    """Before each step; empty in an environment that is not ours, whose rollouts nobody can label."""
    _meant: list[FloatArray] = field(default_factory=list)
    _guided: list[bool] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Note a control step; the first one of an episode begins anew."""
        if step.begins_episode:
            self.seen, self._meant, self._guided = [], [], []
        if step.observation is not None:
            self.seen.append(step.observation)
            self._meant.append(step.meant)
            self._guided.append(step.transition.guided)

    def lesson(self, teacher: Teacher, outcome: EpisodeOutcome, *, keeps_guidance: bool) -> Lesson | None:
        """Return what to learn from the rollout, which is over; None where there is nothing to say.

        Args:
            teacher: Who says what should have been done.
            outcome: How it ended.
            keeps_guidance: In a success, what was meant from the first guided step on is itself the lesson: guidance
                takes corners, and waits for the gripper, where a label that knows the present alone would not.
        """
        lesson = teacher.teach(self.seen, outcome)
        if not (keeps_guidance and outcome.success and any(self._guided)):
            return lesson
        meant = np.array(self._meant, dtype=np.float64)
        first = self._guided.index(True)
        if lesson is None:
            lesson = Lesson(actions=np.full_like(meant, np.nan))
        return replace(lesson, actions=np.concatenate((lesson.actions[:first], meant[first:])))

    def poses(self) -> FloatArray:
        """Return where the TCP was before each step, base frame, and its turn about the vertical. (T, 4)."""
        return np.array([place_of(seen.robot.T_base_tcp) for seen in self.seen])


def disturbed(action: FloatArray, share: float, *, seed: Sequence[int]) -> FloatArray:
    """Return an action whose translation is off by a share of its length, in a random direction.

    Demonstrations that are disturbed show how to come back to the way; the action that was meant is what is learned
    from them (DART, arXiv:1703.09327). The shorter the step, the smaller the noise: a target is still reached.

    Args:
        action: In [-1, 1]. Shape (A,).
        share: Standard deviation along each axis, over the largest component of the translation.
        seed: Of the noise: the same numbers give the same noise.
    """
    noise = np.random.default_rng(seed).standard_normal(3)
    moved = np.array(action, copy=True)
    moved[:3] = np.clip(moved[:3] + share * np.abs(moved[:3]).max() * noise, -1.0, 1.0)
    return moved
