"""The agent's plan as a teacher: what following it would do in every state that a rollout came to."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from agps_agent.state import GuideGuidance, guidance_to_intervention, intervention_to_guidance
from rl.teacher import Lesson, PathTeacher, moved_to, place_of
from rl.types import EpisodeOutcome, FloatArray, Guide, Observation, Waypoint

ABOVE_M = 0.002
"""Off the vertical through a point, [m], within which another is above it."""
SUCCESSES = 20
"""Newest successes in a scene whose middle is where its plan leads."""


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
        self._plan: tuple[Waypoint, ...] = ()
        """Waypoints that have led to success in the present scene, as they were given."""
        self._ends: list[FloatArray] = []
        """Where the TCP was at the newest successes in it, base frame. Shape (4, 4) each, [m]."""
        self._records: tuple[str | None, str | None] = (None, None)
        """Memory records of both plans."""
        self._holds = False
        """Whether the scene of this rollout is that of the newest success."""
        self._teaches = False
        """Whether the plan holds for the rollout that has just ended."""

    def start_episode(self, unmoved: Collection[str]) -> None:
        """Begin a rollout without help.

        Args:
            unmoved: Records whose targets are where they were.
        """
        known = self._records[1]
        self._given, self._records, self._holds = (), (None, known), known in unmoved

    def note(self, guide: Guide, record_id: str | None, asked_at: FloatArray | None = None) -> None:
        """Take note of the waypoints that this rollout is helped with.

        Args:
            guide: The waypoints.
            record_id: Of the memory record that keeps their plan.
            asked_at: Where the TCP was when they were asked for, base frame. Shape (3,), [m]. None: nobody knows.
        """
        leads_on = any(waypoint.motion != "search" for waypoint in guide.waypoints)
        if leads_on and not self._given:  # a second plan begins where the first went wrong
            self._given, self._records = without_rise(guide.waypoints, asked_at), (record_id, self._records[1])

    def finish_episode(self, outcome: EpisodeOutcome) -> None:
        """Learn from a success which plan to teach, and where it leads."""
        self._teaches = self._holds and bool(self._plan)
        final, plan = outcome.final_robot, self._given or self._plan
        if not outcome.success or final is None or not plan:
            return
        if not (_feels(plan) or self._given or self._holds):
            return  # in free space a success does not say where the plan's targets are
        given, known = self._records
        if not self._holds:
            self._plan, self._ends, known = plan, [], None
        self._ends = [*self._ends, np.array(final.T_base_tcp)][-SUCCESSES:]
        self._records = (given, given or known)
        self._teaches = True

    def teach(self, rollout: Sequence[Observation], outcome: EpisodeOutcome) -> Lesson | None:
        """Return what the plan would have done in each state of the rollout that has ended; None where none holds."""
        if not self._teaches:
            return None
        path = moved_to(self._plan, self._ends) if _feels(self._plan) else self._plan
        teacher = PathTeacher(path, action_scale=self._scale, actions=self._actions)
        actions = np.stack([teacher.label(observation) for observation in rollout])
        return Lesson(actions=actions, goal=np.mean([place_of(T) for T in self._ends], axis=0))

    def state_dict(self) -> dict[str, Any]:
        """Return the plan that is taught, what keeps it, and where it has led."""
        plan = intervention_to_guidance(Guide(waypoints=self._plan, max_steps=1)) if self._plan else None
        return {"plan": plan, "record": self._records[1], "ends": [T.tolist() for T in self._ends]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        plan = None if state["plan"] is None else guidance_to_intervention(GuideGuidance.model_validate(state["plan"]))
        self._plan = plan.waypoints if isinstance(plan, Guide) else ()
        self._records = (None, state["record"])
        self._ends = [np.array(T) for T in state["ends"]]


def without_rise(waypoints: tuple[Waypoint, ...], asked_at: FloatArray | None) -> tuple[Waypoint, ...]:
    """Return a plan that feels its way into a hole without what only rises, at first, from where the arm was.

    Such a way is entered where it begins. A plan that was asked for beside the hole begins there, and would lead every
    other rollout to that place first.

    Args:
        waypoints: The plan's.
        asked_at: Where the TCP was, base frame. Shape (3,), [m]. None: nobody knows, and nothing is left out.
    """
    if asked_at is None or not _feels(waypoints):
        return waypoints
    for number, waypoint in enumerate(waypoints):
        if waypoint.motion != "free":
            return waypoints  # it was asked for above the hole: this is its axis
        if float(np.linalg.norm((waypoint.T_base_tcp[:3, 3] - asked_at)[:2])) > ABOVE_M:
            return waypoints[number:]
    return waypoints


def _feels(waypoints: Sequence[Waypoint]) -> bool:
    """Return whether a plan feels its way into a hole."""
    return any(waypoint.motion == "search" for waypoint in waypoints)
