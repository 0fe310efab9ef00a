"""What the learner's run counts and writes of a fleet: the log of a run of one robot, fed with whole episodes."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from agps_agent.fleet.ledger import Ledger
from agps_agent.fleet.link import RobotReport
from agps_agent.fleet.message import EpisodeMessage
from agps_agent.run.log import TrainingLog
from rl.episodes import GUIDED, STATE, Episode
from rl.evaluation import EvaluationResult
from rl.loop import Step
from rl.supervisor import NullSupervisor
from rl.types import Transition

UNTOLD = ("robot", "run", "is_showing", "places", "counters")
"""What of a robot's report its row does not have: it is there by another name, or summed over the robots."""
SILENT_S = 10.0
"""After this without a word a robot counts as away, [s]."""


class FleetSupervisor(NullSupervisor):
    """Stands for the supervisors of all robots in the learner's run: sums what they count, and keeps the ledger."""

    def __init__(self, robots: Sequence[str], *, model: str | None) -> None:
        self.robots = tuple(robots)
        self.model = model
        """Name of the model that the agents ask; None where none is asked."""
        self.ledger = Ledger()
        self.reports: dict[str, RobotReport] = {}
        self.heard_at: dict[str, float] = {}
        """When each robot last said something, by the monotonic clock, [s]."""
        self.taken: Counter[str] = Counter()
        """Control steps that were learned from, by robot."""
        self.oldest_updates: Counter[str] = Counter()
        """Greatest age of the weights that each robot acted with, in updates."""
        self._noted: Mapping[str, Any] = {}

    @property
    def last_episode(self) -> Mapping[str, Any]:
        """What a robot's supervisor noted of the rollout that was taken last."""
        return self._noted

    def note(self, message: EpisodeMessage) -> None:
        """Take note of the episode whose row is written next."""
        self._noted = {**message.noted, "robot_name": message.key.robot}

    def hear(self, report: RobotReport, *, updates: int) -> None:
        """Take note of what a robot says of itself."""
        self.reports[report.robot] = report
        self.heard_at[report.robot] = time.monotonic()
        if report.weights_version is not None:
            age = updates - report.weights_version
            self.oldest_updates[report.robot] = max(self.oldest_updates[report.robot], age)

    def is_here(self, robot: str) -> bool:
        """Return whether a robot has said something lately."""
        return time.monotonic() - self.heard_at.get(robot, -float("inf")) <= SILENT_S

    def metrics(self) -> dict[str, float]:
        """Return what the robots' supervisors have counted together."""
        counts: Counter[str] = Counter()
        for report in tuple(self.reports.values()):
            counts.update(report.counters)
        return dict(counts)

    def rows(self, *, updates: int, env_steps: int) -> list[dict[str, Any]]:
        """Return what there is to say of each robot.

        Args:
            updates: Made so far.
            env_steps: Of the fleet, taken so far.
        """
        return [self._row(name, updates, env_steps) for name in self.robots]

    def _row(self, name: str, updates: int, env_steps: int) -> dict[str, Any]:
        report = self.reports.get(name)
        if report is None:
            return {"robot_name": name, "is_here": False}
        said = {field: value for field, value in asdict(report).items() if field not in UNTOLD}
        version = report.weights_version
        return {
            "robot_name": name,
            **said,
            "is_here": self.is_here(name),
            "taken_steps": self.taken[name],
            "idle_share": report.idle_share,
            "weights_age_updates": None if version is None else max(0, updates - version),
            "weights_age_steps": None if version is None else max(0, env_steps - report.weights_env_steps),
            "oldest_weights_updates": self.oldest_updates[name],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the ledger, and the robots' counts as they were said last."""
        reports = {name: asdict(report) for name, report in self.reports.copy().items()}  # others hear meanwhile
        return {"ledger": self.ledger.state_dict(), "reports": reports, "taken": dict(self.taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.ledger.load_state_dict(state["ledger"])
        self.reports = {name: RobotReport(**said) for name, said in state["reports"].items()}
        self.taken = Counter(state["taken"])


@dataclass
class FleetLog(TrainingLog):
    """The log of a run that several robots feed: evaluations go on beside them, so that their time counts."""

    is_told_to_end: bool = False
    pool: Mapping[str, Any] = field(default_factory=dict)
    """What the pool of agents last said of itself."""
    at_one_moment: Callable[[], AbstractContextManager[object]] = nullcontext
    """Inside it no episode is taken: memory, ledger and rows are of one moment."""

    def checkpoint(self, name: str = "last") -> None:
        """Save everything that a resumed run needs; robots that deliver an episode wait meanwhile."""
        with self.at_one_moment():
            super().checkpoint(name)

    @property
    def fleet(self) -> FleetSupervisor:
        """What stands for the robots' supervisors."""
        supervisor = self.session.supervisor
        assert isinstance(supervisor, FleetSupervisor)
        return supervisor

    @property
    def wall_clock_s(self) -> float:
        """Training time so far, [s]: robots act while the policy is evaluated."""
        return self.train_s + time.monotonic() - self.started

    @property
    def max_pretrain_steps(self) -> int:
        """Updates on demonstrations before the policy acts, more where the robots' scenes move."""
        if self.session.algorithm.pretrains:
            return self.config.pretrain_steps
        return self.config.pretrain_steps * max(
            (report.places for report in self.fleet.reports.copy().values()), default=1
        )

    @property
    def is_over(self) -> bool:
        """Solved, out of steps or time, or told to end."""
        steps = self.session.algorithm.num_timesteps
        return self.is_told_to_end or steps >= self.config.max_env_steps or super().is_over

    def write_episode(self, message: EpisodeMessage) -> None:
        """Write the row of a robot's episode."""
        self.fleet.note(message)
        for step in steps_of(replace(message, outcome=replace(message.outcome, episode=self.episodes))):
            self.episode_return += step.transition.reward
            self.measured.see(step)
            if step.outcome is not None:
                self.finish_episode(step)

    def write_robots(self) -> None:
        """Write a row per robot, and one of the pool."""
        for row in self.robots():
            self.run.append_metrics({"kind": "robot", "env_steps": self._steps, **row, "at_s": self.wall_clock_s})
        if self.pool:
            self.run.append_metrics({"kind": "pool", "env_steps": self._steps, **self.pool, "at_s": self.wall_clock_s})

    def robots(self) -> list[dict[str, Any]]:
        """Return what there is to say of each robot now."""
        return self.fleet.rows(updates=self.session.algorithm.n_updates, env_steps=self._steps)

    @property
    def _steps(self) -> int:
        return self.session.algorithm.num_timesteps

    def summary(self, final: EvaluationResult | None, error: BaseException | None = None) -> dict[str, Any]:
        """Return the headline numbers, with those of each robot and of the pool."""
        return {**super().summary(final, error), "robots": self.robots(), "pool": dict(self.pool)}


def steps_of(message: EpisodeMessage) -> Iterator[Step]:
    """Yield the control steps of an episode as the loop made them; no supervisor saw them here."""
    episode, last = message.episode, message.steps - 1
    for t in range(message.steps):
        action = episode["action"][t]
        transition = Transition(
            observation=_seen(episode, t),
            action=action,
            reward=float(episode["reward"][t]),
            next_observation=_seen(episode, t + 1),
            terminated=bool(episode["terminated"][t]),
            truncated=bool(episode["truncated"][t]),
            guided=bool(episode[GUIDED][t]),
        )
        yield Step(
            transition=transition,
            info=dict(message.info) if t == last else {},
            outcome=message.outcome if t == last else None,
            meant=action,
            begins_episode=t == 0,
        )


def _seen(episode: Episode, t: int) -> dict[str, Any]:
    return {name: array[t] for name, array in episode.items() if name == STATE or array.ndim == 4}
