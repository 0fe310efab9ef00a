import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.train import read_options
from agps_agent.run import training
from agps_agent.run.config import RunConfig, save_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import ProgressListener
from rl.drq.config import DrQConfig
from rl.errors import AgpsError, ConfigError
from rl.tasks.base import Recipe
from rl.tasks.usb_insertion import UsbInsertion


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def train_argv(run_dir: Path, *more: str) -> list[str]:
    return ["train", "usb_insertion", "--run-dir", str(run_dir), *more]


def test_nested_settings_are_options() -> None:
    argv = ["usb_insertion", "--drq.gamma", "0.5", "--float.alpha", "0.2", "--task-options.clearance-mm", "0.4"]
    config = read_options(argv).config
    assert (config.drq.gamma, config.detector.alpha, config.task_options) == (0.5, 0.2, {"clearance_mm": 0.4})


def test_preset_is_where_the_learner_starts_from() -> None:
    config = read_options(["usb_insertion", "--preset", "hil-serl", "--drq.gamma", "0.5"]).config
    assert config.drq == DrQConfig.preset("hil-serl", gamma=0.5)


def test_task_and_method_decide_what_the_options_start_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UsbInsertion, "recipe", Recipe(method="hil-serl", demos=7, drq={"gamma": 0.95}))
    config = read_options(["usb_insertion", "--demos", "3", "--drq.n-step", "2"]).config
    assert (config.method, config.store_guided, config.demos) == ("hil-serl", "both", 3)
    assert config.drq == DrQConfig.preset("tuned", gamma=0.95, n_step=2)
    assert read_options(["usb_insertion", "--method", "agps"]).config.store_guided == "success"


def test_name_of_a_task_elsewhere_on_the_line_is_not_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UsbInsertion, "recipe", Recipe(demos=7))
    moved = ["--task-options.port-jitter-mm", "3"]
    config = read_options(["--run-dir", "knot_hanging", "usb_insertion", *moved]).config
    assert (config.task, config.demos, config.task_options) == ("usb_insertion", 7, {"port_jitter_mm": 3.0})


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
            (run.checkpoints / "last" / "manifest.json").touch()
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


def test_terminated_training_ends_like_an_interrupted_one_and_the_next_signal_does_not_disturb_it(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: RunConfig, run: RunDirectory, progress: ProgressListener, *, resume: bool) -> dict[str, Any]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10.0)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            (run.checkpoints / "last").mkdir()
            (run.checkpoints / "last" / "manifest.json").touch()
            raise
        raise AssertionError("the signal did nothing")

    monkeypatch.setattr(training, "train", train)
    before = signal.getsignal(signal.SIGTERM)
    assert main(train_argv(run_dir)) == 1
    assert "go on with: agps train usb_insertion" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_options_of_another_task_are_refused_before_anything_is_made(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_argv(run_dir, "--task-options.towel-jitter-mm", "3")) == 2
    assert "--task-options.towel-jitter-mm: usb_insertion has no such option" in capsys.readouterr().err
    assert not run_dir.exists()


def test_reward_without_a_classifier_says_how_to_make_one(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = run_dir.parent / "classifier.pt"
    assert main(train_argv(run_dir, "--reward", "classifier", "--reward-model", str(model))) == 2
    assert f"There is no reward classifier {model}; `agps reward fit TASK" in capsys.readouterr().err
    assert not run_dir.exists()


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
