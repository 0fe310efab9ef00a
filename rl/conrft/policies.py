"""Networks of ConRFT: our encoder, a consistency actor, and critics that value many actions of a state at once."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from rl.conrft.backbone import Frozen
from rl.conrft.config import ConRFTConfig
from rl.conrft.consistency import ConsistencyHead
from rl.episodes import STATE
from rl.pixels.ensemble import Critics, EnsembleLinear
from rl.pixels.policy import PixelPolicy, averaged_copy

EMBEDDINGS = "embeddings"


class ConsistencyActor(nn.Module):
    """Consistency head on features and state; a backbone's features are first narrowed to the width of ours."""

    def __init__(self, feature_size: int, state_size: int, action_size: int, config: ConRFTConfig, *, adapt: bool):
        super().__init__()
        self.adapter: nn.Module = nn.Identity()
        if adapt:
            width = config.feature_size
            self.adapter = nn.Sequential(
                nn.LayerNorm(feature_size), nn.Linear(feature_size, width), nn.LayerNorm(width), nn.Tanh()
            )
            feature_size = width
        self.head = ConsistencyHead(feature_size + state_size, action_size, config.hidden_size, config.noise_scales)

    def observed(self, features: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return what the head is conditioned on. Shape (B, I)."""
        return torch.cat((self.adapter(features), states), 1)


class ManyActionCritics(Critics):
    """Critics that can value many actions of a state, whose share of the first layer is then computed once."""

    def values(
        self,
        features: torch.Tensor,
        state: torch.Tensor,
        actions: torch.Tensor,
        precision: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Return Q-values of N actions per state, actions of shape (B, N, A). Shape (E, B, N)."""
        batch, count, _ = actions.shape
        first = self.layers[0]
        assert isinstance(first, EnsembleLinear)
        observed = torch.cat((features, state), 1)
        split = observed.shape[1]
        with torch.autocast(actions.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            per_state = observed @ first.weight[:, :split] + first.bias
            per_action = actions.reshape(batch * count, -1) @ first.weight[:, split:]
            hidden = per_state[:, :, None] + per_action.view(self.members, batch, count, -1)
            q: torch.Tensor = self.layers[1:](hidden.flatten(1, 2))
        return q.float().view(self.members, batch, count)


class ConRFTPolicy(PixelPolicy):
    """Encoder, consistency actor, critics and target critics.

    Without a backbone the actor reads the features that the critics read. With one it reads the backbone's, and the
    critics keep our own encoder, as ConRFT's do.
    """

    config: ConRFTConfig
    actor: ConsistencyActor
    critic: ManyActionCritics
    critic_target: ManyActionCritics

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule | None = None,
        config: ConRFTConfig | None = None,
        has_gripper: bool = False,
        points: bool = False,
        frozen: Frozen | None = None,
        use_sde: bool = False,
    ) -> None:
        config = config or ConRFTConfig()
        super().__init__(observation_space, action_space, config, has_gripper=has_gripper, points=points)
        self.frozen = frozen
        read = self.features_size if frozen is None else frozen.backbone.feature_size
        self.actor = ConsistencyActor(read, self.state_size, self.actor_size, config, adapt=frozen is not None)
        inputs = self.features_size + self.state_size
        self.critic = ManyActionCritics(inputs + self.actor_size, config.hidden_size, config.critics)
        self.critic_target = averaged_copy(self.critic)
        self.smooth_actor = averaged_copy(self.actor)
        self.setup_gripper()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    def averaged(self) -> list[tuple[nn.Module | None, nn.Module | None]]:
        """Return the networks that act deterministically, each with the one that it is the moving average of."""
        return [*super().averaged(), (self.smooth_actor, self.actor)]

    def tensors(self, seen: Mapping[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
        """Return patches, state, and the backbone's features of batched observations."""
        tensors = super().tensors(seen)
        if self.frozen is not None:
            images = {key: seen[key] for key in self.cameras}
            tensors[EMBEDDINGS] = torch.from_numpy(self.frozen.encode(images)).to(self.device)
        return tensors

    def actions(self, tensors: dict[str, torch.Tensor], noise: torch.Tensor, *, smooth: bool = False) -> torch.Tensor:
        """Return the single-step actions of this noise, (B, A), from observations as `tensors` gives them.

        Args:
            tensors: Patches, state, and the backbone's features if there is one.
            noise: Standard normal, or 0 for the deterministic action, for the C components that the head gives: all,
                or those before a discrete gripper's. Shape (B, C).
            smooth: Whether the averaged weights act.
        """
        smooth = smooth and self.config.average_rate > 0.0
        actor = self.smooth_actor if smooth else self.actor
        states = tensors[STATE]
        features = self.encode(tensors["patches"], smooth=smooth)
        read = features if self.frozen is None else tensors[EMBEDDINGS]
        actions = actor.head.sample(actor.observed(read, states), noise)
        return torch.cat((actions, self.command(features, states, smooth=smooth)), 1)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> torch.Tensor:
        # Zero noise is the mode of what single steps start from: one pass, and no seed. At the largest noise x tells
        # next to nothing, so that the head learns the mean action there, and its samples differ little from it.
        assert isinstance(observation, dict)
        size = (len(observation[STATE]), self.actor_size)
        noise = torch.zeros(size, device=self.device) if deterministic else torch.randn(size, device=self.device)
        return self.actions(observation, noise, smooth=deterministic)
