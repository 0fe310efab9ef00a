"""The interventions of one episode: which are under way, what they make of the action, and how each ended."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rl.guidance import WaypointFollower, project_action
from rl.types import (
    Ending,
    FloatArray,
    Guide,
    Intervention,
    InterventionEnd,
    InterventionKind,
    Observation,
    Prune,
    Takeover,
)

Confirm = Callable[[Guide, int], bool]
"""Whether somebody agrees that the waypoint of this number is approached now; the arm holds still until they say."""


@dataclass
class _Running:
    """An intervention under way."""

    intervention: Intervention
    steps: int = 0
    """Control steps whose action it gave or changed."""
    follower: WaypointFollower | None = None
    """Of waypoints."""
    agreed: int = 0
    """Waypoint that was agreed to last; the first is agreed to by whoever returns a `Guide`."""

    def end(self, how: Ending, observation: Observation | None) -> InterventionEnd:
        """Return how it ended, seen what was seen last."""
        this, follower = self.intervention, self.follower
        if not isinstance(this, Guide) or follower is None:
            return InterventionEnd(id=this.id, kind=this.kind, how=how, steps=self.steps)
        return InterventionEnd(
            id=this.id,
            kind=this.kind,
            how=how,
            steps=self.steps,
            waypoint=follower.current,
            waypoints=len(this.waypoints),
            distance_m=None if observation is None else follower.distance_m(observation),
        )


class Interventions:
    """At most one of each kind is under way: a human's hand goes before waypoints, these before policy and box."""

    def __init__(
        self,
        *,
        follow: Callable[[Guide], WaypointFollower],
        action_scale: Callable[[], FloatArray],
        on_end: Callable[[InterventionEnd], None],
        confirm: Confirm | None = None,
    ) -> None:
        """Begin with none.

        Args:
            follow: Makes what follows waypoints.
            action_scale: Returns translation [m] and rotation [rad] of a unit action. Shape (6,).
            on_end: Hears how an intervention ended, as soon as it has.
            confirm: Agrees to each further waypoint; None: nobody is asked.
        """
        self.ids: list[str] = []
        """Of all so far, in the order of their beginning."""
        self.ended: list[InterventionEnd] = []
        """In the order of their ends."""
        self._running: dict[InterventionKind, _Running] = {}
        self._follow = follow
        self._action_scale = action_scale
        self._on_end = on_end
        self._confirm = confirm

    @property
    def active(self) -> Intervention | None:
        """The intervention under way that goes before the others."""
        kinds: tuple[InterventionKind, ...] = ("takeover", "guide", "prune")
        return next((self._running[kind].intervention for kind in kinds if kind in self._running), None)

    def take(self, answer: Intervention | None, observation: Observation) -> None:
        """Begin what a supervisor answers; it ends the one of its kind, and a hand that is gone ends too."""
        if not isinstance(answer, Takeover):
            self._end("takeover", "released", observation)
        if answer is None:
            return
        if answer.id not in self.ids:
            self.ids.append(answer.id)
        if isinstance(answer, Takeover):
            self._end("guide", "taken_over", observation)
        running = self._running.get(answer.kind)
        if running is not None and running.intervention.id == answer.id and not isinstance(answer, Guide):
            running.intervention = answer  # each step of a stretch answers under the same name
            return
        self._end(answer.kind, "released" if isinstance(answer, Takeover) else "replaced", observation)
        follower = self._follow(answer) if isinstance(answer, Guide) else None
        self._running[answer.kind] = _Running(answer, follower=follower)

    def act(self, observation: Observation, propose: Callable[[], FloatArray]) -> tuple[FloatArray, bool]:
        """Return the action to send, and whether a human or a waypoint gave it.

        Args:
            observation: What is seen now.
            propose: Returns the policy's action; asked only where the policy acts.
        """
        if (hand := self._running.get("takeover")) is not None and isinstance(hand.intervention, Takeover):
            hand.steps += 1
            return np.asarray(hand.intervention.action, dtype=np.float32), True
        if (action := self._waypoint_action(observation)) is not None:
            return action.astype(np.float32), True
        action = propose()
        if (fence := self._running.get("prune")) is not None and isinstance(fence.intervention, Prune):
            action, changed = project_action(
                action,
                T_base_ref=observation.T_base_ref,
                box=fence.intervention.box,
                action_scale=self._action_scale(),
            )
            fence.steps += changed
        return action, False

    def close(self, observation: Observation | None) -> None:
        """End all that is under way with the episode."""
        for kind in list(self._running):
            self._end(kind, "episode_over", observation)

    def steps(self, *kinds: InterventionKind) -> int:
        """Return the control steps whose action came from, or was changed by, those of these kinds that have ended."""
        return sum(end.steps for end in self.ended if end.kind in kinds)

    def _waypoint_action(self, observation: Observation) -> FloatArray | None:
        """Return the action along the waypoints under way; None where there are none, or they end here."""
        guide = self._running.get("guide")
        if guide is None or guide.follower is None:
            return None
        action = guide.follower.next_action(observation)
        if action is None:
            assert guide.follower.status != "following"
            self._end("guide", guide.follower.status, observation)
            return None
        if not self._is_agreed(guide):
            self._end("guide", "refused", observation)
            return None
        guide.steps += 1
        return action

    def _is_agreed(self, running: _Running) -> bool:
        """Return whether the waypoint that is approached may be; each is asked for once."""
        guide, follower = running.intervention, running.follower
        assert isinstance(guide, Guide) and follower is not None
        if self._confirm is None or follower.current <= running.agreed:
            return True
        running.agreed = follower.current
        # Search waypoints are single control steps around the one before them.
        return guide.waypoints[running.agreed].motion == "search" or self._confirm(guide, running.agreed)

    def _end(self, kind: InterventionKind, how: Ending, observation: Observation | None) -> None:
        """End the intervention of a kind, if one is under way, and tell of it."""
        running = self._running.pop(kind, None)
        if running is not None:
            self.ended.append(running.end(how, observation))
            self._on_end(self.ended[-1])
