"""Find a hanging knot in an image: a red lump, wider than the cord that it hangs on and than its tassel."""

import cv2
import numpy as np

from agps_agent.models.offline.grounding import Array, Blob, Grounding, Mask, blobs, coloured, hue_saturation_value
from rl.types import ByteArray

LUMP_AREA = (150, 6000)
"""Smallest and largest knot, [px^2]."""
TOP = 0.88
"""From the middle of the knot to where the strands meet above it, over half its diagonal."""


def find_knot(rgb: ByteArray) -> Grounding | None:
    """Return where the strands of the loop meet at the top of the knot, or None where no knot is seen.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
    """
    red = coloured(hue_saturation_value(rgb), hue_deg=(340.0, 20.0), saturation=0.6, value=0.10)
    lump = _lump(red)
    if lump is None:
        return None
    up = _upwards(red, lump)
    v, u = np.nonzero(lump.mask)
    along = (np.column_stack([u, v]) - lump.centre) @ up
    half_diagonal = float(np.sqrt(6.0 * np.mean(along**2)))  # of a square that stands on a corner
    top = lump.centre + TOP * half_diagonal * up
    return Grounding(points={"knot": (float(top[0]), float(top[1]))}, confidence=min(1.0, lump.fill))


def _lump(red: Mask) -> Blob | None:
    """Return the thickest patch, without strands and tassel; None if there is none, or one too long or not the only."""
    thick = cv2.morphologyEx(red, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15)))
    found = list(blobs(thick.astype(np.uint8), min_area=LUMP_AREA[0], max_area=LUMP_AREA[1]))
    if not found or found[0].half_sides[0] > 2.5 * found[0].half_sides[1]:
        return None
    if len(found) > 1 and found[1].area > 0.7 * found[0].area:
        return None
    return found[0]


def _upwards(red: Mask, lump: Blob) -> Array:
    """Return the direction from the tassel to the knot; up in the image where no tassel is seen. Shape (2,)."""
    grown = cv2.dilate(lump.mask, np.ones((5, 5), np.uint8))
    below = np.where(grown > 0, 0, red).astype(np.uint8)
    below[: round(lump.centre[1] + 0.8 * lump.half_sides[1])] = 0
    tassel = next(iter(blobs(below, min_area=30, max_area=3000)), None)
    if tassel is None or np.linalg.norm(tassel.centre - lump.centre) > 5 * lump.half_sides[0]:
        return np.array([0.0, -1.0])
    up: Array = (lump.centre - tassel.centre) / np.linalg.norm(lump.centre - tassel.centre)
    return up
