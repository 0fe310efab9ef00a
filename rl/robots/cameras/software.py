"""A camera that exists in software only: its frames go through the SDK's own syncer, alignment and recorder."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rl.robots.base import CameraInfo
from rl.robots.cameras.sdk import load_sdk
from rl.types import ByteArray, FloatArray

_REMEMBERED = 32
"""Frames that may be under way in the SDK."""


class SoftwareDevice:
    """An `rs.software_device` with one depth and one colour stream."""

    def __init__(
        self,
        info: CameraInfo,
        *,
        depth_K: FloatArray | None = None,
        depth_distortion: FloatArray | None = None,
        T_color_depth: FloatArray | None = None,
    ) -> None:
        """Create the device; see `make_device`."""
        rs = self._rs = load_sdk()
        self.info = info
        self._syncer: Any = None
        self._taken_s: dict[int, float] = {}
        self.device = rs.software_device()
        """The `rs.software_device`."""
        self.device.register_info(rs.camera_info.serial_number, info.serial)
        self.device.register_info(rs.camera_info.name, info.model)
        self._depth = self.device.add_sensor("Stereo Module")
        self._color = self.device.add_sensor("RGB Camera")
        same_lens = depth_K is None
        K = info.K if depth_K is None else depth_K
        lens = info.distortion if same_lens and depth_distortion is None else depth_distortion
        depth = self._stream(rs.stream.depth, 0, rs.format.z16, 2, K, np.zeros(5) if lens is None else lens)
        color = self._stream(rs.stream.color, 1, rs.format.rgb8, 3, info.K, info.distortion)
        self.depth_profile = rs.video_stream_profile(self._depth.add_video_stream(depth))
        self.color_profile = rs.video_stream_profile(self._color.add_video_stream(color))
        self._depth.add_read_only_option(rs.option.depth_units, info.depth_unit_m)  # makes it a depth sensor
        T = np.eye(4) if T_color_depth is None else T_color_depth
        extrinsics = rs.extrinsics()
        extrinsics.rotation = T[:3, :3].T.ravel().tolist()  # column by column
        extrinsics.translation = T[:3, 3].tolist()
        self.depth_profile.register_extrinsics_to(self.color_profile, extrinsics)

    def start(self) -> None:
        """Start both streams into an `rs.syncer`; from now on this is a `FrameSource`."""
        self.device.create_matcher(self._rs.matchers.dlr_c)
        self._syncer = self._rs.syncer()
        for sensor, profile in ((self._depth, self.depth_profile), (self._color, self.color_profile)):
            sensor.open(profile)
            sensor.start(self._syncer)

    def push(
        self, rgb: ByteArray, depth_raw: npt.NDArray[np.uint16], *, number: int, taken_s: float | None = None
    ) -> None:
        """Deliver one pair of images to whatever listens to the sensors, with the time stamp number / fps.

        The SDK takes number / time stamp of software frames for their rate; with any other time stamps its syncer stops
        to pair them, sooner or later.

        Args:
            rgb: As the lens draws it. Shape (H, W, 3), uint8.
            depth_raw: In depth units, 0 where there is no data. Shape (H, W), uint16.
            number: Frame number, larger than the last one's.
            taken_s: When it was taken, by the station's clock, [s]; None: when it arrives.
        """
        if taken_s is not None:
            self._taken_s = {**dict(list(self._taken_s.items())[-_REMEMBERED:]), number: taken_s}
        depth = self._frame(self.depth_profile, np.ascontiguousarray(depth_raw, np.uint16), 2, number)
        if hasattr(depth, "depth_units"):  # 2.54 does not have it
            depth.depth_units = self.info.depth_unit_m
        self._depth.on_video_frame(depth)
        self._color.on_video_frame(self._frame(self.color_profile, np.ascontiguousarray(rgb), 3, number))

    def wait(self, timeout_s: float) -> Any | None:
        """Return the next frameset; None if there is none in time."""
        came, frames = self._syncer.try_wait_for_frames(int(timeout_s * 1000))
        return frames if came else None

    def taken_at(self, frame: Any) -> float | None:
        """Return the time that a frame was pushed with, [s]."""
        return self._taken_s.get(frame.get_frame_number())

    def close(self) -> None:
        """Stop the streams that `start` started."""
        for sensor in (self._depth, self._color):
            sensor.stop()
            sensor.close()

    def _stream(self, kind: Any, uid: int, fmt: Any, size: int, K: FloatArray, distortion: FloatArray) -> Any:
        intrinsics = self._rs.intrinsics()
        intrinsics.width, intrinsics.height = self.info.width, self.info.height
        intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = (
            float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))
        )
        intrinsics.model = self._rs.distortion.brown_conrady
        intrinsics.coeffs = [float(c) for c in distortion]
        stream = self._rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt, stream.bpp = kind, 0, uid, fmt, size
        stream.width, stream.height, stream.fps = self.info.width, self.info.height, self.info.fps
        stream.intrinsics = intrinsics
        return stream

    def _frame(self, profile: Any, pixels: npt.NDArray[Any], size: int, number: int) -> Any:
        frame = self._rs.software_video_frame()
        frame.pixels = pixels  # copied
        frame.stride, frame.bpp = self.info.width * size, size
        frame.timestamp, frame.frame_number = number * 1000.0 / self.info.fps, number
        frame.domain = self._rs.timestamp_domain.hardware_clock
        frame.profile = profile.as_video_stream_profile()
        return frame


def make_device(
    info: CameraInfo,
    *,
    depth_K: FloatArray | None = None,
    depth_distortion: FloatArray | None = None,
    T_color_depth: FloatArray | None = None,
) -> SoftwareDevice:
    """Return a software device that calls itself what `info` says.

    Args:
        info: Name, serial, model, size, lens and depth unit. Both streams have its size.
        depth_K: Intrinsics of the depth stream; the colour stream's, with its lens, if None. Shape (3, 3), [px].
        depth_distortion: OpenCV coefficients of the depth stream; none if `depth_K` is given. Shape (5,).
        T_color_depth: Pose of the depth camera in the colour camera's frame; the same eye if None. Shape (4, 4), [m].

    Raises:
        ConfigError: If the SDK is missing.
    """
    return SoftwareDevice(info, depth_K=depth_K, depth_distortion=depth_distortion, T_color_depth=T_color_depth)
