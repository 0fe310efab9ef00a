"""All cameras of a station, as the policy and the agent see through them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.robots.base import CameraDriver, CameraFrame, CameraInfo
from rl.robots.cameras.alignment import sample_depth
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.cameras.opening import open_camera as open_by_kind
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import CameraConfig
from rl.tasks.base import Task
from rl.types import ByteArray, FloatArray, RGBDFrame


@dataclass(frozen=True)
class _Mounted:
    config: CameraConfig
    driver: CameraDriver
    calibration: CameraCalibration | None
    lens: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None
    """Where each pixel of the pinhole image is in the image of the lens; None for an ideal lens."""
    crop: tuple[int, int, int, int]
    """Left, top, width, height, [px]."""


class CameraRig:
    """The opened cameras of one station, for one task. A context manager."""

    def __init__(
        self,
        cameras: Sequence[CameraConfig],
        task: Task,
        *,
        clock: Clock = REAL_TIME,
        open_camera: Callable[[CameraConfig], CameraDriver] | None = None,
    ) -> None:
        """Open every camera that the task uses; all are closed again if one fails.

        Args:
            cameras: Of the station. Two with the same device share it, with crops of their own.
            task: Names the policy's cameras, which must be there, and the agent's, which may be absent.
            clock: The station's.
            open_camera: How a camera is opened; by what its device says, with the clock, if None.

        Raises:
            ConfigError: If a camera or its calibration is missing or does not fit.
            HardwareFault: If a camera does not stream.
        """
        self._policy = [camera.name for camera in task.policy_cameras]
        self._agent = [camera.name for camera in task.agent_cameras]
        wanted = _wanted(cameras, self._policy, self._agent)
        opening = open_camera or (lambda config: open_by_kind(config, clock))
        self._mounted: dict[str, _Mounted] = {}
        drivers: dict[tuple[str, str], tuple[CameraConfig, CameraDriver]] = {}
        with ExitStack() as opened:
            for config in wanted:
                device = (config.kind, config.device)  # each kind counts its own
                if device not in drivers:
                    drivers[device] = config, opening(config)
                    opened.callback(drivers[device][1].close)
                first, driver = drivers[device]
                _check_shared(first, config)
                self._mounted[config.name] = _mount(config, driver)
            self._opened = opened.pop_all()

    @property
    def infos(self) -> dict[str, CameraInfo]:
        """What each camera is, by name."""
        return {name: mounted.driver.info for name, mounted in self._mounted.items()}

    @property
    def calibrated(self) -> tuple[str, ...]:
        """Names of the agent's cameras that have a calibration, the default one first."""
        return tuple(n for n in self._agent if n in self._mounted and self._mounted[n].calibration is not None)

    def policy_images(self, size: int) -> dict[str, ByteArray]:
        """Return the square image of each policy camera, shape (size, size, 3), in the task's order.

        Raises:
            HardwareFault: If a camera's newest frame is older than allowed.
        """
        return {name: self._square(self._mounted[name], size) for name in self._policy}

    def capture(self, names: Collection[str] | None, pose_at: Callable[[float], FloatArray]) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D without lens distortion; the default camera is the first.

        Args:
            names: Of agent cameras; every calibrated one if None.
            pose_at: Returns T_base_tcp (4, 4), [m], at a time of the station's clock, [s].

        Raises:
            ConfigError: If a named camera is not in the station, or not calibrated.
            HardwareFault: If a camera's newest frame is older than allowed.
        """
        chosen = self.calibrated if names is None else [name for name in self._agent if name in names]
        if not chosen:
            asked = "any" if names is None else ", ".join(names)
            raise ConfigError(
                f"The agent needs a calibrated camera ({asked}); the task knows {', '.join(self._agent)}, of which the "
                f"station has calibrated {', '.join(self.calibrated) or 'none'}. Run `agps calibrate`."
            )
        return tuple(self._capture(name, pose_at) for name in chosen)

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> None:
        """Return once every camera has a frame that was taken after a time of the station's clock, e.g. after a reset.

        Raises:
            HardwareFault: If one has none in time.
        """
        for mounted in self._mounted.values():
            mounted.driver.wait_newer(time_s, timeout_s=timeout_s)

    def close(self) -> None:
        """Close every camera; may be called twice."""
        self._opened.close()

    def __enter__(self) -> "CameraRig":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _square(self, mounted: _Mounted, size: int) -> ByteArray:
        left, top, width, height = mounted.crop
        rgb = mounted.driver.latest(max_age_s=mounted.config.max_age_s, depth=False).rgb
        crop = rgb[top : top + height, left : left + width]
        shrinks = min(width, height) >= size
        resized = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def _capture(self, name: str, pose_at: Callable[[float], FloatArray]) -> RGBDFrame:
        mounted = self._mounted.get(name)
        if mounted is None or mounted.calibration is None:
            what = "is not in the station" if mounted is None else "has no calibration"
            raise ConfigError(f"Camera {name} {what}; the agent measures with it. Run `agps calibrate`.")
        frame = mounted.driver.latest(max_age_s=mounted.config.max_age_s)
        rgb, depth_m = undistort(frame, mounted.lens)
        T = mounted.calibration.T
        return RGBDFrame(
            name=name,
            rgb=rgb,
            depth_m=depth_m,
            K=mounted.driver.info.K,
            T_base_cam=pose_at(frame.time_s) @ T if mounted.config.mount == "hand" else T,
            T_mount_cam=T,
        )


def lens_maps(info: CameraInfo) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Return where each pixel of the pinhole image K is in the lens's, two (H, W), [px]; None for an ideal lens."""
    if not info.distortion.any():
        return None
    size = info.width, info.height
    u, v = cv2.initUndistortRectifyMap(info.K, info.distortion, None, info.K, size, cv2.CV_32FC1)
    return u, v


