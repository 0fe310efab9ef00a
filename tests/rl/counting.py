"""An environment whose state says where it is, and small algorithms of both kinds that learn in it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl.algorithm import GuidedAlgorithm
from rl.conrft import ConRFT
from rl.drq import DrQ

ALGORITHMS = (DrQ, ConRFT)
SMALL: dict[str, Any] = {
    "batch_size": 8,
    "learning_starts": 10,
    "hidden_size": 16,
    "buffer_capacity": 1_000,
    "precision": "float32",
}


class Counting(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """State: number of the episode, step within it. Each episode is truncated after `horizon` steps; reward 0."""

    def __init__(self, horizon: int = 20) -> None:
        self.observation_space = spaces.Dict({"state": spaces.Box(-np.inf, np.inf, (2,), np.float32)})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.horizon = horizon
        self.episode, self.t = -1, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.observe(), self.reward(), False, self.t >= self.horizon, {}

    def observe(self) -> dict[str, np.ndarray]:
        return {"state": np.array([self.episode, self.t], np.float32)}

    def reward(self) -> float:
        return 0.0


def make_model(kind: type[GuidedAlgorithm], env: gym.Env[Any, Any] | None = None, **changes: Any) -> GuidedAlgorithm:
    config = kind.config_class(**{**SMALL, **changes})
    return kind("MultiInputPolicy", env or Counting(), config=config, seed=0, device="cpu")


def demonstration(steps: int = 6, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """A recorded episode for `Counting`, with some of its arrays replaced."""
    ends = np.arange(steps) == steps - 1
    episode = {
        "state": np.stack([np.full(steps + 1, 9.0), np.arange(steps + 1)], 1).astype(np.float32),
        "action": np.zeros((steps, 2), np.float32),
        "reward": ends.astype(np.float32),
        "terminated": ends,
        "truncated": np.zeros(steps, bool),
    }
    return {**episode, **changes}
