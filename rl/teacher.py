"""Who says for every step what should be done there: labels to imitate in the states that the policy visits itself.

Corrections alone teach along the few paths that they took. A label of each state that the policy comes to is what makes
imitation hold (DAgger, arXiv:1011.0686); beside reinforcement learning it fades as the policy succeeds (kickstarting,
arXiv:1803.03835).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rl.transforms import pose_difference, rotvec_to_matrix
from rl.types import POSE_ACTIONS, EpisodeOutcome, FloatArray, Observation, RobotState, Waypoint


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a teacher says of a finished rollout."""

    actions: FloatArray
    """What should have been done at each step, in [-1, 1]; a row that is not a number says nothing. Shape (T, A)."""
    goal: FloatArray | None = None
    """Where the TCP is when the task succeeds, base frame, and its turn about the vertical, see `place_of`; None where
    nobody knows. Shape (4,), [m], [rad]."""


def place_of(T_base_tcp: FloatArray) -> FloatArray:
    """Return the position of a pose, [m], and its turn about the vertical, [rad], that of its x axis. Shape (4,)."""
    return np.append(T_base_tcp[:3, 3], np.arctan2(T_base_tcp[1, 0], T_base_tcp[0, 0]))


class Teacher(Protocol):
    """Labels observations with actions: an agent's plan, a scripted expert, a base policy."""

    def teach(self, rollout: Sequence[Observation], outcome: EpisodeOutcome) -> Lesson | None:
        """Return what to learn from a finished rollout; None where there is nothing to say.

        Args:
            rollout: What was seen before each step. T of them.
            outcome: How it ended.
        """


@dataclass(frozen=True, kw_only=True)
class PathConfig:
    """How near to a path is on it."""

    gate_m: float = 0.0008
    """Off the axis of a way into a hole, [m], up to which the tool goes on along it: what a lead-in of half a
    millimetre forgives. Further off it is brought to the axis first, at its height."""
    gate_free_m: float = 0.008
    """The same where nothing is touched, [m]."""
    gate_touching_m: float = 0.0003
    """The same once the tool touches something: pressed on a rim, friction would hold it there, [m]."""
    rim_m: float = 0.001
    """That near to the rim's height, [m]: below it, what touches is a wall."""
    contact_n: float = 4.0
    """Force along the vertical from which the tool touches something, [N]."""
    before_m: float = 0.02
    """So far before a stretch it is entered already where the tool is in line with it, [m]: it does not slow down."""
    near_m: float = 0.004
    """Off the axis of a way into a hole, [m], up to which the tool keeps its height meanwhile; further off it goes back
    to where the way begins."""


