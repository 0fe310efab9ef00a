"""Depth on the pixels of colour, as distances along the colour camera's axis."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rl.robots.base import CameraInfo
from rl.robots.cameras.sdk import pinhole
from rl.types import FloatArray

_SAME_SURFACE = 0.01
"""Neighbouring depths that differ by less than this fraction are of one surface."""


class Alignment:
    """`rs.align` to colour, without the errors that it leaves.

    The SDK moves each depth pixel to the colour pixel on which it falls, and rounds down: half a pixel on average, a
    millimetre on a table that is seen from the side. And it leaves the values: distances along the axis of the depth
    imager; half a degree between the two axes is 2 mm at the edge of an image half a metre away. Both are put right
    here. Where colour and depth are of one eye, as on a D405, there is nothing to align.
    """

    def __init__(self, rs: Any, info: CameraInfo, depth: Any, extrinsics: Any) -> None:
        """Prepare.

        Args:
            rs: The SDK.
            info: Size and lens of the colour image.
            depth: `rs.intrinsics` of the depth image.
            extrinsics: `rs.extrinsics` from depth to colour.
        """
        self._unit_m = np.float32(info.depth_unit_m)
        self._R = np.array(extrinsics.rotation, float).reshape(3, 3).T  # column by column; p_color = R p_depth + t
        self._t = np.array(extrinsics.translation, float)
        self._align: Any = None
        if _same_eye(info, depth, self._R, self._t):
            return
        self._align = rs.align(rs.stream.color)
        self._depth_K = pinhole(depth) if not any(depth.coeffs) else None
        u, v = np.meshgrid(np.arange(info.width, dtype=np.float64), np.arange(info.height, dtype=np.float64))
        rays = cv2.undistortPoints(np.stack([u, v], axis=-1).reshape(-1, 1, 2), info.K, info.distortion)[:, 0]
        rays = np.column_stack([rays, np.ones(len(rays))]) @ self._R  # in the depth imager's axes
        self._rays = rays.T.reshape(3, info.height, info.width).astype(np.float32)

    def depth_m(self, frames: Any) -> npt.NDArray[np.float32]:
        """Return a frameset's depth on the pixels of its colour image, 0 where there is none. Shape (H, W), [m]."""
        raw = np.asanyarray(frames.get_depth_frame().get_data())
        if self._align is None:
            return np.asarray(raw * self._unit_m)
        moved = np.asanyarray(self._align.process(frames).get_depth_frame().get_data()) * self._unit_m
        if self._depth_K is not None:
            again = self._look_up(raw, self._along_color(moved)) * self._unit_m
            moved = np.where(np.abs(again - moved) < 2 * _SAME_SURFACE * moved, again, moved)
        return np.where(moved > 0.0, self._along_color(moved), np.float32(0.0))

    def _along_color(self, z_depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return z_c = (z_d + r . t) / (r . ray), r = R (0, 0, 1), from p_c = z_c ray = R p_d + t."""
        offset_m = np.float32(self._R[:, 2] @ self._t)
        return np.asarray((z_depth + offset_m) / self._rays[2])

    def _look_up(self, raw: npt.NDArray[np.uint16], z_color: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the raw depth where each point of the colour image falls in the depth image."""
        assert self._depth_K is not None
        t: FloatArray = (self._R.T @ self._t).astype(np.float32)
        x, y, z = (z_color * self._rays[i] - t[i] for i in range(3))
        z = np.maximum(z, np.float32(1e-6))
        K = self._depth_K.astype(np.float32)
        return sample_depth(raw.astype(np.float32), K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2])


def sample_depth(
    depth: npt.NDArray[np.float32], u: npt.NDArray[np.float32], v: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return a depth image at points between its pixels: interpolated on a surface, never across an edge or a hole.

    Args:
        depth: 0 where there is no data. Shape (H, W).
        u: Column of each point. Any shape (h, w), [px].
        v: Row of each point. Shape (h, w), [px].

    Returns:
        Shape (h, w); 0 outside of the image. At edges and holes it is the nearest pixel's.
    """
    patch = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(depth, patch), cv2.dilate(depth, patch)
    surface = ((low > 0.0) & (high - low < _SAME_SURFACE * high)).astype(np.uint8)
    nearest = cv2.remap(depth, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    between = cv2.remap(depth, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    smooth = cv2.remap(surface, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return np.where(smooth > 0, between, nearest).astype(np.float32)


def _same_eye(info: CameraInfo, depth: Any, R: FloatArray, t: FloatArray) -> bool:
    """Return whether depth is on the pixels of colour already."""
    same_size = (depth.width, depth.height) == (info.width, info.height)
    same_lens = np.array_equal(pinhole(depth), info.K) and np.array_equal(depth.coeffs, info.distortion)
    return same_size and same_lens and np.allclose(R, np.eye(3), atol=1e-7) and np.allclose(t, 0.0, atol=1e-7)
