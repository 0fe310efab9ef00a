"""The nodes of the graph: one short function each. They return updates; frames and model come from the context."""

import json
import logging
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from langgraph.errors import NodeError
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import TypeAdapter

from agps_agent.conversation import calls_left, compose, converse, repaired
from agps_agent.models.parsing import ReplyError
from agps_agent.models.profiles import ModelProfile
from agps_agent.second_look import look_closer
from agps_agent.state import (
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
from prompts.loader import TaskPrompt
from rl.types import Box, Guide, Prune, RGBDFrame
from tools.agreement import disagreement_m
from tools.answers import DecideModeAnswer, Mode, PerceiveAnswer, PlanAnswer
from tools.describe import describe_bounds, describe_keypoints, describe_robot, describe_tools
from tools.errors import MemoryUnavailable, ToolError, ToolFailed, ToolRetry
from tools.memory import MemoryRecord
from tools.perception import Point, locate_keypoint
from tools.scene import Scene, calibration_hash
from tools.schemas import resolve_target, run_plan, tip_to_tcp

log = logging.getLogger(__name__)

GUIDANCE: TypeAdapter[PruneGuidance | GuideGuidance | NoGuidance] = TypeAdapter(Guidance)
ANOTHER_VIEW_HELPS: frozenset[Reason] = frozenset(
    {"not_visible", "no_depth", "implausible_keypoints", "cameras_disagree", "outside_workspace", "outside_image"}
)
"""Faults of one image: the gripper hides a keypoint from one camera, not from all."""
PLAN_PROMPTS: dict[Mode, str] = {"prune": "exploration_pruning", "guide": "action_guidance"}


async def decide_mode(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Choose between box and waypoints: as requested, as what worked in a like scene, or as the model says."""
    context = runtime.context
    requested = state.get("mode_request", "auto")
    if requested != "auto":
        return {"mode": requested, "reason": f"{requested} was requested."}
    record = _recall(context, mode=None)
    if record is not None:
        return {"mode": record.mode, "reason": f"{record.mode} worked in a like scene: {record.id}."}
    prompt, task = context.prompt("decide_mode"), context.words
    system, user = prompt.render(
        task_description=task.description,
        available_tools=describe_tools(task.tools["prune"] + task.tools["guide"]),
        allowed_primitive=", ".join(task.tools["guide"]),
        global_xyz_bounds=describe_bounds(context.scene),
        situation=_situation(state.get("trigger", USER_TRIGGER), context.scene),
    )
    messages = compose(system, user, context.pictures.of(context.frame.rgb, context.profile))
    answer = await converse(context, "decide_mode", messages, DecideModeAnswer, lambda answer: answer)
    return {"mode": answer.mode, "failure_mode": answer.failure_mode, "reason": answer.reason}


async def recall(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Reuse what worked in a like scene: the box as it was, the plan towards the best known target."""
    context = runtime.context
    record = _recall(context, mode=state["mode"])
    if record is None:
        return {"recalled": False, "record_id": None}
    hit: GraphState = {"recalled": True, "record_id": record.id, "reason": f"Recalled {record.id}."}
    if record.box is not None:
        return {**hit, "guidance": intervention_to_guidance(Prune(box=record.box))}
    if record.aim is None or not record.plan:
        return {"recalled": False, "record_id": None}
    return {**hit, "plan": json.loads(record.plan), "keypoints": [_recalled_keypoint(record)]}


def after_recall(state: GraphState) -> Literal["box", "plan", "miss"]:
    """Where to go on: a recalled box, a recalled plan, or nothing recalled."""
    if not state["recalled"]:
        return "miss"
    return "box" if "guidance" in state else "plan"


async def perceive(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Ask the model for the task's keypoints and measure them with depth; another view where one does not show them."""
    context = runtime.context
    found: list[dict[str, Point]] = []
    fault: AgentFault | ToolFailed | None = None
    for frame in _views(context):
        try:
            found.append(await _keypoints(context, frame))
        except (AgentFault, ToolFailed) as error:
            context.transcript[-1].refused(str(error))
            fault = fault or error
            if error.reason not in ANOTHER_VIEW_HELPS:
                break
        else:
            if _spread(found[-1]) <= context.settings.max_depth_spread_m:
                break
    if not found:
        assert fault is not None  # there is at least one view
        raise fault
    points = min(found, key=_spread)
    return {"keypoints": [_to_state(point) for point in points.values()]}


async def plan(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Ask the model for tool calls, given the labelled image; or for corrected ones when a tool refused them."""
    context = runtime.context
    if state.get("tool_error"):
        messages = repaired(context, state["tool_error"] or "")
    else:
        task, mode = context.words, state["mode"]
        points = _from_state(state["keypoints"])
        seen_by = context.scene.frames[next(iter(points.values())).camera]
        system, user = context.prompt(PLAN_PROMPTS[mode]).render(
            task_description=task.description,
            heuristics=task.heuristics[mode],
            available_tools=describe_tools(task.tools[mode]),
            allowed_primitive=", ".join(task.tools["guide"]),
            global_xyz_bounds=describe_bounds(context.scene),
            situation=_situation(state.get("trigger", USER_TRIGGER), context.scene),
            keypoints=describe_keypoints(points, task.keypoints),
        )
        messages = compose(system, user, context.pictures.labelled(seen_by.rgb, points, context.profile))
    repairs = calls_left(context, "plan") - 1
    answer = await converse(context, "plan", messages, PlanAnswer, lambda answer: answer, repairs=repairs)
    return {"plan": answer.model_dump(), "tool_error": None, "reason": answer.reason}


async def call_tools(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Run the planned calls: they come to a box or to waypoints, and move nothing."""
    context, mode = runtime.context, state["mode"]
    task = context.words
    points = _from_state(state["keypoints"])
    calls = PlanAnswer.model_validate(state["plan"]).calls
    try:
        result = run_plan(calls, context.scene, points, mode=mode, allowed=task.tools[mode])
    except ToolRetry as error:
        if state["recalled"]:
            return {"recalled": False, "record_id": None, "keypoints": []}
        context.transcript[-1].refused(str(error))
        if calls_left(context, "plan") == 0:
            raise
        return {"tool_error": str(error)}
    if result.box is not None:
        guidance = intervention_to_guidance(Prune(box=result.box))
    elif result.waypoints:
        max_steps = context.settings.guide_max_steps or task.guide_steps
        guidance = intervention_to_guidance(Guide(waypoints=result.waypoints, max_steps=max_steps))
    else:
        raise AgentFault("no_intervention", "The plan's tools gave neither a box nor waypoints.")
    return {"guidance": guidance, "tool_results": result.text, "tool_error": None}


def after_tools(state: GraphState) -> Literal["done", "repair", "stale"]:
    """Where to go on: the calls were run, the model shall correct them, or a recalled plan does not fit this scene."""
    if not state["keypoints"]:
        return "stale"
    return "repair" if state.get("tool_error") else "done"


async def validate(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Refuse what would leave the workspace or is not finite, wherever it comes from."""
    guidance = GUIDANCE.validate_python(state["guidance"])
    workspace = runtime.context.scene.workspace
    if isinstance(guidance, PruneGuidance):
        box = Box(lower=np.array(guidance.lower), upper=np.array(guidance.upper))
        if not (np.all(box.lower < box.upper) and workspace.contains(box.lower) and workspace.contains(box.upper)):
            raise AgentFault(
                "box_misses_workspace", f"Box {guidance.lower} to {guidance.upper} m is not inside the workspace."
            )
    elif isinstance(guidance, GuideGuidance):
        positions = np.array([waypoint.T_base_tcp for waypoint in guidance.waypoints])[:, :3, 3]
        inside = np.all((positions >= workspace.lower) & (positions <= workspace.upper), axis=1)
        if not inside.all():
            index = int(np.argmin(inside))
            raise AgentFault(
                "outside_workspace",
                f"Waypoint {index} at {np.round(positions[index], 3).tolist()} m is outside of the workspace.",
            )
    return {}


async def remember(state: GraphState, runtime: Runtime[AgentContext]) -> GraphState:
    """Store a new answer; the supervisor marks later what came of it. A recalled one is in memory already."""
    context = runtime.context
    if state["recalled"] or context.memory is None or context.embedding is None:
        return {}
    record = _record(state, context)
    if record is None:
        return {}
    try:
        return {"record_id": context.memory.remember(record)}
    except MemoryUnavailable as error:
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


def _recall(context: AgentContext, *, mode: Mode | None) -> MemoryRecord | None:
    """Return what worked in a like scene under this calibration, or None."""
    if context.memory is None or context.embedding is None:
        return None
    try:
        return context.memory.recall(
            context.embedding,
            calibration_hash=calibration_hash(context.scene, context.frame.name),
            min_similarity=context.settings.recall_similarity,
            mode=mode,
        )
    except MemoryUnavailable as error:
        log.warning("Nothing is recalled: %s", error)
        return None


def _record(state: GraphState, context: AgentContext) -> MemoryRecord | None:
    """Return what to remember of an answer; None for a plan that cannot be carried over to another start."""
    assert context.embedding is not None
    points = _from_state(state["keypoints"])
    guidance = GUIDANCE.validate_python(state["guidance"])
    record = MemoryRecord(
        task=context.scene.task,
        mode=state["mode"],
        embedding=context.embedding,
        calibration_hash=calibration_hash(context.scene, context.frame.name),
        p_tcp_tool=np.asarray(context.scene.p_tcp_tool),
        prompt_hash=context.prompt(PLAN_PROMPTS[state["mode"]]).sha,
        episode=state.get("trigger", USER_TRIGGER).get("episode", 0),
    )
    if isinstance(guidance, PruneGuidance):
        return replace(record, box=Box(lower=np.array(guidance.lower), upper=np.array(guidance.upper)))
    targets = [call["arguments"]["target"] for call in state["plan"]["calls"] if "target" in call["arguments"]]
    if not targets or any(target != targets[0] or not isinstance(target, str) for target in targets):
        return None  # towards several points, or none: one refined target would not correct them
    return replace(
        record,
        target=resolve_target(targets[0], points),
        target_label=targets[0],
        plan=json.dumps(state["plan"]),
    )


def _recalled_keypoint(record: MemoryRecord) -> KeypointState:
    assert record.aim is not None
    return KeypointState(label=record.target_label, camera="", uv=[], xyz=record.aim.tolist(), depth_spread_m=0.0)


def _situation(trigger: Trigger, scene: Scene) -> str:
    """Return what woke the agent and where the arm is, as prompt text."""
    why = {
        "float": f"The failure detector's index {trigger['index']:.3f} exceeds its limit {trigger['threshold']:.3f}",
        "stall": "The attempt makes no progress (stall)",
        "user": "A person asks for help",
    }[trigger["kind"]]
    parts = [f"{why}, at step {trigger['step']} of the attempt."]
    if "alone" in trigger:
        successes, attempts = trigger["alone"]
        parts.append(f"By itself the robot completed {successes} of its last {attempts} attempts.")
    return " ".join([*parts, describe_robot(scene)])


def _views(context: AgentContext) -> list[RGBDFrame]:
    """Return the images to look at: the default one, then those that look from elsewhere the most."""
    first = context.frame
    others = [frame for frame in context.scene.frames.values() if frame.name != first.name]
    others.sort(key=lambda frame: float(frame.T_base_cam[:3, 2] @ first.T_base_cam[:3, 2]))
    return [first, *others][: context.settings.max_views]


async def _keypoints(context: AgentContext, frame: RGBDFrame) -> dict[str, Point]:
    """Return the task's keypoints as the model finds them in an image, measured with depth and checked.

    Raises:
        AgentFault: If the model does not see what the task needs or gives no useful answer, or a keypoint cannot be
            where it says.
        ToolFailed: If there is no depth at one.
    """
    task = context.words
    pixels = await look(context, frame)
    if context.settings.second_look:
        pixels = await look_closer(look, context, frame, pixels)
    hidden = [label for label in task.keypoints if label not in pixels]
    if not pixels or not task.optional.issuperset(hidden):
        raise AgentFault("not_visible", f"The model does not see {', '.join(hidden)}.")
    points = {label: measure(context, frame, label, uv) for label, uv in pixels.items()}
    points = _reachable(points, task, context)
    _check_distances(points, task)
    _check_agreement(points, task, context)
    return points


def measure(context: AgentContext, frame: RGBDFrame, label: str, uv: tuple[float, float]) -> Point:
    """Return a keypoint of the task, seen at a pixel, as measured with depth.

    Raises:
        ToolFailed: If there is no depth.
    """
    behind_m = context.words.behind_m.get(label, 0.0)
    radius = context.settings.depth_radius_px
    return locate_keypoint(context.scene, frame.name, label, uv, radius=radius, behind_m=behind_m)


async def look(context: AgentContext, frame: RGBDFrame) -> dict[str, tuple[float, float]]:
    """Return the pixel, (u, v), of each of the task's keypoints that the model sees in an image.

    Raises:
        AgentFault: If it gives no useful answer.
    """
    prompt, task = context.prompt("perceive"), context.words
    height, width = frame.rgb.shape[:2]
    system, user = prompt.render(
        task_description=task.description,
        point_format=context.profile.instructions(width=width, height=height),
        image_size="{} pixels wide, {} high".format(*context.profile.model_size(width, height)),
        requested_keypoints=task.requested_keypoints,
    )
    messages = compose(system, user, context.pictures.of(frame.rgb, context.profile))

    def to_pixels(answer: PerceiveAnswer) -> dict[str, tuple[float, float]]:
        return _requested_pixels(answer, task, context.profile, frame)

    return await converse(context, "perceive", messages, PerceiveAnswer, to_pixels)


def _spread(points: dict[str, Point]) -> float:
    """Return how much depth varies around the worst keypoint, [m]."""
    return max(point.depth_spread_m for point in points.values())


def _requested_pixels(
    answer: PerceiveAnswer, task: TaskPrompt, profile: ModelProfile, frame: RGBDFrame
) -> dict[str, tuple[float, float]]:
    """Return the pixel of every visible keypoint of the task.

    Raises:
        ReplyError: If a label is missing: the model may correct it.
        OutsideImage: If a point is not in the image: the model may correct it.
    """
    found = {keypoint.label: keypoint for keypoint in answer.keypoints}
    missing = [label for label in task.keypoints if label not in found]
    if missing:
        raise ReplyError("wrong_schema", f"The reply lacks {', '.join(missing)}. Give every requested keypoint.")
    height, width = frame.rgb.shape[:2]
    pixels = {}
    for label in task.keypoints:
        point = found[label].point_2d
        if found[label].visible:
            assert point is not None  # the schema: what is visible has a point
            pixels[label] = profile.to_pixel(point, width=width, height=height)
    return pixels


def _reachable(points: dict[str, Point], task: TaskPrompt, context: AgentContext) -> dict[str, Point]:
    """Return the keypoints that the tool can go to; those that may be hidden may also be out of reach.

    Raises:
        AgentFault: If none is left, or the task needs one that is out of reach.
    """
    workspace, margin = context.scene.workspace, context.settings.workspace_margin_m
    shift = tip_to_tcp(context.scene)
    reachable = {}
    for label, point in points.items():
        outside = float(np.max(np.abs(point.xyz + shift - workspace.project(point.xyz + shift))))
        if outside <= margin:
            reachable[label] = point
        elif label not in task.optional or len(points) == 1:
            raise AgentFault(
                "outside_workspace",
                f"{label} at {np.round(point.xyz, 3).tolist()} m is {outside:.3f} m outside of what the tool can "
                f"reach; the limit is {margin:.3f} m.",
            )
    if not reachable:
        raise AgentFault("outside_workspace", f"The tool can reach none of {', '.join(points)}.")
    return reachable


def _check_distances(points: dict[str, Point], task: TaskPrompt) -> None:
    """Refuse keypoints that are not as far apart as they must be.

    Raises:
        AgentFault: With the first pair that is refused.
    """
    for distance in task.distances:
        if not points.keys() >= set(distance.between):
            continue
        first, second = (points[label] for label in distance.between)
        length = float(np.linalg.norm(first.xyz - second.xyz))
        if not distance.min_m <= length <= distance.max_m:
            raise AgentFault(
                "implausible_keypoints",
                f"{first.label} and {second.label} are {length:.3f} m apart; {distance.min_m:.3f} to "
                f"{distance.max_m:.3f} m is possible.",
            )


def _check_agreement(points: dict[str, Point], task: TaskPrompt, context: AgentContext) -> None:
    """Refuse keypoints that another camera sees past; one inside of something open, like a loop, is not asked about.

    Raises:
        AgentFault: With the first that is refused.
    """
    limit = context.settings.max_disagreement_m
    for label, point in points.items():
        past_m = 0.0 if label in task.behind_m else disagreement_m(context.scene, point)
        if past_m > limit:
            raise AgentFault(
                "cameras_disagree", f"Another camera sees {past_m:.3f} m past {label}; the limit is {limit:.3f} m."
            )


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
