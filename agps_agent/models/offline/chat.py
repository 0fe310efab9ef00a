"""What the models that need no server share: they read a prompt by its structure and answer in the form it asks for.

Each is sent what any other model is sent. Which help is best and what to do are answered here, where the keypoints are
by each in its own way.
"""

import asyncio
import base64
import json
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agps_agent.models.offline.planning import NoPlan, plan, read_facts
from agps_agent.models.offline.replying import Form, fill, in_chunks, put, read_form
from prompts.loader import TaskPrompt
from rl.types import ByteArray, RGBDFrame
from tools.scene import DEPTH_UNIT_M

_KEYPOINT = re.compile(r"^- (\w+): (.+)$", re.MULTILINE)
_CAMERA = re.compile(r"^Its camera: (\{.*\})$", re.MULTILINE)
EARLY_STEPS = 8
"""A rollout that drifts within so many steps has not come near anything yet: a box is enough."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a chat was about."""

    text: str
    """Text of the last question and all before it."""
    image: ByteArray | None
    """The newest image. Shape (H, W, 3), uint8."""
    frame: RGBDFrame | None = None
    """The newest image with depth and camera, where the model was sent them."""
    replies: int
    """How often the model has answered in this chat."""


INSTEAD = "Or use --vlm URL."
"""What to do about a question that it cannot answer."""


class Declined(Exception):
    """It cannot do what is asked; the message says why, in its own words."""


