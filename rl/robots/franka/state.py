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


SILENT_LOOKS = 5
"""Looks at one and the same state after which the control box counts as silent."""


class Silence:
    """For how long the control box has said nothing new, for somebody who looks now and then.

    What the one who looks slept through does not count by itself: states may only wait to be received.
    """

    def __init__(self) -> None:
        self.duration_s = 0.0
        """By the last look, [s]."""
        self._state_s, self._since_s, self._looks = -1.0, 0.0, 0

    def look(self, robot_time_s: float, time_s: float) -> bool:
        """Look at the newest state, of a time of the robot's, and return whether it is a new one."""
        if robot_time_s != self._state_s:
            self._state_s, self._since_s, self._looks = robot_time_s, time_s, 0
        else:
            self._looks += 1
        self.duration_s = time_s - self._since_s if self._looks >= SILENT_LOOKS else 0.0
        return self._looks == 0
