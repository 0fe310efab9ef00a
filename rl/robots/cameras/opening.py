"""Opens the camera that a station names, whatever it is."""

from rl.errors import ConfigError
from rl.robots.base import CAMERAS, CameraDriver
from rl.robots.cameras.realsense import PipelineSource, is_recording, reset_device, start_with_reset
from rl.robots.cameras.socket_source import SCHEME, SocketSource
from rl.robots.cameras.streaming import StreamingCamera
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import CameraConfig


def open_camera(config: CameraConfig, clock: Clock = REAL_TIME) -> CameraDriver:
    """Return a streaming camera of the kind that the station says.

    Args:
        config: Which one, and how.
        clock: The station's.

    Raises:
        ConfigError: If there is no such kind, or no such device.
        HardwareFault: If the camera does not stream.
    """
    return CAMERAS.load(config.kind)(config, clock)


def open_realsense(config: CameraConfig, clock: Clock = REAL_TIME) -> CameraDriver:
    """Return a RealSense by serial number, a recording, or one of an emulator.

    Args:
        config: Which one, and how.
        clock: The station's.

    Raises:
        ConfigError: If the SDK, the device or the profile is missing.
        HardwareFault: If the camera does not stream, also after a reset.
    """
    if not config.device:
        raise ConfigError(f"Camera {config.name} has no device; write its serial number, it stands on the camera.")
    if config.max_age_s < 2.0 / config.fps:
        raise ConfigError(
            f"Camera {config.name}: max_age_s is {config.max_age_s:g}, but at {config.fps} Hz a good frame gets up to "
            f"{2.0 / config.fps:.2f} s old; allow that."
        )
    if config.device.startswith(SCHEME):
        return StreamingCamera(config, SocketSource(config, clock), clock)
    if is_recording(config.device):
        return StreamingCamera(config, PipelineSource(config, clock), clock)
    return start_with_reset(
        lambda: StreamingCamera(config, PipelineSource(config, clock), clock), lambda: reset_device(config)
    )
