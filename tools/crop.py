"""A part of an image, enlarged, and the way back: where a pixel of the part is in the whole."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from rl.types import ByteArray

SMALLEST = 0.25
"""Least share of the image's sides that is cut out: what is around a point says what it is."""
LARGEST_ZOOM = 4.0
"""Beyond it nothing is seen that was not seen before."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A rectangle of an image and how much it is enlarged."""

    left: int
    """First column, [px]."""
    top: int
    """First row, [px]."""
    width: int
    height: int
    zoom: float
    """Pixels of the enlarged part per pixel of the image."""

    def cut(self, rgb: ByteArray) -> ByteArray:
        """Return the enlarged part of an image (H, W, 3), uint8."""
        part = rgb[self.top : self.top + self.height, self.left : self.left + self.width]
        size = round(self.width * self.zoom), round(self.height * self.zoom)
        return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)

    def to_whole(self, pixel: tuple[float, float]) -> tuple[float, float]:
        """Return where a pixel (u, v) of the enlarged part is in the image, [px].

        Centres of pixels are at whole numbers: u_whole = left + (u + 1/2) / zoom - 1/2.
        """
        scale_u, scale_v = self._scale
        return self.left + (pixel[0] + 0.5) / scale_u - 0.5, self.top + (pixel[1] + 0.5) / scale_v - 0.5

    def to_part(self, pixel: tuple[float, float]) -> tuple[float, float]:
        """Return where a pixel (u, v) of the image is in the enlarged part, [px]."""
        scale_u, scale_v = self._scale
        return (pixel[0] - self.left + 0.5) * scale_u - 0.5, (pixel[1] - self.top + 0.5) * scale_v - 0.5

    @property
    def _scale(self) -> tuple[float, float]:
        """Pixels of the part per pixel of the image along u and v: the zoom, but for rounding to whole pixels."""
        return round(self.width * self.zoom) / self.width, round(self.height * self.zoom) / self.height


def crop_around(pixels: Iterable[tuple[float, float]], *, width: int, height: int, margin_px: float) -> Crop:
    """Return the part of an image that holds some pixels with a margin, enlarged as far as that shows more.

    It has the image's proportions.

    Args:
        pixels: (u, v), [px]; at least one.
        width: Of the image, [px].
        height: Of the image, [px].
        margin_px: Least distance of a pixel from the edge of the part, where the image goes on, [px].
    """
    points = np.array(list(pixels), dtype=np.float64)
    low, high = points.min(axis=0) - margin_px, points.max(axis=0) + margin_px
    share = float(np.clip(np.max((high - low) / [width, height]), SMALLEST, 1.0))
    size = np.ceil(np.array([width, height]) * share).astype(int)
    corner = np.clip(np.round((low + high) / 2 - size / 2), 0, [width, height] - size).astype(int)
    return Crop(
        left=int(corner[0]),
        top=int(corner[1]),
        width=int(size[0]),
        height=int(size[1]),
        zoom=min(1.0 / share, LARGEST_ZOOM),
    )
