"""`agps report RUN_DIR...`: one page about a run, or one that compares several."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import json_only_on_stdout, parse_options
from agps_agent.run.directory import RunDirectory
from rl.errors import ConfigError


@dataclass(frozen=True)
class ReportOptions:
    """Write report.html of a run from what it left behind; of several runs a page that compares them."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders full of them."""
    out: Path | None = None
    """Page that compares several runs. None: comparison.html in the folder that holds them."""
    json: bool = False
    """Print one JSON object on stdout: the page, and the table of a comparison."""


def run(argv: Sequence[str]) -> int:
    """Run `agps report`."""
    options = parse_options(ReportOptions, argv, prog="agps report")
    named = [run for path in options.run_dirs for run in find_runs(path)]
    runs = list({run.path.resolve(): run for run in named}.values())  # a run named twice counts once
    if not runs:
        raise ConfigError("agps report needs a run directory; `agps train` makes one.")
    from agps_agent.report import write_report
    from agps_agent.report.compare import TABLE_HEAD, comparison_rows, grouped, read_result, write_comparison

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
