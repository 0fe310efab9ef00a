"""A batch as ConRFT's updates need it: DrQ's, with Monte-Carlo returns and a backbone's features."""

from dataclasses import dataclass

import torch

from rl.pixels.batch import Batch


@dataclass(frozen=True, kw_only=True)
class ConRFTBatch:
    """Transitions with n-step rewards, returns, and what the actor reads."""

    batch: Batch
    """As DrQ draws it."""
    returns: torch.Tensor
    """Discounted rewards from t to the end of the episode as recorded. Shape (B,)."""
    embeddings: torch.Tensor | None
    """The backbone's features at t, of unshifted images. Shape (B, F); None without a backbone."""
    next_embeddings: torch.Tensor | None
    """The same at t + k."""
