"""Several runs side by side: grouped by method and demonstrations, pooled over seeds."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agps_agent.report import figures, html
from agps_agent.report.curves import NEVER, Axis, Curve, evaluation_curve, evaluations_of, final_evaluations_of
from agps_agent.run.config import MayChange, RunConfig
from agps_agent.run.directory import Row, RunDirectory
from agps_agent.run.methods import ALONE, shown
from agps_agent.run.rows import check_reportable, config_of
from rl.evaluation import wilson_interval
from rl.files import read_json_object, write_atomically

TABLE_HEAD = (
    "runs",
    "method",
    "demos",
    "seeds",
    "successes of the policy alone",
    "pooled",
    "95 % interval",
    "steps to 80 %",
    "steps to 100 %",
    "env steps",
    "wall-clock [s]",
    "robot time [s]",
    "agent calls",
    "memory hits",
    "human interventions",
    "human time [s]",
    "stage 1 alone",
)

HEADLINE = 7
"""Columns that are always shown: who, and how often the policy alone succeeded; the first tells groups apart."""

_MEDIANS = (
    "env_steps",
    "wall_clock_s",
    "robot_time_s",
    "agent_calls",
    "memory_hits",
    "human_interventions",
    "human_s",
)
"""Keys of summary.json behind the columns of medians."""


_BUDGETS = {"max_env_steps", "pretrain_steps"}
"""Settings that may change when a run is resumed, and that decide what comes of it."""
_OF_ONE_RUN = {
    *(name for name, field in RunConfig.model_fields.items() if MayChange in field.metadata),
    *("seed", "run_dir", "task", "method", "demos", "demos_dir", "memory"),
} - _BUDGETS
"""Settings in which runs may differ and be compared as one: where, what is kept, and what belongs to one run."""


@dataclass(frozen=True)
class RunResult:
    """One run, read from its directory."""

    path: Path
    method: str
    demos: int
    seed: int
    summary: Row
    """summary.json; empty when the run has not finished."""
    curve: Curve
    """Evaluations on the way."""
    final: Curve = Curve([], [], [], [])
    """The last evaluation of the policy that the run ended with."""
    task: str = ""
    settings: str = ""
    """What else makes runs alike, whatever their seed; in no order that means anything."""

    @property
    def group(self) -> str:
        """Who learned, and from how many demonstrations."""
        return f"{shown(self.method)}, {self.demos} demo{'' if self.demos == 1 else 's'}"


def read_result(run: RunDirectory) -> RunResult:
    """Read one run, finished or not.

    Raises:
        AgpsError: If a file of it is damaged.
    """
    config = config_of(read_json_object(run.config), run.config)
    rows, summary = run.read_metrics(), run.read_summary()
    check_reportable(rows, summary, run.path)
    alone = summary.get("method") == ALONE  # in the settings of such a run stands a method, and nothing learns
    return RunResult(
        path=run.path,
        method=ALONE if alone else str(config.get("method", "?")),
        demos=int(config.get("demos", 0)),
        seed=int(config.get("seed", 0)),
        summary=summary,
        curve=evaluation_curve(evaluations_of(rows)),
        final=evaluation_curve(final_evaluations_of(rows)[-1:]),
        task=str(config.get("task", "")),
        settings=json.dumps({name: config[name] for name in sorted(config.keys() - _OF_ONE_RUN)}, default=str),
    )


def grouped(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Return runs that differ in their seed alone, by method and number of demonstrations, most demonstrations first.

    Their name says the task too where there are several, and the runs' folders where the rest is the same.
    """
    alike: dict[tuple[str, str, str], list[RunResult]] = {}
    for result in sorted(results, key=lambda r: (r.task, -r.demos, r.method, r.seed)):
        alike.setdefault((result.task, result.group, result.settings), []).append(result)
    tasks = {result.task for result in results}
    names = {key: key[1] if len(tasks) == 1 else f"{key[0]}: {key[1]}" for key in alike}
    named = Counter(names.values())
    return {name if named[name] == 1 else f"{name}, {_folders(alike[key])}": alike[key] for key, name in names.items()}


def _folders(results: Sequence[RunResult]) -> str:
    """Return what the names of runs' folders have in common, or the first one's."""
    first, *others = [re.sub(r"-seed\d+$", "", result.path.name) for result in results]
    return first if all(other == first for other in others) else f"{first} and others"


def comparison_rows(groups: Mapping[str, Sequence[RunResult]]) -> list[tuple[str, ...]]:
    """Return one line per group with the columns of `TABLE_HEAD`; medians over seeds, successes pooled."""
    return [(name, *_row(results)) for name, results in groups.items()]


