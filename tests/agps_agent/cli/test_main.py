import ctypes.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agps_agent.cli.main import COMMANDS, main
from agps_agent.cli.options import complaint_line, one_line
from tests.agps_agent.report.synthetic import make_run


def stderr_of(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("agps: ") and err.count("\n") == 1, err
    return err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"  {name} " in page for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"agps {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_line_of_help_that_names_a_subcommand_names_all(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    _, _, listed = capsys.readouterr().out.partition("\ncommands:\n")
    named = [line.split()[0] for line in listed.splitlines() if line.startswith("  ")]
    missing = [word for word in named if word not in COMMANDS[name][1]]
    assert missing in ([], named)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "did you mean `agps train`?"),
        (["train"], "Missing from agps train: TASK"),
        (["train", "knitting"], "There is no task 'knitting'; did you mean knot_hanging?"),
        (["train", "usb_insert"], "did you mean usb_insertion?"),
        (["train", "usb_insertion", "--seed", "x"], "--seed is 'x'; give a whole number."),
        (["train", "usb_insertion", "--seed", "-1"], "--seed: Input should be greater than or equal to 0, got -1"),
        (["train", "usb_insertion", "--method", "ppo"], "There is no method 'ppo'; use agps, serl"),
        (["train", "usb_insertion", "--methd", "serl"], "Did you mean --method?"),
        (["train", "usb_insertion", "--vlm", "gpt"], "There is no model 'gpt'; use embedded"),
        (["train", "usb_insertion", "--drq.gamma", "2"], "gamma is 2.0"),
        (["train", "usb_insertion", "--resume"], "name it with --run-dir"),
        (["eval", "nowhere"], "There is no run directory nowhere"),
        (["eval", "no where"], "`agps train TASK --run-dir 'no where'` makes one"),
        (["report", "nowhere"], "There is no run directory nowhere"),
        (["report"], "needs a run directory"),
        (["view", "nowhere"], "There is no run directory nowhere"),
        (["ask", "knitting"], "There is no task 'knitting'"),
        (["ask", "usb_insertion", "--vlm", "gpt"], "There is no model 'gpt'; use embedded"),
        (["ask", "usb_insertion", "--robot", "franka", "--seed", "5"], "--seed 5 is of a simulated episode"),
        (["bench", "bread"], "has no command 'bread'; use one of env, float, agent,"),
        (["demos", "record", "knitting"], "There is no task 'knitting'"),
        (["demos", "list", "nowhere"], "There are no demonstrations in nowhere"),
        (["prompts", "show", "knitting"], "There is no prompt 'knitting'"),
        (["reproduce", "fig4b", "--jobs", "0"], "--jobs is 0"),
        (
            ["train", "towel_folding", "--method", "conrft", "--demos", "0"],
            "--demos: conrft learns from demonstrations",
        ),
        (["train", "usb_insertion", "--max-minutes", "inf"], "--max-minutes: Input should be a finite number, got inf"),
        (
            ["train", "usb_insertion", "--seed", "4294967296"],
            "--seed: Input should be less than or equal to 4294967295",
        ),
        (["train", "usb_insertion", "--threads", "99999"], "--threads: Input should be less than or equal to 1024"),
        (["train", "usb_insertion", "--drq.learning-rate", "-1"], "learning_rate is -1.0; ask for more than 0."),
        (["train", "usb_insertion", "--drq.learning-rate", "nan"], "learning_rate is nan; give a finite number"),
        (["train", "usb_insertion", "--stall.horizon-fraction", "inf"], "horizon_fraction is inf; give a finite"),
        (["train", "usb_insertion", "--guidance.contact-n", "0"], "contact_n is 0.0; ask for more than 0."),
        (
            ["train", "usb_insertion", "--supervisor.patience-s", "nan"],
            "--supervisor.patience-s: Input should be a finite",
        ),
        (
            ["train", "usb_insertion", "--task-options.clearance-mm", "nan"],
            "--task-options.clearance-mm: Input should be greater",
        ),
        (["eval", "nowhere", "--threads", "99999"], "--threads is 99999; ask for at most 1024."),
        (["eval", "nowhere", "--seed", "-1"], "--seed is -1; ask for at least 0."),
        (
            ["eval", "--agent-alone", "usb_insertion", "--horizon-factor", "inf"],
            "--horizon-factor is inf; give",
        ),
        (["demos", "record", "usb_insertion", "--seed", "4294967296"], "--seed is 4294967296"),
        (["ask", "usb_insertion", "--seed", "4294967296"], "--seed is 4294967296"),
        (["float", "fit", "usb_insertion", "--seed", "-1"], "--seed is -1"),
        (["float", "fit", "usb_insertion", "--float.warmup-steps", "-1"], "warmup_steps is -1; ask for at least 0."),
        (["reward", "collect", "usb_insertion", "--speed", "nan"], "--speed is nan; give a finite number."),
        (["reward", "fit", "usb_insertion", "--learning-rate", "inf"], "learning_rate is inf; give a finite number"),
        (["calibrate", "wrist_1", "--hover-mm", "nan"], "--hover-mm is nan; give a finite number."),
        (["emulate", "usb_insertion", "--port", "99999"], "--port is 99999; ask for at most 65535."),
        (["bench", "realtime", "--seconds", "inf"], "--seconds is inf; give a finite number."),
        (["bench", "env", "--image-size", "100000"], "--image-size is 100000; ask for at most 1024."),
        (["reproduce", "fig4b", "--seeds", "-1"], "--seeds is -1"),
        (["reproduce", "fig4b", "--budget-hours", "0"], "--budget-hours is 0.0; ask for more than 0."),
        (["serve-model", "--fault-seed", "-1"], "--fault-seed is -1"),
        (["serve-model", "--point-error-px", "-1"], "--point-error-px is -1.0; ask for at least 0."),
        (["serve-model", "--point-error-px", "nan"], "--point-error-px is nan; give a finite number."),
        (["serve-model", "--miss-share", "1.5"], "--miss-share is 1.5; ask for at most 1."),
        (["serve-model", "--miss-share", "-0.1"], "--miss-share is -0.1; ask for at least 0."),
        (["serve-model", "--latency-s", "inf"], "--latency-s is inf; give a finite number."),
        (["serve-model", "--latency-s", "-2"], "--latency-s is -2.0; ask for at least 0."),
        (["serve-model", "--seed", "-1"], "--seed is -1; ask for at least 0."),
        (["train", "usb_insertion", "--vlm", "embedded,miss-share=2"], "--vlm: miss-share is 2.0; ask for at most 1."),
        (["ask", "usb_insertion", "--vlm", "embedded,point-error-px=-1"], "--vlm: point-error-px is -1.0; ask for"),
        (["bench", "grounding", "--vlm", "embedded,latency-s=inf"], "--vlm: latency-s is inf; give a finite number."),
        (["eval", "--agent-alone", "usb_insertion", "--vlm", "embedded,nose=2"], "has no setting nose; it has point-"),
        (["train", "usb_insertion", "--human.notice", "1.5"], "human.notice is 1.5; ask for a value in [0, 1]."),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in stderr_of(argv, 2, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("platform", ["osmesa", "crayons"])
def test_renderer_that_cannot_be_loaded_is_one_line(platform: str) -> None:
    if platform == "osmesa" and ctypes.util.find_library("OSMesa"):
        pytest.skip("OSMesa is installed here")
    argv = [sys.executable, "-m", "agps_agent.cli", "bench", "env"]
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}  # EGL's, by now
    environment["MUJOCO_GL"] = platform
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"agps: Cannot load MuJoCo with MUJOCO_GL='{platform}' (")


