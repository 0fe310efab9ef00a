"""How a program that is told to end ends: the arm is stopped, and what there is is saved whole.

The first Ctrl-C, SIGTERM (a scheduler, a shutdown, the end of a grid) or SIGHUP (the terminal was closed, the
connection lost) raises KeyboardInterrupt. What is then saved is not disturbed: a second Ctrl-C is answered with what
goes on, and only a third one breaks that off.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READ_S = 1.0
"""Time to read what the second Ctrl-C is answered with, [s]: a key that is held down, or hit thrice in haste, breaks
nothing off."""
ANSWER = "\nThis ends when all is saved. Press Ctrl-C once more to break that off; what is not on disk then is lost.\n"


class BrokenOff(KeyboardInterrupt):
    """Somebody would not wait for what was being saved."""


class _Ending:
    """What was asked of this program so far."""

    def __init__(self, read_s: float) -> None:
        self.asked = False
        """It was told to end."""
        self.saving = 0
        """Parts under way that are to be finished first, one within the other."""
        self._read_s = read_s
        self._waits = False
        """It was told to end while something was being saved."""
        self._answered_s: float | None = None
        """When the second Ctrl-C was answered."""

    def hear(self, number: int, frame: object) -> None:
        """Take note of a signal."""
        if not self.asked:
            self.asked = True
            if self.saving:
                self._waits = True
            else:
                raise KeyboardInterrupt
        elif number == signal.SIGINT:  # the others come in twos and threes, from shell, terminal and system
            self._hear_impatience()

    def end_if_asked(self) -> None:
        """Raise what was held back while something was being saved."""
        if self._waits:
            self._waits = False
            raise KeyboardInterrupt

    def _hear_impatience(self) -> None:
        now_s = time.monotonic()
        if self._answered_s is None:
            self._answered_s = now_s
            with contextlib.suppress(OSError, ValueError):  # no terminal any more
                os.write(sys.stderr.fileno(), ANSWER.encode())  # a buffered write may be what was interrupted
        elif now_s - self._answered_s >= self._read_s:
            raise BrokenOff


_ending: _Ending | None = None
"""Signals are the process's, so this is too. None: nobody catches them."""


@contextmanager
def terminated_like_ctrl_c(*, read_s: float = READ_S) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does, once. Within another one it does nothing.

    Args:
        read_s: Time after which a third Ctrl-C counts, [s].
    """
    global _ending
    if _ending is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _ending = ending = _Ending(read_s)
    # What `nohup`, or a shell that puts us into the background, has this program ignore stays ignored.
    caught = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before: dict[signal.Signals, Any] = {number: signal.signal(number, ending.hear) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _ending = None


@contextmanager
def saving() -> Iterator[None]:
    """Finish what is inside first: whoever tells the program to end meanwhile is obeyed right after it."""
    ending = _ending
    if ending is None:
        yield
        return
    ending.saving += 1
    try:
        yield
    finally:
        ending.saving -= 1
    if not ending.saving:
        ending.end_if_asked()


def interrupt_main_thread() -> None:
    """Interrupt the program like Ctrl-C, from any thread; once it ends already, do not disturb it."""
    if _ending is None or not _ending.asked:
        is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # by whoever started it: nobody would hear that
        number = signal.SIGTERM if is_ignored else signal.SIGINT
        signal.pthread_kill(threading.main_thread().ident or 0, number)
