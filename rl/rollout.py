"""One way to run an episode outside of training: for demonstrations, evaluations, benchmarks and frames of a reward.

`run_episode` yields what the episode shows, moment by moment, and whoever iterates keeps what they need:

    for moment in run_episode(env, act, seed=0):
        frames.append(moment.observation.images)
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat

import numpy.typing as npt

from rl.types import Observation


class Steps(Protocol):
    """What an episode needs of an environment; each of Gymnasium's has it."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a control step."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What an environment shows after reset, or after a control step."""

    obs: Any
    """In the environment's observation space: what a policy sees."""
    info: Mapping[str, Any]
    """The environment's info."""
    step: int = 0
    """Control steps since reset; 0 right after it, when nothing below has a meaning."""
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the episode has ended here."""
        return self.terminated or self.truncated

    @property
    def observation(self) -> Observation:
        """What supervisors and experts see; only an environment of ours has it."""
        observation: Observation = self.info["observation"]
        return observation


Act = Callable[[Moment], npt.NDArray[Any] | None]
"""From a moment to the next action, shape (A,), in [-1, 1]; None ends the episode."""


def run_episode(
    env: Steps,
    act: Act,
    *,
    seed: int | None = None,
    max_steps: int | None = None,
    past_end: bool = False,
) -> Iterator[Moment]:
    """Reset an environment and act until the episode ends; yield its first moment, and that after each control step.

    Nothing happens but as the moments are asked for: between two of them the environment stands still.

    Args:
        env: Environment.
        act: Who acts.
        seed: Seed of the start; None: the environment's random state goes on.
        max_steps: Control steps after which it is left; None: as many as the episode has.
        past_end: Go on when the episode ends, until `act` or `max_steps` ends it.
    """
    obs, info = env.reset(seed=seed)
    moment = Moment(obs=obs, info=info)
    yield moment
    while (past_end or not moment.is_over) and (max_steps is None or moment.step < max_steps):
        action = act(moment)
        if action is None:
            return
        obs, reward, terminated, truncated, info = env.step(action)
        moment = Moment(
            obs=obs,
            info=info,
            step=moment.step + 1,
            reward=float(reward),
            terminated=terminated,
            truncated=truncated,
        )
        yield moment


def run_steps(env: Steps, act: Act, *, steps: int, seed: int | None = None) -> Iterator[Moment]:
    """Yield the moments of one episode after the other until that many control steps were taken, or `act` ends one.

    Args:
        env: Environment.
        act: Who acts.
        steps: Control steps in all; resets are no steps.
        seed: Seed of the first start.
    """
    while steps > 0:
        moment = None
        for moment in run_episode(env, act, seed=seed, max_steps=steps):
            yield moment
        assert moment is not None  # there is one after reset
        if not moment.is_over:
            return
        steps, seed = steps - moment.step, None


def last_of(moments: Iterable[Moment]) -> Moment:
    """Run to the end and return the last moment; no other is kept."""
    return deque(moments, maxlen=1)[0]
