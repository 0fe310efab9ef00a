"""Figures of an experiment: legible at the width of a page, and told apart by the colour-blind."""

import io
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from agps_agent.report.curves import ROLLOUTS_PER_BIN
from agps_agent.report.experiment.intervals import mean_band
from agps_agent.report.experiment.results import CellOutcome, Point, Results
from agps_agent.report.figures import INK, MUTED, STYLE
from rl.evaluation import wilson_interval
from rl.types import FloatArray

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that the colour-blind tell apart (Okabe and Ito 2008), without the yellow, which white paper swallows."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Say the same as the colours: for a print in grey."""
WIDTH_IN = 7.2
"""Width of a page's text, [in]."""
PANEL_IN = 2.15
_COLUMNS = 3
_POINTS = 160
_DPI = 200
_LETTER_IN = 0.066
"""Width of a letter of labels and titles, on average, [in]."""
_HANDLE_IN = 0.55
"""Width of what stands before a label in the legend, and of the gap behind it, [in]."""
PAGE_STYLE = {
    **STYLE,
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Drawing:
    """One figure, with what it shows."""

    name: str
    """Of its files, without suffix."""
    title: str
    note: str
    """How to read it."""
    svg: str
    png: bytes


_LEVEL: dict[str, Any] = {"lw": 1.6, "ls": "--"}


@dataclass(frozen=True)
class _Lines:
    """One cell's lines: each seed's, along an axis that they share."""

    label: str
    curves: list[tuple[list[float], list[float]]] = field(default_factory=list)
    level: float | None = None
    """Drawn as a level in place of lines: a policy that takes no control step to learn."""


def draw(results: Results) -> list[Drawing]:
    """Return every figure that the results have something for."""
    colors = numbered((cell.panel, cell.label) for cell in results.cells)
    began = [cell for cell in results.cells if cell.runs]
    if not began:
        return []
    clocks = (
        ("success-steps", "Success over control steps", "control steps", lambda p: float(p.env_steps)),
        ("success-robot", "Success over robot time", "robot time [min]", lambda p: p.robot_time_s / 60.0),
        ("success-wall", "Success over wall-clock", "wall-clock [min]", lambda p: p.wall_clock_s / 60.0),
    )
    read = (
        "The policy alone at each evaluation. Thin: one seed. Thick: their mean; a run that ended keeps its last "
        "value. Shaded: 95 % bootstrap interval of the mean over seeds. Dashed level: learned without a control step."
    )
    learned = {cell.panel for cell in began if cell.budget > 0}  # levels alone need no axis of control steps
    curves = [cell for cell in began if cell.panel in learned]
    drawings = [
        rendered(name, title, read, _panels(_by_panel(curves, _successes(along)), colors, x_label, is_share=True))
        for name, title, x_label, along in clocks
        if curves
    ]
    watched = [cell for cell in began if any(any(run.triggers) for run in cell.runs)]
    if watched:
        figure = _panels(_by_panel(watched, _triggers), colors, "training rollouts", is_share=False)
        lines = "Thin: one seed. Thick: mean over the seeds that got so far."
        note = f"Triggers in each ten rollouts; {_last(watched)}. {lines}"
        drawings.append(rendered("triggers", "Triggers per ten rollouts", note, figure))
    note = "Final evaluation of the policy alone, seeds pooled, with its 95 % Wilson interval. Small: one seed."
    drawings.append(rendered("final", "Final success", note, _finals(began, colors)))
    return drawings


def _successes(along: Callable[[Point], float]) -> Callable[[CellOutcome], _Lines]:
    def lines(cell: CellOutcome) -> _Lines:
        if cell.budget == 0:
            pooled = sum(run.successes for run in cell.runs) / sum(run.episodes for run in cell.runs)
            return _Lines(cell.label, level=pooled)
        evaluated = [run.curve for run in cell.runs if run.curve]
        return _Lines(cell.label, [([along(p) for p in curve], [p.success for p in curve]) for curve in evaluated])

    return lines


def _last(cells: Sequence[CellOutcome]) -> str:
    """Say what the last point of triggers is of."""
    newest = [run.triggers_of_newest_ten for cell in cells for run in cell.runs if run.triggers]
    if all(newest):
        return "the last point is of the newest ten"
    scaled = "scaled up from the rollouts that were left over"
    if not any(newest):
        return f"the last point is {scaled}"
    return f"the last point is of the newest ten, and in {newest.count(False)} of {len(newest)} runs {scaled}"


def _triggers(cell: CellOutcome) -> _Lines:
    counts = [run.triggers for run in cell.runs if run.triggers]
    ends = [[ROLLOUTS_PER_BIN * (n + 1.0) for n in range(len(count))] for count in counts]
    return _Lines(cell.label, list(zip(ends, counts, strict=True)))


def _by_panel(cells: Sequence[CellOutcome], lines: Callable[[CellOutcome], _Lines]) -> dict[str, list[_Lines]]:
    panels: dict[str, list[_Lines]] = {}
    for cell in cells:
        panels.setdefault(cell.panel, []).append(lines(cell))
    return panels


def _panels(
    panels: Mapping[str, Sequence[_Lines]], colors: Mapping[str, int], x_label: str, *, is_share: bool
) -> Figure:
    with rc_context(PAGE_STYLE):
        columns = min(_COLUMNS, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(WIDTH_IN, 0.55 + PANEL_IN * rows), layout="constrained")
        grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=True)
        places: list[Axes] = list(grid.flat)
        used = places[: len(panels)]
        for axes, (title, lines) in zip(used, panels.items(), strict=True):
            for line in lines:
                _draw(axes, line, *look(colors[line.label]), keep_last=is_share)
            _finish(axes, wrapped(title, columns), is_share=is_share)
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        for axes in used[-columns:]:  # the lowest of each column
            axes.set_xlabel(x_label)
        for axes in places[::columns]:
            axes.set_ylabel("success" if is_share else "triggers per 10 rollouts")
        drawn = [line for lines in panels.values() for line in lines]
        levels = {line.label for line in drawn if line.level is not None} - {
            line.label for line in drawn if line.curves
        }
        shown = [label for label in colors if any(line.label == label for line in drawn)]
        legend(figure, shown, colors, levels=levels)
        return figure


