"""Rollouts that show what success is and what only looks like it, where the truth is known: simulation and emulator.

What the arm does, by the name that frames carry as their source:

| source | what it does |
|---|---|
| `approach` | the scripted expert on its way |
| `hold` | small random motions after success: the same success, seen from varied poses |
| `undo` | after that, its own last actions backwards and slowly: out of success through every half-way state |
| `hesitate` | the expert, slow from shortly before success on, then random motions on the spot |
| `miss` | the expert, taking some landmarks, or all, to lie 1 to 120 mm beside where they are |
| `random` | random exploration from the start |
| `policy` | the policy of an earlier run, with noise |

On a real table an operator labels what a `hand` or a `policy` does (`rl.rewards.classifier.labelling`).

Reinforcement learning finds whatever a classifier takes for success, so most failures are from around success.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from rl.demonstrations import mistaken
from rl.errors import ConfigError
from rl.rewards.classifier.frames import FrameEpisode
from rl.rollout import Moment, run_episode
from rl.tasks.base import SimulatedTask, Task, simulated
from rl.types import Expert, FloatArray, Observation

if TYPE_CHECKING:  # environments may use a classifier
    from rl.envs.manipulation import ManipulationEnv

logger = logging.getLogger(__name__)

Action = npt.NDArray[np.float32]
Policy = Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[np.float32]]
"""From an observation, as the environment gives it, to an action."""

POSITIVES_PER_EPISODE, NEGATIVES_PER_EPISODE = 5, 10
"""Most frames kept of an episode: neighbours look alike."""
SHARES = {"expert": 0.4, "miss": 0.45, "random": 0.15}
"""Share of the failures that each kind of episode gives."""
MISS_ATTEMPTS = 4
"""Displacements tried until one makes the expert miss; the last is kept as it is."""
SHARES_WITH_POLICY = {"policy": 0.5, "expert": 0.2, "miss": 0.2, "random": 0.1}


class Actor(Protocol):
    """What moves the arm in one rollout."""

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action; None ends the rollout."""

    @property
    def source(self) -> str:
        """What the last action was part of."""


class DemonstratesAndUndoes:
    """The expert with a little noise; after success it holds with small motions, then goes back slowly."""

    def __init__(self, expert: Expert, rng: np.random.Generator) -> None:
        self._expert, self._rng = expert, rng
        self._hold, self._undo = int(rng.integers(5, 12)), int(rng.integers(8, 16))
        self._slowness = float(rng.uniform(0.2, 0.6))
        self._wiggle = float(rng.uniform(0.02, 0.25))
        self._done: list[Action] = []
        self._since_success: int | None = None
        self.source = "approach"

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action."""
        if self._since_success is None and not success:
            action = noisy(self._expert(observation, truth), 0.05, self._rng)
            self._done.append(action)
            return action
        n = self._since_success = 0 if self._since_success is None else self._since_success + 1
        if n < self._hold:
            self.source = "hold"
            return noisy(np.zeros_like(self._done[-1]), self._wiggle, self._rng)
        self.source = "undo"
        if n >= self._hold + self._undo or not self._done:
            return None
        position = (n - self._hold) * self._slowness
        back = -self._slowness * self._done[max(0, len(self._done) - 1 - int(position))]
        back[6:] = 0.0  # the gripper stays as it is
        return noisy(back, 0.05, self._rng)


class Hesitates:
    """The expert at full speed, slow from a step on, then random motions where it is."""

    def __init__(self, expert: Expert, rng: np.random.Generator, *, slow_from: int) -> None:
        self._expert, self._rng = expert, rng
        self._slow_from = slow_from
        self._slow = int(rng.integers(1, 10))
        self._speed = float(rng.uniform(0.1, 0.5))
        self._dither = int(rng.integers(3, 9))
        self._size = float(np.exp(rng.uniform(np.log(0.05), np.log(0.8))))
        self.source = "approach"

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action."""
        late = observation.step - self._slow_from
        action = self._expert(observation, truth)
        if late < 0:
            return action
        self.source = "hesitate"
        if late < self._slow:
            slowed = self._speed * action
            slowed[6:] = action[6:]
            return noisy(slowed, 0.05, self._rng)
        if late < self._slow + self._dither:
            return noisy(np.zeros_like(action), self._size, self._rng)
        return None


