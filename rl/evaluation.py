"""How good the policy alone is: no supervisor, no box, fixed start states."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.rollout import Act, Moment, run_episode
from rl.transforms import pose_difference
from rl.types import Observation, RobotState

CURVE_SEED, FINAL_SEED, CONFIRMATION_SEED = 10_000, 20_000, 30_000
"""First start of the curve; of the final evaluation, and of the one after pretraining, to be compared with it; and of
the first confirmation: each later one has new ones. A run whose seed is far below does not train from them."""
Acting = Literal["mean", "unstuck", "sampled"]
"""How a policy acts alone: its mean; its mean, but what it draws where the arm gets nowhere; what it draws."""
STUCK_STEPS, STUCK_M, STUCK_RAD, STUCK_OPENING = 4, 0.001, 0.02, 0.05
"""An arm gets nowhere that is, so many control steps later, within so many metres, radians and shares of the gripper's
way of where it was. A mean that pushes against friction repeats itself there, or goes back and forth, for ever."""

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
    acting: Acting = "mean",
    allowed_failures: int | None = None,
    watch: Watch | None = None,
) -> EvaluationResult:
    """Run episodes from start states seed, seed + 1, ...

    Success is what the environment's info calls `is_success`, not the reward. The seed fixes what a policy draws, too.
    With `allowed_failures` the evaluation is broken off at the first failure beyond them: its result has fewer episodes
    then. `watch` sees what is run. Where an environment shows no arm, `unstuck` is `mean`.

    Raises:
        ConfigError: If `episodes` is less than 1.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; ask for at least 1.")
    outcomes: list[_Ended] = []
    for i in range(episodes):
        with _drawing_from(seed + i):
            outcomes.append(
                _run_episode(_Alone(policy, acting), env, seed + i, None if watch is None else partial(watch, i))
            )
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
    # Rounded, the end of 100 of 100 may lie below 1: an interval holds its own proportion.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


@dataclass(frozen=True)
class _Ended:
    """What came of one episode."""

    success: bool
    steps: int
    rewards: float
    force_N: float | None


class _Alone:
    """Acts for a policy in one episode."""

    def __init__(self, policy: Predictor, acting: Acting) -> None:
        self._policy, self._acting = policy, acting
        self._newest: deque[RobotState] = deque(maxlen=STUCK_STEPS + 1)

    def __call__(self, now: Moment) -> npt.NDArray[Any]:
        return self._policy.predict(now.obs, deterministic=self._is_mean(now))[0]

    def _is_mean(self, now: Moment) -> bool:
        seen = now.info.get("observation")
        if self._acting != "unstuck" or not isinstance(seen, Observation):
            return self._acting != "sampled"
        self._newest.append(seen.robot)
        return len(self._newest) <= STUCK_STEPS or _gets_on(self._newest[0], self._newest[-1])


def _gets_on(before: RobotState, now: RobotState) -> bool:
    """Return whether arm or gripper have come anywhere."""
    delta = pose_difference(before.T_base_tcp, now.T_base_tcp)
    goes = float(np.linalg.norm(delta[:3])) >= STUCK_M or float(np.linalg.norm(delta[3:])) >= STUCK_RAD
    return goes or abs(now.gripper_opening - before.gripper_opening) >= STUCK_OPENING


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Fix what a policy draws, which comes from torch's generator; a training goes on as if nothing had been drawn."""
    import torch  # results are read without it

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _run_episode(act: Act, env: gym.Env[Any, Any], seed: int, watch: Callable[[Moment], None] | None) -> _Ended:
    rewards, force_N = 0.0, None
    for moment in run_episode(env, act, seed=seed):
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
