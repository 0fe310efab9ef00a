"""The station: one arm, its gripper and cameras on one table, as a TOML file that a lab writes once.

```toml
[arm]
kind = "franka"               # the default; or another arm: my_package.my_arm:MyArm (docs/extend/arm.md)
ip = "172.16.0.2"             # everything else here is what that kind knows
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
from urllib.parse import urlsplit

import numpy as np
from annotated_types import Interval
from pydantic import TypeAdapter, ValidationError

from rl.bounds import Count, Positive, Whole, check_bounds
from rl.errors import ConfigError
from rl.guard import FARTHEST_M
from rl.robots.base import Arm, Gripper, arm_class, gripper_class
from rl.robots.clock import Clock, check_clock
from rl.tasks.base import Task
from rl.types import Box

T = TypeVar("T")

NO_GRIPPER = "none"
"""Kind of gripper of an arm that has none."""
Mount = Literal["hand", "world"]
"""Frame that a camera is fixed to: the TCP (eye-in-hand) or the base (eye-to-hand)."""


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
    """One camera."""

    name: str
    """As the task calls it."""
    device: str
    """Serial number; path of a recording (.db3, .bag); or emulator://HOST:PORT/CAMERA. Of another kind what that says.
    """
    mount: Mount
    """`hand` is eye-in-hand, `world` eye-to-hand."""
    kind: str = "realsense"
    """What it is: a registered name, `package.module:Name` or `./file.py:Name`."""
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

    arm: Any
    """What the kind of arm lets a station say: its `config_class`."""
    workspace: Box
    """The commanded TCP position never leaves this box, base frame, [m]; there is no default."""
    cameras: tuple[CameraConfig, ...]
    arm_kind: str = "franka"
    """Which arm: a registered name, `package.module:Name` or `./file.py:Name`."""
    gripper: Any = None
    """The same for the gripper; None: as the kind has it by default."""
    gripper_kind: str | None = None
    """Which gripper; None: the one that belongs to the arm."""
    teleop: TeleopConfig = TeleopConfig()
    task: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the task that differ here."""
    truth: str | None = None
    """emulator://HOST:PORT: where an emulated scene tells its named points; a real table has nobody who knows."""
    slowdown: float = 1.0
    """Host seconds per second of this station, which an emulator measured; more than 1 for emulators only."""

    def __post_init__(self) -> None:
        """Refuse a slow clock, and an emulator's eyes, where the arm may be a real one.

        Raises:
            ConfigError: If so.
        """
        clock = Clock(self.slowdown)
        check_clock(clock, self.address or self.arm_kind)
        if clock.slowdown > 1.0 and self.truth is None:
            raise ConfigError(
                f"slowdown is {self.slowdown:g}, but no emulator tells this station's truth: the limits of a real arm "
                "hold in real time. Remove slowdown."
            )

        if self.truth is not None and not isinstance(self.truth, str):
            raise ConfigError(f"truth is {self.truth!r}; write emulator://HOST:PORT, or leave it out.")
        if self.truth is not None and self.address is not None and not _is_same_host(self.address, self.truth):
            raise ConfigError(
                f"The arm is at {self.address} and an emulator at {self.truth} tells this station's truth: an arm that "
                "is real would move by a simulation. Name the emulator's arm, or remove truth and write real cameras."
            )

    @property
    def clock(self) -> Clock:
        """What the limits of arm, gripper and cameras are measured with."""
        return Clock(self.slowdown)

    @property
    def address(self) -> str | None:
        """Where the arm is reached; None where its kind needs no address."""
        return dataclasses.asdict(self.arm).get("ip")

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


