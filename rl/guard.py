"""The guard: the one function that every commanded target passes, whoever asked for it."""

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from rl.errors import ConfigError
from rl.transforms import apply_delta, pose_difference
from rl.types import Box, FloatArray

FARTHEST_M = 10.0
"""A position further from the base than this is no request, [m]."""
_RIGID = 1e-3
"""Largest entry of R R^T - I with which a matrix still counts as a rotation."""
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
    max_tilt_rad: float = 0.35
    """Largest rotation away from the task's nominal orientation, a geodesic angle, [rad]."""
    leash_m: float = 0.010
    """Largest distance of the target from the measured TCP, [m]: stiffness x leash bounds the contact force."""
    leash_rad: float = 0.10
    """Largest rotation of the target from the measured TCP, [rad]."""
    nominal_rotation: FloatArray = field(default_factory=lambda: np.diag([1.0, -1.0, -1.0]))
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
        rate_hz: float = 10.0,
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
    """Names of the limits that acted: not_finite, step, rotation_step, workspace, leash, rotation_leash, tilt."""


def guard_target(
    T_base_target: FloatArray, *, T_base_ref: FloatArray, T_base_tcp: FloatArray, limits: GuardLimits
) -> GuardedTarget:
    """Return the closest target that respects every limit.

    Order: what is no pose (not finite, not rigid, beyond all reach) holds the measured pose; step from the last
    reference; leash to the measured pose; tilt; workspace last, so that no other limit can push a target out of it.

    Args:
        T_base_target: Wanted pose. Shape (4, 4), [m].
        T_base_ref: Last commanded pose. Shape (4, 4), [m].
        T_base_tcp: Measured pose. Shape (4, 4), [m].
        limits: The task's limits.
    """
    violations: list[str] = []
    if not is_pose(T_base_target):
        violations.append("not_finite")
        T_base_target = T_base_tcp

    step = pose_difference(T_base_ref, T_base_target)
    step[:3], over = _shorten(step[:3], limits.max_step_m)
    violations += ["step"] * over
    step[3:], over = _shorten(step[3:], limits.max_step_rad)
    violations += ["rotation_step"] * over
    target = apply_delta(T_base_ref, step)

    lead = pose_difference(T_base_tcp, target)
    lead[:3], over = _shorten(lead[:3], limits.leash_m)
    violations += ["leash"] * over
    lead[3:], over = _shorten(lead[3:], limits.leash_rad)
    violations += ["rotation_leash"] * over
    target = apply_delta(T_base_tcp, lead)

    nominal = np.eye(4)
    nominal[:3, :3] = limits.nominal_rotation
    nominal[:3, 3] = target[:3, 3]
    tilt = pose_difference(nominal, target)
    tilt[3:], over = _shorten(tilt[3:], limits.max_tilt_rad)
    violations += ["tilt"] * over
    target = apply_delta(nominal, tilt)

    inside = limits.workspace.project(target[:3, 3])
    if not np.array_equal(inside, target[:3, 3]):
        violations.append("workspace")
    target[:3, 3] = inside
    return GuardedTarget(T_base_tcp=target, violations=tuple(violations))


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
