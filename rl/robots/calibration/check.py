"""Whether a calibration belongs to a camera, is recent, and is right where the board lies."""

from datetime import UTC, datetime

import numpy as np

from rl.errors import ConfigError
from rl.robots.base import CameraInfo
from rl.robots.calibration.board import CharucoBoard, Sighting
from rl.robots.calibration.views import locate_board
from rl.robots.cameras.calibration import CameraCalibration
from rl.robots.station import Mount
from rl.types import Box, FloatArray

MAX_AGE_DAYS = 90
"""A camera that was not touched keeps its place; few stay untouched for longer, [days]."""
MAX_GOOD_MM = 3.0
"""Held-out error that the tasks bear: boxes have margins of 10 mm and more, [mm]."""


def misfits(calibration: CameraCalibration, *, serial: str, width: int, height: int, mount: Mount) -> list[str]:
    """Return why a calibration does not belong to a camera as it streams now, one sentence each; empty if it does."""
    again = f"run `agps calibrate {calibration.camera}` again"
    sentences = []
    if calibration.serial != serial:
        sentences.append(
            f"The calibration is of the camera with serial {calibration.serial}, and this one has {serial}; {again}."
        )
    if (calibration.width, calibration.height) != (width, height):
        sentences.append(
            f"The calibration is of {calibration.width}x{calibration.height} images, and the camera sends "
            f"{width}x{height}; set that profile in the station file, or {again}."
        )
    if calibration.mount != mount:
        sentences.append(
            f"The calibration is for the mount {calibration.mount!r}, and the station says {mount!r}; correct the "
            f"station file, or {again}."
        )
    return sentences


def doubts(calibration: CameraCalibration, *, now: datetime | None = None) -> list[str]:
    """Return what speaks against trusting a calibration though it fits: its age and its residual, one sentence each."""
    again = f"run `agps calibrate {calibration.camera}` again"
    sentences = []
    try:
        made = datetime.fromisoformat(calibration.date)
    except ValueError:
        return [f"The calibration has no readable date ({calibration.date!r}); {again}."]
    if made.tzinfo is None:
        made = made.replace(tzinfo=UTC)
    days = ((now or datetime.now(UTC)) - made).days
    if days > MAX_AGE_DAYS:
        sentences.append(f"The calibration is {days} days old, more than {MAX_AGE_DAYS}; check it, or {again}.")
    if calibration.residual_mm > MAX_GOOD_MM:
        sentences.append(
            f"The calibration was off by {calibration.residual_mm:.1f} mm on held-out views, more than "
            f"{MAX_GOOD_MM:g}; {again} with more views, nearer to the board."
        )
    return sentences


def board_in_base(
    board: CharucoBoard,
    sighting: Sighting,
    info: CameraInfo,
    calibration: CameraCalibration,
    T_base_tcp: FloatArray,
) -> FloatArray:
    """Return T_base_board (4, 4), [m], from one image, the calibration and the arm's pose.

    Raises:
        CalibrationError: If too little of the board is seen.
    """
    T_cam_board = locate_board(board, sighting, info.K, info.distortion)
    T_base_cam = T_base_tcp @ calibration.T if calibration.mount == "hand" else calibration.T
    return np.asarray(T_base_cam @ T_cam_board)


def hover_path(
    point: FloatArray, *, T_base_tcp: FloatArray, height_m: float, workspace: Box
) -> tuple[FloatArray, FloatArray]:
    """Return two poses that bring the TCP above a point: across at the greater height, then down; turned as it is.

    Args:
        point: In the base frame. Shape (3,), [m].
        T_base_tcp: Where the hand is. Shape (4, 4), [m].
        height_m: Above the point, [m].
        workspace: Where the TCP may go.

    Raises:
        ConfigError: If the place is outside the workspace.
    """
    above, across = T_base_tcp.copy(), T_base_tcp.copy()
    above[:3, 3] = point + [0.0, 0.0, height_m]
    across[:3, 3] = [point[0], point[1], max(above[2, 3], T_base_tcp[2, 3])]
    for T in (across, above):
        if not workspace.contains(T[:3, 3]):
            x, y, z = T[:3, 3]
            outside = 1e3 * np.linalg.norm(T[:3, 3] - workspace.project(T[:3, 3]))
            raise ConfigError(
                f"({x:.3f}, {y:.3f}, {z:.3f}) m above the board's origin is {outside:.0f} mm outside the workspace; "
                "move the board, or ask for another --hover-mm."
            )
    return across, above