def _is_same_host(address: str, truth: str) -> bool:
    """Return whether an arm's address and an emulator's URL name one machine, this one by any of its own names."""
    hosts = [urlsplit(name if "//" in name else f"//{name}").hostname or "" for name in (address, truth)]
    own = [host in ("localhost", "::1") or host.startswith("127.") for host in hosts]
    return all(own) or hosts[0] == hosts[1]


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
    unknown = sorted(content.keys() - {f.name for f in dataclasses.fields(StationConfig)})
    if unknown:
        raise ConfigError(f"{path} has {unknown[0]!r}, which a station does not have; remove it.")
    cameras = content.get("cameras", [])
    if not isinstance(cameras, list) or not all(isinstance(camera, dict) for camera in cameras):
        raise ConfigError(f"{path}: write each camera as a [[cameras]] table.")
    folder = Path(path).parent
    arm_kind, arm = _of_a_kind(content, "arm", folder, "franka")
    driver = arm_class(arm_kind)
    if ip is not None:
        if "ip" not in {f.name for f in dataclasses.fields(driver.config_class)}:
            raise ConfigError(f"--robot-ip {ip}: the arm {arm_kind} has no address; leave it out.")
        arm["ip"] = ip
    gripper_kind, gripper = _of_a_kind(content, "gripper", folder, driver.gripper)
    return StationConfig(
        arm=_read(driver.config_class, arm, f"{path}: arm"),
        arm_kind=arm_kind,
        workspace=_workspace(content.get("workspace"), path),
        cameras=tuple(_camera(values, path) for values in cameras),
        teleop=_read(TeleopConfig, _table(content, "teleop", path), f"{path}: teleop"),
        gripper=_read(gripper_class(gripper_kind).config_class, gripper, f"{path}: gripper"),
        gripper_kind=gripper_kind,
        task=_table(content, "task", path),
        truth=content.get("truth"),
        slowdown=_number(content, "slowdown", path),
    )


def open_arm(station: StationConfig) -> Arm:
    """Return the connected arm of a station; nothing moves.

    Raises:
        ConfigError: If there is no such kind, or it does not answer.
    """
    return arm_class(station.arm_kind)(station.arm, station.workspace, clock=station.clock)


def open_gripper(station: StationConfig, task: Task) -> Gripper:
    """Return the connected gripper of a station; nothing moves.

    Raises:
        ConfigError: If there is no such kind, it does not answer, or the task needs one and there is none.
    """
    kind = station.gripper_kind or arm_class(station.arm_kind).gripper
    if kind == NO_GRIPPER and task.has_gripper:
        raise ConfigError(
            f"{task.name} opens and closes a gripper and the station has none; write its kind under [gripper]."
        )
    driver = gripper_class(kind)
    config = driver.config_class() if station.gripper is None else station.gripper
    if task.has_gripper and not getattr(config, "enabled", True):
        raise ConfigError(f"{task.name} opens and closes a gripper, and [gripper] says enabled = false; remove that.")
    return driver(config, station.arm, clock=station.clock)


def _of_a_kind(content: Mapping[str, Any], name: str, folder: Path, default: str) -> tuple[str, dict[str, Any]]:
    """Return the kind that a table names, and what else it says."""
    values = dict(_table(content, name, folder))
    return kind_beside(folder, values.pop("kind", default), name), values


def kind_beside(folder: Path, kind: Any, name: str) -> str:
    """Return a kind of driver that holds in every working directory: `./file.py:Name` is relative to the station file.

    Raises:
        ConfigError: If it is no name.
    """
    if not isinstance(kind, str):
        raise ConfigError(f"{name}: kind is {kind!r}; write a name, or package.module:Name.")
    file, colon, attribute = kind.rpartition(":")
    return f"{(folder / file).resolve()}:{attribute}" if colon and file.endswith(".py") else kind


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
    changes: dict[str, Any] = {"kind": kind_beside(folder, camera.kind, f"{path}: camera {camera.name}")}
    if camera.calibration is not None:
        changes["calibration"] = folder / camera.calibration
    if camera.device.endswith((".db3", ".bag")):
        changes["device"] = str(folder / camera.device)
    return dataclasses.replace(camera, **changes)


def _workspace(values: Any, path: Path) -> Box:
    try:
        lower, upper = (np.array(values[name]) for name in ("lower", "upper"))
        if any(bound.dtype.kind not in "iuf" for bound in (lower, upper)):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        raise ConfigError(
            f"{path} needs a [workspace] with lower = [x, y, z] and upper = [x, y, z] in m: where the TCP may go."
        ) from None
    if lower.shape != (3,) or upper.shape != (3,) or not np.all(np.isfinite([lower, upper])) or np.any(lower >= upper):
        raise ConfigError(
            f"{path}: workspace goes from {lower.tolist()} to {upper.tolist()}; lower must be below upper."
        )
    if unknown := sorted(values.keys() - {"lower", "upper"}):
        raise ConfigError(f"{path}: workspace has no {unknown[0]!r}; it has lower and upper.")
    if np.max(np.abs([lower, upper])) > FARTHEST_M:
        raise ConfigError(
            f"{path}: workspace goes from {lower.tolist()} to {upper.tolist()}; it is in m, and no arm reaches further "
            f"than {FARTHEST_M:g} m."
        )
    return Box(lower=lower.astype(float), upper=upper.astype(float))


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
