"""What a line of metrics.jsonl and summary.json must be like, so that a report of it can count on that."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl.errors import AgpsError

_NUMBERS = frozenset(
    {
        "agent_calls",
        "agent_pause_s",
        "env_steps",
        "episode",
        "episodes",
        "eval_episodes",
        "human_interventions",
        "human_s",
        "learner_steps",
        "mean_return",
        "mean_steps",
        "memory_hits",
        "pretrain_steps",
        "pretrain_success_rate",
        "return",
        "robot_time_s",
        "steps",
        "steps_to_100",
        "steps_to_80",
        "success_rate",
        "updates",
        "wall_clock_s",
    }
)
"""What is a number, or null, wherever it stands."""
_LISTS = frozenset({"float_scores", "float_thresholds", "float_trace", "human_stretches", "intervention_ids"})
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "episode": ("success", "env_steps"),
    "eval": ("success_rate",),
    "final_eval": ("success_rate",),
    "pretrain": ("updates",),
    "pretrain_eval": ("success_rate",),
    "resume": ("env_steps",),
}
"""What a line of each kind cannot do without."""


def check_row(row: Mapping[str, Any], *, where: str) -> None:
    """Refuse a line whose values are of another type, or that lacks what its kind cannot do without.

    Args:
        row: The line.
        where: File and line, to begin the message with.

    Raises:
        AgpsError: With the first such value.
    """
    for name, value in row.items():
        if name in _NUMBERS and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise AgpsError(f"{where}: {name} is {value!r}, no number; it is damaged, or of another version.")
        if name in _LISTS and value is not None and not isinstance(value, list):
            raise AgpsError(f"{where}: {name} is {value!r}, no list; it is damaged, or of another version.")
    kind = row.get("kind", "episode")
    for name in _NEEDED.get(kind, ()) if isinstance(kind, str) and (kind != "episode" or "episode" in row) else ():
        value = row.get(name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise AgpsError(
                f"{where}: {name} is {value} in a line of kind {kind}; it is damaged, or of another version."
            )


def check_summary(summary: Mapping[str, Any], file: Path) -> None:
    """Refuse a summary whose values are of another type, or that has a success rate of nobody knows how many episodes.

    Raises:
        AgpsError: With the first such value.
    """
    check_row({**summary, "kind": "summary"}, where=str(file))
    rated = any(summary.get(name) is not None for name in ("success_rate", "pretrain_success_rate"))
    if rated and summary.get("eval_episodes") is None:
        raise AgpsError(f"{file}: success_rate stands without eval_episodes; it is damaged, or of another version.")
