import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.train import read_options
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config, save_config
from agps_agent.run.directory import RunDirectory
from rl.tasks import TASKS, get_task
from tests.outside import write_real, write_simulated, write_wordless


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two tasks in files of their own."""
    monkeypatch.chdir(tmp_path)
    write_simulated(tmp_path)
    write_real(tmp_path)
    write_wordless(tmp_path)
    return tmp_path


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says when it is refused; nothing is left behind."""
    before = {path for path in Path().rglob("*") if "__pycache__" not in path.parts}
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert {path for path in Path().rglob("*") if "__pycache__" not in path.parts} == before
    return err


def test_tasks_are_listed_with_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    listed = {task["name"]: task for task in json.loads(capsys.readouterr().out)["tasks"]}
    assert set(listed) == set(TASKS.names)
    assert listed["usb_insertion"]["origin"].startswith("agps ") and listed["usb_insertion"]["expert"]
    assert listed["towel_folding"]["policy_cameras"] == ["side"]


def test_task_of_a_file_can_be_looked_at(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "./slow.py:SlowUsb"]) == 0
    out = capsys.readouterr().out
    assert f"slow_usb  ({here}/slow.py:SlowUsb)" in out
    assert "simulated, no scripted expert, words for the agent" in out


def test_task_for_a_real_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "button.py:PressButton"]) == 0
    assert "for a real table, no scripted expert, no words for the agent" in capsys.readouterr().out


def test_registered_task_that_is_broken_is_listed_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    TASKS.register("not_a_task", int)  # type: ignore[arg-type]
    try:
        assert main(["tasks"]) == 0
    finally:
        TASKS.unregister("not_a_task")
    assert "not a class derived from rl.tasks.base.Task" in capsys.readouterr().out


def test_options_of_a_task_are_those_of_its_own_class(here: Path) -> None:
    config = read_options(["./slow.py:SlowUsb", "--task-options.patience-s", "3", "--task-options.horizon", "9"]).config
    assert config.task == f"{here}/slow.py:SlowUsb"
    assert config.task_options == {"patience_s": 3.0, "horizon": 9}
    assert config.default_run_dir() == Path("runs/slow_usb/agps-demos0-seed0")


@pytest.mark.parametrize("command", [["train"], ["eval", "--agent-alone"], ["emulate"], ["reward", "collect"]])
def test_help_shows_the_fields_of_the_task_that_is_named_and_no_others(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "knot_hanging", "--help-all"]) == 0
    page = capsys.readouterr().out
    assert "--task-options.hook-jitter-mm FLOAT" in page and "--task-options.cord.links INT" in page
    assert "port-jitter" not in page and "towel-jitter" not in page


def test_memory_of_a_run_whose_task_is_gone_can_be_looked_at(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_config(RunConfig(task="slow.py:SlowUsb"), RunDirectory.create(here / "run"))
    sys.modules.pop(type(get_task("slow.py:SlowUsb")).__module__)
    (here / "slow.py").unlink()
    assert main(["memory", "list", "run"]) == 0
    assert "0 records of slow_usb" in capsys.readouterr().out


def test_run_of_a_task_in_a_file_resumes_from_another_working_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["slow.py:SlowUsb", "--task-options.patience-s", "3", "--run-dir", f"{here}/run"]
    save_config(read_options(given).config, RunDirectory.create(here / "run"))
    monkeypatch.chdir("/")
    argv = ["--resume", "--run-dir", f"{here}/run", "--task-options.horizon", "7"]
    config = read_options(argv).config
    assert (config.task_name, config.task_options) == ("slow_usb", {"patience_s": 3.0, "horizon": 7})


def test_configuration_with_options_of_all_tasks_still_loads(here: Path) -> None:
    run = RunDirectory.create(here / "run")
    options = {"horizon": None, "clearance_mm": 0.4, "hook_jitter_mm": None, "wrist_camera": None}
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", "task_options": options}}))
    assert load_config(run).task_options == {"clearance_mm": 0.4}


def test_what_changes_about_the_task_reaches_the_task() -> None:
    config = RunConfig(task="slow.py:SlowUsb", task_options={"clearance_mm": 0.5, "patience_s": 1})
    assert config.task_overrides == pytest.approx({"clearance_m": 0.0005, "patience_s": 1.0})


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "slow.py:SlowUsb", "--task-options.patience-s", "10"], "--task-options.patience-s: Input should be"),
        (["train", "slow.py:SlowUsb", "--task-options.hook-jitter-mm", "1"], "slow_usb has no such option; it has"),
        (["train", "slow.py:SlowUsb", "--demos", "2"], "Task slow_usb has no scripted expert, which this needs"),
        (["train", "slow.py:SlowUsb", "--method", "hil-serl"], "Task slow_usb has no scripted expert"),
        (["demos", "record", "slow.py:SlowUsb"], "Task slow_usb has no scripted expert"),
        (["float", "fit", "slow.py:SlowUsb"], "Task slow_usb has no scripted expert"),
        (["reward", "collect", "slow.py:SlowUsb"], "Task slow_usb has no scripted expert"),
        (["train", "wordless.py:Wordless"], "The agent has no prompt for task wordless: write wordless.md beside"),
        (["train", "button.py:PressButton"], "Task press_button is for a real table and has no scene to simulate"),
        (["ask", "button.py:PressButton"], "The agent has no prompt for task press_button: write press_button.md"),
        (["demos", "record", "button.py:PressButton"], "Task press_button is for a real table"),
        (["emulate", "button.py:PressButton"], "Task press_button is for a real table"),
        (["bench", "env", "button.py:PressButton"], "Task press_button is for a real table"),
        (
            ["train", "--run-dir", "usb_insertion", "knitting"],
            "There is no task 'knitting'; did you mean knot_hanging?",
        ),
        (["train", "--algorithm", "slow.py:SlowUsb", "usb_insertion"], "slow.py:SlowUsb is no algorithm"),
        (["train", "slow.py:Fast"], "Cannot import the task 'slow.py:Fast' (AttributeError"),
        (["train", "nowhere.slow:SlowUsb"], "(ModuleNotFoundError: No module named 'nowhere')"),
        (["train", "slow.py:Le"], "not a class derived from rl.tasks.base.Task"),
        (["tasks", "knitting"], "There is no task 'knitting'; did you mean knot_hanging?"),
    ],
)
def test_what_a_task_cannot_do_is_refused_in_one_sentence_before_anything_starts(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(argv, capsys)


def test_task_without_an_expert_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "env", "slow.py:SlowUsb", "--steps", "3", "--image-size", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cameras"] == 2


def test_agent_is_asked_about_a_task_in_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its class derives from USB insertion and has no words of its own."""
    assert main(["ask", "slow.py:SlowUsb", "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (answer["task"], answer["kind"]) == ("slow_usb", "guide")
    assert answer["folder"] == "runs/ask/slow_usb-seed0-auto"
