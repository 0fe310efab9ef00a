"""An environment whose state says where it is, and small algorithms of both kinds that learn in it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl.algorithm import GuidedAlgorithm
from rl.conrft import ConRFT
from rl.drq import DrQ
from rl.supervisor import NullSupervisor
from rl.types import Intervention, Observation, RobotState, Takeover

ALGORITHMS = (DrQ, ConRFT)
SMALL: dict[str, Any] = {
    "batch_size": 8,
    "learning_starts": 10,
    "hidden_size": 16,
    "buffer_capacity": 1_000,
    "precision": "float32",
}


DEMONSTRATION = 9_999
"""Number of the episode in demonstrations."""


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


class Watched(Counting):
    """Counting with what a supervisor looks at; every episode ends in success."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation, _ = super().reset(seed=seed)
        return observation, self.info()

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        observation, _, _, over, _ = super().step(action)
        return observation, float(over), over, False, {**self.info(), "is_success": over}

    def info(self) -> dict[str, Any]:
        robot = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
        state = self.observe()["state"]
        return {"observation": Observation(images={}, state=state, robot=robot, T_base_ref=np.eye(4), step=self.t)}


class Helper(NullSupervisor):
    """Takes the arm for the last half of every n-th episode."""

    def __init__(self, every: int = 1) -> None:
        self.every = every

    def review(self, observation: Observation, *, active: Intervention | None = None) -> Intervention | None:
        episode, step = observation.state
        helps = episode % self.every == 0 and step >= 2
        return Takeover(action=np.zeros(2), id=f"help-{episode:.0f}") if helps else None


def make_model(kind: type[GuidedAlgorithm], env: gym.Env[Any, Any] | None = None, **changes: Any) -> GuidedAlgorithm:
    """Return a small model; `changes` are settings of its configuration, or else arguments of its own."""
    settings = {key: changes.pop(key) for key in tuple(changes) if key in kind.config_class.__dataclass_fields__}
    config = kind.config_class(**{**SMALL, **settings})
    return kind("MultiInputPolicy", env or Counting(), config=config, seed=0, device="cpu", **changes)


def demonstration(steps: int = 6, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """A recorded episode for `Counting`, with some of its arrays replaced."""
    ends = np.arange(steps) == steps - 1
    episode = {
        "state": np.stack([np.full(steps + 1, DEMONSTRATION), np.arange(steps + 1)], 1).astype(np.float32),
        "action": np.zeros((steps, 2), np.float32),
        "reward": ends.astype(np.float32),
        "terminated": ends,
        "truncated": np.zeros(steps, bool),
    }
    return {**episode, **changes}
