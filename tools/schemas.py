"""The tools as the model sees them: arguments with units and bounds, and the one function that runs a call.

Descriptions are prompt text. All positions are in the robot base frame (x forward, y left, z up), in metres; keypoints
are referred to by label, so that the model never copies coordinates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rl.transforms import TOOL_DOWN
from rl.types import Box, FloatArray, Waypoint
from tools import primitives
from tools.answers import Mode, ToolCall
from tools.errors import ToolRetry
from tools.geometry import MAX_MARGIN_M, exploration_bbox
from tools.labels import find_label
from tools.perception import Point
from tools.scene import Scene

BLEND_M: Mapping[str, float] = MappingProxyType(
    {"lift": 0.030, "translate": 0.010, "pre_grasp": 0.015, "move_delta": 0.010}
)
"""How near to its target a tool's last waypoint is left when a move follows, [m]: a teacher that stops teaches to stop.
Tools that are not here end at rest."""

Keypoints = Mapping[str, Point]
Defaults = Mapping[str, Mapping[str, Any]]
"""Arguments by tool that hold where a call leaves them out: what differs between tasks."""
Metres = Annotated[float, Field(ge=-2.0, le=2.0)]
Margin = Annotated[float, Field(ge=0.0, le=MAX_MARGIN_M)]
Target = str | tuple[str, str]
ArgsT = TypeVar("ArgsT", bound="Args")


class Args(BaseModel):
    """Arguments of a tool: unknown names and values that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _target(what: str) -> Any:
    return Field(
        description=f"{what} A keypoint's label, e.g. `port`, or a list of two labels for the point half-way between."
    )


def _fraction() -> Any:
    return Field(
        0.5,
        ge=-1.0,
        le=3.0,
        description="With two labels: how far from the first to the second; 1 is at the second, 1.3 beyond it.",
    )


def _yaw() -> Any:
    return Field(
        0.0,
        ge=-primitives.MAX_YAW_RAD,
        le=primitives.MAX_YAW_RAD,
        description="Turn of the tool about the vertical at the end, radians; 0 is aligned with the task.",
    )


class GraspArgs(Args):
    """Close the gripper where it is."""


class ReleaseArgs(Args):
    """Open the gripper where it is."""


class MoveDeltaArgs(Args):
    """Move by an offset from the present pose. For small corrections."""

    dx_m: float = Field(0.0, ge=-0.1, le=0.1, description="Offset along base x (forward), metres.")
    dy_m: float = Field(0.0, ge=-0.1, le=0.1, description="Offset along base y (left), metres.")
    dz_m: float = Field(0.0, ge=-0.1, le=0.1, description="Offset along base z (up), metres.")
    yaw_rad: float = Field(
        0.0,
        ge=-primitives.MAX_YAW_RAD,
        le=primitives.MAX_YAW_RAD,
        description="Turn about the vertical from the present orientation, radians.",
    )


class LiftArgs(Args):
    """Move straight up."""

    height_m: float = Field(gt=0, le=primitives.MAX_HEIGHT_M, description="How far up, metres.")


class TranslateArgs(Args):
    """Move the tool tip above a target: up first if it is too low, then across. No contact."""

    target: Target = _target("Where to go.")
    fraction: float = _fraction()
    height_m: float = Field(
        primitives.HOVER_M,
        ge=0,
        le=primitives.MAX_HEIGHT_M,
        description="Height of the tool tip above the target at the end, metres.",
    )
    yaw_rad: float = _yaw()


class DescendArgs(Args):
    """Move the tool tip straight down onto a target. A guarded descent stops on contact."""

    target: Target = _target("What to go down to.")
    fraction: float = _fraction()
    height_m: float = Field(
        0.0, ge=0, le=primitives.MAX_HEIGHT_M, description="Height of the tool tip above the target at the end, metres."
    )
    guarded: bool = Field(True, description="Stop on contact.")
    yaw_rad: float = _yaw()


class PreGraspArgs(Args):
    """Open the gripper and move above something that shall be grasped. Never while holding a part."""

    target: Target = _target("What shall be grasped.")
    height_m: float = Field(
        0.03, ge=0, le=primitives.MAX_HEIGHT_M, description="Height of the fingertips above the target, metres."
    )
    yaw_rad: float = _yaw()


