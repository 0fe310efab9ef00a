"""Tools that answer the model within one question: real runs of the graph, with models that say what a test tells."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.ask import Answer, ask, save_answer
from agps_agent.graph import Graph, build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.profiles import load_profile
from agps_agent.models.recorded import RecordedModel
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from agps_agent.tracing import client
from agps_agent.tracing.collector import Collector
from rl.types import Guide, Prune
from tests.agps_agent.scenes import remembered, scene
from tests.agps_agent.scripted import GUIDE, PRUNE, context, seen
from tools.builtin import TRANSLATE
from tools.errors import ToolFailed
from tools.memory import EpisodicMemory, MemoryRecord
from tools.scene import calibration_hash
from tools.spec import TOOLS, Args, ToolSpec
from tools.targets import Target, resolve_target, target_field


def plan(*calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"calls": [{"name": name, "arguments": given} for name, given in calls], "reason": "How far is it?"}


WIDTH = {"start": "port_left", "end": "port_right"}
"""Drawn 17.6 mm apart."""
ASK = plan(("measure", WIDTH))
ASK_WRONGLY = plan(("measure", {"start": "socket", "end": "port"}))
MIXED = plan(("lift", {"height_m": 0.05}), ("measure", WIDTH), ("translate", {"target": "port_left"}))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build_graph("usb_insertion")


def asking(*script: Any, **settings: Any) -> AgentContext:
    return context(*script, **{"tools": ("measure",), **settings})


def embedded(*first_plans: dict[str, Any], **fields: Any) -> AgentContext:
    model, settings = EmbeddedVLM(first_plans=first_plans), AgentSettings(tools=("measure",))
    return AgentContext(scene=scene(), model=model, profile=load_profile("embedded"), settings=settings, **fields)


def same_waypoints(one: Answer, other: Answer) -> bool:
    return one.state["guidance"] == other.state["guidance"]


async def test_model_is_told_the_answer_and_plans_again(graph: Graph) -> None:
    told = asking(seen(), ASK, GUIDE)
    answer = await ask(graph, told, mode="guide")
    assert isinstance(answer.intervention, Guide)
    assert (answer.reason_key, answer.cost.model_calls) == ("answered", 3)
    assert answer.state["plan"]["reason"] == GUIDE["reason"]
    question, first_reply, answered = told.model.asked[-1][-3:]
    assert question.text == told.model.asked[-2][-1].text and json.loads(first_reply.text) == ASK
    assert "measure: from port_left to port_right: 17." in answered.text
    assert "left within this question: 1." in answered.text


async def test_model_is_told_of_the_tool_that_was_added(graph: Graph) -> None:
    told = asking(seen(), GUIDE)
    await ask(graph, told, mode="guide")
    assert "- measure: Tell the distance" in told.model.asked[-1][-1].text
    assert "primitives: translate, search, descend, lift, move_delta, measure" in told.model.asked[-1][-1].text


async def test_motion_comes_from_the_last_plan_alone(graph: Graph) -> None:
    mixed = await ask(graph, asking(seen(), MIXED, GUIDE), mode="guide")
    direct = await ask(graph, asking(seen(), GUIDE), mode="guide")
    assert same_waypoints(mixed, direct)
    assert len(mixed.state["tool_answers"]) == 1 and "measure" not in mixed.state["tool_results"]


async def test_box_may_be_asked_for_after_an_answer_too(graph: Graph) -> None:
    answer = await ask(graph, asking(seen(), ASK, PRUNE), mode="prune")
    assert isinstance(answer.intervention, Prune) and answer.cost.model_calls == 3


async def test_model_that_asks_once_too_often_is_told_the_limit(graph: Graph) -> None:
    told = asking(seen(), ASK, ASK, MIXED, GUIDE)
    answer = await ask(graph, told, mode="guide")
    assert answer.reason_key == "answered"
    assert "Tools have answered 2 times, which is the limit" in told.model.asked[-1][-1].text
    assert [bool(exchange.answers) for exchange in answer.transcript] == [False, True, True, False, False]


async def test_model_that_only_asks_ends_with_a_counted_reason(graph: Graph) -> None:
    answer = await ask(graph, asking(seen(), *[ASK] * 9), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "answers_spent")
    assert answer.cost.model_calls == 5  # the keypoints, two rounds of answers, the refusal, and its repair


@pytest.mark.parametrize(("answers", "repairs"), [(1, 0), (1, 1), (3, 0), (3, 2), (8, 3)])
async def test_calls_of_a_question_are_limited_by_answers_and_repairs(graph: Graph, answers: int, repairs: int) -> None:
    limits = {"max_tool_answers": answers, "max_repairs": repairs}
    answer = await ask(graph, asking(seen(), *[ASK] * 20, **limits), mode="guide")
    assert (answer.reason_key, answer.cost.model_calls) == ("answers_spent", 1 + 1 + answers + repairs)


async def test_wrong_arguments_of_a_tool_that_answers_are_corrected(graph: Graph) -> None:
    told = asking(seen(), ASK_WRONGLY, ASK, GUIDE)
    answer = await ask(graph, told, mode="guide")
    assert (answer.reason_key, answer.cost.model_calls) == ("answered", 4)
    assert "no keypoint 'socket'; known ones: port, port_left, port_right, tool_tip" in told.model.asked[2][-1].text


async def test_correction_is_not_renewed_by_an_answer(graph: Graph) -> None:
    answer = await ask(graph, asking(seen(), ASK_WRONGLY, ASK, ASK_WRONGLY, GUIDE), mode="guide")
    assert (answer.reason_key, answer.cost.model_calls) == ("unknown_keypoint", 4)


async def test_without_rounds_nothing_that_answers_is_offered(graph: Graph) -> None:
    told = asking(seen(), ASK, ASK, max_tool_answers=0, tools=())
    answer = await ask(graph, told, mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "tool_not_allowed")
    assert "- measure:" not in told.model.asked[1][-1].text


async def test_wall_budget_holds_over_all_rounds(graph: Graph) -> None:
    answer = await ask(graph, asking(seen(), ASK, 5.0, wall_budget_s=0.5), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "timeout")


async def test_saved_question_shows_what_tools_answered(graph: Graph, tmp_path: Path) -> None:
    answer = await ask(graph, asking(seen(), ASK, GUIDE), mode="guide")
    save_answer(tmp_path, answer, scene())
    (said,) = json.loads((tmp_path / "intervention.json").read_text())["tool_answers"]
    assert said.startswith("measure: from port_left to port_right: 17.")
    replies = json.loads((tmp_path / "reply.json").read_text())
    assert [reply["answers"] for reply in replies] == ["", said, ""]
    assert f"## tools answered\n\n{said}" in (tmp_path / "prompt.md").read_text()


async def test_embedded_model_can_begin_with_a_plan_that_it_is_given(graph: Graph) -> None:
    begun = await ask(graph, embedded(ASK), mode="guide")
    alone = await ask(graph, embedded(), mode="guide")
    assert (begun.cost.model_calls, alone.cost.model_calls) == (3, 2)
    assert len(begun.state["tool_answers"]) == 1
    assert same_waypoints(begun, alone)


async def test_recorded_model_answers_a_question_with_rounds_again(graph: Graph, tmp_path: Path) -> None:
    live = embedded(ASK)
    first = await ask(graph, replace(live, model=RecordedModel(path=tmp_path / "a", live=live.model)), mode="guide")
    again = await ask(graph, replace(live, model=RecordedModel(path=tmp_path / "a")), mode="guide")
    assert again.state == first.state and len(again.state["tool_answers"]) == 1


async def test_last_plan_is_remembered_and_recalled_without_asking(graph: Graph, tmp_path: Path) -> None:
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        first = await ask(graph, embedded(ASK, memory=memory, embedding=np.ones(4)), mode="guide")
        assert "measure" not in memory.get(first.record_id or "").plan
        memory.mark(first.record_id or "", success=True)
        again = await ask(graph, embedded(ASK, memory=memory, embedding=np.ones(4)), mode="guide")
    assert (again.reason_key, again.cost.memory_hit, again.cost.model_calls) == ("answered", True, 0)


async def test_recalled_plan_that_asks_is_looked_at_afresh(graph: Graph, tmp_path: Path) -> None:
    record = MemoryRecord(
        task="usb_insertion", mode="guide", embedding=np.ones(4), calibration_hash=calibration_hash(scene(), "side"),
        targets={"port": remembered()}, plan=json.dumps(plan(("measure", {"end": "port"}))),
    )  # fmt: skip
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        stale = memory.remember(record)
        memory.mark(stale, success=True)
        answer = await ask(graph, embedded(memory=memory, embedding=np.ones(4)), mode="guide")
        assert (answer.reason_key, answer.state["recalled"]) == ("answered", False)
        assert memory.get(stale).success is False


class PlaceArgs(Args):
    """Go above a target, seen from another point."""

    target: Target = target_field("Where to go.")
    seen_from: Target = target_field("From where.", default="port_left")


@pytest.fixture
def registered() -> Iterator[Callable[[ToolSpec], str]]:
    """Registers a tool, and forgets it after the test."""
    names: list[str] = []

    def register(spec: ToolSpec) -> str:
        TOOLS.register(spec.name, spec)
        names.append(spec.name)
        return spec.name

    yield register
    for name in names:
        TOOLS.unregister(name)


class PeekArgs(Args):
    """Tell what is there."""


def peek(function: Callable[..., Any]) -> ToolSpec:
    return ToolSpec(name="peek", args=PeekArgs, function=function, gives="text")


PEEK = plan(("peek", {}))


async def test_tool_of_a_program_answers(graph: Graph, registered: Callable[[ToolSpec], str]) -> None:
    name = registered(peek(lambda args, scene, keypoints: f"{len(keypoints)} keypoints, {len(scene.frames)} camera"))
    answer = await ask(graph, context(seen(), PEEK, GUIDE, tools=(name,)), mode="guide")
    assert answer.state["tool_answers"] == ["peek: 3 keypoints, 1 camera"]  # port too


async def test_model_is_told_what_cannot_be_had(graph: Graph, registered: Callable[[ToolSpec], str]) -> None:
    def blind(*_: Any) -> str:
        raise ToolFailed("No depth there.")

    told = context(seen(), PEEK, GUIDE, tools=(registered(peek(blind)),))
    assert (await ask(graph, told, mode="guide")).reason_key == "answered"
    assert "peek: No depth there." in told.model.asked[-1][-1].text


async def test_tool_that_hangs_does_not_hold_up_others_and_ends_with_the_wall_budget(
    graph: Graph, registered: Callable[[ToolSpec], str]
) -> None:
    may_answer = threading.Event()
    slow = context(
        seen(),
        PEEK,
        tools=(registered(peek(lambda *_: str(may_answer.wait(60)))),),
        wall_budget_s=0.5,
    )
    waiting = asyncio.create_task(ask(graph, slow, mode="guide"))
    other = await ask(graph, context(seen(), GUIDE), mode="guide")
    answer = await waiting
    is_hanging = not may_answer.is_set()
    may_answer.set()
    assert is_hanging and other.reason_key == "answered"
    assert (answer.intervention, answer.reason_key) == (None, "timeout")


@pytest.mark.parametrize("function", [lambda *_: 1 / 0, lambda *_: None])
async def test_broken_tool_costs_the_help_and_not_the_run(
    graph: Graph, registered: Callable[[ToolSpec], str], function: Callable[..., Any]
) -> None:
    answer = await ask(graph, context(seen(), PEEK, tools=(registered(peek(function)),)), mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "internal_error")
    assert "call_tools" in answer.reason


async def test_plan_that_needs_a_second_point_in_any_argument_is_remembered_with_it(
    graph: Graph, registered: Callable[[ToolSpec], str], tmp_path: Path
) -> None:
    def place(args: PlaceArgs, scene: Any, keypoints: Any) -> Any:
        resolve_target(args.seen_from, keypoints)
        return TRANSLATE.function(TRANSLATE.args(target=args.target), scene, keypoints)

    name = registered(ToolSpec(name="place", args=PlaceArgs, function=place, gives="waypoints"))
    told = context(seen(), plan(("place", {"target": "port"})), tools=(name,))
    with EpisodicMemory(tmp_path, dim=4, task="usb_insertion") as memory:
        answer = await ask(graph, replace(told, memory=memory, embedding=np.ones(4)), mode="guide")
        assert set(memory.get(answer.record_id or "").targets) == {"port", "port_left"}


async def test_trace_shows_what_tools_answered(graph: Graph, collector: Collector) -> None:
    await ask(graph, asking(seen(), ASK, GUIDE), mode="guide")
    client.flush()
    (trace,) = collector.store.traces()
    first, second = (run for run in collector.store.trace(trace["id"]) if run["name"] == "call_tools")
    assert first["outputs"]["tool_answers"][0].startswith("measure: from port_left to port_right")
    assert "tool_results" in second["outputs"]
    assert "prompt/tool_answers@v1" in trace["metadata"]
