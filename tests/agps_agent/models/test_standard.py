"""LangChain's own tests of a chat model, on the embedded one."""

import base64
from typing import Any

import cv2
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage

from agps_agent.models.offline.embedded import EmbeddedVLM
from tests.agps_agent.scenes import camera, draw

pytest.importorskip("langchain_tests", reason="langchain-tests is not installed; pip install -e '.[dev]'")

from langchain_tests.integration_tests import ChatModelIntegrationTests  # noqa: E402
from langchain_tests.unit_tests import ChatModelUnitTests  # noqa: E402

UNDERSTANDS = "needs language understanding: the embedded model answers three kinds of questions, and fills in any form"
DOWNLOADS = "downloads an image from the internet; see test_image_of_our_own_is_read"


class TestEmbeddedUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return EmbeddedVLM


class TestEmbeddedIntegration(ChatModelIntegrationTests):
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_json_mode = True
    model_override_value = "another"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return EmbeddedVLM

    @pytest.mark.xfail(reason=UNDERSTANDS)
    def test_tool_calling(self, model: BaseChatModel) -> None:
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason=UNDERSTANDS)
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(reason=UNDERSTANDS)
    def test_bind_runnables_as_tools(self, model: BaseChatModel) -> None:
        super().test_bind_runnables_as_tools(model)

    @pytest.mark.xfail(reason=UNDERSTANDS)
    def test_unicode_tool_call_integration(self, model: BaseChatModel, **kwargs: Any) -> None:
        super().test_unicode_tool_call_integration(model, **kwargs)

    @pytest.mark.xfail(reason=DOWNLOADS)
    def test_image_inputs(self, model: BaseChatModel) -> None:
        pytest.fail(DOWNLOADS)

    @pytest.mark.xfail(reason=DOWNLOADS)
    def test_image_tool_message(self, model: BaseChatModel) -> None:
        pytest.fail(DOWNLOADS)


@pytest.mark.parametrize("style", ["image_url", "image", "image_v0"])
def test_image_of_our_own_is_read(style: str) -> None:
    ok, png = cv2.imencode(".png", draw(camera()).rgb)
    assert ok
    data = base64.b64encode(png.tobytes()).decode()
    block = {
        "image_url": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        "image": {"type": "image", "base64": data, "mime_type": "image/png"},
        "image_v0": {"type": "image", "source_type": "base64", "data": data, "mime_type": "image/png"},
    }[style]
    reply = EmbeddedVLM().invoke([HumanMessage(content=[{"type": "text", "text": "What is this?"}, block])])
    assert isinstance(reply, AIMessage) and reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] > 300  # the image was seen
