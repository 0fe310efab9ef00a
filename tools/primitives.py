"""Motion primitives: a scene and a target in, waypoints out. Nothing here moves a robot.

Targets say where the tip of the tool shall go (`Scene.p_tcp_tool`; the TCP itself for bare fingers), in the base frame.
The tool points down, turned by `yaw_rad` about the vertical; yaw 0 is the task's nominal orientation.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rl.guard import MAX_TILT_RAD
from rl.transforms import TOOL_DOWN, matrix_to_rotvec, pose, rotvec_to_matrix
from rl.types import FloatArray, Motion, Waypoint
from tools.errors import ToolRetry
from tools.scene import Scene

MAX_YAW_RAD = MAX_TILT_RAD
"""Largest yaw, [rad]: the guard would shorten a larger one."""
MAX_HEIGHT_M = 0.20
MAX_DELTA_M = 0.10
MAX_SEARCH_RADIUS_M = 0.010
MIN_SEARCH_PITCH_M, MAX_SEARCH_PITCH_M = 0.0005, 0.004
MAX_PUSH_M = 0.003
"""Deepest push below the contact, [m]: stiffness turns more of it into damage."""
MAX_DEPTH_M = 0.030

HOVER_M = 0.006
PRE_GRASP_M = 0.03
SEARCH_RADIUS_M = 0.004
SEARCH_PITCH_M = 0.0012
"""Distance between turns, [m]: less than twice the 0.8 mm within which a lead-in of half a millimetre catches."""
SEARCH_ARC_M = 0.0010
"""Way along the spiral per control step, [m]. Faster spirals pass over the hole before the plug can drop."""
SEARCH_PUSH_M = 0.0014
INSERT_DEPTH_M = 0.012
FREE_STEP_M = 0.030
"""Longest free move per control step, [m]: as fast as the task's action allows."""
GUARDED_STEP_M = 0.008
INSERT_STEP_M = 0.010
GUARDED_OVERTRAVEL_M = 0.004
"""A guarded move is commanded this far below its target, [m], so that contact ends it although depth is a bit wrong."""
CLEAR_M = 0.004
"""Sideways moves longer than this start above the target's height, [m]."""


def grasp(scene: Scene) -> tuple[Waypoint, ...]:
    """Close the gripper where it is."""
    return (Waypoint(T_base_tcp=_present(scene), gripper_opening=0.0),)


def release(scene: Scene) -> tuple[Waypoint, ...]:
    """Open the gripper where it is."""
    return (Waypoint(T_base_tcp=_present(scene), gripper_opening=1.0),)


def move_delta(scene: Scene, delta_m: npt.ArrayLike, *, yaw_rad: float = 0.0) -> tuple[Waypoint, ...]:
    """Move by a translation in base axes, shape (3,), [m], and turn by a yaw, [rad], from the present pose."""
    delta = _finite("delta_m", delta_m)
    largest = float(np.max(np.abs(delta)))
    if largest > MAX_DELTA_M:
        raise ToolRetry(f"delta_m {largest:.3f} m exceeds {MAX_DELTA_M:.2f} m along an axis; move in smaller steps.")
    _check_yaw(yaw_rad)
    T = _present(scene)
    rotation = rotvec_to_matrix(np.array([0.0, 0.0, yaw_rad])) @ T[:3, :3]
    before_rad, after_rad = _tilt_rad(T[:3, :3]), _tilt_rad(rotation)
    if after_rad > max(MAX_YAW_RAD, before_rad) + 1e-6:  # the guard would stop it half-way
        raise ToolRetry(
            f"yaw_rad {yaw_rad:g} would turn the tool {after_rad:.2f} rad away from pointing down and being aligned, "
            f"where it is {before_rad:.2f} rad away already; the limit is {MAX_YAW_RAD:g} rad."
        )
    return (_waypoint(scene, T[:3, 3] + delta + T[:3, :3] @ scene.p_tcp_tool, rotation),)


def lift(scene: Scene, height_m: float) -> tuple[Waypoint, ...]:
    """Move straight up by a height, [m]."""
    _check("height_m", height_m, 0.0, MAX_HEIGHT_M)
    T = _present(scene)
    tip = T[:3, 3] + T[:3, :3] @ scene.p_tcp_tool
    return (_waypoint(scene, tip + np.array([0.0, 0.0, height_m]), T[:3, :3]),)


def translate(
    scene: Scene, target: npt.ArrayLike, *, height_m: float = HOVER_M, yaw_rad: float = 0.0
) -> tuple[Waypoint, ...]:
    """Move the tip above a target: up first when it is too low, then across.

    Args:
        scene: Where the arm is.
        target: Base frame. Shape (3,), [m].
        height_m: Height of the tip above the target at the end, [m].
        yaw_rad: Yaw at the end, [rad].
    """
    _check("height_m", height_m, 0.0, MAX_HEIGHT_M)
    hover = _finite("target", target) + np.array([0.0, 0.0, height_m])
    T = _present(scene)
    tip = T[:3, 3] + T[:3, :3] @ scene.p_tcp_tool
    across = _waypoint(scene, hover, _tool_down(yaw_rad))
    too_low = tip[2] < hover[2] - 1e-3 and float(np.linalg.norm(hover[:2] - tip[:2])) > CLEAR_M
    if not too_low:
        return (across,)
    up = np.array([tip[0], tip[1], hover[2]])
    return (_waypoint(scene, up, T[:3, :3]), across)


