"""The station: one arm, its gripper and cameras on one table, as a TOML file that a lab writes once.

```toml
[arm]
ip = "172.16.0.2"
max_contact_force_N = 20.0

[workspace]                   # mandatory: where the TCP may ever be commanded to, base frame, [m]
lower = [0.40, -0.10, 0.07]
upper = [0.60, 0.10, 0.24]

[[cameras]]
name = "wrist_1"              # as the task calls it
device = "218622270001"       # serial number
mount = "hand"
calibration = "calibration/wrist_1.json"

[task]                        # fields of the task that are different on this table
port_position = [0.51, 0.0, 0.05]
```
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from annotated_types import Interval
from pydantic import TypeAdapter, ValidationError

from rl.bounds import Count, NotNegative, Positive, Whole, check_bounds
from rl.errors import ConfigError
from rl.robots.clock import Clock, check_clock
from rl.types import Box

T = TypeVar("T")

Mount = Literal["hand", "world"]
"""Frame that a camera is fixed to: the TCP (eye-in-hand) or the base (eye-to-hand)."""


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """The FR3, and how hard it may push."""

    ip: str
    """Address of the control box, or of an emulator."""
    realtime: Literal["enforce", "ignore"] = "enforce"
    """`enforce` refuses a kernel without PREEMPT_RT; `ignore` is for emulators and trials."""
    max_contact_force_N: Positive = 20.0
    """Steady force that the impedance can exert: the error clip is this divided by the stiffness, [N]."""
    max_contact_torque_Nm: Positive = 3.0
    """Steady torque that the impedance can exert, [N m]."""
    stop_force_factor: Positive = 2.0
    """Measured force, as a multiple of `max_contact_force_N`, at which the arm stops when it lasts for 50 ms."""
    translational_stiffness: Positive = 2000.0
    """[N/m] (HIL-SERL: 2000)."""
    rotational_stiffness: Positive = 150.0
    """[N m/rad] (HIL-SERL: 150)."""
    translational_damping: NotNegative = 89.0
    """[N s/m] (HIL-SERL: 89)."""
    rotational_damping: NotNegative = 7.0
    """[N m s/rad] (HIL-SERL: 7)."""
    nullspace_stiffness: NotNegative = 2.0
    """Pull towards `home_q` in the null space, [N m/rad]."""
    home_q: tuple[float, ...] = (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398)
    """Posture of joint resets, and of the null space. Shape (7,), [rad]."""
    joint_reset_every: Whole = 200
    """Episodes from one joint reset to the next; 0: never."""
    speed: Positive = 0.1
    """Fraction of the arm's own limits in joint and reset motions, at most 0.3."""
    load_kg: NotNegative = 0.0
    """Mass on the flange beyond what Desk knows, e.g. wrist cameras, [kg]; 0: as Desk says."""
    load_com_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Its centre of mass in the flange frame, [m]."""
    max_recoveries_per_hour: Whole = 3
    """Reflexes and lost connections that are recovered without asking; after that a person has to."""
    max_force_stops_per_hour: Whole = 30
    """Stops at the force limit, likewise. The box is in no error then, and a policy that explores contact meets the
    limit now and then: in 2 to 3 % of the rollouts of USB insertion."""
    resting_force_N: Positive = 5.0
    """Largest force that the arm may feel at rest before it is tared: more is a load that it does not know of, [N]."""

    def __post_init__(self) -> None:
        """Refuse what no arm can be driven with."""
        check_bounds(self, "arm.{}".format)


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """The Franka Hand."""

    enabled: bool = True
    """False: nothing is sent to the gripper."""
    max_width_m: Positive = 0.08
    """Distance of the fingers that counts as an opening of 1, [m]."""
    speed_m_s: Positive = 0.1
    force_N: Positive = 40.0
    """Grasp force, [N]."""
    debounce_s: NotNegative = 0.6
    """Shortest time between two commands (HIL-SERL: 0.6), [s]."""

    def __post_init__(self) -> None:
        """Refuse what no gripper can be driven with."""
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class TeleopConfig:
    """How a person's device moves the arm."""

    operator_yaw_deg: float = 0.0
    """Direction in which the operator looks, about the base's z from its x axis, [deg]: 0 stands behind the arm, 180
    faces it."""
    deadband: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Deflection that counts as none, of 1 (ours: a cap pushed one way also moves a little in the others)."""
    translation_scale: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Action at full deflection, at most 1: less moves finer."""
    rotation_scale: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """The same for rotations."""

    def __post_init__(self) -> None:
        """Refuse what no hand can be driven with."""
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """One RealSense camera, or a recording or emulator in its place."""

    name: str
    """As the task calls it."""
    device: str
    """Serial number; path of a recording (.db3, .bag); or emulator://HOST:PORT/CAMERA."""
    mount: Mount
    """`hand` is eye-in-hand, `world` eye-to-hand."""
    width: Annotated[int, Interval(ge=1, le=16_384)] = 640
    height: Annotated[int, Interval(ge=1, le=16_384)] = 480
    """Of colour and depth, [px]."""
    fps: Count = 30
    """Frames per second; an L515's depth knows 30 only."""
    exposure_us: Positive | None = None
    """Fixed exposure; None: automatic, which changes what a policy sees."""
    crop: tuple[Whole, Whole, Whole, Whole] | None = None
    """Part that the policy sees: left, top, width, height, [px]; None: the largest square in the middle."""
    max_age_s: Positive = 0.15
    """Older frames are refused, [s]."""
    calibration: Path | None = None
    """File that `agps calibrate` wrote; None: the camera serves the policy only."""

    def __post_init__(self) -> None:
        """Refuse what no camera can be driven with."""
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class StationConfig:
    """Everything about one robot cell that is not the task."""

    arm: ArmConfig
    workspace: Box
    """The commanded TCP position never leaves this box, base frame, [m]; there is no default."""
    cameras: tuple[CameraConfig, ...]
    gripper: GripperConfig = GripperConfig()
    teleop: TeleopConfig = TeleopConfig()
    task: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the task that differ here."""
    truth: str | None = None
    """emulator://HOST:PORT: where an emulated scene tells its named points; a real table has nobody who knows."""
    slowdown: float = 1.0
    """Host seconds per second of this station, which an emulator measured; more than 1 for emulators only."""

    def __post_init__(self) -> None:
        """Refuse a slow clock where the arm may be a real one.

        Raises:
            ConfigError: If so.
        """
        clock = Clock(self.slowdown)
        check_clock(clock, self.arm.ip)
        if clock.slowdown > 1.0 and self.truth is None:
            raise ConfigError(
                f"slowdown is {self.slowdown:g}, but no emulator tells this station's truth: the limits of a real arm "
                "hold in real time. Remove slowdown."
            )

    @property
    def clock(self) -> Clock:
        """What the limits of arm, gripper and cameras are measured with."""
        return Clock(self.slowdown)

    def camera(self, name: str) -> CameraConfig:
        """Return a camera by name.

        Raises:
            ConfigError: If the station has none of that name.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        names = ", ".join(c.name for c in self.cameras) or "none"
        raise ConfigError(f"The station has no camera {name!r}; it has {names}. Add a [[cameras]] table.")

    def require_truth(self, request: str, instead: str) -> None:
        """Refuse a request that only a scene can grant that tells where things are: ask before anything moves.

        Args:
            request: What was asked for, as it was typed.
            instead: What to do.

        Raises:
            ConfigError: If the table is real.
        """
        if self.truth is None:
            raise ConfigError(f"{request}: a real table tells nobody where things are; {instead}.")


def load_station(path: Path, *, ip: str | None = None) -> StationConfig:
    """Return the station in a TOML file; paths in it are relative to the file.

    Args:
        path: The file.
        ip: Address of the arm in place of the file's.

    Raises:
        ConfigError: If the file is missing, not TOML, or a value is missing, unknown or of the wrong kind.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no station file {path}; docs/hardware.md shows what to write in it.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read the station file {path}: {error}.") from error
    if ip is not None:
        content["arm"] = {**_table(content, "arm", path), "ip": ip}
    unknown = sorted(content.keys() - {f.name for f in dataclasses.fields(StationConfig)})
    if unknown:
        raise ConfigError(f"{path} has {unknown[0]!r}, which a station does not have; remove it.")
    cameras = content.get("cameras", [])
    if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
        raise ConfigError(f"{path}: write each camera as a [[cameras]] table.")
    return StationConfig(
        arm=_read(ArmConfig, _table(content, "arm", path), f"{path}: arm"),
        workspace=_workspace(content.get("workspace"), path),
        cameras=tuple(_camera(values, path) for values in cameras),
        teleop=_read(TeleopConfig, _table(content, "teleop", path), f"{path}: teleop"),
        gripper=_read(GripperConfig, _table(content, "gripper", path), f"{path}: gripper"),
        task=_table(content, "task", path),
        truth=content.get("truth"),
        slowdown=_number(content, "slowdown", path),
    )


