from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from langgraph.errors import NodeError
from langgraph.runtime import Runtime

from agps_agent import nodes
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.state import AgentContext, AgentFault, GraphState
from prompts.loader import load_task_prompt
from tests.agps_agent.scenes import LEFT, PORT, project, scene
from tests.agps_agent.scripted import GUIDE, PRUNE, ScriptedModel, context, seen
from tools.errors import ToolRetry
from tools.memory import EpisodicMemory
from tools.scene import calibration_hash


def keypoint(label: str, offset_y: float) -> nodes.KeypointState:
    xyz = (PORT + [0.0, offset_y, 0.0]).tolist()
    return {"label": label, "camera": "side", "uv": [1.0, 2.0], "xyz": xyz, "depth_spread_m": 0.0}


def planned(plan: dict[str, object], mode: nodes.Mode) -> GraphState:
    points = [keypoint("port_left", -0.0088), keypoint("port_right", 0.0088)]
    return {"mode": mode, "plan": plan, "keypoints": points, "recalled": False}


def remembering(memory: EpisodicMemory) -> Runtime[AgentContext]:
    return Runtime(
        context=AgentContext(
            scene=scene(),
            model=ScriptedModel(script=[]),
            profile=context().profile,
            memory=memory,
            embedding=np.ones(4),
        )
    )


async def test_tools_turn_calls_into_waypoints() -> None:
    update = await nodes.call_tools(planned(GUIDE, "guide"), Runtime(context=context()))
    assert update["guidance"]["kind"] == "guide"
    assert nodes.after_tools({**planned(GUIDE, "guide"), **update}) == "done"


async def test_recalled_plan_that_does_not_fit_leads_to_a_fresh_look() -> None:
    state = planned({"calls": [{"name": "search", "arguments": {"target": "hook"}}], "reason": ""}, "guide")
    state["recalled"] = True
    update = await nodes.call_tools(state, Runtime(context=context()))
    assert nodes.after_tools({**state, **update}) == "stale"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AgentFault("not_visible", "Nothing there."), "not_visible"),
        (ToolRetry("No such tool.", reason="unknown_tool"), "unknown_tool"),
        (ZeroDivisionError("oops"), "internal_error"),
    ],
)
async def test_every_error_ends_without_an_intervention(error: Exception, reason: str) -> None:
    command = await nodes.give_up({}, NodeError(node="plan", error=error))
    assert command.goto == "__end__"
    assert command.update["guidance"]["kind"] == "none"
    assert command.update["guidance"]["reason"] == reason


async def test_record_keeps_box_calibration_and_prompt(tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        runtime = remembering(memory)
        state = planned(PRUNE, "prune")
        state.update(await nodes.call_tools(state, runtime))
        update = await nodes.remember(state, runtime)
        record = memory.get(update["record_id"] or "")
    assert record.box is not None and record.box.contains(PORT + [0, 0, 0.032])
    assert record.calibration_hash == calibration_hash(scene(), "side")
    assert record.prompt_hash


async def test_plan_towards_two_points_is_not_remembered(tmp_path: Path) -> None:
    """One refined target could not correct both."""
    calls = [{"name": "translate", "arguments": {"target": label}} for label in ("port_left", "port_right")]
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        runtime = remembering(memory)
        state = planned({"calls": calls, "reason": ""}, "guide")
        state.update(await nodes.call_tools(state, runtime))
        assert await nodes.remember(state, runtime) == {}


async def test_answer_is_used_although_the_disk_is_full(tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        (tmp_path / "usb_insertion.jsonl").unlink(missing_ok=True)
        (tmp_path / "usb_insertion.jsonl").mkdir()  # cannot be appended to
        runtime = remembering(memory)
        state = planned(PRUNE, "prune")
        state.update(await nodes.call_tools(state, runtime))
        assert await nodes.remember(state, runtime) == {}
        assert len(memory) == 0


@pytest.mark.parametrize(("offset", "reason"), [(0.5, "outside_workspace"), (0.08, "implausible_keypoints")])
def test_keypoints_that_cannot_be_are_refused(offset: float, reason: str) -> None:
    points = nodes._from_state([keypoint("port_left", -0.0088), keypoint("port_right", offset)])
    task = load_task_prompt("usb_insertion")
    with pytest.raises(AgentFault) as error:
        nodes._check_distances(nodes._reachable(points, task, context()), task)
    assert error.value.reason == reason


RIGHT_MAY_BE_HIDDEN = replace(load_task_prompt("usb_insertion"), optional=frozenset({"port_right"}))


async def test_keypoint_that_may_be_hidden_is_left_out() -> None:
    answer = seen()
    answer["keypoints"][1] |= {"point_2d": None, "visible": False}
    asking = context(answer, words=RIGHT_MAY_BE_HIDDEN)
    update = await nodes.perceive({"mode": "guide"}, Runtime(context=asking))
    assert [point["label"] for point in update["keypoints"]] == ["port_left"]


@pytest.mark.parametrize("hidden", [["port_left"], ["port_left", "port_right"]])
async def test_keypoint_that_the_task_needs_is_not_left_out(hidden: list[str]) -> None:
    answer = seen()
    for entry in answer["keypoints"]:
        if entry["label"] in hidden:
            entry |= {"point_2d": None, "visible": False}
    with pytest.raises(AgentFault, match=f"does not see {', '.join(hidden)}"):
        await nodes.perceive({"mode": "guide"}, Runtime(context=context(answer, words=RIGHT_MAY_BE_HIDDEN)))


def test_keypoint_out_of_reach_is_left_out_only_if_the_task_can_do_without() -> None:
    points = nodes._from_state([keypoint("port_left", -0.0088), keypoint("port_right", 0.5)])
    assert list(nodes._reachable(points, RIGHT_MAY_BE_HIDDEN, context())) == ["port_left"]
    with pytest.raises(AgentFault, match="port_right at .* outside of what the tool can reach"):
        nodes._reachable(points, load_task_prompt("usb_insertion"), context())


def test_keypoint_inside_of_something_lies_behind_what_is_measured() -> None:
    at = context()
    uv = tuple(project(at.frame, LEFT[np.newaxis])[0])
    surface = nodes.measure(at, at.frame, "port_left", uv).xyz
    inside = replace(load_task_prompt("usb_insertion"), behind_m={"port_left": 0.01})
    moved = nodes.measure(context(words=inside), at.frame, "port_left", uv).xyz - surface
    assert moved @ at.frame.T_base_cam[:3, 2] == pytest.approx(0.01)


def test_second_view_is_the_one_from_the_other_side() -> None:
    asking = context(at=scene(views=(0.0, 0.3, np.pi)))
    asking = AgentContext(scene=asking.scene, model=asking.model, profile=asking.profile)
    assert [frame.name for frame in nodes._views(asking)] == ["side", "view_2"]


async def test_keypoint_beside_something_nearer_is_looked_at_from_elsewhere() -> None:
    """There the depth may be that of the plug, not of the rim."""
    at = scene(views=(0.0, np.pi))
    u, v = project(at.frames["side"], LEFT[np.newaxis])[0].round().astype(int)
    at.frames["side"].depth_m[v - 1 : v + 2, u - 1] -= 0.02
    asking = AgentContext(scene=at, model=EmbeddedVLM(), profile=load_profile("embedded"))
    update = await nodes.perceive({"mode": "guide"}, Runtime(context=asking))
    assert [point["camera"] for point in update["keypoints"]] == ["view_1", "view_1"]