def descend(
    scene: Scene, target: npt.ArrayLike, *, height_m: float = 0.0, guarded: bool = True, yaw_rad: float = 0.0
) -> tuple[Waypoint, ...]:
    """Move the tip straight above a target down to a height over it.

    A guarded descent is commanded 4 mm deeper, as far as the workspace allows, and ends on contact.

    Args:
        scene: Where the arm is.
        target: Base frame. Shape (3,), [m].
        height_m: Height of the tip above the target at the end, [m].
        guarded: Stop on contact.
        yaw_rad: Yaw, [rad].
    """
    _check("height_m", height_m, 0.0, MAX_HEIGHT_M)
    end = _finite("target", target) + np.array([0.0, 0.0, height_m])
    rotation = _tool_down(yaw_rad)
    if not guarded:
        return (_waypoint(scene, end, rotation),)
    return (_below(scene, end, rotation, GUARDED_OVERTRAVEL_M, motion="guarded", max_step_m=GUARDED_STEP_M),)


def pre_grasp(
    scene: Scene, target: npt.ArrayLike, *, height_m: float = PRE_GRASP_M, yaw_rad: float = 0.0
) -> tuple[Waypoint, ...]:
    """Open the gripper and move the tip above a target that shall be grasped. Arguments as in `translate`."""
    moves = translate(scene, target, height_m=height_m, yaw_rad=yaw_rad)
    return tuple(Waypoint(T_base_tcp=w.T_base_tcp, gripper_opening=1.0, max_step_m=w.max_step_m) for w in moves)


def search(
    scene: Scene,
    center: npt.ArrayLike,
    *,
    radius_m: float = SEARCH_RADIUS_M,
    pitch_m: float = SEARCH_PITCH_M,
    push_m: float = SEARCH_PUSH_M,
    depth_m: float = INSERT_DEPTH_M,
    yaw_rad: float = 0.0,
) -> tuple[Waypoint, ...]:
    """Go into a hole near a point: straight in; on contact a growing spiral with a light push, then in at the drop.

    The spiral is Archimedean, r = pitch / (2 pi) theta, one waypoint per `SEARCH_ARC_M` of way; whoever follows it
    stops at the drop and presses in there.

    Args:
        scene: Where the arm is.
        center: Where the hole should be, at the height of its rim, base frame. Shape (3,), [m].
        radius_m: Radius of the spiral's last turn, [m].
        pitch_m: Distance between turns, [m].
        push_m: How far below the contact the target is commanded, [m].
        depth_m: How far below the rim the tip is pressed in after the drop, [m]; 0 stops at the drop.
        yaw_rad: Yaw, [rad].
    """
    _check("radius_m", radius_m, SEARCH_ARC_M, MAX_SEARCH_RADIUS_M)
    _check("pitch_m", pitch_m, MIN_SEARCH_PITCH_M, MAX_SEARCH_PITCH_M)
    _check("push_m", push_m, 0.0, MAX_PUSH_M)
    _check("depth_m", depth_m, 0.0, MAX_DEPTH_M)
    middle = _finite("center", center)
    rotation = _tool_down(yaw_rad)
    reach = max(depth_m, GUARDED_OVERTRAVEL_M)
    waypoints = [_below(scene, middle, rotation, reach, motion="guarded", max_step_m=GUARDED_STEP_M)]
    tips = middle + np.pad(spiral(radius_m, pitch_m, SEARCH_ARC_M), ((0, 0), (0, 1)))
    waypoints += _path(scene, tips, rotation, motion="search", max_step_m=INSERT_STEP_M, push_m=push_m)
    if depth_m > 0:
        waypoints.append(_below(scene, middle, rotation, depth_m, max_step_m=INSERT_STEP_M))
    return tuple(waypoints)


@lru_cache(maxsize=64)
def spiral(radius_m: float, pitch_m: float, arc_m: float) -> FloatArray:
    """Return points of an Archimedean spiral about the origin, equally far apart along it. Shape (n, 2), [m].

    r = b theta with b = pitch / (2 pi); way s(theta) = b/2 (theta sqrt(1 + theta^2) + asinh theta), inverted on a grid.
    """
    b = pitch_m / (2 * math.pi)
    theta_grid = np.linspace(0.0, radius_m / b, 4096)
    way = b / 2 * (theta_grid * np.sqrt(1 + theta_grid**2) + np.arcsinh(theta_grid))
    theta = np.interp(np.arange(arc_m, way[-1], arc_m), way, theta_grid)
    points: FloatArray = b * theta[:, np.newaxis] * np.column_stack([np.cos(theta), np.sin(theta)])
    points.setflags(write=False)  # kept for the next question
    return points


