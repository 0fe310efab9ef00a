"""A reward that is not ours, from the command line to its report; and the example that shows how."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agps_agent.cli.main import main

OURS = "examples/extend_reward.py:Seated"
SMALL = ["batch-size=8", "learning-starts=20", "hidden-size=16", "channels=8", "feature-size=16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose reward is given at the rim already, so that somebody without skill gets some."""
    path = tmp_path_factory.mktemp("reward") / "run"
    argv = ["train", "usb_insertion", "--reward", OURS, "--reward-options.still-steps", "1", "--helper", "human"]
    argv += ["--reward-options.depth-mm", "0.001", "--human.explore-s", "0", "--human.patience-s", "0.3"]
    argv += ["--demos", "1", "--pretrain-steps", "5", "--max-env-steps", "70"]
    argv += ["--eval-every", "0", "--eval-episodes", "1"]
    assert main([*argv, "--run-dir", str(path), *(f"--algorithm-options.{setting}" for setting in SMALL)]) == 0
    return path


def test_example_rewards_what_is_true() -> None:
    said = subprocess.run([sys.executable, "examples/extend_reward.py"], capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    assert len(lines) == 5 and all(line.endswith("rewarded True, true True") for line in lines)


def test_reward_from_a_file_ends_rollouts_and_is_compared_with_the_truth(run: Path) -> None:
    rows = [row for row in map(json.loads, (run / "metrics.jsonl").open()) if row["kind"] == "episode"]
    assert any(row["success"] and row["terminated"] for row in rows)
    assert all("true_success" in row for row in rows)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["reward_errors"]["false_positive"] == sum(r["success"] and not r["true_success"] for r in rows)


def test_its_settings_are_saved_and_the_run_is_resumed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["reward_options"] == {"still_steps": 1, "depth_mm": 0.001}
    assert main(["train", "--run-dir", str(run), "--resume", "--max-env-steps", "80", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["env_steps"] == 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reward", "trut"], "Unknown reward 'trut'; known: classifier, keys, truth"),
        (["--reward", OURS, "--reward-options.depth-mm", "0"], "greater than 0"),
        (["--reward-options.depth-mm", "1"], "depth-mm"),
    ],
)
def test_wrong_reward_or_option_is_refused_in_a_line(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "usb_insertion", *options, "--run-dir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not (tmp_path / "run").exists()
