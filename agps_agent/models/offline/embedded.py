"""A vision-language model that needs no download: it reads the prompt by its structure, the image by classical vision.

It is sent what any other model is sent, and answers in the same form. It sees pixels only: there is no way for anything
else to reach it.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agps_agent.models.offline.flaws import Flaws
from agps_agent.models.offline.grounding import GROUNDINGS, Grounding, finder_of
from agps_agent.models.offline.planning import NoPlan, plan, read_facts
from agps_agent.models.offline.replying import Form, fill, in_chunks, put, read_form
from agps_agent.models.profiles import load_profile
from prompts.loader import TaskPrompt
from rl.types import ByteArray

NAME = "embedded"

_KEYPOINT = re.compile(r"^- (\w+): (.+)$", re.MULTILINE)
EARLY_STEPS = 8
"""A rollout that drifts within so many steps has not come near anything yet: a box is enough."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What a chat was about."""

    text: str
    """Text of the last question and all before it."""
    image: ByteArray | None
    """The newest image. Shape (H, W, 3), uint8."""
    replies: int
    """How often the model has answered in this chat."""


INSTEAD = "Or use --vlm URL."
"""What to do about a question that it cannot answer."""


class Declined(Exception):
    """It cannot do what is asked; the message says why, in its own words."""


class EmbeddedVLM(BaseChatModel):
    """Answers decide-mode, perceive and plan questions offline, in tens of milliseconds, always in the same way.

    Decide: waypoints, unless the failure detector fired in the first steps, when the arm wanders: then a box. Perceive:
    classical vision by the finders that are installed, see `grounding`. Plan: the template of the task, see `planning`.
    A question about things that it does not know is refused, as hosted models refuse. `config` makes it point worse and
    answer later, see `flaws`.
    """

    profile_family: ClassVar[str] = NAME
    """It points in pixels of the image that it is sent, whatever its size (`agps_agent/models/families`)."""
    first_plans: tuple[dict[str, Any], ...] = ()
    """Plans, `PlanAnswer` as JSON, that each chat about a plan begins with, before the model makes its own: so a tool
    of one's own can be tried without a server."""
    tasks: tuple[TaskPrompt, ...] = ()
    """Words of tasks whose plans it knows beside those of the registered ones: of tasks in a file."""
    config_class: ClassVar[type[Flaws]] = Flaws
    config: Flaws = Flaws()
    """How it errs on purpose. Plans are computed from what was measured; they stay as they are."""
    pause: Callable[[float], object] = time.sleep
    """Holds a late reply back in the thread that asked, [s]."""

    @property
    def _llm_type(self) -> str:
        return NAME

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": NAME}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools, in the JSON of OpenAI-compatible servers."""
        offered = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=offered, tool_choice=tool_choice or "auto", **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="agps", ls_model_name=str(kwargs.get("model", NAME)), ls_model_type="chat")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.config.latency_s > 0:
            self.pause(self.config.latency_s)
        return self._reply(messages, kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Not in the thread of the reply: a question that is given up would hold it until the reply is due.
        await asyncio.sleep(self.config.latency_s)
        return await asyncio.to_thread(self._reply, messages, kwargs)

    def _reply(self, messages: list[BaseMessage], request: dict[str, Any]) -> ChatResult:
        question, form = _read(messages), read_form(messages, request)
        refusal = ""
        try:
            answer = _answer(question, form, self.first_plans, self.tasks, self.config)
        except Declined as declined:
            answer, refusal = _nothing(question, form), f"{declined} {INSTEAD}"
        message = put(answer, form, model=str(request.get("model", NAME)), refusal=refusal)
        message.usage_metadata = _usage(question, json.dumps(answer))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._generate(messages, stop, run_manager, **kwargs).generations[0].message
        assert isinstance(message, AIMessage)
        for chunk in in_chunks(message):
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=ChatGenerationChunk(message=chunk))
            yield ChatGenerationChunk(message=chunk)


def _answer(
    question: _Question, form: Form, first_plans: Sequence[dict[str, Any]], tasks: Sequence[TaskPrompt], flaws: Flaws
) -> dict[str, Any]:
    """Return the answer to a question of ours; else the smallest one of the form that is asked for.

    Raises:
        Declined: If it knows none of the things, or no plan.
    """
    answers: dict[str, Callable[[], dict[str, Any]]] = {
        "DecideModeAnswer": lambda: _decide(question),
        "PerceiveAnswer": lambda: _perceive(question, flaws),
        "PlanAnswer": lambda: _plan(question, first_plans, tasks),
    }
    name = form.name or _topic(question.text)
    if name in answers:
        return answers[name]()
    if form.schema or form.is_tool:
        return dict(fill(form.schema))
    return {"error": f"The embedded model answers {', '.join(answers)} only, not {name or 'free text'}."}


