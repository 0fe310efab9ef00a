"""Find a hook in an image: a thin rod from a yellow collar to a blue ball."""

import cv2
import numpy as np

from agps_agent.models.offline.grounding import Array, Blob, Grounding, blobs, coloured, hue_saturation_value
from rl.types import ByteArray

ROD_PX = (25.0, 220.0)
"""Shortest and longest rod that is looked for, [px]."""
BALL_AREA = (12, 900)
COLLAR_AREA = (6, 700)
ROD_SATURATION = 0.6
"""Largest (max - min) / max of a rod's colour: it is metal, the cord is not."""
ROD_HUE = 0.06
"""Largest difference of a colour's share along a rod, however bright."""
ROD_CONTRAST = 18.0
"""Least difference of the rod from what is beside it, in grey values of the best channel."""


def find_hook(rgb: ByteArray) -> Grounding | None:
    """Return the tip (the ball's middle) and the base (the collar's middle) of a hook, or None where none is seen.

    Each alone is returned only when nothing else in the image looks like it.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
    """
    hsv = hue_saturation_value(rgb)
    blue = coloured(hsv, hue_deg=(195.0, 265.0), saturation=0.6, value=0.10)
    yellow = coloured(hsv, hue_deg=(18.0, 75.0), saturation=0.62, value=0.12)
    # A strand of the cord may hang before ball or collar.
    blue, yellow = (
        cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((13, 13), np.uint8)).astype(np.uint8) for mask in (blue, yellow)
    )
    balls = [b for b in blobs(blue, min_area=BALL_AREA[0], max_area=BALL_AREA[1]) if _is_round(b, 2.8)]
    collars = [c for c in blobs(yellow, min_area=COLLAR_AREA[0], max_area=COLLAR_AREA[1]) if c.fill > 0.6]
    image = rgb.astype(np.float32)
    joined = [(_rod(image, ball.centre, c.centre), ball, c) for ball in balls for c in collars]
    share, ball, collar = max(joined, key=lambda found: found[0], default=(0.0, None, None))
    if share >= 0.5 and ball is not None and collar is not None:
        points = {"hook_tip": _pixel(ball.centre), "hook_base": _pixel(collar.centre)}
        return Grounding(points=points, confidence=round(share, 3))
    if len(balls) == 1 and not collars and _is_round(balls[0], 1.5):
        return Grounding(points={"hook_tip": _pixel(balls[0].centre)}, confidence=0.5)
    return None


def _is_round(ball: Blob, longest: float) -> bool:
    longer, shorter = ball.half_sides
    return bool(longer < longest * shorter and ball.fill > 0.75)


def _rod(image: Array, tip: Array, base: Array) -> float:
    """Return along which share of the way from ball to collar there is something thin, of one colour.

    0 where it cannot be a rod.
    """
    length = float(np.linalg.norm(base - tip))
    if not ROD_PX[0] <= length <= ROD_PX[1]:
        return 0.0
    along = (base - tip) / length
    across = np.array([-along[1], along[0]])
    stations = tip + np.linspace(0.25, 0.85, 13)[:, np.newaxis] * (base - tip)
    width = max(4.0, 0.12 * length)
    offsets = np.linspace(-width, width, int(4 * width) + 1)
    maps = (stations[:, np.newaxis] + offsets[:, np.newaxis] * across).astype(np.float32)
    profiles = cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    middle = profiles[:, np.abs(offsets) < 0.3 * width]  # (13, n, 3)
    left, right = profiles[:, offsets < -0.8 * width].mean(1), profiles[:, offsets > 0.8 * width].mean(1)
    differs = [np.abs(middle - side[:, np.newaxis]).max(axis=2).max(axis=1) for side in (left, right)]
    core = profiles[:, np.abs(offsets) < 1.0].mean(axis=1)  # (13, 3)
    hue = core / (core.sum(axis=1, keepdims=True) + 1.0)
    one_colour = np.abs(hue - np.median(hue, axis=0)).max(axis=1) < ROD_HUE
    pale = core.min(axis=1) > (1.0 - ROD_SATURATION) * core.max(axis=1)
    return float(np.mean((np.minimum(*differs) > ROD_CONTRAST) & one_colour & pale))


def _pixel(point: Array) -> tuple[float, float]:
    return float(point[0]), float(point[1])
