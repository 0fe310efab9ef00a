import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agps_agent.ask import Answer
from agps_agent.fleet import pool as pools
from agps_agent.fleet.link import LinkDown
from agps_agent.fleet.pool import DistantAdviser, DistantMemory, Pool, no_answer
from agps_agent.models.gate import CallGate
from agps_agent.state import Trigger
from rl.types import Cost
from tests.tools.scenes import scene
from tools.errors import MemoryUnavailable
from tools.memory import MemoryRecord
from tools.scene import Scene, calibration_hash

EMBEDDING = np.ones(4, np.float32)
TRIGGER: Trigger = {"kind": "float", "index": 1.0, "threshold": 0.5, "step": 3}


def record(id: str, station: str) -> MemoryRecord:
    return MemoryRecord(task="t", mode="guide", embedding=EMBEDDING, calibration_hash=station, id=id)


class Sage:
    """An adviser that takes its time, and remembers what it is given."""

    model = "sage"

    def __init__(self, *, takes_s: float = 0.0, records: Sequence[MemoryRecord] = ()) -> None:
        self.gate, self.takes_s, self.at_once, self.most_at_once = CallGate(), takes_s, 0, 0
        self.marked: list[tuple[str, dict[str, Any]]] = []
        self.known = list(records)
        self.memory: Any = SimpleNamespace(
            records=lambda: list(self.known), mark=lambda id, **told: self.marked.append((id, told))
        )

    async def ask(self, scene: Scene, embedding: object, trigger: Trigger) -> Answer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.takes_s)
        self.at_once -= 1
        return replace(no_answer("refused", "as asked for"), cost=Cost(model_calls=3))

    def save(self, *told: object) -> None: ...


async def test_only_so_many_questions_are_answered_at_a_time_and_all_are_counted() -> None:
    sage = Sage(takes_s=0.01)
    pool = Pool(sage, wall_budget_s=60.0, at_a_time=2)
    asked = (pool.ask(f"robot{i % 3}", scene(), EMBEDDING, TRIGGER) for i in range(6))
    answers = await asyncio.gather(*asked)
    said = pool.said()
    assert sage.most_at_once == 2 and {answer.reason_key for answer in answers} == {"refused"}
    assert (said["questions"], said["model_calls"], said["late"]) == (6, 18, 0)
    assert said["by_robot"] == {"robot0": 2, "robot1": 2, "robot2": 2} and said["busy_s"] >= 0.06


async def test_answer_that_comes_too_late_is_none_and_took_the_pool_its_time() -> None:
    pool = Pool(Sage(takes_s=600.0), wall_budget_s=0.05)
    answer = await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    assert (answer.intervention, answer.reason_key) == (None, "timeout") and "0.05 s" in answer.reason
    assert pool.said()["late"] == 1 and pool.said()["busy_s"] >= 0.05


class Apprentice(Sage):
    """An adviser whose answers become records of the station that asks, recalled once one has succeeded."""

    recalls = True
    """Whether what has succeeded fits the scenes that are asked about."""

    async def ask(self, scene: Scene, embedding: object, trigger: Trigger) -> Answer:
        refused = await super().ask(scene, embedding, trigger)
        if self.recalls and any(known.success for known in self.known):
            return replace(refused, cost=Cost(memory_hit=1), record_id="r0")
        self.known.append(record(f"r{len(self.known)}", calibration_hash(scene, next(iter(scene.frames)))))
        return replace(refused, record_id=self.known[-1].id)

    def told(self, pool: Pool, id: str, *, success: bool) -> None:
        self.known = [replace(known, success=success) if known.id == id else known for known in self.known]
        pool.mark(id, success=success)


def elsewhere() -> Scene:
    """The scene of another station: its cameras stand elsewhere."""
    here = scene()
    moved = {name: replace(frame, T_base_cam=frame.T_base_cam + np.eye(4, k=3)) for name, frame in here.frames.items()}
    return replace(here, frames=moved)


async def begun(pool: Pool, *robots: tuple[str, Scene]) -> list["asyncio.Task[Answer]"]:
    """Let robots ask, and wait until whoever is answered at once has its answer."""
    tasks = [asyncio.create_task(pool.ask(name, where, EMBEDDING, TRIGGER)) for name, where in robots]
    await asyncio.sleep(0.05)
    return tasks


@pytest.mark.parametrize(("success", "calls"), [(True, 3), (False, 6)])
async def test_others_wait_for_what_comes_of_the_first_help_at_their_station(success: bool, calls: int) -> None:
    sage = Apprentice()
    pool = Pool(sage, wall_budget_s=60.0)
    assert (await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)).record_id == "r0"
    (waiting,) = await begun(pool, ("robot1", scene()))
    assert not waiting.done()
    sage.told(pool, "r0", success=success)
    assert (await waiting).cost.memory_hit == success
    assert pool.said()["model_calls"] == calls and pool.said()["waited_s"] >= 0.05


