"""What a robot counts about itself: steps, successes, waiting, the period of its control steps."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rl.loop import Step

NEWEST_PERIODS = 5_000
"""Control steps over which the period is judged: eight minutes at 10 Hz."""
NEWEST_ROLLOUTS = 20


@dataclass
class RobotMetrics:
    """Counts of one robot, over all of its processes; `state_dict` is what the next one begins with."""

    clock: Callable[[], float] = time.monotonic
    steps: int = 0
    episodes: int = 0
    successes: int = 0
    faults: int = 0
    earlier_s: float = 0.0
    """Time that earlier processes acted, [s]."""
    learner_wait_s: float = 0.0
    lives: int = 1
    newest: deque[bool] = field(default_factory=lambda: deque(maxlen=NEWEST_ROLLOUTS))
    periods: deque[float] = field(default_factory=lambda: deque(maxlen=NEWEST_PERIODS))
    """From one control step to the next within an episode, without holding still for the agent, [s]."""
    _began: float | None = None
    _held_s: float = 0.0
    _last: float | None = None
    """When the last control step ended, by the clock, [s]; None where the next one follows a reset or a pause."""

    def begin(self) -> None:
        """Begin to count time; once is enough."""
        self._began = self.clock() if self._began is None else self._began

    def see(self, step: Step, *, held_s: float = 0.0) -> None:
        """Take note of a control step.

        Args:
            step: What was done.
            held_s: Time that the arm has held still for the agent so far, which no period counts, [s].
        """
        now, held = self.clock(), held_s - self._held_s
        self._held_s = held_s
        # The first step of an episode follows a reset, and the last one holds the next.
        if self._last is not None and not step.begins_episode and step.outcome is None:
            self.periods.append(max(0.0, now - self._last - held))
        self._last = None if step.outcome is not None else now
        self.steps += 1
        if step.outcome is not None:
            self.episodes += 1
            self.successes += step.outcome.success
            self.newest.append(step.outcome.success)
            self.faults += "fault" in step.info

    def waited(self, seconds: float) -> None:
        """Take note of time spent waiting for the learner, [s]."""
        self.learner_wait_s += seconds

    @property
    def wall_s(self) -> float:
        """Time since it began to act, in all its processes, [s]."""
        return self.earlier_s + (0.0 if self._began is None else self.clock() - self._began)

    def said(self) -> dict[str, Any]:
        """Return the fields of a `RobotReport` that are counted here."""
        p50, p99 = np.percentile(self.periods, (50, 99)) * 1e3 if self.periods else (0.0, 0.0)
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "successes": self.successes,
            "recent_success": sum(self.newest) / len(self.newest) if self.newest else 0.0,
            "wall_s": self.wall_s,
            "learner_wait_s": self.learner_wait_s,
            "period_p50_ms": float(p50),
            "period_p99_ms": float(p99),
            "faults": self.faults,
            "lives": self.lives,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what the robot's next process begins with."""
        counts = {name: getattr(self, name) for name in ("steps", "episodes", "successes", "faults", "lives")}
        return {
            **counts,
            "earlier_s": self.wall_s,
            "learner_wait_s": self.learner_wait_s,
            "newest": list(self.newest),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the robot's next process."""
        for name in ("steps", "episodes", "successes", "faults", "earlier_s", "learner_wait_s"):
            setattr(self, name, state[name])
        self.lives = state["lives"] + 1
        self.newest.extend(state["newest"])
