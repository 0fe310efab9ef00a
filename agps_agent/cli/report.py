"""`agps report RUN_DIR...`: one page about a run, or one that compares several."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import tyro

from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options
from agps_agent.run.directory import RunDirectory
from rl.errors import ConfigError
from rl.files import quoted

if TYPE_CHECKING:
    from agps_agent.measure.experiments.measurement import Measurement
    from agps_agent.report.experiment.measured import MeasuredResults
    from agps_agent.report.experiment.results import Results

ResultsT = TypeVar("ResultsT", "Results", "MeasuredResults")


@dataclass(frozen=True)
class ReportOptions:
    """Write report.html of a run from what it left behind; of several runs a page that compares them."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run directories, or folders full of them."""
    experiment: str | None = None
    """Write results, table, figures and page of an experiment that `agps reproduce` runs, in place of RUN_DIRS."""
    runs: Path | None = None
    """Experiment: folder that `agps reproduce` was given. None: runs. Where it has no runs of it, all is drawn again
    from the results that stand in --out."""
    out: Path | None = None
    """Page that compares several runs. None: comparison.html in the folder that holds them. Experiment: folder to
    write to. None: docs/results/NAME."""
    add: bool = False
    """Experiment: keep the runs that stand in results.json and are not in --runs, such as those of another machine."""
    json: bool = False
    """Print one JSON object on stdout: the page, and the table of a comparison."""


def run(argv: Sequence[str]) -> int:
    """Run `agps report`."""
    options = parse_options(ReportOptions, argv, prog="agps report")
    if options.experiment is not None:
        return _report_experiment(options, options.experiment)
    if options.runs is not None or options.add:
        given = "--add" if options.runs is None else f"--runs {options.runs}"
        raise UsageError(f"{given} is for --experiment NAME; name one, or leave it out.")
    named = [run for path in options.run_dirs for run in find_runs(path)]
    runs = list({run.path.resolve(): run for run in named}.values())  # a run named twice counts once
    if not runs:
        raise ConfigError("agps report needs a run directory; `agps train` makes one.")
    from agps_agent.report import write_report
    from agps_agent.report.compare import TABLE_HEAD, comparison_rows, grouped, read_result, write_comparison

    if len(runs) == 1 and options.out is not None:
        raise UsageError(f"--out is for the page of several runs; leave it out: that of one is {runs[0].report}.")
    if len(runs) == 1:
        page = write_report(runs[0])
        table: list[dict[str, str]] = []
    else:
        parent = Path(os.path.commonpath([run.path.resolve().parent for run in runs]))
        page = write_comparison(runs, options.out or parent / "comparison.html")
        rows = comparison_rows(grouped([read_result(run) for run in runs]))
        table = [dict(zip(TABLE_HEAD, row, strict=True)) for row in rows]
    with json_only_on_stdout(options.json) as show:
        show({"report": str(page), "runs": [str(run.path) for run in runs], "table": table})
    if not options.json:
        print(page)
    return 0


def _report_experiment(options: ReportOptions, name: str) -> int:
    if options.run_dirs:
        raise UsageError(f"--experiment {name} knows its runs; leave {options.run_dirs[0]} out, or name --runs.")
    from agps_agent.measure.experiments.library import load_declared
    from agps_agent.measure.experiments.measurement import Measurement
    from agps_agent.report.experiment.page import write_experiment
    from agps_agent.report.experiment.table import table

    declared = load_declared(name)
    if isinstance(declared, Measurement):
        return _report_measured(options, declared, name)
    results = _results(options, name)
    page = write_experiment(results, options.out or results_folder(declared.name))
    head, rows = table(results)
    with json_only_on_stdout(options.json) as show:
        cells = [dict(zip(head, row, strict=True)) for row in rows]
        show({"report": str(page), "finished": results.finished, "declared": results.declared, "table": cells})
    if not options.json:
        print(page)
    return 0


