"""A run on the arm of a station."""

import logging
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agps_agent.run.confirm import Confirm, count_finished_run, is_first_run
from agps_agent.run.directory import default_classifier
from agps_agent.run.simulation import Simulation
from rl.errors import ConfigError
from rl.files import quoted
from rl.robots.station import load_station
from rl.tasks.base import Task
from rl.tasks.expert import make_expert
from rl.tasks.registry import get_task

if TYPE_CHECKING:  # the configuration asks a place for its defaults
    from agps_agent.run.config import RunConfig
    from agps_agent.run.site import Site
    from rl.algorithm import GuidedAlgorithm
    from rl.envs.manipulation import ManipulationEnv
    from rl.envs.robot import RobotEnv
    from rl.supervisor import Hand

_log = logging.getLogger(__name__)

T = TypeVar("T")

STATION = "station"
"""What --robot calls the arm of the station file, whichever it is."""


@dataclass(frozen=True)
class Robot:
    """One arm that everybody can hold: every step takes a tenth of a second, and somebody stands by."""

    robot: str
    """As --robot says it."""
    eval_episodes: int = 10

    def named(self, name: str) -> str:
        """Return the name with that of the arm before it."""
        return f"{self.robot.rpartition(':')[2]}-{name}"

    def start_values(self, task: Task | None, station: Path) -> dict[str, Any]:
        """Return what is different where every step takes its time and somebody stands by."""
        try:
            is_emulated = load_station(station).truth is not None
        except ConfigError:  # reported when the station is opened
            is_emulated = False
        is_fitted = task is not None and default_classifier(self.named(task.name)).is_file()
        return {
            "demos": 0,
            "eval_episodes": self.eval_episodes,
            "eval_acting": "unstuck",
            "curve_episodes": 5,
            "solved_episodes": 35,  # none may fail: a policy of 90 % passes, with the curve's five, with 1.5 %
            "learner": "threaded",
            "reward": "truth" if is_emulated else "classifier" if is_fitted else "keys",
            "confirm": not is_emulated and is_first_run(station),
        }

    def check_fits(self, config: "RunConfig", task: Task) -> None:
        """Refuse a simulated human whom nobody has written."""
        if config.helper == "human" and config.teleop == "simulated":
            make_expert(task)

    def check_expert(self, config: "RunConfig") -> None:
        """Refuse a table on which nobody knows where things are."""
        from agps_agent.run.hardware import station_of

        record = f"agps demos record {config.task} --robot {self.robot} --station {quoted(config.station)}"
        instead = f"record them with `{record}`, and name their folder with --demos-dir"
        station_of(config).require_truth(f"--demos {config.demos}", instead)
        make_expert(get_task(config.task))

    def require_arm(self, sentence: str) -> None:
        """Agree."""

    def require_simulation(self, sentence: str) -> None:
        """Refuse."""
        raise ConfigError(sentence)

    def choose(self, simulated: T, on_arm: T) -> T:
        """Return the second."""
        return on_arm

    def relocated(
        self, config: "RunConfig", *, station: Path | None, robot_ip: str | None, speed: float | None
    ) -> "RunConfig":
        """Return the configuration with the station that is named now."""
        if station is None:
            raise ConfigError(
                f"This run is of a robot ({config.station}), which will move; name its file with --station."
            )
        changes = {"station": station, "robot_ip": robot_ip, "speed": speed or config.speed}
        return config.model_copy(update=changes)

    def open(self, config: "RunConfig", *, dry: bool = False) -> "ManipulationEnv":
        """Return the task on the arm; nothing moves before `reset`, nor ever if `dry`."""
        from agps_agent.run.hardware import open_dry, open_robot

        return open_dry(config) if dry else open_robot(config)

    def open_alone(self, config: "RunConfig", opened: ExitStack) -> "RobotEnv":
        """Return the task on the arm, with the operator's keys; it is stopped when the stack unwinds."""
        from agps_agent.run.hardware import open_keys, open_robot

        env = open_robot(config, keys=open_keys(opened))
        opened.callback(env.close)
        opened.callback(env.halt)
        return env

    def open_site(self, config: "RunConfig", opened: ExitStack) -> "Site":
        """Return the one environment; where the run says so, somebody is asked before each waypoint."""
        from agps_agent.run.hardware import open_keys, open_robot, suspends
        from agps_agent.run.site import Site

        keys = open_keys(opened)
        env: RobotEnv = opened.enter_context(closing(open_robot(config, keys=keys)))
        confirm = Confirm(hold=env.pause, suspend_keys=suspends(keys)) if config.confirm else None
        return Site(env=env, confirm=confirm)

    def open_hand(self, config: "RunConfig", env: "ManipulationEnv", *, seed: int) -> "Hand":
        """Return the device in the human's hand, or on an emulator a simulated one."""
        if config.teleop == "simulated":
            return Simulation().open_hand(config, env, seed=seed)
        from agps_agent.run.hardware import open_hand

        return open_hand(config, env.task)

    def before_moving(self, algorithm: "GuidedAlgorithm") -> None:
        """Act once on nothing: the first call of a network is slow, and a moving arm would wait for it."""
        algorithm.predict(algorithm.observation_space.sample(), deterministic=True)

    def endure(self, error: Exception) -> None:
        """Log the error: what an arm has done is saved, whatever ended it."""
        _log.error("The run ends: %s", error)

    def finish(self, config: "RunConfig") -> None:
        """Count the run: after a few nobody is asked any more by default."""
        count_finished_run(config.station)
