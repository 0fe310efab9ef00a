"""How an arm comes back to the start of an episode: out of what it is in, up, over, down."""

from collections.abc import Callable

import numpy as np

from rl.robots.base import CLOSED_BELOW, Arm, Gripper
from rl.tasks.base import Task
from rl.transforms import pose
from rl.types import Box, FloatArray

SPEED_M_S = 0.10
"""Of the way through free space, [m/s]; out of a contact it is half of it."""


class ScriptedReset:
    """Retracts along the tool axis, has the scene renewed, resets the joints now and then, and goes to the start."""

    def __init__(
        self,
        task: Task,
        arm: Arm,
        gripper: Gripper,
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
        self._episode = 0
        self._T_home = pose(workspace.project(task.home[:3, 3]), task.home[:3, :3])
        self._reset_joints = arm.joint_reset(self._T_home)

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
        if self._reset_joints is not None and self._reset_joints.due(self._episode):
            self._go(self._T_home)  # the way of the joints is known from above home only
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
