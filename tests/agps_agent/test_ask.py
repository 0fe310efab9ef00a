import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agps_agent.ask import ask, describe_answer, load_scene, save_answer
from agps_agent.graph import Graph, build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.settings import AgentSettings
from agps_agent.state import DEMONSTRATION, AgentContext, ModeRequest, Trigger
from rl.errors import ConfigError
from rl.types import Box, Guide, Prune
from tests.agps_agent.scenes import PORT, camera, draw, remembered, scene
from tests.agps_agent.scripted import GUIDE, HIDDEN, PRUNE, context, seen
from tools.memory import EpisodicMemory, MemoryRecord
from tools.scene import Scene, calibration_hash

TOOL = np.array([0, 0, 0.032])


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build_graph("usb_insertion")


def embedded(**fields: object) -> AgentContext:
    return AgentContext(**{"scene": scene(), "model": EmbeddedVLM(), "profile": load_profile("embedded"), **fields})


async def test_embedded_model_guides_to_the_port(graph: Graph) -> None:
    answer = await ask(graph, embedded(), mode="guide")
    assert isinstance(answer.intervention, Guide)
    assert answer.reason_key == "answered"
    last = answer.intervention.waypoints[-1].T_base_tcp[:3, 3]
    np.testing.assert_allclose(last[:2], PORT[:2], atol=0.0005)
    assert answer.cost.model_calls == 2
    assert answer.intervention.cost == answer.cost


@pytest.mark.parametrize("mode", ["auto", "prune"])
async def test_who_shows_how_it_is_done_gives_waypoints(graph: Graph, mode: ModeRequest) -> None:
    shown = Trigger(kind=DEMONSTRATION, index=0.0, threshold=0.0, step=3)
    answer = await ask(graph, embedded(), mode=mode, trigger=shown)
    assert isinstance(answer.intervention, Guide)


async def test_embedded_model_confines_to_the_port(graph: Graph) -> None:
    answer = await ask(graph, embedded(), mode="prune")
    assert isinstance(answer.intervention, Prune)
    box = answer.intervention.box
    assert box.contains(PORT + TOOL) and box.contains(PORT + TOOL + [0, 0, 0.03])
    assert not box.contains(PORT + TOOL + [0.03, 0, 0])
    assert np.all(box.lower >= scene().workspace.lower)


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (Trigger(kind="stall", index=0.0, threshold=0.0, step=10), "guide"),
        (Trigger(kind="float", index=0.3, threshold=0.2, step=25), "guide"),
        (Trigger(kind="float", index=0.3, threshold=0.2, step=3), "prune"),
    ],
)
async def test_embedded_model_decides_by_what_woke_it(graph: Graph, trigger: Trigger, kind: str) -> None:
    answer = await ask(graph, embedded(), trigger=trigger)
    assert answer.state["mode"] == kind
    assert answer.cost.model_calls == 3


async def test_another_camera_shows_what_the_gripper_hides(graph: Graph) -> None:
    cover = PORT + [0.012, 0.0, 0.012]
    answer = await ask(graph, embedded(scene=scene(cover=cover, views=(0.0, np.pi))), mode="guide")
    assert answer.reason_key == "answered"
    assert {point["camera"] for point in answer.state["keypoints"]} == {"view_1"}
    assert answer.cost.model_calls == 3


async def test_missing_port_is_not_visible(graph: Graph) -> None:
    answer = await ask(graph, embedded(scene=scene(with_port=False)), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "not_visible")


async def test_good_record_answers_without_a_model_call(graph: Graph, tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        first = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode="guide")
        assert first.record_id is not None and not first.cost.memory_hit
        final = np.eye(4)
        final[:3, :3] = np.diag([1.0, -1.0, -1.0])
        final[:3, 3] = PORT + TOOL + [0.001, 0.0, -0.01]
        memory.mark(first.record_id, success=True, T_base_tcp_final=final)
        again = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode="auto")
    assert again.cost.model_calls == 0
    assert again.cost.memory_hit
    assert again.record_id == first.record_id
    assert isinstance(again.intervention, Guide)
    # It aims where the arm succeeded, not where the camera saw the port.
    np.testing.assert_allclose(again.intervention.waypoints[-1].T_base_tcp[0, 3], PORT[0] + 0.001, atol=1e-6)


async def test_failed_record_is_not_recalled(graph: Graph, tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        first = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode="prune")
        assert first.record_id is not None
        memory.mark(first.record_id, success=False)
        again = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode="prune")
    assert again.cost.model_calls == 2
    assert again.record_id != first.record_id


def known(at: Scene, **fields: object) -> MemoryRecord:
    """A record of this station that fits whatever the cameras show."""
    return MemoryRecord(
        task="usb_insertion", embedding=np.ones(4), calibration_hash=calibration_hash(at, "side"), **fields
    )


