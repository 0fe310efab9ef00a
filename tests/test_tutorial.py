"""docs/extend/task.md, the tutorial "own task in an hour", as written: its files and its commands."""

import json
import re
import shlex
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from tests.outside import install

TEXT = (Path(__file__).parents[1] / "docs" / "extend" / "task.md").read_text(encoding="utf-8")
TUTORIAL = TEXT.partition("## Own task in an hour")[2].partition("\n## ")[0]
NAME = "ring_on_peg"
FILES = re.findall(r'^```\w+ title="(ring_on_peg/[^"]+)"\n(.*?)^```$', TUTORIAL, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]  # fmt: skip


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, written, edited as the tutorial says, and installed as pip would."""
    monkeypatch.chdir(tmp_path)
    assert main(["new-task", NAME]) == 0
    for place, content in FILES:
        assert Path(place).is_file(), f"{place} is edited but was never written"
        Path(place).write_text(content, encoding="utf-8")
    install(tmp_path / NAME, tmp_path / "site", monkeypatch)


def agps(command: str, *more: str) -> int:
    """The exit code of a command of the tutorial, with further options."""
    assert command in COMMANDS, f"the tutorial does not say `{command}`"
    return main([*shlex.split(command)[1:], *more])


def test_tutorial_edits_the_task_and_its_words() -> None:
    assert [place for place, _ in FILES] == ["ring_on_peg/agps_ring_on_peg/task.py", "ring_on_peg/agps_ring_on_peg/ring_on_peg.md"]  # fmt: skip  # noqa: E501
    assert "agps new-task ring_on_peg" in COMMANDS and "pip install -e ring_on_peg" in COMMANDS


MARK = "agps keypoints mark ring_on_peg --from-truth --out keypoints/ring_on_peg"
TRAIN = "agps train ring_on_peg --vlm reference --demos 0"
SMALL = ["--algorithm-options.batch-size", "16", "--algorithm-options.learning-starts", "20", "--eval-every", "0"]
SHORT = ["--max-env-steps", "60", "--pretrain-steps", "5", "--agent-demos", "1", "--eval-episodes", "1"]
SHORT += ["--threads", "1", "--json"]


def test_its_commands_run(edited: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert agps("agps tasks ring_on_peg") == 0
    assert agps(MARK, "--images", "2") == 0
    assert agps("agps keypoints list ring_on_peg") == 0
    capsys.readouterr()
    bench = "agps bench grounding ring_on_peg --vlm reference --scenes 20 --absent 10"
    assert agps(bench, "--scenes", "3", "--absent", "2", "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["median_px"] < 6.0 and numbers["median_mm"] < 8.0
    assert agps("agps ask ring_on_peg --vlm reference --mode guide", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "guide"
    assert agps(TRAIN, *SMALL, *SHORT) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] >= 60


@pytest.mark.slow
def test_its_policy_learns(edited: None, capsys: pytest.CaptureFixture[str]) -> None:
    """45 of 50 is the aim of the full budget; half of it and 20 episodes are enough to see that it learns."""
    assert agps(MARK) == 0
    capsys.readouterr()
    assert agps(TRAIN, "--max-env-steps", "2400", "--eval-episodes", "20", "--json") == 0
    assert json.loads(capsys.readouterr().out)["success_rate"] >= 0.8
