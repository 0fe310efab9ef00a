"""A task without pictures that learns in seconds: move a point to a goal, after demonstrations that dawdle."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Dawdle(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """State: point and goal (4,). Success: within 0.15. Horizon 10: half speed is just too slow for far goals."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({"state": spaces.Box(-np.inf, np.inf, (4,), np.float32)})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.goal, self.position = self.np_random.uniform(-1.0, 1.0, (2, 2))
        self._t = 0
        return self._observe(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        executed = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        self.position = np.clip(self.position + 0.2 * executed, -1.0, 1.0)
        self._t += 1
        success = bool(np.linalg.norm(self.position - self.goal) < 0.15)
        info = {"is_success": success, "executed_action": executed}
        return self._observe(), float(success), success, not success and self._t >= 10, info

    def slow_expert(self) -> np.ndarray:
        return np.clip((self.goal - self.position) / 0.2, -0.5, 0.5).astype(np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        return {"state": np.concatenate([self.position, self.goal]).astype(np.float32)}


def record(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Return the slow expert's successes as they would lie on disk."""
    env, episodes = Dawdle(), []
    while len(episodes) < count:
        observation, _ = env.reset(seed=seed)
        seed += 1
        states, actions, rewards, done = [observation["state"]], [], [], False
        while not done:
            actions.append(env.slow_expert())
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            states.append(observation["state"])
            rewards.append(reward)
            done = terminated or truncated
        if terminated:
            ends = np.arange(len(actions)) == len(actions) - 1
            episodes.append(
                {
                    "state": np.stack(states),
                    "action": np.stack(actions),
                    "reward": np.array(rewards, np.float32),
                    "terminated": ends,
                    "truncated": np.zeros(len(actions), bool),
                }
            )
    return episodes


def success_rate(model: Any, episodes: int = 100) -> float:
    """Return the share of episodes in which deterministic actions reach the goal."""
    env, successes = Dawdle(), 0
    for i in range(episodes):
        observation, _ = env.reset(seed=10_000 + i)
        done = terminated = False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
        successes += terminated
    return successes / episodes