def test_existing_run_is_refused_before_anything_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", episodes=3)
    (run.checkpoints / "last").mkdir()
    (run.checkpoints / "last" / "manifest.json").touch()
    assert "add --resume" in stderr_of(["train", "usb_insertion", "--run-dir", str(run.path)], 2, capsys)


def test_damaged_run_fails_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{")
    assert "config.json is not JSON" in stderr_of(["report", str(tmp_path)], 1, capsys)


def test_run_without_checkpoint_cannot_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", episodes=3)
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion"}}))
    assert "There is no checkpoint" in stderr_of(["eval", str(run.path)], 2, capsys)


def test_report_prints_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    assert main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out == f"{run.report}\n"
    assert run.report.is_file()


def test_json_is_the_only_thing_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(make_run(tmp_path / name, episodes=12, method=name).path) for name in ("agps", "serl")]
    assert main(["report", *runs, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(tmp_path / "comparison.html") and len(said["table"]) == 2


def test_folder_full_of_runs_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"seed{seed}", seed=seed, episodes=12)
    assert main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "comparison.html").is_file()


def test_prompts_are_listed_with_version_and_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "list"]) == 0
    assert "decide_mode@v1" in capsys.readouterr().out


def test_complaint_in_a_box_becomes_one_line() -> None:
    box = "╭─ Value error ─╮\n│ Error parsing --n: bad │\n│ value . │\n│ ─────── │\n│ Argument helptext: │\n╰───────╯\n"
    assert complaint_line(box) == "Error parsing --n: bad value."


def test_line_breaks_and_runs_of_blanks_are_joined() -> None:
    assert one_line("a\n  b , c .") == "a b, c."


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_a_terminal_cannot_show_is_replaced(more: list[str], tmp_path: Path) -> None:
    make_run(tmp_path / "λ", episodes=3)
    argv = [sys.executable, "-m", "agps_agent.cli", "report", str(tmp_path / "λ"), *more]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    page = json.loads(done.stdout)["report"] if more else done.stdout.decode("latin-1").strip()
    assert page == str(tmp_path / ("λ" if more else "?") / "report.html")
