"""`agps sweep TASK`: the same training over methods, demonstrations and seeds, and one table about all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import UsageError, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.cli.terminal import say
from agps_agent.run.methods import combine
from agps_agent.run.signals import terminated_like_ctrl_c
from rl.bounds import Count, Seed, Whole
from rl.errors import AgpsError


@dataclass(frozen=True)
class SweepOptions:
    """Train every combination, each in a process of its own; options after `--` go to `agps train`.

    A sweep that was interrupted goes on where it stopped when it is called again.
    """

    task: tyro.conf.Positional[str]
    """Task to learn."""
    methods: tuple[str, ...] = ("agps", "serl")
    """Methods to compare: short forms of --method, or ALGORITHM+HELPER such as drq+human."""
    demos: tuple[Whole, ...] = (20, 5, 1, 0)
    """Numbers of demonstrations."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds."""
    jobs: Count = 2
    """Trainings at a time; the processor's cores are shared out among them."""
    out: Path | None = None
    """Folder of all runs. None: runs/TASK-sweep."""


def run(argv: Sequence[str]) -> int:
    """Run `agps sweep`."""
    own, passed_on = list(argv), []
    if "--" in own:
        split = own.index("--")
        own, passed_on = own[:split], own[split + 1 :]
    options = parse_options(SweepOptions, own, prog="agps sweep")
    task = check_task(options.task)
    for name in ("methods", "demos", "seeds"):
        if not getattr(options, name):
            raise UsageError(f"--{name} is empty; name at least one.")
    plans = {method: combine(method, None, None, None, default=method) for method in options.methods}
    staged = [method for method, plan in plans.items() if plan.traits.needs_demonstrations]
    if staged and 0 in options.demos:
        raise UsageError(f"--methods {staged[0]} learns from demonstrations first; name others than 0 with --demos.")
    from agps_agent.measure.sweep import Cell, Sweep, cells, run_sweep, write_tables

    sweep = Sweep(
        task=options.task,
        cells=cells(options.methods, options.demos, options.seeds),
        directory=options.out or Path("runs") / f"{task.name}-sweep",
        jobs=options.jobs,
        arguments=tuple(passed_on),
    )

    def tell(cell: Cell, change: str) -> None:
        say(f"{change:>8}  {cell.name}")

    with terminated_like_ctrl_c():  # its trainings are told to end, and save
        failed = run_sweep(sweep, tell)
    page = write_tables(sweep)
    print((sweep.directory / "table.md").read_text(encoding="utf-8"), end="")
    print(page)
    if failed:
        names = ", ".join(cell.name for cell in failed)
        raise AgpsError(
            f"{len(failed)} of {len(sweep.cells)} trainings failed: {names}; see {sweep.directory / 'logs'}."
        )
    return 0
