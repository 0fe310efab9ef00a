"""Cal-QL (arXiv:2303.05479): critics that are not optimistic offline, nor pessimistic below what was reached."""

import math

import torch


def conservative_gap(
    q_sampled: torch.Tensor, q_data: torch.Tensor, returns: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far sampled actions are valued above the data's, and the share of them that the bound lifted.

    gap = T log mean_j exp(max(Q(s, a_j), G) / T) - Q(s, a), where the mean takes in a itself, unbounded, and G is the
    return that the data reached from s (arXiv:2303.05479, Eq. 5.2; all sampled actions are bounded, as in ConRFT's
    code; without importance weights). Where Q is below G already, lowering it further gains nothing.

    Args:
        q_sampled: Values of sampled actions: random ones, the policy's at s, the policy's at s'. Shape (E, B, N).
        q_data: Values of the data's actions. Shape (E, B).
        returns: Monte-Carlo returns G. Shape (B,).
        temperature: T; small ones look at the largest value only.

    Returns:
        The gap, shape (E, B), and the share of values below the bound, a scalar.
    """
    bound = returns[None, :, None]
    values = torch.cat((torch.maximum(q_sampled, bound), q_data[..., None]), -1)
    soft_max = temperature * (torch.logsumexp(values / temperature, -1) - math.log(values.shape[-1]))
    return soft_max - q_data, (q_sampled < bound).float().mean()


def td_loss(q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the squared error of values of shape (E, B) against targets of shape (B,): mean over B, summed over E."""
    return (q - target).square().mean(1).sum()


def calql_loss(
    q_data: torch.Tensor,
    target: torch.Tensor,
    q_sampled: torch.Tensor,
    returns: torch.Tensor,
    *,
    weight: float,
    temperature: float = 1.0,
    metrics: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the critics' loss: squared TD error + alpha * conservative gap, mean over B and summed over members.

    Args:
        q_data: Values of the data's actions. Shape (E, B).
        target: TD targets. Shape (B,).
        q_sampled: Values of sampled actions in the first M <= B states. Shape (E, M, N).
        returns: Monte-Carlo returns of those states. Shape (M,).
        weight: alpha.
        temperature: Of the soft maximum.
        metrics: Where the gap and the share of values that the bound lifted are noted, if anywhere.
    """
    gap, bound_rate = conservative_gap(q_sampled, q_data[:, : q_sampled.shape[1]], returns, temperature)
    if metrics is not None:
        metrics |= {"conservative_gap": gap.detach().mean(), "bound_rate": bound_rate.detach()}
    return td_loss(q_data, target) + weight * gap.mean(1).sum()