def _present(scene: Scene) -> FloatArray:
    """Return the measured TCP pose, moved onto the workspace where measuring noise put it outside. Shape (4, 4)."""
    return pose(scene.workspace.project(scene.T_base_tcp[:3, 3]), scene.T_base_tcp[:3, :3])


def _tilt_rad(rotation: FloatArray) -> float:
    """Return how far an orientation (3, 3) is from pointing straight down and aligned, a geodesic angle, [rad]."""
    return float(np.linalg.norm(matrix_to_rotvec(rotation @ TOOL_DOWN.T)))


def _tool_down(yaw_rad: float) -> FloatArray:
    """Return the rotation of a TCP that points down, turned by a yaw. Shape (3, 3)."""
    _check_yaw(yaw_rad)
    return rotvec_to_matrix(np.array([0.0, 0.0, yaw_rad])) @ TOOL_DOWN


def _waypoint(
    scene: Scene,
    tip: FloatArray,
    rotation: FloatArray,
    *,
    motion: Motion = "free",
    max_step_m: float = FREE_STEP_M,
    push_m: float = 0.0,
) -> Waypoint:
    """Return the waypoint that brings the tip to a point, (3,), [m].

    Raises:
        ToolRetry: If the TCP would leave the workspace.
    """
    return _path(scene, tip[np.newaxis], rotation, motion=motion, max_step_m=max_step_m, push_m=push_m)[0]


def _path(
    scene: Scene,
    tips: FloatArray,
    rotation: FloatArray,
    *,
    motion: Motion = "free",
    max_step_m: float = FREE_STEP_M,
    push_m: float = 0.0,
) -> list[Waypoint]:
    """Return the waypoints that bring the tip to points in turn. Shape (N, 3), [m].

    Raises:
        ToolRetry: If the TCP would leave the workspace.
    """
    p_tcp = tips - rotation @ scene.p_tcp_tool
    inside = scene.workspace.project(p_tcp)
    for index in np.flatnonzero((inside != p_tcp).any(axis=1)):
        _refuse_outside(scene, tips[index], p_tcp[index])
    poses = np.tile(np.eye(4), (len(tips), 1, 1))
    poses[:, :3, :3] = rotation
    poses[:, :3, 3] = inside
    opening = scene.gripper_opening
    return [
        Waypoint(T_base_tcp=T, gripper_opening=opening, motion=motion, max_step_m=max_step_m, push_m=push_m)
        for T in poses
    ]


def _refuse_outside(scene: Scene, tip: FloatArray, p_tcp: FloatArray) -> None:
    """Raise `ToolRetry` for a TCP that is outside of the workspace by more than rounding."""
    for axis, name in enumerate("xyz"):
        lower, upper = scene.workspace.lower[axis], scene.workspace.upper[axis]
        beyond = max(lower - p_tcp[axis], p_tcp[axis] - upper)
        if beyond > 1e-9:
            sign, relation = ("+", "<=") if p_tcp[axis] > upper else ("-", ">=")
            limit = (upper if p_tcp[axis] > upper else lower) + tip[axis] - p_tcp[axis]
            raise ToolRetry(
                f"Tool tip target ({tip[0]:.3f}, {tip[1]:.3f}, {tip[2]:.3f}) m is {beyond * 1000:.1f} mm outside the "
                f"workspace along {sign}{name}; ask for {name} {relation} {limit:.3f} m.",
                reason="outside_workspace",
            )


def _below(
    scene: Scene, tip: FloatArray, rotation: FloatArray, depth_m: float, *, max_step_m: float, motion: Motion = "free"
) -> Waypoint:
    """Return the waypoint a depth below a point, as far as the workspace's floor allows; the point itself must fit."""
    room = _waypoint(scene, tip, rotation).T_base_tcp[2, 3] - scene.workspace.lower[2]
    down = np.array([0.0, 0.0, min(depth_m, float(room))])
    return _waypoint(scene, tip - down, rotation, motion=motion, max_step_m=max_step_m)


def _finite(name: str, value: npt.ArrayLike) -> FloatArray:
    """Return a vector of three finite numbers."""
    try:
        vector = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ToolRetry(f"{name} {value!r} is not a point; give three numbers in metres.") from error
    if vector.shape != (3,) or not np.all(np.isfinite(vector)):
        raise ToolRetry(f"{name} {vector.tolist()} is not a point; give three finite numbers in metres.")
    return vector


def _check(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:  # also refuses NaN
        raise ToolRetry(f"{name} {value:g} m is out of range; give {lowest:g} to {highest:g} m.")


def _check_yaw(yaw_rad: float) -> None:
    if not abs(yaw_rad) <= MAX_YAW_RAD:
        raise ToolRetry(f"yaw_rad {yaw_rad:g} is out of range; give -{MAX_YAW_RAD} to {MAX_YAW_RAD} rad.")