class PathTeacher:
    """What following a plan's waypoints would do from anywhere: a label that depends on the observation alone.

    A plan is followed step by step, and knows where it is. A label must tell from the measured pose and the gripper how
    far along it a rollout is: as far as the last stretch that the TCP lies on. Nobody waits on the way: of a teacher
    that waits, a policy learns to wait.
    """

    def __init__(
        self,
        waypoints: Sequence[Waypoint],
        *,
        action_scale: FloatArray,
        actions: int = POSE_ACTIONS,
        config: PathConfig | None = None,
    ) -> None:
        """Take a plan whose targets are known: what searches is left out.

        Args:
            waypoints: In their order.
            action_scale: Translation [m] and rotation [rad] of a unit action. Shape (6,).
            actions: Size of the action: 6, or 7 with a gripper command.
            config: How near is on the path.
        """
        self._way = tuple(waypoint for waypoint in waypoints if waypoint.motion != "search")
        searched = [waypoint for waypoint in waypoints if waypoint.motion == "search"]
        self._searched = bool(searched)
        self._rim_z = float(searched[0].T_base_tcp[2, 3]) if searched else 0.0
        """Height of the TCP with the tool on the rim, base frame, [m]."""
        openings = [waypoint.gripper_opening > 0.5 for waypoint in self._way]
        self._lets_go = bool(openings) and not openings[0] and any(openings)
        """It begins with something held, and lets it go: how that is taken is not part of it."""
        self._scale = np.asarray(action_scale, dtype=np.float64)
        self._actions = actions
        self._config = config or PathConfig()
        self._gate_m = self._config.gate_m if self._searched else self._config.gate_free_m
        self._near_m = max(self._config.near_m if self._searched else 0.0, self._gate_m)

    def label(self, observation: Observation) -> FloatArray:
        """Return the action that brings the TCP along the path. Shape (A,), in [-1, 1].

        Not numbers where the path says nothing: it begins with something held that is not, and lets it go at its end.
        """
        wanted = self._target(observation.robot)
        if wanted is None:
            return np.full(self._actions, np.nan)
        target, opening, max_step_m = wanted
        delta = pose_difference(observation.T_base_ref, target)
        length = float(np.linalg.norm(delta[:3]))
        if length > max_step_m:
            delta[:3] *= max_step_m / length
        action = np.zeros(self._actions)
        action[:POSE_ACTIONS] = delta / self._scale[:POSE_ACTIONS]
        action[:3] /= max(1.0, float(np.abs(action[:3]).max()))  # clipping each axis alone would bend the path
        action[3:POSE_ACTIONS] = np.clip(action[3:POSE_ACTIONS], -1.0, 1.0)
        if self._actions > POSE_ACTIONS:
            action[POSE_ACTIONS] = 1.0 if opening > 0.5 else -1.0
        return action

    def _target(self, robot: RobotState) -> tuple[FloatArray, float, float] | None:
        """Return the pose to go to (4, 4), the gripper's opening on the way, and the longest step, [m].

        None where the path does not say it.
        """
        tcp, way, gate_m = robot.T_base_tcp[:3, 3], self._way, self._gate_m
        on_the_rim = self._searched and abs(tcp[2] - self._rim_z) < self._config.rim_m
        if on_the_rim and abs(robot.wrench[2]) > self._config.contact_n:
            gate_m = self._config.gate_touching_m
        for number in range(len(way) - 1, 0, -1):
            begin, end = way[number - 1], way[number]
            if not self._has_gripper_of(begin, robot):
                continue
            p0, p1 = begin.T_base_tcp[:3, 3], end.T_base_tcp[:3, 3]
            along, off, foot = _foot(tcp, p0, p1)
            # Whoever passes a waypoint without a stop cuts its corner, and is still on the path.
            cut_m = 0.0 if self._searched else begin.blend_m
            if not -max(self._config.before_m, cut_m) <= along <= np.linalg.norm(p1 - p0) + 2 * self._gate_m:
                continue
            if off <= max(gate_m, cut_m):
                return end.T_base_tcp, end.gripper_opening, end.max_step_m
            if off <= self._near_m:
                # The less it is off, the faster it goes on meanwhile. If it waited just beside the gate, a policy that
                # cannot tell on which side it is would learn to stand still there.
                onward = max(0.0, 2.0 - off / gate_m) * end.max_step_m
                beside = np.array(end.T_base_tcp)
                beside[:3, 3] = _nearest(foot + onward * _direction(p0, p1), p0, p1)
                return beside, begin.gripper_opening, end.max_step_m
        return None if self._lets_go and not self._has_gripper_of(way[0], robot) else self._entrance(robot)

    def _entrance(self, robot: RobotState) -> tuple[FloatArray, float, float]:
        """Return how the path is entered from off it: where it begins if it leads into a hole, else the shortest way.

        What stands around a hole is in the way of a tool that comes from the side: up first.
        """
        tcp = robot.T_base_tcp[:3, 3]
        stretches = [
            (begin, end)
            for begin, end in zip(self._way, self._way[1:], strict=False)
            if self._has_gripper_of(begin, robot)
        ]
        if self._searched or not stretches:
            first = self._way[0]
            entrance = np.array(first.T_base_tcp)
            if self._searched and tcp[2] < entrance[2, 3] - self._near_m:
                entrance[:2, 3] = tcp[:2]
            return entrance, first.gripper_opening, first.max_step_m
        feet = [_nearest(tcp, begin.T_base_tcp[:3, 3], end.T_base_tcp[:3, 3]) for begin, end in stretches]
        number = int(np.argmin([np.linalg.norm(tcp - foot) for foot in feet]))
        begin, end = stretches[number]
        T = np.array(end.T_base_tcp)
        T[:3, 3] = feet[number]
        return T, begin.gripper_opening, max(begin.max_step_m, end.max_step_m)

    def _has_gripper_of(self, waypoint: Waypoint, robot: RobotState) -> bool:
        """Return whether the gripper is as it is at a waypoint, or the action commands none."""
        return self._actions == POSE_ACTIONS or (waypoint.gripper_opening > 0.5) == (robot.gripper_opening > 0.5)


def _direction(start: FloatArray, end: FloatArray) -> FloatArray:
    """Return the unit vector from one point to another, 0 where they are one. Shape (3,)."""
    way = end - start
    unit: FloatArray = way / max(float(np.linalg.norm(way)), 1e-12)
    return unit


def _foot(point: FloatArray, start: FloatArray, end: FloatArray) -> tuple[float, float, FloatArray]:
    """Return how far along a line a point lies, how far off it, [m], and the nearest point on it. (3,), [m]."""
    direction = _direction(start, end)
    along = float((point - start) @ direction)
    foot: FloatArray = start + along * direction
    return along, float(np.linalg.norm(point - foot)), foot


def _nearest(point: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """Return the point of a segment that is nearest to another point. Shape (3,), [m]."""
    way = end - start
    share = float((point - start) @ way) / max(float(way @ way), 1e-12)
    nearest: FloatArray = start + min(1.0, max(0.0, share)) * way
    return nearest


def moved_to(waypoints: Sequence[Waypoint], ends: Sequence[FloatArray]) -> tuple[Waypoint, ...]:
    """Return a path moved level and turned about the vertical so that it ends where successes did, on average.

    Each success ends somewhere within the play of the hole; the mean of several is its middle. The height stays the
    plan's: a success may be declared before the tool is all the way in.

    Args:
        waypoints: The plan's.
        ends: Where the arm measured the TCP at each success. Shape (4, 4), [m].
    """
    end = waypoints[-1].T_base_tcp
    turns = [T[:3, :3] @ end[:3, :3].T for T in ends]
    angle = float(np.mean([np.arctan2(turn[1, 0], turn[0, 0]) for turn in turns]))
    about_z = rotvec_to_matrix(np.array([0.0, 0.0, angle]))
    x, y = np.mean([T[:2, 3] for T in ends], axis=0)
    moved = []
    for waypoint in waypoints:
        T = np.array(waypoint.T_base_tcp, dtype=np.float64)
        T[:3, :3] = about_z @ T[:3, :3]
        T[:3, 3] = about_z @ (T[:3, 3] - end[:3, 3]) + [x, y, end[2, 3]]
        moved.append(replace(waypoint, T_base_tcp=T))
    return tuple(moved)
