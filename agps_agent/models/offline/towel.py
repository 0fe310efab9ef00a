"""Find the corners of a towel in an image: a red one, a blue one, and two plain ones between them.

A coloured corner is a triangle whose longest side borders on the cloth and whose others border on the hem; the corner
is where the hems meet. A plain corner is where two straight stretches of the towel's outline meet that have the hem on
their inside: the end of a fold has none. A corner that is hidden, or does not look like one, is not reported.
"""

import cv2
import numpy as np

from agps_agent.models.offline.grounding import Array, Blob, Grounding, Mask, blobs, coloured, hue_saturation_value
from rl.types import ByteArray

PATCH_AREA = (120, 8000)
"""Smallest and largest coloured triangle, [px^2]."""
TRIANGLE_FILL = 0.85
"""Least share of its smallest enclosing triangle that a patch fills."""
CORNER_FILL = 0.55
"""Least share of the third of that triangle next to the corner that has the colour: else something hides the corner."""
CORNER_COSINE = 0.75
"""Largest cosine of a corner's angle in the image, either way: a corner that is more acute or flat is a fold."""
OUTWARDS = 0.085
"""From the triangle's corner to the cloth's, out over the hem, over the triangle's legs."""
PALE = 0.35
"""Least brightness of the hem, over that of the cloth: gripper and board are darker."""
DARK = 0.80
"""Largest brightness of what the towel lies on, over that of the hem."""
HEM = 0.88
"""Largest brightness of the hem, over that of the cloth behind it."""
DEPTHS_PX = ((-6.0,), (2.0, 3.0, 4.0, 5.0), (8.0, 10.0, 12.0, 14.0, 18.0))
"""How far inside of the outline is surely outside, the hem, and the cloth behind it, whether far away or near, [px]."""
APART_PX = 130.0
"""Plain corners that are nearer to each other are creases, [px]."""
SIDE_PX = 28.0
"""Shortest straight stretch of the outline on either side of a plain corner, [px]."""


def find_towel(rgb: ByteArray) -> Grounding | None:
    """Return the corners of a towel that are seen, or None where none is.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
    """
    hsv = hue_saturation_value(rgb)
    red = coloured(hsv, hue_deg=(335.0, 18.0), saturation=0.55, value=0.08)
    blue = coloured(hsv, hue_deg=(200.0, 262.0), saturation=0.52, value=0.08)
    grey = hsv[..., 2]
    found = {"corner_grasp": _coloured_corner(red, grey), "corner_goal": _coloured_corner(blue, grey)}
    vivid = cv2.dilate(red | blue, np.ones((9, 9), np.uint8)).astype(np.uint8)
    found |= _named(_plain_corners(grey, vivid), _middle(blue))
    points = {name: (float(p[0]), float(p[1])) for name, p in found.items() if p is not None}
    return Grounding(points=points, confidence=0.9) if points else None


def _named(corners: list[Array], blue: Array | None) -> dict[str, Array]:
    """Return plain corners as `corner_left` and `corner_right`, as seen in the image; nothing where that is unclear.

    Args:
        corners: At most two. Shape (2,) each, [px].
        blue: Middle of the blue patch, which is between them, on the side of the camera. Shape (2,), [px].
    """
    if len(corners) == 2:
        left, right = sorted(corners, key=lambda corner: float(corner[0]))
        apart = bool(np.linalg.norm(right - left) > APART_PX)
        return {"corner_left": left, "corner_right": right} if apart else {}
    if not corners or blue is None:
        return {}
    away = np.abs(corners[0] - blue)
    return {"corner_right" if away[0] > away[1] else "corner_left": corners[0]}


def _middle(mask: Mask) -> Array | None:
    """Return the middle of the largest coloured patch, None if there is none. Shape (2,), [px]."""
    patch = next(blobs(mask, min_area=PATCH_AREA[0], max_area=PATCH_AREA[1]), None)
    return None if patch is None else patch.centre


def _plain_corners(grey: Array, vivid: Mask) -> list[Array]:
    """Return the plain corners that are seen, at most two. Shape (2,) each, [px].

    Args:
        grey: Brightness, 0 to 1. Shape (H, W).
        vivid: Where the coloured patches are, a little larger. Shape (H, W).
    """
    best: list[Array] = []
    for level in (0.30, 0.38, 0.46, 0.55, 0.65):
        mask = ((grey > level) | (vivid > 0)).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            if cv2.contourArea(contour) < 4000 or not cv2.countNonZero(vivid[tuple(contour[:, 0, ::-1].T)]):
                continue
            corners = _plain_corners_of(contour[:, 0].astype(np.float64), grey, vivid)
            if len(best) < len(corners) <= 2:
                best = corners
        if len(best) == 2:
            break
    return best