async def test_robot_that_tries_and_robots_elsewhere_do_not_wait() -> None:
    pool = Pool(Apprentice(), wall_budget_s=60.0)
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    assert all(task.done() for task in await begun(pool, ("robot0", scene()), ("robot1", elsewhere())))


async def test_nobody_waits_where_something_is_known_to_work() -> None:
    """It may not fit the scene: then the model is asked, by as many as come."""
    sage = Apprentice()
    pool = Pool(sage, wall_budget_s=60.0)
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    sage.told(pool, "r0", success=True)
    sage.recalls = False
    assert (await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)).record_id == "r1"
    (task,) = await begun(pool, ("robot1", scene()))
    assert task.done() and task.result().cost.model_calls == 3


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time the pool takes it to be, [s]."""
    now = [100.0]
    monkeypatch.setattr(pools, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_trial_of_which_nobody_hears_is_over_after_a_while(now: list[float]) -> None:
    pool = Pool(Apprentice(), wall_budget_s=60.0)
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    (waiting,) = await begun(pool, ("robot1", scene()))
    assert not waiting.done()
    now[0] += pools.TRIAL_S
    assert (await waiting).cost.model_calls == 3


async def test_question_does_not_wait_for_one_trial_after_another(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(Apprentice(), wall_budget_s=60.0)
    monkeypatch.setattr(pool, "_others_find_out", lambda robot: True)  # somebody always tries something
    (waiting,) = await begun(pool, ("robot0", scene()))
    assert not waiting.done()
    now[0] += pools.TRIAL_S
    assert (await waiting).cost.model_calls == 3


async def test_robot_that_drops_its_answers_holds_the_others_up_once(now: list[float]) -> None:
    """It asks again and again, and never says what came of an answer."""
    pool = Pool(Apprentice(), wall_budget_s=60.0)
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    now[0] += pools.TRIAL_S - 1.0
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    (waiting,) = await begun(pool, ("robot1", scene()))
    assert not waiting.done()
    now[0] += 1.0
    assert (await asyncio.wait_for(waiting, 30.0)).cost.model_calls == 3


async def test_question_that_waits_for_others_ends_with_its_time() -> None:
    pool = Pool(Apprentice(), wall_budget_s=0.2)
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    assert (await pool.ask("robot1", scene(), EMBEDDING, TRIGGER)).reason_key == "timeout"
    assert pool.said()["late"] == 1 and pool.said()["waited_s"] >= 0.2


async def test_robot_is_told_of_records_of_its_station_alone() -> None:
    here = calibration_hash(scene(), next(iter(scene().frames)))
    pool = Pool(Sage(records=[record("mine", here), record("theirs", "cafe")]), wall_budget_s=60.0)
    assert [known.id for known in pool.records("robot0")] == ["mine", "theirs"]  # it has not said where it is
    await pool.ask("robot0", scene(), EMBEDDING, TRIGGER)
    assert [known.id for known in pool.records("robot0")] == ["mine"]


def test_what_came_of_a_record_reaches_the_memory() -> None:
    sage = Sage()
    Pool(sage, wall_budget_s=60.0).mark("r1", success=True)
    assert sage.marked == [("r1", {"success": True})]


class CutLink:
    """A link whose other side may be gone; counts what is tried."""

    def __init__(self, *records: MemoryRecord) -> None:
        self.is_cut, self.tried, self._records = False, 0, records

    def _try(self) -> None:
        self.tried += 1
        if self.is_cut:
            raise LinkDown("nobody there")

    def ask(self, *told: object) -> "Future[Answer]":
        self._try()
        future: Future[Answer] = Future()
        future.set_result(no_answer("refused", "over there"))
        return future

    def records(self, robot: str) -> Sequence[MemoryRecord]:
        self._try()
        return self._records

    def mark(self, record_id: str, **told: Any) -> None:
        self._try()

    def save(self, *told: object) -> None: ...


async def test_robot_without_a_pool_gets_no_answer_and_goes_on() -> None:
    link = CutLink()
    adviser = DistantAdviser("robot0", link, model="sage")
    assert (await adviser.ask(scene(), EMBEDDING, TRIGGER)).reason == "over there"
    link.is_cut = True
    answer = await adviser.ask(scene(), EMBEDDING, TRIGGER)
    assert answer.reason_key == "server_down" and "nobody there" in answer.reason


def test_memory_that_is_gone_is_what_was_known_last_and_is_left_alone_for_a_while(now: list[float]) -> None:
    link = CutLink(record("r1", "cafe"))
    memory = DistantMemory("robot0", link)
    assert [known.id for known in memory.records()] == ["r1"]
    link.is_cut = True
    assert [known.id for known in memory.records()] == ["r1"] and link.tried == 2
    assert [known.id for known in memory.records()] == ["r1"] and link.tried == 2  # spared
    now[0] += pools.SPARED_S
    memory.records()
    assert link.tried == 3
    with pytest.raises(MemoryUnavailable, match="nobody there"):
        memory.mark("r1", success=False)
