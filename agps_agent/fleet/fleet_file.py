"""fleet.toml: which robots learn together, where each is, and the settings of each."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agps_agent.run.config import RunConfig
from agps_agent.run.robot import STATION
from rl.errors import ConfigError

SEED_STRIDE = 10_000_000
"""From one robot's seed to the next: farther apart than the offsets of the parts of one run."""
MOST = 64
"""Robots of one fleet, as of `--robots`."""
TAKEN = ("learner", "pool", "inbox", "identity")
"""Names of other parts of a fleet, and of what lies beside the robots' folders."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_RAYS = ("CPU", "GPU", "memory", "object_store_memory")
"""Resources that Ray counts by itself."""


class RobotEntry(BaseModel):
    """One `[[robots]]` of a fleet file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    """Lower-case letters, digits and dashes."""
    kind: Literal["simulated", "station"] = "simulated"
    """A simulator in the robot's process, or the arm of a station file, real or emulated."""
    station: Path | None = None
    """File of the station, on the robot's machine."""
    speed: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Longest control step over the task's."""
    node: str | None = None
    """Ray resource that only this robot's machine has; None: the machine of the command."""
    folder: Path | None = None
    """Where its machine keeps episodes until they are acknowledged. None: in the run's directory, or with `node` in
    ~/.cache/agps/fleet."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name!r}; use up to 31 lower-case letters, digits and dashes")
        if self.name in TAKEN:
            raise ValueError(f"name is {self.name!r}, which another part of a fleet has; take another one")
        if self.node is not None and (not self.node.strip() or self.node in _RAYS):
            raise ValueError(
                f"node is {self.node!r}; use a name of your own, as in `ray start --resources='{{\"left\": 1}}'`"
            )
        if self.kind == "simulated" and "speed" in self.model_fields_set:
            raise ValueError("speed is for a station; a simulated robot moves as the task says, leave it out")
        if (self.kind == "station") != (self.station is not None):
            raise ValueError('a robot of kind "station" names its file as station = "...", and no other one does')
        return self


def robots_of(config: RunConfig) -> tuple[RobotEntry, ...]:
    """Return the robots of a run.

    Raises:
        ConfigError: If the fleet file cannot be read, names nobody, or says what there is not.
    """
    if config.fleet is None:
        return tuple(RobotEntry(name=f"r{number}") for number in range(config.robots or 1))
    robots = read_fleet(config.fleet)
    away = next((robot for robot in robots if robot.node is not None), None)
    if away is not None and config.ray is None:
        raise ConfigError(
            f"{config.fleet}: robot {away.name} is on a machine that offers {away.node}, and no cluster is named; add "
            "--ray HOST:PORT, or leave out node for a robot of this machine."
        )
    return robots


def read_fleet(file: Path) -> tuple[RobotEntry, ...]:
    """Return the robots that a fleet file names.

    Raises:
        ConfigError: In one sentence, if it cannot be read or something in it is wrong.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read --fleet {file}: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"{file} is no TOML: {error}.") from error
    if other := sorted(content.keys() - {"robots"}):
        raise ConfigError(f"{file} has {', '.join(other)}; it may have [[robots]] only.")
    entries = content.get("robots")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{file} names no robot; write one [[robots]] with a name for each.")
    if len(entries) > MOST:
        raise ConfigError(f"{file} names {len(entries)} robots; one learner takes up to {MOST}.")
    robots = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise ConfigError(f"{file}, robot {number} is {entry!r}; write one [[robots]] with a name for each.")
        try:
            robots.append(RobotEntry.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{file}, robot {number}: {f'{field}: ' if field else ''}{said}.") from None
    for robot in robots:
        if robot.station is not None and robot.node is None and not robot.station.is_file():
            raise ConfigError(
                f"{file}: there is no station file {robot.station} for robot {robot.name} on this machine; "
                "`agps emulate` writes one, or name the machine that has it with node."
            )
    arms: dict[tuple[Path | None, str | None], str] = {}
    for robot in robots:
        holder = arms.setdefault((robot.station, robot.node), robot.name)
        if robot.station is not None and holder != robot.name:
            raise ConfigError(f"{file}: {holder} and {robot.name} are on {robot.station}, which is one arm.")
    names = [robot.name for robot in robots]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{file} names {', '.join(twice)} twice; give each robot a name of its own.")
    return tuple(robots)


def config_of(robot: RobotEntry, number: int, config: RunConfig) -> RunConfig:
    """Return the settings of one robot: its seed, and its station if it has one.

    Args:
        robot: From the fleet file.
        number: Of the robot, counting from 0, whose seed is the run's.
        config: The run's settings.
    """
    changes = {"seed": (config.seed + SEED_STRIDE * number) % 2**32}
    if robot.station is None:
        return config.model_copy(update=changes)
    arm = {"robot": STATION, "station": robot.station, "speed": robot.speed, "confirm": False, "pace": None}
    return config.model_copy(update={**changes, **arm})
