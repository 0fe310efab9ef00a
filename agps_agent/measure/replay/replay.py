"""Recorded questions, asked again with another prompt or model, and compared: is the change better?

A question is a folder that `save_answer` wrote: what the agent saw, how it was woken, and in simulation what was true.
"""

import asyncio
import contextlib
import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from PIL import Image

from agps_agent.ask import Answer, ask
from agps_agent.graph import Graph, build_graph
from agps_agent.measure.swaps import pairs_of, swapped
from agps_agent.run.build import build_chat_model
from agps_agent.settings import AgentSettings
from agps_agent.state import USER_TRIGGER, AgentContext, KeypointState, ModeRequest, Trigger
from agps_agent.tracing.truth import load_truth
from prompts.loader import TaskPrompt, load_prompt, load_task_prompt
from rl.errors import ConfigError
from rl.files import read_json_object
from rl.types import FloatArray, Prune
from tools.perception import project
from tools.scene import Scene, load_scene


@dataclass(frozen=True, kw_only=True)
class Query:
    """One recorded question."""

    id: str
    scene: Scene
    mode: ModeRequest
    """The kind of help that was given, or `auto`."""
    trigger: Trigger
    truth: Mapping[str, FloatArray]
    """Named points that the simulator knew, base frame, (3,), [m]; empty for a real robot."""
    folder: Path | None = None
    """Where it is kept."""

    @property
    def picture(self) -> Image.Image:
        """What the agent was shown: with the labels of its answer then, where it found something."""
        annotated = None if self.folder is None else self.folder / "annotated.png"
        if annotated is not None and annotated.is_file():
            with contextlib.suppress(OSError), Image.open(annotated) as image:  # a damaged file: as the camera saw it
                return image.convert("RGB")
        return Image.fromarray(next(iter(self.scene.frames.values())).rgb)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What to ask with."""

    name: str
    """How it is called in the comparison, e.g. `action_guidance@v2`."""
    graph: Graph
    context: Callable[[Scene], AgentContext]
    """Model, profile and settings around a scene."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Prompts that are asked with in another version than the newest."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good one answer was."""

    query: str
    answered: bool
    reason: str
    """`answered`, or why there was no intervention."""
    keypoint_px: float | None
    """Mean distance of the keypoints from the true ones in the image, [px]; None where nothing can be compared. Swapped
    ones count for nothing here, nor in the next field."""
    keypoint_mm: float | None
    """The same in the base frame, [mm]."""
    compared: int
    """Keypoints of the answer that the simulator knows too."""
    swapped: int
    """Those of them that were given each other's place: `port_left` where the right end is, and the other way round."""
    box_has_goal: bool | None
    """The box contains the TCP where the tool is at the middle of the true keypoints; None for other answers."""
    pruned: float | None
    """Share of the workspace's volume that the box cuts off; None for other answers."""
    plans: int
    """Plans that the model made."""
    valid_plans: int
    """Plans whose tool calls all could be run."""
    model_calls: int
    latency_s: float
    tokens: int


def load_queries(folder: Path) -> list[Query]:
    """Return the recorded questions of a run directory, or of a folder of questions, oldest first.

    Raises:
        ConfigError: If there is none, or a file is damaged.
    """
    root = folder / "interventions" if (folder / "interventions").is_dir() else folder
    found = sorted(path.parent.parent for path in root.glob("*/scene/scene.json"))
    if not found:
        raise ConfigError(f"There are no recorded questions in {folder}; name a run directory of `agps train`.")
    return [_load_query(path) for path in found]


def recorded_task(folder: Path, queries: Sequence[Query]) -> TaskPrompt:
    """Return what the agent is told about the task of recorded questions: as their run found it, else by its name.

    Raises:
        ConfigError: If they are of several tasks, or nobody knows the task here.
    """
    names = {query.scene.task for query in queries}
    if len(names) > 1:
        raise ConfigError(f"{folder} holds questions of {', '.join(sorted(names))}; name one run.")
    return load_task_prompt(_run_config(folder).get("task") or names.pop())


def recorded_tools(folder: Path) -> tuple[str, ...]:
    """Return the tools that the run of recorded questions offered beside those of its task."""
    return tuple(_run_config(folder).get("agent", {}).get("tools", ()))


def _run_config(folder: Path) -> dict[str, Any]:
    saved = folder / "config.json"
    config = read_json_object(saved).get("config", {}) if saved.is_file() else {}
    return config if isinstance(config, dict) else {}


def replay(queries: Sequence[Query], variant: Variant, progress: Callable[[int], None] | None = None) -> list[Score]:
    """Ask every question again and score the answers.

    Args:
        queries: What to ask.
        variant: Prompt and model to ask with.
        progress: Called with the number of questions done.
    """

    async def run() -> list[Score]:
        scores = []
        for number, query in enumerate(queries, start=1):
            answer = await ask(variant.graph, variant.context(query.scene), mode=query.mode, trigger=query.trigger)
            scores.append(score(query, answer))
            if progress is not None:
                progress(number)
        return scores

    return asyncio.run(run())


