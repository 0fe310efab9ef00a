"""Carry out what the model called: check names and arguments, run the tools, join what they give. Nothing moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import ValidationError

from rl.types import Box, Waypoint
from tools.answers import ToolCall
from tools.describe import format_point, format_ranges
from tools.errors import BrokenTool, ToolFailed, ToolRetry
from tools.labels import find_label
from tools.scene import Scene, tool_tip
from tools.spec import TOOLS, Args, Defaults, Tools, ToolSpec
from tools.targets import Keypoints, NotedKeypoints

MAX_TEXT = 600
"""Longest answer of a tool, [characters]: it is sent to the model, which pays for each."""


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What a call, or a sequence of calls, came to: a box, waypoints or an answer, and the text that says so."""

    text: str
    """For the transcript and for the model, one line per call."""
    box: Box | None = None
    waypoints: tuple[Waypoint, ...] = ()
    is_answer: bool = False
    """The text answers the model, which plans again knowing it; there is neither box nor waypoint."""
    targets: tuple[str, ...] = ()
    """Labels of the keypoints that it goes by, in the order in which the tools asked for them."""
    felt: str = ""
    """The one among them to which the last call that moves feels its way; empty where it goes freely, or by several."""


def run_tool(
    name: str,
    arguments: Mapping[str, Any],
    scene: Scene,
    keypoints: Keypoints,
    *,
    tools: Tools,
    defaults: Defaults = MappingProxyType({}),
) -> ToolResult:
    """Return what a tool call comes to, after checking its name and arguments.

    Args:
        name: Name of the tool.
        arguments: As the model gave them.
        scene: Where the arm is. It is not changed.
        keypoints: Found keypoints by label.
        tools: What may be called.
        defaults: What the task puts in place of the tools' own defaults.

    Raises:
        ToolRetry: If the tool is unknown or not allowed, or its arguments are; the message says which are.
        ToolFailed: If a motion or a box cannot be had. Where a tool answers, that is its answer.
        BrokenTool: If it gives something else than it says.
    """
    spec = _allowed(name, tools)
    args, noted = _parse(spec, _filled(arguments, defaults.get(spec.name, {}))), NotedKeypoints(keypoints)
    try:
        given = spec.function(args, scene, noted)
    except ToolFailed as failure:
        if spec.gives != "text":
            raise
        given = str(failure)  # the model asked: what cannot be had is an answer too
    return _going_by(noted, _result(spec, given, scene))


def run_plan(
    calls: Sequence[ToolCall],
    scene: Scene,
    keypoints: Keypoints,
    *,
    tools: Tools,
    defaults: Defaults = MappingProxyType({}),
) -> ToolResult:
    """Return what several calls come to, each starting where the one before ends.

    Calls of tools that answer are run alone: the model has to know their answers before anything else of its plan
    counts. Arguments and errors as in `run_tool`; several boxes are an error, since only one can hold.
    """
    specs = [_allowed(call.name, tools) for call in calls]
    asking = [call for call, spec in zip(calls, specs, strict=True) if spec.gives == "text"]
    if asking:
        answers = [run_tool(c.name, c.arguments, scene, keypoints, tools=tools, defaults=defaults) for c in asking]
        return ToolResult(text="\n".join(answer.text for answer in answers), is_answer=True)
    texts: list[str] = []
    waypoints: list[Waypoint] = []
    targets: dict[str, None] = {}
    felt = ""
    box: Box | None = None
    blend_m = 0.0
    for call, spec in zip(calls, specs, strict=True):
        result = run_tool(call.name, call.arguments, scene, keypoints, tools=tools, defaults=defaults)
        if box is not None and result.box is not None:
            raise ToolRetry("Two boxes in one plan; give one exploration_bbox call.")
        box = result.box or box
        texts.append(result.text)
        targets.update(dict.fromkeys(result.targets))
        if blend_m > 0 and waypoints and result.waypoints:
            waypoints[-1] = _blended(waypoints[-1], result.waypoints[0], blend_m)
        blend_m = spec.blend_m
        waypoints += result.waypoints
        if result.waypoints:
            last, felt = result.waypoints[-1], result.felt
            scene = replace(scene, T_base_tcp=last.T_base_tcp, gripper_opening=last.gripper_opening)
    return ToolResult(text="\n".join(texts), box=box, waypoints=tuple(waypoints), targets=tuple(targets), felt=felt)


