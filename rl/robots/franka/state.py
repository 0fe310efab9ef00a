"""What the arm measures."""

from dataclasses import dataclass

from rl.types import ComparesByValue, FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmState(ComparesByValue):
    """What the arm measures at one moment."""

    T_base_tcp: FloatArray
    """Pose of the TCP. Shape (4, 4), [m]."""
    twist: FloatArray
    """Measured velocity of the TCP, J(q) dq, base axes, translation first. Shape (6,), [m/s], [rad/s]."""
    wrench: FloatArray
    """Push of the world on the TCP, tared, base axes, force first. Shape (6,), [N], [N m]."""
    q: FloatArray
    """Joint angles. Shape (7,), [rad]."""
    time_s: float
    """By the station's clock (`rl.robots.clock`), [s]."""
    robot_time_s: float
    """The control box's own clock, [s]; an emulator's is late where cores are busy."""
    success_rate: float
    """Fraction of control commands that arrived in time; below 0.95 the network or kernel is too slow."""
