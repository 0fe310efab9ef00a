"""Figures of a report, as SVG text. Drawn without pyplot: no global state, no display."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from agps_agent.report.curves import REWARD_ERRORS, ROLLOUTS_PER_BIN, Axis, Curve, is_unaided, per_ten_rollouts
from agps_agent.run.directory import Row
from rl.types import FloatArray

INK, MUTED, GRID = "#1d2733", "#66727f", "#e4e8ec"
POLICY, AGENT, GOOD, BAD = "#1f6feb", "#d9730d", "#2a9d6f", "#c8453c"
DASHES = ("-", "--", "-.", ":")
SERIES = ("#1f6feb", "#d9730d", "#2a9d6f", "#8250df", "#b08800", "#c8453c", "#0a7ea4", "#57606a")

AXIS_LABELS: dict[Axis, str] = {
    "env_steps": "environment steps",
    "wall_clock_s": "wall-clock [s]",
    "robot_time_s": "robot time [s]",
}

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "agps",
}
"""How every figure of ours looks."""

_MAX_TRACES = 60
"""Lambda traces drawn; more only make a smear and a large page."""

_HIGHEST_SCORE = 5.0
"""Scores above are drawn here: how far beyond the threshold a lost rollout ends says nothing."""


_UNITS = ("mm", "m", "deg", "rad", "s", "ms", "N")
"""Last words of names that are units."""


def success_over_steps(
    training: Curve,
    evaluation: Curve,
    final: Curve,
    episodes: Sequence[Row],
    *,
    helper: str = "agent",
    expected: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> str:
    """Draw success over environment steps, with a tick wherever somebody helped.

    Args:
        training: Of unaided rollouts.
        evaluation: Of the policy alone.
        final: Of the policy that the run ended with.
        episodes: Rows of training rollouts.
        helper: Who helped.
        expected: Environment steps, and the success that was expected there.
    """
    with rc_context(STYLE):
        figure, axes = _figure(9.2, 3.4)
        _draw_success(axes, "env_steps", training, evaluation, final)
        if expected[0]:
            axes.plot(*expected, ":", color=MUTED, linewidth=1.4, label="expected")
        asked = [row["env_steps"] for row in episodes if row.get("intervention_ids")]
        if asked:
            low = [-0.045] * len(asked)
            axes.plot(asked, low, "|", color=AGENT, markersize=7, label=f"{helper} helped", clip_on=False)
            axes.set_xlim(0, max(axes.get_xlim()[1], 1.04 * max(asked)))  # a short run has no curve yet
        axes.set_xlabel("environment steps")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.16), ncols=5, columnspacing=1.2)
        return _svg(figure)


def success_over_clocks(training: Curve, evaluation: Curve, final: Curve) -> str:
    """Draw success over wall-clock and over robot time (steps x 0.1 s + agent pauses), side by side."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_success(left, "wall_clock_s", training, evaluation, final)
        _draw_success(right, "robot_time_s", training, evaluation, final)
        left.set_xlabel("wall-clock [s]")
        right.set_xlabel("robot time [s]")
        right.set_ylabel("")
        return _svg(figure)


def return_over_steps(episodes: Sequence[Row], evaluations: Sequence[Row], final: Sequence[Row]) -> str:
    """Draw the sum of an episode's rewards over environment steps: of training episodes, and of the policy alone."""
    with rc_context(STYLE):
        figure, axes = _figure(9.2, 3.0)
        trained = [row for row in episodes if "return" in row]
        axes.plot(
            *([row["env_steps"] for row in trained], [row["return"] for row in trained]),
            ".",
            color=POLICY,
            alpha=0.25,
            markersize=4,
            label="training episode",
        )
        alone = [row for row in evaluations if "mean_return" in row]
        steps, returns = [row["env_steps"] for row in alone], [row["mean_return"] for row in alone]
        axes.plot(steps, returns, "o-", color=POLICY, markersize=4, label="policy alone, mean")
        last = [row for row in final if "mean_return" in row]
        steps, returns = [row["env_steps"] for row in last], [row["mean_return"] for row in last]
        axes.plot(steps, returns, "D", color=GOOD, ms=7, clip_on=False, label="final evaluation, mean")
        axes.set_xlabel("environment steps")
        axes.set_ylabel("return")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.18), ncols=3)
        return _svg(figure)


