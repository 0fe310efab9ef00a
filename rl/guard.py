"""The guard: the one function that every commanded target passes, whoever asked for it."""

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from rl.errors import ConfigError, HardwareFault
from rl.transforms import TOOL_DOWN, apply_delta, matrix_to_rotvec, pose, pose_difference
from rl.types import CONTROL_RATE_HZ, Box, FloatArray

FARTHEST_M = 10.0
"""A position further from the base than this is no request, [m]."""
MAX_TILT_RAD = 0.35
"""Largest rotation away from gripper-down where a task says nothing else, [rad]."""
_RIGID = 1e-3
"""Largest entry of R R^T - I with which a matrix still counts as a rotation."""
_ROUNDING_M, _ROUNDING_RAD = 1e-9, 1e-6
"""By how much a target may miss a limit: what rounding costs, [m] and [rad]."""
_HALVINGS = 17
"""Halvings that find the end of a way: to 1 um of 100 mm."""
_BOTTOM_ROW = np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """What the arm may be told to do in one control step.

    Raises:
        ConfigError: If the workspace is empty or not finite, or another limit is not a positive number.
    """

    workspace: Box
    """The commanded TCP position never leaves this box, base frame, [m]."""
    max_step_m: float
    """Longest translation from the last reference, [m]."""
    max_step_rad: float
    """Largest rotation from the last reference, [rad]."""
    max_tilt_rad: float = MAX_TILT_RAD
    """Largest rotation away from the task's nominal orientation, a geodesic angle, [rad]."""
    leash_m: float = 0.010
    """Largest distance of the target from the measured TCP, [m]: stiffness x leash bounds the contact force."""
    leash_rad: float = 0.10
    """Largest rotation of the target from the measured TCP, [rad]."""
    nominal_rotation: FloatArray = field(default_factory=TOOL_DOWN.copy)
    """Orientation around which `max_tilt_rad` is measured: gripper straight down. Shape (3, 3)."""

    def __post_init__(self) -> None:
        lower, upper = self.workspace.lower, self.workspace.upper
        if np.shape(lower) != (3,) or np.shape(upper) != (3,) or not np.all(np.isfinite([lower, upper])):
            raise ConfigError("The workspace needs a finite lower and upper x, y, z in m.")
        if np.any(lower > upper):
            raise ConfigError(f"The workspace is empty: it goes from {_text(lower)} to {_text(upper)} m.")
        for name in ("max_step_m", "max_step_rad", "max_tilt_rad", "leash_m", "leash_rad"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"The guard's {name} is {value}; it has to be a positive number.")

    def on_station(
        self,
        workspace: Box,
        *,
        speed: float = 1.0,
        rate_hz: float = CONTROL_RATE_HZ,
        max_speed_m_s: float = 0.25,
        max_speed_rad_s: float = 1.2,
        min_size_m: float = 0.01,
    ) -> "GuardLimits":
        """Return these limits, a task's, within those of the station that it runs on.

        Args:
            workspace: Where the station lets the TCP go; the result's workspace is what both allow.
            speed: Fraction of the task's steps that is allowed, more than 0 and at most 1.
            rate_hz: Control steps per second: step x rate is a speed.
            max_speed_m_s: Largest speed of the target, [m/s].
            max_speed_rad_s: Largest turning speed of the target, [rad/s].
            min_size_m: Smallest side that the common workspace may have, [m].

        Raises:
            ConfigError: If the two workspaces have too little in common, or `speed` is out of its range.
        """
        if not 0.0 < speed <= 1.0:
            raise ConfigError(f"speed is {speed}; ask for more than 0 and at most 1.")
        lower = np.maximum(self.workspace.lower, workspace.lower)
        upper = np.minimum(self.workspace.upper, workspace.upper)
        for axis, size in zip("xyz", upper - lower, strict=True):
            if size < min_size_m:
                raise ConfigError(
                    f"The task's workspace, {_text(self.workspace.lower)} to {_text(self.workspace.upper)} m, and the "
                    f"station's, {_text(workspace.lower)} to {_text(workspace.upper)} m, share {max(size, 0):.3f} m "
                    f"along {axis}, less than {min_size_m} m; change [workspace] or the task's place in [task]."
                )
        return dataclasses.replace(
            self,
            workspace=Box(lower=lower, upper=upper),
            max_step_m=speed * min(self.max_step_m, max_speed_m_s / rate_hz),
            max_step_rad=speed * min(self.max_step_rad, max_speed_rad_s / rate_hz),
        )


