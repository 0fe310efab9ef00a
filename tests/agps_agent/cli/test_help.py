"""Help, lists and mistakes are answered at once: by what is loaded, as no test may depend on how fast a machine is."""

import json
import subprocess
import sys

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.train import read_options

HEAVY = ("torch", "stable_baselines3", "langgraph", "langchain_core", "chromadb", "mujoco", "ot", "matplotlib", "rerun")
AT_ONCE = (
    ["--help"],
    ["--version"],
    ["tasks"],
    ["train", "--help"],
    ["train", "--help-all"],
    ["train", "usb_insertion", "--method", "conrft", "--help-all"],
    ["train", "usb_insertion", "--sed", "3"],
    ["train", "usb_insertion", "--seed", "-1"],
    ["train", "usb_insertion", "--drq.gamma", "2"],
    ["train", "usb_insertion", "--method", "ppo"],
    ["train", "usb"],
    ["ask", "--help"],
    ["demos", "record", "--help"],
    ["demos", "show", "--help"],
    ["emulate", "--help"],
    ["eval", "--help"],
    ["eval", "nowhere"],
    ["eval", "--agent-alone", "--help"],
    ["float", "fit", "--help"],
    ["memory", "list", "--help"],
    ["prompts", "replay", "--help"],
    ["report", "--help"],
    ["report", "nowhere"],
    ["reward", "fit", "--help"],
    ["reproduce", "--help"],
    ["reproduce"],
    ["traces", "serve", "--help"],
    ["completion", "bash"],
    ["view", "--help"],
    ["doctor", "--help"],
    ["serve-model", "--help"],
)
LOADED_AFTER_EACH = """
import contextlib, io, json, sys
from agps_agent.cli.main import main
commands, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for argv in commands:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(argv)
    loaded = [name for name in heavy if name in sys.modules]
    if loaded:
        sys.exit(f"agps {' '.join(argv)} loads {', '.join(loaded)}")
"""


def page_of(argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(argv) == 0
    return capsys.readouterr().out


def test_help_and_mistakes_load_neither_torch_nor_graph_nor_simulator() -> None:
    command = [sys.executable, "-c", LOADED_AFTER_EACH, json.dumps(AT_ONCE), json.dumps(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("argv", [["train"], ["ask"], ["eval", "--agent-alone"]], ids=" ".join)
def test_short_help_fits_a_screen_and_names_the_whole_one(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = page_of([*argv, "--help"], capsys, monkeypatch).splitlines()
    assert len(lines) <= 60
    assert lines[-1].endswith(f"agps {' '.join(argv)} --help-all")


def test_short_help_of_train_has_what_most_people_want(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of(["train", "--help"], capsys, monkeypatch)
    wanted = "method vlm demos agent-demos max-env-steps max-minutes seed run-dir robot station env resume threads"
    assert [name for name in [*wanted.split(), "no-stop-when-solved"] if f"--{name}" not in page] == []
    assert "--checkpoint-every" not in page and "--agent." not in page


def test_whole_help_of_train_has_the_rest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(["train", "usb_insertion", "--help-all"], capsys, monkeypatch)
    rest = ("--checkpoint-every", "--agent.wall-budget-s", "--algorithm-options.gamma", "--task-options.clearance-mm")
    assert [option for option in rest if option not in page] == []


def test_short_help_shows_the_defaults_of_the_task_and_method(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = " ".join(page_of(["train", "towel_folding", "--method", "serl", "-h"], capsys, monkeypatch).split())
    default = read_options(["towel_folding", "--method", "serl"]).config.max_env_steps
    assert "(default: serl)" in page
    assert f"(default: {default})" in page


def test_option_that_the_short_help_leaves_out_works() -> None:
    assert read_options(["usb_insertion", "--checkpoint-every", "7"]).config.checkpoint_every == 7
