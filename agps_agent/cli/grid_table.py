"""How a grid looks while it runs: a table that fills in a terminal, a line per change elsewhere."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agps_agent.cli.terminal import console, live
from agps_agent.measure.experiments.planning import Glance
from agps_agent.measure.experiments.running import Change, Job

SHOWN: dict[Change, tuple[str, str]] = {
    "queued": ("queued", "dim"),
    "running": ("running", "bold cyan"),
    "elsewhere": ("running elsewhere", "cyan"),
    "finished": ("finished", "green"),
    "failed": ("failed", "bold red"),
    "left": ("left for later", "dim"),
}
"""Each change in words, and its style."""
_ALWAYS: tuple[Change, ...] = ("running", "elsewhere", "failed")
"""What is shown where not all fits the screen."""


class Shown(Job, Protocol):
    """What a table has a line for."""

    @property
    def unit(self) -> str:
        """What is counted to tell how far it is."""

    @property
    def size(self) -> int:
        """How many of those there are at most."""

    def glance(self) -> Glance:
        """Return how far it is."""


class GridTable:
    """Shows what became of each run; use as a context manager."""

    def __init__(self, runs: Sequence[Shown], stream: TextIO | None = None) -> None:
        self._runs = list(runs)
        self._changes: dict[str, Change] = {}
        self._glances: dict[str, Glance] = {}
        self._console = console(stream or sys.stdout)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Take the terminal's last lines, if there is a terminal."""
        self._live = live(self._console, self.render, per_second=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last table on the screen."""
        if self._live is not None:
            self._live.stop()

    def changed(self, run: Shown, change: Change) -> None:
        """Take note of a change."""
        before = self._changes.get(run.name)
        self._changes[run.name] = change
        if change in ("finished", "failed"):
            self._glances[run.name] = run.glance()
        if self._live is None and change != before and change != "queued":
            words, _ = SHOWN[change]
            self._console.print(f"{words:>17}  {run.name}{self._in_words(run)}", soft_wrap=True, markup=False)

    def render(self) -> RenderableType:
        """Return the table as it is now; what waits or is finished is left out where the screen is too short."""
        shown = self._fitting()
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for head in ("run", "state"):
            table.add_column(head, no_wrap=True)
        for head in (self._unit, "success"):
            table.add_column(head, justify="right", no_wrap=True)
        for run in shown:
            words, style = SHOWN[self._changes.get(run.name, "queued")]
            far = self._far(run)
            steps = f"{far.done:,} / {run.size:,}" if far.done else ""
            success = "" if far.success is None else f"{far.success:.0%}"
            table.add_row(run.name, Text(words, style=style), steps, success)
        counts = [f"{self._count(change)} {words}" for change, (words, _) in SHOWN.items() if self._count(change)]
        hidden = len(self._runs) - len(shown)
        more = [f"{hidden} more runs not shown"] if hidden else []
        return Group(table, Text(", ".join([*counts, *more]), style="dim"))

    @property
    def _unit(self) -> str:
        return self._runs[0].unit if self._runs else ""

    def _fitting(self) -> list[Shown]:
        room = max(1, self._console.height - 4)
        if len(self._runs) <= room:
            return self._runs
        told = [run for run in self._runs if self._changes.get(run.name) in _ALWAYS]
        others = [run for run in self._runs if run not in told]
        chosen = {run.name for run in [*told, *others][:room]}
        return [run for run in self._runs if run.name in chosen]

    def _count(self, change: Change) -> int:
        return sum(self._changes.get(run.name, "queued") == change for run in self._runs)

    def _far(self, run: Shown) -> Glance:
        if self._changes.get(run.name) in ("running", "elsewhere"):
            return run.glance()
        return self._glances.get(run.name, Glance())

    def _in_words(self, run: Shown) -> str:
        far = self._far(run)
        steps = f", {far.done:,} {run.unit}" if far.done else ""
        return steps + ("" if far.success is None else f", success {far.success:.0%}")
