"""A chat model of one's own, asked about a rendered scene: anything that answers, a person at the terminal too.

python examples/extend_model.py                              # asks it once and prints what it led to
agps ask usb_insertion --vlm ./examples/extend_model.py:Fixed  # the same from the command line
"""

import json
from typing import Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from agps_agent.run.build import build_asker
from agps_agent.run.config import RunConfig

ANSWERS = {
    "decide": {"mode": "prune", "failure_mode": "unknown", "reason": "A box is enough."},
    "plan": {
        "calls": [
            {
                "name": "exploration_bbox",
                "arguments": {"mode": "two_keypoint_union", "keypoints": ["port_left", "port_right"]},
            }
        ],
        "reason": "Stay above the port.",
    },
}


class Fixed(BaseChatModel):
    """Points to where the port always is in the simulated image, and asks for a box around it."""

    profile_family: ClassVar[str] = "plain"  # points are pixels of the image that is sent
    tasks: tuple[Any, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "fixed"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        asked = " ".join(message.text for message in messages)
        if "Requested keypoints:" in asked:
            points = {"port_left": [305.4, 357.1], "port_right": [333.6, 357.1]}
            seen = [{"label": label, "point_2d": uv, "visible": True} for label, uv in points.items()]
            answer: dict[str, Any] = {"keypoints": seen}
        else:
            answer = ANSWERS["plan" if "exploration_bbox" in asked else "decide"]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(json.dumps(answer)))])


def main() -> None:
    """Ask the model one question and print the answer, or why it was refused."""
    config = RunConfig(task="usb_insertion", vlm=f"{__file__}:Fixed")
    with build_asker(config) as asker:
        answer = asker.ask(asker.scene_at(7), mode="prune")
    print(f"{answer.reason_key or 'answered'}: {answer.reason}")
    print(f"intervention: {answer.intervention}")


if __name__ == "__main__":
    main()
