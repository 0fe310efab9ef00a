"""A vision-language model that needs no download: it reads the prompt by its structure, the image by classical vision.

It is sent what any other model is sent, and answers in the same form. It sees pixels only: there is no way for anything
else to reach it.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agps_agent.models.offline.grounding import Grounding
from agps_agent.models.offline.hook import find_hook
from agps_agent.models.offline.knot import find_knot
from agps_agent.models.offline.planning import plan, read_facts
from agps_agent.models.offline.port import find_port
from agps_agent.models.offline.replying import Form, fill, in_chunks, put, read_form
from agps_agent.models.offline.towel import find_towel
from agps_agent.models.profiles import load_profile
from rl.types import ByteArray

NAME = "embedded"

_KEYPOINT = re.compile(r"^- (\w+): (.+)$", re.MULTILINE)
_FINDERS: dict[str, Callable[[ByteArray], Grounding | None]] = {
    "port": find_port,
    "hook": find_hook,
    "knot": find_knot,
    "corner": find_towel,
}
"""What it can ground: by the first word of a keypoint's label."""

EARLY_STEPS = 8
"""A rollout that drifts within so many steps has not come near anything yet: a box is enough."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What a chat was about."""

    text: str
    """Text of the last question and all before it."""
    image: ByteArray | None
    """The newest image. Shape (H, W, 3), uint8."""


class EmbeddedVLM(BaseChatModel):
    """Answers decide-mode, perceive and plan questions offline, in tens of milliseconds, always in the same way.

    Decide: waypoints, unless the failure detector fired in the first steps, when the arm wanders: then a box. Perceive:
    classical vision, see `grounding`. Plan: the shortest plan that the offered tools allow, see `planning`.
    """

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
        question, form = _read(messages), read_form(messages, kwargs)
        answer = _answer(question, form)
        message = put(answer, form, model=str(kwargs.get("model", NAME)))
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


def _answer(question: _Question, form: Form) -> dict[str, Any]:
    """Return the answer to a question of ours; else the smallest one of the form that is asked for."""
    answers: dict[str, Callable[[_Question], dict[str, Any]]] = {
        "DecideModeAnswer": _decide,
        "PerceiveAnswer": _perceive,
        "PlanAnswer": _plan,
    }
    name = form.name or _topic(question.text)
    if name in answers:
        return answers[name](question)
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


def _perceive(question: _Question) -> dict[str, Any]:
    labels = [match[1] for match in _KEYPOINT.finditer(_after(question.text, "Requested keypoints:"))]
    found: dict[str, Grounding | None] = {}
    keypoints = []
    for label in labels:
        thing = label.split("_")[0]
        if thing not in found:
            finder = _FINDERS.get(thing)
            found[thing] = None if finder is None or question.image is None else finder(question.image)
        grounding = found[thing]
        if grounding is None or question.image is None or label not in grounding.points:
            keypoints.append({"label": label, "point_2d": None, "visible": False})
            continue
        height, width = question.image.shape[:2]
        point = load_profile(NAME).from_pixel(grounding.points[label], width=width, height=height)
        confidence = grounding.confidence
        keypoints.append({"label": label, "point_2d": list(point), "visible": True, "confidence": confidence})
    return {"keypoints": keypoints}


def _plan(question: _Question) -> dict[str, Any]:
    return plan(read_facts(question.text))


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
    return _Question(text="\n\n".join(texts), image=image)


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