def said(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a table without the columns that say nothing: nobody needed a human, or no run has a first stage.

    The names of groups say something where two are of one method, with as many demonstrations.
    """
    told = [any(row[n] not in ("-", "0") for row in rows) for n in range(len(head))]
    alike = len({row[1:3] for row in map(tuple, rows)}) < len(rows)
    columns = [n for n in range(len(head)) if (n < HEADLINE or told[n]) and (n > 0 or alike)]
    return [head[n] for n in columns], [[row[n] for n in columns] for row in rows]


def comparison_markdown(groups: Mapping[str, Sequence[RunResult]]) -> str:
    """Return the table as GitHub-flavoured Markdown."""
    head, rows = said(TABLE_HEAD, comparison_rows(groups))
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_comparison(runs: Sequence[RunDirectory], path: Path) -> Path:
    """Write one page about several runs, and return its path.

    Raises:
        AgpsError: If a run is damaged or the page cannot be written.
    """
    groups = grouped([read_result(run) for run in runs])
    path.parent.mkdir(parents=True, exist_ok=True)
    sections = [
        html.header(f"{len(runs)} runs", " · ".join(groups)),
        html.section(
            "Side by side",
            "Successes of the deterministic policy alone, pooled over seeds with their Wilson interval; the other "
            "columns are medians over seeds; a run that never reached a level counts as later than all. A dash: never "
            "reached, or not finished. Columns that say nothing are left out.",
            html.wide(html.table(*said(TABLE_HEAD, comparison_rows(groups)))),
        ),
        *_curves(groups),
        html.section("Runs", "Each has its own report.", _links(groups, path)),
    ]
    write_atomically(path, html.page(f"{len(runs)} runs", sections))
    return path


def looks(groups: Mapping[str, Sequence[RunResult]]) -> list[tuple[int, int]]:
    """Return the numbers of colour and dash of each group: no two look alike.

    Colour says how many demonstrations and the dash which method; where there is one number, colour the method. Where
    that leaves two alike, each has a colour of its own, and once these are used up another dash.
    """
    counts = sorted({results[0].demos for results in groups.values()}, reverse=True)
    methods = sorted({results[0].method for results in groups.values()})
    found = [(counts.index(results[0].demos), methods.index(results[0].method)) for results in groups.values()]
    if len(counts) == 1:
        found = [(method, 0) for _, method in found]
    colors = len(figures.SERIES)
    if len({(hue % colors, dash % len(figures.DASHES)) for hue, dash in found}) < len(found):
        return [(number % colors, number // colors) for number in range(len(found))]
    return found


def _curves(groups: Mapping[str, Sequence[RunResult]]) -> list[str]:
    series = []
    for (name, results), (hue, dash) in zip(groups.items(), looks(groups), strict=True):
        curves = [result.curve for result in results if result.curve.success]
        finals = [result.final for result in results if result.final.success]
        if not curves and not finals:
            continue
        series.append(
            figures.Series(
                label=f"{name} ({len(results)})",
                color=figures.SERIES[hue % len(figures.SERIES)],
                dash=figures.DASHES[dash % len(figures.DASHES)],
                curves=curves,
                finals=finals,
            )
        )
    if not series:
        return []
    return [
        html.section(title, note, html.figure(figures.comparison(series, axis), title))
        for axis, (title, note) in _CLOCKS.items()
    ]


_CLOCKS: dict[Axis, tuple[str, str]] = {
    "env_steps": (
        "Success over environment steps",
        "Evaluations of the policy alone. Thin: one run. Thick: mean over the runs, whose number stands in brackets; a "
        "run that stopped keeps its last. Diamonds: final evaluations, of the policies that the runs ended with.",
    ),
    "robot_time_s": ("Success over robot time", "The same over control steps at 10 Hz and the agent's pauses."),
    "wall_clock_s": ("Success over wall-clock", "The same over what the machines took, evaluations excluded."),
}
"""Along what success is drawn: title, and how to read it."""


def _row(results: Sequence[RunResult]) -> tuple[str, ...]:
    finished = [r.summary for r in results if r.summary.get("success_rate") is not None]
    wins = [round(s["success_rate"] * s["eval_episodes"]) for s in finished]
    trials = [int(s["eval_episodes"]) for s in finished]
    low, high = wilson_interval(sum(wins), sum(trials)) if trials else (0.0, 1.0)
    first = results[0]
    return (
        shown(first.method),
        str(first.demos),
        ", ".join(str(r.seed) for r in results),
        ", ".join(f"{w}/{n}" for w, n in zip(wins, trials, strict=True)) or "-",
        f"{sum(wins) / sum(trials):.0%}" if trials else "-",
        f"{low:.0%}-{high:.0%}" if trials else "-",
        _reached(finished, "steps_to_80"),
        _reached(finished, "steps_to_100"),
        *(_median(finished, key) for key in _MEDIANS),
        _pretrained(finished),
    )


def _pretrained(summaries: Sequence[Row]) -> str:
    """Return the successes after stage 1 of each run that has one."""
    staged = [s for s in summaries if s.get("pretrain_success_rate") is not None]
    return (
        ", ".join(f"{round(s['pretrain_success_rate'] * s['eval_episodes'])}/{s['eval_episodes']}" for s in staged)
        or "-"
    )


def _reached(summaries: Sequence[Row], key: str) -> str:
    """Return the median of the steps to a level, and how many runs reached it when not all did.

    A run that never got there counts as later than all, so that the median may be never, too.
    """
    steps = [NEVER if s.get(key) is None else float(s[key]) for s in summaries]
    reached = sum(count != NEVER for count in steps)
    if not reached:
        return "-"
    middle = median(steps)
    share = "" if reached == len(steps) else f" ({reached} of {len(steps)})"
    return ("never" if middle == NEVER else f"{middle:.0f}") + share


def _median(summaries: Sequence[Row], key: str) -> str:
    values = [float(s[key]) for s in summaries if s.get(key) is not None]
    return f"{median(values):.0f}" if values else "-"


def _links(groups: Mapping[str, Sequence[RunResult]], page_path: Path) -> str:
    lines = []
    for name, results in groups.items():
        for result in results:
            report = os.path.relpath(result.path / "report.html", page_path.parent)
            rate = result.summary.get("success_rate")
            state = "not finished" if rate is None else f"{rate:.0%}"
            lines.append((name, f"seed {result.seed}", state, html.link(report, str(result.path))))
    return html.table(("group", "seed", "success", "report"), lines)
