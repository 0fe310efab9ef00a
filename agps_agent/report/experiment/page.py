"""docs/results/NAME: results.json, one page, the table, and each figure as SVG and PNG."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from agps_agent.measure.experiments.planning import ALONE_APART
from agps_agent.report import html
from agps_agent.report.experiment.drawing import Drawing, draw
from agps_agent.report.experiment.results import CellOutcome, Origin, Results, RunOutcome, write_results
from agps_agent.report.experiment.table import cost_table, markdown, table
from rl.evaluation import FINAL_SEED
from rl.files import write_atomically

PAGE, TABLE = "index.html", "table.md"
HOW_TO_READ = (
    "Policy alone: episodes of the final evaluation that succeeded, all seeds together, deterministic, without agent, "
    "human or box. Their Wilson interval takes episodes as independent, so it says nothing of how seeds differ. "
    "Control steps to 80 %: at the first evaluation on the way with at least 80 %, median over seeds, with the "
    "percentile bootstrap interval of that median; a run that never got there counts as later than all. All other "
    "columns are medians over seeds. Robot time: control steps at the task's rate, and the agent's pauses. A dash: "
    "nothing, or not run."
)

COSTS = (
    "Medians over seeds. Money: what the tokens of a run cost by the price lists that ship (agps_agent/models/"
    "prices.toml), whichever model was asked; the embedded one costs nothing, and counts its tokens as a served one "
    "does. Memory answers without a call."
)


def write_experiment(results: Results, folder: Path) -> Path:
    """Write everything about an experiment, and return the page's path.

    Raises:
        ConfigError: If results.json there has runs that these results have not.
        AgpsError: If a file cannot be written.
    """
    drawings = draw(results)  # first: what cannot be drawn replaces nothing
    markdown, page = _markdown(results), _page(results, drawings)
    write_results(results, folder)
    return write_page(folder, drawings, markdown=markdown, page=page)


def write_page(folder: Path, drawings: Sequence[Drawing], *, markdown: str, page: str) -> Path:
    """Write figures, tables and page beside results.json, and return the page's path.

    Raises:
        AgpsError: If a file cannot be written.
    """
    for drawing in drawings:
        write_atomically(folder / f"{drawing.name}.svg", drawing.svg)
        write_atomically(folder / f"{drawing.name}.png", drawing.png)
    figures = [
        f"## {drawing.title}\n\n{drawing.note}\n\n![{drawing.title}]({drawing.name}.svg)\n" for drawing in drawings
    ]
    write_atomically(folder / TABLE, "\n".join([markdown, *figures]))
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _page(results: Results, drawings: list[Drawing]) -> str:
    state = f"{results.finished} of {results.declared} declared runs, {results.hours:.1f} h one after the other"
    sections = [html.header(results.title, state), html.notice(results.question)]
    if results.finished < results.declared:
        sections.append(html.notice(f"Not all runs are finished. The others: {results.command}", "wrong"))
    sections += [html.notice(words, "wrong") for words in _left_out(results)]
    sections.append(html.section("Side by side", HOW_TO_READ, html.wide(html.table(*table(results)))))
    sections += [
        html.section(drawing.title, drawing.note, html.figure(drawing.svg, drawing.title)) for drawing in drawings
    ]
    costs = cost_table(results)
    if costs[1]:
        sections.append(html.section("What a run's questions cost", COSTS, html.wide(html.table(*costs))))
    sections.append(html.section("Runs", "Each run by its seed.", html.wide(html.table(*_runs(results)))))
    sections.append(html.section("How to run it", "Whatever is finished is kept.", _how(results)))
    return html.page(results.title, sections)


def _markdown(results: Results) -> str:
    lines = [
        f"# {results.title}",
        results.question,
        " ".join([f"{results.finished} of {results.declared} declared runs.", *_left_out(results), HOW_TO_READ]),
        "\n\n".join([markdown(*table(results)).rstrip(), *_costs(results)]),
        f"```bash\n{results.command}\n{results.command.replace('reproduce', 'report --experiment', 1)}\n```",
        *[f"- {words}" for words in origins_in_words(results.origins)],
    ]
    return "\n\n".join(lines[:5]) + "\n\n" + "\n".join(lines[5:]) + "\n"


def _left_out(results: Results) -> list[str]:
    return [f"Left out: {why}" for why in results.left_out]


def _costs(results: Results) -> list[str]:
    """Return the table of costs with its heading; nothing where nobody asked a model."""
    head, rows = cost_table(results)
    return [f"## What a run's questions cost\n\n{COSTS}", markdown(head, rows).rstrip()] if rows else []


def _runs(results: Results) -> tuple[list[str], list[list[str]]]:
    head = ["cell", "seed", "policy alone", "ended by", "control steps", "to 80 %", "wall-clock [min]", "origin"]
    return head, [_run(cell, run) for cell in results.cells for run in cell.runs]


def _run(cell: CellOutcome, run: RunOutcome) -> list[str]:
    return [
        cell.name,
        str(run.seed),
        f"{run.successes}/{run.episodes}",
        run.ended_by or "-",
        f"{run.env_steps:,}",
        "-" if run.steps_to_80 is None else f"{run.steps_to_80:,}",
        f"{run.wall_clock_s / 60:.1f}",
        str(run.origin + 1),
    ]


def _how(results: Results) -> str:
    commands = [(cell.name, _command(cell)) for cell in results.cells]
    origins = [words.split(": ", 1) for words in origins_in_words(results.origins)]
    made = html.wide(html.table(("origin", "commit, machine, versions"), origins))
    how = html.wide(html.table(("cell", "its run, after N=0 for seed 0"), commands))
    return html.notice(results.command) + made + html.unfolding("What each cell is told", how)


def _command(cell: CellOutcome) -> str:
    """Return the command of a cell's run, for a shell that knows its seed N."""
    if "--agent-alone" in cell.options:
        return f"agps eval {shlex.join(cell.options)} --seed $(({FINAL_SEED} + {ALONE_APART} * N))"
    return f"agps train {shlex.join(cell.options)} --seed $N"


def origins_in_words(origins: Sequence[Origin]) -> list[str]:
    """Return what made runs, an origin a line."""
    return [
        f"origin {number}: commit {origin.commit or 'not noted'}; {origin.machine or 'machine not noted'}; "
        + ", ".join(f"{name} {version}" for name, version in origin.versions.items())
        for number, origin in enumerate(origins, start=1)
    ]
