"""A batch as ConRFT's updates need it: DrQ's, with Monte-Carlo returns and a backbone's features."""

from dataclasses import dataclass

import numpy as np
import torch

from rl.buffers import FrameStore, IntArray
from rl.conrft.backbone import EmbeddingCache
from rl.conrft.config import ConRFTConfig
from rl.conrft.policies import ConRFTPolicy
from rl.drq.batch import Batch, make_batch


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


def make_conrft_batch(
    store: FrameStore,
    slots: IntArray,
    policy: ConRFTPolicy,
    config: ConRFTConfig,
    rng: np.random.Generator,
    *,
    from_demo: int,
    cache: EmbeddingCache | None,
) -> ConRFTBatch:
    """Return the transitions in these slots, the first `from_demo` demonstrations, on the policy's device."""

    def embeddings(of: IntArray) -> torch.Tensor | None:
        return None if cache is None else torch.from_numpy(cache.features(of)).to(policy.device)

    last = store.n_step(slots, n=config.n_step, gamma=config.gamma).last
    lowest = 0.0 if config.clip_target is None else config.clip_target[0] * config.reward_scale
    returns = store.returns(slots, config.gamma, after_end=lowest) / np.float32(config.reward_scale)
    return ConRFTBatch(
        batch=make_batch(store, slots, policy, config, rng, from_demo=from_demo),
        returns=torch.from_numpy(returns).to(policy.device),
        embeddings=embeddings(slots),
        next_embeddings=embeddings(last),
    )