def triggers_per_ten(episodes: Sequence[Row]) -> str:
    """Draw, for each ten rollouts, how many triggered and how many got help."""
    triggered = per_ten_rollouts(episodes, "triggered")
    helped = per_ten_rollouts([{"helped": bool(row.get("intervention_ids"))} for row in episodes], "helped")
    starts = [n * ROLLOUTS_PER_BIN for n in range(len(triggered))]
    with rc_context(STYLE):
        figure, axes = _figure(9.2, 2.6)
        width = 0.84 * ROLLOUTS_PER_BIN
        axes.bar(starts, triggered, width=width, align="edge", color="#f6d9bd", label="rollouts that triggered")
        axes.bar(starts, helped, width=width, align="edge", color=AGENT, label="rollouts that the agent helped in")
        axes.set_ylim(0, max([10.0, *triggered]))
        axes.xaxis.set_major_locator(_whole())
        axes.set_xlabel("training rollout")
        axes.set_ylabel("per 10 rollouts")
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.22), ncols=2)
        return _svg(figure)


def takeovers(episodes: Sequence[Row]) -> str:
    """Draw when, in each rollout, a human's hand was on the arm, and how the rollout ended."""
    rollouts = [row["episode"] for row in episodes]
    lengths = [row["steps"] for row in episodes]
    width = float(np.clip(250.0 / len(episodes), 0.5, 2.0))
    with rc_context(STYLE):
        figure, axes = _figure(9.2, 3.0)
        axes.vlines(rollouts, 0, lengths, color=GRID, linewidth=width)
        stretches = [(row["episode"], *stretch) for row in episodes for stretch in row.get("human_stretches") or []]
        held = [rollout for rollout, _, _ in stretches]
        ends = [first + steps for _, first, steps in stretches]
        axes.vlines(
            held, [first for _, first, _ in stretches], ends, color=AGENT, linewidth=width, label="hand on the arm"
        )
        for success, color, name in ((True, GOOD, "succeeded"), (False, BAD, "failed")):
            chosen = [n for n, row in enumerate(episodes) if bool(row["success"]) is success]
            at = [rollouts[n] for n in chosen], [lengths[n] for n in chosen]
            axes.plot(*at, ".", color=color, markersize=5, label=name)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(_whole())
        axes.set_xlabel("training rollout")
        axes.set_ylabel("control step")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.2), ncols=3)
        return _svg(figure)


