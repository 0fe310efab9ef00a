"""From pixels to points in the base frame (AGPS, arXiv:2602.11978, Eq. 2), and a picture of which is which."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rl.types import ByteArray, FloatArray, RGBDFrame
from tools.errors import ToolFailed, ToolRetry
from tools.scene import Scene

EDGE_M = 0.005
"""Pixels of a patch further than this behind its nearest surface belong to something else, [m]."""

_COLOURS = ((255, 64, 64), (64, 200, 255), (255, 200, 0), (120, 255, 120), (255, 120, 255), (255, 160, 64))


@dataclass(frozen=True, kw_only=True)
class Point:
    """A keypoint that was found in an image and measured with depth."""

    label: str
    camera: str
    """Name of the camera; empty for a point that no image shows, e.g. a recalled one."""
    uv: FloatArray
    """Pixel, u to the right, v down. Shape (2,), [px]."""
    xyz: FloatArray
    """Position in the base frame. Shape (3,), [m]."""
    depth_spread_m: float
    """Between the 10th and 90th percentile of depth around the pixel, [m]: large across an edge."""


def deproject(
    uv: npt.ArrayLike,
    depth_m: npt.ArrayLike,
    K: npt.ArrayLike,
    T_base_cam: npt.ArrayLike,
    *,
    distortion: npt.ArrayLike | None = None,
) -> FloatArray:
    """Return points in the base frame from pixels and depth.

    p_base = T_base_cam [D K^-1 (u, v, 1)^T; 1] (AGPS, arXiv:2602.11978, Eq. 2). The paper writes R^-1 (D K^-1 u - t)
    with [R, t] from base to camera, as OpenCV returns it; `T_base_cam` is its inverse: the camera's pose in the base.

    Args:
        uv: Pixels, u to the right, v down. Shape (N, 2), [px]; or (2,) for one point.
        depth_m: Distance along the optical axis per pixel, shape (N,), [m]; or a depth image of shape (H, W), of which
            the median around each pixel is taken.
        K: Pinhole intrinsics. Shape (3, 3), [px].
        T_base_cam: Camera pose in the base frame, x right, y down, z forward. Shape (4, 4), [m].
        distortion: OpenCV distortion coefficients (k1, k2, p1, p2, ...); None for an ideal lens.

    Returns:
        Positions, shape (N, 3), [m]; (3,) for one pixel of shape (2,).

    Raises:
        ToolFailed: If a depth is not positive and finite (0 means no data).
        ToolRetry: If a pixel is not finite, or outside of the depth image.
    """
    pixels = np.atleast_2d(np.asarray(uv, dtype=np.float64))
    depth = np.asarray(depth_m, dtype=np.float64)
    if depth.ndim == 2:
        depth = np.array([depth_at(depth, pixel) for pixel in pixels])
    if not np.all(np.isfinite(pixels)):
        raise ToolRetry(f"Pixels {pixels.tolist()} are not all finite; give numbers.", reason="outside_image")
    if not np.all(np.isfinite(depth) & (depth > 0)):
        raise ToolFailed(f"Depth {depth.tolist()} m is not positive everywhere: no data there.", reason="no_depth")
    K = np.asarray(K, dtype=np.float64)
    if distortion is not None:
        rays = cv2.undistortPoints(pixels[:, np.newaxis], K, np.asarray(distortion, dtype=np.float64))[:, 0]
    else:
        rays = (np.linalg.inv(K) @ np.column_stack([pixels, np.ones(len(pixels))]).T).T[:, :2]
    p_cam = np.column_stack([rays, np.ones(len(rays))]) * depth.reshape(-1, 1)  # (N, 3)
    T = np.asarray(T_base_cam, dtype=np.float64)
    p_base: FloatArray = p_cam @ T[:3, :3].T + T[:3, 3]
    return p_base[0] if np.ndim(uv) == 1 else p_base


def project(frame: RGBDFrame, point: FloatArray) -> tuple[FloatArray, float]:
    """Return the pixel (2,), [px], and the depth, [m], of a point of the base frame."""
    p = frame.T_base_cam[:3, :3].T @ (point - frame.T_base_cam[:3, 3])
    pixel = frame.K @ (p / p[2])
    return pixel[:2], float(p[2])


def is_shown(frame: RGBDFrame, point: FloatArray, thickness_m: float) -> bool:
    """Return whether a camera shows a point of the base frame: it is in the image, and nothing hides it.

    Args:
        frame: Image, depth and calibration.
        point: Shape (3,), [m].
        thickness_m: What is this far in front of the point hides it, [m]: it may be inside of something.
    """
    (u, v), depth_m = project(frame, point)
    height, width = frame.depth_m.shape
    column, row = round(u), round(v)
    if depth_m <= 0 or not (1 <= column < width - 1 and 1 <= row < height - 1):
        return False
    patch = frame.depth_m[row - 1 : row + 2, column - 1 : column + 2]
    before = (patch > 0) & (patch < depth_m - thickness_m)
    return bool(before.sum() <= patch.size / 2)


def depth_at(depth_m: FloatArray, uv: npt.ArrayLike, radius: int = 3) -> float:
    """Return the median of the valid depths in the square patch around a pixel, [m].

    Args:
        depth_m: Depth image, 0 or not finite where there is no data. Shape (H, W), [m].
        uv: Pixel. Shape (2,), [px].
        radius: The patch is 2 radius + 1 pixels wide.

    Raises:
        ToolRetry: If the pixel is outside of the image.
        ToolFailed: If no pixel of the patch has depth.
    """
    return float(np.median(_valid_depths(depth_m, uv, radius)))


def locate_keypoint(
    scene: Scene,
    camera: str,
    label: str,
    uv: npt.ArrayLike,
    *,
    radius: int = 2,
    behind_m: float = 0.0,
    distortion: npt.ArrayLike | None = None,
) -> Point:
    """Return a keypoint's position in the base frame.

    The depth is the median over the nearest surface in a small patch: next to a rim, the pixels that look past it into
    the hole are left out.

    Args:
        scene: Images and calibration.
        camera: Name of the camera that shows the keypoint.
        label: Name of the keypoint.
        uv: Its pixel. Shape (2,), [px].
        radius: The patch is 2 radius + 1 pixels wide.
        behind_m: How far behind the surface that is measured the keypoint is, [m], e.g. the middle of a ball.
        distortion: As in `deproject`.

    Raises:
        ToolRetry: If the camera is unknown, or the pixel outside of its image.
        ToolFailed: If there is no depth at the pixel.
    """
    if camera not in scene.frames:
        raise ToolRetry(f"There is no camera {camera!r}; choose one of {', '.join(scene.frames)}.")
    frame = scene.frames[camera]
    try:
        depths = _valid_depths(frame.depth_m, uv, radius)
    except (ToolRetry, ToolFailed) as error:
        raise type(error)(f"{label}: {error}", reason=error.reason) from error
    # A percentile, not the minimum: real sensors show single flying pixels before an edge.
    low, high = np.percentile(depths, [10, 90])
    depth = float(np.median(depths[depths <= low + EDGE_M])) + behind_m
    return Point(
        label=label,
        camera=camera,
        uv=np.array(uv, dtype=np.float64),
        xyz=deproject(uv, depth, frame.K, frame.T_base_cam, distortion=distortion),
        depth_spread_m=float(high - low),
    )


def annotate(rgb: ByteArray, keypoints: Mapping[str, Point | npt.ArrayLike]) -> ByteArray:
    """Return a copy of an image with each keypoint as a dot and its label beside it, without overlaps.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
        keypoints: Per label a point or a pixel of shape (2,), [px]. Pixels outside of the image are left out.
    """
    canvas = np.array(rgb, dtype=np.uint8)
    height, width = canvas.shape[:2]
    scale = max(0.4, height / 960)
    pixels = {
        label: np.asarray(p.uv if isinstance(p, Point) else p, dtype=np.float64) for label, p in keypoints.items()
    }
    dots = {label: (float(uv[0]), float(uv[1])) for label, uv in pixels.items() if _is_inside(uv, width, height)}
    taken = [(uv[0] - 6, uv[1] - 6, uv[0] + 6, uv[1] + 6) for uv in dots.values()]
    for index, (label, uv) in enumerate(dots.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        centre = (round(uv[0]), round(uv[1]))
        rect = _place_label(label, uv, scale, width, height, taken)
        taken.append(rect)
        anchor = (round(_clip(uv[0], rect[0], rect[2])), round(_clip(uv[1], rect[1], rect[3])))
        cv2.line(canvas, centre, anchor, colour, 1, cv2.LINE_AA)
        cv2.circle(canvas, centre, 4, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, 3, colour, -1, cv2.LINE_AA)
        origin = (round(rect[0] + 2), round(rect[3] - 4))
        for ink, thickness in (((0, 0, 0), 3), (colour, 1)):
            cv2.putText(canvas, label, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)
    return canvas


_Rectangle = tuple[float, float, float, float]


def _valid_depths(depth_m: FloatArray, uv: npt.ArrayLike, radius: int) -> FloatArray:
    """Return the depths with data in the patch around a pixel, at least one. Shape (n,), [m]."""
    pixel = np.asarray(uv, dtype=np.float64)
    height, width = depth_m.shape
    if not _is_inside(pixel, width, height):
        raise ToolRetry(
            f"Pixel ({pixel[0]:.0f}, {pixel[1]:.0f}) is outside of the {width}x{height} image; point inside it.",
            reason="outside_image",
        )
    u, v = (min(round(float(pixel[0])), width - 1), min(round(float(pixel[1])), height - 1))
    patch = depth_m[max(0, v - radius) : v + radius + 1, max(0, u - radius) : u + radius + 1]
    valid: FloatArray = patch[np.isfinite(patch) & (patch > 0)]
    if valid.size == 0:
        raise ToolFailed(
            f"No depth within {radius} px of pixel ({u}, {v}); choose a point on solid, matt material.",
            reason="no_depth",
        )
    return valid.astype(np.float64)


def _is_inside(uv: FloatArray, width: int, height: int) -> bool:
    """Return whether a pixel lies in an image; its centre may be up to half a pixel beyond the outermost ones."""
    return bool(-0.5 <= uv[0] <= width - 0.5 and -0.5 <= uv[1] <= height - 0.5)  # false for NaN


def _place_label(
    label: str, uv: tuple[float, float], scale: float, width: int, height: int, taken: list[_Rectangle]
) -> _Rectangle:
    """Return the rectangle near a dot that overlaps least with those taken, inside the image."""
    (text_width, text_height), baseline = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, 3)
    w, h = text_width + 4, text_height + baseline + 2
    best: tuple[float, _Rectangle] | None = None
    for distance in (10, 24, 40, 60):
        for dx, dy in ((1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1), (0, 1)):
            left = uv[0] + dx * distance - (w if dx < 0 else w / 2 if dx == 0 else 0)
            top = uv[1] + dy * distance - (h if dy < 0 else 0)
            left, top = _clip(left, 0.0, max(0.0, width - w)), _clip(top, 0.0, max(0.0, height - h))
            rect = (left, top, left + w, top + h)
            overlap = sum(_overlap(rect, other) for other in taken)
            if best is None or overlap < best[0]:
                best = (overlap, rect)
            if overlap == 0:
                return rect
    assert best is not None
    return best[1]


def _clip(value: float, lowest: float, highest: float) -> float:
    return min(max(value, lowest), highest)


def _overlap(a: _Rectangle, b: _Rectangle) -> float:
    """Return the area that two rectangles share, [px^2]."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
