"""docs/extend/tool.md and examples/extend_tool.py do what they say."""

import json
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from tests.agps_agent.scenes import scene
from tools.plan import MAX_TEXT
from tools.scene import save_scene
from tools.spec import TOOLS

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "extend" / "tool.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's reader stands, with the page's files."""
    tool, test = blocks("python")
    (tmp_path / "tap.py").write_text(tool)
    (tmp_path / "test_tap.py").write_text(test)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_tool_of_the_page_keeps_the_contract_as_its_test_says(folder: Path) -> None:
    runpy.run_path(str(folder / "test_tap.py"))["test_tap_keeps_the_contract"]()
    sys.modules.pop("tap")


def test_command_of_the_page_offers_the_tool(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_scene(scene(), folder / "scene")
    (command,) = re.findall(r"`agps (ask .*?)`", PAGE)
    assert main([*command.split(), "--scene", "scene", "--mode", "guide", "--out", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reason_key"] == "answered"
    assert "- tap: Touch a target lightly from above, and come back up." in (folder / "out" / "prompt.md").read_text()


def test_entry_point_of_the_page_is_in_the_group_that_is_read() -> None:
    (given,) = blocks("toml")
    assert tomllib.loads(given)["project"]["entry-points"] == {TOOLS.group: {"tap": "my_package.tap:TAP"}}


def test_limit_of_the_page_is_the_limit() -> None:
    assert f"longer than {MAX_TEXT} characters" in PAGE


def test_example_measures_the_room_and_ends_in_the_models_own_plan(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        runpy.run_path(str(REPOSITORY / "examples" / "extend_tool.py"), run_name="__main__")
    finally:
        TOOLS.unregister("room_below")
    answer, *rest = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"room_below: the highest thing below the tip is \d+ mm away\.", answer)
    assert [line.split(":")[0] for line in rest[:2]] == ["translate", "search"]


def test_room_below_is_down_to_the_housing_of_the_port() -> None:
    """The tip is drawn 130 mm above the table, 30 and 20 mm beside the port, over the housing, which is 34 mm high."""
    tool = runpy.run_path(str(REPOSITORY / "examples" / "extend_tool.py"))["ROOM_BELOW"]
    assert tool.function(tool.args(), scene(), {}) == "the highest thing below the tip is 96 mm away."
