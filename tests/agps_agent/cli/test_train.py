import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agps_agent import training
from agps_agent.cli.main import main
from agps_agent.cli.train import read_options
from agps_agent.config import RunConfig, save_config
from agps_agent.progress import ProgressListener
from agps_agent.runs import RunDirectory
from rl.drq.config import DrQConfig
from rl.errors import AgpsError, ConfigError


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def train_argv(run_dir: Path, *more: str) -> list[str]:
    return ["train", "usb_insertion", "--run-dir", str(run_dir), *more]


def test_nested_settings_are_options() -> None:
    argv = ["usb_insertion", "--drq.gamma", "0.5", "--float.alpha", "0.2", "--task-options.clearance-mm", "0.4"]
    config = read_options(argv).config
    assert (config.drq.gamma, config.detector.alpha, config.task_options.clearance_mm) == (0.5, 0.2, 0.4)


def test_preset_is_where_the_learner_starts_from() -> None:
    config = read_options(["usb_insertion", "--preset", "hil-serl", "--drq.gamma", "0.5"]).config
    assert config.drq == DrQConfig.preset("hil-serl", gamma=0.5)


def test_resumed_run_takes_its_settings_from_the_disk(run_dir: Path) -> None:
    save_config(RunConfig(task="usb_insertion", run_dir=run_dir, seed=3, demos=1), RunDirectory.create(run_dir))
    options = read_options(["--run-dir", str(run_dir), "--resume", "--max-env-steps", "77"])
    assert (options.config.seed, options.config.demos, options.config.max_env_steps) == (3, 1, 77)


def test_resumed_run_keeps_its_seed(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_config(RunConfig(task="usb_insertion", run_dir=run_dir, seed=3), RunDirectory.create(run_dir))
    assert main(train_argv(run_dir, "--resume", "--seed", "4")) == 2
    assert "seed = 3, not 4" in capsys.readouterr().err


def fake_training(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *, episodes: int = 1) -> None:
    """Stand in for minutes of learning: the seam is one function."""

    def train(config: RunConfig, run: RunDirectory, progress: ProgressListener, *, resume: bool) -> dict[str, Any]:
        for episode in range(episodes):
            run.append_metrics({"episode": episode})
            (run.checkpoints / "last").mkdir(exist_ok=True)
        sys.stdout.write("a library that prints")
        if error is not None:
            raise error
        return {"task": config.task, "success_rate": 0.98, "eval_episodes": 50, "env_steps": 100}

    monkeypatch.setattr(training, "train", train)


def test_finished_training_says_how_good_the_policy_is(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_training(monkeypatch, None)
    assert main(train_argv(run_dir)) == 0
    assert "The policy alone succeeds in 49 of 50 episodes." in capsys.readouterr().out


def test_summary_is_the_only_thing_on_stdout(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_training(monkeypatch, None)
    assert main(train_argv(run_dir, "--json")) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["success_rate"] == 0.98 and "a library that prints" in err


def test_interrupted_training_says_how_to_go_on(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_training(monkeypatch, KeyboardInterrupt())
    assert main(train_argv(run_dir)) == 1
    assert f"go on with: agps train usb_insertion --run-dir {run_dir} --resume" in capsys.readouterr().err


def test_run_that_could_not_start_leaves_its_name_free(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_training(monkeypatch, ConfigError("No model server answers."), episodes=0)
    assert main(train_argv(run_dir)) == 2
    assert not run_dir.exists() and "No model server answers." in capsys.readouterr().err


def test_run_that_fails_later_is_kept(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_training(monkeypatch, AgpsError("The disk is full."))
    assert main(train_argv(run_dir)) == 1
    assert (run_dir / "metrics.jsonl").is_file() and capsys.readouterr().err == "agps: The disk is full.\n"