class SearchArgs(Args):
    """Insert into a hole: straight in; on contact feel for it in a growing spiral with a light push, then press in."""

    target: Target = _target("The middle of the hole's rim.")
    radius_m: float = Field(
        primitives.SEARCH_RADIUS_M,
        ge=primitives.SEARCH_ARC_M,
        le=primitives.MAX_SEARCH_RADIUS_M,
        description="How far from the target to search, metres: about twice the error you expect.",
    )
    pitch_m: float = Field(
        primitives.SEARCH_PITCH_M, ge=0.0005, le=0.004, description="Distance between the spiral's turns, metres."
    )
    push_m: float = Field(
        primitives.SEARCH_PUSH_M,
        ge=0,
        le=primitives.MAX_PUSH_M,
        description="How far below the contact to press while searching, metres.",
    )
    depth_m: float = Field(
        primitives.INSERT_DEPTH_M,
        ge=0,
        le=primitives.MAX_DEPTH_M,
        description="How far below the rim to press the tool tip in once it has dropped, metres.",
    )
    yaw_rad: float = _yaw()


class Margins(Args):
    """How far each side of a box lies outside of the points it is built from, metres; never negative."""

    x_neg: Annotated[Margin, Field(description="Margin towards -x.")] = 0.012
    x_pos: Annotated[Margin, Field(description="Margin towards +x.")] = 0.012
    y_neg: Annotated[Margin, Field(description="Margin towards -y.")] = 0.012
    y_pos: Annotated[Margin, Field(description="Margin towards +y.")] = 0.012
    z_neg: Annotated[Margin, Field(description="Margin below.")] = 0.020
    z_pos: Annotated[Margin, Field(description="Margin above.")] = 0.060


class ExplorationBboxArgs(Args):
    """Confine exploration of the tool tip to a box, until the episode ends."""

    mode: Literal["two_keypoint_union", "direct_bbox3d"] = Field(
        description="two_keypoint_union: around two keypoints. direct_bbox3d: from its corners."
    )
    keypoints: tuple[str, str] | None = Field(
        None, description="two_keypoint_union only: labels of the two keypoints, e.g. [`port_left`, `port_right`]."
    )
    lower: tuple[Metres, Metres, Metres] | None = Field(
        None, description="direct_bbox3d only: smallest x, y, z, base frame, metres."
    )
    upper: tuple[Metres, Metres, Metres] | None = Field(
        None, description="direct_bbox3d only: largest x, y, z, base frame, metres."
    )
    margins: Margins = Field(default=Margins(), description="Margin of each side, metres, none negative.")

    @model_validator(mode="after")
    def _has_what_its_mode_needs(self) -> "ExplorationBboxArgs":
        union = self.mode == "two_keypoint_union"
        if union and (self.keypoints is None or self.lower is not None or self.upper is not None):
            raise ValueError("two_keypoint_union takes keypoints (two labels), and neither lower nor upper")
        if not union and (self.keypoints is not None or self.lower is None or self.upper is None):
            raise ValueError("direct_bbox3d takes lower and upper, and no keypoints")
        return self


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What a call, or a sequence of calls, came to: a box or waypoints, and the sentence that says so."""

    text: str
    """For the transcript and for the model."""
    box: Box | None = None
    waypoints: tuple[Waypoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """One tool: its name, arguments, function and where it is allowed."""

    name: str
    args: type[Args]
    function: Callable[[Any, Scene, Keypoints], Box | tuple[Waypoint, ...]]
    modes: frozenset[Mode]

    @property
    def description(self) -> str:
        """What the tool does, for the model."""
        return (self.args.__doc__ or "").strip()


def _margin_array(margins: Margins) -> FloatArray:
    m = margins
    return np.array([[m.x_neg, m.x_pos], [m.y_neg, m.y_pos], [m.z_neg, m.z_pos]])


def tip_to_tcp(scene: Scene) -> FloatArray:
    """Return the vector from the tool's tip to the TCP for a tool that points straight down. Shape (3,), [m]."""
    return -TOOL_DOWN @ scene.p_tcp_tool


