"""The nodes of the graph: one short function each. They return updates; frames and model come from the context."""

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from langchain_core.messages import BaseMessage
from langgraph.errors import NodeError
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import TypeAdapter, ValidationError

from agps_agent.conversation import answer_rounds, calls_left, compose, converse, informed, repaired
from agps_agent.models.parsing import ReplyError
from agps_agent.perceiving import find_keypoints
from agps_agent.recalling import first_that_fits, recalled_keypoints, to_targets
from agps_agent.state import (
    DEMONSTRATION,
    USER_TRIGGER,
    AgentContext,
    AgentFault,
    GraphState,
    Guidance,
    GuideGuidance,
    KeypointState,
    NoGuidance,
    PruneGuidance,
    Reason,
    Trigger,
    intervention_to_guidance,
)
from rl.errors import AgpsError
from rl.types import Box, Guide, Prune
from tools.answers import DecideModeAnswer, Mode, PlanAnswer
from tools.describe import describe_bounds, describe_keypoints, describe_robot, describe_tools
from tools.errors import ToolError, ToolRetry
from tools.memory import MemoryRecord
from tools.perception import Point
from tools.plan import run_plan
from tools.scene import Scene, calibration_hash, has_open_fingers
from tools.spec import Tools
from tools.targets import halfway

log = logging.getLogger(__name__)

GUIDANCE: TypeAdapter[PruneGuidance | GuideGuidance | NoGuidance] = TypeAdapter(Guidance)
PLAN_PROMPTS: dict[Mode, str] = {"prune": "exploration_pruning", "guide": "action_guidance"}


