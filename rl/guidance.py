"""What an intervention does to actions: a box projects them, waypoints replace them. Says what it changed.

Everything here speaks the policy's language: the result is always an action in [-1, 1] that the policy could have
emitted, so that it can be stored as executed. The guard in the environment still has the last word.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rl.bounds import Count, NotNegative, Positive, Whole, check_bounds
from rl.transforms import pose_difference
from rl.types import POSE_ACTIONS, Box, FloatArray, Guide, GuideEnding, Observation, RobotState, Waypoint

GuideStatus = GuideEnding | Literal["following"]

PROGRESS_M = 2e-4
"""A TCP that comes closer to its waypoint by less than this in a control step gets nowhere, [m]: joints and tracking
waver as much."""


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

    position_tolerance_m: Positive = 0.0015
    """A free waypoint is reached within this distance, [m]..."""
    rest_speed_m_s: Positive = 0.06
    """...once the TCP is slower than this, [m/s]: an arm that passes through is a millimetre elsewhere a step later."""
    rotation_tolerance_rad: Positive = 0.05
    """A free waypoint is reached within this angle, [rad]."""
    contact_n: Positive = 4.0
    """Vertical force that ends a guarded move, [N]: above what acceleration reads, below what hurts a plug."""
    drop_m: Positive = 0.0003
    """A search ends when the TCP is this far below the height of contact, [m]: twice a lead-in, less than the push."""
    blocked_steps: Count = 12
    """A free or guarded waypoint that comes no closer for this many steps ends the guidance."""
    gripper_tolerance: NotNegative = 0.1
    """The gripper has obeyed within this of the commanded opening..."""
    gripper_still: NotNegative = 0.01
    """...or once it is on the command's side and moves less than this per step: something is between the fingers."""
    gripper_steps: Whole = 10
    """Control steps after which a waypoint waits for the gripper no longer."""

    def __post_init__(self) -> None:
        """Refuse what no waypoint could be reached with."""
        check_bounds(self)


