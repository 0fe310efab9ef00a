"""What every tool keeps, ours and anybody's: `check_tool` tries one and says what it breaks.

It needs no robot and no model. Call it in a test of the package that brings the tool.
"""

import json
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from rl.guard import GuardLimits, guard_target, is_pose
from rl.transforms import TOOL_DOWN, pose, rotvec_to_matrix
from rl.types import Box, RGBDFrame, Waypoint
from tools.errors import BrokenTool, ToolFailed, ToolRetry
from tools.perception import Point
from tools.plan import MAX_TEXT, ToolResult, run_tool
from tools.primitives import MAX_PUSH_M
from tools.scene import Scene
from tools.spec import ToolSpec
from tools.targets import Keypoints, Target

Arguments = Mapping[str, Any]

NONSENSE: tuple[Any, ...] = (
    None,
    "x",
    -1,
    1e9,
    float("nan"),
    float("inf"),
    [],
    {},
    [1, 2, 3],
    ["left", "nowhere"],
    True,
    "left",
)
"""What a model may give for any argument."""
_WAYPOINT_LIMITS = (
    ("gripper_opening", 0.0, 1.0),
    ("max_step_m", 1e-4, 0.1),
    ("blend_m", 0.0, 0.1),
    ("push_m", 0.0, MAX_PUSH_M),
)
TRIES = 100
"""Calls with nonsense for some of their arguments."""


def check_tool(
    spec: ToolSpec, arguments: Arguments, *, scene: Scene | None = None, keypoints: Keypoints | None = None
) -> None:
    """Try a tool and raise what it breaks.

    Its arguments have descriptions. Wrong ones are refused with a `ToolRetry` that names value and limit. It changes
    nothing, gives the same for the same, and what it says that it gives: a box inside of the workspace, waypoints there
    that pass the guard, or a short text of finite numbers.

    Args:
        spec: The tool.
        arguments: Arguments with which it works in the scene.
        scene: Where it is tried, there and with the arm at other places; by default `plain_scene`.
        keypoints: What the model has found there; by default `left` and `right`, 20 mm apart.

    Raises:
        BrokenTool: With the first thing that is broken.
    """
    here = plain_scene() if scene is None else scene
    found = plain_keypoints() if keypoints is None else keypoints
    _check_words(spec)
    _check_result(spec, arguments, here, found, may_refuse=False)
    for there in _elsewhere(here):
        _check_result(spec, arguments, there, found, may_refuse=True)
        for extreme in _extremes(spec, arguments):
            _refusal(spec, extreme, there, found)
    _check_limits(spec, arguments, here, found)
    _check_labels(spec, arguments, here, found)
    _check_nonsense(spec, arguments, here, found)


def plain_scene() -> Scene:
    """Return a scene to try tools in: a level surface 5 cm below the tip of a tool that points straight down."""
    looking_down = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    frame = RGBDFrame(
        name="side",
        rgb=np.full((96, 128, 3), 90, np.uint8),
        depth_m=np.full((96, 128), 0.95, np.float32),
        K=np.array([[100.0, 0.0, 63.5], [0.0, 100.0, 47.5], [0.0, 0.0, 1.0]]),
        T_base_cam=pose(np.array([0.5, 0.0, 1.0]), looking_down),
    )
    return Scene(
        task="usb_insertion",
        frames={"side": frame},
        T_base_tcp=pose(np.array([0.48, 0.03, 0.13]), TOOL_DOWN),
        gripper_opening=0.0,
        workspace=Box(lower=np.array([0.4, -0.1, 0.07]), upper=np.array([0.6, 0.1, 0.25])),
        p_tcp_tool=np.array([0.0, 0.0, 0.03]),
    )


def plain_keypoints() -> dict[str, Point]:
    """Return two keypoints in the plain scene, `left` and `right`."""
    places = {"left": np.array([0.5, -0.01, 0.055]), "right": np.array([0.5, 0.01, 0.055])}
    return {
        label: Point(label=label, camera="side", uv=np.array([63.5, 47.5]), xyz=xyz, depth_spread_m=0.0)
        for label, xyz in places.items()
    }


