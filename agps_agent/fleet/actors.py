"""Learner, robots and pool as Ray actors. What each does is elsewhere; here is what a process of Ray adds to it.

A restarted actor begins with its constructor, so that these only keep their arguments: `run` builds everything, in the
one thread that uses it, and goes on from what is on disk.
"""

import concurrent.futures
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ray

from agps_agent.ask import Answer
from agps_agent.fleet.build import open_learner
from agps_agent.fleet.learner import FleetLearner
from agps_agent.fleet.link import LinkDown, News, RobotReport, StreamedStep, Weights
from agps_agent.fleet.log import FleetLog
from agps_agent.fleet.pool import SPARED_S, DistantAdviser, Pool
from agps_agent.fleet.robot import Place, RobotRun
from agps_agent.run.build import build_adviser, build_encoder
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.place import place_of
from agps_agent.run.progress import Progress
from agps_agent.state import Trigger
from agps_agent.tracing.truth import Truth
from prompts.loader import load_task_prompt
from rl.episodes import Episode
from rl.errors import AgpsError
from rl.process import prepare_process
from rl.tasks import get_task
from rl.types import FloatArray
from tools.memory import MemoryRecord
from tools.scene import Scene

LEARNER, POOL = "learner", "pool"
"""Names of the actors, by which robots find them; they hold in one run."""
CALL_S = 30.0
"""Limit of a call that no control step waits for, [s]."""
LOCKSTEP_S = 600.0
"""Limit of a step in lockstep, which may wait for an evaluation, [s]."""
POOL_S = 2.0
"""Limit of a call to the memory, which a rollout waits for, [s]."""
STANDS_BACK = 10
"""Niceness of who gives way on the same machine: updates may be late where an arm's loop may not, and a simulated robot
may be late where updates are."""

_log = logging.getLogger(__name__)


def stand_back() -> None:
    """Give way to others on this machine: on Linux this thread and those that it starts, elsewhere the process."""
    if sys.platform != "win32":
        os.nice(STANDS_BACK)


class CannotStart(AgpsError):
    """An actor's process ends before it has begun, as it will each time."""


class LearnerActor:
    """The learner's process."""

    def __init__(
        self, config: RunConfig, path: Path, robots: Sequence[str], evaluates: bool, model: str | None
    ) -> None:  # noqa: FBT001
        self._config, self._run = config, RunDirectory(path)
        self._robots, self._evaluates, self._model = tuple(robots), evaluates, model
        self._learning: FleetLearner | None = None
        self._log: FleetLog | None = None
        self._progress: Progress | None = None
        self._shared = Shared(ray.put)
        self._is_told_to_end = False

    def run(self, report: Callable[[RunDirectory], object], *, resume: bool) -> Mapping[str, Any]:
        """Learn to the end of the run, and return the summary."""
        if ray.get_runtime_context().was_current_actor_reconstructed:
            resume = self._run.has_checkpoint
            if not resume:  # what it did before is done over: its episodes are in the inbox
                self._run.append_metrics({"kind": "resume", "env_steps": 0})
        if not self._evaluates:  # there are arms, with watchdogs
            stand_back()  # robots are answered as before
        with open_learner(
            self._config,
            self._run,
            self._robots,
            self,
            evaluates=self._evaluates,
            model=self._model,
            on_log=self._keep_log,
        ) as learning:
            learning.prepare(resume=resume)
            self._learning = learning
            if self._is_told_to_end:
                learning.end()
            return learning.finish(learning.run(), report)

    def _keep_log(self, log: FleetLog) -> None:
        self._log = log

    def update(self, progress: Progress) -> None:
        """Take note of how the run goes (`ProgressListener`)."""
        self._progress = progress

    def status(self, pool: Mapping[str, Any]) -> tuple[Progress | None, list[dict[str, Any]]]:
        """Hear of the pool, and return how the run goes, with what there is to say of each robot."""
        if self._log is None:
            return None, []
        self._log.pool = pool
        return self._progress, self._log.robots()

    def end(self) -> None:
        """Let the run end, as after Ctrl-C."""
        self._is_told_to_end = True
        if self._learning is not None:
            self._learning.end()

    def demonstrations(self) -> Sequence[Episode]:
        """As `LearnerLink.demonstrations`."""
        return self._ready.demonstrations()

    def deliver(self, content: bytes) -> None:
        """As `LearnerLink.deliver`."""
        self._ready.deliver(content)

    def news(self, report: RobotReport) -> tuple[News, Any]:
        """Return the news without weights, and the reference of newer weights: each version is one object."""
        return self._by_reference(self._ready.news(report))

    def take_steps(self, steps: Sequence[StreamedStep]) -> tuple[News, Any]:
        """As `LearnerLink.take_steps`."""
        return self._by_reference(self._ready.take_steps(steps))

    @property
    def _ready(self) -> FleetLearner:
        if self._learning is None:
            raise LinkDown("The learner is being started.")
        return self._learning

    def _by_reference(self, news: News) -> tuple[News, Any]:
        weights = news.weights
        if weights is None:
            return news, None
        return replace(news, weights=None), [self._shared.reference(weights)]  # in a list it goes as a reference


