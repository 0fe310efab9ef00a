"""The agent without a learner: its waypoints are all that acts. What the policy has to be better than.

The paper measures this too (AGPS, arXiv:2602.11978): USB 0 %, knot 90 %, towel 70 %.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from agps_agent.build import Asker, build_asker, build_env, capture_scene
from agps_agent.config import RunConfig
from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.evaluation import EvaluationResult
from rl.guidance import WaypointFollower
from rl.tasks import get_task
from rl.types import FloatArray, Guide, Observation

SETTLE_STEPS = 5
"""Control steps that the arm holds still after its waypoints, and after a question without an answer: what hangs or
lies there comes to rest, and what hid a keypoint may be gone."""


@dataclass(frozen=True, kw_only=True)
class AgentAloneResult(EvaluationResult):
    """Outcome of episodes in which only the agent acted."""

    model_calls: int
    """Chat model calls, retries and repairs included."""
    questions: int
    """Questions to the agent."""
    failure_modes: Mapping[str, int]
    """How failed episodes ended, most frequent first: `declined_<reason>` (no waypoints were given), `blocked` (the arm
    came no closer to one), `budget` (they took too long), `missed_grasp` (closed on nothing), `dropped` (held once, and
    lost before it was let go), `beside` (all reached, yet not done), `horizon` (the time was up on the way)."""


@dataclass
class _Episode:
    """What has happened in an episode so far."""

    observation: Observation
    done: bool = False
    success: bool = False
    steps: int = 0
    model_calls: int = 0
    questions: int = 0
    ended: str = "horizon"
    """How it failed, if it did."""


def run_agent_alone(
    config: RunConfig,
    *,
    episodes: int,
    seed: int,
    max_questions: int = 4,
    horizon_factor: float = 1.0,
    progress: Callable[[int, bool], None] | None = None,
) -> AgentAloneResult:
    """Return how often the agent's waypoints alone do the task, by the simulator's truth.

    The agent is asked for waypoints at the start, and again when they are over and the task is not done.

    Args:
        config: Task, chat model and limits.
        episodes: Number of episodes.
        seed: Episode k starts from seed + k.
        max_questions: Questions per episode.
        horizon_factor: The horizon, over the task's.
        progress: Called after each episode with its number and whether it succeeded.

    Raises:
        ConfigError: If a number is out of range.
    """
    if episodes < 1 or max_questions < 1 or not horizon_factor > 0:
        raise ConfigError(
            f"episodes is {episodes}, max_questions {max_questions}, horizon_factor {horizon_factor}; "
            "ask for at least 1, 1, and more than 0."
        )
    config = _with_horizon(config, horizon_factor)
    finished: list[_Episode] = []
    with build_asker(config) as asker, closing(build_env(config)) as env:
        for number in range(episodes):
            finished.append(_run_episode(asker, env, seed=seed + number, max_questions=max_questions))
            if progress is not None:
                progress(number, finished[-1].success)
    failures = Counter(episode.ended for episode in finished if not episode.success)
    return AgentAloneResult(
        successes=tuple(episode.success for episode in finished),
        steps=tuple(episode.steps for episode in finished),
        model_calls=sum(episode.model_calls for episode in finished),
        questions=sum(episode.questions for episode in finished),
        failure_modes=MappingProxyType(dict(failures.most_common())),
    )


def _with_horizon(config: RunConfig, factor: float) -> RunConfig:
    horizon = config.task_options.horizon or get_task(config.task).horizon
    options = config.task_options.model_copy(update={"horizon": max(1, round(factor * horizon))})
    return config.model_copy(update={"task_options": options})


def _run_episode(asker: Asker, env: ManipulationEnv, *, seed: int, max_questions: int) -> _Episode:
    _, info = env.reset(seed=seed)
    episode = _Episode(observation=info["observation"])
    while not episode.done and episode.questions < max_questions:
        answer = asker.ask(capture_scene(env), mode="guide")
        episode.questions += 1
        episode.model_calls += answer.cost.model_calls
        if isinstance(answer.intervention, Guide):
            _follow(env, answer.intervention, episode, asker.config)
        else:
            episode.ended = f"declined_{answer.reason_key}"
        for _ in range(SETTLE_STEPS):
            _step(env, np.zeros(env.task.actions), episode)
    return episode


def _follow(env: ManipulationEnv, guide: Guide, episode: _Episode, config: RunConfig) -> None:
    """Follow waypoints until they or the episode are over, and note how that was."""
    follower = WaypointFollower(guide, action_scale=env.action_scale, actions=env.task.actions, config=config.guidance)
    while not episode.done:
        action = follower.next_action(episode.observation)
        if action is None:
            break
        _step(env, action, episode)
    episode.ended = {"following": "horizon", "reached": "beside"}.get(follower.status, follower.status)


def _step(env: ManipulationEnv, action: FloatArray, episode: _Episode) -> None:
    """Take a control step, unless the episode is over."""
    if episode.done:
        return
    _, _, terminated, truncated, info = env.step(action.astype(np.float32))
    episode.observation = info["observation"]
    episode.steps += 1
    episode.success = bool(info["is_success"])
    episode.done = terminated or truncated
