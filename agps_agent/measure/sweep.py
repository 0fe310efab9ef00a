"""Sweeps: the same training over methods, demonstrations and seeds, in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from agps_agent.report.compare import comparison_markdown, grouped, read_result, write_comparison
from agps_agent.run.directory import RunDirectory, folder_name
from rl.errors import AgpsError
from rl.files import write_atomically

TRAIN = (sys.executable, "-m", "agps_agent.cli", "train")
"""Starts one training."""


@dataclass(frozen=True)
class Cell:
    """One training of a sweep."""

    method: str
    demos: int
    seed: int

    @property
    def name(self) -> str:
        """Folder of its run."""
        return f"{folder_name(self.method)}-demos{self.demos}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to train, where to, and how many at a time."""

    task: str
    cells: tuple[Cell, ...]
    directory: Path
    jobs: int
    """Trainings at a time."""
    arguments: tuple[str, ...] = ()
    """Further options of `agps train`, the same for all."""


Listener = Callable[[Cell, str], None]
"""Hears of each change: the training and `started`, `done`, `failed` or `kept`."""


def cells(methods: Sequence[str], demos: Sequence[int], seeds: Sequence[int]) -> tuple[Cell, ...]:
    """Return every combination; seeds change last, so that a first answer to each question comes early."""
    return tuple(Cell(method, count, seed) for seed, count, method in product(seeds, demos, methods))


def run_sweep(sweep: Sweep, listen: Listener) -> list[Cell]:
    """Run every training that has not finished yet, write the tables, and return the trainings that failed.

    A sweep that was interrupted goes on where it stopped: finished runs are kept, half-finished ones resumed.

    One that died before its first checkpoint is begun anew.

    Raises:
        AgpsError: If the directory cannot be written.
    """
    try:
        (sweep.directory / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AgpsError(f"Cannot make {sweep.directory}: {error.strerror}; name another directory.") from error
    waiting = [cell for cell in sweep.cells if not _is_finished(sweep, cell)]
    for cell in set(sweep.cells) - set(waiting):
        listen(cell, "kept")
    running: dict[Cell, subprocess.Popen[bytes]] = {}
    failed: list[Cell] = []
    try:
        while waiting or running:
            while waiting and len(running) < sweep.jobs:
                cell = waiting.pop(0)
                running[cell] = _start(sweep, cell)
                listen(cell, "started")
            failed += _collect(sweep, running, listen)
            time.sleep(0.2)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return failed


def write_tables(sweep: Sweep) -> Path:
    """Write table.md and report.html about every run of the sweep that left a summary; return the page's path."""
    runs = [RunDirectory(sweep.directory / cell.name) for cell in sweep.cells if _is_finished(sweep, cell)]
    table = comparison_markdown(grouped([read_result(run) for run in runs]))
    write_atomically(sweep.directory / "table.md", table)
    return write_comparison(runs, sweep.directory / "report.html")


def _start(sweep: Sweep, cell: Cell) -> subprocess.Popen[bytes]:
    path = sweep.directory / cell.name
    command = [*TRAIN, sweep.task, "--method", cell.method]
    command += ["--demos", str(cell.demos), "--seed", str(cell.seed), "--run-dir", str(path), *sweep.arguments]
    if RunDirectory(path).has_checkpoint:
        command.append("--resume")
    else:
        RunDirectory(path).clear()
    # Two trainings with two threads each on two cores take ten times as long as with one each.
    threads = max(1, (os.cpu_count() or 1) // sweep.jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with (sweep.directory / "logs" / f"{cell.name}.txt").open("wb") as log:
        # A session of its own: Ctrl-C reaches the sweep alone, which then ends each training once, so that it can save.
        return subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _collect(sweep: Sweep, running: dict[Cell, subprocess.Popen[bytes]], listen: Listener) -> list[Cell]:
    """Take the trainings that ended out of `running`; return those that failed."""
    failed = []
    for cell, process in list(running.items()):
        code = process.poll()
        if code is None:
            continue
        del running[cell]
        ok = code == 0 and _is_finished(sweep, cell)
        listen(cell, "done" if ok else "failed")
        if not ok:
            failed.append(cell)
    return failed


def _is_finished(sweep: Sweep, cell: Cell) -> bool:
    run = RunDirectory(sweep.directory / cell.name)
    return run.config.is_file() and run.read_summary().get("success_rate") is not None
