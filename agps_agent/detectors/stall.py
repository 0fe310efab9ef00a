"""StallRule: asks for help when a rollout gets nowhere. Needs no demonstration, learns from those that there are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agps_agent.detectors.base import FailureDetector, Reading
from agps_agent.detectors.standstill import Standstill
from rl.bounds import Count, NotNegative, Positive, Share, Whole, check_bounds
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
    """Ask at this share of the horizon, and not before what good rollouts take is over; above 1 never."""
    cooldown_steps: Whole = 10
    """No trigger for this many steps after `rearm`."""
    learns: bool = True
    """Learn from good rollouts how long they take and how little changes in them; else the numbers above stand."""
    learned_window_steps: Count = 6
    """Steps over which motion is measured once it has learned, if they are fewer: less then tells a stall."""
    alpha: Share = 0.05
    """Share of good rollouts in which the arm may seem to stand still; at least what so few of them can promise."""
    min_references: Count = 5
    """Fewest good rollouts that it learns from."""

    def __post_init__(self) -> None:
        """Check the fields once."""
        check_bounds(self)


class StallRule(FailureDetector):
    """Fires when the TCP hardly moved over a window, or when a share of the horizon has passed without success.

    Good rollouts do both where a policy searches, or is slower than the share allows. Once some are known the TCP
    counts as standing still only where what the cameras see does, too, for where the arm is (`Standstill`), and the
    time as over only after more steps than the slowest of them had. It fires at every step at which one is so, until it
    is re-armed: who asks decides how often.
    """

    name: ClassVar[str] = "stall"
    config_class: ClassVar[type[StallConfig]] = StallConfig

    def __init__(self, horizon: int, config: StallConfig | None = None) -> None:
        """Watch rollouts of at most `horizon` control steps."""
        self.config = config or StallConfig()
        self._late_step = self.config.horizon_fraction * horizon
        self._usual_steps = 0
        """What good rollouts take at most."""
        self._standstill: Standstill | None = None
        """What standing still looks like; None: not known, the arm's motion alone tells."""
        self.reset()

    def fit(self, references: Sequence[FloatArray]) -> bool:
        """Learn how long good rollouts take, and how little changes in them; shapes (n, k).

        Of one with help only what followed it is a reference: it counts as shorter than it was.
        """
        config = self.config
        self._usual_steps, self._standstill = 0, None
        if config.learns and len(references) >= config.min_references:
            self._usual_steps = max(len(frames) for frames in references)
            window = self._window(learned=True)
            long = [frames for frames in references if len(frames) > window]
            if len(long) >= config.min_references:
                known = Standstill(long, window, config.alpha)
                self._standstill = known if math.isfinite(known.limit) else None
        return True

    def reset(self) -> None:
        """Begin a new rollout."""
        self._positions: list[FloatArray] = []
        self._embeddings: list[FloatArray] = []
        self._cooldown = 0
        self._is_late = False
        self._half_time_used = False

    def rearm(self) -> None:
        """Go on after an intervention: measure motion afresh, and do not ask before the cooldown is over."""
        self._positions.clear()
        self._embeddings.clear()
        self._cooldown = self.config.cooldown_steps
        self._half_time_used |= self._is_late

    def update(self, observation: Observation, embedding: FloatArray | None = None) -> Reading:
        """Add the newest observation and judge: the reason is `no_progress`, `half_time` or empty."""
        config = self.config
        self._positions.append(np.array(observation.robot.T_base_tcp[:3, 3], dtype=np.float64))
        if embedding is not None:
            self._embeddings.append(np.array(embedding))
        self._is_late = observation.step >= max(self._late_step, self._usual_steps)
        late = self._is_late and not self._half_time_used
        window = self._window(learned=self._standstill is not None)
        stuck = net_motion(self._positions, window) < config.min_motion_m * window / config.window_steps
        if self._standstill is not None:
            stuck = stuck and self._standstill.holds(self._embeddings)
        ready = self._cooldown == 0
        self._cooldown = max(self._cooldown - 1, 0)
        reason = ("no_progress" if stuck else "half_time" if late else "") if ready else ""
        return Reading(name=self.name, triggered=bool(reason), reason=reason)

    def _window(self, *, learned: bool) -> int:
        """Return the steps over which motion is measured."""
        return min(self.config.learned_window_steps, self.config.window_steps) if learned else self.config.window_steps


def net_motion(positions: list[FloatArray], window_steps: int) -> float:
    """Return the distance between the newest position and the one `window_steps` before; infinite before that."""
    if len(positions) <= window_steps:
        return float("inf")
    return float(np.linalg.norm(positions[-1] - positions[-1 - window_steps]))
