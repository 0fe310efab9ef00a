"""Whether this computer keeps real time, measured once at the start: what the station's clock is slowed by."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from rl.robots.clock import SLOWEST, Clock

NEEDED_RATE = 1.5
"""Arm time per host time that a computer must be able to make while it renders: client and learner want room too."""
LONGEST_STEP_S = 0.1
"""Longest standstill of the arm that leaves the driver's limits room, [s]: a third of the shortest, 0.3 s."""
LONGEST_LOOK_S = 0.15
"""Longest time for one image of each camera that leaves their age limit, 0.5 s, room, [s]: an image is used for one
period after it was taken, and taking it is another."""
LEAST_STEPS, LEAST_S = 300, 1.0
"""What is measured at least: steps, and host time, [s]."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast arm and cameras run beside each other when nothing holds them back."""

    rate: float
    """Arm time per host time."""
    step_s: float
    """Longest host time from one step of the arm to the next, [s]."""
    look_s: float
    """Longest host time for one image of each camera, [s]."""

    @property
    def clock(self) -> Clock:
        """A clock that this computer keeps, to a tenth; real time where it keeps that."""
        wanted = max(NEEDED_RATE / self.rate, self.step_s / LONGEST_STEP_S, self.look_s / LONGEST_LOOK_S, 1.0)
        return Clock(min(math.ceil(10.0 * wanted - 1e-9) / 10.0, SLOWEST))

    def __str__(self) -> str:
        """Return what follows, and what was measured."""
        slowdown = self.clock.slowdown
        follows = "real time" if slowdown == 1.0 else f"1 s of the station takes {slowdown:.1f} s"
        return (
            f"{follows}; measured: the arm at {self.rate:.2f} times real time ({NEEDED_RATE:g} needed), "
            f"{1e3 * self.step_s:.0f} ms for its longest step ({1e3 * LONGEST_STEP_S:.0f} allowed), "
            f"{1e3 * self.look_s:.0f} ms for an image of each camera ({1e3 * LONGEST_LOOK_S:.0f} allowed)"
        )


def run_free(step: Callable[[], None], now: Callable[[], float], *, timestep_s: float) -> tuple[float, float]:
    """Run a loop as fast as it goes, and return its time per host time, and the longest step, [s].

    Args:
        step: Advances the arm by one step, with all that it does for a client.
        now: Host time, [s].
        timestep_s: Arm time of a step, [s].
    """
    steps, longest_s = 0, 0.0
    began_s = last_s = now()
    while steps < LEAST_STEPS or last_s - began_s < LEAST_S:
        step()
        steps += 1
        after_s = now()
        longest_s, last_s = max(longest_s, after_s - last_s), after_s
    return steps * timestep_s / (last_s - began_s), longest_s
