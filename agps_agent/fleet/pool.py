"""One agent for all robots: their questions one after the other, one call gate with one budget, one memory."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from agps_agent.ask import Answer
from agps_agent.fleet.fair_queue import FairQueue
from agps_agent.fleet.link import LinkDown
from agps_agent.models.gate import CallGate
from agps_agent.run.adviser import Adviser
from agps_agent.state import Reason, Trigger
from agps_agent.tracing.truth import Truth
from rl.types import Cost, FloatArray
from tools.errors import MemoryUnavailable
from tools.memory import MemoryRecord
from tools.scene import Scene, calibration_hash

AT_A_TIME = 4
"""Questions that are answered at the same time."""
SPARED_S = 5.0
"""After a call that failed the pool is not asked for its records for so long: a rollout must not wait to begin, [s]."""

TRIAL_S = 15.0
"""So long a robot's trial counts of which nobody says how it ended, and so long a question waits for trials, [s]."""
LOOK_S = 0.1
"""How often a question that waits looks whether it need not wait longer, [s]."""

_log = logging.getLogger(__name__)


class Pool:
    """Answers the questions of all robots. Used from one event loop."""

    def __init__(self, adviser: Adviser, *, wall_budget_s: float, at_a_time: int = AT_A_TIME) -> None:
        """Begin.

        Args:
            adviser: Who answers and remembers.
            wall_budget_s: Limit of a question, the wait for its turn included, [s].
            at_a_time: Questions that are answered at the same time.
        """
        self._adviser, self._budget_s = adviser, wall_budget_s
        self._turns = FairQueue(at_a_time)
        self._stations: dict[str, frozenset[str]] = {}
        """Calibrations under which each robot's scenes were seen: records hold only there."""
        self._trials: dict[str, tuple[str, float]] = {}
        """By robot: the record of the model's answer that it tries, and since when, [s]."""
        self._asked: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._busy_s = self._waited_s = 0.0
        self._began = time.monotonic()

    async def ask(self, robot: str, scene: Scene, embedding: FloatArray, trigger: Trigger) -> Answer:
        """Return what the agent advises a robot, in its turn; without one in time, why there is no answer.

        Robots that begin together would ask the model the same. While nothing is known to work at their station, who
        comes when another tries an answer waits for what comes of it, and not for long: memory answers then.
        """
        came = time.monotonic()
        self._asked[robot] += 1
        self._stations[robot] = frozenset(calibration_hash(scene, name) for name in scene.frames)
        try:
            async with asyncio.timeout(self._budget_s):
                answer = await self._in_turn(robot, came, partial(self._adviser.ask, scene, embedding, trigger))
        except TimeoutError:
            self._counts["late"] += 1
            return no_answer("timeout", f"The pool of agents had no answer within {self._budget_s:g} s.")
        if answer.record_id is not None and not answer.cost.memory_hit and not self._tries(robot):
            self._trials[robot] = (answer.record_id, time.monotonic())
        self._counts["model_calls"] += answer.cost.model_calls
        self._counts["memory_hits"] += answer.cost.memory_hit
        return answer

    async def _in_turn(self, robot: str, came: float, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Ask when it is a robot's turn, and nobody finds out for it, or it has waited for that long enough."""
        began, held_back = None, None
        try:
            while True:
                async with self._turns.turn(robot, deadline_s=self._budget_s):
                    now = time.monotonic()
                    if (held_back is not None and now - held_back >= TRIAL_S) or not self._others_find_out(robot):
                        began = now
                        return await ask()
                held_back = held_back or now
                await asyncio.sleep(LOOK_S)
        finally:  # one that comes to nothing takes as much time
            ended = time.monotonic()
            self._waited_s += (began or ended) - came
            self._busy_s += ended - (began or ended)

    def _others_find_out(self, robot: str) -> bool:
        """Return whether others try answers at a robot's station, where nothing is known to work."""
        here = self._stations[robot]
        others = any(self._stations[who] & here for who in self._trials if who != robot and self._tries(who))
        return others and not any(record.success for record in self.records(robot))

    def _tries(self, robot: str) -> bool:
        """Return whether a robot tries an answer: not everyone says what came of it."""
        return robot in self._trials and time.monotonic() - self._trials[robot][1] < TRIAL_S

    def records(self, robot: str) -> list[MemoryRecord]:
        """Return what is remembered that holds where a robot is; all of it before it has asked anything."""
        known = self._stations.get(robot)
        records = self._adviser.memory.records()
        return [record for record in records if known is None or record.calibration_hash in known]

    def mark(self, record_id: str, **told: Any) -> None:
        """Tell how an episode that used a record ended, as `tools.memory.EpisodicMemory.mark`."""
        self._trials = {robot: trial for robot, trial in self._trials.items() if trial[0] != record_id}
        self._adviser.memory.mark(record_id, **told)

    def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """Keep a question for people."""
        self._adviser.save(id, answer, scene, truth)

    def said(self) -> dict[str, Any]:
        """Return what the pool counts: questions by robot, waiting and busy time, and what passed the call gate."""
        wall_s = time.monotonic() - self._began
        return {
            "questions": sum(self._asked.values()),
            "by_robot": dict(self._asked),
            **{name: self._counts[name] for name in ("late", "model_calls", "memory_hits")},
            "waited_s": self._waited_s,
            "busy_s": self._busy_s,
            "use": self._busy_s / wall_s if wall_s > 0 else 0.0,
            "records": len(self._adviser.memory.records()),
            "gate": self._adviser.gate.counters(),
        }


class PoolLink(Protocol):
    """A robot's connection to the pool. Each call may raise `LinkDown`."""

    def ask(self, robot: str, scene: Scene, embedding: FloatArray, trigger: Trigger) -> "Future[Answer]":
        """Ask a question; returns at once."""

    def records(self, robot: str) -> Sequence[MemoryRecord]:
        """Return what is remembered that holds where a robot is."""

    def mark(self, record_id: str, **told: Any) -> None:
        """Tell how an episode that used a record ended."""

    def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """Keep a question for people."""


class DistantAdviser:
    """The pool, as a robot's supervisor sees it. Where the pool is gone there is no answer, and the policy goes on."""

    def __init__(self, robot: str, link: PoolLink, *, model: str) -> None:
        self._robot, self._link, self._model = robot, link, model
        self.gate = CallGate()
        """Nothing passes it: the pool has the one that counts."""
        self.memory = DistantMemory(robot, link)

    @property
    def model(self) -> str:
        """Name of the model that is asked."""
        return self._model

    async def ask(self, scene: Scene, embedding: FloatArray, trigger: Trigger) -> Answer:
        """Return what the agent advises for a scene."""
        try:
            return await asyncio.wrap_future(self._link.ask(self._robot, scene, embedding, trigger))
        except LinkDown as error:
            return no_answer("server_down", f"The pool of agents does not answer: {error}")

    def save(self, id: str, answer: Answer, scene: Scene, truth: Truth) -> None:
        """Keep a question for people, in the run's directory."""
        self._link.save(id, answer, scene, truth)


class DistantMemory:
    """The memory that all robots share, as one of them sees it."""

    def __init__(self, robot: str, link: PoolLink) -> None:
        self._robot, self._link = robot, link
        self._last: tuple[MemoryRecord, ...] = ()
        self._spared_until = 0.0

    def records(self) -> Sequence[MemoryRecord]:
        """Return what is remembered that holds here; while the pool is gone, what was known last."""
        if time.monotonic() >= self._spared_until:
            try:
                self._last = tuple(self._link.records(self._robot))
            except (LinkDown, MemoryUnavailable) as error:
                _log.info("%s", error)
                self._spared_until = time.monotonic() + SPARED_S
        return self._last

    def mark(self, record_id: str, **told: Any) -> None:
        """Tell how an episode that used a record ended, as `agps_agent.supervisor.Remembers.mark`.

        Raises:
            MemoryUnavailable: If the pool is gone.
        """
        try:
            self._link.mark(record_id, **told)
        except LinkDown as error:
            raise MemoryUnavailable(f"The pool of agents does not answer: {error}") from error

    def close(self) -> None:
        """Do nothing: others go on with it."""


def no_answer(reason: Reason, message: str) -> Answer:
    """Return an answer without an intervention."""
    return Answer(
        intervention=None,
        reason_key=reason,
        reason=message,
        cost=Cost(),
        state={},
        transcript=(),
        annotated=None,
        record_id=None,
        trace_id=uuid4(),
    )