@dataclass(frozen=True, kw_only=True)
class GuardedTarget:
    """A target that is safe to command, and what had to change for it."""

    T_base_tcp: FloatArray
    """Target pose. Shape (4, 4), [m]."""
    violations: tuple[str, ...]
    """Names of the limits that acted: not_a_pose, step, rotation_step, workspace, leash, rotation_leash, tilt; and hold
    where no target kept them all, so that the measured pose is the target."""


def guard_target(
    T_base_target: FloatArray, *, T_base_ref: FloatArray, T_base_tcp: FloatArray, limits: GuardLimits
) -> GuardedTarget:
    """Return the closest target that keeps every limit; hold the arm where it is if there is none.

    Order: what is no pose (not finite, not rigid, beyond all reach) asks for the measured pose; step from the last
    reference; leash to the measured pose; tilt; workspace, so that no other limit can push a target out of it.

    That keeps them all unless the arm is where it should not be. From outside of workspace or tilt it goes back on the
    leash: the target is the last pose on the way that step and leash allow, never further out than the TCP. An arm that
    was pushed away from its reference by more than step and leash together holds still for this step.

    Args:
        T_base_target: Wanted pose. Shape (4, 4), [m].
        T_base_ref: Last commanded pose. Shape (4, 4), [m].
        T_base_tcp: Measured pose. Shape (4, 4), [m].
        limits: The task's limits.

    Raises:
        HardwareFault: If the measured pose is none: then no target is safe.
    """
    if not is_pose(T_base_tcp):
        raise HardwareFault(
            f"What the arm measures is no pose of the TCP within {FARTHEST_M:g} m of its base; stop it and look at it."
        )
    at = _Situation(limits, T_base_ref, T_base_tcp)
    violations: list[str] = []
    if not is_pose(T_base_target):
        violations.append("not_a_pose")
        T_base_target = T_base_tcp
        if not at.is_inside:  # the way back is for an arm that somebody leads
            return GuardedTarget(T_base_tcp=T_base_tcp.copy(), violations=(*violations, "hold"))
    target = at.limited(T_base_target, violations)
    clash = at.broken(target)
    if clash:
        violations += [name for name in clash if name not in violations]
        on_the_way = at.on_the_way_to(target)
        violations += ["hold"] * (on_the_way is None)
        target = T_base_tcp.copy() if on_the_way is None else on_the_way
    return GuardedTarget(T_base_tcp=target, violations=tuple(violations))