class OfflineVLM(BaseChatModel):
    """Answers decide-mode, perceive and plan questions in this process, always in the same way.

    Decide: waypoints, unless the failure detector fired in the first steps, when the arm wanders: then a box. Plan: the
    template of the task, see `planning`. A question about things that it does not know is refused, as hosted models
    refuse.
    """

    name_of_model: ClassVar[str]
    """How it is called."""
    first_plans: tuple[dict[str, Any], ...] = ()
    """Plans, `PlanAnswer` as JSON, that each chat about a plan begins with, before the model makes its own: so a tool
    of one's own can be tried without a server."""
    tasks: tuple[TaskPrompt, ...] = ()
    """Words of tasks whose plans it knows beside those of the registered ones: of tasks in a file."""
    pause: Callable[[float], object] = time.sleep
    """Holds a late reply back in the thread that asked, [s]."""

    @property
    def delay_s(self) -> float:
        """Time that each reply is late, [s]."""
        return 0.0

    @abstractmethod
    def perceive(self, question: Question) -> dict[str, Any]:
        """Return where the requested keypoints are, `PerceiveAnswer` as JSON.

        Raises:
            Declined: If it knows none of them.
        """

    @property
    def _llm_type(self) -> str:
        return self.name_of_model

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.name_of_model}

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
        return LangSmithParams(
            ls_provider="agps", ls_model_name=str(kwargs.get("model", self.name_of_model)), ls_model_type="chat"
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.delay_s > 0:
            self.pause(self.delay_s)
        return self._reply(messages, kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Not in the thread of the reply: a question that is given up would hold it until the reply is due.
        await asyncio.sleep(self.delay_s)
        return await asyncio.to_thread(self._reply, messages, kwargs)

    def _reply(self, messages: list[BaseMessage], request: dict[str, Any]) -> ChatResult:
        question, form = read_question(messages), read_form(messages, request)
        refusal = ""
        try:
            answer = self._answer(question, form)
        except Declined as declined:
            answer, refusal = _nothing(question, form), f"{declined} {INSTEAD}"
        message = put(answer, form, model=str(request.get("model", self.name_of_model)), refusal=refusal)
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

    def _answer(self, question: Question, form: Form) -> dict[str, Any]:
        """Return the answer to a question of ours; else the smallest one of the form that is asked for.

        Raises:
            Declined: If it knows none of the things, or no plan.
        """
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "DecideModeAnswer": lambda: _decide(question),
            "PerceiveAnswer": lambda: self.perceive(question),
            "PlanAnswer": lambda: self._plan(question),
        }
        name = form.name or _topic(question.text)
        if name in answers:
            return answers[name]()
        if form.schema or form.is_tool:
            return dict(fill(form.schema))
        who = self.name_of_model
        return {"error": f"The {who} model answers {', '.join(answers)} only, not {name or 'free text'}."}

    def _plan(self, question: Question) -> dict[str, Any]:
        if question.replies < len(self.first_plans):
            return self.first_plans[question.replies]
        try:
            return plan(read_facts(question.text), self.tasks)
        except NoPlan as error:
            raise Declined(str(error)) from error


def _topic(text: str) -> str:
    """Return which of our questions the words of a chat ask; empty for none."""
    marks = {
        "\nRequested keypoints:": "PerceiveAnswer",
        "\nThe two interventions:": "DecideModeAnswer",
        "\nTools:\n": "PlanAnswer",
    }
    last = max(marks, key=text.rfind)
    return marks[last] if last in text else ""


def _decide(question: Question) -> dict[str, Any]:
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


def requested(question: Question) -> list[str]:
    """Return the labels of the keypoints that a question asks for."""
    return [match[1] for match in _KEYPOINT.finditer(_after(question.text, "Requested keypoints:"))]


def hidden(label: str) -> dict[str, Any]:
    """Return the answer about a keypoint that is not seen."""
    return {"label": label, "point_2d": None, "visible": False}


def _nothing(question: Question, form: Form) -> dict[str, Any]:
    """Return the answer of a question that is declined, in its form: nothing is seen, or nothing is to be done."""
    labels = requested(question)
    return {"keypoints": [hidden(label) for label in labels]} if labels else {"calls": [], "reason": ""}


def _after(text: str, mark: str) -> str:
    """Return the lines of the list that follows a mark for the last time, up to the first empty line."""
    return text.rpartition(mark)[2].strip("\n").partition("\n\n")[0]


def read_question(messages: list[BaseMessage]) -> Question:
    """Return text and newest image of a chat, whichever way the image is written, and its depth if there is some."""
    texts, image, depth_m = [], None, None
    for message in messages:
        for block in message.content_blocks:
            if block["type"] == "text":
                texts.append(block["text"])
            elif block["type"] == "image" and "base64" in block:
                decoded = _decode(block["base64"])
                if decoded.dtype == np.uint16:
                    depth_m = (decoded * DEPTH_UNIT_M).astype(np.float32)
                else:
                    image, depth_m = decoded, None
    replies = sum(isinstance(message, AIMessage) for message in messages)
    text = "\n\n".join(texts)
    return Question(text=text, image=image, frame=_frame(text, image, depth_m), replies=replies)


def _frame(text: str, image: ByteArray | None, depth_m: npt.NDArray[np.float32] | None) -> RGBDFrame | None:
    """Return an image with its depth and the camera that its question describes; None where one of them is missing."""
    described = next(reversed(list(_CAMERA.finditer(text))), None)
    if image is None or depth_m is None or described is None or depth_m.shape != image.shape[:2]:
        return None
    camera = json.loads(described[1])
    K, T_base_cam = np.array(camera["K"], dtype=np.float64), np.array(camera["T_base_cam"], dtype=np.float64)
    return RGBDFrame(name=str(camera["name"]), rgb=image, depth_m=depth_m, K=K, T_base_cam=T_base_cam)


def _decode(data: str) -> npt.NDArray[Any]:
    """Return the image (H, W, 3), uint8, in base64 of a PNG or JPEG file; of one of 16 bits its values (H, W)."""
    encoded = np.frombuffer(base64.b64decode(data), dtype=np.uint8)
    found = cv2.imdecode(encoded, cv2.IMREAD_ANYDEPTH) if encoded[:4].tobytes() == b"\x89PNG" else None
    if found is not None and found.dtype == np.uint16 and found.ndim == 2:
        return np.asarray(found)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"The image of {len(encoded)} bytes is neither PNG nor JPEG.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _usage(question: Question, reply: str) -> UsageMetadata:
    """Return what the question would cost a model of the Qwen3-VL kind: 4 characters, or 32x32 pixels, per token."""
    prompt = len(question.text) // 4
    if question.image is not None:
        height, width = question.image.shape[:2]
        prompt += -(-width // 32) * -(-height // 32)
    completion = len(reply) // 4
    return UsageMetadata(input_tokens=prompt, output_tokens=completion, total_tokens=prompt + completion)
