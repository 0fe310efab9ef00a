"""An algorithm of this package: DrQ that pays for every step, so that a peg that is nearly in goes in now."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from rl.bounds import NotNegative, check_bounds
from rl.drq.config import DrQConfig
from rl.drq.drq import DrQ
from rl.pixels.batch import Batch


@dataclass(frozen=True, kw_only=True)
class HastyConfig(DrQConfig):
    """DrQ's settings and one more."""

    step_cost: NotNegative = 0.01
    """Taken from the reward of each transition of `n_step` control steps, in units of `reward_scale`."""
    clip_target: tuple[float, float] | None = (-1.0, 1.0)
    """As DrQ's, but below 0: who never succeeds pays for ever."""

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        super().__post_init__()
        check_bounds(self)


class HastyDrQ(DrQ):
    """Learns y = R - step_cost + discount * Q(s', a'): of two ways that succeed, the shorter one is worth more."""

    name: ClassVar[str] = "hasty-drq"
    config_class = HastyConfig
    config: HastyConfig

    def target(self, batch: Batch, next_features: torch.Tensor) -> torch.Tensor:
        """Return DrQ's target of the rewards less what a step costs. Shape (B,)."""
        return super().target(replace(batch, rewards=batch.rewards - self.config.step_cost), next_features)
