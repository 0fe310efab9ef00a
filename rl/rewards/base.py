"""What a reward is: it looks at each control step of an episode and says whether the task is done.

A reward may answer at once, late, or only at the end of an episode. Whenever it says success, the episode ends there:
that control step is the last one, it is terminal, and it is paid. No step that was stored before is changed. The
learner draws steps while an episode goes on, so a step that got its reward later would have been learned from wrongly;
and a step that was stored as one of many cannot become the last one. So a late reward should look again before it says
success: the state that is paid for is the one that is there now. `rl.envs.judged.JudgedEnv` puts a reward over an
environment; `docs/extend/reward.md` shows one.

Evaluations are by the truth, wherever somebody knows it.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

import numpy.typing as npt

from rl.errors import ConfigError
from rl.registry import Registry
from rl.tasks.base import Task
from rl.types import Observation, RGBDFrame

Needs = Literal["nothing", "truth", "keys"]


def _no_hold() -> None:
    """Do nothing: a simulation stands still between two control steps."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What there is to judge after a control step, or at the start of an episode."""

    policy: Mapping[str, npt.NDArray[Any]]
    """What the policy sees: images (H, W, 3) uint8 by camera, and `state`."""
    observation: Observation
    """Images, arm and step."""
    is_last: bool
    """The horizon is reached: this is the last time that the reward is asked in the episode."""
    own: bool
    """What the environment itself says: the truth where it is known, else False."""
    capture: Callable[[], tuple[RGBDFrame, ...]]
    """Takes full-resolution RGB-D of all agent cameras."""
    hold: Callable[[], None] = _no_hold
    """Holds a real arm until the next control step. Call it before anything that takes longer than a few milliseconds:
    the arm then waits, and what is judged is still there."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a reward says of a control step."""

    success: bool
    """The task is done: the episode ends here."""
    reward: float | None = None
    """What this step is paid; None: what the task pays for success, or for none."""
    notes: Mapping[str, float] = field(default_factory=dict)
    """Numbers for the environment's info, by name."""

    def __post_init__(self) -> None:
        """Refuse a payment that is no number: one is all that learning needs to be lost."""
        if self.reward is not None and not math.isfinite(self.reward):
            raise ConfigError(f"A reward of {self.reward} cannot be learned from; give a finite number, or None.")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a reward is made for."""

    task: Task
    image_size: int
    """Side of the policy's images, [px]."""
    file: Path | None = None
    """For a reward that reads what was fitted: the file of `--reward-model`, or that of `agps reward fit`."""


class Reward(Protocol):
    """Judges episodes. Derive from it: a reward gives `judge`, and what else it needs.

    One is made per run: `MyReward(setting)`. A reward that has settings of its own names their frozen dataclass as
    `config_class`, and is made with an instance: `MyReward(setting, config)`.
    """

    needs: ClassVar[Needs] = "nothing"
    """What must be there beside cameras and arm: somebody who knows the truth, an operator's keys, or nothing."""

    def reset(self, view: View) -> None:
        """Begin an episode; its first view is not judged, and an answer about the episode before is dropped."""
        return

    def judge(self, view: View) -> Verdict | None:
        """Judge a control step; None: not known yet, the episode goes on.

        At the last view None means no success. An operator's key overrides the verdict, and where the hardware failed
        nobody is asked.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered of the episode so far, for whoever goes back to this moment."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        return

    def close(self) -> None:
        """Release threads and sockets; may be called more than once."""
        return


class OwnReward(Reward):
    """The environment's own: over it nothing changes, so the environment is left as it is."""

    def __init__(self, setting: Setting) -> None:
        """Judge a task."""

    def judge(self, view: View) -> Verdict:
        """Return what the environment says."""
        return Verdict(success=view.own)


class Truth(OwnReward):
    """The simulator's truth, or that of an emulated station."""

    needs: ClassVar[Needs] = "truth"


class Keys(OwnReward):
    """An operator's keys, s (success) and f (fail); the environment reads them."""

    needs: ClassVar[Needs] = "keys"


REWARDS: Registry[type[Reward]] = Registry("agps.rewards", "reward")
"""Classes of rewards, by name."""


def load_reward(name: str) -> type[Reward]:
    """Return a reward's class.

    Raises:
        ConfigError: If there is none of this name, saying which there are; or if it is no reward.
    """
    kind: Any = REWARDS.load(name)
    if not (inspect.isclass(kind) and callable(getattr(kind, "judge", None))):
        raise ConfigError(f"{name} is no reward: derive a class from rl.rewards.base.Reward (docs/extend/reward.md).")
    config = getattr(kind, "config_class", None)
    if config is not None and not (inspect.isclass(config) and is_dataclass(config)):
        raise ConfigError(f"config_class of the reward {name} is {config!r}; name a frozen dataclass, or leave it out.")
    return cast("type[Reward]", kind)


def make_reward(name: str, setting: Setting, config: object | None = None) -> Reward:
    """Return a reward of a run.

    Args:
        name: A registered name, `package.module:Name` or `./file.py:Name`.
        setting: What it is made for.
        config: Its settings; None: their defaults.

    Raises:
        ConfigError: If there is none, or it cannot be made, or does not fit.
    """
    kind: Any = load_reward(name)
    settings = getattr(kind, "config_class", None)
    given = () if settings is None else (settings() if config is None else config,)
    try:
        made: Reward = kind(setting, *given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The reward {name} cannot be made: {error}.") from error
    return made
