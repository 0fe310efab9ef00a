"""What a line of metrics.jsonl and summary.json must be like, so that a report of it can count on that."""

import math
from collections.abc import Iterable, Mapping
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
}
"""What a report cannot do without, by the kind of the line."""


def check_types(row: Mapping[str, Any], *, where: str) -> None:
    """Refuse a line, or a summary, with a value of another type than the run writes.

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


def check_reportable(rows: Iterable[Mapping[str, Any]], summary: Mapping[str, Any], folder: Path) -> None:
    """Refuse lines and a summary that lack what a report cannot do without.

    Args:
        rows: Lines of metrics.jsonl.
        summary: What summary.json holds; empty where the run has not finished.
        folder: Of the run.

    Raises:
        AgpsError: With the first value that is missing.
    """
    for row in rows:
        kind = str(row.get("kind", "episode"))
        for name in _NEEDED.get(kind, ()) if kind != "episode" or "episode" in row else ():
            value = row.get(name)
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                raise AgpsError(
                    f"{folder / 'metrics.jsonl'}: {name} is {value} in a line of {kind}; it is damaged, or of another "
                    "version."
                )
    rated = any(summary.get(name) is not None for name in ("success_rate", "pretrain_success_rate"))
    if rated and summary.get("eval_episodes") is None:
        file = folder / "summary.json"
        raise AgpsError(f"{file}: success_rate stands without eval_episodes; it is damaged, or of another version.")


def config_of(saved: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Return the settings in config.json as they stand there, whatever version wrote them; none where there are none.

    Raises:
        AgpsError: If they are no settings.
    """
    config = saved.get("config", {})
    if not isinstance(config, dict):
        raise AgpsError(f"{file} has no `config` object; it is damaged.")
    for name, kind, what in (("demos", int, "whole number"), ("seed", int, "whole number"), ("agent", dict, "object")):
        if config.get(name) is not None and not isinstance(config[name], kind):
            raise AgpsError(f"{file}: {name} is {config[name]!r}, no {what}; it is damaged, or of another version.")
    return config
