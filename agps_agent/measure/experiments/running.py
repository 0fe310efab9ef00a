"""Runs a grid, each run in a process of its own: what is finished is kept, what was cut off goes on.

The directories say all: there is no state beside them. So the runner may be killed at any time, or several may work on
the same folder: who works in a directory holds its lock (`rl.ownership`), and everybody else waits for that.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from agps_agent.measure.experiments.planning import Standing
from rl.errors import AgpsError

AGPS = (sys.executable, "-m", "agps_agent.cli")
"""Starts a command, which a job names."""
LOOK_EVERY_S = 0.2
"""Time between two looks at what runs, [s]."""


def cores() -> int:
    """Return how many processor cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux: `taskset` and containers leave fewer than there are
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def threads_each(jobs: int, machines: Sequence[int]) -> int:
    """Return the most threads of a run with which so many find room at a time, each on one machine; at least one.

    Args:
        jobs: Runs at a time.
        machines: Processor cores of each.
    """
    found = (count for count in range(max(machines), 1, -1) if sum(cores // count for cores in machines) >= jobs)
    return next(found, 1)


Change = Literal["queued", "running", "elsewhere", "finished", "failed", "left"]
"""`elsewhere`: another process trains there, such as one that a killed runner left behind. `left`: the budget is
spent."""


class Job(Protocol):
    """What one process does, and leaves in a directory of its own."""

    @property
    def name(self) -> str:
        """Name of its directory."""

    @property
    def does(self) -> Literal["train", "eval"]:
        """The command that does it."""

    def standing(self) -> Standing:
        """Return how it stands on disk."""

    def begin(self) -> tuple[str, ...]:
        """Make its directory ready to begin, or to go on, and return the arguments of the command that does it."""


JobT = TypeVar("JobT", bound=Job)


@dataclass(frozen=True)
class Outcome:
    """What came of a grid."""

    failed: dict[str, str]
    """Why, by the run's name."""
    left: tuple[str, ...]
    """Runs that the budget left no time for."""


@dataclass
class Grid(Generic[JobT]):
    """Runs, and the processes that work on them."""

    runs: Sequence[JobT]
    folder: Path
    """Holds the directories and `logs/`."""
    jobs: int
    """Runs at a time."""
    listen: Callable[[JobT, Change], None]
    """Hears of each change."""
    budget_s: float | None = None
    """No run is started after so many seconds. None: no limit."""
    starts: Sequence[str] = AGPS
    """What starts a command of AGPS, before its name."""
    machines: Sequence[int] = field(default_factory=lambda: (cores(),))
    """Processor cores of each machine that the runs share."""
    train: Sequence[str] | None = None
    """What stands in for `agps train` and `agps eval`, before the arguments of a job."""
    clock: Callable[[], float] = time.monotonic
    waiting: list[JobT] = field(default_factory=list, init=False)
    running: dict[str, tuple[JobT, subprocess.Popen[bytes]]] = field(default_factory=dict, init=False)
    elsewhere: list[JobT] = field(default_factory=list, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)

    def run(self) -> Outcome:
        """Run all that is not finished; whatever ends this ends its trainings first, and they save.

        Raises:
            AgpsError: If the folder cannot be written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AgpsError(f"Cannot make {self.logs}: {error.strerror}; name another --runs.") from error
        ends_s = None if self.budget_s is None else self.clock() + self.budget_s
        self.waiting = list(self.runs)
        self._sort_out()
        try:
            while self.waiting or self.running or self.elsewhere:
                spent = ends_s is not None and self.clock() >= ends_s
                if spent and not self.running:
                    break
                self._look_elsewhere()
                while not spent and self.waiting and len(self.running) + len(self.elsewhere) < self.jobs:
                    self._begin(self.waiting.pop(0))
                self._collect()
                time.sleep(LOOK_EVERY_S)
        finally:
            self._end()
        left = [*self.elsewhere, *self.waiting]
        for run in left:
            self.listen(run, "left")
        return Outcome(self.failed, tuple(run.name for run in left))

    @property
    def logs(self) -> Path:
        """Where the output of each training goes."""
        return self.folder / "logs"

    def _sort_out(self) -> None:
        """Take out of the waiting what needs no training, so that it counts before anything is started."""
        for run in list(self.waiting):
            now = run.standing()
            if now.state == "queued":
                self.listen(run, "queued")
            else:
                self.waiting.remove(run)
                self._settle(run)

    def _settle(self, run: JobT) -> None:
        """Put a run where it belongs by what is on disk."""
        now = run.standing()
        if now.state == "finished":
            self.listen(run, "finished")
        elif now.state == "in use":
            self.elsewhere.append(run)
            self.listen(run, "elsewhere")
        elif now.state == "other":
            self._fail(run, now.why)
        else:
            self.waiting.insert(0, run)
            self.listen(run, "queued")

    def _look_elsewhere(self) -> None:
        for run in list(self.elsewhere):
            if run.standing().state != "in use":
                self.elsewhere.remove(run)
                self._settle(run)

    def _begin(self, run: JobT) -> None:
        if run.standing().state != "queued":  # somebody else has worked on it meanwhile
            self._settle(run)
            return
        arguments = run.begin()
        # Two trainings with two threads each on two cores take ten times as long as with one each.
        threads = str(threads_each(self.jobs, self.machines))
        try:
            log_file = self._log_of(run).open("ab")
        except OSError as error:  # the others go on
            self._fail(run, f"Cannot write {self._log_of(run)}: {error.strerror or error}")
            return
        with log_file as log:
            # A session of its own: Ctrl-C reaches the runner alone, which then ends each training once.
            process = subprocess.Popen(
                [*(self.train or (*self.starts, run.does)), *arguments, "--threads", threads],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": threads},
                start_new_session=True,
            )
        self.running[run.name] = run, process
        self.listen(run, "running")

    def _collect(self) -> None:
        """Look at the trainings that ended: what they left on disk says what they were."""
        for name, (run, process) in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[name]
            if run.standing().state == "queued":
                self._fail(run, self._last_words(run, code))
            else:
                self._settle(run)

    def _fail(self, run: JobT, why: str) -> None:
        self.failed[run.name] = why
        self.listen(run, "failed")

    def _log_of(self, run: JobT) -> Path:
        return self.logs / f"{run.name}.txt"

    def _last_words(self, run: JobT, code: int) -> str:
        log = self._log_of(run)
        try:
            lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        except OSError:
            lines = []
        said = next((line for line in reversed(lines) if line), "it said nothing")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{said.removeprefix('agps: ')} ({how}; see {log})"

    def _end(self) -> None:
        for _, process in self.running.values():
            process.terminate()
        for _, process in self.running.values():
            process.wait()
