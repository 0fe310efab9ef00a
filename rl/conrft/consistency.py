"""Consistency policy: from noise to an action in one step, given what is observed.

Consistency models (arXiv:2303.01469) in the form of ConRFT (arXiv:2502.05450): f(x, sigma | s) maps an action with
noise of any size sigma back to the action, and acting is f(sigma_max * noise, sigma_max | s).
"""

import math

import torch
from torch import nn

from rl.conrft.config import NoiseScales

TIME_FREQUENCIES = 8
"""Sines and cosines of log sigma, as many of each. ConRFT: an embedding of 16."""


def karras_sigmas(scales: NoiseScales) -> torch.Tensor:
    """Return the noise scales, largest first. Shape (count,).

    sigma_i = (sigma_max^(1/rho) + i / (N - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, i = 0 ... N - 1
    (arXiv:2206.00364, Eq. 5).
    """
    ramp = torch.linspace(0.0, 1.0, scales.count, dtype=torch.float64)
    largest, smallest = scales.sigma_max ** (1.0 / scales.rho), scales.sigma_min ** (1.0 / scales.rho)
    sigmas: torch.Tensor = (largest + ramp * (smallest - largest)) ** scales.rho
    return sigmas.float()


def boundary_scalings(sigma: torch.Tensor, scales: NoiseScales) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return c_skip, c_out, c_in of f(x, sigma) = c_skip x + c_out F(c_in x, sigma), shaped as sigma.

    c_skip = d^2 / ((sigma - sigma_min)^2 + d^2), c_out = (sigma - sigma_min) d / sqrt(sigma^2 + d^2),
    c_in = 1 / sqrt(sigma^2 + d^2) with d = sigma_data (arXiv:2303.01469, appendix C). At sigma_min f(x) = x.
    """
    d = scales.sigma_data
    c_in = (sigma.square() + d**2).rsqrt()
    c_skip = d**2 / ((sigma - scales.sigma_min).square() + d**2)
    c_out = (sigma - scales.sigma_min) * d * c_in
    return c_skip, c_out, c_in


def snr_weights(sigma: torch.Tensor, scales: NoiseScales) -> torch.Tensor:
    """Return the weights of EDM, the signal-to-noise ratio and a floor: 1 / sigma^2 + 1 / sigma_data^2."""
    return sigma.square().reciprocal() + 1.0 / scales.sigma_data**2


def reconstruction_loss(
    denoised: torch.Tensor, actions: torch.Tensor, sigma: torch.Tensor, scales: NoiseScales
) -> torch.Tensor:
    """Return E[w(sigma) * mean_j (f(a + sigma z, sigma | s) - a)_j^2], a scalar.

    With these scalings the weighted square is at most that of F's error, so that no scale drowns the others.

    Args:
        denoised: f at the noised actions. Shape (B, A).
        actions: Actions to give back. Shape (B, A).
        sigma: Noise of each. Shape (B,).
        scales: For the weights.
    """
    return (snr_weights(sigma, scales) * (denoised - actions).square().mean(1)).mean()


def time_embedding(sigma: torch.Tensor) -> torch.Tensor:
    """Return sines and cosines of 250 log sigma. Shape (..., 2 TIME_FREQUENCIES).

    The factor is that of consistency models; the frequencies fall from 1 to 1e-4 as in transformers.
    """
    exponents = torch.arange(TIME_FREQUENCIES, device=sigma.device) / (TIME_FREQUENCIES - 1)
    phase = 250.0 * sigma.log()[..., None] * torch.exp(-math.log(1e4) * exponents)
    return torch.cat((phase.sin(), phase.cos()), -1)


class ConsistencyHead(nn.Module):
    """f(x, sigma | s): two hidden layers on features and state, the noised action, and the size of the noise.

    The first layer is a sum of three, so that many noised actions of one observation share its costly part.
    """

    def __init__(self, input_size: int, action_size: int, hidden_size: int, scales: NoiseScales | None = None) -> None:
        super().__init__()
        self.scales = scales or NoiseScales()
        self.action_size = action_size
        self.observed = nn.Linear(input_size, hidden_size)
        self.noised = nn.Linear(action_size, hidden_size, bias=False)
        self.time = nn.Sequential(
            nn.Linear(2 * TIME_FREQUENCIES, 4 * TIME_FREQUENCIES),
            nn.Mish(),
            nn.Linear(4 * TIME_FREQUENCIES, hidden_size, bias=False),
        )
        self.trunk = nn.Sequential(
            nn.LayerNorm(hidden_size),
            nn.Mish(),
            nn.Linear(hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.Mish(),
            nn.Linear(hidden_size, action_size),
        )

    def forward(self, observed: torch.Tensor, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return the actions behind noised ones.

        Args:
            observed: Features and state. Shape (B, I).
            x: Noised actions. Shape (B, A), or (B, N, A) for N of each observation.
            sigma: Size of the noise, shape (B,), or (1,) for one size.

        Returns:
            Shaped as x; not clipped.
        """
        shape = (-1,) + (1,) * (x.ndim - 1)
        c_skip, c_out, c_in = (scaling.view(shape) for scaling in boundary_scalings(sigma, self.scales))
        per_observation = self.observed(observed) + self.time(time_embedding(sigma))
        hidden = per_observation.view(len(x), *shape[1:-1], -1) + self.noised(c_in * x)
        raw: torch.Tensor = self.trunk(hidden)
        return c_skip * x + c_out * raw

    def sample(self, observed: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return clip(f(sigma_max * noise, sigma_max | s), -1, 1), shaped as `noise`: (B, A) or (B, N, A)."""
        sigma = torch.full((1,), self.scales.sigma_max, device=noise.device)
        actions: torch.Tensor = self(observed, self.scales.sigma_max * noise, sigma)
        return actions.clamp(-1.0, 1.0)

    def draw_sigmas(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw noise scales to train at, evenly among all but the smallest, where f is the identity. (count,)."""
        device = generator.device
        sigmas = karras_sigmas(self.scales).to(device)
        return sigmas[torch.randint(self.scales.count - 1, (count,), generator=generator, device=device)]
