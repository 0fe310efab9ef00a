"""A fleet's run from its command: cluster, actors, what dies and comes back, Ctrl-C, the end."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agps_agent.fleet.cluster import open_cluster
from agps_agent.fleet.fleet_file import RobotEntry, config_of, robots_of
from agps_agent.fleet.link import LinkDown
from agps_agent.fleet.robot import Place
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import ProgressListener
from agps_agent.run.signals import saving, terminated_like_ctrl_c
from rl.errors import AgpsError, ConfigError, words_of
from rl.files import write_atomically

POLL_S = 0.5
"""Time between two looks at the actors, [s]."""
AGAIN_S = 0.5
"""Pause before an actor that died is told to run again, [s]."""
STOP_S = 20.0
"""Time for robots to end by themselves, [s]."""
UP_S = 5.0
"""A call that fails sooner was made while the process was still being started again, [s]."""
MOST_DEATHS = 100
"""Deaths of one actor after which the run ends: it dies of something that will not be over."""
STATUS = "status.json"

_log = logging.getLogger(__name__)


def train_fleet(
    config: RunConfig,
    run: RunDirectory,
    progress: ProgressListener,
    *,
    resume: bool = False,
    report: Callable[[RunDirectory], object] = lambda run: None,
    began: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Let several robots learn one policy, and return the summary; as `agps_agent.run.training.train`.

    Args:
        config: The run's settings.
        run: Its directory.
        progress: Hears how it goes.
        resume: Go on from the last checkpoint.
        report: Writes the run's page, in the learner's process.
        began: Called once nothing was refused.

    Raises:
        ConfigError: If it cannot be carried out as it was asked for.
        AgpsError: If no robot is left, or the cluster is gone.
        KeyboardInterrupt: After all is saved, if somebody ended it.
    """
    robots = robots_of(config)
    with terminated_like_ctrl_c(), open_cluster(config.ray):
        fleet = Fleet(config, run, robots, progress)
        with closing(fleet):
            fleet.start(resume=resume, report=report)
            began()
            summary = fleet.watch()
        return dict(summary)


@dataclass
class _Watched:
    """An actor, and the call of `run` that is under way."""

    name: str
    actor: Any
    again: Callable[[], Any]
    """Calls `run`."""
    ref: Any = None
    due_at: float = 0.0
    """When `run` is called again, by the monotonic clock, [s]."""
    called_at: float = 0.0
    """When `run` was called last, by the monotonic clock, [s]."""
    is_down: bool = False
    """Its process has died and is not back yet: calls fail at once until it is."""
    deaths: int = 0