def _plain_corners_of(outline: Array, grey: Array, vivid: Mask) -> list[Array]:
    """Return the plain corners of an outline (n, 2), [px]."""
    polygon = cv2.approxPolyDP(outline.astype(np.float32)[:, np.newaxis], 4.0, True)[:, 0].astype(np.float64)
    corners = []
    for before, vertex, after in zip(np.roll(polygon, 1, axis=0), polygon, np.roll(polygon, -1, axis=0), strict=True):
        sides = np.array([before - vertex, after - vertex])
        lengths = np.linalg.norm(sides, axis=1)
        if lengths.min() < SIDE_PX or abs(float(sides[0] @ sides[1])) > CORNER_COSINE * np.prod(lengths):
            continue
        u, v = np.round(vertex).astype(int)
        if vivid[max(0, v - 4) : v + 5, max(0, u - 4) : u + 5].any():
            continue
        units = sides / lengths[:, np.newaxis]
        if all(_is_hemmed(grey, vertex, units[i], units[1 - i], lengths[i]) for i in (0, 1)):
            corners.append(vertex)
    return corners


def _is_hemmed(grey: Array, corner: Array, along: Array, inwards: Array, length: float) -> bool:
    """Return whether along a side there is, from outside to inside: something dark, the hem, paler cloth.

    Args:
        grey: Brightness, 0 to 1. Shape (H, W).
        corner: Where the side begins. Shape (2,), [px].
        along: Its direction. Unit vector of shape (2,).
        inwards: Direction of the corner's other side. Unit vector of shape (2,).
        length: Length of the side, [px].
    """
    stations = corner + np.linspace(0.3, 0.9, 9)[:, np.newaxis] * min(length, 70.0) * along
    outside, hem, cloth = (
        np.array([_values(grey, stations + depth * inwards) for depth in depths]) for depths in DEPTHS_PX
    )
    looks = (outside.max(axis=0) < DARK * hem.min(axis=0)) & (hem.min(axis=0) < HEM * cloth.max(axis=0))
    return bool(np.mean(looks) >= 0.6)


def _coloured_corner(mask: Mask, grey: Array) -> Array | None:
    """Return the corner of the only triangle of a colour, shape (2,), [px]; None if there is none, or more than one."""
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).astype(np.uint8)
    corners = [
        corner
        for patch in blobs(mask, min_area=PATCH_AREA[0], max_area=PATCH_AREA[1])
        if (corner := _corner_of(patch, grey)) is not None
    ]
    return corners[0] if len(corners) == 1 else None


def _corner_of(patch: Blob, grey: Array) -> Array | None:
    """Return the corner of the towel at a coloured patch, None if the patch is no triangle or its corner is hidden."""
    contours, _ = cv2.findContours(patch.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    area, triangle = cv2.minEnclosingTriangle(contours[0].astype(np.float32))
    if triangle is None or patch.area < TRIANGLE_FILL * area:
        return None
    vertices = np.asarray(triangle, dtype=np.float64)[:, 0]
    opposite = np.array([np.linalg.norm(vertices[i - 2] - vertices[i - 1]) for i in range(3)])
    corner = int(np.argmax(opposite))
    legs = np.delete(vertices, corner, axis=0) - vertices[corner]
    lengths = np.linalg.norm(legs, axis=1)
    if abs(float(legs[0] @ legs[1])) > CORNER_COSINE * np.prod(lengths):
        return None
    near = np.array([vertices[corner], *(vertices[corner] + 0.33 * legs)])
    if _share(patch.mask, near) < CORNER_FILL or not _has_hems(grey, vertices[corner], legs):
        return None
    outwards: Array = vertices[corner] - OUTWARDS * legs.sum(axis=0)
    return outwards


def _has_hems(grey: Array, corner: Array, legs: Array) -> bool:
    """Return whether a coloured triangle has cloth behind its longest side, and pale hems along its legs and corner."""
    cloth = np.median(_values(grey, corner + np.array([[0.65, 0.5], [0.6, 0.6], [0.5, 0.65]]) @ legs))
    along = np.array([0.05, 0.15, 0.25, 0.35, 0.45])
    hem = 0.5 * OUTWARDS
    strips = [np.column_stack([along, np.full(5, -hem)]), np.column_stack([np.full(5, -hem), along])]
    at_corner = np.array([[-hem, -hem], [-hem, 0.0], [0.0, -hem]])
    pale = [_values(grey, corner + places @ legs) > PALE * cloth for places in (*strips, at_corner)]
    return all(np.mean(places) >= 0.6 for places in pale)


def _values(grey: Array, points: Array) -> Array:
    """Return an image (H, W) at points (n, 2), [px]. Shape (n,)."""
    maps = points.astype(np.float32)
    values = cv2.remap(grey, maps[:, :1], maps[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, dtype=np.float64)[:, 0]


def _share(mask: Mask, polygon: Array) -> float:
    """Return which share of a polygon (n, 2), [px], a mask fills."""
    inside = np.zeros_like(mask)
    cv2.fillConvexPoly(inside, np.round(polygon).astype(np.int32), 1)
    return float((inside & mask).sum() / max(1, inside.sum()))
