"""The seam between a station and a camera, whatever is behind it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rl.types import ByteArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class CameraInfo:
    """What a camera says about itself once it streams."""

    name: str
    """As the station calls it."""
    serial: str
    model: str
    """E.g. `RealSense D405`."""
    width: int
    height: int
    """Of the colour image, to which depth is aligned, [px]."""
    depth_unit_m: float
    """Length of one count of raw depth, read from the device, [m]: 0.0001 on a D405, 0.001 on a D435."""
    K: FloatArray
    """Intrinsics of the colour stream. Shape (3, 3), [px]."""
    distortion: FloatArray
    """OpenCV coefficients (k1, k2, p1, p2, k3) of the colour stream. Shape (5,)."""
    usb: str = ""
    """Type of its USB connection, e.g. `3.2`; empty where there is none."""
    fps: int = 30
    """Frames per second that were asked for."""


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """One aligned colour and depth image."""

    rgb: ByteArray
    """As the lens draws it. Shape (H, W, 3), uint8."""
    depth_m: npt.NDArray[np.float32]
    """Aligned to colour; 0 where there is no data. Shape (H, W), [m]; (0, 0) where it was not asked for."""
    time_s: float
    """By the station's clock (`rl.robots.clock`), [s]: when it was taken, where the camera tells, else when it came."""
    number: int
    """Frame number of the device; each is delivered once."""


class CameraDriver(Protocol):
    """One streaming camera."""

    @property
    def info(self) -> CameraInfo:
        """What the camera is and sees."""

    def latest(self, *, max_age_s: float | None = None, depth: bool = True) -> CameraFrame:
        """Return the newest frame at once.

        Args:
            max_age_s: Oldest frame to accept, [s]; the station's limit if None.
            depth: False leaves depth out, and with it the work of aligning it.

        Raises:
            HardwareFault: If the newest frame is older than that, or the camera is gone.
        """

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        """Return the first frame that was taken after a time of the station's clock, e.g. after the arm came to rest.

        Raises:
            HardwareFault: If none comes in time.
        """

    def close(self) -> None:
        """Stop the stream."""
