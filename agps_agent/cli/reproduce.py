"""`agps reproduce NAME`: run a declared experiment; what is finished is kept, what was cut off goes on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Gt, Interval

from agps_agent.cli.folders import check_folder
from agps_agent.cli.options import UsageError, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.measure.experiments.declaration import MOST_SEEDS
from rl.errors import AgpsError

if TYPE_CHECKING:
    from agps_agent.measure.experiments.planning import PlannedRun
    from agps_agent.run.config import RunConfig

JOBS = 2
"""Runs at a time, where nobody says how many."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Run a declared experiment, each run a process of its own; without NAME: list the experiments.

    The same command again keeps what is finished and goes on with what was cut off, whatever ended it. Runs that were
    made on other machines count once their directories are copied into DIR/NAME.
    """

    name: tyro.conf.Positional[str | None] = None
    """Experiment: one of the list, or FILE.toml (docs/reproduce.md)."""
    seeds: Annotated[int, Interval(ge=1, le=MOST_SEEDS)] | None = None
    """Seeds of each cell: 3 are the seeds 0, 1 and 2. None: as declared."""
    jobs: Annotated[int, Interval(ge=1, le=1_024)] = JOBS
    """Runs at a time; the processor's cores are shared out among them."""
    budget_hours: Annotated[float | None, Gt(0)] = None
    """Start no run after so many hours; those that run come to their end. None: no limit."""
    runs: Path = Path("runs")
    """Folder that holds the experiment's folder of run directories."""
    cells: tuple[str, ...] = ()
    """Cells to run. None named: all."""
    dry_run: bool = False
    """Only say what is to be done, and what it will take: runs, control steps, hours, model calls, money."""


def run(argv: Sequence[str], *, train: Sequence[str] | None = None) -> int:
    """Run `agps reproduce`.

    Args:
        argv: Arguments after the command.
        train: Command that trains in place of `agps train`.
    """
    options = parse_options(ReproduceOptions, argv, prog="agps reproduce", named=("--cells",))
    check_folder(options.runs, option="--runs")
    if options.name is None:
        if options.seeds or options.cells or options.dry_run or options.budget_hours or options.jobs != JOBS:
            raise UsageError("Name an experiment; `agps reproduce` lists them.")
        for line in _listed(options.runs):
            print(line)
        return 0
    from agps_agent.measure.experiments.declaration import load_experiment
    from agps_agent.measure.experiments.planning import plan

    experiment = load_experiment(options.name)
    folder = options.runs / experiment.name
    runs = plan(experiment, folder, parse_cell, seeds=options.seeds, cells=options.cells)
    if options.dry_run:
        return _say_what_it_takes(runs, options)
    return _run_grid(runs, folder, options, train)


def parse_cell(arguments: Sequence[str]) -> "RunConfig":
    """Return the settings that `agps train` understands.

    Raises:
        ConfigError: As `agps train` would refuse them.
    """
    from agps_agent.cli.train import read_options
    from agps_agent.run.config import check_fits

    config = read_options(arguments).config
    check_task(config.task)
    check_fits(config)
    return config


def _listed(folder: Path) -> Iterable[str]:
    """Yield a line per experiment: what it is, and how much of it is finished."""
    from agps_agent.measure.experiments.declaration import experiment_names, load_experiment
    from agps_agent.measure.experiments.planning import is_finished, run_name

    names = experiment_names()
    width = max(len(name) for name in names)
    for name in names:
        experiment = load_experiment(name)
        paths = [
            folder / name / run_name(cell.name, seed)
            for cell in experiment.cells
            for seed in range(experiment.seeds_of(cell))
        ]
        finished = sum(is_finished(path) for path in paths)
        counted = f"{len(experiment.cells):>3} cells {len(paths):>4} runs {finished:>4} finished"
        yield f"{name:<{width}}  {counted}  {experiment.title}"


def _say_what_it_takes(runs: "Sequence[PlannedRun]", options: ReproduceOptions) -> int:
    from agps_agent.measure.experiments.cost import estimate_grid, in_words
    from agps_agent.measure.experiments.planning import standing

    standings = {run.name: standing(run) for run in runs}
    to_do = [run for run in runs if standings[run.name].state in ("queued", "in use")]
    for run in runs:
        now = standings[run.name]
        print(f"{now.state:>8}  {run.name}{': ' + now.why if now.why else ''}")
    measured = (path.parent for path in options.runs.glob("*/*/summary.json"))
    for line in in_words(estimate_grid(to_do, measured), jobs=options.jobs):
        print(line)
    return 0


def _run_grid(
    runs: "Sequence[PlannedRun]", folder: Path, options: ReproduceOptions, train: Sequence[str] | None
) -> int:
    from agps_agent.cli.grid_table import GridTable
    from agps_agent.measure.experiments.running import TRAIN, Grid
    from agps_agent.run.signals import terminated_like_ctrl_c

    budget_s = None if options.budget_hours is None else 3600.0 * options.budget_hours
    with terminated_like_ctrl_c(), GridTable(runs) as table:  # its trainings are told to end, and save
        grid = Grid(runs, folder, options.jobs, table.changed, budget_s=budget_s, train=train or TRAIN)
        outcome = grid.run()
    if outcome.left:
        print(f"The budget is spent; {len(outcome.left)} runs are left. The same command goes on.")
    for name, why in outcome.failed.items():
        print(f"{name} failed: {why}")
    if outcome.failed:
        raise AgpsError(f"{len(outcome.failed)} of {len(runs)} runs failed; the same command tries them again.")
    if not outcome.left:
        print(f"All {len(runs)} runs are finished. agps report --experiment {options.name} --runs {options.runs}")
    return 0
