from dataclasses import replace
from pathlib import Path

import pytest

from agps_agent.settings import AgentSettings
from agps_agent.state import AgentContext
from agps_agent.toolbox import open_toolbox
from prompts.loader import load_task_prompt
from rl.errors import ConfigError
from tests.agps_agent.scripted import context
from tools.measure import MEASURE

USB = load_task_prompt("usb_insertion")


def test_tools_are_those_of_the_tasks_prompt_by_kind_of_help() -> None:
    toolbox = open_toolbox(USB)
    assert {mode: tuple(tools) for mode, tools in toolbox.items()} == USB.tools


def test_added_tool_is_offered_wherever_what_it_gives_is_of_use() -> None:
    toolbox = open_toolbox(USB, added=["measure", "release"])
    assert list(toolbox["prune"]) == ["exploration_bbox", "measure"]
    assert list(toolbox["guide"]) == [*USB.tools["guide"], "measure", "release"]


def test_tools_that_answer_are_left_out_where_nothing_may_be_answered() -> None:
    knot = load_task_prompt("knot_hanging")
    assert "measure" in open_toolbox(knot)["guide"]
    assert "measure" not in open_toolbox(knot, answering=False)["guide"]


def test_added_tool_that_would_not_be_offered_is_refused() -> None:
    with pytest.raises(ConfigError, match="adds measure, which only answers, but --agent.max-tool-answers is 0"):
        context(tools=("lift", "measure"), max_tool_answers=0)


def test_task_that_names_a_tool_under_the_wrong_kind_of_help_is_told_the_right_one() -> None:
    wrong = replace(USB, tools={"prune": ("lift",), "guide": ("search",)})
    with pytest.raises(
        ConfigError, match="names the tool lift under prune, but it gives waypoints; name it under guide"
    ):
        open_toolbox(wrong)


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        ("nope", "Unknown tool 'nope'; known: descend, exploration_bbox"),
        ("./nowhere.py:PEEK", "Cannot import the tool './nowhere.py:PEEK' .*there is no file"),
        ("tools.measure:measure", "is function, no ToolSpec"),
    ],
)
def test_tool_that_cannot_be_found_is_refused_before_anything_is_asked(added: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        context(tools=(added,))


def test_tool_of_a_taken_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from dataclasses import replace\nfrom tools.measure import MEASURE\n")
    file.write_text(file.read_text() + 'MINE = replace(MEASURE, name="search")\n')
    with pytest.raises(ConfigError, match="MINE is called search like another tool that is offered"):
        open_toolbox(USB, added=[f"{file}:MINE"])


def test_context_takes_the_tools_that_it_is_handed() -> None:
    asking = context()
    only = {"prune": {}, "guide": {"measure": MEASURE}}
    handed = AgentContext(scene=asking.scene, model=asking.model, profile=asking.profile, tools=only)
    assert replace(handed, settings=AgentSettings(max_repairs=0)).tools is only
