"""What the offline model sees of this task: a hole with a yellow ring painted around it. Knows pixels, nothing else."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from agps_agent.models.offline.grounding import Array, Grounding, Mask, coloured, hue_saturation_value
from rl.types import ByteArray

Outline = npt.NDArray[Any]
"""Points of a contour as OpenCV gives them. Shape (n, 1, 2), [px]."""

RING_AREA = (60, 6000)
"""Smallest and largest ring, its hole included, [px^2]."""
ROUND = 0.80
"""Least share of its smallest enclosing ellipse that the ring with its hole fills."""
HOLE = (0.12, 0.65)
"""Area of the hole over that of the ring with it."""


def find_hole(rgb: ByteArray) -> Grounding | None:
    """Return the middles of the left and of the right side of the ring, or None where no ring with a hole is seen.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
    """
    yellow = coloured(hue_saturation_value(rgb), hue_deg=(20.0, 95.0), saturation=0.5, value=0.18)
    rings = [sides for outline, hole in _with_holes(yellow) if (sides := _sides(outline, hole)) is not None]
    if not rings:
        return None
    left, right = rings[0]
    points = {name: (float(p[0]), float(p[1])) for name, p in (("hole_left", left), ("hole_right", right))}
    return Grounding(points=points, confidence=0.9)


def _with_holes(mask: Mask) -> list[tuple[Outline, Outline]]:
    """Return the outlines in a mask that have a hole, each with the largest one, the largest outline first."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes: dict[int, Outline] = {}
    for index, contour in enumerate(contours):
        outside = int(hierarchy[0][index][3])  # -1 for what is no hole
        if outside >= 0 and cv2.contourArea(contour) > cv2.contourArea(holes.get(outside, contour[:1])):
            holes[outside] = contour
    found = [(contours[outside], hole) for outside, hole in holes.items()]
    return sorted(found, key=lambda pair: -cv2.contourArea(pair[0]))


def _sides(outline: Outline, hole: Outline) -> tuple[Array, Array] | None:
    """Return the middles of a ring's left and right sides, shape (2,) each, [px]; None if it is no ring."""
    area = cv2.contourArea(outline)
    hull = cv2.convexHull(outline)
    if not RING_AREA[0] <= area <= RING_AREA[1] or min(len(hull), len(hole)) < 5:
        return None
    if not HOLE[0] <= cv2.contourArea(hole) / area <= HOLE[1]:
        return None
    outer, inner = cv2.fitEllipse(hull), cv2.fitEllipse(hole)
    if area < ROUND * np.pi / 4 * outer[1][0] * outer[1][1]:
        return None
    reach = (_reach(outer) + _reach(inner)) / 2
    centre = (np.array(outer[0]) + np.array(inner[0])) / 2
    return centre - [reach, 0.0], centre + [reach, 0.0]


def _reach(ellipse: tuple[Sequence[float], Sequence[float], float]) -> float:
    """Return how far an ellipse reaches along the image's horizontal through its centre, [px]."""
    (first, second), angle = ellipse[1], np.radians(ellipse[2])
    return float(1.0 / np.hypot(2 * np.cos(angle) / first, 2 * np.sin(angle) / second))
