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
from agps_agent.run.address import EXAMPLE, is_address
from rl.counting import counted
from rl.errors import AgpsError, ConfigError
from rl.files import quoted

if TYPE_CHECKING:
    from agps_agent.cli.grid_table import Shown
    from agps_agent.measure.experiments.declaration import Experiment
    from agps_agent.measure.experiments.measurement import Measurement
    from agps_agent.measure.experiments.planning import PlannedRun
    from agps_agent.measure.experiments.running import Outcome
    from agps_agent.run.config import RunConfig

JOBS = 2
"""Runs at a time on this machine, where nobody says how many."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Run a declared experiment, each run a process of its own; without NAME: list the experiments.

    The same command again keeps what is finished and goes on with what was cut off, whatever ended it. Runs that were
    made on other machines count once their directories are copied into DIR/NAME. Some experiments train nothing: they
    measure the finished runs of another.
    """

    name: tyro.conf.Positional[str | None] = None
    """Experiment: one of the list, or FILE.toml (docs/reproduce.md)."""
    seeds: Annotated[int, Interval(ge=1, le=MOST_SEEDS)] | None = None
    """Seeds of each cell: 3 are the seeds 0, 1 and 2. None: as declared."""
    jobs: Annotated[int, Interval(ge=1, le=1_024)] | None = None
    """Runs at a time; the processor's cores are shared out among them. None: 2; with --ray as many as it has cores."""
    ray: str | None = None
    """Ray cluster on whose machines the runs work, HOST:PORT; what they leave comes home. None: on this machine."""
    budget_hours: Annotated[float | None, Gt(0)] = None
    """Start no run after so many hours; those that run come to their end. None: no limit."""
    runs: Path = Path("runs")
    """Folder that holds the experiment's folder of run directories."""
    cells: tuple[str, ...] = ()
    """Cells to run. None named: all."""
    reported: Path | None = None
    """Do not run again what stands in DIR/NAME/results.json, such as docs/results: other machines' runs."""
    dry_run: bool = False
    """Only say what is to be done, and what it will take: runs, control steps, hours, model calls, money."""

    @property
    def budget_s(self) -> float | None:
        """The budget, [s]."""
        return None if self.budget_hours is None else 3600.0 * self.budget_hours


def run(argv: Sequence[str], *, train: Sequence[str] | None = None) -> int:
    """Run `agps reproduce`.

    Args:
        argv: Arguments after the command.
        train: Command that trains in place of `agps train`.
    """
    options = parse_options(ReproduceOptions, argv, prog="agps reproduce", named=("--cells",))
    check_folder(options.runs, option="--runs")
    if options.name is None:
        said = (options.seeds, options.cells, options.dry_run, options.budget_hours, options.reported, options.jobs)
        if any(said) or options.ray is not None:
            raise UsageError("Name an experiment; `agps reproduce` lists them.")
        for line in _listed(options.runs):
            print(line)
        return 0
    from agps_agent.measure.experiments.library import load_declared
    from agps_agent.measure.experiments.measurement import Measurement
    from agps_agent.measure.experiments.planning import plan

    if options.ray is not None and not is_address(options.ray):
        raise UsageError(f"--ray {options.ray}: {EXAMPLE}.")
    experiment = load_declared(options.name)
    if isinstance(experiment, Measurement):
        if options.reported is not None:
            raise UsageError(f"--reported {options.reported} is for experiments that train; leave it out.")
        return _measure(experiment, options, options.name, train)
    folder = options.runs / experiment.name
    runs = plan(experiment, folder, parse_cell, seeds=options.seeds, cells=options.cells)
    if options.reported is not None:
        runs = _not_reported(runs, experiment, options.reported / experiment.name)
        if not runs:
            return 0
    if options.dry_run:
        return _say_what_it_takes(runs, options, _workplace(options))
    return _run_grid(runs, folder, options, train)


