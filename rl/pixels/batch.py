"""A batch of transitions as the updates need it, and how it is drawn."""

from dataclasses import dataclass

import numpy as np
import torch

from rl.buffers import FrameStore, IntArray, StateScales
from rl.episodes import WAY_SIZE
from rl.pixels.config import PixelConfig
from rl.pixels.gripper import GripperBatch
from rl.pixels.patches import shifted_images
from rl.pixels.policy import PixelPolicy


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Transitions with n-step returns; observation and next observation shifted independently."""

    patches: torch.Tensor
    """Images at t, 0 to 255. Shape (B, rows, columns, bytes)."""
    states: torch.Tensor
    """Proprioception at t. Shape (B, P)."""
    actions: torch.Tensor
    """Executed actions at t. Shape (B, A)."""
    rewards: torch.Tensor
    """Discounted sum of the k <= n rewards from t on, in units of `reward_scale`. Shape (B,)."""
    discounts: torch.Tensor
    """gamma^k, or 0 where the task terminated. Shape (B,)."""
    next_patches: torch.Tensor
    """Images at t + k."""
    next_states: torch.Tensor
    """Proprioception at t + k."""
    from_demo: int
    """How many of the transitions, the first ones, were drawn from the demo buffer."""
    labels: torch.Tensor
    """What a teacher would do at t; rows that are not a number where it said nothing. Shape (B, A)."""
    ways: torch.Tensor
    """From the TCP at t to the TCP at the success of the episode: x, y, z [m], turn about the vertical [rad]; not
    numbers where there was none. Shape (B, 4)."""
    gripper: GripperBatch | None = None
    """What the critic of a discrete gripper learns from; None without one."""

    @property
    def labelled(self) -> torch.Tensor:
        """Which transitions a teacher has labelled. Shape (B,), bool."""
        return ~torch.isnan(self.labels[:, 0])

    @property
    def demonstrated(self) -> torch.Tensor:
        """Which transitions were drawn from the demo buffer. Shape (B,), bool."""
        return torch.arange(len(self.actions), device=self.actions.device) < self.from_demo

    @property
    def shown(self) -> torch.Tensor:
        """Which transitions have something to imitate: demonstrations, and those with a label. Shape (B,), bool."""
        return self.demonstrated | self.labelled


def make_batch(
    store: FrameStore,
    slots: IntArray,
    policy: PixelPolicy,
    config: PixelConfig,
    rng: np.random.Generator,
    *,
    from_demo: int = 0,
    scales: StateScales | None = None,
    precision: torch.dtype = torch.uint8,
) -> Batch:
    """Return the transitions in these slots, the first `from_demo` demonstrations, on the policy's device.

    Images are converted to `precision` here, once: each network that reads them would do it again.
    """
    returns = store.n_step(slots, n=config.n_step, gamma=config.gamma)
    images = shifted_images(store, slots, rng, together=config.shift_together)
    next_images = shifted_images(store, returns.last, rng, together=config.shift_together)

    nowhere = np.full((len(slots), WAY_SIZE), np.nan, np.float32)
    ways = nowhere if scales is None else store.ways(slots, scales)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(policy.device)

    return Batch(
        patches=policy.patches(images, len(slots)).to(precision),
        states=tensor(store.states(slots)),
        actions=tensor(store.actions(slots)),
        rewards=tensor(returns.rewards / np.float32(config.reward_scale)),
        discounts=tensor(returns.discounts),
        next_patches=policy.patches(next_images, len(slots)).to(precision),
        next_states=tensor(store.states(returns.last)),
        from_demo=from_demo,
        labels=tensor(store.labels(slots)),
        ways=tensor(ways),
    )
