"""Poses of the hand from which the board is seen well and from many directions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rl.robots.calibration.board import CharucoBoard, Sighting
from rl.robots.calibration.views import CalibrationError, View, coverage
from rl.robots.station import Mount
from rl.transforms import invert, matrix_to_rotvec, pose, rotvec_to_matrix
from rl.types import Box, FloatArray

FIRST_TURN_RAD = 0.14
"""Turn of the first poses, before anything is known about the camera: 8 degrees keep the board in view, [rad]."""
_CANDIDATES = 6000
_LARGEST_TILT_RAD = 0.9
"""Between the board's normal and the optical axis: beyond it crossings are read badly, [rad]."""
_NEAREST_M = 0.12
"""Camera to board plane, [m]."""
_FLOOR_M = 0.02
"""Lowest place of a board in the hand in the base frame, unless the workspace goes lower still, [m]."""
_MARGIN = 0.03
"""Part of the image at each side that stays free of crossings."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What decides where the hand may go."""

    board: CharucoBoard
    mount: Mount
    K: FloatArray
    """Shape (3, 3), [px]."""
    distortion: FloatArray
    """Shape (5,)."""
    width: int
    height: int
    """Of the image, [px]."""
    workspace: Box
    """The TCP stays inside; a board in the hand stays above its floor."""
    reach_m: float = 0.12
    """Farthest from the start pose along each axis, [m]."""
    turn_rad: float = 0.48
    """Largest rotation from the start pose, [rad]."""


def first_poses(T_base_tcp: FloatArray) -> list[FloatArray]:
    """Return six small turns of the hand about its own axes, (4, 4) each, neighbours near each other."""
    turns = [sign * FIRST_TURN_RAD * axis for sign in (1.0, -1.0) for axis in np.eye(3)]
    return [pose(T_base_tcp[:3, 3], T_base_tcp[:3, :3] @ rotvec_to_matrix(turn)) for turn in turns]


def plan_poses(
    plan: Plan,
    *,
    T_base_tcp: FloatArray,
    reaches: Callable[[FloatArray], bool],
    T_mount_cam: FloatArray,
    T_other_board: FloatArray,
    taken: Sequence[View],
    count: int,
    rng: np.random.Generator,
) -> list[FloatArray]:
    """Return TCP poses around the present one that see the whole board and differ as much as possible.

    Draws poses at random, keeps those that `_sees` accepts, and picks one after the other the one that is farthest from
    all views and picks before, in turn, place in the image and distance. Their order is a short path.

    Args:
        plan: Limits.
        T_base_tcp: Where the hand is. Shape (4, 4), [m].
        reaches: Whether the arm can go to a pose from there.
        T_mount_cam: Rough camera pose. Shape (4, 4), [m].
        T_other_board: Rough pose of the board in the other frame. Shape (4, 4), [m].
        taken: Views that will be used too.
        count: Poses to return.
        rng: Source of the candidates.

    Raises:
        CalibrationError: If too few poses see the board, or they would not determine a calibration.
    """
    candidates = []
    for _ in range(_CANDIDATES):
        shift = rng.uniform(-plan.reach_m, plan.reach_m, 3)
        axis = rng.normal(size=3)
        turn = axis / np.linalg.norm(axis) * plan.turn_rad * np.sqrt(rng.uniform())
        T = pose(T_base_tcp[:3, 3] + shift, T_base_tcp[:3, :3] @ rotvec_to_matrix(turn))
        if not plan.workspace.contains(T[:3, 3]):
            continue
        if _sees(plan, T, T_mount_cam, T_other_board):
            candidates.append(T)
    known = [_feature(plan, view.T_base_tcp, T_base_tcp, T_mount_cam, T_other_board) for view in taken]
    features = [_feature(plan, T, T_base_tcp, T_mount_cam, T_other_board) for T in candidates]
    chosen = _farthest(candidates, np.array(features), np.array(known), count, reaches) if candidates else []
    _check_plan(plan, chosen, count, taken, T_mount_cam, T_other_board)
    return _short_path(T_base_tcp, chosen)


def board_in_camera(
    mount: Mount, T_base_tcp: FloatArray, T_mount_cam: FloatArray, T_other_board: FloatArray
) -> FloatArray:
    """Return T_cam_board (4, 4), [m], for a pose of the hand."""
    T_mount_other = invert(T_base_tcp) if mount == "hand" else T_base_tcp
    return np.asarray(invert(T_mount_cam) @ T_mount_other @ T_other_board)


