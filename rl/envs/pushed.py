"""An environment in which somebody pushes the arm: what a policy does then says how well it corrects."""

import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError

_DIRECTIONS = 7_001
"""Keeps the directions apart from what else is drawn from the seed of an episode."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """A displacement of the TCP, once in an episode, in a horizontal direction that its seed decides."""

    distance_m: float
    """How far, [m]."""
    step: int
    """Control steps before it."""

    def __post_init__(self) -> None:
        """Refuse what is no push.

        Raises:
            ConfigError: With the value and its limit.
        """
        if not (math.isfinite(self.distance_m) and self.distance_m > 0.0 and self.step >= 0):
            raise ConfigError(
                f"A push of {self.distance_m} m after {self.step} control steps is none; ask for more than 0 m, and "
                "for at least 0 steps."
            )


class PushedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Moves the TCP in the middle of each episode; whoever acts is not asked meanwhile.

    The push is commanded like any action, through the guard and in steps of at most the task's, so that it goes no
    further than a person could move the target either. Start and scene are those of the same seed without it.
    """

    env: ManipulationEnv

    def __init__(self, env: ManipulationEnv, push: Push) -> None:
        """Put a push into an environment.

        Args:
            env: What is pushed.
            push: When, and how far.
        """
        super().__init__(env)
        self._push = push
        self._steps = math.ceil(push.distance_m / env.task.translation_scale_m - 1e-9)
        self._step = 0
        self._action = np.zeros(env.task.actions, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Start an episode and draw the direction of its push."""
        observed = self.env.reset(seed=seed, options=options)
        rng = np.random.default_rng(None if seed is None else [_DIRECTIONS, seed])
        angle = rng.uniform(0.0, 2.0 * math.pi)
        length = self._push.distance_m / self._steps / self.env.task.translation_scale_m
        self._action = np.zeros(self.env.task.actions, np.float32)  # a gripper keeps its last command
        self._action[:2] = length * np.array([math.cos(angle), math.sin(angle)])
        self._step = 0
        return observed

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Take a control step: that of the push while it lasts, else the one that is asked for."""
        is_pushed = 0 <= self._step - self._push.step < self._steps
        self._step += 1
        return self.env.step(self._action if is_pushed else action)
