"""One question to the agent: a scene in, an intervention or a counted reason out; saved so that it can be replayed."""

import asyncio
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from PIL import Image

from agps_agent.graph import Graph
from agps_agent.nodes import GUIDANCE, PLAN_PROMPTS
from agps_agent.pictures import Pictures
from agps_agent.state import (
    DEMONSTRATION,
    USER_TRIGGER,
    AgentContext,
    Exchange,
    GraphState,
    ModeRequest,
    NoGuidance,
    Reason,
    Trigger,
    guidance_to_intervention,
)
from agps_agent.tracing.client import tracers
from rl.errors import ConfigError
from rl.types import ByteArray, Cost, Intervention
from tools.scene import Scene, load_scene, save_scene

__all__ = ["USER_TRIGGER", "Answer", "ask", "describe_answer", "load_scene", "save_answer"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the agent answered, what it cost, and how it came about."""

    intervention: Intervention | None
    """None lets the policy act; the reason says why."""
    reason_key: Reason
    """`answered`, or why there is no intervention: a closed set, to be counted."""
    reason: str
    """One sentence for people."""
    cost: Cost
    state: GraphState
    """The graph's last state; keypoints, plan, guidance as plain values."""
    transcript: tuple[Exchange, ...]
    """Chat model calls in order; empty when memory answered."""
    annotated: ByteArray | None
    """The image with labelled keypoints that the model was shown. Shape (H, W, 3), uint8."""
    record_id: str | None
    """Memory record that the answer came from, or went to: `EpisodicMemory.mark` it when the episode has ended."""
    trace_id: UUID
    """Id of the question's LangSmith trace, if tracing is on: `report_outcome` when the episode has ended."""


async def ask(
    graph: Graph, context: AgentContext, *, mode: ModeRequest = "auto", trigger: Trigger = USER_TRIGGER
) -> Answer:
    """Return what the agent advises for a scene.

    Never raises for what the agent does wrong: silence, nonsense, a tool that fails or a model that raises each give
    no intervention and their reason.

    Args:
        graph: From `build_graph`.
        context: Scene, model, memory and limits.
        mode: `auto` lets memory or the model decide. Who shows how it is done always gives waypoints: in a box nothing
            else would act.
        trigger: What woke the agent.

    Raises:
        ConfigError: If the settings name a camera that the scene lacks.
    """
    camera = context.settings.camera
    if camera is not None and camera not in context.scene.frames:
        raise ConfigError(f"The scene has no camera {camera!r}; it has {', '.join(context.scene.frames)}.")
    run = replace(context, transcript=[], pictures=Pictures())  # two questions share nothing
    started, trace_id = time.monotonic(), uuid4()
    if trigger["kind"] == DEMONSTRATION:
        mode = "guide"
    state: GraphState = {"mode_request": mode, "trigger": trigger}
    try:
        async with asyncio.timeout(context.settings.wall_budget_s):
            result = await graph.ainvoke(state, config=_trace_config(run, mode, trigger, trace_id), context=run)
        state = cast(GraphState, result)
        guidance = GUIDANCE.validate_python(state["guidance"])
    except TimeoutError:
        message = f"The agent took longer than its wall budget of {context.settings.wall_budget_s:g} s."
        guidance = NoGuidance(reason="timeout", message=message)
    cost = Cost(
        model_calls=sum(exchange.attempts for exchange in run.transcript),
        latency_s=time.monotonic() - started,
        model_s=sum(exchange.latency_s for exchange in run.transcript),
        prompt_tokens=sum(exchange.prompt_tokens for exchange in run.transcript),
        completion_tokens=sum(exchange.completion_tokens for exchange in run.transcript),
        memory_hit=bool(state.get("recalled", False)),
    )
    intervention = guidance_to_intervention(guidance)
    return Answer(
        intervention=None if intervention is None else replace(intervention, cost=cost),
        reason_key=guidance.reason if isinstance(guidance, NoGuidance) else "answered",
        reason=guidance.message if isinstance(guidance, NoGuidance) else state.get("reason", ""),
        cost=cost,
        state=state,
        transcript=tuple(run.transcript),
        annotated=run.pictures.annotated,
        record_id=state.get("record_id"),
        trace_id=trace_id,
    )


def save_answer(folder: Path, answer: Answer, scene: Scene) -> None:
    """Write `prompt.md`, `reply.json`, `intervention.json`, `annotated.png` and `scene/` into a folder.

    Args:
        folder: Made if missing.
        answer: What the agent said.
        scene: What it was asked about; `load_scene(folder / "scene")` gives it back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prompt.md").write_text(_prompts_markdown(answer), encoding="utf-8", errors="replace")
    _write_json(folder / "reply.json", [_exchange_json(exchange) for exchange in answer.transcript])
    _write_json(folder / "intervention.json", describe_answer(answer))
    if answer.annotated is not None:
        Image.fromarray(answer.annotated).save(folder / "annotated.png")
    else:
        (folder / "annotated.png").unlink(missing_ok=True)  # of an earlier question in the same folder
    save_scene(scene, folder / "scene")


def describe_answer(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain values: intervention, reason, cost, and what was perceived and planned."""
    return {
        "kind": answer.state.get("guidance", {}).get("kind", "none"),
        "reason_key": answer.reason_key,
        "reason": answer.reason,
        "guidance": answer.state.get("guidance"),
        "mode": answer.state.get("mode"),
        "failure_mode": answer.state.get("failure_mode", ""),
        "trigger": answer.state.get("trigger"),
        # A recalled target was not seen in any image.
        "keypoints": [point for point in answer.state.get("keypoints", []) if point["camera"]],
        "plan": answer.state.get("plan"),
        "tool_answers": answer.state.get("tool_answers", []),
        "tool_results": answer.state.get("tool_results", ""),
        "record_id": answer.record_id,
        "passed_over": answer.state.get("passed_over", []),
        "cost": vars(answer.cost),
    }


def _trace_config(context: AgentContext, mode: ModeRequest, trigger: Trigger, trace_id: UUID) -> Any:
    """Return what a trace says of a question, if `LANGSMITH_TRACING` is on: task, prompts, model, run, trigger."""
    callbacks = tracers()
    if not callbacks:  # every node would carry it along for nobody: a millisecond and a half per question
        return {"run_name": "ask", "run_id": trace_id}
    names = ("decide_mode", "perceive", *PLAN_PROMPTS.values(), "repair", "tool_answers")
    prompts = {f"prompt/{prompt.tag}": prompt.sha for prompt in map(context.prompt, names)}
    task, model = context.scene.task, context.model_name
    metadata = {
        "task": task,
        "task_prompt_sha": context.words.sha,
        "model": model,
        "run": context.run,
        "profile": context.profile.name,
        "mode": mode,
        **{f"trigger_{key}": value for key, value in trigger.items()},
        **prompts,
    }
    tags = [task, model, trigger["kind"], *(name for name in prompts)]
    named = {"run_name": "ask", "run_id": trace_id, "tags": tags, "metadata": metadata}
    return {**named, "callbacks": callbacks}


def _prompts_markdown(answer: Answer) -> str:
    """Return the prompts and replies of an answer for people; images are named, not shown."""
    if not answer.transcript:
        return f"No model was asked. {answer.reason}\n"
    parts = []
    for number, exchange in enumerate(answer.transcript, start=1):
        parts.append(f"# {number}. {exchange.node} ({exchange.latency_s:.2f} s)")
        for message in exchange.messages:
            blocks = (b["text"] if b["type"] == "text" else f"[{b['type']}]" for b in message.content_blocks)
            parts.append(f"## {message.type}\n\n" + "\n\n".join(blocks))
        parts.append(f"## reply\n\n```json\n{exchange.reply}\n```")
        if exchange.error:
            parts.append(f"## refused\n\n{exchange.error}")
        if exchange.answers:
            parts.append(f"## tools answered\n\n{exchange.answers}")
    return "\n\n".join(parts) + "\n"


def _exchange_json(exchange: Exchange) -> dict[str, Any]:
    return {
        "node": exchange.node,
        "schema": exchange.schema_name,
        "reply": exchange.reply,
        "error": exchange.error,
        "answers": exchange.answers,
        "prompt_tokens": exchange.prompt_tokens,
        "completion_tokens": exchange.completion_tokens,
        "latency_s": round(exchange.latency_s, 4),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
