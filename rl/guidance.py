"""What an intervention does to actions: a box projects them, waypoints replace them. Says what it changed.

Everything here speaks the policy's language: the result is always an action in [-1, 1] that the policy could have
emitted, so that it can be stored as executed. The guard in the environment still has the last word.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rl.ranges import above, at_least, check_ranges
from rl.transforms import pose_difference
from rl.types import Box, FloatArray, Guide, Observation, Waypoint

GuideStatus = Literal["following", "reached", "blocked", "budget"]


def project_action(
    action: FloatArray, *, T_base_ref: FloatArray, box: Box, action_scale: FloatArray
) -> tuple[FloatArray, bool]:
    """Return the action whose target is the proposed target projected onto the box, and whether it changed.

    From inside, the target stops at the face it would cross. From outside, the projection pulls the target onto the
    box, so the TCP can only approach it, at most one action scale per step (AGPS, arXiv:2602.11978, pruning).

    Args:
        action: Proposed action, first three entries the translation. Shape (A,), in [-1, 1].
        T_base_ref: Reference pose that the action is added to. Shape (4, 4), [m].
        box: Where the TCP may be commanded to, base frame, [m].
        action_scale: Translation [m] and rotation [rad] of a unit action. Shape (A,).
    """
    reference = T_base_ref[:3, 3]
    target = reference + action[:3] * action_scale[:3]
    if box.contains(target):
        return action, False
    projected = np.array(action, copy=True)
    # Not more than one action scale: far outside, the way to the box takes several steps.
    projected[:3] = np.clip((box.project(target) - reference) / action_scale[:3], -1.0, 1.0)
    return projected, True


@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """When a waypoint counts as reached, touched or dropped into."""

    position_tolerance_m: float = 0.0015
    """A free waypoint is reached within this distance, [m]..."""
    rest_speed_m_s: float = 0.06
    """...once the TCP is slower than this, [m/s]: an arm that passes through is a millimetre elsewhere a step later."""
    rotation_tolerance_rad: float = 0.05
    """A free waypoint is reached within this angle, [rad]."""
    contact_n: float = 4.0
    """Vertical force that ends a guarded move, [N]: above what acceleration reads, below what hurts a plug."""
    drop_m: float = 0.0003
    """A search ends when the TCP is this far below the height of contact, [m]: twice a lead-in, less than the push."""
    blocked_steps: int = 12
    """A free or guarded waypoint that comes no closer for this many steps ends the guidance."""
    gripper_tolerance: float = 0.1
    """The gripper has obeyed within this of the commanded opening..."""
    gripper_still: float = 0.01
    """...or once it is on the command's side and moves less than this per step: something is between the fingers."""
    gripper_steps: int = 10
    """Control steps after which a waypoint waits for the gripper no longer."""

    def __post_init__(self) -> None:
        """Refuse what no waypoint could be reached with."""
        check_ranges(
            self,
            position_tolerance_m=above(0),
            rest_speed_m_s=above(0),
            rotation_tolerance_rad=above(0),
            contact_n=above(0),
            drop_m=above(0),
            blocked_steps=at_least(1),
            gripper_tolerance=at_least(0),
            gripper_still=at_least(0),
            gripper_steps=at_least(0),
        )


