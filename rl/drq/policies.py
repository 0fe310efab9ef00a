"""Networks of DrQ: a squashed Gaussian actor, and critics, on the features of one encoder."""

import math
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn import functional as F

from rl.drq.config import DrQConfig
from rl.episodes import STATE
from rl.pixels.ensemble import Critics
from rl.pixels.policy import PixelPolicy, averaged_copy

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0


class Actor(nn.Module):
    """Squashed Gaussian policy on features and state."""

    def __init__(self, input_size: int, action_size: int, hidden_size: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.ReLU(),
        )
        self.mean = nn.Linear(hidden_size, action_size)
        self.log_std = nn.Linear(hidden_size, action_size)

    def forward(self, features: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log standard deviation before squashing. Shapes (B, A)."""
        x = self.trunk(torch.cat((features, state), 1))
        return self.mean(x), self.log_std(x).clamp(LOG_STD_MIN, LOG_STD_MAX)


def squashed_sample(
    mean: torch.Tensor, log_std: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a = tanh(mean + std * noise), shape (B, A), and log pi(a), shape (B,), for standard normal noise."""
    raw = mean + log_std.exp() * noise
    log_normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), which does not lose digits at large |u|.
    log_slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
    return torch.tanh(raw), (log_normal - log_slope).sum(1)


class DrQPolicy(PixelPolicy):
    """Encoder, actor, critics and target critics; and, for a discrete gripper, a critic that chooses its command."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule | None = None,
        config: DrQConfig | None = None,
        has_gripper: bool = False,
        points: bool = False,
        use_sde: bool = False,
    ) -> None:
        config = config or DrQConfig()
        super().__init__(observation_space, action_space, config, has_gripper=has_gripper, points=points)
        inputs = self.features_size + self.state_size
        self.actor = Actor(inputs, self.actor_size, config.hidden_size)
        self.critic = Critics(inputs + self.actor_size, config.hidden_size, config.critics)
        self.critic_target = Critics(inputs + self.actor_size, config.hidden_size, config.critics)
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.critic_target.requires_grad_(False)
        self.smooth_actor = averaged_copy(self.actor)
        self.setup_gripper()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    def averaged(self) -> list[tuple[nn.Module | None, nn.Module | None]]:
        """Return the networks that act deterministically, each with the one that it is the moving average of."""
        return [*super().averaged(), (self.smooth_actor, self.actor)]

    def distribution(
        self, patches: torch.Tensor, states: torch.Tensor, *, deterministic: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return mean and log standard deviation before squashing, and the command of a discrete gripper.

        Of the averaged weights if deterministic. Shapes (B, C), (B, C), and (B, A - C): (B, 0) without such a gripper.
        """
        smooth = deterministic and self.config.average_rate > 0.0
        features = self.encode(patches, smooth=smooth)
        mean, log_std = (self.smooth_actor if smooth else self.actor)(features, states)
        return mean, log_std, self.command(features, states, smooth=smooth)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> torch.Tensor:
        assert isinstance(observation, dict)
        patches, states = observation["patches"], observation[STATE]
        mean, log_std, command = self.distribution(patches, states, deterministic=deterministic)
        if not deterministic:
            mean = mean + log_std.exp() * torch.randn_like(mean)
        return torch.cat((torch.tanh(mean), command), 1)