class Shared:
    """The newest weights in shared memory: one object per version, which is freed once nobody reads it any more."""

    def __init__(self, put: Callable[[Weights], Any]) -> None:
        self._put = put
        self._newest: tuple[int, Any] | None = None
        """Version and reference; of the versions before nothing is held here."""

    def reference(self, weights: Weights) -> Any:
        """Return the reference of weights; from any thread."""
        newest = self._newest
        if newest is None or newest[0] != weights.version:
            self._newest = newest = (weights.version, self._put(weights))
        return newest[1]


class RobotActor:
    """A robot's process."""

    def __init__(self, config: RunConfig, place: Place, model: str | None) -> None:
        adviser = None if model is None else DistantAdviser(place.name, RayPoolLink(), model=model)
        self._robot = RobotRun(config, place, RayLink(), adviser)
        self._said: RobotReport | None = None
        self._gives_way = place_of(config.robot).choose(True, False)  # an arm never does

    def run(self) -> RobotReport:
        """Act until the run is over; a second call, by who had lost sight of the first, comes to the same."""
        if self._gives_way:
            self._gives_way = False
            stand_back()
        self._said = self._said or self._robot.run()
        return self._said

    def stop(self) -> None:
        """Let it end after the running control step."""
        self._robot.stop()


class PoolActor:
    """The agents' process: one event loop."""

    def __init__(self, config: RunConfig, path: Path) -> None:
        self._config, self._run = config, RunDirectory(path)
        self._opened: Pool | None = None
        self._model = ""
        self._spared_until = 0.0

    @property
    def _pool(self) -> Pool:
        """The pool. In a process that was started anew, its model or its memory's server may be down as well.

        Raises:
            LinkDown: If it cannot be opened now.
        """
        if self._opened is None:
            if time.monotonic() < self._spared_until:
                raise LinkDown("The pool of agents is being started.")
            try:
                self._opened = self._open()
            except AgpsError as error:
                self._spared_until = time.monotonic() + SPARED_S
                raise LinkDown(str(error)) from error
        return self._opened

    def _open(self) -> Pool:
        config = self._config
        prepare_process(1)
        encoder = build_encoder(get_task(config.task, **config.task_overrides), config.encoder)
        adviser = build_adviser(config, self._run, load_task_prompt(config.task), dim=encoder.dim)
        self._model = adviser.model
        return Pool(adviser, wall_budget_s=config.agent.wall_budget_s)

    async def open(self) -> str:
        """Get ready, and return the name of the model.

        Raises:
            ConfigError: If the model does not answer, or the agent has no words for the task.
        """
        self._opened = self._opened or self._open()
        return self._model

    async def ask(self, robot: str, scene: Scene, embedding: FloatArray, trigger: Trigger) -> Answer:
        """As `Pool.ask`."""
        return await self._pool.ask(robot, scene, embedding, trigger)

    async def records(self, robot: str) -> list[MemoryRecord]:
        """As `Pool.records`."""
        return self._pool.records(robot)

    async def mark(self, record_id: str, told: Mapping[str, Any]) -> None:
        """As `Pool.mark`."""
        self._pool.mark(record_id, **told)

    async def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """As `Pool.save`."""
        self._pool.save(id, answer, scene, truth)

    async def said(self) -> dict[str, Any]:
        """As `Pool.said`."""
        return {} if self._opened is None else self._opened.said()


