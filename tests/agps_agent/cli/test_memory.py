import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.run.build import build_memory
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import save_config
from agps_agent.run.directory import RunDirectory
from tests.tools.memory.test_episodic import EAST, NORTH, record
from tests.tools.memory.test_look import PORT, view
from tools.memory import EpisodicMemory, Target
from tools.memory.look import cut_patch

FIRST, SECOND = "usb_insertion-000000", "usb_insertion-000001"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that remembers two records, the first of which worked."""
    run = RunDirectory.create(tmp_path / "run")
    save_config(RunConfig(task="usb_insertion"), run)
    with EpisodicMemory(run.memory, 8, "usb_insertion") as memory:
        targets = {"port": Target(xyz=np.array([0.5, 0, 0.05]), patch=cut_patch(view(), PORT))}
        memory.mark(memory.remember(record(EAST, episode=3, targets=targets)), success=True)
        memory.remember(record(NORTH, mode="prune"))
    return run


@pytest.fixture
def owned(run: RunDirectory) -> Iterator[EpisodicMemory]:
    """The same, while the run goes on."""
    with EpisodicMemory(run.memory, 8, "usb_insertion") as memory:
        yield memory


def test_list_and_show_while_a_run_uses_it(
    run: RunDirectory, owned: EpisodicMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", "list", str(run.path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(r["id"], r["success"], r["mode"]) for r in listed["records"]] == [
        (FIRST, True, "guide"),
        (SECOND, None, "prune"),
    ]
    assert listed["records"][0]["targets_mm"] == {"port": [500.0, 0.0, 50.0]}
    assert main(["memory", "show", str(run.path), FIRST]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["episode"], shown["embedding"]) == (3, "8 numbers")
    assert shown["targets"]["port"] == {"xyz": [0.5, 0.0, 0.05], "refined": None, "patch": "30 x 30 px of side"}


@pytest.mark.parametrize("command", [["rebuild", "{}"], ["forget", "{}", FIRST]])
def test_change_while_a_run_uses_it_is_one_clear_sentence(
    command: list[str], run: RunDirectory, owned: EpisodicMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", *(part.format(run.path) for part in command)]) == 1
    err = capsys.readouterr().err
    assert "is in use by process" in err and err.count("\n") == 1
    assert len(owned) == 2


def test_forget_and_rebuild(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "forget", str(run.path), SECOND]) == 0
    assert main(["memory", "rebuild", str(run.path)]) == 0
    assert "The index of 1 record of usb_insertion was built again." in capsys.readouterr().out
    with EpisodicMemory(run.memory, 8, "usb_insertion") as memory:
        found = memory.recall(EAST, calibration_hash="cafe", min_similarity=0.9)
        assert [r.id for r in found] == [FIRST]


def test_memory_beyond_a_run_is_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig(task="usb_insertion", memory=str(tmp_path / "lab"))
    run = RunDirectory.create(tmp_path / "run")
    save_config(config, run)
    with build_memory(config, run, dim=8) as memory:
        memory.remember(record(np.ones(8)))
    for folder in (tmp_path / "lab", run.path):
        assert main(["memory", "list", str(folder)]) == 0
        assert "1 record of usb_insertion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["list", "{}/nothing"], "is neither a run directory nor a memory"),
        (["show", "{}", "nobody"], "holds no record 'nobody'; `agps memory list` names all"),
        (["rebuild", "{}/memory", "--task", "knot_hanging"], "remembers nothing of knot_hanging"),
    ],
)
def test_mistake_is_one_sentence(
    argv: list[str], words: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["memory", *(part.format(run.path) for part in argv)]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
