"""Straight lines by tracking: many small guarded targets, then rest."""

import math
from typing import Protocol

import numpy as np

from rl.errors import ConfigError
from rl.guard import GuardLimits
from rl.robots.base import Measurement
from rl.robots.clock import REAL_TIME, Clock
from rl.transforms import apply_delta, pose_difference
from rl.types import Box, FloatArray

PERIOD_S = 0.05
"""From one target of a line to the next, [s]."""
MAX_SPEED_M_S = 0.25
TURN_RAD_S = 0.5
"""Turning speed of a line's target, [rad/s]."""
SETTLE_S = 4.0
"""Longest wait for the arm to reach the end of a line, [s]."""


class Follower(Protocol):
    """An arm that follows targets."""

    limits: GuardLimits

    def command(self, T_base_target: FloatArray) -> FloatArray:
        """Set a guarded target."""

    def measure(self) -> Measurement:
        """Return the measurement."""


def follow_line(
    arm: Follower, T_base_tcp: FloatArray, *, T_start: FloatArray, speed_m_s: float, clock: Clock = REAL_TIME
) -> str:
    """Lead an arm along a straight line and wait until it stands at its end.

    Args:
        arm: Follows and guards each target.
        T_base_tcp: End of the line. Shape (4, 4), [m].
        T_start: Its start: the arm's present target. Shape (4, 4), [m].
        speed_m_s: Speed of the target, [m/s].
        clock: The station's.

    Returns:
        A sentence if the arm stands somewhere else: something is in its way. Empty if it got there.

    Raises:
        ConfigError: If the end is outside the workspace, or the speed out of its range.
    """
    workspace = arm.limits.workspace
    if not np.all(np.isfinite(T_base_tcp)) or not workspace.contains(np.round(T_base_tcp[:3, 3], 6)):
        raise ConfigError(f"{place(T_base_tcp)} is outside the workspace {corners(workspace)}; go elsewhere.")
    if not 0.0 < speed_m_s <= MAX_SPEED_M_S:
        raise ConfigError(f"speed_m_s is {speed_m_s}; ask for more than 0 and at most {MAX_SPEED_M_S}.")
    way = pose_difference(T_start, T_base_tcp)
    duration_s = max(float(np.linalg.norm(way[:3])) / speed_m_s, float(np.linalg.norm(way[3:])) / TURN_RAD_S)
    steps = max(1, math.ceil(duration_s / PERIOD_S))
    for step in range(1, steps + 1):
        arm.command(apply_delta(T_start, way * (step / steps)))
        clock.sleep(PERIOD_S)
    return _settle(arm, T_base_tcp, clock)


def _settle(arm: Follower, T_base_tcp: FloatArray, clock: Clock) -> str:
    deadline_s = clock.now() + SETTLE_S
    while True:
        arm.command(T_base_tcp)  # again: the leash may have held the last one back
        state = arm.measure()
        error = pose_difference(state.T_base_tcp, T_base_tcp)
        off_m, off_rad = float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
        still = float(np.linalg.norm(state.twist[:3])) < 0.005 and float(np.linalg.norm(state.twist[3:])) < 0.03
        if still and off_m < 0.003 and off_rad < 0.02:
            return ""
        if clock.now() > deadline_s:
            break
        clock.sleep(PERIOD_S)
    if off_m < 0.015 and off_rad < 0.1:
        return ""  # friction: as near as the stiffness brings it
    return (
        f"The arm stands {1000 * off_m:.0f} mm and {np.degrees(off_rad):.0f} degrees from {place(T_base_tcp)}; "
        "something is in its way."
    )


def place(T_base_tcp: FloatArray) -> str:
    """Return a pose's position in words."""
    x, y, z = T_base_tcp[:3, 3]
    return f"TCP position ({x:.3f}, {y:.3f}, {z:.3f}) m"


def corners(box: Box) -> str:
    """Return a box's corners in words."""
    return " to ".join("(" + ", ".join(f"{v:.3f}" for v in corner) + ")" for corner in (box.lower, box.upper))
