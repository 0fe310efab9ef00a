"""The encoder: patches of images to features, and the arithmetic that it is computed in."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from rl.pixels.config import PixelConfig, Precision


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
    native = native and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # not under ONEDNN_MAX_CPU_ISA=AVX2
    return torch.bfloat16 if native else torch.float32