def _draw(axes: Axes, lines: _Lines, color: str, marker: str, *, keep_last: bool) -> None:
    if lines.level is not None:
        axes.axhline(lines.level, color=color, **_LEVEL)
        return
    if not lines.curves:
        return
    for along, values in lines.curves:
        axes.plot(along, values, color=color, lw=0.6, alpha=0.45)
    x, each = _resampled(lines.curves, keep_last=keep_last)
    mean = np.nanmean(each, axis=0)
    if len(each) > 1 and keep_last:
        axes.fill_between(x, *mean_band(each), color=color, alpha=0.16, lw=0)
    every = max(1, len(x) // 6)
    axes.plot(x, mean, color=color, lw=1.9, marker=marker, ms=4, markevery=(every // 2, every))
    if len(x) == 1:
        axes.plot(x, mean, color=color, marker=marker, ms=4)


def _resampled(curves: Sequence[tuple[list[float], list[float]]], *, keep_last: bool) -> tuple[FloatArray, FloatArray]:
    """Return points that curves share, and each curve at them; one that ended keeps its last value, or is NaN.

    They begin where all curves have begun: before its first evaluation nobody knows how good a run was.

    Returns:
        Shapes (points,) and (curves, points).
    """
    if not keep_last:  # counts per ten rollouts: every curve has the same bins
        bins = max((along for along, _ in curves), key=len)
        return np.array(bins), np.array([[*y, *[np.nan] * (len(bins) - len(y))] for _, y in curves])
    first, last = max(along[0] for along, _ in curves), max(along[-1] for along, _ in curves)
    points = np.linspace(first, last, _POINTS)
    return points, np.array([np.interp(points, along, success) for along, success in curves])


def _finish(axes: Axes, title: str, *, is_share: bool) -> None:
    axes.set_title(title, loc="left", color=INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if is_share:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        axes.axhline(0.8, color=MUTED, lw=0.7, ls=":")
    else:
        axes.set_ylim(-0.3, 10.3)


def _finals(cells: Sequence[CellOutcome], colors: Mapping[str, int]) -> Figure:
    """Draw the pooled final success of each cell, below the title of its panel."""
    titles = list(dict.fromkeys(cell.panel for cell in cells))
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(WIDTH_IN, 0.7 + 0.21 * (len(cells) + len(titles))), layout="constrained")
        axes = figure.subplots()
        ticks: list[tuple[int, str, bool]] = []
        row = 0
        for title in titles:
            ticks.append((row, title, True))
            row += 1
            for cell in (cell for cell in cells if cell.panel == title):
                _draw_final(axes, cell, row, *look(colors[cell.label]))
                ticks.append((row, cell.label, False))
                row += 1
        axes.set_yticks([at for at, _, _ in ticks], [text for _, text, _ in ticks])
        for text, (_, _, is_title) in zip(axes.get_yticklabels(), ticks, strict=True):
            text.set_fontweight("bold" if is_title else "normal")
        axes.set_ylim(row - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        axes.set_xlabel("success of the policy alone")
        return figure


def _draw_final(axes: Axes, cell: CellOutcome, row: int, color: str, marker: str) -> None:
    wins, trials = sum(run.successes for run in cell.runs), sum(run.episodes for run in cell.runs)
    axes.hlines(row, *wilson_interval(wins, trials), color=color, lw=1.6)
    axes.plot([wins / trials], [row], marker, color=color, ms=6)
    each = [run.successes / run.episodes for run in cell.runs]
    axes.plot(each, [row + 0.26] * len(each), ".", color=color, ms=3, alpha=0.7)


def numbered(cells: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return the number of each label's look; past seven labels a colour comes again, in panels that they do not share.

    Args:
        cells: Panel and label of each.
    """
    panels: dict[str, set[str]] = {}
    for panel, label in cells:
        panels.setdefault(label, set()).add(panel)
    numbers: dict[str, int] = {}
    for place, (label, own) in enumerate(panels.items()):
        first = place - place % len(OKABE_ITO)
        free = [number for number in range(first, first + len(OKABE_ITO)) if number not in numbers.values()]
        beside = [look(number) for other, number in numbers.items() if panels[other] & own]
        numbers[label] = min(free, key=lambda number: _alike(look(number), beside))
    return numbers


def _alike(one: tuple[str, str], others: Sequence[tuple[str, str]]) -> int:
    """Return in how much a look is that of others: a colour counts more than a marker."""
    return 2 * (one[0] in {color for color, _ in others}) + (one[1] in {marker for _, marker in others})


def look(number: int) -> tuple[str, str]:
    """Return colour and marker; past seven labels the markers shift, so that a pair still says which."""
    around, at = divmod(number, len(OKABE_ITO))
    return OKABE_ITO[at], MARKERS[(at + around) % len(MARKERS)]


def legend(figure: Figure, labels: Sequence[str], colors: Mapping[str, int], *, levels: Collection[str] = ()) -> None:
    """Name each label with its look, below the figure; those that are drawn as a level alone are dashed."""
    handles = []
    for label in labels:
        color, marker = look(colors[label])
        style = _LEVEL if label in levels else {"marker": marker, "ms": 4, "lw": 1.9}
        handles.append(Line2D([], [], color=color, label=label, **style))
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(labels), columnspacing=1.4)


def legend_columns(labels: Sequence[str]) -> int:
    """Return the most columns, up to four, in which labels fit the width of the page."""
    for columns in range(min(4, len(labels)), 1, -1):
        widest = [max(map(len, column)) for column in np.array_split(labels, columns)]  # as matplotlib shares them out
        if sum(_HANDLE_IN + _LETTER_IN * letters for letters in widest) <= WIDTH_IN:
            return columns
    return 1


def wrapped(title: str, columns: int, names: Sequence[str] = ()) -> str:
    """Return the title of a panel in lines that fit its width.

    Args:
        title: In one line.
        columns: Panels that stand beside each other.
        names: What stands to the left of them; none: numbers.
    """
    beside_in = 0.6 + _LETTER_IN * max(map(len, names), default=0)
    return textwrap.fill(title, int((WIDTH_IN - beside_in) / columns / _LETTER_IN))


def rendered(name: str, title: str, note: str, figure: Figure) -> Drawing:
    """Return a figure as SVG and PNG, with what it shows."""
    text, picture = io.StringIO(), io.BytesIO()
    with rc_context(PAGE_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
    return Drawing(name, title, note, text.getvalue(), picture.getvalue())
