"""Every chat model, asked about the same scene, points at the same pixels and guides to the same place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from langchain_core.language_models import BaseChatModel

from agps_agent.ask import Answer, ask
from agps_agent.graph import Graph, build_graph
from agps_agent.models.offline.embedded import EmbeddedVLM
from agps_agent.models.openai_compat import OpenAICompatConfig, ServedModel, open_chat_model
from agps_agent.models.profiles import load_profile, profile_names
from agps_agent.models.recorded import RecordedModel
from agps_agent.models.server import serve_model
from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from rl.types import Guide, Prune
from tests.agps_agent.models.dialects import DIALECTS, DialectModel, Pixels, gemini
from tests.agps_agent.scenes import LEFT, PORT, RIGHT, project, scene
from tools.scene import Scene

TRUTH = {"port_left": LEFT, "port_right": RIGHT}
MODES = ("json_schema", "json_object", "tools", "text")
MODELS = ["embedded", "recorded", *(f"served-{mode}" for mode in MODES), *DIALECTS]


@contextmanager
def served(model: BaseChatModel, name: str, profile: str | None = None) -> Iterator[ServedModel]:
    """A real client of a model behind a socket."""
    with serve_model(model, name=name) as server:
        yield open_chat_model(OpenAICompatConfig(url=server.url, profile=profile))
        server.shutdown()


@contextmanager
def opened(name: str, folder: Path) -> Iterator[ServedModel]:
    """A chat model under test."""
    embedded = ServedModel(EmbeddedVLM(), "embedded", load_profile("embedded"))
    if name == "embedded":
        yield embedded
    elif name == "recorded":
        yield embedded._replace(model=RecordedModel(path=folder / "replies.jsonl", live=EmbeddedVLM()))
    elif name.startswith("served-"):
        file = folder / "mine.toml"
        file.write_text(
            f'name = "mine"\nframe = "rel1000_xy"\ndecimals = 3\nstructured_output = "{name.removeprefix("served-")}"\n'
        )
        with served(EmbeddedVLM(), "embedded", str(file)) as client:
            yield client
    else:
        served_name, say = DIALECTS[name]
        with served(DialectModel(say=say), served_name) as client:
            assert client.profile.name == name
            yield client


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build_graph("usb_insertion")


async def answer_of(graph: Graph, model: ServedModel, mode: str, at: Scene) -> Answer:
    settings = AgentSettings(max_views=1, max_repairs=0, retries=0)
    return await ask(
        graph, AgentContext(scene=at, model=model.model, profile=model.profile, settings=settings), mode=mode
    )


def test_every_profile_has_a_dialect() -> None:
    assert {*DIALECTS, "embedded", "reference"} == set(profile_names())  # those two speak for themselves


@pytest.mark.parametrize("name", MODELS)
async def test_same_scene_gives_the_same_keypoints(name: str, graph: Graph, tmp_path: Path) -> None:
    at = scene()
    with opened(name, tmp_path) as model:
        answer = await answer_of(graph, model, "guide", at)
        if name == "recorded":
            replayed = model._replace(model=RecordedModel(path=tmp_path / "replies.jsonl"))
            assert (await answer_of(graph, replayed, "guide", at)).state == answer.state
    assert answer.reason_key == "answered", answer.reason
    for keypoint in answer.state["keypoints"]:
        true_pixel = project(at.frames["side"], TRUTH[keypoint["label"]][np.newaxis])[0]
        np.testing.assert_allclose(keypoint["uv"], true_pixel, atol=1.0)
    assert isinstance(answer.intervention, Guide)
    goal = answer.intervention.waypoints[-1].T_base_tcp[:2, 3]
    np.testing.assert_allclose(goal, PORT[:2], atol=0.001)


@pytest.mark.parametrize("name", MODELS)
async def test_every_model_decides_and_confines(name: str, graph: Graph, tmp_path: Path) -> None:
    with opened(name, tmp_path) as model:
        decided = await answer_of(graph, model, "auto", scene())
        confined = await answer_of(graph, model, "prune", scene())
    assert (decided.reason_key, decided.state["mode"], decided.cost.model_calls) == ("answered", "guide", 3)
    assert isinstance(confined.intervention, Prune)
    assert confined.intervention.box.contains(PORT + scene().p_tcp_tool)


@pytest.mark.parametrize("name", DIALECTS)
async def test_each_family_is_asked_as_it_was_trained(name: str, graph: Graph) -> None:
    served_name, say = DIALECTS[name]
    model = DialectModel(say=say)
    with served(model, served_name) as client:
        await answer_of(graph, client, "guide", scene())
    perceive, profile = model.asked[0], load_profile(name)
    words = {
        "qwen3-vl": '"point_2d": [510, 810]',
        "qwen2.5-vl": "644 wide and 476 high",
        "internvl": "from 0 to 1000",
        "gemini": '"point": [810, 510]',
        "molmo": '<point x="51" y="81" alt=',
        "robopoint": "[0.51, 0.81]",
        "gpt": "640 wide and 480 high",
        "plain": "640 wide and 480 high",
    }
    assert words[name] in perceive["text"]
    assert ("response_format" in perceive) is (profile.structured_output == "json_schema")
    assert perceive.get("temperature") == profile.sampling.temperature


async def test_tools_that_must_be_called_carry_the_answer(graph: Graph, tmp_path: Path) -> None:
    model = DialectModel(say=gemini)
    (tmp_path / "mine.toml").write_text('name = "mine"\nframe = "rel1000_xy"\nstructured_output = "tools"\n')
    with served(model, "mine", str(tmp_path / "mine.toml")) as client:
        answer = await answer_of(graph, client, "guide", scene())
    assert answer.reason_key == "answered"
    assert model.asked[0]["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in model.asked[0]["tools"]] == ["PerceiveAnswer"]


def enlarged(at: Scene, factor: int) -> Scene:
    """The scene as a camera with more pixels sees it."""
    frame = at.frames["side"]
    rgb = cv2.resize(frame.rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    depth = cv2.resize(frame.depth_m, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    K = frame.K.copy()
    K[:2] *= factor
    K[:2, 2] += (factor - 1) / 2
    return replace(at, frames={"side": replace(frame, rgb=rgb, depth_m=depth, K=K)})


@pytest.mark.parametrize("name", ["gpt", "plain"])
async def test_photograph_is_sent_smaller_and_pointed_at_all_the_same(name: str, graph: Graph) -> None:
    at, (served_name, say) = enlarged(scene(), 4), DIALECTS[name]
    model = DialectModel(say=say)
    with served(model, served_name) as client:
        answer = await answer_of(graph, client, "guide", at)
    assert model.asked[0]["size"] == {"gpt": (1024, 768), "plain": (2048, 1536)}[name]
    for keypoint in answer.state["keypoints"]:
        true_pixel = project(at.frames["side"], TRUTH[keypoint["label"]][np.newaxis])[0]
        np.testing.assert_allclose(keypoint["uv"], true_pixel, atol=4.0)


async def test_family_read_with_the_wrong_profile_is_refused(graph: Graph) -> None:
    """Gemini's y first, read as x first, is another place: depth, workspace and distances notice."""
    with served(DialectModel(say=gemini), "gemini-2.5-pro", "qwen3-vl") as client:
        answer = await answer_of(graph, client, "guide", scene())
    assert answer.intervention is None
    assert answer.reason_key in ("implausible_keypoints", "outside_workspace", "no_depth")


def nowhere(pixels: Pixels, width: int, height: int) -> str:
    return "There are none."


async def test_model_that_points_at_nothing_is_a_counted_fault(graph: Graph) -> None:
    with served(DialectModel(say=nowhere), "allenai/Molmo-7B-D") as client:
        answer = await answer_of(graph, client, "guide", scene())
    assert (answer.intervention, answer.reason_key) == (None, "not_json")
