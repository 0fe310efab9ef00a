"""What takes the place of a gripper on an arm that has none."""

from dataclasses import dataclass
from typing import Any, ClassVar

from rl.robots.base import Gripper
from rl.robots.clock import REAL_TIME, Clock


@dataclass(frozen=True)
class NoGripperConfig:
    """Nothing to say."""


class NoGripper(Gripper):
    """Has the opening that was asked for last."""

    config_class: ClassVar[type[Any]] = NoGripperConfig

    def __init__(self, config: NoGripperConfig, arm: Any, *, clock: Clock = REAL_TIME) -> None:
        """Do nothing."""
        self._opening = 1.0

    def command(self, opening: float) -> None:
        """Note the opening; not a number keeps the last one."""
        self._opening = opening if opening == opening else self._opening

    def opening(self) -> float:
        """Return the opening that was asked for."""
        return self._opening

    def close(self) -> None:
        """Do nothing."""
