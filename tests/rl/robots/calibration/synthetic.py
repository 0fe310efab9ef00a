"""Board views whose truth is known: crossings projected with numpy, or whole images drawn by warping the board."""

import time

import cv2
import numpy as np

from rl.robots.base import CameraFrame, CameraInfo
from rl.robots.calibration.board import CharucoBoard, Sighting
from rl.robots.calibration.views import View
from rl.robots.franka.joints import reaches
from rl.robots.panda import HOME_Q
from rl.robots.station import Mount
from rl.transforms import apply_delta, invert, pose, rotvec_to_matrix
from rl.types import ByteArray, FloatArray

WIDTH, HEIGHT = 640, 480
K = np.array([[610.0, 0.0, 322.0], [0.0, 611.0, 238.0], [0.0, 0.0, 1.0]])
DISTORTION = np.array([0.08, -0.15, 0.001, -0.0005, 0.05])
BOARD = CharucoBoard()

T_TCP_CAM = pose(np.array([0.06, 0.01, -0.05]), rotvec_to_matrix(np.array([0.1, -0.25, 0.6])))
T_BASE_CAM = pose(
    np.array([1.1, 0.1, 0.45]),
    np.array([[0.0, 0.5, -0.8660254], [1.0, 0.0, 0.0], [0.0, -0.8660254, -0.5]]),
)
"""Opposite the arm, looking back and 30 degrees down."""


def poses_of_the_hand(mount: Mount, count: int, rng: np.random.Generator) -> tuple[list[FloatArray], FloatArray]:
    """Return TCP poses from which the board is seen about in the middle, and T_other_board."""
    centred = pose(-BOARD.centre)
    poses = []
    T_other_board = pose(np.array([0.5, 0.0, 0.0]), rotvec_to_matrix(np.array([np.pi, 0.0, 0.3]))) @ centred
    if mount == "world":
        T_other_board = pose(np.array([0.0, 0.02, 0.06]), rotvec_to_matrix(np.array([0.2, 0.0, 0.0]))) @ centred
    for _ in range(count):
        turn = rotvec_to_matrix(rng.uniform(-0.45, 0.45, 3))
        distance = rng.uniform(0.28, 0.36) if mount == "hand" else rng.uniform(0.5, 0.7)
        shift = rng.uniform(-0.12, 0.12, 2) * distance
        T_cam_board = pose(np.array([*shift, distance]), turn) @ centred
        if mount == "hand":
            poses.append(T_other_board @ invert(T_cam_board) @ invert(T_TCP_CAM))
        else:
            poses.append(T_BASE_CAM @ T_cam_board @ invert(T_other_board))
    return poses, T_other_board


def board_in_camera(mount: Mount, T_base_tcp: FloatArray, T_other_board: FloatArray) -> FloatArray:
    if mount == "hand":
        return invert(T_base_tcp @ T_TCP_CAM) @ T_other_board
    return invert(T_BASE_CAM) @ T_base_tcp @ T_other_board


def truth(mount: Mount) -> FloatArray:
    return T_TCP_CAM if mount == "hand" else T_BASE_CAM


def project(T_cam_board: FloatArray) -> FloatArray:
    points = BOARD.points @ T_cam_board[:3, :3].T + T_cam_board[:3, 3]
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, DISTORTION)
    return np.asarray(pixels.reshape(-1, 2))


def make_views(
    mount: Mount,
    count: int,
    rng: np.random.Generator,
    *,
    noise_px: float = 0.1,
    arm_noise: tuple[float, float] = (1e-4, 2e-4),
) -> list[View]:
    """Return views with noise on the crossings, [px], and on the arm's poses, [m] and [rad]."""
    poses, T_other_board = poses_of_the_hand(mount, count, rng)
    views = []
    for T_base_tcp in poses:
        corners = project(board_in_camera(mount, T_base_tcp, T_other_board))
        corners = corners + rng.normal(0.0, noise_px, corners.shape)
        inside = np.all((corners > 2.0) & (corners < [WIDTH - 3.0, HEIGHT - 3.0]), axis=1)
        sighting = Sighting(ids=np.flatnonzero(inside), corners=corners[inside])
        measured = apply_delta(T_base_tcp, rng.normal(0.0, 1.0, 6) * np.repeat(arm_noise, 3))
        views.append(View(T_base_tcp=measured, sighting=sighting))
    return views


def draw(T_cam_board: FloatArray) -> ByteArray:
    """Return what a camera without distortion sees: the board on grey paper with a white margin. (HEIGHT, WIDTH, 3)."""
    pixels, scale = 120, 3
    margin = 10
    picture = np.pad(BOARD.image(pixels), margin, constant_values=255)
    # Pixel (i, j) of the picture is the point ((j + 0.5 - margin), (i + 0.5 - margin)) / pixels squares of the board.
    to_board = np.diag([BOARD.square_m / pixels] * 2 + [1.0])
    to_board[:2, 2] = (0.5 - margin) * BOARD.square_m / pixels
    fine = np.array([[scale, 0.0, (scale - 1) / 2], [0.0, scale, (scale - 1) / 2], [0.0, 0.0, 1.0]])
    homography = fine @ K @ T_cam_board[:3, [0, 1, 3]] @ to_board
    size = (scale * WIDTH, scale * HEIGHT)
    large = cv2.warpPerspective(picture, homography, size, flags=cv2.INTER_AREA, borderValue=110)
    small = cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.repeat(small[..., None], 3, axis=2)


class DrawnCell:
    """An arm that is where it was told, and a camera that draws the board from there."""

    def __init__(self, mount: Mount, T_base_tcp: FloatArray, T_other_board: FloatArray) -> None:
        self.mount, self.T_base_tcp, self.T_other_board = mount, T_base_tcp, T_other_board
        self.visited: list[FloatArray] = []
        self.info = CameraInfo(
            name="wrist_1",
            serial="123",
            model="drawn",
            width=WIDTH,
            height=HEIGHT,
            depth_unit_m=1e-3,
            K=K,
            distortion=np.zeros(5),
        )

    def measure(self) -> "DrawnCell":
        return self

    def reaches(self, T_base_tcp: FloatArray) -> bool:
        return reaches(T_base_tcp, np.array(HOME_Q))

    def move_to(self, T_base_tcp: FloatArray, *, speed_m_s: float = 0.1) -> None:
        self.T_base_tcp = T_base_tcp
        self.visited.append(T_base_tcp)

    def latest(self, *, max_age_s: float | None = None) -> CameraFrame:
        return self.wait_newer(0.0)

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> CameraFrame:
        rgb = draw(board_in_camera(self.mount, self.T_base_tcp, self.T_other_board))
        depth_m = np.zeros((HEIGHT, WIDTH), np.float32)
        return CameraFrame(rgb=rgb, depth_m=depth_m, time_s=time.monotonic(), number=len(self.visited))

    def close(self) -> None:
        pass