def _allowed(name: str, tools: Tools) -> ToolSpec:
    """Return the tool of a name.

    Raises:
        ToolRetry: If it may not be called, or there is none.
    """
    meant = find_label(name, tools)
    if meant is not None:
        return tools[meant]
    choice = f"choose one of {', '.join(tools)}."
    if find_label(name, TOOLS.names):
        raise ToolRetry(f"{name} is not allowed here; {choice}", reason="tool_not_allowed")
    raise ToolRetry(f"There is no tool {name!r}; {choice}", reason="unknown_tool")


def _result(spec: ToolSpec, given: Any, scene: Scene) -> ToolResult:
    """Return what a tool's function gave with the text that says so.

    Raises:
        BrokenTool: If that is not what the tool says that it gives.
    """
    name = spec.name
    if spec.gives == "text" and isinstance(given, str):
        return ToolResult(text=f"{name}: {_shortened(given)}", is_answer=True)
    if spec.gives == "box" and isinstance(given, Box):
        return ToolResult(text=f"{name}: TCP confined to {format_ranges(given.lower, given.upper)}.", box=given)
    if spec.gives == "waypoints" and isinstance(given, Sequence) and not isinstance(given, str) and given:
        if all(isinstance(waypoint, Waypoint) for waypoint in given):
            tip = tool_tip(replace(scene, T_base_tcp=given[-1].T_base_tcp))
            text = f"{name}: {len(given)} waypoints, tool tip to {format_point(tip)}."
            return ToolResult(text=text, waypoints=tuple(given))
    raise BrokenTool(f"The tool {name} says that it gives {spec.gives}, but gave {given!r:.60}; mend the tool.")


def _going_by(noted: NotedKeypoints, result: ToolResult) -> ToolResult:
    """Return what a call came to with the keypoints that it went by, and the one to which it feels its way."""
    feels = any(waypoint.motion != "free" for waypoint in result.waypoints)
    aims = noted.aimed_at
    return replace(result, targets=noted.asked, felt=aims[0] if feels and len(aims) == 1 else "")


def _shortened(text: str) -> str:
    """Return an answer, cut where it is too long, which it says."""
    text = text.strip()
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ... (cut after {MAX_TEXT} of {len(text)} characters)"


def _blended(waypoint: Waypoint, following: Waypoint, blend_m: float) -> Waypoint:
    """Return a waypoint that is passed without a stop, unless what follows moves the gripper or is too short for it."""
    way_m = float(np.linalg.norm(following.T_base_tcp[:3, 3] - waypoint.T_base_tcp[:3, 3]))
    if (waypoint.gripper_opening > 0.5) != (following.gripper_opening > 0.5):
        return waypoint
    return replace(waypoint, blend_m=min(blend_m, way_m / 2))


def _filled(arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with defaults where they are left out, also within mappings."""
    filled = {**defaults, **arguments}
    for name in defaults.keys() & arguments.keys():
        if isinstance(defaults[name], Mapping) and isinstance(arguments[name], Mapping):
            filled[name] = _filled(arguments[name], defaults[name])
    return filled


def _parse(spec: ToolSpec, arguments: Mapping[str, Any]) -> Args:
    try:
        return spec.args.model_validate(dict(arguments))
    except ValidationError as error:
        wrong = "; ".join(_complaint(entry) for entry in error.errors()[:4])
        raise ToolRetry(f"{spec.name}: {wrong}. It takes: {', '.join(spec.args.model_fields) or 'nothing'}.") from error


def _complaint(entry: Any) -> str:
    """Return one validation error as value, limit."""
    where = ".".join(str(part) for part in entry["loc"])
    value = "" if entry["type"] == "missing" or not where else f" = {entry['input']!r}"[:60]
    return f"{where}{value}: {entry['msg']}" if where else str(entry["msg"])
