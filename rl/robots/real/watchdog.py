"""Stops the arm when nobody tells it what to do any more."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from rl.errors import AgpsError
from rl.robots.clock import REAL_TIME, Clock

logger = logging.getLogger(__name__)
RETRY_S = 0.1
"""From one attempt to stop an arm whose driver fails to the next, [s]."""
CALLERS = 8
"""Innermost calls of the control loop that are named where it was silent."""


class Holdable(Protocol):
    """What a watchdog watches."""

    def hold(self) -> None:
        """Stay at the measured pose."""

    def stop(self) -> None:
        """Come to rest and give control back."""


class Watchdog:
    """A thread that holds the arm 0.3 s after the last fresh action and stops it after 1 s.

    It begins paused. In a pause the arm holds still and no time runs: the agent thinks, a reset is under way.
    """

    def __init__(
        self, arm: Holdable, freeze_after_s: float = 0.3, stop_after_s: float = 1.0, *, clock: Clock = REAL_TIME
    ) -> None:
        """Start the thread.

        Args:
            arm: What to hold and to stop.
            freeze_after_s: Time without an action after which the target becomes the measured pose, [s].
            stop_after_s: Time without an action after which the arm is stopped, [s].
            clock: The station's.
        """
        self.freezes = 0
        """Times that it held the arm."""
        self.stops = 0
        """Times that it stopped the arm."""
        self._arm = arm
        self._freeze_after_s, self._stop_after_s = freeze_after_s, stop_after_s
        self._clock = clock
        self._fed_s = clock.now()
        self._loop = threading.get_ident()
        """Thread that commands the arm."""
        self._state = "paused"  # watching -> frozen -> stopped; paused
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether it has stopped the arm since the last `resume`."""
        return self._state == "stopped"

    def feed(self) -> None:
        """Say that a fresh action was commanded."""
        with self._lock:
            self._fed_s, self._loop = self._clock.now(), threading.get_ident()
            if self._state == "frozen":
                self._state = "watching"

    def pause(self) -> None:
        """Hold the arm, without a limit of time, until `resume`."""
        with self._lock:
            already, self._state = self._state in ("paused", "stopped"), "paused"
        if not already:
            self._arm.hold()

    def resume(self) -> None:
        """Expect fresh actions from now on."""
        with self._lock:
            self._fed_s, self._loop = self._clock.now(), threading.get_ident()
            self._state = "watching"

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _watch(self) -> None:
        while not self._clock.wait(self._closing, 0.02):
            with self._lock:
                silent_s = self._clock.now() - self._fed_s
                if self._state in ("watching", "frozen") and silent_s > self._stop_after_s:
                    self._state, act = "stopped", self._arm.stop
                    self.stops += 1
                elif self._state == "watching" and silent_s > self._freeze_after_s:
                    self._state, act = "frozen", self._arm.hold
                    self.freezes += 1
                else:
                    continue
                state = self._state
            where = calls_of(self._loop, CALLERS)
            if not self._could(act):
                self._stop_until_it_does()
                state = "stopped"
            logger.warning(
                "No fresh action for %.2f s: the arm is %s. The control loop was in %s.", silent_s, state, where
            )

    def _could(self, act: Callable[[], None]) -> bool:
        """Hold or stop the arm; return whether that needs no further try. No error ends the thread that watches."""
        try:
            act()
        except AgpsError as error:
            # The arm has failed by itself and is stopped; whoever commands it next is told.
            logger.warning("The watchdog could not hold the arm: %s", error)
        except Exception:  # a driver's own: whether the arm still follows its last target nobody knows
            logger.exception("The watchdog could not hold or stop the arm; it goes on trying to stop it.")
            return False
        return True

    def _stop_until_it_does(self) -> None:
        with self._lock:
            self.stops += self._state != "stopped"
            self._state = "stopped"
        while not self._could(self._arm.stop):
            if self._clock.wait(self._closing, RETRY_S) or not self.stopped:  # or somebody drives it again
                return


def calls_of(thread: int, most: int) -> str:
    """Return the innermost calls of a thread, the innermost first: `name (file:line) < its caller ...`."""
    calls: list[str] = []
    frame = sys._current_frames().get(thread)
    while frame is not None and len(calls) < most:
        calls.append(f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(calls) or "no thread any more"
