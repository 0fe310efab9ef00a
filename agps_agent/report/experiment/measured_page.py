"""docs/results/NAME of an experiment that measures runs of another: results.json, page, table, and each figure."""

from pathlib import Path

import numpy as np

from agps_agent.report import html
from agps_agent.report.experiment.alignment import TOP, distances_mm, is_in_top, nested_interval
from agps_agent.report.experiment.drawing import Drawing
from agps_agent.report.experiment.measured import MeasuredCell, MeasuredResults, Trial, write_measured
from agps_agent.report.experiment.measured_drawing import Stage, draw_measured, plain, stages
from agps_agent.report.experiment.page import origins_in_words, write_page
from agps_agent.report.experiment.table import NOTHING, count_of, markdown
from rl.evaluation import wilson_interval
from rl.types import FloatArray

Table = tuple[list[str], list[list[str]]]
CONDITIONS = (
    "Episodes that succeeded, all runs together: final policy, alone and deterministic, without agent, human or box, "
    "from the seeds of the final evaluation. The Wilson interval takes episodes as independent, so it says nothing of "
    "how runs differ."
)
MAPS = (
    "Of each run's own landscape, the mean over runs: the highest value, how far from the goal it lies in the plane, "
    "and the mean over the plane."
)
ALIGNMENT = (
    f"Share of box centres inside the region of the highest {1 - TOP:.0%} of the plane's points, of each run's own "
    "last landscape; centres that know nothing would be there in one case of ten. Distance: from a centre to the "
    "highest value, in the plane. Means over runs, with the 95 % bootstrap interval that draws runs, then centres."
)


def write_measured_experiment(results: MeasuredResults, folder: Path) -> Path:
    """Write everything about an experiment that measures, and return the page's path.

    Raises:
        ConfigError: If results.json there has measurements that these results have not.
        AgpsError: If a file cannot be written.
    """
    drawings = draw_measured(results)  # first: what cannot be drawn replaces nothing
    write_measured(results, folder)
    return write_page(folder, drawings, markdown=_markdown(results), page=_page(results, drawings))


def tables(results: MeasuredResults) -> list[tuple[str, str, Table]]:
    """Return each table that the results have something for: its title, how to read it, head and rows."""
    found = []
    if results.conditions:
        found.append(("Under each condition", CONDITIONS, condition_table(results)))
    if results.landscape is not None:
        found.append(("Landscapes", MAPS, map_table(results)))
        if results.landscape.boxes:
            found.append(("The agent's boxes", ALIGNMENT, alignment_table(results)))
    return found


def condition_table(results: MeasuredResults) -> Table:
    """Return head and rows, one per cell and condition, those that are not measured among them."""
    head = ["regime", "method", "condition", "runs", "policy alone", "95 % (Wilson)", "steps per episode"]
    rows = []
    for cell in results.cells:
        for condition in results.conditions:
            trials = cell.under(condition.name)
            told = [cell.panel, cell.label, condition.in_words() or "as trained", count_of(len(trials), cell.declared)]
            rows.append([*told, *(_pooled(trials) if trials else [NOTHING] * 3)])
    return head, rows


def map_table(results: MeasuredResults) -> Table:
    """Return head and rows, one per cell and time."""
    head = ["regime", "method", "policy", "runs", "highest value", "its distance to the goal [mm]", "mean value"]
    rows = []
    for cell in results.cells:
        for stage in stages(cell):
            runs = count_of(len(stage.maps), cell.declared)
            rows.append([cell.panel, cell.label, stage.when, runs, *_heights(results, stage)])
        if not cell.maps:
            rows.append([cell.panel, cell.label, NOTHING, f"0 of {cell.declared}", *[NOTHING] * 3])
    return head, rows


