"""Find a USB port in an image: brightness, contours and sub-pixel edges.

A port is a pale, neutral frame around a dark opening, on something darker, and the frame has the proportions of the
connector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from agps_agent.models.offline.grounding import Array, Grounding
from rl.types import ByteArray

FRAME_MIDDLE = 0.5 * (1.0 + 21.6 / 13.6)
"""From the port's centre to the middle of the frame's short side, over half the opening's length (USB-A: an opening
of 13.6 mm in a frame of 21.6 mm)."""
ASPECT = (1.6, 4.0)
"""Length over width of the opening in the image, looked at from above to aslant."""
LEVELS = (80, 38, 115, 55, 25, 16, 10)
"""Grey values at which pale is told from dark, the most useful first."""
CERTAIN = 0.99
"""No other level is tried after an opening of this score."""
FRAME_END = (1.4, 1.85)
"""Where the frame ends, over half the opening's length: 1.59, less or more in perspective."""
MIN_AREA = 16.0
"""Smallest opening, [px^2]: in a smaller one no side has enough pixels for a sub-pixel edge."""
MAX_HOLES = 100
"""Largest holes that are looked at per level; more is texture."""
MAX_SATURATION = 0.55
"""Largest (max - min) / max of the frame's colour: metal, also in coloured light."""
MAX_HUE_SPREAD = 0.06
"""Largest difference of a colour's share between points of the frame."""
MIN_CONTRAST = 40.0
"""Smallest step in grey value from the opening to its frame."""


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """A dark opening in a pale frame."""

    left: Array
    """Middle of the left short side of the opening. Shape (2,), [px]."""
    right: Array
    centre: Array
    """Where its diagonals cross: the centre, whatever the perspective. Shape (2,), [px]."""
    score: float


