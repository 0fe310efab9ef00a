"""The one function that every commanded target passes, whoever asked for it: policy, agent, expert or human."""

from dataclasses import dataclass, field

import numpy as np

from rl.transforms import apply_delta, pose_difference
from rl.types import Box, FloatArray


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """What the arm may be told to do in one control step."""

    workspace: Box
    """The commanded TCP position never leaves this box, base frame, [m]."""
    max_step_m: float
    """Longest translation from the last reference, [m]."""
    max_step_rad: float
    """Largest rotation from the last reference, [rad]."""
    max_tilt_rad: float = 0.35
    """Largest rotation away from the task's nominal orientation, [rad]."""
    leash_m: float = 0.010
    """Largest distance of the target from the measured TCP, [m]: stiffness x leash bounds the contact force."""
    leash_rad: float = 0.10
    """Largest rotation of the target from the measured TCP, [rad]."""
    nominal_rotation: FloatArray = field(default_factory=lambda: np.diag([1.0, -1.0, -1.0]))
    """Orientation around which `max_tilt_rad` is measured: gripper straight down. Shape (3, 3)."""


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

    Order: not finite holds the measured pose; step from the last reference; leash to the measured pose; tilt; workspace
    last, so that no other limit can push a target out of it.

    Args:
        T_base_target: Wanted pose. Shape (4, 4), [m].
        T_base_ref: Last commanded pose. Shape (4, 4), [m].
        T_base_tcp: Measured pose. Shape (4, 4), [m].
        limits: The task's limits.
    """
    violations: list[str] = []
    if not np.all(np.isfinite(T_base_target)):
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


def _shorten(vector: FloatArray, longest: float) -> tuple[FloatArray, bool]:
    """Return the vector scaled down to at most `longest`, and whether that was needed."""
    length = float(np.linalg.norm(vector))
    if length <= longest * (1 + 1e-9):
        return vector, False
    return vector * (longest / length), True
