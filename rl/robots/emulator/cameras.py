"""Images of the emulated cameras: colour and raw depth from the colour camera's eye, with its lens."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rl.robots.clock import REAL_TIME
from rl.robots.emulator.profiles import CameraProfile, pinhole, task_cameras
from rl.robots.emulator.shared import SharedScene
from rl.robots.engine import mujoco
from rl.robots.mujoco import MAX_DEPTH_M
from rl.robots.rendering import Renderer, intrinsics
from rl.tasks.base import Task
from rl.types import ByteArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class RawFrame:
    """What one camera saw at one time."""

    number: int
    time_s: float
    """Time of the scene's configuration, by the station's clock, [s]."""
    rgb: ByteArray
    """Shape (H, W, 3), uint8."""
    depth: npt.NDArray[np.uint16]
    """In depth units, 0 where there is no data. Shape (H, W)."""


class Lens:
    """Turns a wider pinhole image into what a Brown-Conrady lens draws."""

    def __init__(self, K: FloatArray, distortion: FloatArray, width: int, height: int) -> None:
        """Find where each pixel of the lens looks.

        Args:
            K: Intrinsics of the image to draw. Shape (3, 3), [px].
            distortion: OpenCV coefficients (k1, k2, p1, p2, k3).
            width: Of the image to draw, [px].
            height: Of the image to draw, [px].
        """
        u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        pixels = np.stack([u, v], axis=-1).reshape(-1, 1, 2)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
        seen = cv2.undistortPointsIter(pixels, K, distortion, np.eye(3), np.eye(3), criteria).reshape(-1, 2)
        focal = float(K[1, 1])
        reach = np.abs(seen).max(axis=0) * focal + 2.0
        self.width, self.height = (2 * int(np.ceil(reach[0])) + 1, 2 * int(np.ceil(reach[1])) + 1)
        """Of the pinhole image to render, [px]."""
        self.fovy_deg = float(np.rad2deg(2 * np.arctan(self.height / 2 / focal)))
        """Vertical field of view of the image to render, [deg]."""
        wide = intrinsics(width=self.width, height=self.height, fovy_deg=self.fovy_deg)
        at = (seen * focal + wide[:2, 2]).reshape(height, width, 2).astype(np.float32)
        self._map_x, self._map_y = at[..., 0].copy(), at[..., 1].copy()

    def draw(self, rgb: ByteArray, depth_m: npt.NDArray[np.float32]) -> tuple[ByteArray, npt.NDArray[np.float32]]:
        """Return colour and depth as the lens draws them; depth is never mixed between neighbours."""
        colour = cv2.remap(rgb, self._map_x, self._map_y, cv2.INTER_LINEAR)
        depth = cv2.remap(depth_m, self._map_x, self._map_y, cv2.INTER_NEAREST)
        return np.asarray(colour, np.uint8), np.asarray(depth, np.float32)


class _Camera:
    """One camera: its renderer, its lens and its last frame."""

    def __init__(self, model: Any, task: Task, profile: CameraProfile) -> None:
        self.profile = profile
        self.id = model.camera(profile.name).id
        camera = task_cameras(task)[profile.name]
        self.K = pinhole(camera, profile)
        self.lens: Lens | None = None
        size = profile.width, profile.height
        if any(profile.distortion):
            self.lens = Lens(self.K, np.array(profile.distortion), *size)
            size = self.lens.width, self.lens.height
            model.cam_fovy[self.id] = self.lens.fovy_deg
        self.size = size
        self.viewers = 0
        self.stalled_until_s = 0.0
        self.due_s = 0.0
        self.frame: RawFrame | None = None


class CameraStudio:
    """Renders the cameras that somebody looks at, each at its own rate, from the shared scene."""

    def __init__(self, task: Task, model: Any, scene: SharedScene, profiles: Sequence[CameraProfile]) -> None:
        """Take a model of one's own; it is changed where lenses need a wider view."""
        self._model, self._scene = model, scene
        self._data = mujoco.MjData(model)
        self._cameras = {profile.name: _Camera(model, task, profile) for profile in profiles}
        self._renderers: dict[tuple[int, int], Renderer] = {}
        self._news = threading.Condition()
        self.clock = REAL_TIME
        """The station's."""
        self.model_lock = threading.Lock()
        """Held while the model is read for an image, or changed."""

    def watch(self, name: str, change: int) -> None:
        """Count a viewer in (+1) or out (-1)."""
        with self._news:
            self._cameras[name].viewers += change
            self._news.notify_all()

    def stall(self, name: str, duration_s: float) -> None:
        """Deliver no frame of a camera for a time, [s]; 0 ends it."""
        self._cameras[name].stalled_until_s = self.clock.now() + duration_s

    @property
    def names(self) -> tuple[str, ...]:
        """Cameras that can be watched."""
        return tuple(self._cameras)

    def next_frame(self, name: str, after: int) -> RawFrame:
        """Wait for a frame of a camera with a number above `after`."""
        camera = self._cameras[name]
        with self._news:
            while camera.frame is None or camera.frame.number <= after:
                self._news.wait()
            return camera.frame

    def run(self) -> None:
        """Render for ever, in the thread that calls."""
        while True:
            now = self.clock.now()
            watched = [c for c in self._cameras.values() if c.viewers and now >= c.stalled_until_s]
            due = [c for c in watched if now >= c.due_s]
            if due:
                self._take(due, now)
            else:
                wake = min((c.due_s for c in watched), default=now + 0.05)
                with self._news:
                    self._news.wait(timeout=self.clock.host_s(float(np.clip(wake - now, 0.001, 0.05))))

    def _take(self, due: Sequence[_Camera], now: float) -> None:
        """Deliver images of cameras, of one and the same configuration."""
        frames = self.look(due)
        with self._news:
            for camera, frame in zip(due, frames, strict=True):
                camera.frame = frame
                camera.due_s = max(camera.due_s + 1.0 / camera.profile.fps, now)
            self._news.notify_all()

    def look(self, due: Sequence[_Camera] | None = None) -> list[RawFrame]:
        """Render cameras, all if None, of one and the same configuration; called by the thread that runs this."""
        with self.model_lock:
            time_s = self._scene.read(self._data)
            mujoco.mj_kinematics(self._model, self._data)
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_camlight(self._model, self._data)
            mujoco.mj_flex(self._model, self._data)
            return [self._render(camera, time_s) for camera in (self._cameras.values() if due is None else due)]

    def _render(self, camera: _Camera, time_s: float) -> RawFrame:
        renderer = self._renderers.get(camera.size)
        if renderer is None:
            width, height = camera.size
            renderer = Renderer(self._model, width=width, height=height, geom_groups=(0, 1), samples=0)
            self._renderers[camera.size] = renderer
        rgb, depth_m = renderer.render(self._data, camera.id, depth=True)
        depth_m[depth_m > MAX_DEPTH_M] = 0.0
        if camera.lens is not None:
            rgb, depth_m = camera.lens.draw(rgb, depth_m)
        depth = np.minimum(np.rint(depth_m / camera.profile.depth_unit_m), np.iinfo(np.uint16).max)
        number = 0 if camera.frame is None else camera.frame.number + 1
        return RawFrame(number=number, time_s=time_s, rgb=rgb, depth=depth.astype(np.uint16))
