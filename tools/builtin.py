"""Our own tools that help: a box, and motions. Each is a name, a model of arguments and a function."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rl.types import Box, Waypoint
from tools import primitives, schemas
from tools.geometry import exploration_bbox
from tools.scene import Scene, tip_to_tcp
from tools.spec import Args, ToolFunction, ToolSpec
from tools.targets import Keypoints, line_yaw, resolve_target


def _bbox(args: schemas.ExplorationBboxArgs, scene: Scene, keypoints: Keypoints) -> Box:
    m = args.margins
    margins = np.array([[m.x_neg, m.x_pos], [m.y_neg, m.y_pos], [m.z_neg, m.z_pos]])
    if args.keypoints is not None:
        corners = [resolve_target(label, keypoints) for label in args.keypoints]
    else:
        corners = [np.array(args.lower), np.array(args.upper)]
    return exploration_bbox(args.mode, corners, margins, scene.workspace, offset=tip_to_tcp(scene))


def _move_delta(args: schemas.MoveDeltaArgs, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
    return primitives.move_delta(scene, (args.dx_m, args.dy_m, args.dz_m), yaw_rad=args.yaw_rad)


def _motion(primitive: Callable[..., tuple[Waypoint, ...]]) -> ToolFunction:
    """Return a primitive as a tool: a target becomes the point that it names, a line the yaw that goes with it.

    Other arguments keep their names.
    """

    def function(args: Args, scene: Scene, keypoints: Keypoints) -> tuple[Waypoint, ...]:
        given: dict[str, Any] = dict(args)
        if (line := given.pop("along", None)) is not None:
            given["yaw_rad"] = line_yaw(line, keypoints)
        if "target" not in given:
            return primitive(scene, **given)
        target = resolve_target(given.pop("target"), keypoints, fraction=given.pop("fraction", 0.5))
        return primitive(scene, target, **given)

    return function


EXPLORATION_BBOX = ToolSpec(name="exploration_bbox", args=schemas.ExplorationBboxArgs, function=_bbox, gives="box")
GRASP = ToolSpec(name="grasp", args=schemas.GraspArgs, function=_motion(primitives.grasp), gives="waypoints")
RELEASE = ToolSpec(name="release", args=schemas.ReleaseArgs, function=_motion(primitives.release), gives="waypoints")
MOVE_DELTA = ToolSpec(
    name="move_delta", args=schemas.MoveDeltaArgs, function=_move_delta, gives="waypoints", blend_m=0.010
)
LIFT = ToolSpec(name="lift", args=schemas.LiftArgs, function=_motion(primitives.lift), gives="waypoints", blend_m=0.030)
TRANSLATE = ToolSpec(
    name="translate",
    args=schemas.TranslateArgs,
    function=_motion(primitives.translate),
    gives="waypoints",
    blend_m=0.010,
)
DESCEND = ToolSpec(name="descend", args=schemas.DescendArgs, function=_motion(primitives.descend), gives="waypoints")
PRE_GRASP = ToolSpec(
    name="pre_grasp",
    args=schemas.PreGraspArgs,
    function=_motion(primitives.pre_grasp),
    gives="waypoints",
    blend_m=0.015,
)
SEARCH = ToolSpec(name="search", args=schemas.SearchArgs, function=_motion(primitives.search), gives="waypoints")