def _bbox(args: ExplorationBboxArgs, scene: Scene, keypoints: Keypoints) -> Box:
    if args.keypoints is not None:
        corners = [resolve_target(label, keypoints) for label in args.keypoints]
    else:
        corners = [np.array(args.lower), np.array(args.upper)]
    return exploration_bbox(args.mode, corners, _margin_array(args.margins), scene.workspace, offset=tip_to_tcp(scene))


def _grasp(args: GraspArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    return primitives.grasp(scene)


def _release(args: ReleaseArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    return primitives.release(scene)


def _move_delta(args: MoveDeltaArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    return primitives.move_delta(scene, (args.dx_m, args.dy_m, args.dz_m), yaw_rad=args.yaw_rad)


def _lift(args: LiftArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    return primitives.lift(scene, args.height_m)


def _translate(args: TranslateArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    target = resolve_target(args.target, keypoints, fraction=args.fraction)
    return primitives.translate(scene, target, height_m=args.height_m, yaw_rad=args.yaw_rad)


def _descend(args: DescendArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    target = resolve_target(args.target, keypoints, fraction=args.fraction)
    return primitives.descend(scene, target, height_m=args.height_m, guarded=args.guarded, yaw_rad=args.yaw_rad)


def _pre_grasp(args: PreGraspArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    target = resolve_target(args.target, keypoints)
    return primitives.pre_grasp(scene, target, height_m=args.height_m, yaw_rad=args.yaw_rad)


def _search(args: SearchArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    return primitives.search(
        scene,
        resolve_target(args.target, keypoints),
        radius_m=args.radius_m,
        pitch_m=args.pitch_m,
        push_m=args.push_m,
        depth_m=args.depth_m,
        yaw_rad=args.yaw_rad,
    )


_PRUNE: frozenset[Mode] = frozenset({"prune"})
_GUIDE: frozenset[Mode] = frozenset({"guide"})

TOOLS: Mapping[str, ToolSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ToolSpec(name="exploration_bbox", args=ExplorationBboxArgs, function=_bbox, modes=_PRUNE),
            ToolSpec(name="grasp", args=GraspArgs, function=_grasp, modes=_GUIDE),
            ToolSpec(name="release", args=ReleaseArgs, function=_release, modes=_GUIDE),
            ToolSpec(name="move_delta", args=MoveDeltaArgs, function=_move_delta, modes=_GUIDE),
            ToolSpec(name="lift", args=LiftArgs, function=_lift, modes=_GUIDE),
            ToolSpec(name="translate", args=TranslateArgs, function=_translate, modes=_GUIDE),
            ToolSpec(name="descend", args=DescendArgs, function=_descend, modes=_GUIDE),
            ToolSpec(name="pre_grasp", args=PreGraspArgs, function=_pre_grasp, modes=_GUIDE),
            ToolSpec(name="search", args=SearchArgs, function=_search, modes=_GUIDE),
        )
    }
)
"""Every tool by its name."""


def resolve_target(target: Target, keypoints: Keypoints, *, fraction: float = 0.5) -> FloatArray:
    """Return the position that a target names. Shape (3,), [m].

    A label, two labels (the point that lies a fraction of the way from the first to the second), or `<name>` where
    `<name>_left` and `<name>_right` are known (half-way between).

    Raises:
        ToolRetry: If a label is not known.
    """
    if not isinstance(target, str):
        first, second = (resolve_target(label, keypoints) for label in target)
        between: FloatArray = first + fraction * (second - first)
        return between
    label = find_label(target, keypoints)
    if label is not None:
        return np.array(keypoints[label].xyz, dtype=np.float64)
    left, right = (find_label(f"{target}_{side}", keypoints) for side in ("left", "right"))
    if left is not None and right is not None:
        return resolve_target((left, right), keypoints)
    known = ", ".join(sorted(keypoints)) or "none was found"
    raise ToolRetry(f"There is no keypoint {target!r}; known ones: {known}.", reason="unknown_keypoint")


def run_tool(
    name: str,
    arguments: Mapping[str, Any],
    scene: Scene,
    keypoints: Keypoints,
    *,
    mode: Mode | None = None,
    allowed: Iterable[str] | None = None,
    defaults: Defaults = MappingProxyType({}),
) -> ToolResult:
    """Return what a tool call comes to, after checking its name and arguments.

    Args:
        name: Name of the tool.
        arguments: As the model gave them.
        scene: Where the arm is. It is not changed.
        keypoints: Found keypoints by label.
        mode: Refuse tools of the other mode.
        allowed: Names that the task allows; all by default.
        defaults: What the task puts in place of the tools' own defaults.

    Raises:
        ToolRetry: If the tool is unknown or not allowed, or its arguments are; the message says which are.
    """
    names = allowed_tools(mode=mode, allowed=allowed)
    name = find_label(name, TOOLS) or name
    if name not in TOOLS:
        raise ToolRetry(f"There is no tool {name!r}; choose one of {', '.join(names)}.", reason="unknown_tool")
    if name not in names:
        raise ToolRetry(f"{name} is not allowed here; choose one of {', '.join(names)}.", reason="tool_not_allowed")
    spec = TOOLS[name]
    result = spec.function(_parse(spec, _filled(arguments, defaults.get(name, {}))), scene, keypoints)
    if isinstance(result, Box):
        return ToolResult(text=f"{name}: TCP confined to {format_ranges(result.lower, result.upper)}.", box=result)
    tip = _tip(result[-1], scene)
    return ToolResult(text=f"{name}: {len(result)} waypoints, tool tip to {format_point(tip)}.", waypoints=result)


def run_plan(
    calls: Sequence[ToolCall],
    scene: Scene,
    keypoints: Keypoints,
    *,
    mode: Mode | None = None,
    allowed: Iterable[str] | None = None,
    defaults: Defaults = MappingProxyType({}),
) -> ToolResult:
    """Return what several calls come to, each starting where the one before ends.

    Arguments and errors as in `run_tool`; several boxes are an error, since only one can hold.
    """
    names = None if allowed is None else tuple(allowed)
    texts: list[str] = []
    waypoints: list[Waypoint] = []
    box: Box | None = None
    last_tool = ""
    for call in calls:
        result = run_tool(call.name, call.arguments, scene, keypoints, mode=mode, allowed=names, defaults=defaults)
        if box is not None and result.box is not None:
            raise ToolRetry("Two boxes in one plan; give one exploration_bbox call.")
        box = result.box or box
        texts.append(result.text)
        if last_tool in BLEND_M and result.waypoints:
            waypoints[-1] = _blended(waypoints[-1], result.waypoints[0], BLEND_M[last_tool])
        last_tool = find_label(call.name, TOOLS) or call.name
        waypoints += result.waypoints
        if result.waypoints:
            last = result.waypoints[-1]
            scene = replace(scene, T_base_tcp=last.T_base_tcp, gripper_opening=last.gripper_opening)
    return ToolResult(text="\n".join(texts), box=box, waypoints=tuple(waypoints))


def _blended(waypoint: Waypoint, following: Waypoint, blend_m: float) -> Waypoint:
    """Return a waypoint that is passed without a stop, unless what follows moves the gripper or is too short for it."""
    way_m = float(np.linalg.norm(following.T_base_tcp[:3, 3] - waypoint.T_base_tcp[:3, 3]))
    if (waypoint.gripper_opening > 0.5) != (following.gripper_opening > 0.5):
        return waypoint
    return replace(waypoint, blend_m=min(blend_m, way_m / 2))


def allowed_tools(*, mode: Mode | None = None, allowed: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the names of the tools of a mode that a task allows."""
    of_task = set(TOOLS) if allowed is None else set(allowed)
    return tuple(name for name, spec in TOOLS.items() if name in of_task and (mode is None or mode in spec.modes))


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


def _tip(waypoint: Waypoint, scene: Scene) -> FloatArray:
    T = waypoint.T_base_tcp
    tip: FloatArray = T[:3, 3] + T[:3, :3] @ scene.p_tcp_tool
    return tip


def format_point(point: FloatArray) -> str:
    """Return a position of shape (3,), [m], as text with tenths of millimetres."""
    return f"x {point[0]:.4f}, y {point[1]:.4f}, z {point[2]:.4f} m"


def format_ranges(lower: FloatArray, upper: FloatArray) -> str:
    """Return the extent of a box, corners of shape (3,), [m], as text."""
    ranges = [f"{name} {low:.3f} to {high:.3f}" for name, low, high in zip("xyz", lower, upper, strict=True)]
    return ", ".join(ranges) + " m"
