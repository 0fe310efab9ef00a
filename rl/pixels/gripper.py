"""The gripper as a choice among three commands, with a critic of its own (HIL-SERL, arXiv:2410.21845, hybrid DQN).

For environments that say so: with `metadata["gripper"]` the last component of the action commands the gripper (above
0.5 open, below -0.5 close, between keep), and the last entry of `state` is its measured opening, 0 closed to 1 open.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rl.buffers import Float32Array, FrameStore, IntArray

CLOSE, STAY, OPEN = 0, 1, 2
COMMANDS = (-1.0, 0.0, 1.0)
"""What the choices command."""


class GripperCritic(nn.Module):
    """Q-values of the three commands on features and state: a DQN. Untrained, it prefers to stay, by very little."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.LayerNorm(hidden_size),
            nn.ReLU(),
        )
        self.values = nn.Linear(hidden_size, len(COMMANDS))
        nn.init.zeros_(self.values.weight)
        with torch.no_grad():
            self.values.bias.copy_(torch.tensor([0.0, 1e-3, 0.0]))

    def forward(self, features: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return Q(s, close), Q(s, stay), Q(s, open). Shape (B, 3)."""
        q: torch.Tensor = self.values(self.layers(torch.cat((features, state), 1)))
        return q


def best_command(q: torch.Tensor) -> torch.Tensor:
    """Return the command of the largest Q-value, shape (B, 1), of values of shape (B, 3)."""
    return torch.tensor(COMMANDS, device=q.device)[q.argmax(1)][:, None]


def choices_of(commands: Float32Array) -> IntArray:
    """Return which choice a gripper command is. Shape (B,)."""
    return np.where(commands > 0.5, OPEN, np.where(commands < -0.5, CLOSE, STAY))


def toggles(openings: Float32Array) -> npt.NDArray[np.bool_]:
    """Return which choices toggle the gripper: to close where it is open, to open where it is not. Shape (B, 3)."""
    is_open = openings > 0.5
    return np.stack([is_open, np.zeros_like(is_open), ~is_open], 1)


def toggle_penalties(store: FrameStore, slots: IntArray, penalty: float) -> Float32Array:
    """Return the penalty where the executed command toggled the gripper, else 0. Shape (B,)."""
    choices = choices_of(store.actions(slots)[:, -1])
    toggled = toggles(store.states(slots)[:, -1])[np.arange(len(slots)), choices]
    return np.where(toggled, np.float32(penalty), np.float32(0.0))


@dataclass(frozen=True, kw_only=True)
class GripperBatch:
    """What the gripper's critic needs beside a batch of transitions."""

    choices: torch.Tensor
    """Executed choice at t. Shape (B,), int64."""
    alike: torch.Tensor
    """Which choices have the effect of the one to imitate, the teacher's where there is one, else the executed one: it
    alone if it toggles, else all that do not. Shape (B, 3)."""
    rewards: torch.Tensor
    """Discounted sum of the k <= n rewards from t on, each with the penalty of its own step. Shape (B,)."""


def make_gripper_batch(
    store: FrameStore,
    slots: IntArray,
    *,
    n_step: int,
    gamma: float,
    reward_scale: float,
    toggle_penalty: float,
    device: torch.device,
) -> GripperBatch:
    """Return choices and penalised n-step rewards of the transitions in these slots; discounts are the batch's.

    Args:
        store: Memory of the transitions.
        slots: Transitions. Shape (B,).
        n_step: Rewards summed before bootstrapping.
        gamma: Discount per control step.
        reward_scale: What rewards are divided by; the penalty is not.
        toggle_penalty: Added to the reward of a step that toggles.
        device: Where the tensors go.
    """

    def rewards(now: IntArray) -> Float32Array:
        return store.rewards(now) / np.float32(reward_scale) + toggle_penalties(store, now, toggle_penalty)

    executed, told = store.actions(slots)[:, -1], store.labels(slots)[:, -1]
    shown = choices_of(np.where(np.isnan(told), executed, told))
    toggling = toggles(store.states(slots)[:, -1])
    toggled = toggling[np.arange(len(slots)), shown][:, None]
    alone = np.arange(len(COMMANDS)) == shown[:, None]
    return GripperBatch(
        choices=torch.from_numpy(choices_of(executed)).to(device),
        alike=torch.from_numpy(np.where(toggled, alone, ~toggling)).to(device),
        rewards=torch.from_numpy(store.n_step(slots, n=n_step, gamma=gamma, rewards=rewards).rewards).to(device),
    )


def double_dqn_target(
    rewards: torch.Tensor, discounts: torch.Tensor, q_next: torch.Tensor, q_target_next: torch.Tensor
) -> torch.Tensor:
    """Return y = R + discount * Q_target(s', argmax_a Q(s', a)): double DQN (arXiv:1509.06461). Shape (B,).

    Args:
        rewards: n-step rewards. Shape (B,).
        discounts: Factor of the value at the bootstrap observation, 0 where the task terminated. Shape (B,).
        q_next: Q-values there of the critic, which choose. Shape (B, 3).
        q_target_next: Q-values there of the target critic, which count. Shape (B, 3).
    """
    best = q_next.argmax(1, keepdim=True)
    return rewards + discounts * q_target_next.gather(1, best)[:, 0]


def margin_loss(q: torch.Tensor, alike: torch.Tensor, margin: float) -> torch.Tensor:
    """Return how much demonstrated choices fall short of beating all others by a margin, averaged. A scalar.

    max_a [Q(s, a) + margin where a acts otherwise] - max_{a alike} Q(s, a) >= 0: the large-margin term of DQfD
    (arXiv:1704.03732), for choices that may be equivalent: to open an open gripper is to stay.

    Args:
        q: Q-values of the choices. Shape (B, 3).
        alike: Which choices have the effect of the demonstrated one. Shape (B, 3).
        margin: Lead that the demonstrated effect must have.
    """
    demonstrated = q.masked_fill(~alike, -torch.inf).max(1).values
    return ((q + margin * ~alike).max(1).values - demonstrated).mean()
