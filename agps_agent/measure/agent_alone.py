"""The agent without a learner: its waypoints are all that acts. What the policy has to be better than.

The paper measures this too (AGPS, arXiv:2602.11978): USB 0 %, knot 90 %, towel 70 %.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from agps_agent.ask import Answer
from agps_agent.retreat import HIDDEN, retreat
from agps_agent.run.build import Asker, build_asker, build_env, capture_scene
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import differing, load_config, save_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.methods import ALONE
from rl.envs.manipulation import ManipulationEnv
from rl.errors import ConfigError
from rl.evaluation import EvaluationResult
from rl.guidance import GuideStatus, WaypointFollower
from rl.ownership import owned
from rl.rollout import Moment, run_episode
from rl.tasks import get_task
from rl.types import CONTROL_RATE_HZ, Cost, FloatArray, Guide, RobotState

SETTLE_STEPS = 5
"""Control steps that the arm holds still after its waypoints, and after a question without an answer: what hangs or
lies there comes to rest."""

NEAR_M = 0.03
"""What is held is this near to the TCP, [m]; the arm must rise as far before it shows what came along."""


@dataclass(frozen=True, kw_only=True)
class AgentAloneResult(EvaluationResult):
    """Outcome of episodes in which only the agent acted."""

    model_calls: int
    """Chat model calls, retries and repairs included."""
    questions: int
    """Questions to the agent."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model_s: float = 0.0
    """Until the model's replies had come, [s]."""
    failure_modes: Mapping[str, int]
    """What went wrong first in failed episodes, most frequent first: `declined_<reason>` (no waypoints were given),
    `missed_grasp` (the fingers closed, and what they should hold stayed), `dropped` (it came along and was lost before
    it was let go), `blocked` (the arm came no closer to a waypoint), `budget` (they took too long), `beside` (all
    reached, yet not done), `horizon` (the time was up on the way)."""


@dataclass
class _Episode:
    """What has happened in an episode so far."""

    now: Moment
    """What the environment shows."""
    costs: list[Cost] = field(default_factory=list)
    """Of each question to the agent."""
    went_wrong: str = ""
    """What went wrong first, if anything did."""
    held: str = ""
    """Point of the simulator's truth that the fingers shall hold; empty if they grasp nothing."""
    grip: "_Grip | None" = None
    """Of the waypoints that are followed; None while none are."""

    @property
    def success(self) -> bool:
        """Whether the task is done, by the simulator's truth."""
        return bool(self.now.info["is_success"])

    def see(self, now: Moment, truth: Mapping[str, FloatArray]) -> None:
        """Take note of what a control step came to."""
        self.now = now
        if self.grip is not None and self.held in truth:
            self.grip.watch(now.observation.robot, truth[self.held])
            self.blame(self.grip.slip)

    def blame(self, cause: str) -> None:
        """Note what went wrong; what follows from it does not count."""
        self.went_wrong = self.went_wrong or cause


@contextmanager
def keeping(folder: Path | None, config: RunConfig) -> Iterator[Callable[[AgentAloneResult], None]]:
    """Own a folder while the agent acts, and yield what writes into it what came of that; None: nothing is written.

    Raises:
        InUse: If another process works there.
        ConfigError: If it is a run's, or cannot be made.
    """
    if folder is None:
        yield lambda result: None
        return
    run, started = RunDirectory(folder), time.monotonic()
    _check_free(run, config)
    with owned(folder, "name another --out"):
        yield lambda result: _keep(result, run, config, time.monotonic() - started)


def _check_free(run: RunDirectory, config: RunConfig) -> None:
    """Refuse a folder in which something else lies than what the agent alone came to with these settings."""
    folder = run.path
    if folder.is_file() or run.has_checkpoint:
        raise ConfigError(f"{folder} is no folder for the agent alone: something else lies there; name another --out.")
    if not run.config.is_file():
        return
    if run.read_summary().get("method") != ALONE:
        raise ConfigError(f"{folder} holds a run, or another config.json; name another --out.")
    differs = sorted(differing(load_config(run), config, but=frozenset()))
    if differs:
        name, was, now = differs[0]
        raise ConfigError(f"{folder} holds a result with {name} = {was}, and {now} is asked for; name another --out.")


