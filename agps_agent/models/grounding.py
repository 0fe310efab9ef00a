"""What finding parts in an image by classical vision gives, and what the finders share. Knows pixels and nothing else.

The knowledge is that of an eye, not of a simulator: what parts look like, whatever the light. One file per object.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rl.types import ByteArray

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """A part in the image."""

    points: dict[str, tuple[float, float]]
    """Visible keypoints by name: (u, v), the first pixel's centre at 0, [px]."""
    confidence: float
    """0 a guess, 1 certain."""
