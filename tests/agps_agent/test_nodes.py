from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from langgraph.errors import NodeError
from langgraph.runtime import Runtime

from agps_agent import nodes
from agps_agent.state import USER_TRIGGER, AgentContext, AgentFault, GraphState, Trigger
from prompts.loader import load_task_prompt
from tests.agps_agent.scenes import PORT, scene
from tests.agps_agent.scripted import GUIDE, PRUNE, ScriptedModel, context
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


async def test_box_has_the_margins_of_the_tasks_words() -> None:
    """The port's middle is at y 0, its ends 8.8 mm from it."""
    words = replace(load_task_prompt("usb_insertion"), margins={"y_neg": 0.03, "y_pos": 0.04})
    update = await nodes.call_tools(planned(PRUNE, "prune"), Runtime(context=context(words=words)))
    assert (update["guidance"]["lower"][1], update["guidance"]["upper"][1]) == pytest.approx((-0.0388, 0.0488))


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


async def test_plan_towards_two_points_is_remembered_with_both(tmp_path: Path) -> None:
    calls = [{"name": "translate", "arguments": {"target": label}} for label in ("port_left", "port_right")]
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        runtime = remembering(memory)
        state = planned({"calls": calls, "reason": ""}, "guide")
        state.update(await nodes.call_tools(state, runtime))
        record = memory.get((await nodes.remember(state, runtime))["record_id"] or "")
    assert (list(record.targets), record.felt, record.is_open) == (["port_left", "port_right"], "", False)
    np.testing.assert_allclose(record.targets["port_right"].aim, PORT + [0.0, 0.0088, 0.0])


@pytest.mark.parametrize("last", ["translate", "search"])
async def test_plan_towards_one_point_is_felt_there_however_it_ends(last: str, tmp_path: Path) -> None:
    calls = [{"name": name, "arguments": {"target": "port"}} for name in ("translate", last)]
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        runtime = remembering(memory)
        state = planned({"calls": calls, "reason": ""}, "guide")
        state.update(await nodes.call_tools(state, runtime))
        record = memory.get((await nodes.remember(state, runtime))["record_id"] or "")
    assert (list(record.targets), record.felt) == (["port"], "port")


async def test_plan_that_goes_by_no_point_or_by_one_without_an_image_is_not_remembered(tmp_path: Path) -> None:
    up = {"name": "lift", "arguments": {"height_m": 0.05}}
    across = {"name": "search", "arguments": {"target": "port"}}
    plain = scene()
    plain.frames["side"].rgb[:] = 90
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        for call, at in ((up, scene()), (across, plain)):
            runtime = remembering(memory)
            runtime = replace(runtime, context=replace(runtime.context, scene=at))
            state = planned({"calls": [call], "reason": ""}, "guide")
            state.update(await nodes.call_tools(state, runtime))
            assert await nodes.remember(state, runtime) == {}
        assert len(memory) == 0


async def test_answer_is_used_although_the_disk_is_full(tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        (tmp_path / "usb_insertion.jsonl").unlink(missing_ok=True)
        (tmp_path / "usb_insertion.jsonl").mkdir()  # cannot be appended to
        runtime = remembering(memory)
        state = planned(PRUNE, "prune")
        state.update(await nodes.call_tools(state, runtime))
        assert await nodes.remember(state, runtime) == {}
        assert len(memory) == 0


@pytest.mark.parametrize("asks", [nodes.decide_mode, nodes.plan])
async def test_model_is_told_how_its_last_plan_ended(asks) -> None:
    told = "blocked after 14 steps, 8 mm short of waypoint 2 of 5"
    for trigger in (Trigger(kind="stall", index=0.0, threshold=0.0, step=30), {**USER_TRIGGER, "last_plan": told}):
        answer = {"mode": "guide", "failure_mode": "", "reason": ""} if asks is nodes.decide_mode else GUIDE
        asking = context(answer)
        await asks({**planned(GUIDE, "guide"), "trigger": trigger}, Runtime(context=asking))
        sentence = f"Your last plan ended: {told}."
        assert (sentence in asking.model.asked[0][-1].text) is ("last_plan" in trigger)
