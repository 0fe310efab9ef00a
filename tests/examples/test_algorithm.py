"""An algorithm that is not ours, from the command line to its report."""

import json
from pathlib import Path

import pytest

from agps_agent.cli.main import main

OURS = "examples/smooth_drq.py:SmoothDrQ"
ANYWHERE = f"{Path('examples/smooth_drq.py').resolve()}:SmoothDrQ"
SMALL = ["batch-size=8", "learning-starts=20", "hidden-size=16", "channels=8", "feature-size=16", "target-noise=0.3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("algorithm") / "run"
    argv = ["train", "usb_insertion", "--algorithm", OURS, "--helper", "nobody", "--demos", "1", "--eval-every", "0"]
    argv += ["--max-env-steps", "50", "--pretrain-steps", "0", "--eval-episodes", "1", "--run-dir", str(path)]
    assert main([*argv, *(f"--algorithm-options.{setting}" for setting in SMALL)]) == 0
    return path


def test_algorithm_from_a_file_trains_to_a_report(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["method"], summary["env_steps"], summary["learner_steps"]) == (f"{ANYWHERE}+nobody", 50, 60)
    assert "usb_insertion with SmoothDrQ+nobody" in (run / "report.html").read_text()


def test_its_settings_are_options_and_are_saved(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["algorithm"], config["helper"]) == (ANYWHERE, "nobody")
    assert (config["algorithm_options"]["target_noise"], config["algorithm_options"]["noise_limit"]) == (0.3, 0.5)


def test_its_run_is_evaluated_and_resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] == 50
    assert main(["train", "--run-dir", str(run), "--resume", "--max-env-steps", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["env_steps"] == 60


def test_setting_of_another_algorithm_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "usb_insertion", "--algorithm", OURS, "--conrft.gamma", "0.9"]) == 2
    assert f"--conrft.gamma is a setting of conrft; this run learns with {ANYWHERE}" in capsys.readouterr().err


def test_contradicting_names_are_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "usb_insertion", "--method", "serl", "--helper", "agent", "--run-dir", str(tmp_path / "run")]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("agps: --method serl is --algorithm drq --helper nobody, not helper agent;")
    assert err.count("\n") == 1 and not (tmp_path / "run").exists()
