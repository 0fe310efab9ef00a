"""Rollouts with a label, made anew from seeds: good ones of policies at several stages, and bad ones.

A bad rollout is a good policy's until the control step at which it goes wrong, its onset, and never succeeds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Literal, Protocol, Self, get_args

import numpy as np
import numpy.typing as npt

from agps_agent.measure.detectors.mishaps import Mishap, dropped, from_step, mishap_of, missed_grasp
from rl.counting import counted
from rl.envs.factory import make_env
from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.evaluation import Predictor
from rl.rollout import Act, Moment, run_episode
from rl.tasks.base import SimulatedTask, simulated
from rl.types import Observation

Split = Literal["reference", "calibration", "choosing", "held_out"]
"""What a rollout is for: demonstrations that detectors are fitted on; good ones that say how high scores go; those that
the best detector is chosen on; those that say how good it is."""
Kind = Literal["good", "light", Mishap]
"""What a rollout is: good, good under another light, or how it went wrong."""
KINDS: tuple[Kind, ...] = ("good", "light", *get_args(Mishap))
GRIPPER_KINDS: tuple[Kind, ...] = ("missed_grasp", "dropped")
"""What only a task with a gripper can show."""
LIGHT_JITTER = 0.4
"""Relative change of brightness and of the lights' direction under another light, at most."""
GOOD_SHARE = 3
"""Good rollouts for each one of another kind."""
_BLOCK = 10_000
"""Seeds of each kind in each split: none is used twice."""
_EARLIEST_ONSET = 2


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One rollout and what is known about it."""

    kind: Kind
    split: Split
    by: str
    """Who acted."""
    seed: int
    """Of its start."""
    onset: int | None
    """Control steps that were taken before the first wrong one; None: it is good."""
    observations: tuple[Observation, ...]
    """What was seen at reset and after each control step."""

    @property
    def is_bad(self) -> bool:
        """Whether it fails."""
        return self.onset is not None


class Pilot(Protocol):
    """A policy at some stage."""

    @property
    def name(self) -> str:
        """Who acts."""

    def begin(self, env: ManipulationEnv, rng: np.random.Generator) -> Act:
        """Return who acts in one rollout."""


@dataclass(frozen=True, kw_only=True)
class ExpertPilot:
    """The scripted expert, made clumsy or slow."""

    noise: float = 0.0
    """Standard deviation of what is added to each component of the pose action, 1 is a full step."""
    speed: float = 1.0
    """Factor on the pose action."""

    @property
    def name(self) -> str:
        """Who acts."""
        return f"expert, noise {self.noise:g}, speed {self.speed:g}"

    def begin(self, env: ManipulationEnv, rng: np.random.Generator) -> Act:
        """Return the expert of one rollout."""
        expert = env.expert()

        def act(now: Moment) -> npt.NDArray[np.float32]:
            action = np.array(expert(now.observation, env.truth()))
            action[:6] = np.clip(self.speed * action[:6] + self.noise * rng.standard_normal(6), -1.0, 1.0)
            return action

        return act


@dataclass(frozen=True)
class PolicyPilot:
    """A policy that a run has learned, without noise."""

    name: str
    policy: Predictor

    def begin(self, env: ManipulationEnv, rng: np.random.Generator) -> Act:
        """Return the policy."""
        return lambda now: self.policy.predict(now.obs, deterministic=True)[0]


DEMONSTRATOR = ExpertPilot()
STAGES: tuple[Pilot, ...] = (
    DEMONSTRATOR,
    ExpertPilot(noise=0.2),
    ExpertPilot(noise=0.4),
    ExpertPilot(noise=0.1, speed=0.7),
    ExpertPilot(noise=0.1, speed=0.5),
)
"""Whose rollouts the good ones are; they take turns."""


class RolloutMaker:
    """Makes rollouts of one task; a context manager."""

    def __init__(self, task: SimulatedTask, *, pilots: Sequence[Pilot] = STAGES, image_size: int = 64, seed: int = 0):
        """Open the task's simulation, once as it is and once with lights that change.

        Args:
            task: What is done.
            pilots: Who does it.
            image_size: Side of the policy's images, [px].
            seed: Of the first start.
        """
        self._pilots, self._seed = tuple(pilots), seed
        with ExitStack() as opened:
            self._env = opened.enter_context(closing(make_env(task, image_size=image_size)))
            relit = make_env(task, image_size=image_size, light_jitter=LIGHT_JITTER)
            self._relit = opened.enter_context(closing(relit))
            self._env.expert()  # a task without one is refused before anything is rendered
            self._opened = opened.pop_all()
        self._typical_steps = 0.0
        self.kinds = tuple(kind for kind in KINDS if task.has_gripper or kind not in GRIPPER_KINDS)
        """What the task can show."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the simulations."""
        self._opened.close()

    def demonstrations(self, n: int) -> list[Rollout]:
        """Return successes of the expert at its best; their length says when mishaps begin."""
        made = list(self._many("good", "reference", n, pilots=(DEMONSTRATOR,)))
        self._typical_steps = float(np.median([len(rollout.observations) - 1 for rollout in made]))
        return made

    def make(self, kind: Kind, split: Split, n: int) -> list[Rollout]:
        """Return rollouts of one kind, after `demonstrations`.

        Raises:
            ConfigError: If too few attempts become what they should be.
        """
        return list(self._many(kind, split, n, pilots=self._pilots))

    def _many(self, kind: Kind, split: Split, n: int, *, pilots: Sequence[Pilot]) -> Iterator[Rollout]:
        block = get_args(Split).index(split) * len(KINDS) + KINDS.index(kind)
        kept = attempts = 0
        while kept < n:
            if attempts >= 5 * n + 20:
                raise ConfigError(
                    f"Only {kept} of {attempts} attempts at {self._env.task.name} became a rollout of the kind {kind}; "
                    "make the task easier."
                )
            seed = self._seed + block * _BLOCK + attempts
            made = self._one(kind, split, pilots[attempts % len(pilots)], seed)
            attempts += 1
            if made is not None:
                kept += 1
                yield made

    def _one(self, kind: Kind, split: Split, pilot: Pilot, seed: int) -> Rollout | None:
        """Return a rollout; None if it did not become what it should be."""
        rng = np.random.default_rng([seed, 1])
        env = self._relit if kind == "light" else self._env
        onset, act = None, pilot.begin(env, rng)
        if kind in GRIPPER_KINDS:
            twin = list(run_episode(env, act, seed=seed))
            spoiled = (missed_grasp if kind == "missed_grasp" else dropped)(twin, rng) if _succeeded(twin) else None
            if spoiled is None:
                return None
            onset, act = spoiled
        elif kind not in ("good", "light"):
            onset = int(rng.integers(_EARLIEST_ONSET, max(round(0.6 * self._typical_steps), _EARLIEST_ONSET) + 1))
            act = from_step(onset, act, mishap_of(kind, env, act, rng))
        moments = list(run_episode(env, act, seed=seed))
        if _succeeded(moments) != (onset is None):
            return None
        seen = tuple(moment.observation for moment in moments)
        return Rollout(kind=kind, split=split, by=pilot.name, seed=seed, onset=onset, observations=seen)