async def recall(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Reuse what worked in a scene that looks the same: the box as it was, the plan towards the best known targets."""
    context, requested = runtime.context, state.get("mode_request", "auto")
    records = await _recall(context, mode=None if requested == "auto" else requested)
    record, passed_over = await asyncio.to_thread(
        first_that_fits, records, context.scene, seen=state.get("trigger", USER_TRIGGER).get("unmoved", ())
    )
    if record is None:
        return {"recalled": False, "record_id": None, "passed_over": passed_over}
    reason = f"{record.mode} worked in a like scene: {record.id}."
    hit: GraphState = {"recalled": True, "record_id": record.id, "mode": record.mode, "reason": reason}
    if record.box is not None:
        guidance = intervention_to_guidance(Prune(box=record.box))
        fault = _misfit(GUIDANCE.validate_python(guidance), context.scene.workspace)
        return {**hit, "guidance": guidance} if fault is None else await _stale(context, record.id, fault)
    try:
        return {**hit, "plan": json.loads(record.plan), "keypoints": recalled_keypoints(record)}
    except ValueError as error:
        return await _stale(context, record.id, error)


def after_recall(state: GraphState) -> Literal["box", "plan", "miss"]:
    """Where to go on: a recalled box, a recalled plan, or nothing that fits was recalled."""
    if not state["recalled"]:
        return "miss"
    return "box" if "guidance" in state else "plan"


async def decide_mode(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Choose between box and waypoints where memory has not: as requested, or as the model says."""
    context = runtime.context
    requested = state.get("mode_request", "auto")
    if requested != "auto":
        return {"mode": requested, "reason": f"{requested} was requested.", "stale": False}
    prompt, task = context.prompt("decide_mode"), context.words
    system, user = prompt.render(
        task_description=task.description,
        available_tools=describe_tools({**context.tools["prune"], **context.tools["guide"]}, task.tool_defaults),
        allowed_primitive=_motions(context.tools["guide"]),
        global_xyz_bounds=describe_bounds(context.scene),
        situation=_situation(state.get("trigger", USER_TRIGGER), context.scene),
    )
    messages = compose(system, user, context.pictures.of(context.frame.rgb, context.profile))
    answer = await converse(context, "decide_mode", messages, DecideModeAnswer, lambda answer: answer)
    return {"mode": answer.mode, "failure_mode": answer.failure_mode, "reason": answer.reason, "stale": False}


async def perceive(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Ask the model for the task's keypoints and measure them with depth; another view where one does not show them."""
    points = await find_keypoints(runtime.context)
    return {"keypoints": [_to_state(point) for point in points.values()]}


async def plan(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Ask the model for tool calls: given the labelled image, what was wrong with its last ones, or their answers."""
    context = runtime.context
    if state.get("tool_error"):
        messages = repaired(context, state["tool_error"] or "")
    elif state.get("tool_answers"):
        messages = informed(context)
    else:
        messages = _plan_question(state, context)
    repairs = calls_left(context, "plan") - 1
    answer = await converse(context, "plan", messages, PlanAnswer, lambda answer: answer, repairs=repairs)
    return {"plan": answer.model_dump(), "tool_error": None, "reason": answer.reason}


def _plan_question(state: GraphState, context: AgentContext) -> list[BaseMessage]:
    """Return the messages that ask for tool calls the first time."""
    task, mode = context.words, state["mode"]
    points = _from_state(state["keypoints"])
    seen_by = context.scene.frames[next(iter(points.values())).camera]
    guide = context.tools["guide"]
    system, user = context.prompt(PLAN_PROMPTS[mode]).render(
        task_description=task.description,
        heuristics=task.heuristics[mode],
        available_tools=describe_tools(context.tools[mode], task.tool_defaults),
        # A guide calls these; in a box the robot moves as with them.
        allowed_primitive=", ".join(guide) if mode == "guide" else _motions(guide),
        global_xyz_bounds=describe_bounds(context.scene),
        situation=_situation(state.get("trigger", USER_TRIGGER), context.scene),
        keypoints=describe_keypoints(points, task.keypoints),
    )
    return compose(system, user, context.pictures.labelled(seen_by.rgb, points, context.profile))


def _motions(tools: Tools) -> str:
    """Return the names of the tools that move, as prompt text."""
    return ", ".join(name for name, spec in tools.items() if spec.gives == "waypoints")


async def call_tools(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Run the planned calls: they come to a box, to waypoints, or to answers for the model, and move nothing."""
    context = runtime.context
    try:
        return await _run_calls(state, context)
    except (AgentFault, ToolRetry, ValidationError) as error:
        if state["recalled"]:
            return await _stale(context, state.get("record_id"), error)
        if not isinstance(error, ToolRetry):
            raise
        context.transcript[-1].refused(str(error))
        if calls_left(context, "plan") == 0:
            raise
        return {"tool_error": str(error)}


def after_tools(state: GraphState) -> Literal["done", "repair", "answers", "stale"]:
    """Where to go on: there is help, the model shall correct its calls or is told answers, or a plan misfits."""
    if state.get("stale"):
        return "stale"
    if state.get("tool_error"):
        return "repair"
    return "done" if "guidance" in state else "answers"


async def validate(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Refuse what would leave the workspace or is not finite, wherever it comes from."""
    fault = _misfit(GUIDANCE.validate_python(state["guidance"]), runtime.context.scene.workspace)
    if fault is not None:
        raise fault
    return {}


async def remember(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Store a new answer; the supervisor marks later what came of it. A recalled one is in memory already."""
    context = runtime.context
    if state["recalled"] or context.memory is None or context.embedding is None:
        return {}
    record = await asyncio.to_thread(_record, state, context)
    if record is None:
        return {}
    try:
        return {"record_id": await asyncio.to_thread(context.memory.remember, record)}
    except AgpsError as error:
        log.warning("The answer is used, but not remembered: %s", error)
        return {}


async def give_up(state: GraphState, error: NodeError) -> Command[Any]:
    """End with no intervention and the reason, whatever failed: the policy goes on."""
    reason: Reason
    match error.error:
        case AgentFault() | ReplyError() | ToolError() as fault:
            reason, message = fault.reason, str(fault)
        case fault:
            reason, message = "internal_error", f"{error.node}: {type(fault).__name__}: {fault}"
            log.error("The agent failed in %s.", error.node, exc_info=fault)
    nothing = NoGuidance(reason=reason, message=message)
    return Command(goto=END, update={"guidance": nothing.model_dump(), "reason": message})


async def _recall(context: AgentContext, *, mode: Mode | None) -> tuple[MemoryRecord, ...]:
    """Return what worked in like scenes at this station; other questions and writes go on meanwhile."""
    if context.memory is None or context.embedding is None or not context.settings.recalls:
        return ()
    try:
        return await asyncio.to_thread(
            context.memory.recall,
            context.embedding,
            calibration_hash=calibration_hash(context.scene, context.frame.name),
            min_similarity=context.settings.recall_similarity,
            mode=mode,
        )
    except AgpsError as error:
        log.warning("Nothing is recalled: %s", error)
        return ()


async def _stale(context: AgentContext, record_id: str | None, why: Exception) -> GraphState:
    """Look afresh instead of using a record, and take away its standing: it would be recalled again each time."""
    if context.memory is not None and record_id is not None:
        log.warning("Record %s does not fit this scene, and is not recalled any more: %s", record_id, why)
        try:
            await asyncio.to_thread(context.memory.mark, record_id, success=False)
        except AgpsError as error:
            log.warning("Record %s keeps its standing: %s", record_id, error)
    return {"stale": True, "recalled": False, "record_id": None, "keypoints": []}


async def _run_calls(state: GraphState, context: AgentContext) -> GraphState:
    """Return what the planned calls come to; other questions go on meanwhile, however long somebody's tool takes.

    Raises:
        ToolRetry: If a tool refuses its arguments, or answers are asked for once too often.
        AgentFault: If a recalled plan asks for answers: there is nobody to tell them to.
        ValidationError: If the plan is none; one that was recalled may be of another version.
    """
    task, mode = context.words, state["mode"]
    calls = PlanAnswer.model_validate(state["plan"]).calls
    points = _with_halfway(state["keypoints"])
    result = await asyncio.to_thread(
        run_plan, calls, context.scene, points, tools=context.tools[mode], defaults=task.tool_defaults
    )
    if result.is_answer:
        return _answer_model(state, context, result.text)
    if result.box is not None:
        guidance = intervention_to_guidance(Prune(box=result.box))
    else:
        max_steps = context.settings.guide_max_steps or task.guide_steps
        guidance = intervention_to_guidance(Guide(waypoints=result.waypoints, max_steps=max_steps))
    return {
        "guidance": guidance,
        "tool_results": result.text,
        "tool_error": None,
        "targets": list(result.targets),
        "felt": result.felt,
    }


def _answer_model(state: GraphState, context: AgentContext, answers: str) -> GraphState:
    """Note what tools answered, so that the model plans again knowing it.

    Raises:
        ToolRetry: If they have answered as often as they may.
        AgentFault: If the plan was recalled.
    """
    if state["recalled"]:
        raise AgentFault("tool_not_allowed", "A recalled plan calls tools that only answer.")
    limit = context.settings.max_tool_answers
    if answer_rounds(context) >= limit:
        raise ToolRetry(
            f"Tools have answered {limit} times, which is the limit within a question; plan without calls that ask.",
            reason="answers_spent",
        )
    context.transcript[-1].answered(answers)
    return {"tool_answers": [*state.get("tool_answers", []), answers]}


def _misfit(guidance: PruneGuidance | GuideGuidance | NoGuidance, workspace: Box) -> AgentFault | None:
    """Return why guidance does not fit into a workspace; None if it does."""
    if isinstance(guidance, PruneGuidance):
        box = Box(lower=np.array(guidance.lower), upper=np.array(guidance.upper))
        if not (np.all(box.lower < box.upper) and workspace.contains(box.lower) and workspace.contains(box.upper)):
            return AgentFault(
                "box_misses_workspace", f"Box {guidance.lower} to {guidance.upper} m is not inside the workspace."
            )
    elif isinstance(guidance, GuideGuidance):
        positions = np.array([waypoint.T_base_tcp for waypoint in guidance.waypoints])[:, :3, 3]
        inside = np.all((positions >= workspace.lower) & (positions <= workspace.upper), axis=1)
        if not inside.all():
            index = int(np.argmin(inside))
            return AgentFault(
                "outside_workspace",
                f"Waypoint {index} at {np.round(positions[index], 3).tolist()} m is outside of the workspace.",
            )
    return None


def _record(state: GraphState, context: AgentContext) -> MemoryRecord | None:
    """Return what to remember of an answer; None for one that could not be known to fit when it is recalled."""
    assert context.embedding is not None
    guidance, points = GUIDANCE.validate_python(state["guidance"]), _with_halfway(state["keypoints"])
    targets = to_targets((points[label] for label in state["targets"]), context.scene)
    if targets is None:
        return None
    record = MemoryRecord(
        task=context.scene.task,
        mode=state["mode"],
        embedding=context.embedding,
        calibration_hash=calibration_hash(context.scene, context.frame.name),
        targets=targets,
        is_open=has_open_fingers(context.scene),
        p_tcp_tool=np.asarray(context.scene.p_tcp_tool),
        prompt_hash=context.prompt(PLAN_PROMPTS[state["mode"]]).sha,
        model=context.model_name,
        episode=state.get("trigger", USER_TRIGGER).get("episode", 0),
    )
    if isinstance(guidance, PruneGuidance):
        return replace(record, box=Box(lower=np.array(guidance.lower), upper=np.array(guidance.upper)))
    if not targets:  # it goes by where the arm was alone
        return None
    # What a plan with a single target succeeds at is there, however its last motion ends.
    felt = next(iter(targets)) if len(targets) == 1 else state["felt"]
    return replace(record, felt=felt, plan=json.dumps(state["plan"]))


def _situation(trigger: Trigger, scene: Scene) -> str:
    """Return what woke the agent and where the arm is, as prompt text."""
    parts = [f"{_why(trigger)}, at step {trigger['step']} of the attempt."]
    if "last_plan" in trigger:
        parts.append(f"Your last plan ended: {trigger['last_plan']}.")
    if "alone" in trigger:
        successes, attempts = trigger["alone"]
        parts.append(f"By itself the robot completed {successes} of its last {attempts} attempts.")
    return " ".join([*parts, describe_robot(scene)])


def _why(trigger: Trigger) -> str:
    """Return what woke the agent: the words for ours, and for another detector its own."""
    if trigger["kind"] == "float":
        return f"The failure detector's index {trigger['index']:.3f} exceeds its limit {trigger['threshold']:.3f}"
    if trigger["kind"] == "stall":
        return "The attempt makes no progress (stall)"
    if trigger["kind"] == DEMONSTRATION:
        return "You show how it is done"
    if trigger["kind"] == "user":
        return "A person asks for help"
    reason = f": {' '.join(trigger['reason'].split())}" if trigger.get("reason") else " sees a failure"
    return f"The failure detector {trigger['kind']}{reason}"


def _to_state(point: Point) -> KeypointState:
    return KeypointState(
        label=point.label,
        camera=point.camera,
        uv=[float(value) for value in point.uv],
        xyz=[float(value) for value in point.xyz],
        depth_spread_m=point.depth_spread_m,
    )


def _from_state(keypoints: list[KeypointState]) -> dict[str, Point]:
    return {
        keypoint["label"]: Point(
            label=keypoint["label"],
            camera=keypoint["camera"],
            uv=np.array(keypoint["uv"]),
            xyz=np.array(keypoint["xyz"]),
            depth_spread_m=keypoint["depth_spread_m"],
        )
        for keypoint in keypoints
    }


def _with_halfway(keypoints: list[KeypointState]) -> dict[str, Point]:
    """Return keypoints with those that pairs of them give."""
    points = _from_state(keypoints)
    return {**points, **halfway(points)}
