"""Models that speak like their family: they see what the embedded model sees, and say it in their own way.

The conversions are written out here once more, by hand: what a profile gets wrong, these do not get wrong with it.
"""

import json
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.tool import tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from agps_agent.models.offline.chat import read_question
from agps_agent.models.offline.embedded import EmbeddedVLM

Pixels = dict[str, tuple[float, float]]
Say = Callable[[Pixels, int, int], str]
"""Pixels by label, width and height of the image as it arrived, to the text of a reply."""


def qwen3(pixels: Pixels, width: int, height: int) -> str:
    points = [
        {"point_2d": [round(1000 * u / width), round(1000 * v / height)], "label": label}
        for label, (u, v) in pixels.items()
    ]
    return f"```json\n{json.dumps(points, indent=4)}\n```"


def qwen25(pixels: Pixels, width: int, height: int) -> str:
    assert (width, height) == (640, 480), "what the processor makes of another size was not worked out by hand"
    points = [
        {"point_2d": [round(u * 644 / 640), round(v * 476 / 480)], "label": label} for label, (u, v) in pixels.items()
    ]
    return f"Here are the points:\n```json\n{json.dumps(points)}\n```\nLet me know if you need more."


def internvl(pixels: Pixels, width: int, height: int) -> str:
    said = []
    for label, (u, v) in pixels.items():
        x, y = round(1000 * u / width), round(1000 * v / height)
        said.append(f"<ref>{label}</ref><box>[[{x - 10}, {y - 8}, {x + 10}, {y + 8}]]</box>")
    return "\n".join(said)


def gemini(pixels: Pixels, width: int, height: int) -> str:
    points = [
        {"point": [round(1000 * v / height), round(1000 * u / width)], "label": label}
        for label, (u, v) in pixels.items()
    ]
    return json.dumps(points)


def molmo(pixels: Pixels, width: int, height: int) -> str:
    tags = [
        f'<point x="{100 * u / width:.1f}" y="{100 * v / height:.1f}" alt="{label}">{label}</point>'
        for label, (u, v) in pixels.items()
    ]
    return " I see them: " + " ".join(tags)


def robopoint(pixels: Pixels, width: int, height: int) -> str:
    points = [
        {"label": label, "point": [round(u / width, 3), round(v / height, 3)]} for label, (u, v) in pixels.items()
    ]
    return f"<think>The port has two sides {{left, right}}.</think>{json.dumps({'points': points})}"


def pixel(pixels: Pixels, width: int, height: int) -> str:
    points = [{"label": label, "point_2d": [round(u), round(v)], "visible": True} for label, (u, v) in pixels.items()]
    return f"Sure! {json.dumps({'keypoints': points})} Those are the pixels in the {width}x{height} image [1]."


DIALECTS: dict[str, tuple[str, Say]] = {
    "qwen3-vl": ("Qwen/Qwen3-VL-235B-A22B-Instruct", qwen3),
    "qwen2.5-vl": ("Qwen/Qwen2.5-VL-7B-Instruct", qwen25),
    "internvl": ("OpenGVLab/InternVL3-38B", internvl),
    "gemini": ("gemini-robotics-er-1.5-preview", gemini),
    "molmo": ("allenai/Molmo-72B-0924", molmo),
    "robopoint": ("wentao-yuan/robopoint-v1-vicuna-v1.5-13b", robopoint),
    "gpt": ("gpt-5", pixel),
    "plain": ("my-own-finetune", pixel),
}
"""By profile: a name under which such a model is served, and how it speaks."""


class DialectModel(BaseChatModel):
    """The embedded model with another tongue; it keeps what it was asked."""

    say: Say
    asked: list[dict[str, Any]] = Field(default_factory=list)
    """Per call the prompt, the size of the image and the further fields of the request."""

    @property
    def _llm_type(self) -> str:
        return "dialect"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        question = read_question(messages)
        assert question.image is not None
        height, width = question.image.shape[:2]
        self.asked.append({"text": question.text, "size": (width, height), **kwargs})
        answer = json.loads(EmbeddedVLM().invoke(messages).text)
        if "keypoints" in answer:
            pixels = {
                k["label"]: (k["point_2d"][0] * width / 1000, k["point_2d"][1] * height / 1000)
                for k in answer["keypoints"]
            }
            text = self.say(pixels, width, height)
        else:
            text = f"```json\n{json.dumps(answer)}\n```"
        message = AIMessage(text)
        if tools := kwargs.get("tools"):
            name = tools[0]["function"]["name"]
            message = AIMessage("", tool_calls=[tool_call(name=name, args=answer, id="call_1")])
        return ChatResult(generations=[ChatGeneration(message=message)])
