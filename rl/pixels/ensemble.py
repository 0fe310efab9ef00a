"""An ensemble of critics, computed as one."""

import torch
from torch import nn
from torch.nn import functional as F


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