class _Situation:
    """Where an arm is, where it was told to go before, and what its next target may be."""

    def __init__(self, limits: GuardLimits, T_base_ref: FloatArray, T_base_tcp: FloatArray) -> None:
        self._limits, self._ref, self._tcp = limits, T_base_ref, T_base_tcp
        workspace, p_base_tcp, tilt_rad = limits.workspace, T_base_tcp[:3, 3], self._tilt_rad(T_base_tcp)
        self.is_inside = workspace.contains(p_base_tcp) and tilt_rad <= limits.max_tilt_rad
        """Whether the TCP is within workspace and tilt."""
        # Further out than the TCP no target may be: along no axis, and in no tilt.
        self._room = Box(lower=np.minimum(workspace.lower, p_base_tcp), upper=np.maximum(workspace.upper, p_base_tcp))
        self._most_rad = max(limits.max_tilt_rad, tilt_rad)

    def limited(self, T_base_target: FloatArray, acted: list[str]) -> FloatArray:
        """Return a target after one limit at a time, the later ones winning; add the names of those that acted."""
        limits = self._limits
        step = pose_difference(self._ref, T_base_target)
        step[:3], over = _shorten(step[:3], limits.max_step_m)
        acted += ["step"] * over
        step[3:], over = _shorten(step[3:], limits.max_step_rad)
        acted += ["rotation_step"] * over
        target = apply_delta(self._ref, step)

        lead = pose_difference(self._tcp, target)
        lead[:3], over = _shorten(lead[:3], limits.leash_m)
        acted += ["leash"] * over
        lead[3:], over = _shorten(lead[3:], limits.leash_rad)
        acted += ["rotation_leash"] * over
        target = apply_delta(self._tcp, lead)

        nominal = pose(target[:3, 3], limits.nominal_rotation)
        tilt = pose_difference(nominal, target)
        tilt[3:], over = _shorten(tilt[3:], limits.max_tilt_rad)
        acted += ["tilt"] * over
        target = apply_delta(nominal, tilt)

        inside = limits.workspace.project(target[:3, 3])
        if not np.array_equal(inside, target[:3, 3]):
            acted.append("workspace")
        target[:3, 3] = inside
        return target

    def broken(self, T_base_target: FloatArray) -> list[str]:
        """Return the names of the limits that a target breaks; what is not finite breaks them all."""
        limits = self._limits
        step, lead = pose_difference(self._ref, T_base_target), pose_difference(self._tcp, T_base_target)
        kept = {
            "step": np.linalg.norm(step[:3]) <= limits.max_step_m + _ROUNDING_M,
            "rotation_step": np.linalg.norm(step[3:]) <= limits.max_step_rad + _ROUNDING_RAD,
            "leash": np.linalg.norm(lead[:3]) <= limits.leash_m + _ROUNDING_M,
            "rotation_leash": np.linalg.norm(lead[3:]) <= limits.leash_rad + _ROUNDING_RAD,
            "tilt": self._tilt_rad(T_base_target) <= self._most_rad + _ROUNDING_RAD,
            "workspace": self._room.contains(T_base_target[:3, 3]),
        }
        return [name for name, is_kept in kept.items() if not is_kept]

    def on_the_way_to(self, T_base_goal: FloatArray) -> FloatArray | None:
        """Return the last pose on the way to a goal that keeps every limit, or None if no way there begins with one.

        The way begins at the reference, pulled onto the leash, which changes least; else at the TCP.
        """
        lead = pose_difference(self._tcp, self._ref)
        lead[:3], _ = _shorten(lead[:3], self._limits.leash_m)
        lead[3:], _ = _shorten(lead[3:], self._limits.leash_rad)
        on_leash = apply_delta(self._tcp, lead)
        on_leash[:3, 3] = self._room.project(on_leash[:3, 3])
        for start in (on_leash, self._tcp):
            if not self.broken(start):
                shift, turn = np.split(pose_difference(start, T_base_goal), 2)
                shifted = self._furthest(start, np.append(shift, np.zeros(3)))
                return self._furthest(shifted, np.append(np.zeros(3), turn))
        return None

    def _furthest(self, T_base_start: FloatArray, way: FloatArray) -> FloatArray:
        """Return the last pose along a way (6,) that keeps every limit, as its start does; they are convex."""
        share = 0.0
        for halving in range(_HALVINGS):
            more = share + 0.5**halving
            if more <= 1.0 and not self.broken(apply_delta(T_base_start, way * more)):
                share = more
        return apply_delta(T_base_start, way * share)

    def _tilt_rad(self, T_base_tcp: FloatArray) -> float:
        return float(np.linalg.norm(matrix_to_rotvec(T_base_tcp[:3, :3] @ self._limits.nominal_rotation.T)))


def is_pose(T: FloatArray) -> bool:
    """Return whether a matrix is a rigid pose within any arm's reach."""
    if np.shape(T) != (4, 4) or not np.all(np.isfinite(T)) or np.max(np.abs(T)) > FARTHEST_M:
        return False
    R = T[:3, :3]
    rigid = np.max(np.abs(R @ R.T - np.eye(3))) < _RIGID and np.linalg.det(R) > 0.0
    return bool(rigid and np.array_equal(T[3], _BOTTOM_ROW))


def _shorten(vector: FloatArray, longest: float) -> tuple[FloatArray, bool]:
    """Return the vector scaled down to at most `longest`, and whether that was needed."""
    length = float(np.linalg.norm(vector))
    if length <= longest * (1 + 1e-9):
        return vector, False
    return vector * (longest / length), True


def _text(point: FloatArray) -> str:
    return "(" + ", ".join(f"{v:.3f}" for v in point) + ")"