def _topic(text: str) -> str:
    """Return which of our questions the words of a chat ask; empty for none."""
    marks = {
        "\nRequested keypoints:": "PerceiveAnswer",
        "\nThe two interventions:": "DecideModeAnswer",
        "\nTools:\n": "PlanAnswer",
    }
    last = max(marks, key=text.rfind)
    return marks[last] if last in text else ""


def _decide(question: _Question) -> dict[str, Any]:
    step = re.search(r"at step (\d+)", question.text)
    drifted_early = "failure detector's index" in question.text and step is not None and int(step[1]) < EARLY_STEPS
    alone = re.search(r"completed (\d+) of its last (\d+) attempts", question.text)
    is_able = alone is None or 2 * int(alone[1]) > int(alone[2])
    if drifted_early and is_able:
        return {
            "mode": "prune",
            "failure_mode": "wandering from the start",
            "reason": "The attempt left the usual way at once; a box keeps it where the task happens.",
        }
    return {
        "mode": "guide",
        "failure_mode": "does not get to the goal by itself",
        "reason": "The attempt has had its time; waypoints show the way.",
    }


def _perceive(question: _Question, flaws: Flaws) -> dict[str, Any]:
    labels = _requested(question)
    if labels and not any(map(finder_of, labels)):
        raise Declined(
            f"I know no keypoint {', '.join(f'`{label}`' for label in labels)}, only those whose names begin with "
            f"{', '.join(sorted(GROUNDINGS.names))}; a package can bring a finder (entry point agps.groundings)."
        )
    if question.image is None:
        return {"keypoints": [_hidden(label) for label in labels]}
    found = _found(labels, question.image)
    points = {label: grounding.points[label] for label, grounding in found.items()}
    moved = flaws.moved(points, question.image, question.text)
    height, width = question.image.shape[:2]
    keypoints = []
    for label in labels:
        if label not in moved:
            keypoints.append(_hidden(label))
            continue
        point = load_profile(NAME).from_pixel(moved[label], width=width, height=height)
        confidence = found[label].confidence  # of a point that is wrong too: a model does not know
        keypoints.append({"label": label, "point_2d": list(point), "visible": True, "confidence": confidence})
    return {"keypoints": keypoints}


def _found(labels: Sequence[str], image: ByteArray) -> dict[str, Grounding]:
    """Return what was found with each of the keypoints that can be seen; one finder looks once for all of its own."""
    looked: dict[str, Grounding | None] = {}
    found = {}
    for label in labels:
        name = finder_of(label)
        if name is None:
            continue
        if name not in looked:
            looked[name] = GROUNDINGS.load(name)(image)
        grounding = looked[name]
        if grounding is not None and label in grounding.points:
            found[label] = grounding
    return found


def _requested(question: _Question) -> list[str]:
    return [match[1] for match in _KEYPOINT.finditer(_after(question.text, "Requested keypoints:"))]


def _hidden(label: str) -> dict[str, Any]:
    return {"label": label, "point_2d": None, "visible": False}


def _plan(question: _Question, first_plans: Sequence[dict[str, Any]], tasks: Sequence[TaskPrompt]) -> dict[str, Any]:
    if question.replies < len(first_plans):
        return first_plans[question.replies]
    try:
        return plan(read_facts(question.text), tasks)
    except NoPlan as error:
        raise Declined(str(error)) from error


def _nothing(question: _Question, form: Form) -> dict[str, Any]:
    """Return the answer of a question that is declined, in its form: nothing is seen, or nothing is to be done."""
    labels = _requested(question)
    return {"keypoints": [_hidden(label) for label in labels]} if labels else {"calls": [], "reason": ""}


def _after(text: str, mark: str) -> str:
    """Return the lines of the list that follows a mark for the last time, up to the first empty line."""
    return text.rpartition(mark)[2].strip("\n").partition("\n\n")[0]


def _read(messages: list[BaseMessage]) -> _Question:
    """Return text and newest image of a chat, whichever way the image is written."""
    texts, image = [], None
    for message in messages:
        for block in message.content_blocks:
            if block["type"] == "text":
                texts.append(block["text"])
            elif block["type"] == "image" and "base64" in block:
                image = _decode(block["base64"])
    replies = sum(isinstance(message, AIMessage) for message in messages)
    return _Question(text="\n\n".join(texts), image=image, replies=replies)


def _decode(data: str) -> ByteArray:
    """Return the image (H, W, 3), uint8, in base64 of a PNG or JPEG file."""
    encoded = np.frombuffer(base64.b64decode(data), dtype=np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"The image of {len(encoded)} bytes is neither PNG nor JPEG.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _usage(question: _Question, reply: str) -> UsageMetadata:
    """Return what the question would cost a model of the Qwen3-VL kind: 4 characters, or 32x32 pixels, per token."""
    prompt = len(question.text) // 4
    if question.image is not None:
        height, width = question.image.shape[:2]
        prompt += -(-width // 32) * -(-height // 32)
    completion = len(reply) // 4
    return UsageMetadata(input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion)
