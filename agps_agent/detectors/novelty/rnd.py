"""RND: random network distillation as a failure detector (arXiv:1810.12894; on embeddings as in arXiv:2503.08558)."""

from typing import ClassVar

import torch

from agps_agent.detectors.novelty.watch import NoveltyWatch, Score, perceptron, train

_FEATURES = 32


class RND(NoveltyWatch):
    """A network imitates a random one on good frames; where it fails to, the frame is new.

    score(x) = ||f(x) - g(x)||^2 / m, g random and fixed, f trained on the references.
    """

    name: ClassVar[str] = "rnd"

    def learn(self, frames: torch.Tensor) -> Score:
        """Train the imitation, and return its error."""
        inputs, width = frames.shape[1], self.config.width
        target = perceptron(inputs, width, _FEATURES, hidden=1).requires_grad_(False)
        imitation = perceptron(inputs, width, _FEATURES)

        def error(batch: torch.Tensor) -> torch.Tensor:
            return torch.mean((imitation(batch) - target(batch)) ** 2, dim=1)

        train(list(imitation.parameters()), lambda batch: error(batch).mean(), frames, self.config)
        return error
