"""ResNet-10 success classifier in torch (HIL-SERL, arXiv:2410.21845): one trunk for all cameras, a head per camera."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rl.errors import ConfigError
from rl.files import UNPICKLING
from rl.widths import check_width

STAGES = (1, 2, 4, 8)
"""Filters of each stage, in base widths: 64, 128, 256, 512 with HIL-SERL's 64."""
EMBEDDINGS = 8
"""Learned maps per channel that read where a feature is."""
BOTTLENECK = 256
"""Length of a camera's feature vector."""
DROPOUT = 0.1
STATE_FEATURES = 64
"""Length of the features of `state`, where it is read."""

UNREADABLE = (*UNPICKLING, RuntimeError)
"""What `torch.load` and taking its result apart raise for files that are not what they should be."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class ResidualBlock(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), with a projection where the shape changes."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, filters, eps=1e-5)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, filters, eps=1e-5)
        self.project: nn.Module = nn.Identity()
        if stride != 1 or inputs != filters:
            self.project = nn.Sequential(
                nn.Conv2d(inputs, filters, 1, stride=stride, bias=False), nn.GroupNorm(4, filters, eps=1e-5)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, filters, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.project(x) + self.norm2(self.conv2(y)))


class ResNet10(nn.Module):
    """Four stages of one block: GroupNorm(4), a 7x7/2 convolution and a 3x3/2 max-pool before them."""

    def __init__(self, width: int = 64) -> None:
        """Make the trunk with random weights; `width` is the number of filters of the first stage.

        Raises:
            ConfigError: If the width is no multiple of 8.
        """
        super().__init__()
        check_width("width", width)
        self.width = width
        self.conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.norm = nn.GroupNorm(4, width, eps=1e-5)
        filters = [width, *(width * stage for stage in STAGES)]
        self.stages = nn.Sequential(
            *(ResidualBlock(filters[n], filters[n + 1], stride=1 if n == 0 else 2) for n in range(len(STAGES)))
        )
        self.channels = filters[-1]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features (B, 8 width, H / 32, W / 32) of pixels in [0, 1], (B, 3, H, W)."""
        mean = pixels.new_tensor(_IMAGENET_MEAN)[:, None, None]
        std = pixels.new_tensor(_IMAGENET_STD)[:, None, None]
        x = F.relu(self.norm(self.conv((pixels - mean) / std)))
        features: torch.Tensor = self.stages(F.max_pool2d(x, 3, stride=2, padding=1))
        return features

    def load_pretrained(self, path: Path) -> None:
        """Take the weights of a plain torch state dict of this trunk.

        Raises:
            ConfigError: If it cannot be read, or its names or shapes are not this trunk's.
        """
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise ConfigError(f"Cannot read pretrained weights from {path}: {_first_line(error)}.") from error
        if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
            raise ConfigError(f"{path} is no plain state dict (name to tensor); save one with torch.save.")
        problem = _mismatch(self.state_dict(), found)
        if problem:
            raise ConfigError(f"{path} does not fit a ResNet-10 of width {self.width}: {problem}.")
        self.load_state_dict(dict(found))


class SpatialLearnedEmbeddings(nn.Module):
    """Sum of a feature map under each of `EMBEDDINGS` learned maps per channel: keeps where, which pooling forgets."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, side * side, EMBEDDINGS) / (side * side) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, channels * EMBEDDINGS) of (B, channels, side, side)."""
        return torch.einsum("bcs,cse->bce", x.flatten(2), self.maps).flatten(1)


class RewardNetwork(nn.Module):
    """Images of all cameras, and `state` if `state_size` is not 0, to one logit of success."""

    def __init__(self, *, cameras: int, image_size: int, width: int, state_size: int = 0) -> None:
        super().__init__()
        if image_size % 32:
            raise ConfigError(f"image_size {image_size} must divide by 32; use 64.")
        self.trunk = ResNet10(width)
        self.cameras = nn.ModuleList(
            nn.Sequential(
                SpatialLearnedEmbeddings(self.trunk.channels, image_size // 32),
                nn.Dropout(DROPOUT),
                nn.Linear(self.trunk.channels * EMBEDDINGS, BOTTLENECK),
                nn.LayerNorm(BOTTLENECK),
                nn.Tanh(),
            )
            for _ in range(cameras)
        )
        self.proprio: nn.Module | None = None
        if state_size:
            self.proprio = nn.Sequential(nn.Linear(state_size, STATE_FEATURES), nn.LayerNorm(STATE_FEATURES), nn.Tanh())
        inputs = cameras * BOTTLENECK + (STATE_FEATURES if state_size else 0)
        self.head = nn.Sequential(
            nn.Linear(inputs, BOTTLENECK), nn.Dropout(DROPOUT), nn.LayerNorm(BOTTLENECK), nn.ReLU(),
            nn.Linear(BOTTLENECK, 1),
        )  # fmt: skip

    def forward(self, pixels: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return logits (B,) of pixels in [0, 1], (B, cameras, 3, H, W), and state (B, P)."""
        batch, cameras = pixels.shape[:2]
        features = self.trunk(pixels.flatten(0, 1)).unflatten(0, (batch, cameras))
        parts = [head(features[:, index]) for index, head in enumerate(self.cameras)]
        if self.proprio is not None:
            parts.append(self.proprio(state))
        logits: torch.Tensor = self.head(torch.cat(parts, 1)).squeeze(1)
        return logits


def _mismatch(wanted: Mapping[str, torch.Tensor], found: Mapping[str, Any]) -> str:
    """Return the first thing that keeps a state dict from fitting; empty if it fits."""
    for name in wanted.keys() - found.keys():
        return f"{name} is missing"
    for name in found.keys() - wanted.keys():
        return f"{name} is not part of it"
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            return f"{name} has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
