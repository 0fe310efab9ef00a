"""Options that say which arm, and how it moves: `--station`, `--robot-ip` and `--speed`."""

from pathlib import Path
from typing import Annotated

from annotated_types import Interval

STATION = Path("station.toml")
"""Station file where nobody names one."""
Speed = Annotated[float, Interval(gt=0, le=1)]
"""Longest control step over the task's."""


def refuse_idle_arm(robot: str, *, station: Path, robot_ip: str | None, speed: float = 1.0) -> None:
    """Refuse options of an arm where nothing happens on one: they would do nothing.

    Raises:
        ConfigError: With the first one.
    """
    from agps_agent.run.place import place_of

    given = (("--station", station != STATION), ("--robot-ip", robot_ip is not None), ("--speed", speed != 1.0))
    for flag, is_given in given:
        if is_given:
            place_of(robot).require_arm(
                f"{flag} is for a robot, and this is simulated; add --robot station, or leave it out."
            )
