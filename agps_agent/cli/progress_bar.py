"""How a run looks while it goes on: a live bar in a terminal, a plain line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agps_agent.cli.terminal import console, live
from agps_agent.run.diagnosis import Figures
from agps_agent.run.progress import Progress
from rl.counting import counted

PHASES = {
    "demos": "demonstrations: recording or loading",
    "calibrate": "calibrating FLOAT",
    "demonstrate": "the agent shows how",
    "pretrain": "pre-training",
    "train": "training",
    "catch_up": "the learner catches up",
    "evaluate": "evaluating",
    "report": "writing the report",
}


class ProgressDisplay:
    """Shows the last snapshot of a run; use as a context manager."""

    def __init__(self, *, max_minutes: float, stream: TextIO | None = None, line_every_s: float = 10.0) -> None:
        self._max_s = 60.0 * max_minutes
        self._console = console(stream or sys.stdout)
        self._line_every_s = line_every_s
        self._last_line_s = -float("inf")
        self._last: Progress | None = None
        self._printed: Progress | None = None
        self._printed_fault: str | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Take the terminal's last lines, if there is a terminal."""
        self._live = live(self._console, self._render, per_second=4)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the last snapshot on the screen."""
        if self._live is not None:
            self._live.stop()
        elif self._last is not None and self._last is not self._printed:
            self._print_line(self._last)

    def update(self, progress: Progress) -> None:
        """Remember a snapshot; the terminal is written at most four times a second."""
        self._last = progress
        if self._live is not None:
            return
        is_due = time.monotonic() - self._last_line_s >= self._line_every_s
        if is_due or self._printed is None or progress.phase != self._printed.phase:
            self._print_line(progress)

    def _print_line(self, progress: Progress) -> None:
        self._last_line_s, self._printed = time.monotonic(), progress
        self._console.print(status_line(progress, max_s=self._max_s), soft_wrap=True, markup=False)
        for row in progress.robots:
            self._console.print(f"  {robot_line(row)}", soft_wrap=True, markup=False)
        fault = None if progress.diagnosis is None else progress.diagnosis.partition(":")[0]
        if fault not in (None, self._printed_fault):  # once, until something else is wrong
            self._console.print(progress.diagnosis, soft_wrap=True, markup=False)
        self._printed_fault = fault

    def _render(self) -> RenderableType:
        if self._last is None:
            return Text("starting ...", style="dim")
        progress = self._last
        done, total, unit = _extent(progress)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(PHASES[progress.phase], style="bold"),
            ProgressBar(total=total, completed=min(done, total), width=30),
            Text(f"{done:,}/{total:,} {unit}"),
            Text(f"success {progress.success_rate:.0%}", style=_success_style(progress.success_rate)),
            Text(f"{time_left(progress, max_s=self._max_s)} left", style="cyan"),
        )
        lines: list[RenderableType] = [bar]
        for parts in (_counters(progress), measured_parts(progress.figures)):
            lines += [Text("  " + "   ".join(parts), style="dim", overflow="ellipsis", no_wrap=True)] if parts else []
        lines += [Text(f"  {robot_line(row)}", overflow="ellipsis", no_wrap=True) for row in progress.robots]
        if progress.diagnosis is not None:
            lines.append(Text(f"  {progress.diagnosis}", style="yellow"))
        return Group(*lines)


def status_line(progress: Progress, *, max_s: float) -> str:
    """Return everything that the live bar shows, in one plain line."""
    done, total, unit = _extent(progress)
    parts = [
        f"[{_clock(progress.elapsed_s)}] {PHASES[progress.phase]}: {done}/{total} {unit}",
        f"success {progress.success_rate:.0%}",
        *_counters(progress),
        *measured_parts(progress.figures),
        f"{time_left(progress, max_s=max_s)} left",
    ]
    return ", ".join(parts)


def robot_line(row: Mapping[str, Any]) -> str:
    """Return what there is to say of a robot of a fleet, in one plain line."""
    if row.get("out"):
        return f"{row['robot_name']}: out, {row['out']}"
    if "steps" not in row:
        return f"{row['robot_name']}: starting"
    age = row["weights_age_updates"]
    parts = [
        f"{row['robot_name']}: {row['steps']} steps",
        f"success {row['recent_success']:.0%}",
        f"idle {row['idle_share']:.0%}",
        f"agent {row['agent_wait_s']:.0f} s",
        f"period {row['period_p50_ms']:.0f} ms, 99 % below {row['period_p99_ms']:.0f} ms",
        "no weights yet" if age is None else f"weights {age} updates old",
        *([counted(row["faults"], "fault")] if row["faults"] else []),
        *([f"{counted(row['unsent'], 'episode')} unsent"] if row["unsent"] else []),
        *([f"died {counted(row['deaths'], 'time')}"] if row.get("deaths") else []),
        *([] if row["is_here"] else ["silent"]),
    ]
    return ", ".join(parts)


def time_left(progress: Progress, *, max_s: float) -> str:
    """Return the time until the first of both budgets is used up at the present speed, as m:ss; or stage 1 is over."""
    left_s = max_s - progress.elapsed_s
    done, total, _ = _extent(progress)
    if done > 0 and progress.elapsed_s > 0:
        left_s = min(left_s, (total - done) * progress.elapsed_s / done)
    return _clock(max(left_s, 0.0))


def _extent(progress: Progress) -> tuple[int, int, str]:
    """Return how much is done, of how much, counted in what."""
    if progress.phase == "pretrain":
        return progress.pretrain_steps, progress.max_pretrain_steps, "updates"
    return progress.env_steps, progress.max_env_steps, "steps"


def _counters(progress: Progress) -> list[str]:
    done, _, unit = _extent(progress)
    rate = done / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    human = [f"human {counted(progress.human_interventions, 'time')}, {progress.human_s:.0f} s"]
    return [
        _lambda(progress),
        f"triggers {progress.triggers}",
        f"agent calls {progress.agent_calls}",
        f"memory hits {progress.memory_hits}",
        *(human if progress.human_interventions else []),
        f"updates {progress.learner_steps}",
        f"{rate:.0f} {unit}/s",
    ]


def measured_parts(figures: Figures | None) -> list[str]:
    """Return what a run is diagnosed from, as far as it was measured, each in a few words."""
    if figures is None:
        return []
    spread = ""
    if figures.q_min is not None and figures.q_max is not None:
        spread = f" ({figures.q_min:.2f} to {figures.q_max:.2f})"
    parts = [
        (figures.policy_success, "policy alone {:.0%}"),
        (figures.expected, "expected {:.0%}"),
        (figures.reward_rate, "rewarded {:.0%}"),
        (figures.help_share, "guided {:.0%}"),
        (figures.trigger_share, "triggered {:.0%}"),
        (figures.q_mean, "Q {:.2f}" + spread),
        (figures.goal_error_mm, "goal error {:.1f} mm"),
    ]
    return [words.format(value) for value, words in parts if value is not None]


def _lambda(progress: Progress) -> str:
    name = "λ" if progress.detector == "float" else progress.detector
    if progress.float_index is None:
        return f"{name} -"
    if progress.float_threshold is None:
        return f"{name} {progress.float_index:.3f}"
    relation = ">" if progress.float_index > progress.float_threshold else "≤"
    return f"{name} {progress.float_index:.3f} {relation} {progress.float_threshold:.3f}"


def _success_style(success_rate: float) -> str:
    if success_rate >= 0.9:
        return "bold green"
    return "yellow" if success_rate >= 0.4 else "red"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}"