def reward_errors(episodes: Sequence[Row]) -> str:
    """Draw, for each ten rollouts, how many a learned reward called wrongly a success, and how many it missed."""
    rows = [{name: wrong(row) for name, wrong in REWARD_ERRORS.items()} for row in episodes]
    starts = [n * ROLLOUTS_PER_BIN for n in range(-(-len(rows) // ROLLOUTS_PER_BIN))]
    with rc_context(STYLE):
        figure, axes = _figure(9.2, 2.4)
        width = 0.42 * ROLLOUTS_PER_BIN
        for shift, (name, color) in enumerate(zip(REWARD_ERRORS, (BAD, AGENT), strict=True)):
            left = [start + shift * width for start in starts]
            axes.bar(left, per_ten_rollouts(rows, name), width=width, align="edge", color=color, label=name)
        axes.set_ylim(0, max(4.0, axes.get_ylim()[1]))
        axes.xaxis.set_major_locator(_whole())
        axes.set_xlabel("training rollout")
        axes.set_ylabel("per 10 rollouts")
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.22), ncols=2)
        return _svg(figure)


def pretraining(rows: Sequence[Row]) -> str:
    """Draw each loss and value of stage 1 over its updates, in a small panel of its own."""
    names = [name for name in rows[-1] if name not in ("kind", "env_steps", "updates", "wall_clock_s")]
    return _panels([(row["updates"], row) for row in rows], names, axis="updates")


def learned(points: Sequence[tuple[int, Row]]) -> str:
    """Draw each loss and value of the learner over the control steps, in a small panel of its own.

    Args:
        points: Control steps, and what the learner's newest update came to there, by name.
    """
    return _panels(points, sorted({name for _, values in points for name in values}), axis="environment steps")


def _panels(points: Sequence[tuple[int, Row]], names: Sequence[str], *, axis: str) -> str:
    columns = 4
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 1.7 * -(-len(names) // columns)), layout="constrained")
        panels = figure.subplots(-(-len(names) // columns), columns, squeeze=False, sharex=True).flat
        along, marker = [at for at, _ in points], "o-" if len(points) < 40 else "-"
        for axes, name in zip(panels, names, strict=False):
            axes.plot(along, [values.get(name, np.nan) for _, values in points], marker, color=POLICY, lw=1.4, ms=2.5)
            axes.set_title(_with_unit(name), fontsize=9, loc="left", color=MUTED)
        for axes in list(figure.axes)[len(names) :]:
            axes.set_visible(False)
        for axes in list(figure.axes)[max(len(names) - columns, 0) : len(names)]:  # the lowest of each column
            axes.tick_params(labelbottom=True)
        figure.supxlabel(axis, fontsize=9, color=MUTED)
        return _svg(figure)


def _with_unit(name: str) -> str:
    """Return a name for people: `goal_error_mm` is "goal error [mm]"."""
    said, _, unit = name.rpartition("_")
    return f"{said.replace('_', ' ')} [{unit}]" if said and unit in _UNITS else name.replace("_", " ")


def _whole(ticks: int = 10) -> MaxNLocator:
    """Return whole numbers at most so many, round ones: rollouts are counted in tens."""
    return MaxNLocator(nbins=ticks, integer=True, steps=[1, 2, 5, 10])


def has_goal_error(points: Sequence[Row]) -> bool:
    """Return whether a localisation error was measured anywhere."""
    return any(point.get("goal_error_mm") is not None for point in points)


def measured(points: Sequence[Row]) -> str:
    """Draw what a run is diagnosed from over its steps: range of Q, shares of the newest rollouts, localisation error.

    Args:
        points: Figures of evaluations, in order; what one lacks is left out.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 2.9), layout="constrained")
        panels = figure.subplots(1, 3 if has_goal_error(points) else 2)
        _draw_values(panels[0], points)
        _draw_shares(panels[1], points)
        if has_goal_error(points):
            panels[2].plot(*_along(points, "goal_error_mm"), "o-", color=POLICY, lw=2, ms=4)
            panels[2].set_ylim(bottom=0.0)
            panels[2].set_ylabel("localisation error [mm]")
        for axes in panels:
            axes.set_xlim(0, 1.04 * max([1, *(point["env_steps"] for point in points)]))
            axes.xaxis.set_major_locator(_whole(5))
            axes.set_xlabel("environment steps")
        return _svg(figure)


def _draw_values(axes: Axes, points: Sequence[Row]) -> None:
    ranged = [point for point in points if point.get("q_min") is not None and point.get("q_max") is not None]
    steps = [point["env_steps"] for point in ranged]
    low, high = [point["q_min"] for point in ranged], [point["q_max"] for point in ranged]
    axes.fill_between(steps, low, high, color="#d6e5fb", label="batch")
    axes.plot(*_along(points, "q_mean"), "o-", color=POLICY, lw=2, ms=4, label="mean")
    for name, label in (("return_min", "possible returns"), ("return_max", None)):
        axes.plot(*_along(points, name), "--", color=INK, lw=1.0, label=label)
    axes.set_ylabel("Q")
    _legend_above(axes)


def _draw_shares(axes: Axes, points: Sequence[Row]) -> None:
    shares = (("reward_rate", "rewarded", GOOD), ("trigger_share", "triggered", BAD), ("help_share", "guided", AGENT))
    for name, label, color in shares:
        steps, values = _along(points, name)
        if values:
            axes.plot(steps, values, "o-", color=color, lw=1.6, ms=4, label=label)
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
    axes.set_ylabel("of the newest 20 rollouts")
    _legend_above(axes)


def _legend_above(axes: Axes) -> None:
    if not axes.get_legend_handles_labels()[0]:  # nothing was measured yet
        return
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, fontsize=8, columnspacing=0.9, handlelength=1.3)


def _along(points: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """Return the steps at which something was measured, and its values."""
    known = [point for point in points if point.get(name) is not None]
    return [point["env_steps"] for point in known], [point[name] for point in known]


def detector_traces(episodes: Sequence[Row], name: str, *, symbol: str) -> str:
    """Draw a detector's index within good and bad rollouts against its threshold, and their largest scores against 1.

    Args:
        episodes: Rows of training rollouts.
        name: The detector's.
        symbol: Of its index.
    """
    traced = [row for row in episodes if row.get(f"{name}_scores")]
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_traces(left, traced, name)
        left.set_ylabel(symbol)
        _draw_scores(right, traced, name)
        return _svg(figure)


@dataclass(frozen=True)
class Series:
    """Runs that are drawn as one line."""

    label: str
    color: str
    dash: str
    """Style of the line, as Matplotlib spells it."""
    curves: Sequence[Curve]
    finals: Sequence[Curve] = ()
    """The final evaluation of each."""


def comparison(series: Sequence[Series], axis: Axis) -> str:
    """Draw the evaluations of several groups of runs: thin lines are runs, the thick line is their mean."""
    with rc_context(STYLE):
        figure, axes = _figure(9.2, 3.2 + 0.25 * -(-len(series) // 2))
        for group in series:
            for curve in group.curves:
                axes.plot(curve.along(axis), curve.success, color=group.color, linewidth=0.9, alpha=0.3)
            for final in group.finals:
                axes.plot(final.along(axis), final.success, "D", color=group.color, ms=6, alpha=0.7, clip_on=False)
            x, y = mean_curve(group.curves, axis) if group.curves else (np.zeros(0), np.zeros(0))
            marker = "o" if len(x) and x[0] == x[-1] else None  # one evaluation is a point, and no line
            axes.plot(x, y, color=group.color, linestyle=group.dash, linewidth=2.4, marker=marker, label=group.label)
        _style_success(axes)
        axes.set_xlabel(AXIS_LABELS[axis])
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, columnspacing=1.4)
        return _svg(figure)


def mean_curve(curves: Sequence[Curve], axis: Axis, points: int = 80) -> tuple[FloatArray, FloatArray]:
    """Return the mean success over runs, from the first evaluation to the last of any run.

    Between evaluations a run is taken as linear; after its last one it keeps that value.
    """
    ends = [curve.along(axis) for curve in curves]
    x = np.linspace(min(end[0] for end in ends), max(end[-1] for end in ends), points)
    return x, np.mean([np.interp(x, curve.along(axis), curve.success) for curve in curves], axis=0)


def _draw_success(axes: Axes, axis: Axis, training: Curve, evaluation: Curve, final: Curve) -> None:
    axes.plot(
        training.along(axis), training.success, color="#a9c9f7", linewidth=1.6, label="training, unaided (last 20)"
    )
    axes.plot(evaluation.along(axis), evaluation.success, "o-", color=POLICY, lw=2, ms=5, label="policy alone")
    for curve, color in ((evaluation, POLICY), (final, INK)):
        if curve.intervals:
            axes.vlines(curve.along(axis), *zip(*curve.intervals, strict=True), color=color, lw=1.2, alpha=0.4)
    if final.success:
        steps = final.along(axis)
        axes.plot(steps, final.success, "D", color=INK, markersize=7, clip_on=False, label="final evaluation")
    _style_success(axes)


def _style_success(axes: Axes) -> None:
    axes.set_ylim(-0.06, 1.04)
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
    axes.set_ylabel("success")
    axes.set_xlim(left=0)


def _draw_traces(axes: Axes, traced: Sequence[Row], name: str) -> None:
    every = max(1, -(-len(traced) // _MAX_TRACES))
    labelled: set[bool] = set()
    for row in traced[::every]:
        success = bool(row["success"])
        label = None if success in labelled else ("good rollouts" if success else "bad rollouts")
        labelled.add(success)
        trace = row[f"{name}_trace"]
        axes.plot(range(1, len(trace) + 1), trace, color=GOOD if success else BAD, alpha=0.4, lw=1.0, label=label)
    # Each recalibration moves the threshold; the last one belongs to most of the rollouts that are drawn.
    thresholds = max((row[f"{name}_thresholds"] for row in traced[-_MAX_TRACES:]), key=len)
    axes.plot(range(1, len(thresholds) + 1), thresholds, "--", color=INK, lw=1.4, label="threshold")
    # One lost rollout must not press all others to the bottom.
    if max(thresholds) > 0.0:
        axes.set_ylim(0.0, min(axes.get_ylim()[1], 3.0 * max(thresholds)))
    axes.set_xlabel("step of the rollout")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.16), ncols=3, columnspacing=1.2)


def _draw_scores(axes: Axes, traced: Sequence[Row], name: str) -> None:
    rollouts = np.array([row["episode"] for row in traced])
    largest = np.array([max(row[f"{name}_scores"]) for row in traced])
    highest = np.clip(largest, 0.0, _HIGHEST_SCORE)
    good = np.array([bool(row["success"]) for row in traced])
    helped = np.array([not is_unaided(row) for row in traced])
    for chosen, color in ((good, GOOD), (~good, BAD)):
        axes.plot(rollouts[chosen], highest[chosen], "o", color=color, markersize=3.5, alpha=0.8)
    beyond = largest > _HIGHEST_SCORE
    if beyond.any():
        axes.plot(rollouts[beyond], highest[beyond] + 0.25, "^", color=BAD, ms=4, label=f"above {_HIGHEST_SCORE:g}")
    axes.plot(rollouts[helped], highest[helped], "o", ms=7, mfc="none", mec=AGENT, mew=1.2, label="agent helped")
    axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.4)
    axes.set_ylim(-0.1, max(2.0, 1.08 * float(highest.max())))
    axes.xaxis.set_major_locator(_whole())
    axes.set_xlabel("training rollout")
    axes.set_ylabel("largest score")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.16), ncols=2, columnspacing=1.2)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
