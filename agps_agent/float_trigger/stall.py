"""StallRule: asks for help when a rollout gets nowhere. Needs no demonstration; watches until FLOAT can be fitted."""

from dataclasses import dataclass

import numpy as np

from rl.errors import ConfigError
from rl.ranges import above, at_least, check_ranges
from rl.types import FloatArray, Observation


@dataclass(frozen=True, kw_only=True)
class StallConfig:
    """When a rollout counts as stalled."""

    window_steps: int = 10
    """Steps over which net motion is measured; a probe asked after 10 steps without progress."""
    min_motion_m: float = 0.010
    """Net motion of the TCP over the window below this is a stall, [m]. One full action moves 10 mm. On USB insertion
    this flags no rollout of the expert, and all that stall or press on the wrong place."""
    horizon_fraction: float = 0.4
    """Ask at this share of the horizon in any case; above 1 never."""
    max_queries: int = 1
    """Triggers per rollout; 1 is the paper's Fig. 3d."""
    cooldown_steps: int = 10
    """No trigger for this many steps after `rearm`."""

    def __post_init__(self) -> None:
        """Check the fields once."""
        check_ranges(self, min_motion_m=at_least(0), horizon_fraction=above(0), cooldown_steps=at_least(0))
        if self.window_steps < 1 or self.max_queries < 1:
            raise ConfigError(
                f"window_steps = {self.window_steps} and max_queries = {self.max_queries} must be 1 or more."
            )


class StallRule:
    """Fires when the TCP hardly moved over a window, or when a share of the horizon has passed without success."""

    def __init__(self, horizon: int, config: StallConfig | None = None) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        self.config = config or StallConfig()
        self._horizon = horizon
        self.reset()

    def reset(self) -> None:
        """Begin a new rollout."""
        self.reason = ""
        """Why the last update asked: `no_progress`, `half_time`, or empty."""
        self._positions: list[FloatArray] = []
        self._queries = 0
        self._cooldown = 0
        self._half_time_used = False

    def rearm(self) -> None:
        """Go on after an intervention: measure motion afresh, and do not ask before the cooldown is over."""
        self._positions.clear()
        self._cooldown = self.config.cooldown_steps

    def update(self, observation: Observation) -> bool:
        """Add the newest observation and return whether to ask the agent now; `reason` says why."""
        config = self.config
        self._positions.append(np.array(observation.robot.T_base_tcp[:3, 3], dtype=np.float64))
        late = not self._half_time_used and observation.step >= config.horizon_fraction * self._horizon
        stuck = net_motion(self._positions, config.window_steps) < config.min_motion_m
        ready = self._cooldown == 0 and self._queries < config.max_queries
        self._cooldown = max(self._cooldown - 1, 0)
        self.reason = ("no_progress" if stuck else "half_time" if late else "") if ready else ""
        if self.reason:
            self._queries += 1
            self._half_time_used |= late
        return bool(self.reason)


def net_motion(positions: list[FloatArray], window_steps: int) -> float:
    """Return the distance between the newest position and the one `window_steps` before, [m]; infinite before that."""
    if len(positions) <= window_steps:
        return float("inf")
    return float(np.linalg.norm(positions[-1] - positions[-1 - window_steps]))