def _succeeded(moments: Sequence[Moment]) -> bool:
    return bool(moments[-1].info["is_success"])


def make_rollouts(
    task: SimulatedTask,
    *,
    episodes: int,
    demos: int,
    seed: int = 0,
    image_size: int = 64,
    policies: Sequence[PolicyPilot] = (),
    progress: Callable[[str], None] = lambda words: None,
) -> list[Rollout]:
    """Return the rollouts of a benchmark: each is in one split.

    Args:
        task: What is done.
        episodes: Of each kind in each of the splits `choosing` and `held_out`, and three times as many good ones, in
            `calibration` too.
        demos: Demonstrations.
        seed: Of the first start.
        image_size: Side of the policy's images, [px].
        policies: Who acts beside the expert.
        progress: Is told what is being made.

    Raises:
        ConfigError: If the task has no expert, or too few attempts become what they should be.
    """
    with RolloutMaker(simulated(task), pilots=(*STAGES, *policies), image_size=image_size, seed=seed) as maker:
        progress(f"{task.name}: {demos} demonstrations")
        made = maker.demonstrations(demos)
        splits: tuple[Split, ...] = ("calibration", "choosing", "held_out")
        for split in splits:
            for kind in ("good",) if split == "calibration" else maker.kinds:
                n = GOOD_SHARE * episodes if kind == "good" else episodes
                progress(f"{task.name}: {counted(n, 'rollout')}, {split}, {kind}")
                made += maker.make(kind, split, n)
    return made