def _project(plan: Plan, T_cam_board: FloatArray) -> FloatArray:
    points = plan.board.points @ T_cam_board[:3, :3].T + T_cam_board[:3, 3]
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), plan.K, plan.distortion)
    return np.asarray(pixels.reshape(-1, 2))


def _sees(plan: Plan, T_base_tcp: FloatArray, T_mount_cam: FloatArray, T_other_board: FloatArray) -> bool:
    """Return whether the whole board is in the image, not too near, not too oblique, and above the floor."""
    T = board_in_camera(plan.mount, T_base_tcp, T_mount_cam, T_other_board)
    in_front = T[:3, :3] @ plan.board.centre + T[:3, 3]
    if invert(T)[2, 3] > -_NEAREST_M or T[2, 2] < np.cos(_LARGEST_TILT_RAD) or in_front[2] < _NEAREST_M:
        return False
    if plan.mount == "world":
        outline = plan.board.outline @ T_other_board[:3, :3].T + T_other_board[:3, 3]
        heights = outline @ T_base_tcp[2, :3] + T_base_tcp[2, 3]
        if heights.min() < min(plan.workspace.lower[2], _FLOOR_M):
            return False
    pixels = _project(plan, T) / [plan.width, plan.height]
    return bool(np.all(pixels > _MARGIN) and np.all(pixels < 1.0 - _MARGIN))


def _feature(
    plan: Plan, T_base_tcp: FloatArray, T_start: FloatArray, T_mount_cam: FloatArray, T_other_board: FloatArray
) -> FloatArray:
    """Return what makes a view different from others: turn (3), place in the image (2), log distance; all about 1."""
    T = board_in_camera(plan.mount, T_base_tcp, T_mount_cam, T_other_board)
    turn = matrix_to_rotvec(T_start[:3, :3].T @ T_base_tcp[:3, :3]) / plan.turn_rad
    middle = 2.0 * (_project(plan, T) / [plan.width, plan.height]).mean(axis=0) - 1.0
    return np.array([*turn, *middle, np.log(np.linalg.norm(T[:3, :3] @ plan.board.centre + T[:3, 3]))])


def _farthest(
    candidates: Sequence[FloatArray],
    features: FloatArray,
    known: FloatArray,
    count: int,
    reaches: Callable[[FloatArray], bool],
) -> list[FloatArray]:
    """Return up to `count` candidates that the arm reaches, each farthest from those before (Gonzalez 1985)."""
    chosen: list[FloatArray] = []
    distance = np.linalg.norm(features[:, None] - known[None], axis=2).min(axis=1)
    while len(chosen) < count and distance.max() > 0.0:
        best = int(np.argmax(distance))
        if reaches(candidates[best]):
            chosen.append(candidates[best])
            distance = np.minimum(distance, np.linalg.norm(features - features[best], axis=1))
        distance[best] = 0.0
    return chosen


def _check_plan(
    plan: Plan,
    poses: Sequence[FloatArray],
    count: int,
    taken: Sequence[View],
    T_mount_cam: FloatArray,
    T_other_board: FloatArray,
) -> None:
    """Refuse a plan that cannot give a calibration, before the arm moves far."""
    advice = "start with the whole board in the middle of the image and room around the TCP, or use --guided"
    if len(poses) < count:
        raise CalibrationError(
            f"Only {len(poses)} of {count} poses inside the workspace around the present one see the whole board; "
            f"{advice}."
        )
    ids = np.arange(len(plan.board.points))
    views = [*taken]
    for T in poses:
        corners = _project(plan, board_in_camera(plan.mount, T, T_mount_cam, T_other_board))
        views.append(View(T_base_tcp=T, sighting=Sighting(ids=ids, corners=corners)))
    missing = coverage(views, width=plan.width, height=plan.height).missing()
    if missing is not None:
        raise CalibrationError(f"The poses that are possible from here do not do; {advice}. {missing}")


def _short_path(T_base_tcp: FloatArray, poses: Sequence[FloatArray]) -> list[FloatArray]:
    """Return the poses in the order of always going to the nearest; a radian counts as 0.2 m."""
    rest, path, here = list(poses), [], T_base_tcp
    while rest:
        away = [
            np.linalg.norm(T[:3, 3] - here[:3, 3]) + 0.2 * np.linalg.norm(matrix_to_rotvec(here[:3, :3].T @ T[:3, :3]))
            for T in rest
        ]
        here = rest.pop(int(np.argmin(away)))
        path.append(here)
    return path
