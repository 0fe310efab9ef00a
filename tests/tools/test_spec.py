from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rl.errors import ConfigError
from tools.builtin import LIFT
from tools.measure import MEASURE
from tools.spec import TOOLS, Args, ToolSpec, load_tools


class PeekArgs(Args):
    """Peek."""


PEEK = ToolSpec(name="peek", args=PeekArgs, function=lambda *_: "Nothing there.", gives="text")


@pytest.fixture
def peek() -> Iterator[ToolSpec]:
    TOOLS.register("peek", PEEK)
    yield PEEK
    TOOLS.unregister("peek")


def test_tools_of_ours_are_entry_points_in_the_order_of_their_names(peek: ToolSpec):
    assert [*load_tools(["measure", "peek", "lift"]).items()] == [("measure", MEASURE), ("peek", peek), ("lift", LIFT)]


def test_tool_in_a_file_needs_no_registration(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text("from tests.tools.test_spec import PEEK as PEEK_ABOUT\n")
    assert load_tools([f"{file}:PEEK_ABOUT"])["peek"].args is PeekArgs


def test_unknown_tool_lists_the_known_ones():
    with pytest.raises(ConfigError, match="Unknown tool 'fly'; known: descend, exploration_bbox"):
        load_tools(["fly"])


def test_what_is_no_tool_is_refused():
    with pytest.raises(ConfigError, match="tools.measure:measure is function, no ToolSpec"):
        load_tools(["tools.measure:measure"])


def test_tool_that_is_registered_under_another_name_is_refused():
    TOOLS.register("look", PEEK)
    try:
        with pytest.raises(ConfigError, match="The tool look calls itself peek; register it as peek"):
            load_tools(["look"])
    finally:
        TOOLS.unregister("look")


def test_two_tools_of_one_name_are_refused_and_one_named_twice_is_one(peek: ToolSpec, tmp_path: Path):
    file = tmp_path / "other.py"
    file.write_text("from dataclasses import replace\nfrom tools.measure import MEASURE\n")
    file.write_text(file.read_text() + 'OTHER = replace(MEASURE, name="peek")\n')
    with pytest.raises(ConfigError, match="is called peek like another tool that is offered"):
        load_tools(["peek", f"{file}:OTHER"])
    assert list(load_tools(["peek", "peek"])) == ["peek"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "peek about"}, "called 'peek about'; use letters"),
        ({"args": dict}, "arguments of the tool peek are <class 'dict'>; derive them from Args"),
        ({"gives": "advice"}, "gives 'advice'; choose one of box, waypoints, text"),
        ({"blend_m": -0.1}, "blend_m -0.1; give 0 or more"),
    ],
)
def test_tool_that_contradicts_itself_is_refused(changes: dict, complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        replace(PEEK, **changes)


def test_box_is_for_pruning_waypoints_for_guiding_and_answers_for_both():
    assert load_tools(["exploration_bbox"])["exploration_bbox"].modes == {"prune"}
    assert LIFT.modes == {"guide"}
    assert MEASURE.modes == {"prune", "guide"}
