"""A person agrees to each waypoint of the agent before the arm goes there, and to the first runs of a station."""

import contextlib
import json
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

import numpy as np

from rl.types import Guide, Waypoint

FIRST_RUNS = 3
"""Finished runs of a station after which nobody is asked any more by default."""


class Confirm:
    """Asks in the terminal; the arm is held meanwhile, and the watchdog knows it.

    No answer in time, no terminal, or anything but y or a, is a no. `a` agrees to the rest of the intervention too.
    """

    def __init__(
        self,
        *,
        hold: Callable[[], None],
        suspend_keys: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        timeout_s: float = 60.0,
        stdin: TextIO | None = None,
        out: TextIO | None = None,
    ) -> None:
        """Ask on a terminal.

        Args:
            hold: Holds the arm until the next control step.
            suspend_keys: Gives the terminal back while something is asked, where single keys are read from it.
            timeout_s: Time to answer, [s].
            stdin: Terminal to read from; None: stdin.
            out: Where to ask; None: stderr.
        """
        self.counts: Counter[str] = Counter()
        """How often was asked, and what came of it: asked, agreed, refused, unanswered, no_terminal."""
        self._hold = hold
        self._suspend_keys = suspend_keys
        self._timeout_s = timeout_s
        self._stdin = stdin or sys.stdin
        self._out = out
        self._agreed_to: tuple[Waypoint, ...] | None = None
        """Waypoints that are all agreed to: the very ones, whatever the intervention is called."""

    def __call__(self, guide: Guide, index: int) -> bool:
        """Return whether the arm may go to the waypoint of this number."""
        if guide.waypoints is self._agreed_to:
            return True
        self._hold()
        self.counts["asked"] += 1
        verdict = self._ask(describe(guide.waypoints[index], index, len(guide.waypoints)))
        self._agreed_to = guide.waypoints if verdict == "all" else None
        self.counts["agreed" if verdict == "all" else verdict] += 1
        return verdict in ("agreed", "all")

    def metrics(self) -> dict[str, float]:
        """Return the counts."""
        return {f"confirm/{name}": float(count) for name, count in self.counts.items()}

    def _ask(self, question: str) -> str:
        if not is_terminal(self._stdin):
            return "no_terminal"
        with self._suspend_keys():
            out = self._out or sys.stderr
            out.write(f"{question} Go there? [y]es, [a]ll of this intervention, else no, then Enter:\n")
            out.flush()
            answer = self._answer()
        if answer is None:
            return "unanswered"
        return {"y": "agreed", "yes": "agreed", "a": "all", "all": "all"}.get(answer.strip().lower(), "refused")

    def _answer(self) -> str | None:
        """Return the line that was typed; None if there was none in time. A signal interrupts it."""
        deadline = time.monotonic() + self._timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if select.select([self._stdin], [], [], min(left_s, 0.1))[0]:
                return os.read(self._stdin.fileno(), 256).decode(errors="replace")
        return None


def is_terminal(stream: TextIO) -> bool:
    """Return whether somebody can type there."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def wait_for_enter(what: str) -> None:
    """Ask for something, and return when Enter alone was pressed: hands may be where the arm goes next.

    Raises:
        KeyboardInterrupt: If somebody typed a stop key, Esc or space, or nobody can type any more; or by a signal.
    """
    say = f"{what} Press Enter when it is done; Esc or space, and Enter, end the run.\n"
    while True:
        sys.stderr.write(say)
        sys.stderr.flush()
        while not select.select([sys.stdin], [], [], 0.1)[0]:
            pass
        try:
            typed = os.read(sys.stdin.fileno(), 256)
        except OSError:  # the terminal is gone
            typed = b""
        if not typed or b" " in typed or b"\x1b" in typed:
            raise KeyboardInterrupt
        if not typed.strip():
            return
        say = f"Not understood: {typed.decode(errors='replace').strip()!r}. {what} Then press Enter alone.\n"


def describe(waypoint: Waypoint, index: int, count: int) -> str:
    """Return a waypoint in words."""
    x, y, z = 1000.0 * waypoint.T_base_tcp[:3, 3]
    how = {"free": "", "guarded": ", down to contact", "search": ", searching"}[waypoint.motion]
    yaw_deg = np.degrees(np.arctan2(waypoint.T_base_tcp[1, 0], waypoint.T_base_tcp[0, 0]))
    return (
        f"Waypoint {index + 1} of {count}: TCP to ({x:.0f}, {y:.0f}, {z:.0f}) mm, turned {yaw_deg:.0f} degrees{how}, "
        f"gripper {'open' if waypoint.gripper_opening > 0.5 else 'closed'}."
    )


def is_first_run(station: Path) -> bool:
    """Return whether a station has finished fewer than `FIRST_RUNS` runs."""
    return finished_runs(station) < FIRST_RUNS


def finished_runs(station: Path) -> int:
    """Return how many runs a station has finished."""
    try:
        return int(json.loads(_history(station).read_text(encoding="utf-8"))["finished_runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def count_finished_run(station: Path) -> None:
    """Remember one more run beside the station file; where that cannot be written, people go on being asked."""
    content = json.dumps({"finished_runs": finished_runs(station) + 1}) + "\n"
    with contextlib.suppress(OSError):
        _history(station).write_text(content, encoding="utf-8")


def _history(station: Path) -> Path:
    return station.with_name(f"{station.stem}.runs.json")