UNKNOWN_TOOL = {"calls": [{"name": "jump", "arguments": {}}], "reason": "Up."}
TOO_LOW = Box(lower=PORT - [0.02, 0.02, 0.2], upper=PORT)
MISFITS = {
    "box": {"mode": "prune", "box": TOO_LOW},
    "target": {"mode": "guide", "targets": {"port": remembered(PORT + [0.5, 0, 0])}, "plan": json.dumps(GUIDE)},
    "tool": {"mode": "guide", "targets": {"port": remembered()}, "plan": json.dumps(UNKNOWN_TOOL)},
    "version": {"mode": "guide", "targets": {"port": remembered()}, "plan": '{"steps": []}'},
    "damaged": {"mode": "guide", "targets": {"port": remembered()}, "plan": "{"},
}


@pytest.mark.parametrize("what", MISFITS)
async def test_record_that_does_not_fit_is_asked_anew_and_not_recalled_again(
    what: str, graph: Graph, tmp_path: Path
) -> None:
    record = known(scene(), **MISFITS[what])
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        misfit = memory.remember(record)
        memory.mark(misfit, success=True)
        asking = embedded(memory=memory, embedding=np.ones(4))
        first = await ask(graph, asking, mode=record.mode)
        assert (first.reason_key, first.cost.model_calls, first.state["recalled"]) == ("answered", 2, False)
        assert first.record_id not in (None, misfit)
        memory.mark(first.record_id, success=True)
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        assert memory.get(misfit).success is False
        memory.forget(first.record_id)
        second = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode=record.mode)
    assert (second.reason_key, second.cost.model_calls) == ("answered", 2)


async def test_what_was_remembered_in_another_workspace_is_not_recalled(graph: Graph, tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        first = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode="prune")
        memory.mark(first.record_id or "", success=True)
        moved = scene()
        moved.workspace.lower[0] += 0.105  # 5 mm before the port: the box reaches further back
        for _ in range(2):
            again = await ask(graph, embedded(scene=moved, memory=memory, embedding=np.ones(4)), mode="prune")
            assert (again.reason_key, again.cost.memory_hit) == ("answered", False)
            assert isinstance(again.intervention, Prune)
            assert again.intervention.box.lower[0] >= moved.workspace.lower[0]
        assert memory.get(first.record_id or "").success is True  # it still holds in its own


async def test_memory_is_asked_once_per_question(graph: Graph, tmp_path: Path) -> None:
    asked: list[object] = []

    class Counting(EpisodicMemory):
        def recall(self, embedding, **how):
            asked.append(how["mode"])
            return super().recall(embedding, **how)

    with Counting(tmp_path, dim=4, task="usb_insertion") as memory:
        first = await ask(graph, embedded(memory=memory, embedding=np.ones(4)))
        memory.mark(first.record_id or "", success=True)
        again = await ask(graph, embedded(memory=memory, embedding=np.ones(4)))
    assert again.cost.memory_hit and asked == [None, None]


async def test_memory_that_hangs_does_not_hold_up_others_and_ends_with_the_wall_budget(
    graph: Graph, tmp_path: Path
) -> None:
    may_answer = threading.Event()

    class Hanging(EpisodicMemory):
        def recall(self, embedding, **how):
            assert may_answer.wait(60)
            return ()

    with Hanging(tmp_path, dim=4, task="usb_insertion") as memory:
        settings = AgentSettings(wall_budget_s=0.5)
        waiting = asyncio.create_task(ask(graph, embedded(memory=memory, embedding=np.ones(4), settings=settings)))
        other = await ask(graph, embedded(), mode="prune")
        answer = await waiting
        may_answer.set()
    assert other.reason_key == "answered"
    assert (answer.intervention, answer.reason_key) == (None, "timeout")


def through_the_wrist(tcp_above_m: float) -> Scene:
    """The port from a camera on the hand, at a height of the hand: it comes along."""
    at = scene()
    T_base_tcp = at.T_base_tcp.copy()
    T_base_tcp[2, 3] += tcp_above_m
    T_tcp_cam = np.linalg.inv(at.T_base_tcp) @ at.frames["side"].T_base_cam
    wrist = camera(name="wrist_1")
    wrist = draw(replace(wrist, T_base_cam=T_base_tcp @ T_tcp_cam))
    return replace(at, T_base_tcp=T_base_tcp, frames={"wrist_1": replace(wrist, T_mount_cam=T_tcp_cam)})


async def test_wrist_camera_recalls_from_wherever_the_arm_is(graph: Graph, tmp_path: Path) -> None:
    settings = AgentSettings(camera="wrist_1")
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        here, there = (
            embedded(scene=through_the_wrist(up_m), memory=memory, embedding=np.ones(4), settings=settings)
            for up_m in (0.0, 0.03)
        )
        first = await ask(graph, here, mode="guide")
        memory.mark(first.record_id or "", success=True)
        again = await ask(graph, there, mode="guide")
    assert (first.cost.memory_hit, again.cost.memory_hit, again.record_id) == (False, True, first.record_id)


