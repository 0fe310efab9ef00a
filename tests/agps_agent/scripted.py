"""A chat model that says what a test tells it to, and the replies that tests need."""

import asyncio
import json
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from agps_agent.models.profiles import load_profile
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from prompts.loader import TaskPrompt
from tests.agps_agent.scenes import LEFT, RIGHT, project, scene
from tools.scene import Scene


class ScriptedModel(BaseChatModel):
    """Gives its replies one after the other; an exception is raised, a number of seconds is waited."""

    script: list[Any]
    asked: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(messages)
        reply = self.script.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, float):
            await asyncio.sleep(reply)
            reply = "late"
        text = reply if isinstance(reply, str) else json.dumps(reply)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


def seen(left: Any = None, right: Any = None) -> dict[str, Any]:
    """A perceive answer in pixels: where the port is drawn, unless told otherwise."""
    true_left, true_right = project(scene().frames["side"], [LEFT, RIGHT]).tolist()
    return {
        "keypoints": [
            {"label": label, "point_2d": point, "visible": True}
            for label, point in (("port_left", left or true_left), ("port_right", right or true_right))
        ]
    }


HIDDEN = {"keypoints": [{"label": label, "point_2d": None, "visible": False} for label in ("port_left", "port_right")]}
GUIDE = {
    "calls": [
        {"name": "translate", "arguments": {"target": "port", "height_m": 0.006}},
        {"name": "search", "arguments": {"target": "port"}},
    ],
    "reason": "In it goes.",
}
PRUNE = {
    "calls": [
        {
            "name": "exploration_bbox",
            "arguments": {"mode": "two_keypoint_union", "keypoints": ["port_left", "port_right"]},
        }
    ],
    "reason": "Stay close.",
}


def context(*script: Any, at: Scene | None = None, words: TaskPrompt | None = None, **settings: Any) -> AgentContext:
    """A context whose model says the script, in pixels."""
    return AgentContext(
        scene=scene() if at is None else at,
        model=ScriptedModel(script=list(script)),
        profile=load_profile("plain"),
        settings=AgentSettings(**{"max_views": 1, "retries": 0, **settings}),
        task_prompt=words,
    )
