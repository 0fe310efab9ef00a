"""An arm that obeys at once and cameras that show a flat colour: for tests of everything around it."""

from collections.abc import Collection
from typing import Any

import numpy as np

from rl.robots.base import CONTROL_RATE_HZ
from rl.robots.rendering import intrinsics
from rl.tasks.base import Task
from rl.transforms import pose, pose_difference
from rl.types import ByteArray, FloatArray, RGBDFrame, RobotState


class FakeBackend:
    """A deterministic kinematic `Backend`: the TCP is where it was commanded, nothing pushes back.

    The scene is the task's nominal one reduced to a few points; images are one colour that depends on the position.
    """

    def __init__(self, task: Task) -> None:
        """Place the arm at the task's home."""
        self._task = task
        self._T = task.home
        self._twist: FloatArray = np.zeros(6)
        self._opening = task.gripper_opening

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Jump to the start pose."""
        self._T, self._twist, self._opening = T_base_tcp.copy(), np.zeros(6), self._task.gripper_opening
        return self._measure()

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Jump to the target."""
        self._twist = pose_difference(self._T, T_base_target) * CONTROL_RATE_HZ
        self._T, self._opening = T_base_target.copy(), gripper_opening
        return self._measure()

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return images in one colour, the position modulo 25.6 cm in millimetres."""
        colour = (np.round(self._T[:3, 3] * 1000) % 256).astype(np.uint8)
        return {camera.name: np.tile(colour, (image_size, image_size, 1)) for camera in self._task.policy_cameras}

    def capture(self, cameras: Collection[str] | None = None) -> tuple[RGBDFrame, ...]:
        """Return grey images of a wall half a metre in front of each camera at the base."""
        return tuple(
            RGBDFrame(
                name=camera.name,
                rgb=np.full((480, 640, 3), 128, np.uint8),
                depth_m=np.full((480, 640), 0.5, np.float32),
                K=intrinsics(width=640, height=480, fovy_deg=camera.fovy_deg),
                T_base_cam=pose(np.zeros(3)),
            )
            for camera in self._task.agent_cameras
            if cameras is None or camera.name in cameras
        )

    def truth(self) -> dict[str, FloatArray]:
        """Return the nominal scene's points and those of what is held."""
        held = {name: self._T[:3, 3] + self._T[:3, :3] @ point for name, point in self._task.held_points.items()}
        return {**self._task.landmarks, **held}

    def snapshot(self) -> Any:
        """Return pose, twist and opening."""
        return self._T, self._twist, self._opening

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self._T, self._twist, self._opening = snapshot

    def close(self) -> None:
        """Do nothing."""

    def _measure(self) -> RobotState:
        return RobotState(
            T_base_tcp=self._T.copy(), twist=self._twist.copy(), wrench=np.zeros(6), gripper_opening=self._opening
        )
