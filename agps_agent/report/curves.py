"""From the lines of metrics.jsonl to the numbers that a report shows. Pure functions."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from agps_agent.run.directory import Row
from rl.evaluation import wilson_interval

Axis = Literal["env_steps", "wall_clock_s", "robot_time_s"]

WINDOW = 20
"""Unaided episodes over which the training success is averaged."""

NEVER = math.inf
"""Control steps of a run that never reached a level."""

ROLLOUTS_PER_BIN = 10
"""Rollouts over which triggers are counted (paper, triggers per 10 rollouts)."""

REWARD_ERRORS: dict[str, Callable[[Row], bool]] = {
    "rewarded, not true": lambda row: bool(row["success"]) and not row["true_success"],
    "true, not rewarded": lambda row: bool(row["was_true"]) and not row["success"],
}
"""How a learned reward can be wrong about an episode: by name, whether it was."""


@dataclass(frozen=True)
class Curve:
    """Success over the three ways to count effort; equal lengths."""

    env_steps: list[float]
    wall_clock_s: list[float]
    robot_time_s: list[float]
    success: list[float]
    """Share in [0, 1]."""
    intervals: list[tuple[float, float]] = field(default_factory=list)
    """95 % Wilson interval of each success; empty where it is no count of independent episodes."""

    def along(self, axis: Axis) -> list[float]:
        """Return one of the three ways to count effort."""
        return {"env_steps": self.env_steps, "wall_clock_s": self.wall_clock_s, "robot_time_s": self.robot_time_s}[axis]


def episodes_of(rows: Iterable[Row]) -> list[Row]:
    """Return the lines of training episodes, in order."""
    return [row for row in rows if row.get("kind", "episode") == "episode" and "episode" in row]


def evaluations_of(rows: Iterable[Row]) -> list[Row]:
    """Return the lines of evaluations after stage 1 and on the way, in order."""
    return [row for row in rows if row.get("kind") in ("pretrain_eval", "eval")]


def final_evaluations_of(rows: Iterable[Row]) -> list[Row]:
    """Return the lines of evaluations at the end; a run that was resumed may have several."""
    return [row for row in rows if row.get("kind") == "final_eval"]


def figures_of(evaluations: Iterable[Row]) -> list[Row]:
    """Return what evaluations say that a run is diagnosed from, in order; runs of earlier versions say nothing."""
    return [row["figures"] for row in evaluations if isinstance(row.get("figures"), dict)]


def is_unaided(episode: Row) -> bool:
    """Return whether neither waypoint nor box acted in an episode."""
    return not (episode.get("guided_steps") or episode.get("pruned_steps") or episode.get("boxed"))


def training_curve(episodes: Sequence[Row], window: int = WINDOW) -> Curve:
    """Return the success rate of the last `window` unaided episodes, at the end of each."""
    unaided = [episode for episode in episodes if is_unaided(episode)]
    wins = [bool(episode["success"]) for episode in unaided]
    rates = [sum(wins[max(0, n + 1 - window) : n + 1]) / min(n + 1, window) for n in range(len(wins))]
    # The first few episodes are no rate yet: one lucky rollout would show as 100 %.
    first = min(window // 4, len(wins))
    return _curve(unaided[first:], rates[first:])


def evaluation_curve(evaluations: Sequence[Row]) -> Curve:
    """Return the success rate of the policy alone at each evaluation, with its interval where episodes are known."""
    rates = [float(row["success_rate"]) for row in evaluations]
    counts = [int(row.get("episodes") or 0) for row in evaluations]
    curve = _curve(evaluations, rates)
    if not all(counts):
        return curve
    pairs = zip(rates, counts, strict=True)
    return replace(curve, intervals=[wilson_interval(round(rate * count), count) for rate, count in pairs])


def expected_curve(evaluations: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Return the control steps of evaluations and the success that the task's recipe had there, where that is known."""
    known = [row for row in evaluations if (row.get("figures") or {}).get("expected") is not None]
    return [float(row["env_steps"]) for row in known], [float(row["figures"]["expected"]) for row in known]


def steps_to(evaluations: Sequence[Row], level: float) -> int | None:
    """Return the environment steps at the first evaluation that reached a success rate, or None."""
    return next((int(row["env_steps"]) for row in evaluations if row["success_rate"] >= level), None)


def per_ten_rollouts(episodes: Sequence[Row], key: str) -> list[float]:
    """Return a per-episode count summed over each 10 rollouts; where the last ten is unfinished, over the newest ten.

    Fewer than ten in all are scaled up to ten.
    """
    bins: list[float] = []
    for start in range(0, len(episodes), ROLLOUTS_PER_BIN):
        end = min(start + ROLLOUTS_PER_BIN, len(episodes))
        chunk = episodes[max(end - ROLLOUTS_PER_BIN, 0) : end]
        bins.append(sum(float(row.get(key) or 0) for row in chunk) * ROLLOUTS_PER_BIN / len(chunk))
    return bins


def _curve(rows: Sequence[Row], success: list[float]) -> Curve:
    return Curve(
        env_steps=[float(row.get("env_steps", 0)) for row in rows],
        wall_clock_s=[float(row.get("wall_clock_s", 0.0)) for row in rows],
        robot_time_s=[float(row.get("robot_time_s", 0.0)) for row in rows],
        success=success,
    )
