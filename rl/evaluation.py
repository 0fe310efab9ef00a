"""How good the policy alone is: deterministic actions, no supervisor, no box, fixed start states."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.rollout import Moment, run_episode
from rl.types import Observation

Watch = Callable[[int, Moment], None]
"""Sees each moment of an evaluation, with the number of its episode."""


class Predictor(Protocol):
    """What acts: a Stable-Baselines3 algorithm or policy."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[npt.NDArray[Any], Any]:
        """Return the action and a recurrent state."""


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Outcome of an evaluation."""

    successes: tuple[bool, ...]
    """Whether each episode succeeded, in the order of their seeds."""
    steps: tuple[int, ...]
    """Control steps of each episode."""
    returns: tuple[float, ...] = ()
    """Sum of the rewards of each episode, not discounted."""
    contact_force_peaks_N: tuple[float, ...] = ()
    """Largest contact force of each episode, [N]; none of an environment that does not measure it."""

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.successes)

    @property
    def success_count(self) -> int:
        """Number of successful episodes."""
        return sum(self.successes)

    @property
    def success_rate(self) -> float:
        """Share of successful episodes."""
        return self.success_count / self.episodes

    @property
    def interval_95(self) -> tuple[float, float]:
        """Wilson interval of the success rate, 95 %."""
        return wilson_interval(self.success_count, self.episodes)

    @property
    def mean_steps(self) -> float:
        """Mean control steps per episode."""
        return float(np.mean(self.steps))

    @property
    def mean_return(self) -> float:
        """Mean over episodes of the sum of their rewards."""
        return float(np.mean(self.returns))

    @property
    def contact_force_peak_N(self) -> float | None:
        """Mean over episodes of the largest contact force in each, [N]; None where it is not measured."""
        return float(np.mean(self.contact_force_peaks_N)) if self.contact_force_peaks_N else None


def evaluate(
    policy: Predictor,
    env: gym.Env[Any, Any],
    episodes: int,
    seed: int,
    *,
    allowed_failures: int | None = None,
    watch: Watch | None = None,
) -> EvaluationResult:
    """Run deterministic episodes from start states seed, seed + 1, ...

    Success is what the environment's info calls `is_success`, not the reward. With `allowed_failures` the evaluation is
    broken off at the first failure beyond them: its result has fewer episodes then. `watch` sees what is run.

    Raises:
        ConfigError: If `episodes` is less than 1.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; ask for at least 1.")
    outcomes: list[_Ended] = []
    for i in range(episodes):
        outcomes.append(_run_episode(policy, env, seed + i, None if watch is None else partial(watch, i)))
        failures = sum(not one.success for one in outcomes)
        if allowed_failures is not None and failures > allowed_failures:
            break
    return EvaluationResult(
        successes=tuple(one.success for one in outcomes),
        steps=tuple(one.steps for one in outcomes),
        returns=tuple(one.rewards for one in outcomes),
        contact_force_peaks_N=tuple(one.force_N for one in outcomes if one.force_N is not None),
    )


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927); z = 1.96 is 95 %."""
    p = successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class _Ended:
    """What came of one episode."""

    success: bool
    steps: int
    rewards: float
    force_N: float | None


def _run_episode(
    policy: Predictor, env: gym.Env[Any, Any], seed: int, watch: Callable[[Moment], None] | None
) -> _Ended:
    rewards, force_N = 0.0, None
    for moment in run_episode(env, lambda now: policy.predict(now.obs, deterministic=True)[0], seed=seed):
        rewards += moment.reward
        seen = moment.info.get("observation")
        if isinstance(seen, Observation):
            force_N = max(force_N or 0.0, seen.robot.contact_force_N)
        if watch is not None:
            watch(moment)
    return _Ended(_is_success(moment.info), moment.step, rewards, force_N)


def _is_success(info: Mapping[str, Any]) -> bool:
    if "is_success" not in info:
        raise ConfigError("The environment's info has no 'is_success'; evaluation needs it.")
    return bool(info["is_success"])
