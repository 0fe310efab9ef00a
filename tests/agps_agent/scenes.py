"""A drawn scene for tests of the agent: a port on a dark housing, with depth, and where its points really are."""

import copy
from functools import cache

import cv2
import numpy as np

from rl.types import Box, FloatArray, RGBDFrame
from tools.memory import Target
from tools.memory.look import cut_patch
from tools.scene import Scene

PORT = np.array([0.5, 0.0, 0.05])
LEFT, RIGHT = PORT + [0, -0.0088, 0], PORT + [0, 0.0088, 0]
SIZE = (480, 640)
FINE = 4


def camera(azimuth_rad: float = 0.0, *, name: str = "side", distance_m: float = 0.42) -> RGBDFrame:
    """A camera 45 degrees above the port, without an image yet."""
    away = np.array([np.cos(azimuth_rad), np.sin(azimuth_rad), 1.0]) / np.sqrt(2)
    z = -away
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    T[:3, 3] = PORT + distance_m * away
    K = np.array([[660.0, 0, 319.5], [0, 660.0, 239.5], [0, 0, 1]])
    return RGBDFrame(
        name=name, rgb=np.zeros((*SIZE, 3), np.uint8), depth_m=np.zeros(SIZE, np.float32), K=K, T_base_cam=T
    )


def project(frame: RGBDFrame, points: FloatArray) -> FloatArray:
    """Pixels of points (n, 3)."""
    p = (points - frame.T_base_cam[:3, 3]) @ frame.T_base_cam[:3, :3]
    return (p[:, :2] / p[:, 2:]) @ np.diag([frame.K[0, 0], frame.K[1, 1]]) + frame.K[:2, 2]


def _box(centre: FloatArray, half: FloatArray) -> list[FloatArray]:
    """The faces of a box: top, then front (+x), left (-y), right (+y)."""
    signs = {
        "top": [(-1, -1, 1), (-1, 1, 1), (1, 1, 1), (1, -1, 1)],
        "front": [(1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)],
        "left": [(-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)],
        "right": [(-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1)],
    }
    return [centre + np.array(face) * half for face in signs.values()]


def draw(frame: RGBDFrame, *, with_port: bool = True, cover: FloatArray | None = None) -> RGBDFrame:
    """Draw the scene into a frame; `cover` is the centre of a blue block before the port."""
    faces: list[tuple[FloatArray, tuple[int, int, int]]] = []
    faces.append((np.array([[-2, -2, 0], [-2, 2, 0], [0.88, 2, 0], [0.88, -2, 0.0]]), (140, 130, 115)))
    for face, grey in zip(
        _box(np.array([0.5, 0, 0.017]), np.array([0.045, 0.055, 0.017])), (20, 14, 8, 8), strict=True
    ):
        faces.append((face, (grey, grey, grey)))
    if with_port:
        block = _box(PORT - [0, 0, 0.008], np.array([0.00705, 0.0108, 0.008]))
        for face, grey in zip(block, (225, 135, 110, 110), strict=True):
            faces.append((face, (grey, grey, grey)))
        faces.append((_box(PORT, np.array([0.00305, 0.0068, 0.0]))[0], (3, 3, 3)))
    if cover is not None:
        for face in _box(cover, np.array([0.01, 0.02, 0.01])):
            faces.append((face, (20, 50, 120)))
    fine = np.full((SIZE[0] * FINE, SIZE[1] * FINE, 3), 150, np.uint8)
    depth = np.zeros(SIZE, np.float32)
    origin = frame.T_base_cam[:3, 3]
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    rays_cam = np.stack([(u - frame.K[0, 2]) / frame.K[0, 0], (v - frame.K[1, 2]) / frame.K[1, 1], np.ones(SIZE)], -1)
    rays = rays_cam @ frame.T_base_cam[:3, :3].T
    for corners, colour in faces:
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal *= np.sign(normal @ (corners.mean(0) - _inside(corners)))
        if normal @ (origin - corners[0]) <= 0:
            continue  # turned away
        pixels = (project(frame, corners) + 0.5) * FINE - 0.5
        polygon = np.round(pixels * 16).astype(np.int32)
        cv2.fillConvexPoly(fine, polygon, colour, lineType=cv2.LINE_8, shift=4)
        mask = np.zeros(fine.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, polygon, 255, lineType=cv2.LINE_8, shift=4)
        covered = cv2.resize(mask, SIZE[::-1], interpolation=cv2.INTER_AREA) > 127
        distance = (normal @ (corners[0] - origin)) / (rays @ normal)
        depth[covered] = distance[covered]
    rgb = cv2.resize(fine, SIZE[::-1], interpolation=cv2.INTER_AREA)
    return RGBDFrame(name=frame.name, rgb=rgb, depth_m=depth, K=frame.K, T_base_cam=frame.T_base_cam)


def _inside(corners: FloatArray) -> FloatArray:
    """A point behind a face: below for level ones, towards the axis of the port else."""
    centre = corners.mean(0)
    if np.ptp(corners[:, 2]) < 1e-9:
        return centre - [0, 0, 1.0]
    return np.array([PORT[0], PORT[1], centre[2]])


def remembered(xyz: FloatArray = PORT) -> Target:
    """A target of a record that was made when the port stood there."""
    return Target(xyz=xyz, patch=cut_patch(scene().frames["side"], PORT))


def scene(*, with_port: bool = True, cover: FloatArray | None = None, views: tuple[float, ...] = (0.0,)) -> Scene:
    """What the agent sees from cameras at these azimuths, the plug 8 cm above the port."""
    return copy.deepcopy(_scene(with_port, None if cover is None else tuple(cover), views))


@cache
def _scene(with_port: bool, cover: tuple[float, ...] | None, views: tuple[float, ...]) -> Scene:
    frames = [camera(a, name="side" if i == 0 else f"view_{i}") for i, a in enumerate(views)]
    T = np.eye(4)
    T[:3, :3] = np.diag([1.0, -1.0, -1.0])
    tool = np.array([0, 0, 0.032])
    T[:3, 3] = PORT + [0.03, 0.02, 0.08] + tool
    contact = PORT + tool
    return Scene(
        task="usb_insertion",
        frames={
            frame.name: draw(frame, with_port=with_port, cover=None if cover is None else np.array(cover))
            for frame in frames
        },
        T_base_tcp=T,
        gripper_opening=0.2,
        workspace=Box(lower=contact - [0.11, 0.11, 0.015], upper=contact + [0.11, 0.11, 0.16]),
        p_tcp_tool=tool,
    )