def _results(options: ReportOptions, name: str) -> "Results":
    """Return an experiment's results from its runs, or, where there are none, from the file that was kept of them.

    Raises:
        ConfigError: If there is neither.
    """
    from agps_agent.cli.reproduce import parse_cell
    from agps_agent.measure.experiments.library import load_experiment
    from agps_agent.measure.experiments.planning import plan, seeds_found
    from agps_agent.report.experiment.adding import add_runs
    from agps_agent.report.experiment.results import FILE, gather, read_results

    experiment = load_experiment(name)
    folder = (options.runs or Path("runs")) / experiment.name
    seeds, left_out = seeds_found(experiment, folder), []
    if seeds:
        declared = max(experiment.seeds_of(cell) for cell in experiment.cells)
        results = gather(experiment, plan(experiment, folder, parse_cell, seeds=max(seeds, declared)), called=name)
        if results.finished:
            return _with_kept(options, results, read_results, add_runs)
        left_out = results.left_out
    kept = options.out or results_folder(experiment.name)
    if not (kept / FILE).is_file():
        why = f" ({len(left_out)} left out, such as {left_out[0]})" if left_out else ""
        raise ConfigError(
            f"No finished run of {experiment.name} in {folder}{why}, and no {kept / FILE}; "
            f"`agps reproduce {quoted(name)}` runs it."
        )
    return read_results(kept, of=experiment.name).model_copy(update={"left_out": left_out} if left_out else {})


def _with_kept(
    options: ReportOptions,
    results: ResultsT,
    read: Callable[..., ResultsT],
    add: Callable[[ResultsT, ResultsT], ResultsT],
) -> ResultsT:
    """Return results with those of results.json, where that is asked for and there are some."""
    from agps_agent.report.experiment.results import FILE

    kept = options.out or results_folder(results.name)
    return add(results, read(kept, of=results.name)) if options.add and (kept / FILE).is_file() else results


def _report_measured(options: ReportOptions, measurement: "Measurement", name: str) -> int:
    from agps_agent.report.experiment.measured_page import tables, write_measured_experiment

    results = _measured(options, measurement, name)
    page = write_measured_experiment(results, options.out or results_folder(measurement.name))
    with json_only_on_stdout(options.json) as show:
        told = {
            title: [dict(zip(head, row, strict=True)) for row in rows] for title, _, (head, rows) in tables(results)
        }
        show({"report": str(page), "finished": results.finished, "declared": results.declared, "tables": told})
    if not options.json:
        print(page)
    return 0


def _measured(options: ReportOptions, measurement: "Measurement", name: str) -> "MeasuredResults":
    """Return what is measured, from its files, or, where there are none, from the file that was kept of them.

    Raises:
        ConfigError: If there is neither.
    """
    from agps_agent.cli.reproduce import planned
    from agps_agent.measure.experiments.library import load_experiment
    from agps_agent.measure.experiments.planning import seeds_found
    from agps_agent.report.experiment.adding import add_measurements
    from agps_agent.report.experiment.measured import gather_measured, read_measured
    from agps_agent.report.experiment.results import FILE

    folder = options.runs or Path("runs")
    source = load_experiment(measurement.runs_of)
    seeds = max(seeds_found(source, folder / source.name), max(source.seeds_of(cell) for cell in source.cells))
    runs = planned(measurement, folder, seeds=seeds)
    declared = {cell.name: source.seeds_of(cell) for cell in source.cells}
    runs = tuple(run for run in runs if run.seed < declared[run.cell.name] or run.path.is_dir())
    results = gather_measured(measurement, runs, folder / measurement.name, called=name)
    if not results.is_empty:
        return _with_kept(options, results, read_measured, add_measurements)
    kept = options.out or results_folder(measurement.name)
    if not (kept / FILE).is_file():
        raise ConfigError(
            f"Nothing of {measurement.name} is measured in {folder / measurement.name}, and there is no {kept / FILE}; "
            f"`agps reproduce {quoted(name)}` measures the finished runs of {measurement.runs_of}."
        )
    return read_measured(kept, of=measurement.name)


def results_folder(experiment: str) -> Path:
    """Return where the results of an experiment stand in this repository."""
    return Path("docs") / "results" / experiment


def find_runs(path: Path) -> list[RunDirectory]:
    """Return the run at a path, or every run right below it.

    Raises:
        ConfigError: If there is none.
    """
    if path.is_dir() and not (path / "config.json").is_file():
        below = sorted(entry.parent for entry in path.glob("*/config.json"))
        if below:
            return [RunDirectory.open(folder) for folder in below]
    return [RunDirectory.open(path)]
