"""Tools, keypoints and bounds as prompt text: base frame, metres."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from rl.types import Ending, InterventionEnd
from tools.scene import Scene
from tools.schemas import (
    TOOLS,
    Args,
    Defaults,
    Keypoints,
    Margins,
    format_point,
    format_ranges,
    resolve_target,
    tip_to_tcp,
)

_ENDINGS: dict[Ending, str] = {"budget": "out of its step budget", "taken_over": "taken over by a human"}
"""Words for what does not say it itself."""
_BOUNDS = {"Ge": ("at least", "ge"), "Gt": ("more than", "gt"), "Le": ("at most", "le"), "Lt": ("less than", "lt")}
"""Per annotation of pydantic the words for it and the attribute that holds the limit."""


def describe_tools(names: Iterable[str], defaults: Defaults = MappingProxyType({})) -> str:
    """Return tools as prompt text: one line per tool and one per argument, with default and bounds.

    Args:
        names: The tools.
        defaults: What the task puts in place of the tools' own defaults.
    """
    return "\n".join(_describe_tool(name, json.dumps({**defaults.get(name, {})}, default=dict)) for name in names)


@cache
def _describe_tool(name: str, defaults: str) -> str:
    spec = TOOLS[name]
    lines = _describe_fields(spec.args, json.loads(defaults))
    return "\n".join([f"- {name}: {spec.description}", *(f"    {line}" for line in lines)])


def describe_keypoints(keypoints: Keypoints, requested: Iterable[str] = ()) -> str:
    """Return keypoints as prompt text, and which of those requested are missing.

    A pair `<name>_left` and `<name>_right` gives `<name>` too.
    """
    lines = [f"- {label}: {format_point(point.xyz)}" for label, point in keypoints.items()]
    for label in keypoints:
        name = label.removesuffix("_left")
        if name != label and name not in keypoints and f"{name}_right" in keypoints:
            middle = format_point(resolve_target(name, keypoints))
            lines.append(f"- {name}: {middle}, half-way between {label} and {name}_right")
    missing = [label for label in requested if label not in keypoints]
    if missing:
        lines.append(f"Not seen: {', '.join(missing)}.")
    return "\n".join(lines)


def describe_bounds(scene: Scene) -> str:
    """Return where the tool's tip may go, as prompt text."""
    shift = tip_to_tcp(scene)
    return format_ranges(scene.workspace.lower - shift, scene.workspace.upper - shift)


def describe_robot(scene: Scene) -> str:
    """Return where the tool's tip is and whether the gripper is open, as prompt text."""
    T = scene.T_base_tcp
    gripper = "open" if scene.gripper_opening > 0.5 else "closed"
    return f"Tool tip at {format_point(T[:3, 3] + T[:3, :3] @ scene.p_tcp_tool)}, gripper {gripper}."


def describe_end(end: InterventionEnd) -> str:
    """Return how an intervention ended: "blocked after 14 steps, 8 mm short of waypoint 2 of 5"."""
    how = _ENDINGS.get(end.how, end.how.replace("_", " "))
    text = f"{how} after {end.steps} step{'' if end.steps == 1 else 's'}"
    if end.waypoint is None or end.distance_m is None:
        return text
    short = "from" if end.how == "reached" else "short of"
    return f"{text}, {1000 * end.distance_m:.0f} mm {short} waypoint {end.waypoint + 1} of {end.waypoints}"


def _describe_fields(args: type[Args], defaults: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, field in args.model_fields.items():
        if field.annotation is Margins:
            margins = {**Margins().model_dump(), **defaults.get(name, {})}
            lines.append(f"{name}: {field.description} Keys and defaults: {json.dumps(margins)}")
            continue
        is_required = field.is_required() and name not in defaults
        default = "required" if is_required else f"default {json.dumps(defaults.get(name, field.default))}"
        lines.append(f"{name}: {field.description} ({', '.join([default, *_bounds(field.metadata)])})")
    return lines


def _bounds(metadata: Sequence[Any]) -> list[str]:
    known = [(m, _BOUNDS[type(m).__name__]) for m in metadata if type(m).__name__ in _BOUNDS]
    return [f"{words} {getattr(m, attribute):g}" for m, (words, attribute) in known]