def _table(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    values = content.get(name, {})
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {name} is {values!r}; write it as a [{name}] table.")
    return values


def _number(content: Mapping[str, Any], name: str, path: Path) -> float:
    value = content.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{path}: {name} is {value!r}; write a number.")
    return float(value)


def _camera(values: dict[str, Any], path: Path) -> CameraConfig:
    camera = _read(CameraConfig, values, f"{path}: camera {values.get('name', '?')}")
    folder = Path(path).parent
    changes: dict[str, Any] = {}
    if camera.calibration is not None:
        changes["calibration"] = folder / camera.calibration
    if camera.device.endswith((".db3", ".bag")):
        changes["device"] = str(folder / camera.device)
    return dataclasses.replace(camera, **changes)


def _workspace(values: Any, path: Path) -> Box:
    try:
        lower, upper = (np.array([float(v) for v in values[name]]) for name in ("lower", "upper"))
    except (TypeError, KeyError, ValueError):
        raise ConfigError(
            f"{path} needs a [workspace] with lower = [x, y, z] and upper = [x, y, z] in m: where the TCP may go."
        ) from None
    if lower.shape != (3,) or upper.shape != (3,) or not np.all(np.isfinite([lower, upper])) or np.any(lower >= upper):
        raise ConfigError(
            f"{path}: workspace goes from {lower.tolist()} to {upper.tolist()}; lower must be below upper."
        )
    return Box(lower=lower, upper=upper)


def _read(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Return a configuration from a table, refusing what it does not know and what is missing or of another type."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every kind is a dataclass
    for name in values:
        if name not in fields:
            raise ConfigError(f"{where} has no {name!r}; it has {', '.join(fields)}.")
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where} lacks {name!r}; add it.")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {name} is {first['input']!r}: {first['msg']}.") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
