"""A batch of transitions as the updates need it, and how it is drawn."""

from dataclasses import dataclass

import numpy as np
import torch

from rl.buffers import FrameStore, IndexBuffer, IntArray, demo_count
from rl.drq.augmentation import shifted_images
from rl.drq.config import DrQConfig
from rl.drq.policies import DrQPolicy
from rl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Transitions with n-step returns; observation and next observation shifted independently."""

    patches: torch.Tensor
    """Images at t. Shape (B, rows, columns, bytes), uint8."""
    states: torch.Tensor
    """Proprioception at t. Shape (B, P)."""
    actions: torch.Tensor
    """Executed actions at t. Shape (B, A)."""
    rewards: torch.Tensor
    """Discounted sum of the k <= n rewards from t on. Shape (B,)."""
    discounts: torch.Tensor
    """gamma^k, or 0 where the task terminated. Shape (B,)."""
    next_patches: torch.Tensor
    """Images at t + k."""
    next_states: torch.Tensor
    """Proprioception at t + k."""
    from_demo: int
    """How many of the transitions, the first ones, were drawn from the demo buffer."""


def sample_slots(
    online: IndexBuffer, demo: IndexBuffer, batch_size: int, config: DrQConfig, rng: np.random.Generator
) -> tuple[IntArray, int]:
    """Draw transitions from both buffers, demonstrations first. Shape (B,); and how many are demonstrations.

    Raises:
        ConfigError: If both buffers are empty.
    """
    if len(online) + len(demo) == 0:
        raise ConfigError("There is nothing to learn from: collect steps or add demonstrations first.")
    from_demo = demo_count(
        batch_size,
        len(online),
        len(demo),
        fraction=config.demo_fraction,
        small_count=config.small_demo_count,
        small_fraction=config.small_demo_fraction,
    )
    parts = [buffer.sample(n, rng) for buffer, n in ((demo, from_demo), (online, batch_size - from_demo)) if n > 0]
    return np.concatenate(parts), from_demo


def make_batch(
    store: FrameStore,
    slots: IntArray,
    policy: DrQPolicy,
    config: DrQConfig,
    rng: np.random.Generator,
    *,
    from_demo: int = 0,
) -> Batch:
    """Return the transitions in these slots, the first `from_demo` demonstrations, on the policy's device."""
    returns = store.n_step(slots, n=config.n_step, gamma=config.gamma)
    images = shifted_images(store, slots, rng, together=config.shift_together)
    next_images = shifted_images(store, returns.last, rng, together=config.shift_together)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(policy.device)

    return Batch(
        patches=policy.patches(images, len(slots)),
        states=tensor(store.states(slots)),
        actions=tensor(store.actions(slots)),
        rewards=tensor(returns.rewards),
        discounts=tensor(returns.discounts),
        next_patches=policy.patches(next_images, len(slots)),
        next_states=tensor(store.states(returns.last)),
        from_demo=from_demo,
    )
