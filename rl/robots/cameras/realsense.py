"""RealSense cameras and their recordings, through the SDK's pipeline."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rl.errors import ConfigError, HardwareFault
from rl.robots.cameras.sdk import load_sdk
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import CameraConfig

_log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 3
"""Starts of a camera that does not stream; it is reset before the last."""
REENUMERATION_S = 15.0
"""A camera that was reset is back on the bus by then, [s]."""
L515_HINT = "An L515 needs pyrealsense2 2.54.2: newer ones do not see it."


class PipelineSource:
    """Framesets of an `rs.pipeline`."""

    def __init__(self, config: CameraConfig, clock: Clock = REAL_TIME) -> None:
        """Start the pipeline on the device or recording that the configuration names.

        Raises:
            ConfigError: If there is no such device or file, or it does not have the profile.
            HardwareFault: If the SDK cannot start it.
        """
        self._rs = rs = load_sdk()
        self._clock = clock
        self._recorded = is_recording(config.device)
        chosen = rs.config()
        if self._recorded:
            if not Path(config.device).is_file():
                raise ConfigError(f"Camera {config.name}: there is no recording {config.device}.")
            chosen.enable_device_from_file(config.device, repeat_playback=True)
        else:
            find_device(rs, config)
            chosen.enable_device(config.device)
        chosen.enable_stream(rs.stream.depth, config.width, config.height, rs.format.z16, config.fps)
        chosen.enable_stream(rs.stream.color, config.width, config.height, rs.format.rgb8, config.fps)
        self._pipeline = rs.pipeline()
        try:
            self._device = self._pipeline.start(chosen).get_device()
        except RuntimeError as error:
            raise _start_error(rs, config, error) from error
        if not self._recorded:
            try:
                set_exposure(rs, self._device, config)
            except BaseException:
                self._pipeline.stop()
                raise

    @property
    def device(self) -> Any:
        """The `rs.device`, or the `rs.playback`."""
        return self._device

    def wait(self, timeout_s: float) -> Any | None:
        """Return the next frameset; None if there is none in time."""
        came, frames = self._pipeline.try_wait_for_frames(int(timeout_s * 1000))
        return frames if came else None

    def taken_at(self, frame: Any) -> float | None:
        """Return when a live frame was taken, from the SDK's estimate of the device's clock on the host."""
        domains = self._rs.timestamp_domain.global_time, self._rs.timestamp_domain.system_time
        if self._recorded or frame.get_frame_timestamp_domain() not in domains:
            return None
        age_s = time.time() - frame.get_timestamp() / 1000.0
        return self._clock.at(time.monotonic() - age_s) if 0.0 <= age_s < 1.0 else None  # else the host's clock was set

    def close(self) -> None:
        """Stop the pipeline."""
        self._pipeline.stop()


def is_recording(device: str) -> bool:
    """Return whether a device of the station is a file."""
    return device.endswith((".db3", ".bag"))


def find_device(rs: Any, config: CameraConfig) -> Any:
    """Return the connected `rs.device` with the configured serial number.

    The pipeline would look for it for 15 s and then say that no device is connected.

    Raises:
        ConfigError: If it is not there.
    """
    seen = []
    for device in rs.context().query_devices():
        serial = device.get_info(rs.camera_info.serial_number)
        if serial == config.device:
            warn_of_slow_usb(rs, device, config)
            return device
        seen.append(f"{serial} ({device.get_info(rs.camera_info.name)})")
    raise ConfigError(
        f"Camera {config.name}: no RealSense with serial number {config.device!r} is connected; connected: "
        f"{', '.join(seen) or 'none'}. {L515_HINT}"
    )


def warn_of_slow_usb(rs: Any, device: Any, config: CameraConfig) -> None:
    """Log a warning if a camera is on a USB 2 port."""
    if not device.supports(rs.camera_info.usb_type_descriptor):
        return
    usb = device.get_info(rs.camera_info.usb_type_descriptor)
    if usb and not usb.startswith("3"):
        _log.warning(
            "Camera %s is connected with USB %s: few profiles work there. Use a USB 3 port and cable.", config.name, usb
        )


def set_exposure(rs: Any, device: Any, config: CameraConfig) -> None:
    """Fix the exposure of the colour image, or give it back to the camera where none is configured.

    On a D405 colour comes from the stereo module, on a D435 from a sensor of its own: the sensor is the one that offers
    a colour stream. A stereo module counts in microseconds, a colour sensor in steps of 100.

    Raises:
        ConfigError: If the sensor cannot do it.
    """
    for sensor in device.query_sensors():
        if any(profile.stream_type() == rs.stream.color for profile in sensor.get_stream_profiles()):
            break
    else:
        raise ConfigError(f"Camera {config.name} ({config.device}) has no colour sensor; use another model.")
    if sensor.supports(rs.option.enable_auto_exposure):
        sensor.set_option(rs.option.enable_auto_exposure, float(config.exposure_us is None))
    if config.exposure_us is None:
        return
    if not sensor.supports(rs.option.exposure):
        raise ConfigError(
            f"The exposure of camera {config.name} ({config.device}) cannot be set; leave out exposure_us."
        )
    unit_us = 1.0 if sensor.is_depth_sensor() else 100.0
    limits = sensor.get_option_range(rs.option.exposure)
    value = round(config.exposure_us / unit_us)
    if not limits.min <= value <= limits.max:
        raise ConfigError(
            f"Camera {config.name}: exposure_us is {config.exposure_us:g}; the sensor can "
            f"{limits.min * unit_us:g} to {limits.max * unit_us:g}."
        )
    sensor.set_option(rs.option.exposure, float(value))


def _start_error(rs: Any, config: CameraConfig, error: RuntimeError) -> ConfigError | HardwareFault:
    """Return what to raise when the pipeline does not start."""
    where = f"Camera {config.name} ({config.device})"
    if "resolve request" in str(error) and "Reason" not in str(error):
        profiles = "; ".join(_profiles(rs, config)) or "none"
        return ConfigError(
            f"{where} has no depth and colour with {config.width}x{config.height} at {config.fps} Hz; "
            f"it has: {profiles}."
        )
    if is_recording(config.device):
        return ConfigError(f"{where} is no recording that this SDK can play: {error}.")
    return HardwareFault(
        f"{where} does not start: {error}; close other programs that use it, or unplug it for a moment."
    )


def _profiles(rs: Any, config: CameraConfig) -> list[str]:
    """Return the profiles with the formats in use, one entry per stream and size."""
    if is_recording(config.device):
        sensors = rs.context().load_device(config.device).query_sensors()
    else:
        sensors = find_device(rs, config).query_sensors()
    rates: dict[tuple[str, int, int], set[int]] = {}
    for sensor in sensors:
        for profile in sensor.get_stream_profiles():
            if profile.format() in (rs.format.z16, rs.format.rgb8):
                video = profile.as_video_stream_profile()
                stream = "depth" if profile.stream_type() == rs.stream.depth else "colour"
                rates.setdefault((stream, video.width(), video.height()), set()).add(profile.fps())
    return [
        f"{stream} {width}x{height} at {'/'.join(str(rate) for rate in sorted(at))} Hz"
        for (stream, width, height), at in sorted(rates.items())
    ]


def start_with_reset(start: Callable[[], T], reset: Callable[[], None]) -> T:
    """Return what `start` returns; a camera that does not stream is tried again, before the last time after a reset.

    Raises:
        HardwareFault: The last attempt's.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return start()
        except HardwareFault as fault:
            _log.warning("Attempt %d of %d: %s", attempt, ATTEMPTS, fault)
        if attempt == ATTEMPTS - 1:
            reset()
    return start()


def reset_device(config: CameraConfig) -> None:
    """Restart a camera's firmware and wait until it is back on the bus.

    Raises:
        HardwareFault: If it does not come back.
    """
    rs = load_sdk()
    find_device(rs, config).hardware_reset()
    until = time.monotonic() + REENUMERATION_S
    time.sleep(2.0)  # it is still listed at first
    while time.monotonic() < until:
        serials = [device.get_info(rs.camera_info.serial_number) for device in rs.context().query_devices()]
        if config.device in serials:
            return
        time.sleep(0.5)
    raise HardwareFault(
        f"Camera {config.name} ({config.device}) did not come back from a reset in {REENUMERATION_S:.0f} s; unplug it."
    )
