"""Frames of a real table: somebody moves the arm, an operator's keys say what is a success (HIL-SERL's way).

One rule, for one hand on the device and one on the keyboard: **s says that it is done from now on, f that it is not
any more.** Every episode begins as not done. The second before either key, and the last one of an episode, is left out:
nobody presses at once. An s that was a mistake is taken back by f within a second.

Where an emulated scene knows the truth, it labels the episodes in which nobody pressed a key.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.rewards.classifier.collecting import Action, keep, run_actor, taken
from rl.rewards.classifier.frames import BoolArray, FrameEpisode
from rl.types import FloatArray, Observation

if TYPE_CHECKING:  # environments may use a classifier
    from rl.envs.robot import RobotEnv

logger = logging.getLogger(__name__)

Verdict = Literal["success", "fail"]
Act = Callable[[Observation], npt.NDArray[Any]]

DOUBT = 10
"""Control steps before a key, and at an episode's end, that nobody has judged: 1 s, the time to see and press."""
POSITIVE_EPISODES, NEGATIVE_EPISODES = 10, 20
"""Fewest episodes that the successes and the failures come from, where each gives as many as it may."""
PATIENCE = 30
"""Episodes in a row without a frame that is still needed."""


def labels_from_keys(keys: Sequence[Verdict | None], *, doubt: int = DOUBT) -> tuple[BoolArray, BoolArray]:
    """Return for each control step whether it is a success, and whether that is certain; shapes (T,).

    Args:
        keys: What was pressed at each control step.
        doubt: Steps before a key and at the end that are not certain.
    """
    success, certain = np.zeros(len(keys), np.bool_), np.ones(len(keys), np.bool_)
    done = False
    for step, key in enumerate(keys):
        if key is not None and (key == "success") != done:
            done = not done
            certain[max(0, step - doubt) : step] = False
        success[step] = done
    certain[max(0, len(keys) - doubt) :] = False
    return success, certain


class Moves:
    """Acts for somebody until the episode's time is over."""

    def __init__(self, act: Act, *, source: str, horizon: int) -> None:
        """Name who acts, and for how many control steps."""
        self._act, self._horizon = act, horizon
        self.source = source

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action."""
        return None if observation.step >= self._horizon else np.asarray(self._act(observation), np.float32)


def run_labelled(
    env: "RobotEnv", act: Act, *, source: str, seed: int, on_key: Callable[[Verdict], None] | None = None
) -> FrameEpisode:
    """Return the frames of one episode whose label is certain; a fault ends it early.

    Args:
        env: The arm, with the operator's keys.
        act: Who moves it.
        source: What frames say about who moved.
        seed: Seed of the start.
        on_key: Called when the operator has judged.
    """
    keys: list[Verdict | None] = []

    def hear(info: Mapping[str, Any]) -> None:
        keys.append(info.get("operator"))
        if keys[-1] is not None and on_key is not None:
            on_key(keys[-1])

    episode = run_actor(env, Moves(act, source=source, horizon=env.task.horizon), seed=seed, on_step=hear)
    if env.knows_truth and not any(keys):
        return episode
    success, certain = labels_from_keys(keys)
    return taken(replace(episode, success=success), certain)


def collect_labelled(
    env: "RobotEnv",
    act: Act,
    *,
    source: str,
    positive: int,
    negative: int,
    seed: int,
    report: Callable[[int, int], None] | None = None,
    on_key: Callable[[Verdict], None] | None = None,
) -> Iterator[FrameEpisode]:
    """Yield episodes with that many successes and failures in all; episode k starts from `seed + k`.

    Args:
        env: The arm, with the operator's keys.
        act: Who moves it.
        source: What frames say about who moved.
        positive: Successes to collect.
        negative: Failures to collect.
        seed: Seed of the first start.
        report: Called after each episode with the counts so far.
        on_key: Called when the operator has judged.

    Raises:
        ConfigError: If what is missing does not come.
        HardwareFault: If the arm could not be recovered.
    """
    most = math.ceil(positive / POSITIVE_EPISODES), math.ceil(negative / NEGATIVE_EPISODES)
    found = missing = episodes = in_vain = 0
    while found < positive or missing < negative:
        if in_vain >= PATIENCE:
            raise ConfigError(
                f"{in_vain} episodes in a row gave nothing that is needed; there are {found} of {positive} successes "
                f"and {missing} of {negative} failures. Press s while it is done, or let somebody else move the arm."
            )
        rng = np.random.default_rng([seed, episodes])
        episode = run_labelled(env, act, source=source, seed=seed + episodes, on_key=on_key)
        episode = keep(episode, min(most[0], positive - found), min(most[1], negative - missing), rng=rng)
        found += int(episode.success.sum())
        missing += int((~episode.success).sum())
        episodes += 1
        in_vain = 0 if len(episode.success) else in_vain + 1
        if report is not None:
            report(found, missing)
        if len(episode.success):
            yield episode
    logger.info("Labelled %d successes and %d failures in %d episodes.", found, missing, episodes)
