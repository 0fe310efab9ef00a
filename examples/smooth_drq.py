"""An algorithm of one's own: DrQ whose targets see a little noise on the next action, as TD3's (arXiv:1802.09477).

agps train usb_insertion --algorithm examples/smooth_drq.py:SmoothDrQ --helper agent
agps train usb_insertion --algorithm examples/smooth_drq.py:SmoothDrQ --algorithm-options.target-noise 0.1
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from rl.drq.config import DrQConfig
from rl.drq.drq import DrQ
from rl.drq.policies import squashed_sample
from rl.errors import ConfigError
from rl.pixels.batch import Batch


@dataclass(frozen=True, kw_only=True)
class SmoothConfig(DrQConfig):
    """DrQ's settings and two more; each is an option of `agps train`, its docstring the help."""

    target_noise: float = 0.2
    """Standard deviation of the noise on the next action, in units of the action. TD3: 0.2."""
    noise_limit: float = 0.5
    """Largest noise on the next action. TD3: 0.5."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        super().__post_init__()
        if self.target_noise < 0.0 or self.noise_limit < 0.0:
            raise ConfigError("target_noise and noise_limit must be at least 0.")


class SmoothDrQ(DrQ):
    """Learns values that are smooth in the action: the critic cannot be exploited in narrow peaks."""

    name: ClassVar[str] = "smooth-drq"
    config_class = SmoothConfig
    config: SmoothConfig

    def target(self, batch: Batch, next_features: torch.Tensor) -> torch.Tensor:
        """Return y = R + discount * min_i Q_target,i(s', clip(a' + noise)), a' ~ pi(s'). Shape (B,)."""
        with torch.no_grad():
            mean, log_std = self.policy.actor(next_features, batch.next_states)
            next_actions, _ = squashed_sample(mean, log_std, self._noise(len(next_features)))
            noise = self.config.target_noise * self._noise(len(next_features))
            noise = noise.clamp(-self.config.noise_limit, self.config.noise_limit)
            q = self.policy.critic_target(next_features, batch.next_states, (next_actions + noise).clamp(-1.0, 1.0))
            target: torch.Tensor = batch.rewards + batch.discounts * q.min(0).values
            return target if self.clip_target is None else target.clamp(*self.clip_target)
