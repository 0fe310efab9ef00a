"""What every supervisor must do: nobody, a human, and the agent, whatever the agent does wrong."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agps_agent.ask import Answer
from agps_agent.detectors import FloatConfig, FloatWatch, StallRule
from agps_agent.settings import SupervisorConfig
from agps_agent.supervisor import AgentSupervisor
from rl.errors import HardwareFault
from rl.supervisor import HumanSupervisor, NullSupervisor, Supervisor
from rl.types import Guide, InterventionEnd, Prune, Takeover
from tests.agps_agent.test_supervisor import BLOCKED, BOX, GUIDE, HERE, STALL, OneHot, ended, says, seen
from tests.rl.test_supervisor import Device
from tools.memory import EpisodicMemory
from tools.scene import Scene

STEPS = 12
DEMO = {"wrist": np.zeros((5, 2, 2, 3), np.uint8), "action": np.zeros((4, 6), np.float32)}


def agent(folder: Path, ask: Callable[..., object] | None = None, **options: object) -> AgentSupervisor:

    async def answers(scene: Scene, embedding: np.ndarray, trigger: object) -> Answer:
        return says(GUIDE)

    scene = Scene(
        task="usb_insertion", frames={}, T_base_tcp=HERE, gripper_opening=0.0, workspace=BOX, p_tcp_tool=np.zeros(3)
    )
    folder.mkdir(parents=True, exist_ok=True)
    return AgentSupervisor(
        **{
            "capture": lambda: scene,
            "ask": ask or answers,
            "encoder": OneHot(),
            "detectors": [FloatWatch(45, FloatConfig(min_demos=5, alpha=0.3)), StallRule(45, STALL)],
            "memory": EpisodicMemory(folder / "memory", dim=4, task="usb_insertion"),
            "config": SupervisorConfig(help_share=1.0, patience_s=30.0),
            "seed": 0,
            **options,
        }
    )


MAKERS: dict[str, Callable[[Path], Supervisor]] = {
    "nobody": lambda folder: NullSupervisor(),
    "human": lambda folder: HumanSupervisor(Device({2, 3, 7})),
    "agent": agent,
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Supervisor]]:
    """Makes supervisors of one kind, and closes them."""
    made: list[Supervisor] = []

    def build() -> Supervisor:
        made.append(MAKERS[request.param](tmp_path / str(len(made))))
        return made[-1]

    yield build
    for supervisor in made:
        supervisor.close()


def rollout(supervisor: Supervisor, *, episode: int = 0, success: bool = False) -> list[object]:
    supervisor.start_episode(episode, seen(0))
    answers = [supervisor.review(seen(step)) for step in range(STEPS)]
    supervisor.finish_episode(ended(success, helped=any(answers), episode=episode))
    return answers


def kinds(answers: list[object]) -> list[object]:
    """What was answered, without what differs between two answers that mean the same."""
    return [None if answer is None else (type(answer), answer.id) for answer in answers]  # type: ignore[attr-defined]


def counted(supervisor: Supervisor) -> dict[str, float]:
    return {name: value for name, value in supervisor.metrics().items() if not name.startswith("agent_")}


def test_answers_are_interventions_or_none(make: Callable[[], Supervisor]) -> None:
    assert all(answer is None or isinstance(answer, Prune | Guide | Takeover) for answer in rollout(make()))


def test_metrics_are_numbers_and_never_fall(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    before = supervisor.metrics()
    for episode in range(3):
        rollout(supervisor, episode=episode)
        after = supervisor.metrics()
        assert all(isinstance(value, float) and np.isfinite(value) for value in after.values())
        assert all(after[name] >= value for name, value in before.items())
        before = after


def test_reading_is_none_or_has_a_name(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    rollout(supervisor)
    assert supervisor.reading is None or supervisor.reading.name


def test_demonstrations_are_taken_before_the_first_rollout(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    supervisor.calibrate([DEMO] * 6)
    assert len(rollout(supervisor)) == STEPS


def test_row_of_an_episode_can_be_written_as_json(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    supervisor.calibrate([DEMO] * 6)
    rollout(supervisor)
    assert isinstance(json.loads(json.dumps(supervisor.last_episode)), dict)


def test_end_of_an_intervention_is_heard_at_any_time(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    supervisor.start_episode(0, seen(0))
    for end in (BLOCKED, InterventionEnd(id="?", kind="prune", how="episode", steps=3)):
        supervisor.note_end(end)
    assert supervisor.review(seen(0)) is None


def test_resumed_supervisor_goes_on_as_the_uninterrupted_one(make: Callable[[], Supervisor]) -> None:
    first, second = make(), make()
    for episode in range(4):
        rollout(first, episode=episode, success=True)
    second.load_state_dict(first.state_dict())
    assert counted(second) == counted(first)
    for episode in range(4, 8):
        assert kinds(rollout(second, episode=episode)) == kinds(rollout(first, episode=episode))
    assert counted(second) == counted(first)


def test_rollout_that_is_never_finished_does_not_hold_the_next_up(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    supervisor.start_episode(0, seen(0))
    supervisor.review(seen(0))
    assert len(rollout(supervisor, episode=1)) == STEPS


def test_it_is_closed_twice(make: Callable[[], Supervisor]) -> None:
    supervisor = make()
    rollout(supervisor)
    supervisor.close()
    supervisor.close()


def blind() -> Scene:
    raise HardwareFault("A camera failed; plug it in.")


async def silent(*_: object) -> Answer:
    await asyncio.sleep(60.0)
    raise AssertionError("nobody waits so long")


async def gives_up(*_: object) -> Answer:
    return says(None, "not_json")


FAULTS = {
    "says nothing that can be used": ({"ask": gives_up}, "declined/not_json"),
    "does not answer": ({"ask": silent}, "declined/timeout"),
    "cannot see": ({"capture": blind}, "declined/hardware_fault"),
    "is refused by a person": ({"approve": lambda guide: False}, "declined/not_confirmed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_agent_that_fails_is_counted_and_never_raises(tmp_path: Path, fault: str) -> None:

    options, counter = FAULTS[fault]
    config = SupervisorConfig(help_share=1.0, patience_s=0.05 if fault == "does not answer" else 30.0)
    supervisor = agent(tmp_path, **{"config": config, **options})
    assert rollout(supervisor) == [None] * STEPS
    assert supervisor.metrics()[counter] == 1
    supervisor.close()
