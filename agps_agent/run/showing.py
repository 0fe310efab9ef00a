"""The agent demonstrates: its waypoints are all that moves the arm, from the first step of each episode."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agps_agent.run.build import build_agent
from agps_agent.run.config import RunConfig
from agps_agent.run.confirm import Confirm
from agps_agent.run.directory import RunDirectory
from agps_agent.supervisor import AgentSupervisor
from rl.demonstrations import episode_of
from rl.envs.manipulation import ManipulationEnv
from rl.episodes import Episode
from rl.errors import AgpsError
from rl.lessons import disturbed
from rl.rollout import Moment, run_episode
from rl.supervised import SupervisedEpisode
from rl.types import EpisodeOutcome, FloatArray


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Whom the agent asks, and what it remembers; as the options of `agps train` are called."""

    vlm: str = "embedded"
    vlm_model: str | None = None
    memory: str | None = None
    """None: what is learned in this recording."""
    demo_noise: float | None = None
    """None: the recipe's."""

    def settings(self) -> dict[str, Any]:
        """Return what a run's configuration says for it."""
        # Nothing else would act inside of a box: the agent is asked for waypoints alone.
        said = {"method": "agps", "mode": "guide", "vlm": self.vlm, "vlm_model": self.vlm_model}
        given = {"memory": self.memory, "demo_noise": self.demo_noise}
        return said | {name: value for name, value in given.items() if value is not None}


class Showing:
    """Demonstrations of the agent, in one environment."""

    def __init__(
        self, agent: AgentSupervisor, env: ManipulationEnv, config: RunConfig, confirm: Confirm | None = None
    ) -> None:
        """Let an agent demonstrate; `open_showing` makes one."""
        self._agent, self._env, self._config, self._confirm = agent, env, config, confirm

    @property
    def demo_noise(self) -> float:
        """What its steps are disturbed by, over their length (`rl.lessons.disturbed`)."""
        return self._config.demo_noise

    @property
    def model_calls(self) -> int:
        """Calls of the chat model so far, retries and repairs included."""
        return int(self._agent.metrics().get("agent_calls", 0))

    def demonstrations(self, n: int, *, seed: int) -> Iterator[Episode]:
        """Yield `n` successful episodes as they end; failed ones are left out.

        Where steps are disturbed, `action` is what was meant: that is what is to be learned (`rl.lessons.disturbed`).

        Args:
            n: Episodes to show.
            seed: Try k starts from seed + k.

        Raises:
            AgpsError: If too many tries failed.
        """
        tries = shown = 0
        self._agent.demonstrate(n)
        while shown < n and self._agent.is_demonstrating:  # where the scene moves it would show three times as many
            shown_episode, outcome = self._try(number=tries, seed=seed + tries)
            tries += 1
            if outcome.success and outcome.guided_steps > 0:
                shown += 1
                yield shown_episode
        if shown < n:
            raise AgpsError(
                f"The agent succeeded in {shown} of {tries} tries{self._declined()}; "
                f"`agps ask {self._config.task}` shows what it answers."
            )

    def _try(self, *, number: int, seed: int) -> tuple[Episode, EpisodeOutcome]:
        """Return one episode, and how it ended."""
        env, noise = self._env, self.demo_noise
        meant: dict[int, FloatArray] = {}
        """By control step; of those that are disturbed."""

        def act(now: Moment) -> FloatArray:
            step = episode.steps
            action, guided = episode.act(now.observation, lambda: np.zeros(env.task.actions, np.float32))
            if not guided or noise == 0.0:
                return action
            meant[step] = action
            return disturbed(action, noise, seed=(seed, step))

        running = run_episode(env, act, seed=seed)
        moments = [next(running)]
        episode = SupervisedEpisode(
            self._agent,
            moments[0].observation,
            number=number,
            actions=env.task.actions,
            action_scale=lambda: env.action_scale,
            guidance=self._config.guidance,
            confirm=self._confirm,
        )
        moments += running
        last = moments[-1]
        outcome = episode.finish(
            last.observation,
            success=bool(last.info["is_success"]),
            terminated=last.terminated,
            truncated=last.truncated,
        )
        shown = episode_of(moments, seed=seed)
        for step, action in meant.items():
            shown["action"][step] = action
        return shown, outcome

    def _declined(self) -> str:
        """Return how often the agent gave no waypoints, in words."""
        reasons = {key: int(n) for key, n in self._agent.metrics().items() if key.startswith("declined/")}
        most = sorted(reasons.items(), key=lambda reason: -reason[1])
        words = ", ".join(f"{key.removeprefix('declined/').replace('_', ' ')} {n}" for key, n in most)
        return f" (questions without waypoints: {words})" if words else ""


@contextmanager
def open_showing(config: RunConfig, env: ManipulationEnv, confirm: Confirm | None = None) -> Iterator[Showing]:
    """Yield the agent of a configuration, ready to demonstrate; what it is asked is not kept.

    Args:
        config: With `Asked.settings`.
        env: Where it demonstrates.
        confirm: Agrees to each waypoint; None: nobody is asked.

    Raises:
        ConfigError: If it has no words about the task, or its model does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="agps-demos-") as folder:
        run = RunDirectory.create(Path(folder))
        with closing(build_agent(config, run, env, confirm)) as agent:
            yield Showing(agent, env, config, confirm)
