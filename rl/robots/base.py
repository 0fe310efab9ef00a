"""The seams to an arm: `Backend` for the environment; `Arm`, `Gripper` and `CameraDriver` for the parts of a station.

A lab writes a module with a class derived from `Arm`, and names it in its station file: docs/extend/arm.md.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError, HardwareFault
from rl.registry import Registry
from rl.robots.clock import REAL_TIME, Clock
from rl.types import CONTROL_RATE_HZ as CONTROL_RATE_HZ
from rl.types import Box, ByteArray, FloatArray, RGBDFrame, RobotState

CLOSED_BELOW = 0.5
"""Opening below which fingers hold what is between them."""


class Backend(Protocol):
    """One arm with a gripper and cameras that follows TCP targets."""

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Bring arm and scene to the start of an episode, tare the wrench and return the first measurement.

        Args:
            T_base_tcp: Start pose of the TCP. Shape (4, 4), [m].
            rng: Source of everything that is random about the scene.
        """

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Follow a guarded target for one control period and return the measurement at its end.

        Args:
            T_base_target: Pose of the TCP to hold. Shape (4, 4), [m].
            gripper_opening: 0 closed, 1 open.
        """

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return the square image of each policy camera, shape (image_size, image_size, 3)."""

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return full-resolution RGB-D of the named agent cameras, of all if None; the default one is the first.

        Args:
            cameras: Their names.
            shadows: Whether a simulation draws shadows, for whoever looks at the image.
        """

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points in the base frame that only a simulator knows, each (3,), [m]; empty on a real arm."""

    def snapshot(self) -> Any:
        """Return everything that `restore` needs to continue from here, bit for bit."""

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this backend."""

    def close(self) -> None:
        """Release simulators, sockets and cameras."""


class RobotBackend(Backend, Protocol):
    """A backend whose arm is real, or as real as an emulator makes it."""

    def pause(self) -> None:
        """Hold the arm where it is, for as long as nobody commands it: no watchdog counts."""

    def resume(self) -> None:
        """End `pause`: commands are expected again."""

    def stop(self) -> None:
        """Stop the arm; may be called at any time, from any thread, and more than once."""

    def recover(self) -> None:
        """Make an arm that was stopped by a fault ready for `reset`.

        Raises:
            HardwareFault: If it cannot be, or was too often already.
        """

    def metrics(self) -> Mapping[str, float]:
        """Return counters and figures of the hardware for the run's log."""


class Measurement(Protocol):
    """What an arm measures at one moment; `rl.types.RobotState` is one."""

    @property
    def T_base_tcp(self) -> FloatArray:
        """Pose of the TCP. Shape (4, 4), [m]."""

    @property
    def twist(self) -> FloatArray:
        """Velocity of the TCP, base axes, translation first. Shape (6,), [m/s], [rad/s]."""

    @property
    def wrench(self) -> FloatArray:
        """Push of the world on the TCP, tared, base axes, force first; else zeros. Shape (6,), [N], [N m]."""


class JointReset(Protocol):
    """Undoes the drift of the joints of an arm that has more of them than a pose needs."""

    def due(self, episode: int) -> bool:
        """Return whether an episode should begin with it, counting from 0."""

    def __call__(self) -> None:
        """Bring the joints to the posture of the task's home; the TCP is there, and the arm follows targets afterwards.

        Raises:
            HardwareFault: If the way is not known to be free, or the arm fails.
        """


class Arm(Protocol):
    """The driver of one arm. Derive from it; what has a body here need not be written.

    Nothing moves before `start`. After a fault every command raises it again until `recover`. Every method may be
    called in any state and from any thread, as a watchdog runs beside the control loop.
    """

    config_class: ClassVar[type[Any]]
    """Frozen dataclass of what the table [arm] of a station may say; `ip` is what --robot-ip replaces."""
    gripper: ClassVar[str] = "none"
    """Kind of gripper that it has where the station names none."""

    @abstractmethod
    def __init__(self, config: Any, workspace: Box, *, clock: Clock = REAL_TIME) -> None:
        """Connect.

        Args:
            config: The station's `config_class`.
            workspace: Where the TCP may be commanded to, base frame, [m].
            clock: What limits of time are measured with: the station's.

        Raises:
            ConfigError: If it cannot be reached or used.
        """

    @property
    def fault(self) -> HardwareFault | None:
        """Why control was lost; None if it was not, or after `recover`."""
        return None

    @abstractmethod
    def measure(self) -> Measurement:
        """Return the present measurement.

        Raises:
            HardwareFault: If control or the connection was lost.
        """

    @abstractmethod
    def pose_at(self, time_s: float) -> FloatArray:
        """Return T_base_tcp (4, 4), [m], at a time of the station's clock within the last seconds, [s]."""

    @abstractmethod
    def start(self) -> None:
        """Begin to follow targets, the first of which is the measured pose; nothing if it does already."""

    @abstractmethod
    def command(self, T_base_target: FloatArray) -> object:
        """Set the pose to follow, (4, 4), [m], and return at once."""

    @abstractmethod
    def move_to(self, T_base_tcp: FloatArray, *, speed_m_s: float = 0.1) -> object:
        """Go to a pose in a straight line, and return when there (`rl.robots.real.line.follow_line`).

        Raises:
            ConfigError: If the pose is outside the workspace.
            HardwareFault: If something is in the way.
        """

    @abstractmethod
    def hold(self) -> None:
        """Make the measured pose the target; nothing if the arm follows none."""

    @abstractmethod
    def stop(self) -> None:
        """Come to rest and give control back; never raises, and may be called twice."""

    def tare(self) -> None:
        """Take the wrench that is felt at rest as zero; nothing to do without a sensor."""
        return None

    def recover(self) -> None:
        """Leave a fault behind: the arm is idle afterwards and wants `start`.

        Raises:
            HardwareFault: If that is not possible, or was needed too often.
        """
        return None

    def joint_reset(self, T_base_home: FloatArray) -> JointReset | None:
        """Return what undoes the drift of the joints at the task's home, (4, 4), [m]; None: nothing drifts.

        Raises:
            ConfigError: If the arm cannot stand at that pose.
        """
        return None

    def reaches(self, T_base_tcp: FloatArray) -> bool:
        """Return whether the arm can go to a pose from here with room to its joints' ends."""
        return True

    def success_rate(self) -> float | None:
        """Return the fraction of the newest control commands that arrived in time; None where nobody counts."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Stop, and let the connection go; never raises, and may be called twice."""