def _elsewhere(scene: Scene) -> Iterator[Scene]:
    """Yield the scene with the arm at other places: turned, the hand open, in corners, a little outside."""
    workspace, T = scene.workspace, scene.T_base_tcp
    yield replace(scene, gripper_opening=1.0)
    for yaw_rad in (-0.3, 0.3):
        turned = rotvec_to_matrix(np.array([0.0, 0.0, yaw_rad])) @ T[:3, :3]
        yield replace(scene, T_base_tcp=pose(T[:3, 3], turned))
    for corner in (workspace.lower, workspace.upper, workspace.lower - 0.0005, workspace.upper + 0.0005):
        yield replace(scene, T_base_tcp=pose(corner, T[:3, :3]))


def _check_words(spec: ToolSpec) -> None:
    if not spec.description:
        raise BrokenTool(f"{spec.name} has no description; write the docstring of {spec.args.__name__}.")
    for path, field in _fields(spec.args):
        if not field.description:
            raise BrokenTool(f"{spec.name}: {'.'.join(path)} has no description; give Field(description=...).")
    json.dumps(spec.args.model_json_schema(), allow_nan=False)


def _check_result(
    spec: ToolSpec, arguments: Arguments, scene: Scene, keypoints: Keypoints, *, may_refuse: bool
) -> None:
    """Call the tool twice, and check that it changes nothing and gives both times the same, which is lawful."""
    before = pickle.dumps((arguments, scene, keypoints))
    results = []
    for _ in range(2):
        try:
            results.append(_call(spec, arguments, scene, keypoints))
        except (ToolRetry, ToolFailed) as refusal:
            if not may_refuse:
                raise BrokenTool(f"{spec.name} refuses arguments that shall work: {refusal}") from refusal
            results.append(ToolResult(text=str(refusal)))
    if pickle.dumps((arguments, scene, keypoints)) != before:
        raise BrokenTool(f"{spec.name} changes its arguments, the scene or the keypoints; copy what you change.")
    if pickle.dumps(results[0]) != pickle.dumps(results[1]):
        raise BrokenTool(f"{spec.name} gives something else the second time; it may depend on what it is given alone.")


def _call(spec: ToolSpec, arguments: Arguments, scene: Scene, keypoints: Keypoints) -> ToolResult:
    """Return what a call comes to, after checking that it is lawful.

    Raises:
        ToolRetry, ToolFailed: As the tool.
        BrokenTool: If it is not, or the tool raises something else.
    """
    try:
        result = run_tool(spec.name, arguments, scene, keypoints, tools={spec.name: spec})
    except (ToolRetry, ToolFailed, BrokenTool):
        raise
    except Exception as error:  # whatever it is, the model would not be told
        raise BrokenTool(
            f"{spec.name}({_short(arguments)}) raises {type(error).__name__}: {error}; raise ToolRetry for what the "
            "model can correct, ToolFailed for what cannot be had."
        ) from error
    if result.is_answer:
        _check_answer(spec, result.text.removeprefix(f"{spec.name}: "))
    if result.box is not None:
        _check_box(spec, result.box, scene.workspace)
    for index, waypoint in enumerate(result.waypoints):
        _check_waypoint(spec, f"waypoint {index}", waypoint, scene.workspace)
    return result


def _check_answer(spec: ToolSpec, text: str) -> None:
    if not 0 < len(text.strip()) <= MAX_TEXT:
        raise BrokenTool(f"{spec.name} answers with {len(text)} characters; give 1 to {MAX_TEXT}.")
    unreal = re.search(r"(?<![a-z])(nan|inf|infinity)(?![a-z])", text, re.IGNORECASE)
    if unreal:
        raise BrokenTool(f"{spec.name} answers {unreal[0]!r}, which is no number; raise ToolFailed with the reason.")


def _check_box(spec: ToolSpec, box: Box, workspace: Box) -> None:
    corners = np.array([box.lower, box.upper], dtype=np.float64)
    if corners.shape != (2, 3) or not np.all(np.isfinite(corners)) or not np.all(corners[0] < corners[1]):
        raise BrokenTool(f"{spec.name} gives an empty box, {corners.tolist()} m; raise ToolRetry instead.")
    if not (workspace.contains(corners[0]) and workspace.contains(corners[1])):
        raise BrokenTool(f"{spec.name} gives a box outside of the workspace, {corners.tolist()} m; cut it there.")