def _keep(result: AgentAloneResult, run: RunDirectory, config: RunConfig, wall_clock_s: float) -> None:
    """Write the summary, and the row of an evaluation, as a run that learns ends with."""
    told = {
        "env_steps": 0,
        "success_rate": result.success_rate,
        "wall_clock_s": wall_clock_s,
        "robot_time_s": sum(result.steps) / CONTROL_RATE_HZ,
        "agent_calls": result.model_calls,
        "memory_hits": 0,
        "agent_tokens": result.prompt_tokens + result.completion_tokens,
        "agent_prompt_tokens": result.prompt_tokens,
        "agent_completion_tokens": result.completion_tokens,
        "agent_seconds": result.model_s,
    }
    run.summary.unlink(missing_ok=True)  # it stands for a whole result, and is written last
    run.metrics.unlink(missing_ok=True)
    save_config(config, run, model=config.vlm_model or config.vlm)
    run.append_metrics({"kind": "final_eval", "episodes": result.episodes, "mean_steps": result.mean_steps, **told})
    about = {"task": config.task_name, "method": ALONE, "seed": config.seed, "demos": 0}
    of_all = {"eval_episodes": result.episodes, "interval_95": list(result.interval_95)}
    modes = {f"failures/{mode}": count for mode, count in result.failure_modes.items()}
    run.write_summary({**about, **told, **of_all, "counters": {"questions": result.questions, **modes}})


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
    costs = [cost for episode in finished for cost in episode.costs]
    failures = Counter(episode.went_wrong or "horizon" for episode in finished if not episode.success)
    return AgentAloneResult(
        successes=tuple(episode.success for episode in finished),
        steps=tuple(episode.now.step for episode in finished),
        model_calls=sum(cost.model_calls for cost in costs),
        questions=len(costs),
        prompt_tokens=sum(cost.prompt_tokens for cost in costs),
        completion_tokens=sum(cost.completion_tokens for cost in costs),
        model_s=sum(cost.model_s for cost in costs),
        failure_modes=MappingProxyType(dict(failures.most_common())),
    )


def _with_horizon(config: RunConfig, factor: float) -> RunConfig:
    horizon = config.task_options.get("horizon") or get_task(config.task).horizon
    options = {**config.task_options, "horizon": max(1, round(factor * horizon))}
    return config.model_copy(update={"task_options": options})


def _run_episode(asker: Asker, env: ManipulationEnv, *, seed: int, max_questions: int) -> _Episode:
    moments = run_episode(env, lambda _: next(actions, None), seed=seed)
    episode = _Episode(next(moments))
    actions = _actions(asker, env, episode, max_questions=max_questions)
    for moment in moments:
        episode.see(moment, env.truth())
    return episode


def _actions(asker: Asker, env: ManipulationEnv, episode: _Episode, *, max_questions: int) -> Iterator[FloatArray]:
    """Yield what the agent makes the arm do: it is asked, its waypoints are followed, the scene settles, and again.

    Where the arm hides what the question is about it rises, once, as in training.
    """
    has_risen = False
    for _ in range(max_questions):
        scene = capture_scene(env)
        answer = asker.ask(scene, mode="guide")
        episode.costs.append(answer.cost)
        if isinstance(answer.intervention, Guide):
            episode.held, episode.grip = _what_is_grasped(answer), _Grip()
            status = yield from _follow(env, answer.intervention, episode, asker.config)
            episode.blame("beside" if status in ("reached", "contact") else status)
            episode.grip = None
        else:
            episode.blame(f"declined_{answer.reason_key}")
            rise = retreat(scene.T_base_tcp, scene.gripper_opening, scene.workspace)
            if answer.reason_key in HIDDEN and rise is not None and not has_risen:
                has_risen = True
                yield from _follow(env, rise, episode, asker.config)
        for _ in range(SETTLE_STEPS):
            yield np.zeros(env.task.actions, np.float32)


def _what_is_grasped(answer: Answer) -> str:
    """Return the keypoint that a plan goes to before it grasps; empty if it does not grasp."""
    target = ""
    for call in (answer.state.get("plan") or {}).get("calls", []):
        if call["name"] == "grasp":
            return target
        target = str(call["arguments"].get("target", target))
    return ""


def _follow(
    env: ManipulationEnv, guide: Guide, episode: _Episode, config: RunConfig
) -> Generator[FloatArray, None, GuideStatus]:
    """Yield the actions along waypoints until they are over; return how they ended."""
    follower = WaypointFollower(guide, action_scale=env.action_scale, actions=env.task.actions, config=config.guidance)
    while (action := follower.next_action(episode.now.observation)) is not None:
        yield action.astype(np.float32)
    return follower.status


@dataclass
class _Grip:
    """Whether a point comes along with closed fingers."""

    slip: str = ""
    """`missed_grasp` or `dropped`; empty while all is well."""
    _closed_at_m: float | None = None
    """Height of the TCP when the fingers closed, [m]."""
    _came_along: bool = False

    def watch(self, robot: RobotState, point: FloatArray) -> None:
        """Look at the arm and at where the point is, (3,), [m], after a control step."""
        if robot.gripper_opening > 0.5:
            self._closed_at_m = None
            return
        height = float(robot.T_base_tcp[2, 3])
        self._closed_at_m = height if self._closed_at_m is None else self._closed_at_m
        is_near = bool(np.linalg.norm(robot.T_base_tcp[:3, 3] - point) < NEAR_M)
        lifted = height > self._closed_at_m + NEAR_M
        self._came_along |= lifted and is_near
        if lifted and not is_near and not self.slip:
            self.slip = "dropped" if self._came_along else "missed_grasp"