class Search:
    """Finds a hole along a run of search waypoints: they press from the height of a contact until the TCP drops.

    What the search found shifts every later waypoint.
    """

    def __init__(self, *, drop_m: float) -> None:
        """Begin with nothing touched and nothing to look for.

        Args:
            drop_m: The search ends when the TCP is this far below the height of contact, [m].
        """
        self.contact_z: float | None = None
        """Height of the TCP at the last contact, base frame, [m]; None where the last guarded move met nothing."""
        self.is_under_way = False
        """True from the first search waypoint until the TCP drops."""
        self._drop_m = drop_m
        self._found_offset = np.zeros(2)
        """xy of the drop minus xy that was aimed at, [m]."""

    def begin(self) -> None:
        """Start to look, unless that has begun."""
        self.is_under_way = True

    def has_dropped(self, robot: RobotState) -> bool:
        """Return whether a search is under way and the TCP is below the height of contact."""
        if not self.is_under_way or self.contact_z is None:
            return False
        return bool(robot.T_base_tcp[2, 3] <= self.contact_z - self._drop_m)

    def end(self, robot: RobotState, then: Waypoint | None, *, skipped: bool) -> None:
        """Stop looking: the waypoint that comes then is where the TCP is now.

        Args:
            robot: What the arm measures.
            then: The first waypoint after the search.
            skipped: Whether there were search waypoints that are not needed any more.
        """
        self.is_under_way = False
        if then is not None and (skipped or self.contact_z is not None):
            self._found_offset = robot.T_base_tcp[:2, 3] - then.T_base_tcp[:2, 3]

    def target(self, waypoint: Waypoint) -> FloatArray:
        """Return the pose that a waypoint means: on the contact, or shifted by what was found. Shape (4, 4), [m]."""
        target = np.array(waypoint.T_base_tcp, dtype=np.float64)
        if waypoint.motion == "search":
            target[2, 3] = (target[2, 3] if self.contact_z is None else self.contact_z) - waypoint.push_m
        else:
            target[:2, 3] += self._found_offset
        return target


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
        self._has_gripper = actions > POSE_ACTIONS
        self._config = config or GuidanceConfig()
        self._search = Search(drop_m=self._config.drop_m)
        self._index = 0
        self._steps = 0
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
        searched_in_vain = self._search.is_under_way and (waypoint is None or waypoint.motion != "search")
        if searched_in_vain or self._stuck_steps >= self._config.blocked_steps:
            self.status = "blocked"
            return None
        if waypoint is None:
            ends_guarded = any(last.motion == "guarded" for last in self._guide.waypoints[-1:])
            self.status = "contact" if ends_guarded and self._search.contact_z is not None else "reached"
            return None
        self._steps += 1
        self.current = self._index
        if waypoint.motion == "search":
            self._search.begin()
            self._index += 1  # one control step per search waypoint: friction decides how far it really gets
        return self._action_towards(waypoint, observation)

    def distance_m(self, observation: Observation) -> float | None:
        """Return how far the TCP is from the waypoint that the last action went to, [m]; None if there is none."""
        waypoint = self._waypoint(self.current)
        if waypoint is None:
            return None
        return float(np.linalg.norm(self._search.target(waypoint)[:3, 3] - observation.robot.T_base_tcp[:3, 3]))

    def _waypoint(self, index: int) -> Waypoint | None:
        return self._guide.waypoints[index] if index < len(self._guide.waypoints) else None

    def _advance(self, observation: Observation) -> None:
        """Move on past every waypoint that is done."""
        if self._search.has_dropped(observation.robot):
            self._skip_search(observation.robot)
        while (
            (waypoint := self._waypoint(self._index)) is not None
            and waypoint.motion != "search"
            and self._is_done(waypoint, observation)
        ):
            self._index += 1
            self._closest, self._stuck_steps, self._gripper_steps = np.inf, 0, 0
            if waypoint.motion == "guarded" and self._search.contact_z is None:
                self._skip_search(observation.robot)  # nothing there to touch: the tip is in the hole already

    def _is_done(self, waypoint: Waypoint, observation: Observation) -> bool:
        """Return whether a free or guarded waypoint has been reached or touched, and the gripper has obeyed."""
        robot = observation.robot
        if waypoint.motion == "guarded":
            touches = abs(robot.wrench[2]) > self._config.contact_n
            self._search.contact_z = float(robot.T_base_tcp[2, 3]) if touches else None
            if touches:
                return True
        error = pose_difference(robot.T_base_tcp, self._search.target(waypoint))
        distance = float(np.linalg.norm(error[:3]))
        at_rest = float(np.linalg.norm(robot.twist[:3])) < self._config.rest_speed_m_s
        arrived = float(np.linalg.norm(error[3:])) < self._config.rotation_tolerance_rad and (
            distance < waypoint.blend_m or (distance < self._config.position_tolerance_m and at_rest)
        )
        if arrived:
            return self._gripper_has_obeyed(waypoint, robot.gripper_opening)
        if distance < self._closest - PROGRESS_M:
            self._closest, self._stuck_steps = distance, 0
        else:
            self._stuck_steps += 1
        return False

    def _gripper_has_obeyed(self, waypoint: Waypoint, opening: float) -> bool:
        """Return whether the opening is the commanded one, or has come to rest on its side, or was waited for enough.

        Nothing on the other side of half open counts as rest: there the gripper has not begun to move yet.
        """
        command = waypoint.gripper_opening
        if not self._has_gripper or abs(opening - command) < self._config.gripper_tolerance:
            return True
        still = self._opening is not None and abs(opening - self._opening) < self._config.gripper_still
        if still and (opening > 0.5) == (command > 0.5):
            return True
        self._gripper_steps += 1
        return self._gripper_steps > self._config.gripper_steps

    def _skip_search(self, robot: RobotState) -> None:
        """Move on past the search waypoints that come next."""
        first = self._index
        while (waypoint := self._waypoint(self._index)) is not None and waypoint.motion == "search":
            self._index += 1
        self._search.end(robot, waypoint, skipped=self._index > first)

    def _action_towards(self, waypoint: Waypoint, observation: Observation) -> FloatArray:
        """Return the clipped action from the reference to the target, no longer than the waypoint's step."""
        delta = pose_difference(observation.T_base_ref, self._search.target(waypoint))
        length = float(np.linalg.norm(delta[:3]))
        if length > waypoint.max_step_m:
            delta[:3] *= waypoint.max_step_m / length
        action = np.zeros(self._actions)
        action[:6] = delta / self._scale[:6]
        largest = float(np.max(np.abs(action[:6])))
        if largest > 1.0:  # keep the direction: clipping each axis alone would bend the path
            action[:6] /= largest
        if self._has_gripper:
            action[6] = 1.0 if waypoint.gripper_opening > 0.5 else -1.0
        return action
