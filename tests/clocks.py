"""A clock that a test moves."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rl.robots.clock import Clock


@dataclass(frozen=True)
class MovedClock(Clock):
    """Stands until it is moved; whoever waits on it looks again at once."""

    state: dict[str, float] = field(default_factory=lambda: {"now_s": 100.0, "looks": 0})

    def move(self, duration_s: float) -> None:
        """Let time pass."""
        self.state["now_s"] += duration_s

    def show(self, duration_s: float) -> None:
        """Let time pass, and the thread that waits look at it, twice: the first look may have begun before."""
        self.move(duration_s)
        looks = self.state["looks"]
        until(lambda: self.state["looks"] >= looks + 2)

    def now(self) -> float:
        return self.state["now_s"]

    def wait(self, event: threading.Event, duration_s: float) -> bool:
        self.state["looks"] += 1
        return event.wait(0.001)


def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait for a condition, for longer than any computer needs."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)
