"""Where a run takes place: in simulation, or on the arm of a station. The choice is made here, and nowhere else."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agps_agent.run.robot import STATION, Robot
from agps_agent.run.simulation import SIMULATION, Simulation
from rl.errors import ConfigError
from rl.robots.base import ARMS
from rl.tasks.base import Task

if TYPE_CHECKING:  # the configuration asks a place for its defaults
    from agps_agent.run.config import RunConfig
    from agps_agent.run.site import Site, TrainingEnv
    from rl.algorithm import GuidedAlgorithm
    from rl.envs.manipulation import ManipulationEnv
    from rl.supervisor import Hand

T = TypeVar("T")


class Place(Protocol):
    """All that differs between a simulator and an arm."""

    @property
    def eval_episodes(self) -> int:
        """Episodes of an evaluation where nobody says how many."""

    def named(self, name: str) -> str:
        """Return the name of a folder with what was seen here: what was seen on a robot is kept apart."""

    def start_values(self, task: Task | None, station: Path) -> dict[str, Any]:
        """Return the settings of a run that have other defaults here."""

    def check_fits(self, config: "RunConfig", task: Task) -> None:
        """Refuse what the task cannot do here, before anything is made.

        Raises:
            ConfigError: If it has no scene to simulate, or nobody can demonstrate it or help as asked for.
        """

    def check_expert(self, config: "RunConfig") -> None:
        """Refuse demonstrations by the scripted expert where nobody tells it where things are.

        Raises:
            ConfigError: Saying where others come from.
        """

    def require_arm(self, sentence: str) -> None:
        """Refuse what only an arm can do.

        Raises:
            ConfigError: With the sentence, in simulation.
        """

    def require_simulation(self, sentence: str) -> None:
        """Refuse what only a simulator can do.

        Raises:
            ConfigError: With the sentence, on a robot.
        """

    def choose(self, simulated: T, on_arm: T) -> T:
        """Return the one of two ways that is of this place."""

    def relocated(
        self, config: "RunConfig", *, station: Path | None, robot_ip: str | None, speed: float | None
    ) -> "RunConfig":
        """Return a saved configuration for another run of what it trained: an arm is asked for again, as it will move.

        Raises:
            ConfigError: If nobody has named the arm's station now.
        """

    def open(self, config: "RunConfig", *, dry: bool = False) -> "ManipulationEnv":
        """Return the task's environment; `dry` only looks at a real arm."""

    def open_alone(self, config: "RunConfig", opened: ExitStack) -> "TrainingEnv":
        """Return the environment to evaluate a policy in, until the stack unwinds."""

    def open_site(self, config: "RunConfig", opened: ExitStack) -> "Site":
        """Return what a training run acts in, until the stack unwinds."""

    def open_hand(self, config: "RunConfig", env: "ManipulationEnv", *, seed: int) -> "Hand":
        """Return the human's hand: a device, or a simulated human with a seed.

        Raises:
            ConfigError: If there is none.
        """

    def before_moving(self, algorithm: "GuidedAlgorithm") -> None:
        """Do what must not take its time while an arm moves."""

    def endure(self, error: Exception) -> None:
        """Return, so that what there is can be saved, or raise the error where it can only be one of ours."""

    def finish(self, config: "RunConfig") -> None:
        """Take note of a finished run."""


def place_of(robot: str) -> Place:
    """Return the place that --robot names.

    Args:
        robot: `sim`; `station`, whatever arm the station names; or an arm's name, which the station must have.

    Raises:
        ConfigError: If there is no such place.
    """
    if robot == SIMULATION:
        return Simulation()
    if robot == STATION or robot in ARMS or ":" in robot:
        return Robot(robot)
    raise ConfigError(
        f"There is no robot {robot!r}; use {SIMULATION}, {STATION} (the arm that the station file names), "
        f"{', '.join(ARMS.names)} or package.module:Name."
    )


def named_at(robot: str, name: str) -> str:
    """Return the name of a folder with what was seen at a place."""
    return place_of(robot).named(name)


def check_robot(robot: str) -> str:
    """Return the name of a place, which holds in every working directory.

    Raises:
        ConfigError: If there is none.
    """
    place_of(robot)
    return ARMS.reference(robot) if ":" in robot else robot