def _check_waypoint(spec: ToolSpec, what: str, waypoint: Waypoint, workspace: Box) -> None:
    """Check a waypoint by the guard: an arm that stands there must be let stand there."""
    T = np.asarray(waypoint.T_base_tcp)
    if not is_pose(T):
        raise BrokenTool(f"{spec.name}: {what} is no pose, {T.tolist()}; give a rigid 4 x 4 matrix in metres.")
    limits = GuardLimits(workspace=workspace, max_step_m=0.03, max_step_rad=0.3)
    acted = guard_target(T, T_base_ref=T, T_base_tcp=T, limits=limits).violations
    if acted or not workspace.contains(T[:3, 3]):
        where = np.round(T[:3, 3], 4).tolist()
        raise BrokenTool(f"{spec.name}: the guard changes {what} at {where} m ({', '.join(acted) or 'workspace'}).")
    for name, lowest, highest in _WAYPOINT_LIMITS:
        if not lowest <= (value := getattr(waypoint, name)) <= highest:  # also refuses NaN
            raise BrokenTool(f"{spec.name}: {what} has {name} {value:g}; give {lowest:g} to {highest:g}.")


def _extremes(spec: ToolSpec, arguments: Arguments) -> Iterator[dict[str, Any]]:
    """Yield the arguments with one number at one of its limits."""
    for path, field in _fields(spec.args):
        for limit, _ in _bounds(field.metadata):
            yield _with(arguments, path, limit)


def _check_limits(spec: ToolSpec, arguments: Arguments, scene: Scene, keypoints: Keypoints) -> None:
    """Go past each limit that an argument declares: the refusal must name argument, value and limit."""
    for path, field in _fields(spec.args):
        for limit, sign in _bounds(field.metadata):
            name, value = ".".join(path), limit + sign
            refusal = _refusal(spec, _with(arguments, path, value), scene, keypoints)
            if not all(part in refusal for part in (path[-1], f"{value:g}", f"{limit:g}")):
                raise BrokenTool(
                    f"{spec.name}: {name} = {value:g} is past its limit {limit:g}; refuse it with a ToolRetry that "
                    f"names argument, value and limit (it said: {refusal or 'nothing'})."
                )


def _check_labels(spec: ToolSpec, arguments: Arguments, scene: Scene, keypoints: Keypoints) -> None:
    """Name a keypoint that there is not: the refusal must name it."""
    for path, field in _fields(spec.args):
        if field.annotation != Target:
            continue
        if "nowhere" not in _refusal(spec, _with(arguments, path, "nowhere"), scene, keypoints):
            name = ".".join(path)
            raise BrokenTool(f"{spec.name}: {name} = 'nowhere' is no keypoint; refuse it, as resolve_target does.")


def _check_nonsense(spec: ToolSpec, arguments: Arguments, scene: Scene, keypoints: Keypoints) -> None:
    """Give nonsense for any arguments: it is refused, or harmless."""
    rng = np.random.default_rng(0)
    names = [*spec.args.model_fields, "surprise"]
    for _ in range(TRIES):
        chosen = rng.choice(names, size=rng.integers(1, len(names) + 1), replace=False)
        nonsense = {str(name): NONSENSE[rng.integers(len(NONSENSE))] for name in chosen}
        refusal = _refusal(spec, {**arguments, **nonsense}, scene, keypoints)
        if len(refusal) > MAX_TEXT:
            raise BrokenTool(f"{spec.name} refuses with {len(refusal)} characters; the model reads at most {MAX_TEXT}.")


def _refusal(spec: ToolSpec, arguments: Arguments, scene: Scene, keypoints: Keypoints) -> str:
    """Return why a call is refused; empty if it is not."""
    try:
        _call(spec, arguments, scene, keypoints)
    except (ToolRetry, ToolFailed) as refusal:
        return str(refusal)
    return ""


def _fields(args: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every argument with the names that lead to it, also within models."""
    for name, field in args.model_fields.items():
        yield (*path, name), field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, (*path, name))


def _bounds(metadata: Sequence[Any]) -> Iterator[tuple[float, int]]:
    """Yield each limit of a number, and on which side of it values are refused."""
    for entry in metadata:
        for name, sign in (("ge", -1), ("gt", -1), ("le", 1), ("lt", 1)):
            if isinstance(limit := getattr(entry, name, None), int | float):
                yield limit, sign


def _with(arguments: Arguments, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return arguments with one value changed, also within mappings."""
    name, *rest = path
    inner = arguments.get(name, {})
    return {**arguments, name: value if not rest else _with(inner, tuple(rest), value)}


def _short(arguments: Arguments) -> str:
    return f"{dict(arguments)!r:.120}"
