"""Records of rendered scenes: what the agent's cameras show decides whether they are used."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mujoco
import numpy as np
import pytest

from agps_agent.ask import Answer, ask
from agps_agent.graph import build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.recalling import cameras_of, first_that_fits, to_targets, unmoved
from agps_agent.run.build import capture_scene
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from rl.envs import make_env
from rl.robots.mujoco import MujocoBackend
from rl.types import FloatArray, Guide, Prune
from tests.agps_agent.scenes import PORT, remembered, scene
from tools.memory import EpisodicMemory, MemoryRecord, Target
from tools.perception import Point
from tools.scene import Scene

HOVER = PORT + [0.015, 0.0, 0.015]
"""Where something stands before the port, as the side camera sees it."""


def start(task: str, seed: int, *, shadows: bool = True, **options: float) -> tuple[Scene, dict[str, FloatArray]]:
    """What the agent's cameras show at the start of an episode, and where things are."""
    with closing(make_env(task, **options)) as env:
        env.reset(seed=seed)
        return capture_scene(env, shadows=shadows), dict(env.truth())


@pytest.fixture
def memory_of(tmp_path: Path) -> Iterator[Callable[[str], EpisodicMemory]]:
    opened: list[EpisodicMemory] = []

    def memory_of(task: str) -> EpisodicMemory:
        opened.append(EpisodicMemory(tmp_path, dim=4, task=task))
        return opened[-1]

    yield memory_of
    for memory in opened:
        memory.close()


async def asked(memory: EpisodicMemory, at: Scene, settings: AgentSettings | None = None, **how: str) -> Answer:
    """The embedded agent's answer; to the memory all scenes look alike."""
    context = AgentContext(
        scene=at,
        model=EmbeddedVLM(),
        profile=load_profile("embedded"),
        memory=memory,
        embedding=np.ones(4),
        settings=settings or AgentSettings(),
    )
    return await ask(build_graph(at.task), context, **{"mode": "guide", **how})


LABELS = {"knot_hanging": {"hook_base", "hook_tip"}, "towel_folding": {"corner_grasp", "corner_goal"}}


@pytest.mark.parametrize("task", LABELS)
async def test_plan_with_several_targets_is_recalled_from_another_start(
    task: str, memory_of: Callable[[str], EpisodicMemory]
) -> None:
    memory = memory_of(task)
    first = await asked(memory, start(task, 1)[0])
    assert first.cost.model_calls == 2
    memory.mark(first.record_id or "", success=True, T_base_tcp_final=np.eye(4))
    assert set(memory.get(first.record_id or "").targets) == LABELS[task]
    again = await asked(memory, start(task, 2)[0])
    assert (again.cost.model_calls, again.cost.memory_hit, again.record_id) == (0, True, first.record_id)
    assert isinstance(first.intervention, Guide) and isinstance(again.intervention, Guide)
    np.testing.assert_allclose(
        again.intervention.waypoints[-1].T_base_tcp, first.intervention.waypoints[-1].T_base_tcp, atol=1e-9
    )


async def test_nothing_is_recalled_of_the_same_view_where_nothing_is_to_be(
    memory_of: Callable[[str], EpisodicMemory],
) -> None:
    memory, (before, _) = memory_of("usb_insertion"), start("usb_insertion", 1)
    first = await asked(memory, before)
    memory.mark(first.record_id or "", success=True, T_base_tcp_final=np.eye(4))
    for similarity, calls in ((0.99, 0), (1.0, 2)):
        again = await asked(memory, before, settings=AgentSettings(recall_similarity=similarity))
        assert again.cost.model_calls == calls


MOVED = [
    ("usb_insertion", {"port_jitter_m": 0.03}, "port"),
    ("knot_hanging", {"hook_jitter_m": 0.02}, "hook_base"),
    ("towel_folding", {"towel_jitter_m": 0.02}, "corner_goal"),
]


@pytest.mark.parametrize(("task", "options", "point"), MOVED)
async def test_scene_that_has_moved_is_perceived_anew_and_remembered_beside_the_old_one(
    task: str, options: dict[str, float], point: str, memory_of: Callable[[str], EpisodicMemory]
) -> None:
    memory, (before, was_at), (after, is_at) = memory_of(task), start(task, 1), start(task, 3, **options)
    assert np.linalg.norm(is_at[point] - was_at[point]) > 0.003
    first = await asked(memory, before)
    memory.mark(first.record_id or "", success=True)
    second = await asked(memory, after)
    assert (second.cost.model_calls, second.cost.memory_hit, second.reason_key) == (2, False, "answered")
    assert memory.get(first.record_id or "").success is True
    assert second.record_id not in (None, first.record_id)
    (why,) = second.state["passed_over"]
    assert why.startswith(f"{first.record_id}: ")
    memory.mark(second.record_id or "", success=True)
    for at, record_id in ((before, first.record_id), (after, second.record_id)):
        again = await asked(memory, at)
        assert (again.cost.model_calls, again.record_id) == (0, record_id)