def _not_reported(runs: "Sequence[PlannedRun]", experiment: "Experiment", folder: Path) -> "tuple[PlannedRun, ...]":
    """Return the runs that do not stand in a folder's results.json, and say how many do.

    Raises:
        ConfigError: If there is none.
    """
    from agps_agent.report.experiment.adding import standing_in
    from agps_agent.report.experiment.results import FILE, read_results

    if not (folder / FILE).is_file():
        raise ConfigError(
            f"There is no {folder / FILE}; name the folder that holds {folder.name}, or leave --reported out."
        )
    known = standing_in(read_results(folder))
    left = tuple(run for run in runs if (run.cell.name, experiment.arguments_of(run.cell), run.seed) not in known)
    print(f"{len(runs) - len(left)} of {len(runs)} runs stand in {folder / FILE}.")
    return left


def parse_cell(arguments: Sequence[str]) -> "RunConfig":
    """Return the settings that `agps train`, or `agps eval --agent-alone`, understands.

    Raises:
        ConfigError: As that command would refuse them.
    """
    from agps_agent.cli.evaluate import AGENT_ALONE, read_alone
    from agps_agent.cli.train import read_options
    from agps_agent.run.config import check_fits

    config = read_alone(arguments) if AGENT_ALONE in arguments else read_options(arguments).config
    check_task(config.task)
    check_fits(config)
    return config


def planned(
    measurement: "Measurement", runs: Path, *, seeds: int | None = None, cells: Sequence[str] = ()
) -> "tuple[PlannedRun, ...]":
    """Return the runs that an experiment measures, finished or not.

    Args:
        measurement: What is declared.
        runs: Folder that holds the folder of the experiment whose runs they are.
        seeds: How many of each cell; None: as that one declares.
        cells: Names of those that are wanted; empty: all that are measured.

    Raises:
        ConfigError: If that experiment cannot be found, or has no such cell.
    """
    from agps_agent.measure.experiments.library import load_experiment
    from agps_agent.measure.experiments.planning import plan

    source = load_experiment(measurement.runs_of)
    with_policy = tuple(cell for cell in source.chosen(measurement.cells) if not cell.agent_alone)
    source = source.model_copy(update={"cells": with_policy})
    return plan(source, runs / source.name, parse_cell, seeds=seeds, cells=cells)


def _listed(folder: Path) -> Iterable[str]:
    """Yield a line per experiment: what it is, and how much of it is finished."""
    from agps_agent.measure.experiments.library import declared_names, load_declared
    from agps_agent.measure.experiments.measurement import Measurement
    from agps_agent.measure.experiments.planning import is_finished, run_name

    names = declared_names()
    width = max(len(name) for name in names)
    for name in names:
        experiment = load_declared(name)
        if isinstance(experiment, Measurement):
            yield f"{name:<{width}}  {f'measures runs of {experiment.runs_of}':<34}  {experiment.title}"
            continue
        paths = [
            folder / name / run_name(cell.name, seed)
            for cell in experiment.cells
            for seed in range(experiment.seeds_of(cell))
        ]
        finished = sum(is_finished(path) for path in paths)
        counted = f"{len(experiment.cells):>3} cells {len(paths):>4} runs {finished:>4} finished"
        yield f"{name:<{width}}  {counted:<34}  {experiment.title}"


@dataclass(frozen=True)
class Workplace:
    """Where runs work."""

    jobs: int
    """Runs at a time."""
    machines: Sequence[int]
    """Processor cores of each machine that they share."""
    starts: Sequence[str]
    """What starts a command of AGPS there."""


def _workplace(options: ReproduceOptions) -> Workplace:
    """Return where runs work.

    Raises:
        ConfigError: If Ray is not installed.
        AgpsError: If there is no such cluster.
    """
    from agps_agent.measure.experiments.running import AGPS, cores

    if options.ray is None:
        return Workplace(options.jobs or JOBS, (cores(),), AGPS)
    from agps_agent.cli.elsewhere import starts_elsewhere
    from agps_agent.fleet.cluster import cores_of

    there = cores_of(options.ray)
    return Workplace(options.jobs or sum(there), there, starts_elsewhere(options.ray))


def _say_what_it_takes(runs: "Sequence[PlannedRun]", options: ReproduceOptions, at: Workplace) -> int:
    for run in runs:
        now = run.standing()
        print(f"{now.state:>8}  {run.name}{': ' + now.why if now.why else ''}")
    _say_what_is_left(runs, options, at)
    return 0


