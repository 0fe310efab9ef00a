"""The hardware guide says what is so: its station file loads and fits, its commands exist with their options."""

import re
import shlex
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from agps_agent.doctor.placement import bounds, task_cameras
from rl.robots.station import load_station
from rl.tasks import get_task

GUIDE = (Path(__file__).parents[3] / "docs" / "hardware.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", re.sub(r"\\\n *", "", GUIDE), re.DOTALL)
COMMANDS = sorted(
    {line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("agps ")}
    | set(re.findall(r"`(agps [a-z][^`]*)`", GUIDE))
)


def test_example_of_a_station_loads_and_leaves_room_for_the_task(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "station.toml").write_text(example)
    station = load_station(tmp_path / "station.toml")
    task = get_task("usb_insertion", **station.task)
    assert "200 start poses are inside" in bounds(station, task)
    assert task_cameras(station, task)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_its_options(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(command)[1:]
    names = [word for word in words if not word.startswith("-")]
    with_subcommand = words[0] in ("demos", "reward") or names[:2] == ["calibrate", "board"]
    assert main([*words[: 2 if with_subcommand else 1], "--help-all"]) == 0
    help_page = capsys.readouterr().out
    missing = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b", help_page)]
    assert missing == []
