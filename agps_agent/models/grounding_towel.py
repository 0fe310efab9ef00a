"""Find the corners of a towel in an image: a red one, a blue one, and two plain ones between them.

A coloured corner is a triangle of which the longest side borders on the cloth; the corner is opposite. A plain corner
is where two straight stretches of the towel's outline meet that both have the darker hem on their inside: the end of a
fold has none. A corner that is hidden, or that does not look like one, is not reported.
"""

import cv2
import numpy as np

from agps_agent.models.grounding import Array, Blob, Grounding, Mask, blobs, coloured, hue_saturation_value
from rl.types import ByteArray

PATCH_AREA = (120, 8000)
"""Smallest and largest coloured triangle, [px^2]."""
TRIANGLE_FILL = 0.80
"""Least share of its smallest enclosing triangle that a patch fills."""
CORNER_FILL = 0.55
"""Least share of the fifth of that triangle next to the corner that has the colour: else something hides the corner."""
INWARDS = 0.012
"""From the outline's corner to the middle of the cloth's thickness, over the legs of the coloured triangle."""


def find_towel(rgb: ByteArray) -> Grounding | None:
    """Return the corners of a towel that are seen, or None where none is.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
    """
    hsv = hue_saturation_value(rgb)
    red = _coloured_corner(coloured(hsv, hue_deg=(335.0, 18.0), saturation=0.55, value=0.08))
    blue = _coloured_corner(coloured(hsv, hue_deg=(200.0, 262.0), saturation=0.52, value=0.08))
    found = {"corner_grasp": red, "corner_goal": blue}
    points = {name: (float(p[0]), float(p[1])) for name, p in found.items() if p is not None}
    return Grounding(points=points, confidence=0.9) if points else None


def _coloured_corner(mask: Mask) -> Array | None:
    """Return the corner of the only triangle of a colour, shape (2,), [px]; None if there is none, or more than one."""
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).astype(np.uint8)
    corners = [
        corner
        for patch in blobs(mask, min_area=PATCH_AREA[0], max_area=PATCH_AREA[1])
        if (corner := _corner_of(patch)) is not None
    ]
    return corners[0] if len(corners) == 1 else None


def _corner_of(patch: Blob) -> Array | None:
    contours, _ = cv2.findContours(patch.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    area, triangle = cv2.minEnclosingTriangle(contours[0].astype(np.float32))
    if triangle is None or patch.area < TRIANGLE_FILL * area:
        return None
    vertices = np.asarray(triangle, dtype=np.float64)[:, 0]
    opposite = np.array([np.linalg.norm(vertices[i - 2] - vertices[i - 1]) for i in range(3)])
    corner = int(np.argmax(opposite))
    legs = np.delete(vertices, corner, axis=0) - vertices[corner]
    near = np.array([vertices[corner], *(vertices[corner] + 0.33 * legs)])
    if _share(patch.mask, near) < CORNER_FILL:
        return None
    inwards: Array = vertices[corner] + INWARDS * legs.sum(axis=0)
    return inwards


def _share(mask: Mask, polygon: Array) -> float:
    """Return which share of a polygon (n, 2), [px], a mask fills."""
    inside = np.zeros_like(mask)
    cv2.fillConvexPoly(inside, np.round(polygon).astype(np.int32), 1)
    return float((inside & mask).sum() / max(1, inside.sum()))
