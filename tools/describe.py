"""Tools, keypoints and bounds as prompt text: base frame, metres."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from rl.types import Ending, FloatArray, InterventionEnd
from tools.scene import Scene, has_open_fingers, tip_to_tcp, tool_tip
from tools.spec import Args, Defaults, Tools, ToolSpec
from tools.targets import Keypoints, halfway

_ENDINGS: dict[Ending, str] = {"budget": "out of its step budget", "taken_over": "taken over by a human"}
"""Words for what does not say it itself."""
_BOUNDS = {"Ge": ("at least", "ge"), "Gt": ("more than", "gt"), "Le": ("at most", "le"), "Lt": ("less than", "lt")}
"""Per annotation of pydantic the words for it and the attribute that holds the limit."""


def describe_tools(tools: Tools, defaults: Defaults = MappingProxyType({})) -> str:
    """Return tools as prompt text: one line per tool and one per argument, with default and bounds.

    Args:
        tools: What may be called.
        defaults: What the task puts in place of the tools' own defaults.
    """
    lines = [_describe_tool(spec, json.dumps({**defaults.get(name, {})}, default=dict)) for name, spec in tools.items()]
    answering = ", ".join(name for name, spec in tools.items() if spec.gives == "text")
    if answering:
        lines.append(
            f"These only answer, and move nothing: {answering}. Call them alone where their answer decides what you "
            "plan: you are told it, and then give the plan."
        )
    return "\n".join(lines)


@cache
def _describe_tool(spec: ToolSpec, defaults: str) -> str:
    lines = _describe_fields(spec.args, json.loads(defaults))
    return "\n".join([f"- {spec.name}: {spec.description}", *(f"    {line}" for line in lines)])


def describe_keypoints(keypoints: Keypoints, requested: Iterable[str] = ()) -> str:
    """Return keypoints as prompt text, and which of those requested are missing.

    A pair `<name>_left` and `<name>_right` gives `<name>` too.
    """
    lines = [f"- {label}: {format_point(point.xyz)}" for label, point in keypoints.items()]
    for name, point in halfway(keypoints).items():
        lines.append(f"- {name}: {format_point(point.xyz)}, half-way between {name}_left and {name}_right")
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
    gripper = "open" if has_open_fingers(scene) else "closed"
    return f"Tool tip at {format_point(tool_tip(scene))}, gripper {gripper}."


def describe_end(end: InterventionEnd) -> str:
    """Return how an intervention ended: "blocked after 14 steps, 8 mm short of waypoint 2 of 5"."""
    how = _ENDINGS.get(end.how, end.how.replace("_", " "))
    text = f"{how} after {end.steps} step{'' if end.steps == 1 else 's'}"
    if end.waypoint is None or end.distance_m is None:
        return text
    short = "from" if end.how == "reached" else "short of"
    return f"{text}, {1000 * end.distance_m:.0f} mm {short} waypoint {end.waypoint + 1} of {end.waypoints}"


def format_point(point: FloatArray) -> str:
    """Return a position of shape (3,), [m], as text with tenths of millimetres."""
    return f"x {point[0]:.4f}, y {point[1]:.4f}, z {point[2]:.4f} m"


def format_ranges(lower: FloatArray, upper: FloatArray) -> str:
    """Return the extent of a box, corners of shape (3,), [m], as text."""
    ranges = [f"{name} {low:.3f} to {high:.3f}" for name, low, high in zip("xyz", lower, upper, strict=True)]
    return ", ".join(ranges) + " m"


def _describe_fields(args: type[Args], defaults: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, field in args.model_fields.items():
        default = _default(field)
        if isinstance(default, dict):
            filled = json.dumps({**default, **defaults.get(name, {})})
            lines.append(f"{name}: {field.description} Keys and defaults: {filled}")
            continue
        is_required = field.is_required() and name not in defaults
        told = "required" if is_required else f"default {json.dumps(defaults.get(name, default))}"
        lines.append(f"{name}: {field.description} ({', '.join([told, *_bounds(field.metadata)])})")
    return lines


def _default(field: FieldInfo) -> Any:
    """Return a field's default as JSON values; None where there is none, and a mapping for a model within the model."""
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    return default.model_dump(mode="json") if isinstance(default, BaseModel) else to_jsonable_python(default)


def _bounds(metadata: Sequence[Any]) -> list[str]:
    known = [(m, _BOUNDS[type(m).__name__]) for m in metadata if type(m).__name__ in _BOUNDS]
    return [f"{words} {getattr(m, attribute):g}" for m, (words, attribute) in known]
