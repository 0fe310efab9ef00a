"""How an arm comes back to the start of an episode: out of what it is in, up, over, down."""

import logging
from collections.abc import Callable

import numpy as np

from rl.errors import ConfigError, HardwareFault
from rl.robots import panda
from rl.robots.base import CLOSED_BELOW
from rl.robots.franka.arm import FrankaArm
from rl.robots.franka.gripper import FrankaGripper
from rl.tasks.base import Task
from rl.transforms import pose
from rl.types import Box, FloatArray

logger = logging.getLogger(__name__)

SPEED_M_S = 0.10
"""Of the way through free space, [m/s]; out of a contact it is half of it."""
KNOWN_RAD = 1.0
"""Largest distance of any joint from the reset posture at which a joint reset is tried, [rad]."""


class ScriptedReset:
    """Retracts along the tool axis, has the scene renewed, resets the joints now and then, and goes to the start."""

    def __init__(
        self,
        task: Task,
        arm: FrankaArm,
        gripper: FrankaGripper,
        *,
        workspace: Box,
        renew: Callable[[np.random.Generator], None],
        speed: float = 1.0,
    ) -> None:
        """Plan the reset of a task.

        Args:
            task: Says how its tool leaves what it is in, where home is, and how far the gripper is open.
            arm: Moves, by guarded targets only.
            gripper: Opens or closes as the task starts.
            workspace: Where both task and station let the TCP go, base frame, [m].
            renew: Makes the next scene when the arm is out of the way: an emulator's, or an operator's work.
            speed: Factor on the speed of every motion, in (0, 1].

        Raises:
            ConfigError: If the arm cannot stand at the task's home.
        """
        self._task, self._arm, self._gripper = task, arm, gripper
        self._workspace, self._renew, self._speed = workspace, renew, speed
        self._every = arm.config.joint_reset_every
        self._episode = 0
        self._T_home = pose(workspace.project(task.home[:3, 3]), task.home[:3, :3])
        self._q_home = panda.inverse_kinematics(self._T_home, np.array(arm.config.home_q))

    def __call__(self, T_base_start: FloatArray, rng: np.random.Generator) -> None:
        """Bring arm and scene to the start; the arm tracks it afterwards, tared.

        Raises:
            HardwareFault: If something is in the way, or the arm or gripper fails.
        """
        arm, opening = self._arm, self._task.gripper_opening
        arm.start()
        self._gripper.command(opening)
        if opening >= CLOSED_BELOW:
            self._gripper.wait()  # let go of what is held before going away from it
        self._retract(T_base_start)
        self._renew(rng)
        if self._every and self._episode and self._episode % self._every == 0:
            self._reset_joints()
        self._episode += 1
        self._over(T_base_start)
        arm.tare()

    def _retract(self, T_base_start: FloatArray) -> None:
        """Leave what the tool is in, then rise to the height at which nothing is in the way."""
        for T in self._task.retreat(self._arm.measure().T_base_tcp):
            self._go(T, speed_m_s=SPEED_M_S / 2)
        T = self._arm.measure().T_base_tcp
        T[2, 3] = max(T[2, 3], self._height(T_base_start))
        self._go(T)

    def _over(self, T_base_start: FloatArray) -> None:
        above = T_base_start.copy()
        above[2, 3] = max(self._arm.measure().T_base_tcp[2, 3], self._height(T_base_start))
        self._go(above)
        self._go(T_base_start)

    def _height(self, T_base_start: FloatArray) -> float:
        return float(max(self._T_home[2, 3], T_base_start[2, 3]))

    def _go(self, T_base_tcp: FloatArray, *, speed_m_s: float = SPEED_M_S) -> None:
        T = pose(self._workspace.project(T_base_tcp[:3, 3]), T_base_tcp[:3, :3])
        self._arm.move_to(T, speed_m_s=self._speed * speed_m_s)

    def _reset_joints(self) -> None:
        """Undo the drift of the elbow, from above home only."""
        self._go(self._T_home)
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