class RayLink:
    """`LearnerLink` through Ray."""

    def __init__(self) -> None:
        self._asking = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="news")

    def demonstrations(self) -> Sequence[Episode]:
        """As `LearnerLink.demonstrations`."""
        demos: Sequence[Episode] = carried(self._learner.demonstrations.remote(), CALL_S)
        return demos

    def deliver(self, content: bytes) -> None:
        """As `LearnerLink.deliver`."""
        carried(self._learner.deliver.remote(content), CALL_S)

    def ask(self, report: RobotReport) -> "Future[News]":
        """As `LearnerLink.ask`: in a thread, as fetching weights takes a moment."""
        return self._asking.submit(lambda: self._fetched(self._learner.news.remote(report), CALL_S))

    def take_steps(self, steps: Sequence[StreamedStep]) -> News:
        """As `LearnerLink.take_steps`."""
        return self._fetched(self._learner.take_steps.remote(list(steps)), LOCKSTEP_S)

    @property
    def _learner(self) -> Any:
        return _found(LEARNER)

    def _fetched(self, ref: Any, timeout_s: float) -> News:
        news: News
        news, refs = carried(ref, timeout_s)
        if refs is None:
            return news
        weights: Weights = carried(refs[0], timeout_s)
        return replace(news, weights=weights)


class RayPoolLink:
    """`PoolLink` through Ray."""

    def __init__(self) -> None:
        self._asking = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="pool")

    def ask(self, robot: str, scene: Scene, embedding: FloatArray, trigger: Trigger) -> "Future[Answer]":
        """As `PoolLink.ask`; the supervisor's own patience ends it."""
        return self._asking.submit(lambda: carried(self._pool.ask.remote(robot, scene, embedding, trigger), None))

    def records(self, robot: str) -> Sequence[MemoryRecord]:
        """As `PoolLink.records`."""
        records: Sequence[MemoryRecord] = carried(self._pool.records.remote(robot), POOL_S)
        return records

    def mark(self, record_id: str, **told: Any) -> None:
        """As `PoolLink.mark`."""
        carried(self._pool.mark.remote(record_id, told), CALL_S)

    def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """As `PoolLink.save`."""
        carried(self._pool.save.remote(id, answer, scene, dict(truth)), CALL_S)

    @property
    def _pool(self) -> Any:
        return _found(POOL)


@cache
def _handle(name: str) -> Any:
    return ray.get_actor(name)


def _found(name: str) -> Any:
    """Return the actor of a name; its handle stays good when its process is started anew.

    Raises:
        LinkDown: If there is none.
    """
    try:
        return _handle(name)
    except ValueError as error:
        raise LinkDown(f"There is no {name} in this cluster.") from error


def carried(ref: Any, timeout_s: float | None) -> Any:
    """Return what a call came to.

    Raises:
        AgpsError: What the call raised, if it is one of ours.
        CannotStart: If the process of an actor ends before it has begun, as it will each time.
        LinkDown: If the process is gone, or has not answered in time.
    """
    try:
        return ray.get(ref, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, AgpsError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        words = " ".join(str(error).split())
        if error.actor_init_failed:
            raise CannotStart(
                f"Its process cannot begin ({words[-300:]}); is the same AGPS installed on its machine?"
            ) from error
        raise LinkDown(f"{type(error).__name__}: {words[:200]}") from error
    except ray.exceptions.RayError as error:
        raise LinkDown(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
