"""The seam for a pretrained vision model: frozen, asked once per stored frame, its answers kept.

ConRFT's actor reads a frozen vision-language-action model (Octo) whose embeddings lie in the replay memory. By default
there is none, and actor and critics share our own encoder, which learns. A model is plugged in as a `Backbone`::

    class Octo:
        name, feature_size = "octo-small", 384

        def encode(self, images):
            return self.model(resize(images["side"]), self.instruction)  # (B, 384)

    ConRFT("MultiInputPolicy", env, backbone=Octo())
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from rl.buffers import ByteArray, Float32Array, FrameStore, IntArray
from rl.errors import ConfigError

CHUNK = 64
"""Frames given to a backbone at once: a large model must not see a whole memory in one batch."""


class Backbone(Protocol):
    """A frozen model from images to features. Equal images must always give equal features."""

    name: str
    """Written in checkpoints, so that a policy is not run with another model."""
    feature_size: int

    def encode(self, images: Mapping[str, ByteArray]) -> torch.Tensor:
        """Return features of images per camera, (B, H, W, C) uint8. Shape (B, feature_size), float32."""
        ...


class Frozen:
    """A backbone as the policy holds it: shared by copies of the policy, without gradients, checked."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        if isinstance(backbone, torch.nn.Module):
            backbone.requires_grad_(False).eval()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        """Return itself: publishing a policy must not copy a large model."""
        return self

    def encode(self, images: Mapping[str, ByteArray]) -> Float32Array:
        """Return features of images per camera, (B, H, W, C). Shape (B, feature_size).

        Raises:
            ConfigError: If the backbone returns another shape or values that are not finite.
        """
        count = len(next(iter(images.values())))
        parts = []
        with torch.inference_mode():
            for start in range(0, count, CHUNK):
                features = self.backbone.encode({key: image[start : start + CHUNK] for key, image in images.items()})
                expected = (min(CHUNK, count - start), self.backbone.feature_size)
                if tuple(features.shape) != expected or not bool(torch.isfinite(features).all()):
                    raise ConfigError(
                        f"Backbone '{self.backbone.name}' gave shape {tuple(features.shape)}, not {expected}, or "
                        "values that are not finite; correct its encode()."
                    )
                parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)


class EmbeddingCache:
    """Features of the stored frames, each computed once.

    A slot's features belong to the episode whose frame was embedded; the store reuses slots but never episode numbers,
    so features of an evicted frame are recognised as stale without being told.
    """

    def __init__(self, store: FrameStore, frozen: Frozen) -> None:
        self._store = store
        self._frozen = frozen
        self._features = np.empty((store.capacity, frozen.backbone.feature_size), np.float32)
        self._owner = np.full(store.capacity, -1, np.int64)

    def features(self, slots: IntArray) -> Float32Array:
        """Return features of the unshifted images in these slots. Shape (B, feature_size)."""
        missing = np.unique(slots[self._owner[slots] != self._store.episode_of(slots)])
        if len(missing) > 0:
            images = {key: self._store.images(key, missing) for key in self._store.image_shapes}
            self._features[missing] = self._frozen.encode(images)
            self._owner[missing] = self._store.episode_of(missing)
        return self._features[slots]

    @property
    def held(self) -> int:
        """Number of stored frames whose features are known."""
        return int(self._known().sum())

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return the features with the episode and step of each, for a checkpoint."""
        slots = np.flatnonzero(self._known())
        episodes, steps = self._store.locate(slots)
        return {"episodes": episodes, "steps": steps, "features": self._features[slots]}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over saved features; the store must hold their episodes again."""
        slots = self._store.slots_at(state["episodes"], state["steps"])
        self._features[slots] = state["features"]
        self._owner[slots] = state["episodes"]

    def _known(self) -> npt.NDArray[np.bool_]:
        everywhere = self._store.episode_of(np.arange(self._store.capacity))
        known: npt.NDArray[np.bool_] = (self._owner == everywhere) & (everywhere >= 0)
        return known