async def test_embedding_without_a_direction_costs_the_memory_and_not_the_answer(graph: Graph, tmp_path: Path) -> None:
    """As when the policy's cameras are covered: every pixel is black."""
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        answer = await ask(graph, embedded(memory=memory, embedding=np.zeros(4)), mode="guide")
    assert (answer.reason_key, answer.record_id) == ("answered", None)


BAD_ARGUMENT = {"calls": [{"name": "search", "arguments": {"target": "port", "radius_m": 1.0}}], "reason": "Wide."}
FAR_BOX = {
    "calls": [
        {
            "name": "exploration_bbox",
            "arguments": {"mode": "direct_bbox3d", "lower": [1.5, 0.0, 0.1], "upper": [1.6, 0.1, 0.2]},
        }
    ],
    "reason": "Over there.",
}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (["I see a port.", "Really."], "not_json"),
        (['{"keypoints": [{"label": "port_left", "point_2d": [NaN, 1]}]}'] * 2, "not_json"),
        ([{"points": []}] * 2, "wrong_schema"),
        ([{"keypoints": seen()["keypoints"][:1]}] * 2, "wrong_schema"),
        ([seen(left=[900.0, 200.0])] * 2, "outside_image"),
        ([HIDDEN], "not_visible"),
        ([seen(left=[10.0, 10.0])], "outside_workspace"),
        ([seen(left=[310.0, 300.0])], "implausible_keypoints"),
        ([seen(), UNKNOWN_TOOL, UNKNOWN_TOOL], "unknown_tool"),
        ([seen(), BAD_ARGUMENT, BAD_ARGUMENT], "bad_arguments"),
        ([ConnectionError("reset")], "connection_lost"),
        ([ValueError("no such model")], "model_error"),
        ([1e6], "timeout"),
    ],
)
async def test_fault_of_the_agent_lets_the_policy_go_on(graph: Graph, script: list[object], reason: str) -> None:
    asking = context(*script, call_timeout_s=0.2 if reason == "timeout" else 50.0)
    answer = await ask(graph, asking, mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, reason)
    assert answer.reason
    assert answer.cost.model_calls == len(script)


async def test_box_that_misses_the_workspace_is_refused(graph: Graph) -> None:
    answer = await ask(graph, context(seen(), FAR_BOX, FAR_BOX), mode="prune")
    assert (answer.intervention, answer.reason_key) == (None, "box_misses_workspace")


async def test_keypoint_without_depth_is_refused(graph: Graph) -> None:
    blind = scene()
    blind.frames["side"].depth_m[:] = 0.0
    answer = await ask(graph, context(seen(), at=blind), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "no_depth")


async def test_wall_budget_ends_a_question(graph: Graph) -> None:
    answer = await ask(graph, context(1e6, wall_budget_s=0.2), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "timeout")


async def test_model_corrects_a_refused_tool_call(graph: Graph) -> None:
    asking = context(seen(), BAD_ARGUMENT, GUIDE)
    answer = await ask(graph, asking, mode="guide")
    assert isinstance(answer.intervention, Guide)
    assert answer.cost.model_calls == 3
    assert "radius_m" in asking.model.asked[-1][-1].text


async def test_one_correction_is_all_a_node_gets(graph: Graph) -> None:
    answer = await ask(graph, context(seen(), BAD_ARGUMENT, "sorry", GUIDE), mode="guide")
    assert (answer.reason_key, answer.cost.model_calls) == ("not_json", 3)


async def test_model_corrects_a_reply_that_is_not_json(graph: Graph) -> None:
    answer = await ask(graph, context("Let me see.", seen(), PRUNE), mode="prune")
    assert isinstance(answer.intervention, Prune)


async def test_unknown_camera_is_the_callers_mistake(graph: Graph) -> None:
    with pytest.raises(ConfigError, match="it has side"):
        await ask(graph, embedded(settings=AgentSettings(camera="top")))


async def test_saved_question_can_be_asked_again(graph: Graph, tmp_path: Path) -> None:
    answer = await ask(graph, embedded(), mode="guide")
    save_answer(tmp_path, answer, scene())
    assert {path.name for path in tmp_path.iterdir()} == {
        "annotated.png",
        "intervention.json",
        "prompt.md",
        "reply.json",
        "scene",
    }
    again = await ask(graph, embedded(scene=load_scene(tmp_path / "scene")), mode="guide")
    assert again.state["plan"] == answer.state["plan"]
    for before, after in zip(answer.intervention.waypoints, again.intervention.waypoints, strict=True):
        np.testing.assert_allclose(after.T_base_tcp, before.T_base_tcp, atol=1e-4)  # depth is saved to 0.05 mm
    saved = json.loads((tmp_path / "intervention.json").read_text())
    assert saved["kind"] == "guide"
    assert saved["guidance"] == describe_answer(answer)["guidance"]
    prompt = (tmp_path / "prompt.md").read_text()
    assert "port_left" in prompt and "base64" not in prompt
