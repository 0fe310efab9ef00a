"""The agent's plan as a teacher: what following it would do in every state that a rollout came to."""

from collections.abc import Sequence

import numpy as np

from rl.teacher import Lesson, PathTeacher, moved_to
from rl.types import EpisodeOutcome, FloatArray, Guide, Observation, Waypoint


class PlanTeacher:
    """Labels rollouts with what the plan would do that has led to a success (`rl.teacher.Teacher`).

    Where a plan feels its way into a hole, the place of a success is what the arm measured, not what a camera saw: the
    plan is moved there.
    """

    def __init__(self, *, action_scale: FloatArray, actions: int) -> None:
        """Know no plan yet.

        Args:
            action_scale: Translation [m] and rotation [rad] of a unit action. Shape (6,).
            actions: Size of the action: 6, or 7 with a gripper command.
        """
        self._scale = np.asarray(action_scale, dtype=np.float64)
        self._actions = actions
        self._given: tuple[Waypoint, ...] = ()
        """Waypoints of this rollout's help."""
        self._proven: tuple[Waypoint, ...] = ()
        """Waypoints of the newest success, where it was."""
        self._goal: FloatArray | None = None
        """Where the TCP was at that success, base frame. Shape (3,), [m]."""

    def start_episode(self) -> None:
        """Begin a rollout without help."""
        self._given = ()

    def note(self, guide: Guide) -> None:
        """Take note of the waypoints that this rollout is helped with."""
        if not self._given:  # a second plan begins where the first went wrong
            self._given = guide.waypoints

    def teach(self, rollout: Sequence[Observation], outcome: EpisodeOutcome) -> Lesson | None:
        """Return what the plan would have done in each state of a finished rollout; None without one."""
        plan, final = self._given or self._proven, outcome.final_robot
        if outcome.success and plan and final is not None:
            felt = any(waypoint.motion == "search" for waypoint in plan)
            self._proven = moved_to(plan, final.T_base_tcp) if felt else plan
            self._goal = np.array(final.T_base_tcp[:3, 3])
        if not self._proven:
            return None
        teacher = PathTeacher(self._proven, action_scale=self._scale, actions=self._actions)
        return Lesson(actions=np.stack([teacher.label(observation) for observation in rollout]), goal=self._goal)
