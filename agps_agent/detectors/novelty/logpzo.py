"""logpZO: likelihood of a frame's noise under a flow (FAIL-Detect, arXiv:2503.08558), written from the paper."""

from typing import ClassVar

import torch
from torch import nn

from agps_agent.detectors.novelty.watch import NoveltyWatch, Score, perceptron, train

_STEPS = 10
"""Euler steps from a frame to its noise."""


class LogpZO(NoveltyWatch):
    """A flow carries good frames to normal noise; a frame that it carries far out is new.

    Flow matching: x_t = (1 - t) x + t z, z ~ N(0, I); v(x_t, t) learns z - x. Then Z = x + integral of v from 0 to 1,
    and score(x) = ||Z||^2 / (2 d), which is -log p(Z) per dimension up to a constant.
    """

    name: ClassVar[str] = "logpzo"

    def learn(self, frames: torch.Tensor) -> Score:
        """Train the velocity, and return the score."""
        dim = frames.shape[1]
        velocity = perceptron(dim + 1, self.config.width, dim)

        def loss(batch: torch.Tensor) -> torch.Tensor:
            noise, t = torch.randn_like(batch), torch.rand(len(batch), 1)
            between = (1.0 - t) * batch + t * noise
            return torch.mean((_at(velocity, between, t) - (noise - batch)) ** 2)

        train(list(velocity.parameters()), loss, frames, self.config)

        def score(batch: torch.Tensor) -> torch.Tensor:
            carried = batch
            for step in range(_STEPS):
                t = torch.full((len(batch), 1), step / _STEPS)
                carried = carried + _at(velocity, carried, t) / _STEPS
            return torch.mean(carried**2, dim=1) / 2.0

        return score


def _at(velocity: nn.Module, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    moved: torch.Tensor = velocity(torch.hstack([frames, t]))
    return moved
