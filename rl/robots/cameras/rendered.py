"""A camera of the simulation, as a driver."""

import time
from collections.abc import Callable

import numpy as np

from rl.errors import HardwareFault
from rl.robots.base import Backend, CameraDriver, CameraFrame, CameraInfo
from rl.robots.station import CameraConfig


class RenderedCamera:
    """A `CameraDriver` that renders when it is asked: its frames are always fresh."""

    def __init__(self, config: CameraConfig, backend: Backend) -> None:
        """Look through the backend's agent camera of the configured name."""
        self._config = config
        self._backend = backend
        self._number = 0
        self._closed = False
        frame = backend.capture([config.name])[0]
        height, width = frame.depth_m.shape
        self._info = CameraInfo(
            name=config.name,
            serial=f"rendered-{config.name}",
            model="MuJoCo camera",
            width=width,
            height=height,
            depth_unit_m=1e-4,
            K=frame.K,
            distortion=np.zeros(5),
            fps=config.fps,
        )

    @property
    def info(self) -> CameraInfo:
        """What the camera is and sees."""
        return self._info

    def latest(self, *, max_age_s: float | None = None, depth: bool = True) -> CameraFrame:
        """Return the scene as it is."""
        if self._closed:
            raise HardwareFault(f"Camera {self._config.name} ({self._config.device}) is closed.")
        time_s = time.monotonic()
        frame = self._backend.capture([self._config.name])[0]
        self._number += 1
        depth_m = frame.depth_m if depth else np.empty((0, 0), np.float32)
        return CameraFrame(rgb=frame.rgb, depth_m=depth_m, time_s=time_s, number=self._number)

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        """Return the scene as it is after a host time."""
        wait_s = time_s - time.monotonic()
        if wait_s >= timeout_s:
            raise HardwareFault(
                f"Camera {self._config.name} ({self._config.device}) sent no new frame in {timeout_s:.2f} s."
            )
        if wait_s >= 0.0:
            time.sleep(wait_s + 1e-3)
        return self.latest()

    def close(self) -> None:
        """Refuse further frames; the backend stays open."""
        self._closed = True


def rendered_by(backend: Backend) -> Callable[[CameraConfig], CameraDriver]:
    """Return what opens a station's cameras in a simulation, for `CameraRig(open_camera=...)`."""
    return lambda config: RenderedCamera(config, backend)
