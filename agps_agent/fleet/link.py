"""What goes between a robot and the learner, and the seam that carries it: Ray in a fleet, a plain call in tests."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy.typing as npt

from agps_agent.fleet.message import Key
from rl.episodes import Episode
from rl.errors import AgpsError
from rl.loop import Step
from rl.teacher import Lesson

Stage = Literal["showing", "pretraining", "online", "over"]
"""The agent shows how it is done; the learner warms up on that; robots act and learn; the run ends."""


class LinkDown(AgpsError):
    """The learner does not answer now: its process died and is started anew, or the network is gone."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The policy's networks at one moment."""

    version: int
    """Updates that they have seen."""
    env_steps: int
    """Control steps of the fleet when they were made."""
    arrays: Mapping[str, npt.NDArray[Any]]
    """What `policy.state_dict()` holds."""


@dataclass(frozen=True, kw_only=True)
class News:
    """What the learner tells a robot that asks."""

    stage: Stage
    version: int
    """Updates that the learner has made."""
    env_steps: int
    """Control steps that it has taken."""
    owed: float = 0.0
    """Updates that these steps allow and that it has not made yet."""
    weights: Weights | None = None
    """Newer ones than the robot has; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class RobotReport:
    """What a robot says of itself whenever it asks for news."""

    robot: str
    run: str = ""
    """Name of its process."""
    steps: int = 0
    """Control steps."""
    episodes: int = 0
    successes: int = 0
    recent_success: float = 0.0
    """Success of the newest twenty rollouts, help included."""
    wall_s: float = 0.0
    """Time since it began to act, in all its processes, [s]."""
    agent_wait_s: float = 0.0
    """Of that, the arm held still for the agent, [s]."""
    learner_wait_s: float = 0.0
    """Of that, it waited for the learner, [s]."""
    period_p50_ms: float = 0.0
    """Median time from one control step to the next, [ms]."""
    period_p99_ms: float = 0.0
    faults: int = 0
    """Episodes that ended by a fault."""
    lives: int = 1
    """Processes that it has had."""
    unsent: int = 0
    """Episodes on its disk that the learner has not acknowledged."""
    weights_version: int | None = None
    """Updates that the weights have seen with which it acts; None before the first ones."""
    weights_env_steps: int = 0
    """Control steps of the fleet when they were made."""
    is_showing: bool = False
    """The agent shows how it is done, or is about to."""
    places: int = 1
    """How many times as much the agent shows, and is learned from it, because the scene moves."""
    counters: Mapping[str, float] = field(default_factory=dict)
    """Of its supervisor."""
    hardware: Mapping[str, float] = field(default_factory=dict)
    """What a real arm counted."""

    @property
    def idle_share(self) -> float:
        """Share of the time in which it waited for others, in [0, 1]."""
        return min(1.0, (self.agent_wait_s + self.learner_wait_s) / self.wall_s) if self.wall_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class StreamedStep:
    """A control step on its way to the learner before its episode is over: a fleet of one in lockstep."""

    key: Key
    """Of its episode."""
    step: Step
    lesson: Lesson | None = None
    """What the robot's teacher said of the episode, if it is over."""


class LearnerLink(Protocol):
    """A robot's connection to the learner. Each call may raise `LinkDown`, and may be made again then."""

    def demonstrations(self) -> Sequence[Episode]:
        """Return the run's demonstrations."""

    def deliver(self, content: bytes) -> None:
        """Hand over a finished episode; it is acknowledged on return, and on the learner's disk.

        Raises:
            ConfigError: If it is of another task, image size or camera.
        """

    def ask(self, report: RobotReport) -> "Future[News]":
        """Ask for news, and for weights newer than those of the report; returns at once."""

    def take_steps(self, steps: Sequence[StreamedStep]) -> News:
        """Learn from control steps as they are made, and return the weights for the next one."""
