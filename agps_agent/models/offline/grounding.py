"""What finding parts in an image by classical vision gives, and what the finders share. Knows pixels and nothing else.

The knowledge is that of an eye, not of a simulator: what parts look like, whatever the light. One file per object. An
installed package brings a finder as an entry point `agps.groundings`, named as the keypoints that it finds begin.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rl.registry import Registry
from rl.types import ByteArray

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.uint8]
"""Image of zeros and ones. Shape (H, W)."""


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """A part in the image."""

    points: dict[str, tuple[float, float]]
    """Visible keypoints by name: (u, v), the first pixel's centre at 0, [px]."""
    confidence: float
    """0 a guess, 1 certain."""


Finder = Callable[[ByteArray], Grounding | None]
"""From a colour image (H, W, 3), uint8, to the parts that it shows; None where it shows none."""

GROUNDINGS: Registry[Finder] = Registry("agps.groundings", "keypoint finder")
"""Finders by the first words of the labels that they find: `port` finds `port_left` and `port_right`."""


def finder_of(label: str) -> str | None:
    """Return the name of the finder of a keypoint: the one that shares most words with its label; None for none."""
    words = label.split("_")
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((name for name in names if name in GROUNDINGS), None)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A connected patch of one colour."""

    mask: Mask
    """The patch alone, in the whole image. Shape (H, W)."""
    area: int
    """[px^2]."""
    centre: Array
    """Mean of its pixels. Shape (2,), [px]."""
    half_sides: Array
    """Half lengths of the rectangle that has the same second moments, longer one first. Shape (2,), [px]."""

    @property
    def fill(self) -> float:
        """Area over that of the rectangle with the same second moments: 1 for a rectangle, .95 for an ellipse."""
        return self.area / float(4 * np.prod(self.half_sides) + 1e-9)


def hue_saturation_value(rgb: ByteArray) -> Array:
    """Return an image (H, W, 3), uint8, as hue, [deg], saturation and value, 0 to 1. Shape (H, W, 3)."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2HSV))


def coloured(hsv: Array, *, hue_deg: tuple[float, float], saturation: float, value: float) -> Mask:
    """Return where an image has a vivid colour. Shape (H, W).

    Args:
        hsv: From `hue_saturation_value`. Shape (H, W, 3).
        hue_deg: First and last hue, [deg]; from the larger to the smaller goes through red.
        saturation: Least (max - min) / max.
        value: Least brightness, 0 to 1.
    """
    hue = hsv[..., 0]
    low, high = hue_deg
    inside = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
    return np.asarray(inside & (hsv[..., 1] >= saturation) & (hsv[..., 2] >= value), dtype=np.uint8)


def blobs(mask: Mask, *, min_area: int, max_area: int) -> Iterator[Blob]:
    """Yield the connected patches of a mask within a range of areas, [px^2], the largest first."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    fitting = np.flatnonzero((areas >= min_area) & (areas <= max_area)) + 1
    for label in sorted(fitting, key=lambda i: -areas[i - 1]):
        yield blob((labels == label).astype(np.uint8))


def blob(mask: Mask) -> Blob:
    """Return what a mask, not empty, looks like as one patch."""
    v, u = np.nonzero(mask)
    points = np.column_stack([u, v]).astype(np.float64)
    centre = points.mean(axis=0)
    # A pixel is a square of its own: 1/12 px^2 on each axis.
    spread = np.linalg.eigvalsh((points - centre).T @ (points - centre) / len(points) + np.eye(2) / 12.0)
    return Blob(mask=mask, area=len(points), centre=centre, half_sides=np.sqrt(3.0 * spread[::-1]))
