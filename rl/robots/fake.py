"""An arm that obeys at once and cameras that show a flat colour: for tests of everything around it."""

from collections.abc import Collection
from typing import Any

import numpy as np

from rl.robots.base import CLOSED_BELOW, CONTROL_RATE_HZ
from rl.robots.rendering import intrinsics
from rl.tasks.base import SimulatedTask, Task
from rl.transforms import pose, pose_difference
from rl.types import ByteArray, FloatArray, RGBDFrame, RobotState


class FakeBackend:
    """A deterministic kinematic `Backend`: the TCP is where it was commanded, nothing pushes back.

    The scene is the task's nominal one reduced to a few points, none for a task without a scene; images are one colour
    that depends on the position. Points that the task's fingers can hold follow them, and fall back to their height
    when they are let go.
    """

    def __init__(self, task: Task) -> None:
        """Place the arm at the task's home."""
        self._task = task
        self._T = task.home
        self._twist: FloatArray = np.zeros(6)
        self._opening = task.gripper_opening
        scene = task.scene_mjcf() if isinstance(task, SimulatedTask) else None
        self._grasp = None if scene is None else scene.grasp
        bodies = {} if scene is None else scene.truth_bodies
        self._loose = {name for name, body in bodies.items() if self._grasp and body in self._grasp.bodies}
        """Points that can be held."""
        self._landmarks, held = (task.landmarks, task.held_points) if isinstance(task, SimulatedTask) else ({}, {})
        self._points = dict(self._landmarks)
        self._held: dict[str, FloatArray] = dict(held)
        """Points that follow the TCP, in its frame."""
        self._start = self._points, self._held

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Jump to the start pose."""
        self._T, self._twist, self._opening = T_base_tcp.copy(), np.zeros(6), self._task.gripper_opening
        self._points, self._held = (dict(points) for points in self._start)
        return self._measure()

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Jump to the target."""
        self._twist = pose_difference(self._T, T_base_target) * CONTROL_RATE_HZ
        closes = gripper_opening < CLOSED_BELOW <= self._opening
        opens = self._opening < CLOSED_BELOW <= gripper_opening
        if opens and self._grasp:
            self._let_go()
        self._T, self._opening = T_base_target.copy(), gripper_opening
        if closes and self._grasp:
            in_tcp = {name: self._T[:3, :3].T @ (self._points[name] - self._T[:3, 3]) for name in self._loose}
            near = {name: point for name, point in in_tcp.items() if self._grasp.reach.contains(point)}
            self._held = self._held | near
        return self._measure()

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return images in one colour, the position modulo 25.6 cm in millimetres."""
        colour = (np.round(self._T[:3, 3] * 1000) % 256).astype(np.uint8)
        return {camera.name: np.tile(colour, (image_size, image_size, 1)) for camera in self._task.policy_cameras}

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
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
        held = {name: self._T[:3, 3] + self._T[:3, :3] @ point for name, point in self._held.items()}
        return {**self._points, **held}

    def snapshot(self) -> Any:
        """Return pose, twist, opening, and what lies and is held where."""
        return self._T, self._twist, self._opening, self._points, self._held

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot."""
        self._T, self._twist, self._opening, self._points, self._held = snapshot

    def close(self) -> None:
        """Do nothing."""

    def _let_go(self) -> None:
        points = self.truth()
        for name in self._loose & self._held.keys():
            points[name] = np.append(points[name][:2], self._landmarks[name][2])
        self._points = {name: points[name] for name in self._points}
        self._held = {name: point for name, point in self._held.items() if name not in self._loose}

    def _measure(self) -> RobotState:
        return RobotState(
            T_base_tcp=self._T.copy(), twist=self._twist.copy(), wrench=np.zeros(6), gripper_opening=self._opening
        )
