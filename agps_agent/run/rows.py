"""What a line of metrics.jsonl and summary.json must be like, so that a report of it can count on that."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.errors import AgpsError

_DAMAGED = "it is damaged, or of another version."
MOST = 10**15
"""Beyond any number of steps, seconds or tokens."""


@dataclass(frozen=True)
class _Kind:
    """What a value must be; null is nothing, and that is a value too where nothing may be known."""

    said: str
    fits: Callable[[Any], bool]
    may_be_null: bool = True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_amount(value: Any) -> bool:
    return _is_number(value) and 0 <= value < MOST


def _is_stretch(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _mapping_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


_AMOUNT = _Kind("number from 0 up", _is_amount, may_be_null=False)
_COST = _Kind("number from 0 up", _is_amount)
_RATE = _Kind("number from 0 to 1", lambda value: _is_amount(value) and value <= 1)
_NUMBER = _Kind("number", lambda value: _is_number(value) and abs(value) < MOST)
_TEXT = _Kind("text", lambda value: isinstance(value, str))
_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_NUMBERS = _Kind("list of numbers", _list_of(lambda value: _is_number(value) and value == value))  # not NaN
_NAMED_NUMBERS = _Kind("object of numbers", _mapping_of(_is_number))

_KINDS: Mapping[str, _Kind] = {
    **dict.fromkeys(("agent_calls", "agent_pause_s", "agent_tokens", "memory_hits"), _AMOUNT),
    **dict.fromkeys(("env_steps", "episode", "episodes", "eval_episodes", "learner_steps", "steps"), _AMOUNT),
    **dict.fromkeys(("guided_steps", "pruned_steps", "human_interventions", "human_s"), _AMOUNT),
    **dict.fromkeys(("pretrain_steps", "robot_time_s", "updates", "wall_clock_s"), _AMOUNT),
    **dict.fromkeys(("agent_completion_tokens", "agent_prompt_tokens", "agent_seconds", "agent_usd"), _COST),
    **dict.fromkeys(("contact_force_peak_N", "steps_to_80", "steps_to_100"), _COST),
    **dict.fromkeys(("success_rate", "pretrain_success_rate"), _RATE),
    **dict.fromkeys(("mean_return", "mean_steps", "return", "seed"), _NUMBER),
    **dict.fromkeys(("diagnosis", "ended_by", "ending", "kind", "method", "model", "task", "trigger_kind"), _TEXT),
    **dict.fromkeys(("success", "triggered", "true_success", "was_true"), _FLAG),
    **dict.fromkeys(("counters", "learned", "robot"), _NAMED_NUMBERS),
    "human_stretches": _Kind("list of pairs of numbers", _list_of(_is_stretch)),
    "intervention_ids": _Kind("list of texts", _list_of(_TEXT.fits)),
    "interventions": _Kind("list", lambda value: isinstance(value, list)),
    "figures": _Kind("object", lambda value: isinstance(value, dict)),
}
"""What is what, wherever it stands."""
_TRACES = ("_scores", "_thresholds", "_trace")
"""How the names of what detectors measure end: lists of numbers."""
_DRAWN = {
    **dict.fromkeys(("expected", "help_share", "reward_rate", "trigger_share"), _RATE),
    **dict.fromkeys(("goal_error_mm", "q_max", "q_mean", "q_min", "return_max", "return_min"), _NUMBER),
    "env_steps": _AMOUNT,
}
"""What is drawn of the figures that a run is diagnosed from."""
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "episode": ("success", "env_steps"),
    "eval": ("success_rate", "env_steps"),
    "final_eval": ("success_rate", "env_steps"),
    "pretrain": ("updates",),
    "pretrain_eval": ("success_rate", "env_steps"),
}
"""What a report cannot do without, by the kind of the line."""
_TOGETHER = (("agent_prompt_tokens", "agent_completion_tokens"), ("true_success", "was_true"))
"""Where the first is, the second is too."""
_TOGETHER_IN_SUMMARY = (
    ("success_rate", "eval_episodes"),
    ("pretrain_success_rate", "eval_episodes"),
    ("pretrain_success_rate", "pretrain_steps"),
)
"""The same, in summary.json."""


def check_types(row: Mapping[str, Any], *, where: str) -> None:
    """Refuse a line, or a summary, with a value of another type than the run writes.

    Args:
        row: The line.
        where: File and line, to begin the message with.

    Raises:
        AgpsError: With the first such value.
    """
    for name, value in row.items():
        kind = _NUMBERS if name.endswith(_TRACES) else _KINDS.get(name)
        if kind is None and row.get("kind") == "pretrain":
            kind = _Kind("number", _is_number)  # losses and values, by whatever name
        _check(name, value, kind, where)
    figures = row.get("figures")
    if figures is not None:
        for name, kind in _DRAWN.items():
            _check(name, figures.get(name), kind, f"{where}: figures")


def _check(name: str, value: object, kind: _Kind | None, where: str) -> None:
    if kind is None or (value is None and kind.may_be_null):
        return
    if not kind.fits(value):
        raise AgpsError(f"{where}: {name} is {value!r}, no {kind.said}; {_DAMAGED}")


def check_reportable(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], folder: Path) -> None:
    """Refuse lines and a summary that lack what a report cannot do without.

    Args:
        rows: Lines of metrics.jsonl.
        summary: What summary.json holds; empty where the run has not finished.
        folder: Of the run.

    Raises:
        AgpsError: With the first value that is missing.
    """
    drawn_by_steps = any(row.get("human_stretches") for row in rows)
    for row in rows:
        kind = str(row.get("kind", "episode"))
        if kind == "episode" and "episode" not in row:
            continue
        needed = (*_NEEDED.get(kind, ()), *(("steps",) if drawn_by_steps and kind == "episode" else ()))
        _check_all_there(row, needed, f"{folder / 'metrics.jsonl'}: a line of {kind}")
        _check_together(row, _TOGETHER, folder / "metrics.jsonl")
    _check_together(summary, (*_TOGETHER, *_TOGETHER_IN_SUMMARY), folder / "summary.json")
    if summary.get("success_rate") is not None and summary["eval_episodes"] < 1:
        raise AgpsError(f"{folder / 'summary.json'}: eval_episodes is {summary['eval_episodes']}; {_DAMAGED}")


def _check_all_there(row: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    for name in names:
        if row.get(name) is None:
            raise AgpsError(f"{where} lacks {name}; {_DAMAGED}")


def _check_together(row: Mapping[str, Any], pairs: Iterable[tuple[str, str]], file: Path) -> None:
    traced = [name.removesuffix("_scores") for name in row if name.endswith("_scores") and row[name]]
    drawn = [(f"{name}_scores", f"{name}{end}") for name in traced for end in ("_trace", "_thresholds")]
    for name, other in (*pairs, *drawn):
        if row.get(name) is not None and row.get(other) in (None, []):
            raise AgpsError(f"{file}: {name} stands without {other}; {_DAMAGED}")


_SETTINGS: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(("agent_demos", "demos", "seed"), (int, "whole number")),
    **dict.fromkeys(("agent",), (dict, "object")),
    **dict.fromkeys(("algorithm", "demos_dir", "env", "eval_acting", "helper", "memory", "method"), (str, "text")),
    **dict.fromkeys(("mode", "preset", "robot", "station", "task", "teleop", "vlm"), (str, "text")),
}
"""What is read of the settings of a run, whatever version wrote them."""


def config_of(saved: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Return the settings in config.json as they stand there, whatever version wrote them; none where there are none.

    Raises:
        AgpsError: If they are no settings.
    """
    config = saved.get("config", {})
    if not isinstance(config, dict):
        raise AgpsError(f"{file} has no `config` object; it is damaged.")
    for name, (kind, what) in _SETTINGS.items():
        if config.get(name) is not None and not isinstance(config[name], kind):
            raise AgpsError(f"{file}: {name} is {config[name]!r}, no {what}; {_DAMAGED}")
    agent = config.get("agent") or {}
    for name, value, fits in (
        ("agent.camera", agent.get("camera"), _TEXT.fits),
        ("agent.tools", agent.get("tools"), _list_of(_TEXT.fits)),
        ("task", saved.get("task"), _TEXT.fits),
        ("model", saved.get("model"), _TEXT.fits),
        ("versions", saved.get("versions"), _mapping_of(_TEXT.fits)),
    ):
        if value is not None and not fits(value):
            raise AgpsError(f"{file}: {name} is {value!r}; {_DAMAGED}")
    return config
