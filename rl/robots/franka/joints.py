"""The FR3's seven joints: which poses they reach, and how the elbow comes back after it has drifted."""

from typing import TYPE_CHECKING

import numpy as np

from rl.errors import ConfigError, HardwareFault
from rl.robots import panda
from rl.types import FloatArray

if TYPE_CHECKING:
    from rl.robots.franka.arm import FrankaArm

KNOWN_RAD = 1.0
"""Largest distance of any joint from the reset posture at which a joint reset is tried, [rad]."""
MARGIN_RAD = 0.3
"""To the end of each joint's range, where the arm's own protection pushes back, [rad]."""


class FrankaJointReset:
    """Moves the joints to the posture of a home pose, every so many episodes."""

    def __init__(self, arm: "FrankaArm", T_base_home: FloatArray) -> None:
        """Plan the posture.

        Raises:
            ConfigError: If the arm cannot stand there.
        """
        self._arm = arm
        self._every = arm.config.joint_reset_every
        self._q_home = panda.inverse_kinematics(T_base_home, np.array(arm.config.home_q))

    def due(self, episode: int) -> bool:
        """Return whether an episode should begin with it, counting from 0; the first one never does."""
        return bool(self._every and episode and episode % self._every == 0)

    def __call__(self) -> None:
        """Undo the drift of the elbow; the TCP is above home.

        Raises:
            HardwareFault: If the arm is too far from the posture, or the way leaves the workspace.
        """
        off_rad = float(np.max(np.abs(self._arm.measure().q - self._q_home)))
        if off_rad > KNOWN_RAD:
            raise HardwareFault(
                f"A joint is {off_rad:.2f} rad from the reset posture, more than {KNOWN_RAD}: the way there is not "
                "known to be free. Guide the arm to its home by hand."
            )
        try:
            self._arm.move_joints(self._q_home)
        except ConfigError as error:
            raise HardwareFault(f"No joint reset: {error}") from error
        self._arm.start()


def reaches(T_base_tcp: FloatArray, q: FloatArray) -> bool:
    """Return whether the arm reaches a pose from the joint angles q with room to the joints' ends.

    Args:
        T_base_tcp: The pose. Shape (4, 4), [m].
        q: Joint angles to start from. Shape (7,), [rad].
    """
    try:
        there = panda.inverse_kinematics(T_base_tcp, q)
    except ConfigError:
        return False
    low, high = panda.JOINT_LIMITS.T + np.array([[MARGIN_RAD], [-MARGIN_RAD]])
    return bool(np.all(there > low) and np.all(there < high))