class Misses:
    """The expert, taking some landmarks of the scene, or all, to lie beside where they are."""

    source = "miss"

    def __init__(self, expert: Expert, rng: np.random.Generator, task: SimulatedTask) -> None:
        self._rng = rng
        names = np.array(sorted(task.landmarks))
        chosen = rng.random(len(names)) < 0.5
        displaced = frozenset(names[chosen] if chosen.any() else names)
        # As often within the reach of a rim or a corner as further away.
        near_m, far_m = np.exp(rng.uniform(np.log(0.001), np.log(0.03))), rng.uniform(0.03, 0.12)
        angle_rad, distance_m = rng.uniform(0.0, 2.0 * np.pi), near_m if rng.random() < 0.5 else far_m
        self._expert = mistaken(expert, displaced, angle_rad=angle_rad, distance_m=distance_m)
        self._steps = int(rng.integers(task.horizon // 2, task.horizon))

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action."""
        if observation.step >= self._steps:
            return None
        return noisy(self._expert(observation, truth), 0.1, self._rng)


class Explores:
    """Random actions that keep their direction for a few steps."""

    source = "random"

    def __init__(self, rng: np.random.Generator, task: Task) -> None:
        self._rng = rng
        self._steps = task.horizon // 2
        self._drift = np.zeros(task.actions)

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action."""
        if observation.step >= self._steps:
            return None
        self._drift = 0.8 * self._drift + 0.5 * self._rng.normal(size=len(self._drift))
        return np.clip(self._drift, -1.0, 1.0).astype(np.float32)


class Follows:
    """A policy with noise; it acts on for a few steps after success."""

    source = "policy"

    def __init__(self, policy: Policy, rng: np.random.Generator, task: Task) -> None:
        self._policy, self._rng, self._left = policy, rng, 5
        self._horizon = task.horizon
        self._noise = float(rng.choice([0.0, 0.1, 0.3]))

    def act(self, observation: Observation, truth: Mapping[str, FloatArray], *, success: bool) -> Action | None:
        """Return the next action."""
        self._left -= success
        if self._left < 0 or observation.step >= self._horizon:
            return None
        return noisy(self._policy({**observation.images, "state": observation.state}), self._noise, self._rng)


def noisy(action: npt.NDArray[Any], size: float, rng: np.random.Generator) -> Action:
    """Return an action with normal noise on its pose, none on its gripper, within [-1, 1]."""
    noise = np.zeros(len(action))
    noise[:6] = size * rng.normal(size=6)
    return np.clip(action + noise, -1.0, 1.0).astype(np.float32)


def run_actor(
    env: "ManipulationEnv", actor: Actor, *, seed: int, on_step: Callable[[Mapping[str, Any]], None] | None = None
) -> FrameEpisode:
    """Return every frame of a rollout after its first.

    It ends when the actor does, at twice the horizon at most, or before the step at which the hardware failed.

    Args:
        env: Environment; it is stepped on after its episodes end.
        actor: What moves the arm.
        seed: Seed of the start.
        on_step: Called with the info of each step that is kept.
    """

    def act(now: Moment) -> Action | None:
        return actor.act(now.observation, env.truth(), success=now.info["is_success"])

    observations: list[Observation] = []
    successes, sources = [], []
    for moment in run_episode(env, act, seed=seed, max_steps=2 * env.task.horizon, past_end=True):
        if "fault" in moment.info:  # it shows the frame before once more
            break
        observations.append(moment.observation)
        if moment.step == 0:
            continue
        successes.append(moment.info["is_success"])
        sources.append(actor.source)
        if on_step is not None:
            on_step(moment.info)
    return FrameEpisode(
        images={name: np.stack([o.images[name] for o in observations])[1:] for name in observations[0].images},
        state=np.stack([o.state for o in observations])[1:],
        success=np.array(successes, np.bool_),
        step=np.array([o.step for o in observations[1:]], np.int64),
        source=np.array(sources, np.str_),
        seed=seed,
    )


def collect_episodes(
    env: "ManipulationEnv",
    *,
    positive: int,
    negative: int,
    seed: int,
    policy: Policy | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[FrameEpisode]:
    """Yield episodes with that many successes and failures in all; episode k starts from `seed + k`.

    Args:
        env: Environment that knows the truth; it is stepped on after its episodes end.
        positive: Successes to collect.
        negative: Failures to collect.
        seed: Seed of the first start.
        policy: Policy that gives half of the failures; None: scripted behaviour only.
        report: Called after each episode with the counts so far.

    Raises:
        ConfigError: If the expert hardly ever succeeds.
    """
    expert = env.expert()
    shares = SHARES if policy is None else SHARES_WITH_POLICY
    given = dict.fromkeys(shares, 0)
    found = missing = episodes = 0
    while found < positive or missing < negative:
        if episodes > 20 + 2 * positive + negative:
            raise ConfigError(f"{episodes} episodes gave {found} of {positive} successes; make the task easier.")
        kind = _next_kind(given, shares) if missing < negative else "expert"
        rng = np.random.default_rng([seed, episodes])
        rollouts = rollouts_of(kind, env, expert, policy, seed=seed + episodes, rng=rng)
        most = (min(POSITIVES_PER_EPISODE, positive - found), min(NEGATIVES_PER_EPISODE, negative - missing))
        episode = keep(join(rollouts), *most, rng=rng)
        found += int(episode.success.sum())
        missing += int((~episode.success).sum())
        given[kind] += int((~episode.success).sum())
        episodes += 1
        if report is not None:
            report(found, missing)
        if len(episode.success):
            yield episode
    logger.info("Collected %d successes and %d failures in %d episodes.", found, missing, episodes)


def _next_kind(given: Mapping[str, int], shares: Mapping[str, float]) -> str:
    """Return the kind of episode that is furthest behind its share."""
    return min(shares, key=lambda kind: given[kind] / shares[kind])


def rollouts_of(
    kind: str,
    env: "ManipulationEnv",
    expert: Expert,
    policy: Policy | None,
    *,
    seed: int,
    rng: np.random.Generator,
) -> list[FrameEpisode]:
    """Return the rollouts of one start: two of kind `expert`, one of kind `miss`, `random` or `policy`."""
    if kind == "miss":
        for _ in range(MISS_ATTEMPTS):
            missed = run_actor(env, Misses(expert, rng, simulated(env.task)), seed=seed)
            if not missed.success.any():
                break
        return [missed]
    if kind == "random":
        return [run_actor(env, Explores(rng, env.task), seed=seed)]
    if kind == "policy":
        assert policy is not None
        return [run_actor(env, Follows(policy, rng, env.task), seed=seed)]
    shown = run_actor(env, DemonstratesAndUndoes(expert, rng), seed=seed)
    if not shown.success.any():
        return [shown]
    # The same start once more: now it is known when success comes, and with it where shortly before is.
    slow_from = max(0, int(shown.step[shown.success][0]) - int(rng.integers(1, 5)))
    return [shown, run_actor(env, Hesitates(expert, rng, slow_from=slow_from), seed=seed)]


def join(rollouts: Sequence[FrameEpisode]) -> FrameEpisode:
    """Return rollouts from one start as one episode: their frames look alike and belong to one split."""
    return FrameEpisode(
        images={name: np.concatenate([r.images[name] for r in rollouts]) for name in rollouts[0].images},
        state=np.concatenate([r.state for r in rollouts]),
        success=np.concatenate([r.success for r in rollouts]),
        step=np.concatenate([r.step for r in rollouts]),
        source=np.concatenate([r.source for r in rollouts]),
        seed=rollouts[0].seed,
    )


def keep(episode: FrameEpisode, positives: int, negatives: int, *, rng: np.random.Generator) -> FrameEpisode:
    """Return some frames of an episode: any successes, and failures that are more often near success or at a miss."""
    if not len(episode.success):
        return episode
    reached = np.convolve(episode.success, np.ones(9))[4:-4] > 0.0
    late = (episode.source == "miss") & (episode.step > episode.step.max() / 2)
    weights = 1.0 + 3.0 * reached + 2.0 * (episode.source != "approach") + 3.0 * late
    kept: list[npt.NDArray[np.int64]] = []
    for label, count in ((True, positives), (False, negatives)):
        candidates = np.flatnonzero(episode.success == label)
        p = weights[candidates] / weights[candidates].sum() if len(candidates) else None
        kept.append(rng.choice(candidates, min(count, len(candidates)), replace=False, p=None if label else p))
    return taken(episode, np.sort(np.concatenate(kept)).astype(np.int64))


def taken(episode: FrameEpisode, chosen: npt.NDArray[Any]) -> FrameEpisode:
    """Return the frames of a mask or of indices."""
    return FrameEpisode(
        images={name: frames[chosen] for name, frames in episode.images.items()},
        state=episode.state[chosen],
        success=episode.success[chosen],
        step=episode.step[chosen],
        source=episode.source[chosen],
        seed=episode.seed,
    )
