"""A run in simulation."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agps_agent.run.directory import RunDirectory
from agps_agent.run.environment import arguments_of
from rl.errors import ConfigError
from rl.rewards.base import load_reward
from rl.tasks.base import Task, simulated
from rl.tasks.expert import make_expert
from rl.tasks.registry import get_task

if TYPE_CHECKING:  # the configuration asks a place for its defaults
    from agps_agent.run.config import RunConfig
    from agps_agent.run.site import Site, TrainingEnv
    from rl.algorithm import GuidedAlgorithm
    from rl.envs.manipulation import ManipulationEnv
    from rl.human import SimulatedHuman

T = TypeVar("T")

SIMULATION = "sim"
"""What --robot calls it."""


@dataclass(frozen=True)
class Simulation:
    """MuJoCo: nothing breaks, and everything is known; evaluations have an environment of their own."""

    eval_episodes: int = 50

    def named(self, name: str) -> str:
        """Return the name as it is."""
        return name

    def start_values(self, task: Task | None, station: Path) -> dict[str, Any]:
        """Return nothing: the defaults are those of the simulation."""
        return {}

    def check_fits(self, config: "RunConfig", task: Task) -> None:
        """Refuse a task without a scene, or without the expert that is asked for."""
        simulated(task)
        if load_reward(config.reward).needs == "keys":
            raise ConfigError(
                "--reward keys waits for an operator's keys, and a simulation has no operator; use truth or classifier."
            )
        has_demos = (
            config.demos_dir is not None or RunDirectory(config.run_dir or config.default_run_dir()).demos.exists()
        )
        if config.helper == "human" or (config.demos > 0 and not has_demos):
            make_expert(task)

    def check_expert(self, config: "RunConfig") -> None:
        """Refuse a task that has none."""
        make_expert(get_task(config.task))

    def require_arm(self, sentence: str) -> None:
        """Refuse."""
        raise ConfigError(sentence)

    def require_simulation(self, sentence: str) -> None:
        """Agree."""

    def choose(self, simulated: T, on_arm: T) -> T:
        """Return the first."""
        return simulated

    def relocated(
        self, config: "RunConfig", *, station: Path | None, robot_ip: str | None, speed: float | None
    ) -> "RunConfig":
        """Return the configuration as it is, or where a station is named, that of its arm.

        Raises:
            ConfigError: If the arm is not named by its station, or the run is of somebody else's environment.
        """
        if station is None:
            if robot_ip is not None or speed is not None:
                raise ConfigError("This run is simulated; to run it on an arm, name its file with --station.")
            return config
        if config.env is not None:
            raise ConfigError(f"This run is of the environment {config.env}, which has no --station; leave that out.")
        from agps_agent.run.robot import STATION, Robot

        arm = {"robot": STATION, "station": station, "robot_ip": robot_ip, "speed": speed or config.speed, "pace": None}
        there = Robot(STATION).start_values(get_task(config.task), station)
        if config.eval_acting == "mean":
            arm["eval_acting"] = there["eval_acting"]
        if config.reward == "truth":  # an arm that is not emulated has none
            arm["reward"] = there["reward"]
        return config.model_copy(update=arm)

    def open(self, config: "RunConfig", *, dry: bool = False) -> "ManipulationEnv":
        """Return a simulator of the task."""
        from rl.envs.factory import make_env

        return make_env(config.task, image_size=config.image_size, **config.task_overrides)

    def open_alone(self, config: "RunConfig", opened: ExitStack) -> "TrainingEnv":
        """Return a simulator of the task, or somebody else's environment if the run names one."""
        if config.env is None:
            return opened.enter_context(closing(self.open(config)))
        from rl.envs.opening import open_env

        arguments = arguments_of(config.env_arguments)
        env = open_env(config.env, config.env_options, image_size=config.image_size, arguments=arguments)
        return opened.enter_context(closing(env))

    def open_site(self, config: "RunConfig", opened: ExitStack) -> "Site":
        """Return two simulators."""
        from agps_agent.run.site import Site

        env, eval_env = (self.open_alone(config, opened) for _ in range(2))
        return Site(env=env, eval_env=eval_env)

    def open_hand(self, config: "RunConfig", env: "ManipulationEnv", *, seed: int) -> "SimulatedHuman":
        """Return the simulated human."""
        from rl.human import SimulatedHuman

        return SimulatedHuman(
            expert=env.expert(), truth=env.truth, action_scale=env.action_scale, config=config.human, seed=seed
        )

    def before_moving(self, algorithm: "GuidedAlgorithm") -> None:
        """Do nothing: a simulated arm waits."""

    def endure(self, error: Exception) -> None:
        """Raise the error: it is one of ours."""
        raise error

    def finish(self, config: "RunConfig") -> None:
        """Do nothing."""
