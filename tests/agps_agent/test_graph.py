import json
from pathlib import Path

import pytest

import agps_agent.graph
from agps_agent import studio
from agps_agent.ask import ask
from agps_agent.graph import build_graph, picture
from prompts.loader import task_names
from rl.errors import ConfigError
from tests.agps_agent.scenes import scene
from tests.agps_agent.scripted import GUIDE, context, seen
from tools.scene import save_scene


def test_picture_in_the_readme_is_the_graph() -> None:
    assert picture() in (Path(agps_agent.graph.__file__).parents[1] / "README.md").read_text()


def test_picture_in_the_docstring_is_the_graph() -> None:
    """`python -m agps_agent.graph` writes it."""
    assert picture() in (agps_agent.graph.__doc__ or "")


def test_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="usb_insertion"):
        build_graph("tea_making")


async def test_state_is_plain_and_holds_no_image() -> None:
    answer = await ask(build_graph("usb_insertion"), context(seen(), GUIDE), mode="guide")
    assert len(json.dumps(answer.state)) < 50_000


def test_langgraph_json_lists_the_graph_of_every_task() -> None:
    listed = json.loads((Path(__file__).parents[2] / "langgraph.json").read_text())["graphs"]
    assert listed == {task: f"./agps_agent/studio.py:{task}" for task in task_names()}
    assert [getattr(studio, task)().name for task in listed] == list(listed)


async def test_graph_of_langgraph_json_runs_on_a_saved_scene(tmp_path: Path) -> None:
    save_scene(scene(), tmp_path)
    state = await studio.usb_insertion().ainvoke({"mode_request": "guide"}, context={"scene_folder": str(tmp_path)})
    assert state["guidance"]["kind"] == "guide"
