"""A camera of one's own in place of a RealSense: it shows one colour, half a metre away (docs/extend/arm.md)."""

import numpy as np

from rl.robots.base import CameraFrame, CameraInfo
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import CameraConfig


class FlatCamera:
    """Shows one colour half a metre away; frames are always fresh."""

    def __init__(self, config: CameraConfig, clock: Clock = REAL_TIME) -> None:
        """Open it."""
        self._clock, self._frames = clock, 0
        K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
        about = {"serial": config.device, "model": "flat", "depth_unit_m": 1e-3, "K": K, "distortion": np.zeros(5)}
        self.info = CameraInfo(name=config.name, width=640, height=480, **about)

    def latest(self, *, max_age_s: float | None = None, depth: bool = True) -> CameraFrame:
        """Return a frame of now."""
        self._frames += 1
        rgb, depth_m = np.full((480, 640, 3), 90, np.uint8), np.full((480, 640), 0.5, np.float32)
        return CameraFrame(rgb=rgb, depth_m=depth_m, time_s=self._clock.now(), number=self._frames)

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        """Return a frame of now."""
        return self.latest()

    def close(self) -> None:
        """Do nothing."""
