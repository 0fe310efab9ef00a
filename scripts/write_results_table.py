"""Writes the table of README.md from docs/results/fig3/results.json: `python -m scripts.write_results_table`.

It stands between two comments, and a test holds it against the results.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from agps_agent.report.experiment.results import CellOutcome, Results, RunOutcome, read_results
from agps_agent.report.experiment.table import NOTHING, markdown, steps_to_80
from rl.evaluation import wilson_interval

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "docs/results/fig3"
BEGIN, END = "<!-- fig3: written by scripts/write_results_table.py -->\n", "<!-- end of fig3 -->\n"
HEAD = (
    "task, demonstrations",
    "method",
    "policy alone",
    "95 %",
    "control steps to 80 %",
    "control steps",
    "help",
    "minutes: robot; training",
)
EMBEDDED = ": embedded agent, no VLM"
"""Stands behind the name of each method that the agent helps: no number here comes from a VLM."""


def results_table(results: Results) -> str:
    """Return a row per cell that has run, as GitHub-flavoured Markdown: medians over seeds, successes pooled."""
    rows, panel = [], ""
    for cell in results.cells:
        if cell.runs:
            rows.append(["" if cell.panel == panel else cell.panel, *_row(cell)])
            panel = cell.panel
    return markdown(HEAD, rows)


def with_table(text: str, table: str) -> str:
    """Return a page with the table between its comments replaced."""
    return re.sub(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", lambda _: table, text, flags=re.DOTALL)


def _row(cell: CellOutcome) -> list[str]:
    wins, trials = sum(run.successes for run in cell.runs), sum(run.episodes for run in cell.runs)
    low, high = wilson_interval(wins, trials)
    helped = any(run.agent_calls for run in cell.runs)
    reached, interval = steps_to_80(cell)
    low_high = {reached, *interval.split(" to ")}
    between = "" if interval == NOTHING or low_high == {reached} else f" ({interval})"
    minutes = f"{_middle(cell.runs, lambda run: run.robot_time_s / 60):.1f}; " if cell.budget else "-; "
    return [
        cell.label + (EMBEDDED if helped else ""),
        f"**{wins} of {trials}**",
        f"{low:.0%} to {high:.0%}",
        reached + between if cell.budget else NOTHING,
        f"{_middle(cell.runs, lambda run: run.env_steps):,.0f}" if cell.budget else NOTHING,
        _help(cell),
        f"{minutes}{_middle(cell.runs, lambda run: run.wall_clock_s / 60):.1f}",
    ]


def _help(cell: CellOutcome) -> str:
    calls = _middle(cell.runs, lambda run: run.agent_calls)
    human_s = _middle(cell.runs, lambda run: run.human_s)
    if human_s:
        return f"{human_s:.0f} s of a human"
    return f"{calls:,.0f} calls" if calls else NOTHING


def _middle(runs: Iterable[RunOutcome], value: Callable[[RunOutcome], float]) -> float:
    return median(value(run) for run in runs)


def main() -> None:
    """Write the table into README.md."""
    README.write_text(with_table(README.read_text(), results_table(read_results(RESULTS))))


if __name__ == "__main__":
    main()
