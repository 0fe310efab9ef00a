"""What policies share that see images: an encoder, its averaged copy, and the critic of a discrete gripper."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from rl.episodes import STATE, image_shapes
from rl.errors import ConfigError
from rl.pixels.config import PixelConfig
from rl.pixels.encoder import Encoder
from rl.pixels.ensemble import Critics
from rl.pixels.gripper import GripperCritic, best_command
from rl.pixels.patches import patch_grid, patchify
from rl.pixels.pointer import SIZE, Pointer, spread
from rl.reading import Reading

NetworkT = TypeVar("NetworkT", bound=nn.Module | None)


class Seen(NamedTuple):
    """What the networks make of images."""

    features: torch.Tensor
    """What actor and critics read; the last ones are what the pointer says, without gradient: it learns from successes
    alone. Shape (B, features_size), or (B, 0) without cameras."""
    way: torch.Tensor | None
    """What the pointer says, as its loss takes it, with gradient; None without a pointer. Shape (B, 4)."""


class PixelPolicy(BasePolicy):
    """What policies share that see a Dict of uint8 images (H, W, C) and `state` with our encoder.

    There is no target encoder, as in DrQ-v2 (arXiv:2107.09645): target critics read the live encoder's features.
    Subclasses add networks, last those of `setup_gripper`, and `_predict`.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Box
    actor: nn.Module
    critic: Critics
    critic_target: Critics

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        config: PixelConfig,
        *,
        has_gripper: bool,
        points: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=True)
        self.reading = Reading(observation_space, action_space)
        shapes = image_shapes(self.reading.seen)
        self.config = config
        self.has_gripper = has_gripper
        """Whether the last component of the action commands a gripper."""
        self.cameras = tuple(shapes)
        self.features_size = 0
        if shapes:
            height, width, channels = next(iter(shapes.values()))
            self.patch_size = max(2, height // 16) if config.patch_size is None else config.patch_size
            if config.patch_size is not None:
                _check_patch_size(config.patch_size, height, width)
            grid = patch_grid(height, width, self.patch_size)
            patch_bytes = len(shapes) * channels * self.patch_size**2
            self.encoder: Encoder | None = Encoder(patch_bytes, grid, config)
            self.pointer = Pointer(patch_bytes, grid, config) if points else None
            self.features_size = config.feature_size + (SIZE if points else 0)
        else:
            self.encoder = self.pointer = None
        self.smooth_encoder, self.smooth_pointer = averaged_copy(self.encoder), averaged_copy(self.pointer)
        self.state_size = int(np.prod(self.reading.seen[STATE].shape or (0,)))
        self.discrete_gripper = has_gripper and config.gripper == "discrete"
        self.actor_size = self.reading.action_size - self.discrete_gripper
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
        """Return image features, (B, features_size), of the averaged networks if `smooth`; (B, 0) without cameras."""
        return self.see(patches, precision, smooth=smooth).features

    def see(self, patches: torch.Tensor, precision: torch.dtype = torch.float32, *, smooth: bool = False) -> Seen:
        """Return image features and what the pointer says, of the averaged networks if `smooth`."""
        encoder, pointer = (self.smooth_encoder, self.smooth_pointer) if smooth else (self.encoder, self.pointer)
        if encoder is None:
            return Seen(patches.new_zeros((len(patches), 0), dtype=torch.float32), None)
        features: torch.Tensor = encoder(patches, precision)
        if pointer is None:
            return Seen(features, None)
        way: torch.Tensor = pointer(patches, precision)
        return Seen(torch.cat((features, spread(way.detach())), 1), way)

    def averaged(self) -> list[tuple[nn.Module | None, nn.Module | None]]:
        """Return the networks that act deterministically, each with the one that it is the moving average of."""
        return [
            (self.smooth_encoder, self.encoder),
            (self.smooth_gripper, self.gripper),
            (self.smooth_pointer, self.pointer),
        ]

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

    def value(self, observation: Any) -> npt.NDArray[np.float32]:
        """Return what the critics expect of the policy's deterministic action: their mean, as a return. Shape (B,).

        V(s) = mean_i Q_i(s, pi(s)) / reward_scale.

        Args:
            observation: The environment's, batched.
        """
        tensors, _ = self.obs_to_tensor(observation)
        assert isinstance(tensors, dict)
        with torch.inference_mode():
            action = self._predict(tensors, deterministic=True)[:, : self.actor_size]
            q = self.critic(self.encode(tensors["patches"]), tensors[STATE], action)
            mean: npt.NDArray[np.float32] = (q.mean(0) / self.config.reward_scale).cpu().numpy()
        return mean

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """Return the environment's observations as `tensors` gives them, and whether they were a batch."""
        seen, batched = self.reading.batch(observation)
        return self.tensors(seen), batched

    def tensors(self, seen: Mapping[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
        """Return patches and state of batched observations, as `reading` gives them."""
        state = np.asarray(seen[STATE], np.float32)
        return {"patches": self.patches(seen, len(state)), STATE: torch.from_numpy(state).to(self.device)}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "config": self.config,
            "has_gripper": self.has_gripper,
            "points": self.pointer is not None,
        }


def averaged_copy(network: NetworkT) -> NetworkT:
    """Return a copy of a network, or None of None, to hold a moving average of its weights: without gradients."""
    copied = copy.deepcopy(network)
    if isinstance(copied, nn.Module):
        copied.requires_grad_(False)
    return copied


def _check_patch_size(patch: int, height: int, width: int) -> None:
    """Refuse patches that do not divide the images, with the nearest size that does."""
    if patch >= 1 and height % patch == 0 and width % patch == 0:
        return
    divisors = [size for size in range(1, min(height, width) + 1) if height % size == 0 and width % size == 0]
    nearest = min(divisors, key=lambda size: abs(size - patch))
    raise ConfigError(
        f"patch_size is {patch}, which does not divide images of {height} x {width} px; ask for {nearest}, or for "
        "None, which fits any size."
    )