def score(query: Query, answer: Answer) -> Score:
    """Return how good an answer is, as far as the recorded truth tells."""
    compared = _compared(query, answer)
    exchanged = _exchanged(query, compared)
    px, mm = _keypoint_errors(query, [point for point in compared if point["label"] not in exchanged])
    box = answer.intervention.box if isinstance(answer.intervention, Prune) else None
    goal = _goal(query, answer)
    plans = [exchange for exchange in answer.transcript if exchange.node == "plan"]
    return Score(
        query=query.id,
        answered=answer.intervention is not None,
        reason=answer.reason_key,
        keypoint_px=px,
        keypoint_mm=mm,
        compared=len(compared),
        swapped=len(exchanged),
        box_has_goal=None if box is None or goal is None else box.contains(goal),
        pruned=None if box is None else 1.0 - box.volume / query.scene.workspace.volume,
        plans=len(plans),
        valid_plans=sum(not exchange.error for exchange in plans),
        model_calls=answer.cost.model_calls,
        latency_s=answer.cost.latency_s,
        tokens=answer.cost.prompt_tokens + answer.cost.completion_tokens,
    )


def summarise(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the averages of one variant: shares in [0, 1], medians of errors and times; None where nothing counts."""
    plans, compared = sum(s.plans for s in scores), sum(s.compared for s in scores)
    return {
        "queries": len(scores),
        "answered": _mean([float(s.answered) for s in scores]),
        "keypoint_px": _median([s.keypoint_px for s in scores]),
        "keypoint_mm": _median([s.keypoint_mm for s in scores]),
        "swapped": sum(s.swapped for s in scores) / compared if compared else None,
        "box_has_goal": _mean([None if s.box_has_goal is None else float(s.box_has_goal) for s in scores]),
        "pruned": _mean([s.pruned for s in scores]),
        "valid_plans": sum(s.valid_plans for s in scores) / plans if plans else None,
        "model_calls": _mean([float(s.model_calls) for s in scores]),
        "latency_s": _median([s.latency_s for s in scores]),
        "tokens": _mean([float(s.tokens) for s in scores]),
        "declined": dict(Counter(s.reason for s in scores if not s.answered)),
    }


def _load_query(folder: Path) -> Query:
    try:
        saved = json.loads((folder / "intervention.json").read_text(encoding="utf-8"))
        return Query(
            id=folder.name,
            scene=load_scene(folder / "scene"),
            mode=_mode(saved.get("mode") or "auto"),
            trigger=_trigger(saved.get("trigger") or USER_TRIGGER),
            truth=load_truth(folder),
            folder=folder,
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"The question in {folder} is damaged ({error}); remove that folder.") from error


def _mode(saved: Any) -> ModeRequest:
    if saved not in get_args(ModeRequest):
        raise ValueError(f"mode is {saved!r}")
    mode: ModeRequest = saved
    return mode


def _trigger(saved: Any) -> Trigger:
    """Return what woke the agent, as far as pages tell of it."""
    if not isinstance(saved, dict):
        raise ValueError(f"trigger is {saved!r}")
    for name in ("index", "threshold"):
        if not isinstance(saved.get(name, 0.0), int | float):
            raise ValueError(f"trigger.{name} is {saved[name]!r}")
    return cast(Trigger, saved)


def _compared(query: Query, answer: Answer) -> list[KeypointState]:
    """Return the keypoints of an answer that the simulator knows too."""
    return [point for point in answer.state.get("keypoints", []) if point["camera"] and point["label"] in query.truth]


def _exchanged(query: Query, points: Sequence[KeypointState]) -> set[str]:
    """Return the labels of keypoints that were given each other's place in an image."""
    exchanged: set[str] = set()
    for name, frame in query.scene.frames.items():
        found = {point["label"]: (point["uv"][0], point["uv"][1]) for point in points if point["camera"] == name}
        exchanged |= swapped(frame, found, query.truth, pairs_of(found))
    return exchanged


def _keypoint_errors(query: Query, points: Sequence[KeypointState]) -> tuple[float | None, float | None]:
    """Return the mean errors of keypoints, [px] and [mm]."""
    px, mm = [], []
    for point in points:
        true = query.truth[point["label"]]
        seen, _ = project(query.scene.frames[point["camera"]], true)
        px.append(float(np.linalg.norm(seen - point["uv"])))
        mm.append(1000.0 * float(np.linalg.norm(true - point["xyz"])))
    return _mean(px), _mean(mm)


def _goal(query: Query, answer: Answer) -> FloatArray | None:
    """Return the TCP's position where the tool is at the middle of the true keypoints of the answer. Shape (3,)."""
    labels = [point["label"] for point in answer.state.get("keypoints", []) if point["label"] in query.truth]
    if not labels:
        return None
    middle = np.mean([query.truth[label] for label in labels], axis=0)
    return np.asarray(middle - query.scene.T_base_tcp[:3, :3] @ query.scene.p_tcp_tool)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def build_variant(
    name: str, *, task: str | TaskPrompt, vlm: str, vlm_model: str | None, settings: AgentSettings
) -> Variant:
    """Return a prompt and model to ask recorded questions with.

    Args:
        name: How it is called in the comparison.
        task: Name or reference of the task, or what the agent is told about it.
        vlm: `embedded`, or the base URL of an OpenAI-compatible server.
        vlm_model: Model name at that server.
        settings: Limits of a question, the versions of prompts, and tools that are added.

    Raises:
        ConfigError: If a prompt has no such version, a tool cannot be found, or the URL does not answer.
    """
    for prompt, version in settings.prompt_versions.items():
        load_prompt(prompt, version)
    words = task if isinstance(task, TaskPrompt) else load_task_prompt(task)
    tools = settings.toolbox(words)
    chat = build_chat_model(vlm, name=vlm_model, settings=settings, tasks=(words,))

    def context(scene: Scene) -> AgentContext:
        return AgentContext(
            scene=scene,
            model=chat.model,
            profile=chat.profile,
            model_name=chat.name,
            settings=settings,
            task_prompt=words,
            tools=tools,
        )

    return Variant(name=name, graph=build_graph(words), context=context, versions=settings.prompt_versions)