def alignment_table(results: MeasuredResults) -> Table:
    """Return head and rows, one per cell: how well the agent's boxes lie where its last landscapes are high."""
    head = ["regime", "method", "runs", "boxes", "in the highest tenth", "95 % (bootstrap)"]
    head += ["distance to the highest value [mm]", "95 % (bootstrap)"]
    rows = []
    for cell in results.cells:
        scenes, given = sum(one.scenes for one in cell.boxes), sum(len(one.centres_mm) for one in cell.boxes)
        inside, distances = aligned(results, cell)
        row = [cell.panel, cell.label, count_of(len(inside), cell.declared), f"{given} in {scenes} scenes"]
        rows.append([*row, *_with_interval(inside, "{:.0%}"), *_with_interval(distances, "{:.1f}")])
    return head, rows


def aligned(results: MeasuredResults, cell: MeasuredCell) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return for each run with boxes and a last landscape: whether each centre is in the best tenth, and its distance.

    Returns:
        Two lists with an array per run: 0 or 1 for each centre; distances to the highest value, [mm].
    """
    assert results.landscape is not None
    last = {one.seed: one for one in cell.maps if one.at is None}
    inside, distances = [], []
    for boxes in cell.boxes:
        if boxes.seed in last and boxes.centres_mm:
            drawn = plain(results.landscape, np.array(last[boxes.seed].values))
            centres = np.array(boxes.centres_mm)[:, 1:]
            inside.append(is_in_top(drawn, centres).astype(float))
            distances.append(distances_mm(drawn, centres))
    return inside, distances


def _pooled(trials: list[Trial]) -> list[str]:
    wins, episodes = sum(one.successes for one in trials), sum(one.episodes for one in trials)
    low, high = wilson_interval(wins, episodes)
    return [f"{wins}/{episodes}", f"{low:.0%} to {high:.0%}", f"{np.mean([one.mean_steps for one in trials]):.1f}"]


def _with_interval(groups: list[FloatArray], form: str) -> tuple[str, str]:
    if not groups:
        return NOTHING, NOTHING
    low, high = nested_interval(groups)
    mean = float(np.mean([group.mean() for group in groups]))
    return form.format(mean), f"{form.format(low)} to {form.format(high)}"


def _heights(results: MeasuredResults, stage: Stage) -> list[str]:
    assert results.landscape is not None
    each = [plain(results.landscape, np.array(one.values)) for one in stage.maps]
    distance = np.mean([np.linalg.norm(one.best_mm) for one in each])
    return [
        f"{np.mean([one.values.max() for one in each]):.3f}",
        f"{distance:.1f}",
        f"{np.mean([one.values.mean() for one in each]):.3f}",
    ]


def _page(results: MeasuredResults, drawings: list[Drawing]) -> str:
    state = f"{results.finished} of {results.declared} runs of {results.runs_of} measured"
    sections = [html.header(results.title, state), html.notice(results.question)]
    if results.missing:
        sections.append(html.notice(_missing(results), "wrong"))
    sections += [
        html.section(drawing.title, drawing.note, html.figure(drawing.svg, drawing.title)) for drawing in drawings
    ]
    sections += [html.section(title, note, html.wide(html.table(*table))) for title, note, table in tables(results)]
    origins = [words.split(": ", 1) for words in origins_in_words(results.origins)]
    made = html.wide(html.table(("origin", "commit, machine, versions"), origins))
    sections.append(html.section("How to run it", "Whatever is measured is kept.", html.notice(results.command) + made))
    return html.page(results.title, sections)


def _markdown(results: MeasuredResults) -> str:
    parts = [f"# {results.title}", results.question]
    parts.append(f"{results.finished} of {results.declared} runs of {results.runs_of} measured.")
    if results.missing:
        parts.append(_missing(results))
    for title, note, table in tables(results):
        parts += [f"## {title}", note, markdown(*table).rstrip()]
    report = results.command.replace("reproduce", "report --experiment", 1)
    parts.append(f"```bash\n{results.command}\n{report}\n```")
    return "\n\n".join([*parts, "\n".join(f"- {words}" for words in origins_in_words(results.origins))]) + "\n"


def _missing(results: MeasuredResults) -> str:
    """Say which runs are not measured, without a list of hundreds."""
    names = results.missing[:12]
    more = f" and {len(results.missing) - len(names)} more" if len(results.missing) > len(names) else ""
    return f"Not measured: {', '.join(names)}{more}. {results.command} measures what is finished."
