"""A backend that commands nothing: it draws on the camera image what would be commanded."""

from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rl.errors import AgpsError, ConfigError
from rl.robots.base import Arm, Cameras
from rl.robots.clock import REAL_TIME, Clock
from rl.tasks.base import Task
from rl.types import CONTROL_PERIOD_S, Box, ByteArray, FloatArray, RGBDFrame, RobotState

TRAIL = 30
"""Targets that are drawn."""
_TARGET, _TCP, _BOX = (255, 140, 0), (0, 200, 90), (150, 90, 230)


class DryRunBackend:
    """Measures and sees like the real one, moves nothing, and writes pictures: one per second of commands.

    Violet: the workspace. Green: the measured TCP. Orange: the newest targets, which the arm would follow. As nothing
    moves, the leash keeps every target near the TCP.
    """

    def __init__(
        self,
        task: Task,
        arm: Arm,
        cameras: Cameras,
        *,
        workspace: Box,
        folder: Path | None,
        picture_every: int = 10,
        clock: Clock = REAL_TIME,
    ) -> None:
        """Look at a station.

        Args:
            task: What would be done.
            arm: Connected, not moving.
            cameras: Opened.
            workspace: Drawn as a box, base frame, [m].
            folder: Where pictures are written; None: nowhere.
            picture_every: Commands from one picture to the next.
            clock: The station's.
        """
        self._task = task
        self._arm = arm
        self._cameras = cameras
        self._workspace = workspace
        self._folder = folder
        self._picture_every = picture_every
        self._clock = clock
        self._targets: deque[FloatArray] = deque(maxlen=TRAIL)
        self._commands = 0
        self._deadline_s = 0.0

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Return the first measurement; the arm stays where it is."""
        self._targets.clear()
        self._cameras.wait_newer(self._clock.now())
        self._deadline_s = self._clock.now()
        return self._measure()

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Note a target, and return the measurement at the end of the control period."""
        self._targets.append(T_base_target[:3, 3].copy())
        self._deadline_s = max(self._deadline_s, self._clock.now()) + CONTROL_PERIOD_S
        if self._folder is not None and self._commands % self._picture_every == 0:
            self._draw(self._folder / f"step_{self._commands:04d}.png")
        self._commands += 1
        self._clock.sleep(self._deadline_s - self._clock.now())
        return self._measure()

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return what the policy would see."""
        return self._cameras.policy_images(image_size)

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return what the agent would see."""
        return self._cameras.capture(cameras, self._arm.pose_at)

    def truth(self) -> Mapping[str, FloatArray]:
        """Return nothing."""
        return {}

    def snapshot(self) -> Any:
        """Refuse: a real scene cannot be saved."""
        raise ConfigError("A real arm and scene cannot be saved and restored; use the simulation.")

    def restore(self, snapshot: Any) -> None:
        """Refuse: a real scene cannot be restored."""
        self.snapshot()

    def pause(self) -> None:
        """Do nothing: the arm is still."""

    def resume(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def recover(self) -> None:
        """Do nothing."""

    def metrics(self) -> Mapping[str, float]:
        """Return how many commands were not sent."""
        return {"commands_drawn": float(self._commands)}

    def close(self) -> None:
        """Close cameras and connection."""
        self._cameras.close()
        self._arm.close()

    def _measure(self) -> RobotState:
        measured = self._arm.measure()
        return RobotState(
            T_base_tcp=measured.T_base_tcp,
            twist=measured.twist,
            wrench=measured.wrench,
            gripper_opening=self._task.gripper_opening,
        )

    def _draw(self, path: Path) -> None:
        frame = self.capture()[0]
        picture = draw_targets(
            frame, list(self._targets), position=self._arm.measure().T_base_tcp[:3, 3], workspace=self._workspace
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), picture[:, :, ::-1]):
            raise AgpsError(f"Cannot write {path}; make room, or name another folder.")


def draw_targets(frame: RGBDFrame, targets: list[FloatArray], *, position: FloatArray, workspace: Box) -> ByteArray:
    """Return a camera's image with targets, TCP and workspace drawn into it. Shape (H, W, 3).

    Args:
        frame: Image with its calibration.
        targets: Positions in the base frame, oldest first, each (3,), [m].
        position: Of the TCP, base frame. Shape (3,), [m].
        workspace: Base frame, [m].
    """
    picture = frame.rgb.copy()
    corners = np.array([[*xy, z] for z in (0, 1) for xy in ((0, 0), (1, 0), (1, 1), (0, 1))])
    points = workspace.lower + corners * (workspace.upper - workspace.lower)
    edges = [(i, (i + 1) % 4) for i in range(4)] + [(4 + i, 4 + (i + 1) % 4) for i in range(4)]
    for a, b in [*edges, *((i, i + 4) for i in range(4))]:
        _line(picture, frame, points[a], points[b], _BOX, 1)
    for earlier, later in zip(targets, targets[1:], strict=False):
        _line(picture, frame, earlier, later, _TARGET, 2)
    if targets:
        _line(picture, frame, position, targets[-1], _TARGET, 1)
        _ring(picture, frame, targets[-1], _TARGET)
    _ring(picture, frame, position, _TCP)
    return picture


def _pixel(frame: RGBDFrame, point: FloatArray) -> tuple[int, int] | None:
    """Return where a point of the base frame is in the image, [px]; None behind the camera."""
    T = frame.T_base_cam
    in_cam = T[:3, :3].T @ (point - T[:3, 3])
    if in_cam[2] < 0.01:
        return None
    u, v, _ = frame.K @ (in_cam / in_cam[2])
    return round(float(np.clip(u, -1e4, 1e4))), round(float(np.clip(v, -1e4, 1e4)))


def _line(
    picture: ByteArray, frame: RGBDFrame, a: FloatArray, b: FloatArray, colour: tuple[int, int, int], width: int
) -> None:
    start, end = _pixel(frame, a), _pixel(frame, b)
    if start is not None and end is not None:
        cv2.line(picture, start, end, colour, width, cv2.LINE_AA)


def _ring(picture: ByteArray, frame: RGBDFrame, point: FloatArray, colour: tuple[int, int, int]) -> None:
    centre = _pixel(frame, point)
    if centre is not None:
        cv2.circle(picture, centre, 7, colour, 2, cv2.LINE_AA)
