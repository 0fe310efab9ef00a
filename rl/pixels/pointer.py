"""The pointer: an encoder of its own that tells from the images where the TCP is when the task succeeds.

Each success tells of every frame before it how far the TCP still had to go: labels that are exact and cost nothing. An
encoder that learns from them alone points to 0.4 mm after 400 updates on 200 frames of 64 pixels. One that learns from
the critics' errors too does not get there: errors of millimetres are small beside those of values.
"""

import torch
from torch import nn

from rl.episodes import WAY_SIZE
from rl.pixels.config import PixelConfig
from rl.pixels.encoder import Encoder

UNIT_M = 0.1
"""What the head answers in, [m]..."""
UNIT_RAD = 2.0
"""...and [rad]: 0.03 rad, which a plug forgives, weigh three times half a millimetre, which a rim forgives."""
SCALES_M = (0.1, 0.01, 0.002)
"""Ranges in which the rest of the policy sees a way, [m]: a step, an alignment, and what a rim forgives."""
SCALES_RAD = (1.0, 0.2, 0.04)
"""The same of its turn, [rad]."""
SIZE = 3 * len(SCALES_M) + len(SCALES_RAD)
"""Features that the pointer adds."""
_FACTORS = [UNIT_M / scale for scale in SCALES_M for _ in range(3)] + [UNIT_RAD / scale for scale in SCALES_RAD]
HUBER = 0.1
"""Error from which the loss grows linearly, in `UNIT_M`: 10 mm."""


class Pointer(nn.Module):
    """Images to the way from the TCP to where it succeeds."""

    def __init__(self, patch_bytes: int, grid: tuple[int, int], config: PixelConfig) -> None:
        super().__init__()
        self.encoder = Encoder(patch_bytes, grid, config)
        self.head = nn.Sequential(nn.Linear(config.feature_size, 64), nn.ReLU(), nn.Linear(64, WAY_SIZE))

    def forward(self, patches: torch.Tensor, precision: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the way, [0.1 m], [2 rad], shape (B, 4), of uint8 patches."""
        way: torch.Tensor = self.head(self.encoder(patches, precision))
        return way


def in_units(ways: torch.Tensor) -> torch.Tensor:
    """Return ways (B, 4), [m] and [rad], in what the head answers in."""
    return ways / ways.new_tensor([UNIT_M, UNIT_M, UNIT_M, UNIT_RAD])


def spread(way: torch.Tensor) -> torch.Tensor:
    """Return a way (B, 4), as the head says it, as features in [-1, 1] that tell coarse and fine. (B, 12).

    tanh(way / s) for each range s: alone in metres, the last millimetre would be a hundredth of what a network sees.
    """
    moves, turns = way[:, :3].repeat(1, len(SCALES_M)), way[:, 3:].repeat(1, len(SCALES_RAD))
    return torch.tanh(torch.cat((moves, turns), 1) * way.new_tensor(_FACTORS))
