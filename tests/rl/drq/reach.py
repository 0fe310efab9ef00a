"""A tiny task that learns in seconds: move a point to where a bright square shows in the picture."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIZE = 16


class Reach(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """State: the point's position (2,). Image: a square at the goal. Success: within 0.25. Horizon 12."""

    def __init__(self, horizon: int = 12, executed_scale: float = 1.0) -> None:
        image = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {"left": image, "right": image, "state": spaces.Box(-np.inf, np.inf, (2,), np.float32)}
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._horizon = horizon
        self._executed_scale = executed_scale

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.goal = self.np_random.uniform(-0.8, 0.8, 2)
        self.position = self.np_random.uniform(-1.0, 1.0, 2)
        self._t = 0
        return self._observe(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        executed = np.asarray(action, np.float32) * self._executed_scale
        self.position = np.clip(self.position + 0.3 * executed, -1.0, 1.0)
        self._t += 1
        success = bool(np.linalg.norm(self.position - self.goal) < 0.25)
        truncated = not success and self._t >= self._horizon
        info = {"is_success": success, "executed_action": executed}
        return self._observe(), float(success), success, truncated, info

    def expert(self) -> np.ndarray:
        return np.clip((self.goal - self.position) / 0.3, -1.0, 1.0).astype(np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        row, column = ((self.goal + 1.0) / 2.0 * (SIZE - 3)).astype(int)
        image[row : row + 3, column : column + 3] = 255
        return {"left": image, "right": image[::-1].copy(), "state": self.position.astype(np.float32)}


class ReachInMetres(Reach):
    """Reach whose state begins with the way of a TCP, in units of 0.1 m: x, y and a height that does not change.

    The picture is a hand camera's: the square shows where the goal is from here.
    """

    metadata = {"render_modes": [], "position_scale_m": 0.1}

    def __init__(self, horizon: int = 12) -> None:
        super().__init__(horizon)
        self.observation_space["state"] = spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        goal, self.goal = self.goal, (self.goal - self.position) / 2.0
        observation = super()._observe()
        self.goal = goal
        return {**observation, "state": np.append(observation["state"], np.float32(0.0))}


class ReachAndClose(Reach):
    """Reach with the action of an arm with a gripper: success is to close it, open until then, at the goal. Horizon 12.

    State: position (2,), opening. Action: x, y, four that do nothing, gripper command. Reward as in towel folding.
    """

    metadata = {"render_modes": [], "gripper": True}

    def __init__(self, horizon: int = 12) -> None:
        super().__init__(horizon)
        self.observation_space["state"] = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)
        self.toggled = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self.opening, self.toggled = 1.0, 0
        return super().reset(seed=seed)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        _, _, near, _, _ = super().step(action[:2])
        opening = self.opening if abs(action[6]) <= 0.5 else float(action[6] > 0.0)
        self.toggled += opening != self.opening
        success = near and opening < self.opening
        self.opening = opening
        truncated = not success and self._t >= self._horizon
        info = {"is_success": success, "executed_action": np.asarray(action, np.float32)}
        return self._observe(), 10.0 if success else -0.1, success, truncated, info

    def expert(self) -> np.ndarray:
        """Go there with the gripper open, then close it."""
        near = np.linalg.norm(self.position - self.goal) < 0.2
        return np.concatenate([super().expert(), np.zeros(4), [-1.0 if near else 1.0]]).astype(np.float32)

    def _observe(self) -> dict[str, np.ndarray]:
        observation = super()._observe()
        return {**observation, "state": np.append(observation["state"], np.float32(self.opening))}


def record(count: int, seed: int = 0, env: Reach | None = None) -> list[dict[str, np.ndarray]]:
    """Return episodes of the expert as they would lie on disk."""
    env = env or Reach()
    episodes = []
    for i in range(count):
        observation, _ = env.reset(seed=seed + i)
        observations, actions, rewards, ends = [observation], [], [], []
        while not ends or not any(ends[-1]):
            action = env.expert()
            observation, reward, terminated, truncated, _ = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(reward)
            ends.append((terminated, truncated))
        episodes.append(
            {
                **{key: np.stack([o[key] for o in observations]) for key in observations[0]},
                "action": np.stack(actions),
                "reward": np.array(rewards, np.float32),
                "terminated": np.array(ends)[:, 0],
                "truncated": np.array(ends)[:, 1],
            }
        )
    return episodes
