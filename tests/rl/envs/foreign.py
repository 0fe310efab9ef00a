"""Environments that nobody here would write: images of odd sizes, channels first, floats, torques, dense rewards."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class SevenJoints(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Seven joints reach for seven marks; torques in [-2, 2], a dense reward, success in the info, an end by itself.

    The camera shows a bar per joint: red where it is, green where it should be. Seen: a nested Dict with a camera
    (3, 37, 51) uint8, a grey depth-like camera (24, 32) uint8, joints (7,) and a phase out of 3.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, goal: float = 0.5, render_mode: str | None = None) -> None:
        self.goal, self.render_mode = goal, render_mode
        cameras = {
            "front": spaces.Box(0, 255, (3, 37, 51), np.uint8),
            "depth": spaces.Box(0, 255, (24, 32), np.uint8),
        }
        robot = {"joints": spaces.Box(-4.0, 4.0, (7,), np.float64), "phase": spaces.Discrete(3)}
        self.observation_space = spaces.Dict({"cameras": spaces.Dict(cameras), "robot": spaces.Dict(robot)})
        self.action_space = spaces.Box(-2.0, 2.0, (7,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.joints, self.steps = self.np_random.uniform(-1.0, 1.0, 7), 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        assert action.dtype == np.float32 and np.all(np.abs(action) <= 2.0)
        self.joints = np.clip(self.joints + 0.1 * action, -1.0, 1.0)
        self.steps += 1
        error = float(np.abs(self.joints - self.goal).max())
        return self._seen(), -error, False, self.steps == 20, {"success": np.float64(error < 0.1)}

    def render(self) -> np.ndarray:
        return np.moveaxis(self._seen()["cameras"]["front"], 0, -1)

    def _seen(self) -> dict[str, Any]:
        front = np.zeros((3, 37, 51), np.uint8)
        for joint, angle in enumerate(self.joints):
            front[0, int(18 + 18 * angle), 7 * joint : 7 * joint + 7] = 255
        front[1, int(18 + 18 * self.goal)] = 255
        depth = np.full((24, 32), 10 * self.steps, np.uint8)
        robot = {"joints": self.joints.copy(), "phase": np.int64(self.steps % 3)}
        return {"cameras": {"front": front, "depth": depth}, "robot": robot}


class Picture(gymnasium.Env[np.ndarray, np.ndarray]):
    """A picture alone, (33, 47, 3) floats in [0, 1]: a dot is moved to the middle; -1 per step until it is there."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (33, 47, 3), np.float32)
        self.action_space = spaces.Box(np.array([0.0, -5.0]), np.array([10.0, 5.0]), dtype=np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.dot, self.steps = self.np_random.uniform(0.0, 1.0, 2), 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.dot = np.clip(self.dot + [0.02 * (action[0] - 5.0), 0.02 * action[1]], 0.0, 1.0)
        self.steps += 1
        there = bool(np.abs(self.dot - 0.5).max() < 0.1)
        return self._seen(), 0.0 if there else -1.0, False, self.steps == 15, {}

    def _seen(self) -> np.ndarray:
        seen = np.zeros((33, 47, 3), np.float32)
        row, column = (self.dot * [30, 44]).astype(int)
        seen[row : row + 3, column : column + 3] = 1.0
        return seen


gymnasium.register("foreign/SevenJoints-v0", entry_point=SevenJoints, max_episode_steps=12)
