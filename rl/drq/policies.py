"""Networks of DrQ: one encoder, a squashed Gaussian actor, and an ensemble of critics computed at once."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn import functional as F

from rl.drq.augmentation import patchify
from rl.drq.config import DrQConfig, PixelConfig, Precision
from rl.drq.gripper import GRIPPER_ACTIONS, GripperCritic, best_command
from rl.episodes import STATE, image_shapes
from rl.errors import ConfigError

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0
NetworkT = TypeVar("NetworkT", bound=nn.Module | None)


class Encoder(nn.Module):
    """Images to features: patches, two 3x3 convolutions, a linear layer, LayerNorm, tanh.

    The patches of all cameras of a place enter together. 64-pixel images give 16 x 16 patches, then 8 x 8 x channels.
    """

    def __init__(self, patch_bytes: int, grid: tuple[int, int], config: PixelConfig) -> None:
        super().__init__()
        channels = config.channels
        self.patch = nn.Linear(patch_bytes, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        rows, columns = (side + 1 >> 1 for side in grid)
        self.project = nn.Linear(rows * columns * channels, config.feature_size)
        self.norm = nn.LayerNorm(config.feature_size)

    def forward(self, patches: torch.Tensor, precision: torch.dtype = torch.float32) -> torch.Tensor:
        """Return float32 features, shape (B, feature_size), of uint8 patches, shape (B, rows, columns, bytes)."""
        # Scaling pixels to [-1/2, 1/2] is folded into the first kernel: no pass over the pixels.
        kernel = self.patch.weight / 255.0
        bias = self.patch.bias - 0.5 * self.patch.weight.sum(1)
        with torch.autocast(patches.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            x = F.relu(F.linear(patches.to(precision), kernel, bias))
            x = x.permute(0, 3, 1, 2)  # (B, channels, rows, columns), in memory still channels last
            x = F.relu(self.conv1(x))
            x = F.relu(self.conv2(x))
            x = self.project(x.permute(0, 2, 3, 1).flatten(1))
        features: torch.Tensor = torch.tanh(self.norm(x.float()))
        return features


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


class EnsembleLinear(nn.Module):
    """The same linear layer for each member of an ensemble, as one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        layers = [nn.Linear(inputs, outputs) for _ in range(members)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (E, B, outputs) of (E, B, inputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleNorm(nn.Module):
    """LayerNorm with its own gain and offset for each member of an ensemble."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, size))
        self.bias = nn.Parameter(torch.zeros(members, 1, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (E, B, size) normalised over its last axis."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class Critics(nn.Module):
    """Ensemble of Q-functions on features, state and action; LayerNorm as in RLPD (arXiv:2302.02948)."""

    def __init__(self, input_size: int, hidden_size: int, members: int) -> None:
        super().__init__()
        self.members = members
        self.layers = nn.Sequential(
            EnsembleLinear(members, input_size, hidden_size),
            EnsembleNorm(members, hidden_size),
            nn.ReLU(),
            EnsembleLinear(members, hidden_size, hidden_size),
            EnsembleNorm(members, hidden_size),
            nn.ReLU(),
            EnsembleLinear(members, hidden_size, 1),
        )

    def forward(self, features: torch.Tensor, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return Q-values of each member. Shape (E, B)."""
        x = torch.cat((features, state, action), 1)
        q: torch.Tensor = self.layers(x.expand(self.members, *x.shape)).squeeze(-1)
        return q


class PixelPolicy(BasePolicy):
    """What policies share that see a Dict of uint8 images (H, W, C) and `state` with our encoder.

    There is no target encoder, as in DrQ-v2 (arXiv:2107.09645): target critics read the live encoder's features.
    Subclasses add networks, last the gripper's with `setup_gripper`, and `_predict`.
    """

    observation_space: spaces.Dict
    action_space: spaces.Box
    actor: nn.Module
    critic: Critics
    critic_target: Critics

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Box, config: PixelConfig) -> None:
        super().__init__(observation_space, action_space, squash_output=True)
        shapes = image_shapes(observation_space)
        self.config = config
        self.cameras = tuple(shapes)
        self.features_size = 0
        if shapes:
            height, width, channels = _common_shape(shapes)
            self.patch_size = config.patch_size or max(2, height // 16)
            if height % self.patch_size or width % self.patch_size:
                raise ConfigError(
                    f"Images of {height} x {width} px do not divide into patches of {self.patch_size} px."
                )
            grid = (height // self.patch_size, width // self.patch_size)
            patch_bytes = len(shapes) * channels * self.patch_size**2
            self.encoder: Encoder | None = Encoder(patch_bytes, grid, config)
            self.features_size = config.feature_size
        else:
            self.encoder = None
        self.smooth_encoder = averaged_copy(self.encoder)
        self.state_size = int(np.prod(observation_space[STATE].shape or (0,)))
        self.discrete_gripper = action_space.shape[0] == GRIPPER_ACTIONS and config.gripper == "discrete"
        self.actor_size = action_space.shape[0] - self.discrete_gripper
        """Action components that actor and critics see: the first ones."""

    def setup_gripper(self) -> None:
        """Make the critic that chooses a discrete gripper's command, or None; called after the other networks."""
        inputs = self.features_size + self.state_size
        self.gripper = GripperCritic(inputs, self.config.hidden_size) if self.discrete_gripper else None
        self.gripper_target, self.smooth_gripper = averaged_copy(self.gripper), averaged_copy(self.gripper)

    def command(self, features: torch.Tensor, states: torch.Tensor, *, smooth: bool) -> torch.Tensor:
        """Return the command of a discrete gripper, (B, 1), or nothing, (B, 0)."""
        gripper = self.smooth_gripper if smooth else self.gripper
        return states.new_zeros((len(states), 0)) if gripper is None else best_command(gripper(features, states))

    def encode(
        self, patches: torch.Tensor, precision: torch.dtype = torch.float32, *, smooth: bool = False
    ) -> torch.Tensor:
        """Return image features, of the averaged encoder if `smooth`. (B, feature_size), or (B, 0) without cameras."""
        encoder = self.smooth_encoder if smooth else self.encoder
        if encoder is None:
            return patches.new_zeros((len(patches), 0), dtype=torch.float32)
        features: torch.Tensor = encoder(patches, precision)
        return features

    def averaged(self) -> list[tuple[nn.Module | None, nn.Module | None]]:
        """Return the networks that act deterministically, each with the one that it is the moving average of."""
        return [(self.smooth_encoder, self.encoder), (self.smooth_gripper, self.gripper)]

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the target critics, each with the one that it follows."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.critic_target, self.critic)]
        if self.gripper is not None and self.gripper_target is not None:
            pairs.append((self.gripper_target, self.gripper))
        return pairs

    def average(self) -> None:
        """Mix the weights into their moving averages, by `average_rate`."""
        averages: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        for average, network in self.averaged():
            if average is not None and network is not None:
                averages += average.parameters()
                weights += network.parameters()
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, self.config.average_rate)

    def patches(self, images: Mapping[str, npt.NDArray[np.uint8]], batch_size: int) -> torch.Tensor:
        """Return batched images per camera, (B, H, W, C), as the encoder wants them."""
        if not self.cameras:
            return torch.zeros((batch_size, 0), dtype=torch.uint8, device=self.device)
        ordered = {key: images[key] for key in self.cameras}
        return torch.from_numpy(patchify(ordered, self.patch_size)).to(self.device)

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """Return patches and state as tensors, and whether the observation was a batch."""
        state = np.asarray(observation[STATE], np.float32)
        batched = state.ndim > len(self.observation_space[STATE].shape or ())
        if not batched:
            observation = {key: np.asarray(value)[None] for key, value in observation.items()}
            state = state[None]
        patches = self.patches(observation, len(state))
        return {"patches": patches, STATE: torch.from_numpy(state).to(self.device)}, batched

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "config": self.config,
        }


class DrQPolicy(PixelPolicy):
    """Encoder, actor, critics and target critics; and, for a discrete gripper, a critic that chooses its command."""

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Box,
        lr_schedule: Schedule | None = None,
        config: DrQConfig | None = None,
        use_sde: bool = False,
    ) -> None:
        config = config or DrQConfig()
        super().__init__(observation_space, action_space, config)
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


def averaged_copy(network: NetworkT) -> NetworkT:
    """Return a copy of a network, or None of None, to hold a moving average of its weights: without gradients."""
    copied = copy.deepcopy(network)
    if isinstance(copied, nn.Module):
        copied.requires_grad_(False)
    return copied


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the arithmetic of the encoder in updates.

    `auto` takes bfloat16 on GPUs that support it and on processors with AVX512-BF16 or AMX; elsewhere it is emulated,
    and slower.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    flags = Path("/proc/cpuinfo")
    native = flags.exists() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def _common_shape(shapes: Mapping[str, tuple[int, int, int]]) -> tuple[int, int, int]:
    if len(set(shapes.values())) > 1:
        raise ConfigError(f"The policy's cameras must give equally large images, not {dict(shapes)}.")
    return next(iter(shapes.values()))