def _say_what_is_left(runs: "Sequence[PlannedRun]", options: ReproduceOptions, at: Workplace) -> None:
    """Say what those runs will take that are not finished."""
    from agps_agent.measure.experiments.cost import estimate_grid, in_words

    to_do = [run for run in runs if run.standing().state in ("queued", "in use")]
    measured = (path.parent for path in options.runs.glob("*/*/summary.json"))
    for line in in_words(estimate_grid(to_do, measured), jobs=at.jobs):
        print(line)


def _run_grid(
    runs: "Sequence[PlannedRun]", folder: Path, options: ReproduceOptions, train: Sequence[str] | None
) -> int:
    from agps_agent.measure.experiments.cost import spent, spent_in_words

    at = _workplace(options)
    if any(run.standing().state == "queued" for run in runs):
        _say_what_is_left(runs, options, at)
    outcome = _work(runs, folder, options, at, train)
    for line in spent_in_words(spent(runs)):
        print(line)
    if _is_all_done(outcome, len(runs)):
        print(f"All {counted(len(runs), 'run is', 'runs are')} finished. {_report_command(options.name, options)}")
    return 0


def _work(
    jobs: "Sequence[Shown]",
    folder: Path,
    options: ReproduceOptions,
    at: Workplace,
    train: Sequence[str] | None,
) -> "Outcome":
    """Do all that is not finished, and show it."""
    from agps_agent.cli.grid_table import GridTable
    from agps_agent.measure.experiments.running import Grid
    from agps_agent.run.signals import terminated_like_ctrl_c

    with terminated_like_ctrl_c(), GridTable(jobs) as table:  # its trainings are told to end, and save
        grid = Grid(
            jobs,
            folder,
            at.jobs,
            table.changed,
            budget_s=options.budget_s,
            starts=at.starts,
            machines=at.machines,
            train=train,
        )
        try:
            return grid.run()
        except KeyboardInterrupt:
            raise AgpsError(
                "Interrupted. What was running is saved as far as it came; the same command goes on."
            ) from None


def _report_command(called: str | None, options: ReproduceOptions) -> str:
    return f"agps report --experiment {quoted(called)} --runs {quoted(options.runs)}"


def _measure(measurement: "Measurement", options: ReproduceOptions, called: str, command: Sequence[str] | None) -> int:
    """Measure the finished runs of another experiment, and name those that are missing."""
    from agps_agent.measure.experiments.measured import to_measure

    folder = options.runs / measurement.name
    runs = planned(measurement, options.runs, seeds=options.seeds, cells=options.cells)
    jobs, missing = to_measure(measurement, runs, folder, called=called)
    if options.dry_run:
        for job in jobs:
            print(f"{job.standing().state:>8}  {job.name}: {job.glance().done} of {job.size} {job.unit}")
    elif jobs:
        outcome = _work(jobs, folder, options, _workplace(options), command)
        if _is_all_done(outcome, len(jobs)):
            print(f"{counted(len(jobs), 'run is', 'runs are')} measured. {_report_command(called, options)}")
    if missing:
        names = ", ".join(run.name for run in missing)
        print(
            f"{len(missing)} of {len(runs)} runs of {measurement.runs_of} are missing in {missing[0].path.parent}: "
            f"{names}. `agps reproduce {quoted(measurement.runs_of)} --runs {quoted(options.runs)}` runs them."
        )
    return 0


def _is_all_done(outcome: "Outcome", count: int) -> bool:
    """Say what came of a grid of so many runs; return whether nothing is left.

    Raises:
        AgpsError: If some have failed.
    """
    if outcome.left:
        print(
            f"The budget is spent; {counted(len(outcome.left), 'run is', 'runs are')} left. The same command goes on."
        )
    for name, why in outcome.failed.items():
        print(f"{name} failed: {why}")
    if outcome.failed:
        raise AgpsError(f"{len(outcome.failed)} of {count} runs failed; when that is mended, the same command goes on.")
    return not outcome.left
