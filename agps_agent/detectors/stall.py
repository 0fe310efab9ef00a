"""StallRule: asks for help when a rollout gets nowhere. Needs no demonstration; watches until FLOAT can be fitted."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agps_agent.detectors.base import FailureDetector, Reading
from rl.bounds import Count, NotNegative, Positive, Whole, check_bounds
from rl.types import FloatArray, Observation


@dataclass(frozen=True, kw_only=True)
class StallConfig:
    """When a rollout counts as stalled."""

    window_steps: Count = 10
    """Steps over which net motion is measured; a probe asked after 10 steps without progress."""
    min_motion_m: NotNegative = 0.010
    """Net motion of the TCP over the window below this is a stall, [m]. One full action moves 10 mm. On USB insertion
    this flags no rollout of the expert, and all that stall or press on the wrong place."""
    horizon_fraction: Positive = 0.4
    """Ask at this share of the horizon in any case; above 1 never."""
    cooldown_steps: Whole = 10
    """No trigger for this many steps after `rearm`."""

    def __post_init__(self) -> None:
        """Check the fields once."""
        check_bounds(self)


class StallRule(FailureDetector):
    """Fires when the TCP hardly moved over a window, or when a share of the horizon has passed without success.

    It fires at every step at which that is so, until it is re-armed: who asks decides how often.
    """

    name: ClassVar[str] = "stall"
    config_class: ClassVar[type[StallConfig]] = StallConfig

    def __init__(self, horizon: int, config: StallConfig | None = None) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        self.config = config or StallConfig()
        self._horizon = horizon
        self.reset()

    def reset(self) -> None:
        """Begin a new rollout."""
        self._positions: list[FloatArray] = []
        self._cooldown = 0
        self._is_late = False
        self._half_time_used = False

    def rearm(self) -> None:
        """Go on after an intervention: measure motion afresh, and do not ask before the cooldown is over."""
        self._positions.clear()
        self._cooldown = self.config.cooldown_steps
        self._half_time_used |= self._is_late

    def update(self, observation: Observation, embedding: FloatArray | None = None) -> Reading:
        """Add the newest observation and judge: the reason is `no_progress`, `half_time` or empty."""
        config = self.config
        self._positions.append(np.array(observation.robot.T_base_tcp[:3, 3], dtype=np.float64))
        self._is_late = observation.step >= config.horizon_fraction * self._horizon
        late = self._is_late and not self._half_time_used
        stuck = net_motion(self._positions, config.window_steps) < config.min_motion_m
        ready = self._cooldown == 0
        self._cooldown = max(self._cooldown - 1, 0)
        reason = ("no_progress" if stuck else "half_time" if late else "") if ready else ""
        return Reading(name=self.name, triggered=bool(reason), reason=reason)


def net_motion(positions: list[FloatArray], window_steps: int) -> float:
    """Return the distance between the newest position and the one `window_steps` before, [m]; infinite before that."""
    if len(positions) <= window_steps:
        return float("inf")
    return float(np.linalg.norm(positions[-1] - positions[-1 - window_steps]))