class Fleet:
    """The actors of one run, watched from the process that started them."""

    def __init__(
        self, config: RunConfig, run: RunDirectory, robots: tuple[RobotEntry, ...], progress: ProgressListener
    ) -> None:
        self._config, self._run, self._robots, self._progress = config, run, robots, progress
        self._folder = run.path.absolute() / "fleet"
        self._actors: dict[str, _Watched] = {}
        self._learner: _Watched | None = None
        self._pool: Any = None
        self._faults: dict[str, AgpsError] = {}
        self._summary: Mapping[str, Any] | None = None
        self._was_interrupted = False

    # --- starting -------------------------------------------------------------------------------------------

    def start(self, *, resume: bool, report: Callable[[RunDirectory], object]) -> None:
        """Start pool, learner and robots.

        Raises:
            ConfigError: If the agents' model does not answer, or there are no words for the task.
        """
        from agps_agent.fleet import actors

        config = self._config
        self._folder.mkdir(parents=True, exist_ok=True)
        model = None
        if config.helper == "agent":
            self._pool = _remote(actors.PoolActor, name=actors.POOL, here=True).remote(
                config, self._run.path.absolute()
            )
            model = _answer(self._pool.open.remote())
        names = [robot.name for robot in self._robots]
        evaluates = all(robot.kind == "simulated" for robot in self._robots)
        groups = {"intake": 2, "news": 2, "steer": 1}
        kind = _remote(actors.LearnerActor, name=actors.LEARNER, here=True, groups=groups, methods=LEARNER_METHODS)
        learner = kind.remote(config, self._run.path.absolute(), names, evaluates=evaluates, model=model)
        self._learner = self._watch_over("learner", learner, lambda: learner.run.remote(report, resume=resume))
        for number, robot in enumerate(self._robots):
            self._start_robot(number, robot, model)
        self._warn_of_missing_machines()

    def _warn_of_missing_machines(self) -> None:
        """Say which robots wait for a machine that is not there: it may come, or its name is misspelt."""
        import ray

        offered = ray.cluster_resources()
        for robot in self._robots:
            if robot.node is not None and robot.node not in offered:
                _log.warning(
                    "Robot %s waits for a machine of this cluster that offers %r; start Ray there with "
                    "--resources='{\"%s\": 1}'.",
                    *(robot.name, robot.node, robot.node),
                )

    def _start_robot(self, number: int, robot: RobotEntry, model: str | None) -> None:
        from agps_agent.fleet import actors

        place = Place(name=robot.name, folder=self._folder_of(robot), number=number, fleet_size=len(self._robots))
        kind = _remote(
            actors.RobotActor, here=robot.node is None, groups={"steer": 1}, methods={"stop": "steer"}, node=robot.node
        )
        actor = kind.remote(config_of(robot, number, self._config), place, model)
        self._watch_over(robot.name, actor, lambda: actor.run.remote())

    def _folder_of(self, robot: RobotEntry) -> Path:
        """Return where a robot keeps what is its own; the run's path tells its folder apart from other runs'."""
        if robot.folder is None and robot.node is None:
            return self._folder / robot.name
        base = robot.folder or Path("~/.cache/agps/fleet")  # expanded on the robot's machine
        return base / self._identity / robot.name

    @property
    def _identity(self) -> str:
        """Name of this run, that no other one has: written down when it is first asked for."""
        file = self._folder / "identity"
        if not file.is_file():
            write_atomically(file, f"{self._run.path.name}-{time.time_ns():x}\n")
        return file.read_text().strip()

    def _watch_over(self, name: str, actor: Any, again: Callable[[], Any]) -> _Watched:
        watched = _Watched(name=name, actor=actor, again=again, ref=again())
        self._actors[name] = watched
        return watched

    # --- watching -------------------------------------------------------------------------------------------

    def watch(self) -> Mapping[str, Any]:
        """Return the summary when the run is over; actors that die meanwhile run again.

        Raises:
            AgpsError: If the learner refuses, no robot is left, or the cluster is gone.
            KeyboardInterrupt: When all is saved, if somebody ended it.
        """
        try:
            while self._summary is None:
                self._look()
        except KeyboardInterrupt:
            self._was_interrupted = True
        if self._was_interrupted and self._summary is None:
            with saving():
                while self._summary is None:
                    self._tell_to_end()  # each time: a learner that was started anew meanwhile has not heard it
                    self._look()
        if self._was_interrupted:
            raise KeyboardInterrupt
        if self._all_robots_are_out:
            raise next(iter(self._faults.values()))
        assert self._summary is not None
        return self._summary

    def _look(self) -> None:
        """Take note of what has ended since the last look."""
        import ray

        now = time.monotonic()
        for watched in self._actors.values():
            if watched.ref is None and watched.name not in self._faults and 0 < watched.due_at <= now:
                watched.ref, watched.called_at = watched.again(), now
        refs = {watched.ref: watched for watched in self._actors.values() if watched.ref is not None}
        done, _ = ray.wait(list(refs), timeout=POLL_S)
        for ref in done:
            with saving():  # Ctrl-C between a result and its note would lose it
                self._ended(refs[ref])
        if self._summary is None:
            self._tell()
            if self._all_robots_are_out:
                self._tell_to_end()

    @property
    def _all_robots_are_out(self) -> bool:
        return len(self._faults) == len(self._robots)

    def _ended(self, watched: _Watched) -> None:
        from agps_agent.fleet.actors import carried

        ref, watched.ref, watched.due_at = watched.ref, None, 0.0
        try:
            result = carried(ref, None)
        except LinkDown as error:
            watched.due_at = time.monotonic() + AGAIN_S
            if watched.is_down and time.monotonic() - watched.called_at < UP_S:
                return
            watched.is_down = True
            watched.deaths += 1
            if watched.deaths <= MOST_DEATHS:
                _log.warning("%s died and is started again: %s", watched.name, error)
                return
            self._give_up(watched, AgpsError(f"{watched.name} has died {watched.deaths} times: {error}"))
            return
        except AgpsError as error:
            self._give_up(watched, error)
            return
        except Exception as error:  # one of ours; it takes one robot out, not the others' learner
            if watched is self._learner:
                raise
            told = words_of(getattr(error, "cause", None) or error)
            self._give_up(watched, AgpsError(f"Robot {watched.name} failed: {told}"))
            return
        if watched is self._learner:
            self._summary = result

    def _give_up(self, watched: _Watched, error: AgpsError) -> None:
        """Take note of a robot that will not go on; without the learner there is no run."""
        if watched is self._learner:
            raise error
        _log.error("Robot %s is out: %s", watched.name, error)
        watched.due_at = 0.0
        self._faults[watched.name] = error

    def _tell(self) -> None:
        """Pass on how the run goes."""
        from agps_agent.fleet.actors import carried

        assert self._learner is not None
        pool: Mapping[str, Any] = {}
        with suppress(AgpsError):
            if self._pool is not None:
                pool = carried(self._pool.said.remote(), 1.0)
        try:
            progress, rows = carried(self._learner.actor.status.remote(pool), 2.0)
        except LinkDown:
            return
        deaths = {watched.name: watched.deaths for watched in self._actors.values()}
        for row in rows:
            row["deaths"] = deaths[row["robot_name"]]
            row["out"] = str(self._faults.get(row["robot_name"], "")) or None
        if progress is not None:
            self._progress.update(replace(progress, robots=tuple(rows)))
        state = {"at": time.time(), "robots": rows, "pool": pool, "learner_deaths": deaths["learner"]}
        with suppress(AgpsError):  # a full disk costs the status, not the run
            write_atomically(self._folder / STATUS, json.dumps(state, indent=1) + "\n")

    def _tell_to_end(self) -> None:
        assert self._learner is not None
        self._learner.actor.end.remote()

    def close(self) -> None:
        """Let the robots end by themselves, then end every actor: a real arm is stopped by its own process."""
        import ray

        robots = [watched for watched in self._actors.values() if watched is not self._learner]
        with suppress(Exception):  # the cluster itself may be gone
            for watched in robots:
                watched.actor.stop.remote()
            refs = [watched.ref for watched in robots if watched.ref is not None]
            if refs:
                ray.wait(refs, num_returns=len(refs), timeout=STOP_S)
            for actor in [*(watched.actor for watched in self._actors.values()), self._pool]:
                if actor is not None:
                    ray.kill(actor)


