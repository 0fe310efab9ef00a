"""How the embedded model errs on purpose, as a vision-language model does: beside the truth, far off, and late.

All points of a reply are moved together. A model that is a little wrong about where a thing is has still seen its
shape. A model that is grossly wrong has taken something else for it, a slot, a shadow, the port beside it: it points
at that in the same arrangement, as sure as ever. So no check of distances in the image finds either error.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rl.bounds import NotNegative, Seed, Share
from rl.types import ByteArray, FloatArray

Pixel = tuple[float, float]
"""(u, v) in pixels of the image, u to the right, v down."""

MISS = 0.25
"""A gross miss lies at least this far from the truth, as a share of the image's shorter side: 120 px of 480, fifteen
standard deviations of a model that is wrong by 8 px."""


@dataclass(frozen=True, kw_only=True)
class Flaws:
    """What the embedded model does worse than it could; by default nothing."""

    point_error_px: NotNegative = 0.0
    """Standard deviation of the pointing error along x and along y, common to the points of a reply, [px of the
    image]."""
    miss_share: Share = 0.0
    """Share of the replies whose points lie together somewhere else in the image, from 0 to 1."""
    latency_s: NotNegative = 0.0
    """Time that each reply is late, [s]."""
    seed: Seed = 0
    """Seed of the errors. The same question gets the same error, as from a model at temperature 0."""

    def moved(self, points: Mapping[str, Pixel], image: ByteArray, question: str) -> dict[str, Pixel]:
        """Return the points of a reply as the model gives them.

        The error hangs on seed, image and question alone, not on what was asked before: so it is the same whatever the
        order of the requests, and in a run that was resumed.

        Args:
            points: Where the things are.
            image: What the model is shown. Shape (H, W, 3), uint8.
            question: What it is asked.
        """
        if not points or not (self.point_error_px or self.miss_share):
            return dict(points)
        asked = hashlib.sha256(question.encode() + np.ascontiguousarray(image).tobytes()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(asked[:8])])
        height, width = image.shape[:2]
        du, dv = self.shift(np.array(list(points.values())), width=width, height=height, rng=rng)
        return {label: (u + du, v + dv) for label, (u, v) in points.items()}

    def shift(self, points: FloatArray, *, width: int, height: int, rng: np.random.Generator) -> tuple[float, float]:
        """Draw by how much the points of one reply are moved, [px]; they stay in the image.

        Args:
            points: Where the things are. Shape (n, 2), [px].
            width: Of the image, [px].
            height: Of the image, [px].
            rng: Source of the draw.
        """
        lowest = np.minimum(0.0, -points.min(axis=0))
        highest = np.maximum(0.0, np.array([width, height]) - 1.0 - points.max(axis=0))
        if rng.random() < self.miss_share:
            du, dv = _elsewhere(lowest, highest, MISS * min(width, height), rng)
        else:
            du, dv = np.clip(rng.normal(0.0, self.point_error_px, 2), lowest, highest)
        return float(du), float(dv)


def _elsewhere(lowest: FloatArray, highest: FloatArray, least: float, rng: np.random.Generator) -> FloatArray:
    """Return a shift (2,) between two bounds of which each place far enough away is as likely, [px].

    Args:
        lowest: Shape (2,), at most 0.
        highest: Shape (2,), at least 0.
        least: Length of the shortest shift. Points that fill the image have less room: half of what there is will do.
        rng: Source of the draw.
    """
    furthest = float(np.linalg.norm(np.maximum(-lowest, highest)))
    least = min(least, furthest / 2)
    while True:  # a draw is far enough at least one time in ten, however the room is cut
        shift: FloatArray = rng.uniform(lowest, highest)
        if np.linalg.norm(shift) >= least:
            return shift
