"""The script is sourced in a real shell, and asked as a press of Tab asks it."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from agps_agent.cli.completion import script
from agps_agent.cli.main import COMMANDS, main
from rl.tasks.registry import TASKS

TAB = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_agps
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    file = tmp_path_factory.mktemp("completion") / "agps.bash"
    file.write_text(script("bash"))
    return file


def bash(command: str) -> str:
    return subprocess.run(["bash", "--norc", "-c", command], capture_output=True, text=True, check=True).stdout


def offered(words: list[str], file: Path) -> set[str]:
    """Return what Tab offers for the last word."""
    return set(bash(TAB.format(script=file, words=shlex.join(words))).split())


def test_bash_completes_agps_once_the_script_is_read(bash_script: Path) -> None:
    assert bash(f"source {bash_script}; complete -p agps") == "complete -o default -F _agps agps\n"


def test_every_command_is_offered(bash_script: Path) -> None:
    assert offered(["agps", ""], bash_script) == {*COMMANDS, "-h", "--help"}


@pytest.mark.parametrize("group", ["demos", "reward", "float", "memory", "prompts", "traces", "bench"])
def test_every_command_of_a_group_is_offered(group: str, bash_script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group, "--help"]) == 0
    listed = capsys.readouterr().out.partition("\ncommands:\n")[2].splitlines()
    names = {line.split()[0] for line in listed if line.startswith("  ")}
    assert offered(["agps", group, ""], bash_script) == {*names, "-h", "--help"}


@pytest.mark.parametrize(
    ("words", "among"),
    [
        (["agps", "tr"], {"train", "traces"}),
        (["agps", "train", "usb"], {"usb_insertion"}),
        (["agps", "train", ""], set(TASKS.names)),
        (["agps", "demos", "record", "kn"], {"knot_hanging"}),
        (["agps", "eval", "--agent-alone", "tow"], {"towel_folding"}),
        (["agps", "train", "usb_insertion", "--max"], {"--max-env-steps", "--max-minutes"}),
        (["agps", "train", "--method", "serl", "usb_insertion", "--no-stop"], {"--no-stop-when-solved"}),
        (["agps", "train", "usb_insertion", "--agent.wall"], {"--agent.wall-budget-s"}),
        (["agps", "train", "usb_insertion", "--algorithm-options.gam"], {"--algorithm-options.gamma"}),
        (["agps", "train", "usb_insertion", "--task-options.clear"], {"--task-options.clearance-mm"}),
        (["agps", "train", "usb_insertion", "--method", "hil"], {"hil-serl", "hil-conrft"}),
        (["agps", "train", "usb_insertion", "--image-size", ""], {"64", "128", "256"}),
        (["agps", "train", "usb_insertion", "--detectors", "float", ""], {"float", "stall"}),
        (["agps", "train", "usb_insertion", "--reward", ""], {"truth", "classifier", "keys"}),
        (["agps", "bench", "env", ""], set(TASKS.names)),
        (["agps", "calibrate", ""], {"board", "wrist_1"}),
        (["agps", "completion", ""], {"bash", "zsh"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_may_come_next_is_offered(words: list[str], among: set[str], bash_script: Path) -> None:
    assert among <= offered(words, bash_script)


def test_knob_of_another_task_is_not_offered(bash_script: Path) -> None:
    assert offered(["agps", "train", "towel_folding", "--task-options.clearance"], bash_script) == set()


def test_path_of_an_option_is_a_file(bash_script: Path, tmp_path: Path) -> None:
    (tmp_path / "my_run").mkdir()
    words = ["agps", "train", "usb_insertion", "--run-dir", f"{tmp_path}/my"]
    assert offered(words, bash_script) == {f"{tmp_path}/my_run"}


def test_where_nothing_fits_bash_is_left_to_offer_files(bash_script: Path) -> None:
    assert offered(["agps", "eval", "runs/"], bash_script) == set()


def test_zsh_can_read_its_script(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("there is no zsh here")
    (tmp_path / "_agps").write_text(script("zsh"))
    subprocess.run(["zsh", "-n", str(tmp_path / "_agps")], check=True)


def test_zsh_script_works_as_a_file_and_where_it_is_read() -> None:
    text = script("zsh")
    assert text.startswith("#compdef agps\n")
    assert text.endswith("elif (( $+functions[compdef] )); then\n  compdef _tyro_agps agps\nfi\n")


def test_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "ksh"]) == 2
    assert "Expected one of ('bash', 'zsh')" in capsys.readouterr().err