@pytest.mark.parametrize(("task", "options", "point"), MOVED)
def test_look_that_leaves_shadows_out_sees_the_same(task: str, options: dict[str, float], point: str) -> None:
    """When a rollout begins nobody sees the images, and they are drawn without shadows; the record's have some."""
    before, was_at = start(task, 1)
    targets = to_targets([seen(was_at[point])], before)
    assert targets is not None
    record = guide(task=task, targets=targets)
    starts = [start(task, seed, shadows=False)[0] for seed in range(2, 7)]
    assert [unmoved([record], scene) for scene in starts] == [(record.id,)] * 5
    moved = [start(task, seed, shadows=False, **options) for seed in range(2, 7)]
    elsewhere = [scene for scene, is_at in moved if np.linalg.norm(is_at[point] - was_at[point]) > 0.003]
    assert elsewhere and not any(unmoved([record], scene) for scene in elsewhere)


async def test_box_is_not_recalled_where_its_keypoints_have_moved(memory_of: Callable[[str], EpisodicMemory]) -> None:
    memory = memory_of("usb_insertion")
    first = await asked(memory, start("usb_insertion", 1)[0], mode="prune")
    memory.mark(first.record_id or "", success=True)
    there = await asked(memory, start("usb_insertion", 2)[0], mode="prune")
    moved = await asked(memory, start("usb_insertion", 3, port_jitter_m=0.03)[0], mode="prune")
    assert isinstance(there.intervention, Prune) and isinstance(moved.intervention, Prune)
    assert (there.cost.model_calls, moved.cost.model_calls) == (0, 2)


def guide(**fields: object) -> MemoryRecord:
    given = {"task": "usb_insertion", "targets": {"port": remembered()}, "id": "r", **fields}
    return MemoryRecord(mode="guide", embedding=np.ones(4), calibration_hash="c", **given)


@pytest.mark.parametrize(("shift_mm", "fits"), [((0, 0), True), ((0, 3), False), ((3, 0), False), ((-2, -2.3), False)])
def test_port_that_moved_by_three_millimetres_is_noticed(shift_mm: tuple[float, float], fits: bool) -> None:
    with closing(make_env("usb_insertion")) as env:
        assert isinstance(env.backend, MujocoBackend)
        model, data = env.backend.model, env.backend.data
        env.reset(seed=1)
        targets = to_targets([seen(env.truth()["port"])], capture_scene(env))
        env.reset(seed=2)
        data.mocap_pos[model.body("port").mocapid[0]] += [0.001 * shift_mm[0], 0.001 * shift_mm[1], 0.0]
        mujoco.mj_forward(model, data)
        assert targets is not None
        record, _ = first_that_fits([guide(targets=targets)], capture_scene(env))
    assert (record is not None) is fits


def seen(xyz: FloatArray) -> Point:
    return Point(label="port", camera="side", uv=np.zeros(2), xyz=xyz, depth_spread_m=0.0)


def test_first_record_that_fits_is_used_and_those_before_it_are_told() -> None:
    hidden, open_then, good = scene(cover=HOVER), guide(is_open=True), guide(id="good", is_open=False)
    assert first_that_fits([open_then, good], scene()) == (good, ["r: the fingers were open then."])
    assert first_that_fits([good], hidden) == (None, ["good: port is hidden or out of sight."])
    assert first_that_fits([], scene()) == (None, [])


def test_record_of_a_version_that_kept_no_look_is_not_used() -> None:
    old = guide(targets={"port": Target(xyz=PORT)})
    assert first_that_fits([old], scene()) == (None, ["r: nothing was kept of how port looks."])


def test_scene_is_looked_at_through_the_cameras_that_saw_its_targets_alone() -> None:
    """What they show is the same as in a picture of all cameras, and so is the verdict."""
    with closing(make_env("usb_insertion")) as env:
        env.reset(seed=1)
        targets = to_targets([seen(env.truth()["port"])], capture_scene(env))
        assert targets is not None
        record = guide(targets=targets)
        env.reset(seed=2)
        cameras = cameras_of([record, guide(targets={"old": Target(xyz=PORT)})])
        whole, part = capture_scene(env), capture_scene(env, cameras)
    assert cameras == {"side"} == set(part.frames) and len(whole.frames) > 1
    np.testing.assert_array_equal(part.frames["side"].rgb, whole.frames["side"].rgb)
    np.testing.assert_array_equal(part.frames["side"].depth_m, whole.frames["side"].depth_m)
    assert unmoved([record], part) == unmoved([record], whole) == ("r",)