def find_port(rgb: ByteArray) -> Grounding | None:
    """Return the middles of the left and right short sides of a port's frame, or None where no port is seen.

    Args:
        rgb: Colour image. Shape (H, W, 3), uint8.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    opening: _Opening | None = None
    for found in _openings(rgb, grey):
        if opening is None or found.score > opening.score:
            opening = found
        if opening.score >= CERTAIN:
            break
    if opening is None:
        return None
    points = {}
    for name, side in (("port_left", opening.left), ("port_right", opening.right)):
        point = opening.centre + FRAME_MIDDLE * (side - opening.centre)
        points[name] = (float(point[0]), float(point[1]))
    return Grounding(points=points, confidence=round(opening.score, 3))


def _openings(rgb: ByteArray, grey: Array) -> Iterator[_Opening]:
    """Yield openings found at any of several brightness levels."""
    for level in LEVELS:
        mask = (grey > level).astype(np.uint8)
        contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        holes = [contour for index, contour in enumerate(contours) if hierarchy[0][index][3] >= 0]
        holes = [hole for hole in holes if MIN_AREA <= cv2.contourArea(hole) <= 0.01 * grey.size]
        for hole in sorted(holes, key=cv2.contourArea, reverse=True)[:MAX_HOLES]:
            opening = _check_opening(rgb, grey, hole)
            if opening is not None:
                yield opening


def _check_opening(rgb: ByteArray, grey: Array, contour: Any) -> _Opening | None:
    """Return the opening that a hole's contour encloses, or None if it does not look like a port's."""
    corners = _parallelogram(contour)
    if corners is None:
        return None
    quad = _refine(grey, _order(corners))
    if quad is None or not _is_wide(quad):
        return None
    upper_left, upper_right, lower_right, lower_left = quad
    centre = _cross(_line(upper_left, lower_right), _line(upper_right, lower_left))
    left, right = (upper_left + lower_left) / 2, (upper_right + lower_right) / 2
    score = _frame_score(rgb, grey, centre, left, right, (lower_left + lower_right - upper_left - upper_right) / 4)
    return None if score <= 0.0 else _Opening(left=left, right=right, centre=centre, score=score)


def _parallelogram(contour: Any) -> Array | None:
    """Return the corners of the parallelogram that a contour fills best, or None for a sliver.

    Whitened by its second moments a parallelogram is a square, and the smallest rectangle around a square is easy.
    """
    moments = cv2.moments(contour)
    if moments["m00"] < 8.0:
        return None
    covariance = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / moments["m00"]
    values, axes = np.linalg.eigh(covariance)
    if values[0] < 0.3:
        return None
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    whiten = axes / np.sqrt(values)
    square = cv2.boxPoints(cv2.minAreaRect(((contour[:, 0] - centre) @ whiten).astype(np.float32)))
    return np.asarray(square @ np.linalg.inv(whiten) + centre)


def _order(corners: Array) -> Array:
    """Return the corners as upper left, upper right, lower right, lower left."""
    by_u = corners[np.argsort(corners[:, 0])]
    (ul, ll), (ur, lr) = (pair[np.argsort(pair[:, 1])] for pair in (by_u[:2], by_u[2:]))
    return np.array([ul, ur, lr, ll])


def _is_wide(quad: Array) -> bool:
    """Return whether a quadrilateral is as much longer than wide as an opening looks."""
    ul, ur, lr, ll = quad
    along, across = (ur + lr - ul - ll) / 2, (ll + lr - ul - ur) / 2
    area = abs(float(along[0] * across[1] - along[1] * across[0]))
    return ASPECT[0] <= float(along @ along) / area <= ASPECT[1]


def _refine(grey: Array, corners: Array) -> Array | None:
    """Return the corners moved to the crossings of four sub-pixel edges, or None where an edge is missing."""
    middle = corners.mean(axis=0)
    lines = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        line = _edge_line(grey, start, end, middle)
        if line is None:
            return None
        lines.append(line)
    quad = np.array([_cross(lines[i - 1], lines[i]) for i in range(4)])
    moved = np.linalg.norm(quad - corners, axis=1)
    return quad if np.all(moved < 4.0) else None


def _edge_line(grey: Array, start: Array, end: Array, inside: Array) -> Array | None:
    """Return the line (a, b, c), a u + b v + c = 0, of the dark-to-pale edge near a segment, or None."""
    along = (end - start) / np.linalg.norm(end - start)
    normal = np.array([along[1], -along[0]])
    if normal @ ((start + end) / 2 - inside) < 0:
        normal = -normal
    length = float(np.linalg.norm(end - start))
    count = max(5, round(length))
    stations = start + np.linspace(0.15, 0.85, count)[:, np.newaxis] * (end - start)
    reach = min(3.0, 0.45 * 2 * float(abs(normal @ ((start + end) / 2 - inside))) + 1.0)
    offsets = np.arange(-reach, 3.01, 0.25)
    profiles = _sample(grey, stations[:, np.newaxis] + offsets[:, np.newaxis] * normal)  # (count, offsets)
    found = np.array([_crossing(profile, offsets) for profile in profiles], dtype=np.float64)  # NaN without an edge
    if np.isnan(found).all():
        return None
    # What is in front of the opening shows as an edge further inside: the outermost edges are the opening's own.
    own = np.abs(found - np.nanpercentile(found, 80)) < 0.8
    if own.sum() < max(3, 0.3 * count):
        return None
    return _fit_line((stations + found[:, np.newaxis] * normal)[own])


def _crossing(profile: Array, offsets: Array) -> float:
    """Return where a profile in quarter pixels, from dark to pale, passes half of its step; NaN if nowhere."""
    # By ratio, not difference: a shadow's border on the frame is a larger step, but not out of the dark.
    steepest = int(np.argmax((profile[4:] + 30.0) / (profile[:-4] + 30.0)))  # over 1 px
    first, last = max(0, steepest - 3), min(len(profile), steepest + 8)
    low, high = float(profile[first : steepest + 1].min()), float(profile[steepest + 4 : last].max())
    if high - low < MIN_CONTRAST / 2:
        return float("nan")
    part, half = profile[first:last], (low + high) / 2
    i = int(np.flatnonzero((part[1:] >= half) & (part[:-1] < half))[0])
    share = (half - part[i]) / (part[i + 1] - part[i])
    return float(offsets[first + i] + share * (offsets[1] - offsets[0]))


def _fit_line(points: Array) -> Array:
    """Return the least-squares line (a, b, c) through points (n, 2), without those far from the median."""
    for _ in range(3):
        centre = points.mean(axis=0)
        direction = np.linalg.svd(points - centre)[2][0]
        normal = np.array([-direction[1], direction[0]])
        distance = np.abs((points - centre) @ normal)
        keep = distance <= max(0.3, 2.5 * float(np.median(distance)))
        if keep.all() or keep.sum() < 3:
            break
        points = points[keep]
    return np.array([*normal, -normal @ centre])


def _line(p: Array, q: Array) -> Array:
    line: Array = np.cross([*p, 1.0], [*q, 1.0])
    return line


def _cross(first: Array, second: Array) -> Array:
    """Return where two lines cross. Shape (2,), [px]."""
    u, v, w = np.cross(first, second)
    return np.array([u / w, v / w]) if w else np.array([np.inf, np.inf])


def _sample(image: Array, points: Array) -> Array:
    """Return an image interpolated at points (..., 2), [px]; the border is repeated."""
    maps = points.astype(np.float32)
    flat = maps.reshape(-1, 1, 2)
    values = cv2.remap(image, flat, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(values, dtype=np.float64).reshape(*maps.shape[:-1], *values.shape[2:])


def _frame_score(rgb: ByteArray, grey: Array, centre: Array, left: Array, right: Array, down: Array) -> float:
    """Return how much the surroundings look like a port's frame, 0 (not at all) to 1.

    Along the long axis: dark, then the frame as wide as it must be, then dark again, on both sides. Across: pale on
    both sides. The frame's points have one colour, however bright.
    """
    dark = float(
        np.median(_sample(grey, centre + np.array([[0.0, 0.0], 0.4 * (left - centre), 0.4 * (right - centre)])))
    )
    reach = np.linspace(1.0, 2.2, 61)
    for side in (left, right):
        profile = _sample(grey, centre + reach[:, np.newaxis] * (side - centre))
        middle = float(profile[np.argmin(np.abs(reach - FRAME_MIDDLE))])
        if middle - dark < MIN_CONTRAST:
            return 0.0
        on_frame = profile[(reach > 1.1) & (reach < FRAME_END[0])]
        # Where the frame ends there may be its own flank, less bright, before the dark.
        behind = profile[(reach > FRAME_END[0]) & (reach < FRAME_END[1])]
        if on_frame.min() < (middle + dark) / 3 or behind.min() > 0.85 * middle:
            return 0.0
    sides = np.array([centre + FRAME_MIDDLE * (side - centre) for side in (left, right)])
    across = np.array([centre + s * 1.5 * down + t * (right - centre) for s in (-1.0, 1.0) for t in (-0.5, 0.0, 0.5)])
    pale = _sample(grey, across) - dark > MIN_CONTRAST / 2
    if np.mean(pale[:3]) < 0.5 or np.mean(pale[3:]) < 0.5:
        return 0.0
    colours = _sample(rgb.astype(np.float32), np.concatenate([sides, across[3:]])) + 1.0
    hues = colours / colours.sum(axis=1, keepdims=True)
    if (
        np.ptp(hues, axis=0).max() > MAX_HUE_SPREAD
        or (1.0 - hues.min(axis=1) / hues.max(axis=1)).max() > MAX_SATURATION
    ):
        return 0.0
    contrast = float(_sample(grey, sides).min()) - dark
    return float(np.mean(pale)) * min(1.0, contrast / 100.0)