LEARNER_METHODS = {
    "demonstrations": "intake",
    "deliver": "intake",
    "take_steps": "intake",
    "news": "news",
    "status": "steer",
    "end": "steer",
}
"""Which group of threads each method of the learner runs in; `run` has its own."""


def _remote(
    kind: type,
    *,
    name: str | None = None,
    here: bool = False,
    groups: Mapping[str, int] | None = None,
    methods: Mapping[str, str] | None = None,
    node: str | None = None,
) -> Any:
    """Return an actor class that comes back when its process dies; no call of it is ever repeated.

    Args:
        kind: The class.
        name: By which other actors of the run find it.
        here: On the machine of this process, whose disk holds the run.
        groups: Threads by group of methods.
        methods: Group of each method that is in one.
        node: Ray resource of the machine that it must be on.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    namespace = {
        name: ray.method(concurrency_group=group)(_own(getattr(kind, name))) for name, group in (methods or {}).items()
    }
    grouped = type(kind.__name__, (kind,), {**namespace, "__module__": kind.__module__})
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 0}
    if name is not None:
        options["name"] = name
    if groups:
        options["concurrency_groups"] = dict(groups)
    if node is not None:
        options["resources"] = {node: 0.001}
    if here:
        place = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(place, soft=False)
    return ray.remote(**options)(grouped)


def _own(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of its own, that can be marked without marking the class's."""

    def call(self: Any, *told: Any, **named: Any) -> Any:
        return method(self, *told, **named)

    call.__name__ = method.__name__
    return call


def _answer(ref: Any) -> Any:
    from agps_agent.fleet.actors import carried

    try:
        return carried(ref, 120.0)
    except LinkDown as error:
        raise ConfigError(f"The pool of agents could not be started: {error}") from error
