"""Encoders: camera images to the embeddings that FLOAT compares and memory recalls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.types import ByteArray

Embedding = npt.NDArray[np.float32]

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class Encoder(Protocol):
    """Turns the images of one step into one vector, one unit vector per camera, concatenated."""

    name: str
    """What made the embeddings, for files and logs."""
    cameras: tuple[str, ...]
    """The views that are read, in the order of the embedding."""
    dim: int
    """Length k of an embedding."""

    def encode(self, images: Mapping[str, ByteArray]) -> Embedding:
        """Return the embedding, shape (k,), of images (H, W, 3) uint8 by camera name."""

    def encode_batch(self, steps: Sequence[Mapping[str, ByteArray]]) -> Embedding:
        """Return the embeddings of several steps' images. Shape (B, k)."""


@dataclass(frozen=True)
class ThumbnailEncoder:
    """Small blurred copies of the images: no weights, no download, well under a millisecond."""

    cameras: tuple[str, ...] = ("wrist_1", "wrist_2")
    """The views that are read."""
    size: int = 16
    """Side of a thumbnail, [px]."""

    @property
    def name(self) -> str:
        """What made the embeddings."""
        return f"thumbnail{self.size}"

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return len(self.cameras) * self.size * self.size * 3

    def encode(self, images: Mapping[str, ByteArray]) -> Embedding:
        """Return one unit vector per camera, concatenated. Shape (k,)."""
        views = []
        for camera in self.cameras:
            small = cv2.resize(view(images, camera), (self.size, self.size), interpolation=cv2.INTER_AREA)
            views.append(small.astype(np.float32).ravel())
        return concatenate_views(views)

    def encode_batch(self, steps: Sequence[Mapping[str, ByteArray]]) -> Embedding:
        """Return the embeddings of several steps' images. Shape (B, k)."""
        return np.stack([self.encode(images) for images in steps])


def view(images: Mapping[str, ByteArray], camera: str) -> ByteArray:
    """Return one camera's image.

    Raises:
        ConfigError: If the camera is not there.
    """
    if camera not in images:
        raise ConfigError(f"The encoder reads camera '{camera}' and there are {sorted(images)}; name one of those.")
    return images[camera]


def concatenate_views(features: Sequence[npt.NDArray[np.float32]]) -> Embedding:
    """Return the views' features, each scaled to length 1, in a row: its cosine is the mean of the views' cosines."""
    units = [f / max(float(np.linalg.norm(f)), 1e-12) for f in features]
    return np.concatenate(units).astype(np.float32)