class Gripper(Protocol):
    """The driver of one gripper, which never holds up the control loop."""

    config_class: ClassVar[type[Any]]
    """Frozen dataclass of what the table [gripper] of a station may say."""

    @abstractmethod
    def __init__(self, config: Any, arm: Any, *, clock: Clock = REAL_TIME) -> None:
        """Connect; nothing moves.

        Args:
            config: The station's `config_class`.
            arm: What the station says about the arm, such as its address.
            clock: The station's.

        Raises:
            ConfigError: If it cannot be reached.
        """

    @abstractmethod
    def command(self, opening: float) -> None:
        """Ask for an opening, 0 closed, 1 open, and return at once.

        Raises:
            HardwareFault: If an earlier motion failed.
        """

    @abstractmethod
    def opening(self) -> float:
        """Return the last measured opening: 0 closed, 1 open."""

    def wait(self) -> None:
        """Wait until the last wish has been carried out.

        Raises:
            HardwareFault: If it failed or takes too long.
        """
        return None

    def clear(self) -> None:
        """Forget a failure, and carry out the next command whatever was wanted before."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let the connection go; what is held stays held."""


class Cameras(Protocol):
    """The cameras of a station (`rl.robots.cameras.rig.CameraRig`)."""

    def policy_images(self, size: int) -> dict[str, ByteArray]:
        """Return the square image of each policy camera."""

    def capture(self, names: Collection[str] | None, pose_at: Callable[[float], FloatArray]) -> tuple[RGBDFrame, ...]:
        """Return RGB-D of agent cameras."""

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> None:
        """Return once every camera has a frame from after a time of the station's clock."""

    def close(self) -> None:
        """Close them."""


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
    """One streaming camera of a station."""

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


ARMS: Registry[type[Arm]] = Registry("agps.arms", "arm")
"""Arms by the kind that a station calls them: classes derived from `Arm`."""
GRIPPERS: Registry[type[Gripper]] = Registry("agps.grippers", "gripper")
"""Grippers likewise."""
CAMERAS: Registry[Callable[..., CameraDriver]] = Registry("agps.cameras", "camera")
"""Cameras likewise: what opens one, from its `rl.robots.station.CameraConfig` and the station's clock."""

DriverT = TypeVar("DriverT")


def arm_class(kind: str) -> type[Arm]:
    """Return the class of a kind of arm: a registered name, `package.module:Name` or `./file.py:Name`.

    Raises:
        ConfigError: If there is none, or it is no arm.
    """
    return _driver(ARMS, kind, Arm)


def gripper_class(kind: str) -> type[Gripper]:
    """Return the class of a kind of gripper, named likewise.

    Raises:
        ConfigError: If there is none, or it is no gripper.
    """
    return _driver(GRIPPERS, kind, Gripper)


def _driver(registry: Registry[type[DriverT]], kind: str, protocol: type[Any]) -> type[DriverT]:
    found: Any = registry.load(kind)
    if not (isinstance(found, type) and protocol in found.__mro__):
        raise ConfigError(
            f"{kind} is no {registry.what}: derive a class from rl.robots.base.{protocol.__name__} "
            "(docs/extend/arm.md)."
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"The {registry.what} {kind} lacks {', '.join(missing)}; write what is missing.")
    if not is_dataclass(getattr(found, "config_class", None)):
        raise ConfigError(
            f"The {registry.what} {kind} has no config_class: name a frozen dataclass of what [{registry.what}] may "
            "say."
        )
    return found
