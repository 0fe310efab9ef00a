import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agps_agent.ask import ask
from agps_agent.graph import build_graph
from agps_agent.models.gate import CallGate
from agps_agent.models.limits import CallLimits
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.offline.flaws import Flaws
from agps_agent.models.openai_compat import OpenAICompatConfig, check_endpoint, open_chat_model
from agps_agent.models.profiles import find_profile
from agps_agent.models.server import ModelServer, serve_model
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from prompts.loader import load_task_prompt
from rl.errors import ConfigError
from rl.types import Guide
from tests.agps_agent.scenes import scene
from tests.agps_agent.scripted import ScriptedModel


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve_model(EmbeddedVLM()) as running:
        yield running
        running.shutdown()


async def test_served_model_answers_as_in_process(server: ModelServer) -> None:
    """The same messages, image and schema through a real client and a socket."""
    graph, at = build_graph("usb_insertion"), scene()
    client = open_chat_model(OpenAICompatConfig(url=server.url)).model
    remote = await ask(graph, AgentContext(scene=at, model=client, profile=find_profile("embedded")), mode="guide")
    local = await ask(
        graph, AgentContext(scene=at, model=EmbeddedVLM(), profile=find_profile("embedded")), mode="guide"
    )
    assert isinstance(remote.intervention, Guide)
    assert remote.state == local.state
    assert remote.cost.prompt_tokens == local.cost.prompt_tokens > 0


async def test_what_it_cannot_find_is_refused_in_its_own_words_through_a_socket_too(server: ModelServer) -> None:
    words = replace(load_task_prompt("usb_insertion"), keypoints={"button": "the red button"})
    client = open_chat_model(OpenAICompatConfig(url=server.url)).model
    for model in (client, EmbeddedVLM()):
        asking = AgentContext(scene=scene(), model=model, profile=find_profile("embedded"), task_prompt=words)
        answer = await ask(build_graph(words), asking, mode="guide")
        assert (answer.reason_key, len(answer.transcript)) == ("refused", 1)  # it is not asked once more
        assert "I know no keypoint `button`" in answer.reason


async def test_server_that_fails_is_a_counted_fault() -> None:
    with serve_model(ScriptedModel(script=[])) as broken:  # has nothing to say
        client = open_chat_model(OpenAICompatConfig(url=broken.url)).model
        settings = AgentSettings(retry_pause_s=0.0)
        asking = AgentContext(scene=scene(), model=client, profile=find_profile("embedded"), settings=settings)
        answer = await ask(build_graph("usb_insertion"), asking, mode="guide")
        broken.shutdown()
    assert (answer.intervention, answer.reason_key, answer.cost.model_calls) == (None, "server_error", 2)


def test_reply_that_is_late_holds_up_no_other() -> None:
    """Each reply waits until the other request has come in too: one after the other, they would never be given."""
    both, asked_for = threading.Barrier(2, timeout=600), []

    def pause(seconds: float) -> None:
        asked_for.append(seconds)
        both.wait()

    with serve_model(EmbeddedVLM(config=Flaws(latency_s=7.0), pause=pause)) as late, ThreadPoolExecutor(2) as users:
        client = open_chat_model(OpenAICompatConfig(url=late.url, timeout_s=600.0)).model
        replies = list(users.map(client.invoke, ["Where is it?", "And the other?"]))
        late.shutdown()
    assert all("error" in json.loads(reply.text) for reply in replies)  # what it says to free questions
    assert asked_for == [7.0, 7.0]


async def test_server_that_hangs_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        client = ChatOpenAI(model="qwen3-vl", base_url=url, api_key=SecretStr("EMPTY"), timeout=0.2, max_retries=0)
        settings = AgentSettings(call_timeout_s=50.0)
        asking = AgentContext(scene=scene(), model=client, profile=find_profile("qwen3-vl"), settings=settings)
        answer = await ask(build_graph("usb_insertion"), asking, mode="guide")
    assert (answer.intervention, answer.reason_key) == (None, "timeout")


def test_server_is_asked_again_from_another_event_loop(server: ModelServer) -> None:
    """As a notebook does: the loop of the first question is closed when the second one is asked."""
    gate, limits = CallGate(), CallLimits(retries=0)
    for _ in range(3):
        client = open_chat_model(OpenAICompatConfig(url=server.url)).model
        reply, _ = asyncio.run(gate.call(client, [HumanMessage("Where is it?")], limits=limits, options={}))
        assert reply.text


def test_endpoint_lists_its_models(server: ModelServer) -> None:
    assert check_endpoint(server.url) == ["embedded"]


def test_model_that_is_not_served_is_named(server: ModelServer) -> None:
    with pytest.raises(ConfigError, match="it serves embedded"):
        open_chat_model(OpenAICompatConfig(url=server.url, model="qwen3-vl"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/v1", "No model server answers at http://127.0.0.1:9/v1/models"),
        ("127.0.0.1:8000", "is no URL of a server"),
    ],
)
def test_url_that_does_not_answer_gives_one_line(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        check_endpoint(url, timeout_s=20.0)
    assert "\n" not in str(error.value)


def test_url_without_v1_says_so(server: ModelServer) -> None:
    with pytest.raises(ConfigError, match="should end in /v1"):
        check_endpoint(server.url.removesuffix("/v1"))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"not json", 400),
        ("/v1/chat/completions", b'{"model": "embedded"}', 400),
        ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "hi"}], "stream": true}', 400),
        ("/v1/embeddings", b"{}", 404),
    ],
)
def test_bad_request_is_refused_with_a_reason(server: ModelServer, path: str, body: bytes, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(server.url.removesuffix("/v1") + path, data=body, timeout=60)
    assert error.value.code == status
    assert json.load(error.value)["error"]["message"]
