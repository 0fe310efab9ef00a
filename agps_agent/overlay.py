"""What the agent answered, drawn over what it saw: the way of the tool's tip, or the box that confines it."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from rl.types import FloatArray

WAY, BOX = (255, 150, 40), (150, 90, 255)
"""Colours of waypoints and of the box, RGB."""


def draw_answer(folder: Path, guidance: Mapping[str, Any], camera: str | None = None) -> Image.Image | None:
    """Return the image of a saved question with its answer drawn on it; None when there is no readable image.

    Args:
        folder: Folder of the question: `annotated.png` if the model was shown one, and `scene/`.
        guidance: The answer in plain numbers.
        camera: Camera that the agent was shown first; None: the scene's first.
    """
    try:
        scene = json.loads((folder / "scene" / "scene.json").read_text(encoding="utf-8"))
        shown = folder / "annotated.png"
        name = (shown.is_file() and _camera_of_keypoints(folder)) or camera or next(iter(scene["cameras"]))
        image = Image.open(shown if shown.is_file() else folder / "scene" / f"{name}.png").convert("RGB")
        K, T_base_cam = (np.array(scene["cameras"][name][key]) for key in ("K", "T_base_cam"))
        tip = np.array(scene["p_tcp_tool"])
        T_base_tcp = np.array(scene["T_base_tcp"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
    # An answer that is damaged or of another version leaves the image bare.
    with contextlib.suppress(LookupError, TypeError, ValueError):
        draw_guidance(ImageDraw.Draw(image), guidance, T_base_tcp, tip, K, T_base_cam)
    return image


def draw_guidance(
    draw: ImageDraw.ImageDraw,
    guidance: Mapping[str, Any],
    T_base_tcp: FloatArray,
    tip: FloatArray,
    K: FloatArray,
    T_base_cam: FloatArray,
) -> None:
    """Draw an answer over the image of a camera: the way of the tool's tip, or the box that confines it.

    Args:
        draw: Of the image.
        guidance: The answer in plain numbers.
        T_base_tcp: Where the TCP was when the agent was asked. Shape (4, 4), [m].
        tip: Tip of the tool in the TCP's frame. Shape (3,), [m].
        K: Intrinsics of the camera. Shape (3, 3), [px].
        T_base_cam: Its pose, z forward. Shape (4, 4), [m].
    """
    if guidance.get("kind") == "guide":
        poses = [T_base_tcp, *(np.array(waypoint["T_base_tcp"]) for waypoint in guidance["waypoints"])]
        way = np.array([pose[:3, 3] + pose[:3, :3] @ tip for pose in poses])
        _draw_way(draw, project(way, K, T_base_cam))
    elif guidance.get("kind") == "prune":
        # The box confines the TCP; drawn where the tip may go, since that is what the eye follows.
        offset = T_base_tcp[:3, :3] @ tip
        limits = (np.array(guidance["lower"]) + offset, np.array(guidance["upper"]) + offset)
        _draw_box(draw, limits, K, T_base_cam)


def _camera_of_keypoints(folder: Path) -> str | None:
    """Return the camera in whose image the keypoints were found; it is another one where the gripper hid them."""
    keypoints = json.loads((folder / "intervention.json").read_text(encoding="utf-8")).get("keypoints") or [{}]
    camera: str | None = keypoints[0].get("camera")
    return camera


def project(points: FloatArray, K: FloatArray, T_base_cam: FloatArray) -> FloatArray:
    """Return the pixels of points in the base frame; not a number for points behind the camera.

    uv = K R^T (p - t) / depth, the inverse of Eq. 2 (AGPS, arXiv:2602.11978).

    Args:
        points: Base frame. Shape (N, 3), [m].
        K: Intrinsics. Shape (3, 3), [px].
        T_base_cam: Camera pose, z forward. Shape (4, 4), [m].

    Returns:
        Pixels (u, v). Shape (N, 2).
    """
    in_camera = (points - T_base_cam[:3, 3]) @ T_base_cam[:3, :3]
    depth = np.where(in_camera[:, 2:] > 1e-3, in_camera[:, 2:], np.nan)
    return np.asarray((in_camera / depth @ K.T)[:, :2])


def _draw_way(draw: ImageDraw.ImageDraw, pixels: FloatArray) -> None:
    _draw_lines(draw, [(a, b) for a, b in zip(pixels[:-1], pixels[1:], strict=True)], WAY)
    for (u, v), radius in ((pixels[0], 4), (pixels[-1], 5)):
        if np.isfinite(u):
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=WAY, width=2)


def _draw_box(
    draw: ImageDraw.ImageDraw, limits: tuple[FloatArray, FloatArray], K: FloatArray, T_base_cam: FloatArray
) -> None:
    corners = np.array([[limits[bit][axis] for axis, bit in enumerate(bits)] for bits in product((0, 1), repeat=3)])
    pixels = project(corners, K, T_base_cam)
    edges = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b).bit_count() == 1]
    _draw_lines(draw, [(pixels[a], pixels[b]) for a, b in edges], BOX)


def _draw_lines(draw: ImageDraw.ImageDraw, lines: Sequence[tuple[FloatArray, FloatArray]], color: Any) -> None:
    for start, end in lines:
        if np.all(np.isfinite([*start, *end])):
            draw.line((*start, *end), fill=color, width=2)
