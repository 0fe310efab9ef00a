"""How old frames are when they are used: what a policy on a robot acts on is always a little in the past."""

from collections import deque

import numpy as np

from rl.robots.base import CameraDriver, CameraFrame, CameraInfo
from rl.robots.clock import REAL_TIME, Clock

KEPT = 100_000
"""Newest ages of which figures are taken."""


class FrameAges:
    """Notes the age of every frame that is taken from the drivers that it watches."""

    def __init__(self, clock: Clock = REAL_TIME) -> None:
        self._clock = clock
        self._ages_s: deque[float] = deque(maxlen=KEPT)

    def watch(self, driver: CameraDriver) -> CameraDriver:
        """Return the driver, watched."""
        return _Watched(driver, self._ages_s, self._clock)

    def metrics(self) -> dict[str, float]:
        """Return figures of the ages, [ms]; nothing before the first frame."""
        if not self._ages_s:
            return {}
        ages_ms = 1e3 * np.array(self._ages_s)
        return {
            "camera_age_p50_ms": float(np.percentile(ages_ms, 50)),
            "camera_age_p99_ms": float(np.percentile(ages_ms, 99)),
            "camera_age_max_ms": float(ages_ms.max()),
        }


class _Watched:
    """A `CameraDriver` whose frames' ages are noted."""

    def __init__(self, driver: CameraDriver, ages_s: deque[float], clock: Clock) -> None:
        self._driver, self._clock = driver, clock
        self._ages_s = ages_s

    @property
    def info(self) -> CameraInfo:
        return self._driver.info

    def latest(self, *, max_age_s: float | None = None, depth: bool = True) -> CameraFrame:
        frame = self._driver.latest(max_age_s=max_age_s, depth=depth)
        self._ages_s.append(self._clock.now() - frame.time_s)
        return frame

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        return self._driver.wait_newer(time_s, timeout_s=timeout_s)

    def close(self) -> None:
        self._driver.close()