class WaypointFollower:
    """Turns the waypoints of one `Guide` into one action per control step, until reached, blocked or out of budget."""

    def __init__(
        self, guide: Guide, *, action_scale: FloatArray, actions: int = 6, config: GuidanceConfig | None = None
    ) -> None:
        """Start at the first waypoint.

        Args:
            guide: Waypoints and step budget.
            action_scale: Translation [m] and rotation [rad] of a unit action. Shape (6,).
            actions: Size of the action: 6, or 7 with a gripper command, which waypoints then wait for.
            config: When a waypoint is reached.
        """
        self.status: GuideStatus = "following"
        self.current = 0
        """Number of the waypoint that the last action goes to."""
        self._guide = guide
        self._scale = np.asarray(action_scale, dtype=np.float64)
        self._actions = actions
        self._config = config or GuidanceConfig()
        self._index = 0
        self._steps = 0
        self._contact_z: float | None = None
        self._found = True
        """False from the first search waypoint until the TCP drops."""
        self._found_offset = np.zeros(2)
        """What a search found: xy of the drop minus xy that was aimed at, [m]; applied to every later waypoint."""
        self._closest = np.inf
        self._stuck_steps = 0
        self._gripper_steps = 0
        """Steps for which the present waypoint has waited for nothing but the gripper."""
        self._opening: float | None = None
        """Gripper opening at the step before."""

    def next_action(self, observation: Observation) -> FloatArray | None:
        """Return the next action, shape (A,), or None when the guidance is over (`status` says why)."""
        if self._steps >= self._guide.max_steps:
            self.status = "budget"
            return None
        self._advance(observation)
        self._opening = observation.robot.gripper_opening
        waypoint = self._waypoint(self._index)
        searched_in_vain = not self._found and (waypoint is None or waypoint.motion != "search")
        if searched_in_vain or self._stuck_steps >= self._config.blocked_steps:
            self.status = "blocked"
            return None
        if waypoint is None:
            self.status = "reached"
            return None
        self._steps += 1
        self.current = self._index
        if waypoint.motion == "search":
            self._found = False
            self._index += 1  # one control step per search waypoint: friction decides how far it really gets
        return self._action_towards(waypoint, observation)

    def _waypoint(self, index: int) -> Waypoint | None:
        return self._guide.waypoints[index] if index < len(self._guide.waypoints) else None

    def _advance(self, observation: Observation) -> None:
        """Move on past every waypoint that is done."""
        if not self._found:
            self._end_search_after_drop(observation)
        while (
            (waypoint := self._waypoint(self._index)) is not None
            and waypoint.motion != "search"
            and self._is_done(waypoint, observation)
        ):
            self._index += 1
            self._closest, self._stuck_steps, self._gripper_steps = np.inf, 0, 0
            if waypoint.motion == "guarded" and self._contact_z is None:
                self._skip_search(observation)  # nothing there to touch: the tip is in the hole already

    def _is_done(self, waypoint: Waypoint, observation: Observation) -> bool:
        """Return whether a free or guarded waypoint has been reached or touched, and the gripper has obeyed."""
        robot = observation.robot
        if waypoint.motion == "guarded" and abs(robot.wrench[2]) > self._config.contact_n:
            self._contact_z = float(robot.T_base_tcp[2, 3])
            return True
        if waypoint.motion == "guarded":
            self._contact_z = None
        error = pose_difference(robot.T_base_tcp, self._target(waypoint))
        distance = float(np.linalg.norm(error[:3]))
        at_rest = float(np.linalg.norm(robot.twist[:3])) < self._config.rest_speed_m_s
        arrived = float(np.linalg.norm(error[3:])) < self._config.rotation_tolerance_rad and (
            distance < waypoint.blend_m or (distance < self._config.position_tolerance_m and at_rest)
        )
        if arrived:
            return self._gripper_has_obeyed(waypoint, robot.gripper_opening)
        if distance < self._closest - 2e-4:
            self._closest, self._stuck_steps = distance, 0
        else:
            self._stuck_steps += 1
        return False

    def _gripper_has_obeyed(self, waypoint: Waypoint, opening: float) -> bool:
        """Return whether the opening is the commanded one, or has come to rest on its side, or was waited for enough.

        Nothing on the other side of half open counts as rest: there the gripper has not begun to move yet.
        """
        command = waypoint.gripper_opening
        if self._actions == 6 or abs(opening - command) < self._config.gripper_tolerance:
            return True
        still = self._opening is not None and abs(opening - self._opening) < self._config.gripper_still
        if still and (opening > 0.5) == (command > 0.5):
            return True
        self._gripper_steps += 1
        return self._gripper_steps > self._config.gripper_steps

    def _end_search_after_drop(self, observation: Observation) -> None:
        """Skip the rest of the search once the TCP is below the height of contact, and keep where that was."""
        tcp = observation.robot.T_base_tcp[:3, 3]
        if self._contact_z is None or tcp[2] > self._contact_z - self._config.drop_m:
            return
        self._skip_search(observation)

    def _skip_search(self, observation: Observation) -> None:
        """Move on past the search waypoints that come next; what comes after them is where the TCP is now."""
        tcp = observation.robot.T_base_tcp[:3, 3]
        self._found = True
        first = self._index
        while (waypoint := self._waypoint(self._index)) is not None and waypoint.motion == "search":
            self._index += 1
        if waypoint is not None and (self._index > first or self._contact_z is not None):
            self._found_offset = tcp[:2] - waypoint.T_base_tcp[:2, 3]

    def _target(self, waypoint: Waypoint) -> FloatArray:
        target = np.array(waypoint.T_base_tcp, dtype=np.float64)
        if waypoint.motion == "search":
            target[2, 3] = (target[2, 3] if self._contact_z is None else self._contact_z) - waypoint.push_m
        else:
            target[:2, 3] += self._found_offset
        return target

    def _action_towards(self, waypoint: Waypoint, observation: Observation) -> FloatArray:
        """Return the clipped action from the reference to the target, no longer than the waypoint's step."""
        delta = pose_difference(observation.T_base_ref, self._target(waypoint))
        length = float(np.linalg.norm(delta[:3]))
        if length > waypoint.max_step_m:
            delta[:3] *= waypoint.max_step_m / length
        action = np.zeros(self._actions)
        action[:6] = delta / self._scale[:6]
        largest = float(np.max(np.abs(action[:6])))
        if largest > 1.0:  # keep the direction: clipping each axis alone would bend the path
            action[:6] /= largest
        if self._actions == 7:
            action[6] = 1.0 if waypoint.gripper_opening > 0.5 else -1.0
        return action