def undistort(
    frame: CameraFrame, lens: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None
) -> tuple[ByteArray, npt.NDArray[np.float32]]:
    """Return colour and depth as a pinhole camera with the same K sees them; black and 0 where the lens saw nothing.

    Depth is never mixed across an edge: between two surfaces there is none.
    """
    if lens is None:
        return frame.rgb, frame.depth_m
    rgb = cv2.remap(frame.rgb, *lens, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(rgb, np.uint8), sample_depth(frame.depth_m, *lens)


def _wanted(cameras: Sequence[CameraConfig], policy: Iterable[str], agent: Iterable[str]) -> list[CameraConfig]:
    """Return the station's cameras that a task uses."""
    by_name = {config.name: config for config in cameras}
    if len(by_name) != len(cameras):
        raise ConfigError(f"Two cameras of the station have the same name: {', '.join(c.name for c in cameras)}.")
    for name in policy:
        if name not in by_name:
            raise ConfigError(
                f"The policy sees through camera {name!r}; the station has {', '.join(by_name) or 'none'}. "
                "Add a [[cameras]] table."
            )
    return [by_name[name] for name in dict.fromkeys([*policy, *agent]) if name in by_name]


def _check_shared(first: CameraConfig, other: CameraConfig) -> None:
    for field in ("width", "height", "fps", "exposure_us", "mount"):
        a, b = getattr(first, field), getattr(other, field)
        if a != b:
            raise ConfigError(
                f"Cameras {first.name} and {other.name} are one device, {first.device}, but differ in {field}: {a} and "
                f"{b}; write the same."
            )


def _mount(config: CameraConfig, driver: CameraDriver) -> _Mounted:
    info = driver.info
    calibration = None if config.calibration is None else CameraCalibration.load(config.calibration)
    if calibration is not None:
        _check_calibration(config, info, calibration)
    side = min(info.width, info.height)
    crop = config.crop or ((info.width - side) // 2, (info.height - side) // 2, side, side)
    left, top, width, height = crop
    inside = 0 <= left and 0 <= top and left + width <= info.width and top + height <= info.height
    if not inside or width < 1 or height < 1:
        raise ConfigError(
            f"Camera {config.name}: crop {list(crop)} (left, top, width, height) is not inside of its image of "
            f"{info.width}x{info.height}."
        )
    return _Mounted(config, driver, calibration, lens_maps(info), crop)


def _check_calibration(config: CameraConfig, info: CameraInfo, calibration: CameraCalibration) -> None:
    """Refuse a calibration of another camera, profile or mount."""
    for what, calibrated, actual in (
        ("camera", calibration.serial, info.serial),
        ("profile", f"{calibration.width}x{calibration.height}", f"{info.width}x{info.height}"),
        ("mount", calibration.mount, config.mount),
    ):
        if calibrated != actual:
            raise ConfigError(
                f"{config.calibration} is the calibration of {what} {calibrated}, but camera {config.name} is "
                f"{what} {actual}; run `agps calibrate` again."
            )
