"""A camera that a thread of its own reads: the newest frame is always at hand and never older than allowed."""

import logging
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rl.errors import AgpsError, HardwareFault
from rl.robots.base import CameraFrame, CameraInfo
from rl.robots.cameras.alignment import Alignment
from rl.robots.cameras.sdk import load_sdk, opencv_distortion, pinhole
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import CameraConfig

_log = logging.getLogger(__name__)

_POLL_S = 0.2
START_TIMEOUT_S = 10.0
"""A camera that has sent no complete frame by then does not work, [s]."""


class FrameSource(Protocol):
    """Where a camera's framesets come from: a device, a recording, a socket."""

    @property
    def device(self) -> Any:
        """The `rs.device`."""

    def wait(self, timeout_s: float) -> Any | None:
        """Return the next `rs.composite_frame`; None if there is none in time.

        Raises:
            RuntimeError: If the SDK gives up.
            OSError: If the connection is lost.
        """

    def taken_at(self, frame: Any) -> float | None:
        """Return when a frame was taken, by the station's clock, [s]; None if nobody knows."""

    def close(self) -> None:
        """Stop."""


@dataclass(frozen=True)
class _Arrived:
    frames: Any
    """The `rs.composite_frame`."""
    time_s: float
    number: int


class StreamingCamera:
    """A `CameraDriver` over any `FrameSource`."""

    def __init__(self, config: CameraConfig, source: FrameSource, clock: Clock = REAL_TIME) -> None:
        """Start to read.

        Args:
            config: Name and limits.
            source: Already streaming; closed by this camera, also if this fails.
            clock: The station's.

        Raises:
            HardwareFault: If no complete frame comes, or the device does not tell the unit of its depth.
        """
        self._config, self._clock = config, clock
        self._source = source
        self._rs = load_sdk()
        self._converting = threading.Lock()
        self._converted: CameraFrame | None = None
        self._news = threading.Condition()
        self._arrived: _Arrived | None = None
        self._failure: Exception | None = None
        self._closing = threading.Event()
        self._opened_s = self._clock.now()
        self._thread = threading.Thread(target=self._grab, name=f"camera {config.name}", daemon=True)
        self._thread.start()
        try:
            self._info = self._describe()
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> CameraInfo:
        """What the camera is and sees."""
        return self._info

    def latest(self, *, max_age_s: float | None = None, depth: bool = True) -> CameraFrame:
        """Return the newest frame at once; see `CameraDriver`."""
        limit = self._config.max_age_s if max_age_s is None else max_age_s
        with self._news:
            arrived = self._arrived
            self._refuse_failed()
        if arrived is None:
            raise HardwareFault(f"Camera {self._label} has sent no frame yet.")
        age = self._clock.now() - arrived.time_s
        if age > limit:
            raise HardwareFault(
                f"The newest frame of camera {self._label} is {age:.2f} s old, {limit:.2f} s is the limit (max_age_s); "
                "check its cable and what else runs on this computer."
            )
        return self._convert(arrived, depth)

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        """Return the first frame that was taken after a time of the clock; see `CameraDriver`."""

        def come() -> bool:
            return self._failure is not None or (self._arrived is not None and self._arrived.time_s > time_s)

        with self._news:
            self._news.wait_for(come, timeout=self._clock.host_s(timeout_s))
            self._refuse_failed()
            arrived = self._arrived
        if arrived is None or arrived.time_s <= time_s:
            age = self._clock.now() - (self._opened_s if arrived is None else arrived.time_s)
            raise HardwareFault(
                f"Camera {self._label} sent no new frame in {timeout_s:.2f} s, its newest is {age:.2f} s old; "
                "check its cable."
            )
        return self._convert(arrived, True)

    def close(self) -> None:
        """Stop the stream; may be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(timeout=5.0)
        self._arrived = self._converted = None
        try:
            self._source.close()
        except RuntimeError as error:  # the device is gone
            _log.warning("Camera %s did not stop: %s", self._config.name, error)

    @property
    def _label(self) -> str:
        return f"{self._config.name} ({self._config.device})"

    def _refuse_failed(self) -> None:
        if self._closing.is_set():
            raise HardwareFault(f"Camera {self._label} is closed.")
        if self._failure is not None:
            raise HardwareFault(
                f"Camera {self._label} stopped {self._silence():.2f} s after its newest frame: {self._failure}."
            ) from self._failure

    def _silence(self) -> float:
        return self._clock.now() - (self._arrived.time_s if self._arrived else self._opened_s)

    def _grab(self) -> None:
        try:
            while not self._closing.is_set():
                frames = self._source.wait(self._clock.host_s(_POLL_S))
                if frames is not None:
                    self._accept(frames)
        except (RuntimeError, OSError, AgpsError) as error:
            with self._news:
                self._failure = error
                self._news.notify_all()

    def _accept(self, frames: Any) -> None:
        """Take a frameset unless it is partial, a repetition, or its two images are of different moments."""
        arrival_s = self._clock.now()
        color, depth = frames.get_color_frame(), frames.get_depth_frame()
        if not color or not depth:
            return
        number = color.get_frame_number()
        # Playback hands out each new image with the other stream's last one first; one period apart is not a pair.
        apart_s = abs(color.get_timestamp() - depth.get_timestamp()) / 1000.0
        if apart_s > 0.6 / self._config.fps or (self._arrived is not None and number == self._arrived.number):
            return
        taken_s = self._source.taken_at(color)
        with self._news:
            self._arrived = _Arrived(frames, arrival_s if taken_s is None else taken_s, number)
            self._news.notify_all()

    def _describe(self) -> CameraInfo:
        rs, config = self._rs, self._config
        with self._news:
            self._news.wait_for(
                lambda: self._arrived is not None or self._failure is not None, self._clock.host_s(START_TIMEOUT_S)
            )
            self._refuse_failed()
            arrived = self._arrived
        if arrived is None:
            raise HardwareFault(
                f"Camera {self._label} started but sent no complete frame in {START_TIMEOUT_S:.0f} s; unplug it, plug "
                "it into a USB 3 port of its own, and try again."
            )
        device = self._source.device
        color = arrived.frames.get_color_frame().profile.as_video_stream_profile()
        depth = arrived.frames.get_depth_frame().profile.as_video_stream_profile()
        intrinsics = color.intrinsics
        # Before the first frame some devices still say 0. The SDK keeps a float: 0.0001 comes back as 0.000099999997.
        unit_m = round(float(device.first_depth_sensor().get_depth_scale()), 9)
        if not unit_m > 0.0:
            raise HardwareFault(
                f"Camera {self._label} says that its depth unit is {unit_m} m; unplug it and try again."
            )

        def told(what: Any) -> str:
            return str(device.get_info(what)) if device.supports(what) else ""

        info = CameraInfo(
            name=config.name,
            serial=told(rs.camera_info.serial_number),
            model=told(rs.camera_info.name),
            width=intrinsics.width,
            height=intrinsics.height,
            depth_unit_m=unit_m,
            K=pinhole(intrinsics),
            distortion=opencv_distortion(rs, intrinsics),
            usb=told(rs.camera_info.usb_type_descriptor),
            fps=config.fps,
        )
        self._alignment = Alignment(rs, info, depth.intrinsics, depth.get_extrinsics_to(color))
        return info

    def _convert(self, arrived: _Arrived, depth: bool) -> CameraFrame:
        """Return a frameset as arrays; the newest one is converted once."""
        with self._converting:
            known = self._converted
            if known is not None and known.time_s == arrived.time_s and (known.depth_m.size or not depth):
                return known
            rgb = np.array(arrived.frames.get_color_frame().get_data())
            depth_m = np.empty((0, 0), np.float32)
            if depth:
                depth_m = self._alignment.depth_m(arrived.frames)
            for array in (rgb, depth_m):
                array.flags.writeable = False  # shared by all who ask
            self._converted = CameraFrame(rgb=rgb, depth_m=depth_m, time_s=arrived.time_s, number=arrived.number)
            return self._converted
