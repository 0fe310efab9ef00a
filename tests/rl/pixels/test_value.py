import numpy as np
import pytest
import torch
from gymnasium import spaces

from rl.drq.config import DrQConfig
from rl.drq.policies import DrQPolicy


def test_value_is_the_mean_of_the_critics_in_units_of_the_reward() -> None:
    """Critics that say 5 and 7 of everything, of rewards that were stored tenfold: the return is 0.6."""
    seen = spaces.Dict({"state": spaces.Box(-1.0, 1.0, (3,), np.float32)})
    action = spaces.Box(-1.0, 1.0, (2,), np.float32)
    policy = DrQPolicy(seen, action, config=DrQConfig(reward_scale=10.0, clip_target=None, hidden_size=8))
    last = policy.critic.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias[:] = torch.tensor([5.0, 7.0]).view(2, 1, 1)
    np.testing.assert_allclose(policy.value({"state": np.zeros((4, 3), np.float32)}), np.full(4, 0.6), atol=1e-6)


def test_value_is_of_the_action_that_the_policy_would_take() -> None:
    """Critics that say what the first component of the action is."""
    seen = spaces.Dict({"state": spaces.Box(-1.0, 1.0, (3,), np.float32)})
    policy = DrQPolicy(seen, spaces.Box(-1.0, 1.0, (2,), np.float32), config=DrQConfig(hidden_size=8))
    states = {"state": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)}
    taken, _ = policy.predict(states, deterministic=True)

    class FirstComponent(torch.nn.Module):
        def forward(self, features: torch.Tensor, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return action[None, :, 0]

    policy.critic = FirstComponent()  # type: ignore[assignment]
    assert policy.value(states) == pytest.approx(taken[:, 0], abs=1e-6)
