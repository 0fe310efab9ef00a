"""Figures of what was measured of finished runs: success under each condition, and value landscapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from agps_agent.measure.experiments.measurement import Condition, Landscape
from agps_agent.report.experiment.alignment import TOP, Plain
from agps_agent.report.experiment.drawing import (
    PAGE_STYLE,
    PANEL_IN,
    WIDTH_IN,
    Drawing,
    legend,
    look,
    numbered,
    rendered,
    wrapped,
)
from agps_agent.report.experiment.measured import Map, MeasuredCell, MeasuredResults
from agps_agent.report.figures import INK
from rl.counting import counted
from rl.evaluation import wilson_interval
from rl.types import FloatArray

AXES: Mapping[str, str] = {
    "start_scale": "size of the start region,\nover that of training",
    "push_mm": "push of the TCP [mm]",
    "friction": "friction, over training",
    "mass": "mass, over training",
    "camera_mm": "displacement of the cameras [mm]",
    "camera_deg": "turn of the cameras [deg]",
}
"""Label of the axis of a condition that is a number."""
_COLUMNS = 3
_MAP_IN = 2.4
"""Largest side of one landscape, [in]."""
_COLOURS = "cividis"
"""Reads alike to those who tell no red from green, and in grey."""


@dataclass(frozen=True)
class Stage:
    """Landscapes of one cell at one time, one per run."""

    cell: MeasuredCell
    at: int | None
    maps: list[Map]

    @property
    def mean(self) -> FloatArray:
        """Mean over runs, (rows, columns)."""
        mean: FloatArray = np.mean([one.values for one in self.maps], axis=0)
        return mean

    @property
    def when(self) -> str:
        """The time in words."""
        if self.at is not None:
            return f"{self.at:,} steps"
        steps = sorted({one.policy_steps for one in self.maps})
        return f"end, {steps[0]:,} steps" if len(steps) == 1 else f"end, {steps[0]:,} to {steps[-1]:,} steps"


def draw_measured(results: MeasuredResults) -> list[Drawing]:
    """Return every figure that the results have something for."""
    drawings = []
    if any(cell.trials for cell in results.cells):
        note = (
            "Final policies, alone and deterministic, seeds pooled, with the 95 % Wilson interval. Methods stand "
            "beside each other within one condition."
        )
        drawings.append(rendered("conditions", "Success under each condition", note, _conditions(results)))
    if results.landscape is not None and any(cell.maps for cell in results.cells):
        drawings.append(_landscapes(results, results.landscape))
    return drawings


def varied(conditions: Sequence[Condition]) -> str | None:
    """Return the one number in which conditions differ; None where they differ in several."""
    names = {name for condition in conditions for name in condition.values if name != "push_step"}
    steps = {condition.push_step for condition in conditions if condition.push_mm}
    return names.pop() if len(names) == 1 and len(steps) <= 1 and len(conditions) > 1 else None


def stages(cell: MeasuredCell) -> list[Stage]:
    """Return the landscapes of a cell by time, the end last."""
    times = sorted({one.at for one in cell.maps if one.at is not None})
    order: list[int | None] = [*times, *([None] if any(one.at is None for one in cell.maps) else [])]
    return [Stage(cell, at, [one for one in cell.maps if one.at == at]) for at in order]


def plain(landscape: Landscape, values: FloatArray) -> Plain:
    """Return values with where they are."""
    return Plain(y_mm=landscape.ys_mm, z_mm=landscape.zs_mm, values=values)


# --- conditions ---------------------------------------------------------------------------------------------------


def _conditions(results: MeasuredResults) -> Figure:
    cells = [cell for cell in results.cells if cell.trials]
    colors = numbered((cell.panel, cell.label) for cell in cells)
    panels: dict[str, list[MeasuredCell]] = {}
    for cell in cells:
        panels.setdefault(cell.panel, []).append(cell)
    name = varied(results.conditions)
    names = [] if name else [condition.label for condition in results.conditions]
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(panel) for panel in panels.values())
    height = PANEL_IN if name else 0.55 + 0.13 * len(results.conditions) * (most + 0.6)
    with rc_context(PAGE_STYLE):
        figure = Figure(figsize=(WIDTH_IN, 0.55 + height * rows), layout="constrained")
        grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
        places: list[Axes] = list(grid.flat)
        for axes, (title, panel) in zip(places, panels.items(), strict=False):
            axes.set_title(wrapped(title, columns, names), loc="left", color=INK)
            for place, cell in enumerate(panel):
                shift = place - (len(panel) - 1) / 2
                if name:
                    _over_number(axes, cell, results.conditions, name, shift, look(colors[cell.label]))
                else:
                    _by_name(axes, cell, results.conditions, shift / (most + 0.6), look(colors[cell.label]))
            _label(axes, results.conditions, name)
        _trim(places, len(panels), columns, name)
        legend(figure, list(colors), colors)
        return figure


def _over_number(
    axes: Axes, cell: MeasuredCell, conditions: Sequence[Condition], name: str, shift: float, style: tuple[str, str]
) -> None:
    """Draw success over the number in which conditions differ."""
    known = [(float(getattr(one, name)), one.name) for one in conditions if cell.under(one.name)]
    numbers = [float(getattr(one, name)) for one in conditions]
    width = 0.012 * (max(numbers) - min(numbers))
    x = [number + shift * width for number, _ in known]
    share, low, high = np.transpose([_pooled(cell, condition) for _, condition in known])
    color, marker = style
    axes.errorbar(x, share, [share - low, high - share], color=color, marker=marker, ms=4, lw=1.4, elinewidth=1.0)


def _by_name(
    axes: Axes, cell: MeasuredCell, conditions: Sequence[Condition], shift: float, style: tuple[str, str]
) -> None:
    """Draw success in a line per condition."""
    color, marker = style
    for row, condition in enumerate(conditions):
        if cell.under(condition.name):
            share, low, high = _pooled(cell, condition.name)
            axes.hlines(row + shift, low, high, color=color, lw=1.2)
            axes.plot([share], [row + shift], marker, color=color, ms=4)


def _label(axes: Axes, conditions: Sequence[Condition], name: str | None) -> None:
    if name:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        return
    axes.set_yticks(range(len(conditions)), [condition.label for condition in conditions])
    axes.set_ylim(len(conditions) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(conditions)):
        axes.axhline(row - 0.5, color="#dddddd", lw=0.6)
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0))


def _trim(places: Sequence[Axes], used: int, columns: int, name: str | None) -> None:
    """Name the axes of the lowest panels and of the first column; take away what is not used."""
    for axes in places[used:]:
        axes.set_visible(False)
    for axes in places[max(0, used - columns) : used]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(AXES[name] if name else "success of the policy alone")
    if name:
        for axes in places[::columns]:
            axes.set_ylabel("success")


def _pooled(cell: MeasuredCell, condition: str) -> tuple[float, float, float]:
    """Return the share of episodes that succeeded over all runs, and its interval."""
    trials = cell.under(condition)
    wins, episodes = sum(trial.successes for trial in trials), sum(trial.episodes for trial in trials)
    return wins / episodes, *wilson_interval(wins, episodes)


# --- landscapes ---------------------------------------------------------------------------------------------------


def _landscapes(results: MeasuredResults, landscape: Landscape) -> Drawing:
    rows = [stages(cell) for cell in results.cells if cell.maps]
    has_boxes = any(cell.boxes for cell in results.cells)
    least = min(float(stage.mean.min()) for row in rows for stage in row)
    most = max(float(stage.mean.max()) for row in rows for stage in row)
    by_time = max(len(row) for row in rows) > 1
    if not by_time:  # one landscape of each cell: beside each other
        rows = [[row[0] for row in rows[n : n + _COLUMNS]] for n in range(0, len(rows), _COLUMNS)]
    columns = max(len(row) for row in rows)
    panels = {stage.cell.panel for row in rows for stage in row}
    with rc_context({**PAGE_STYLE, "axes.grid": False}):
        side = min(_MAP_IN, (WIDTH_IN - 1.4) / columns)
        figure = Figure(figsize=(WIDTH_IN, 0.7 + (side + (0.4 if by_time else 0.85)) * len(rows)), layout="compressed")
        grid: Any = figure.subplots(len(rows), columns, squeeze=False, sharex=True, sharey=True)
        for line, row in zip(grid, rows, strict=True):
            for axes in line[len(row) :]:
                axes.set_visible(False)
            for axes, stage in zip(line, row, strict=False):
                image = _map(axes, stage, landscape, least, most)
                told = [stage.when, counted(len(stage.maps), "run")]
                whose = [stage.cell.label, *([stage.cell.panel] if len(panels) > 1 else [])]
                axes.set_title("\n".join(told if by_time else [*whose, *told]), loc="left", color=INK, fontsize=7.5)
            above = "above the goal, z [mm]"
            line[0].set_ylabel("\n".join([*whose, above]) if by_time else above)
        for axes in grid[-1]:
            axes.set_xlabel("beside the goal,\ny [mm]")
        bar = figure.colorbar(image, ax=grid, shrink=0.9, pad=0.015)
        bar.set_label("value of the policy's action (return)")
        shown = dict(_marks(axes for line in grid for axes in line))
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, columnspacing=1.4)
    note = (
        "What the critics expect of the policy's own action with the arm at rest at each point of the Y-Z plane "
        "through the goal, the scene rendered anew: mean of the critics, mean over runs. 0 mm: the working point is at "
        f"the goal. Line: the highest {1 - TOP:.0%} of the points lie within."
    )
    if has_boxes:
        note += " Circles: the middle of each box that the agent gave, asked without any training; each is of a scene."
    return rendered("landscape", "Value landscapes", note, figure)


def _map(axes: Axes, stage: Stage, landscape: Landscape, least: float, most: float) -> Any:
    """Draw one landscape with its best point, its best tenth, and the agent's boxes at the end."""
    drawn = plain(landscape, stage.mean)
    image = axes.pcolormesh(
        drawn.y_mm, drawn.z_mm, drawn.values, cmap=_COLOURS, vmin=least, vmax=most, shading="nearest", rasterized=True
    )
    if drawn.values.min() < drawn.threshold:
        axes.contour(drawn.y_mm, drawn.z_mm, drawn.values, [drawn.threshold], colors="white", linewidths=1.1)
    if stage.at is None and stage.cell.boxes:
        centres = np.array([centre for boxes in stage.cell.boxes for centre in boxes.centres_mm]).reshape(-1, 3)
        axes.plot(
            centres[:, 1], centres[:, 2], "o", color="#D55E00", mec="white", mew=0.6, ms=4, label="middle of a box"
        )
    y, z = drawn.best_mm
    axes.plot([y], [z], "X", color="white", mec="black", mew=0.8, ms=6, label="highest value")
    axes.plot([0.0], [0.0], "^", color="black", mec="white", mew=0.8, ms=6, label="goal", clip_on=False, zorder=5)
    half = landscape.step_mm / 2
    axes.set_xlim(drawn.y_mm[0] - half, drawn.y_mm[-1] + half)
    axes.set_ylim(min(0.0, drawn.z_mm[0] - half), drawn.z_mm[-1] + half)
    axes.set_aspect("equal")
    return image


def _marks(places: Any) -> list[tuple[str, Any]]:
    """Return what is marked, by its name."""
    found = []
    for axes in places:
        handles, labels = axes.get_legend_handles_labels()
        found += list(zip(labels, handles, strict=True))
    return found
