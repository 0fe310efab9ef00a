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
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import save_config
from agps_agent.run.directory import RunDirectory, alone_in
from agps_agent.run.progress import ProgressListener
from agps_agent.run.signals import BrokenOff
from rl.demonstrations import record_demos, save_demos
from rl.drq.config import DrQConfig
from rl.envs import make_env
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
    assert (config.algorithm_options.gamma, config.detector.alpha) == (0.5, 0.2)
    assert config.task_options == {"clearance_mm": 0.4}


def test_preset_is_where_the_learner_starts_from() -> None:
    config = read_options(["usb_insertion", "--preset", "hil-serl", "--drq.gamma", "0.5"]).config
    assert config.algorithm_options == DrQConfig.preset("hil-serl", gamma=0.5)


def test_task_and_method_decide_what_the_options_start_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UsbInsertion, "recipe", Recipe(method="hil-serl", demos=7, learners=(DrQConfig(gamma=0.95),)))
    config = read_options(["usb_insertion", "--demos", "3", "--drq.n-step", "2"]).config
    assert (config.method, config.store_guided, config.demos) == ("hil-serl", "both", 3)
    assert config.algorithm_options == DrQConfig.preset("tuned", gamma=0.95, n_step=2)
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


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--task-options.clearance-mm", "3"], "task_options.clearance_mm = None, not 3.0"),
        (["--demos-dir", "/nope"], "demos_dir = None, not /nope"),
        (["--reward", "classifier"], "reward = truth, not classifier"),
        (["--reward-model", "other.pt"], "reward_model = None, not other.pt"),
        (["--mode", "guide"], "mode = auto, not guide"),
        (["--float.alpha", "0.2"], "detector.alpha = None, not 0.2"),
        (["--drq.gamma", "0.5"], "algorithm_options.gamma = 0.92, not 0.5"),
        (["--memory", "/elsewhere"], "memory = None, not /elsewhere"),
    ],
)
def test_resumed_run_stays_what_it_is(
    option: list[str], words: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_config(RunConfig(task="usb_insertion", run_dir=run_dir), RunDirectory.create(run_dir))
    before = (run_dir / "config.json").read_bytes()
    assert main(train_argv(run_dir, "--resume", *option)) == 2
    assert f"the run was started with {words}; resume with the run's own" in capsys.readouterr().err
    assert (run_dir / "config.json").read_bytes() == before


@pytest.mark.parametrize("more", [[], ["--demos", "5"]])
def test_demonstrations_that_are_not_there_are_refused_before_anything_is_made(
    more: list[str], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_argv(run_dir, "--demos-dir", str(run_dir / "nope"), *more)) == 2
    assert capsys.readouterr().err == (
        f"agps: There are no demonstrations in {run_dir / 'nope'}; record some with `agps demos record`.\n"
    )
    assert not run_dir.exists()


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        ("3", 2, "2 demonstrations; ask for 1 to 2, or record more"),
        ("0", 2, "2 demonstrations; ask for 1 to 2, or record more"),
        ("0", 1, "1 demonstration; ask for 1, or record more"),
    ],
)
def test_more_demonstrations_than_there_are_are_refused_with_their_number(
    asked: str, there: int, words: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = make_env("usb_insertion", robot="fake")
    save_demos(run_dir.parent / "demos", record_demos(env, n=there, seed=0), env=env, seed=0)
    argv = train_argv(run_dir, "--method", "serl", "--demos-dir", str(run_dir.parent / "demos"), "--demos", asked)
    assert main(argv) == 2
    folder = run_dir.parent / "demos"
    assert f"--demos {asked}: {folder} holds {words}" in capsys.readouterr().err
    assert not run_dir.exists()


def fake_training(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *, episodes: int = 1) -> None:
    """Stand in for minutes of learning: the seam is one function."""

    def train(
        config: RunConfig, run: RunDirectory, progress: ProgressListener, *, resume: bool, report: object, began: object
    ) -> dict[str, Any]:
        for episode in range(episodes):
            run.append_metrics({"episode": episode})
            (run.checkpoints / "last").mkdir(exist_ok=True)
            (run.checkpoints / "last" / "manifest.json").touch()
        sys.stdout.write("a library that prints")
        if error is not None:
            raise error
        finished = {"task": config.task, "success_rate": 0.98, "eval_episodes": 50, "env_steps": 100}
        return {**finished, "ending": "Ended after all 100 steps; go on with: agps train ..."}

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
    def train(
        config: RunConfig, run: RunDirectory, progress: ProgressListener, *, resume: bool, report: object, began: object
    ) -> dict[str, Any]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600.0)
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


def test_error_of_any_kind_before_the_first_step_leaves_the_name_free(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_training(monkeypatch, OverflowError("a mistake of ours"), episodes=0)
    with pytest.raises(OverflowError):
        main(train_argv(run_dir))
    assert not run_dir.exists()


def test_run_without_a_checkpoint_cannot_be_resumed_but_begun_anew(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_config(RunConfig(task="usb_insertion", run_dir=run_dir), RunDirectory.create(run_dir))
    assert main(train_argv(run_dir, "--resume")) == 2
    assert "start it again without --resume" in capsys.readouterr().err
    fake_training(monkeypatch, None)
    assert main(train_argv(run_dir)) == 0


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_second_process_in_a_run_directory_is_refused(
    more: list[str], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_config(RunConfig(task="usb_insertion", run_dir=run_dir), RunDirectory.create(run_dir))
    with alone_in(run_dir):
        assert main(train_argv(run_dir, *more)) == 2
    assert capsys.readouterr().err == (
        f"agps: Run directory {run_dir} is in use by process {os.getpid()}; "
        "wait for it to end, or name another --run-dir.\n"
    )


def test_run_that_is_broken_off_says_what_is_whole(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_training(monkeypatch, BrokenOff())
    assert main(train_argv(run_dir)) == 1
    assert "The last whole checkpoint is in" in capsys.readouterr().err


def test_run_that_had_ended_is_not_called_interrupted(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody presses Ctrl-C while its report is written."""

    def train(config: RunConfig, run: RunDirectory, *told: object, **more: object) -> dict[str, Any]:
        (run.checkpoints / "last").mkdir()
        (run.checkpoints / "last" / "manifest.json").touch()
        run.write_summary({"ended_by": "solved"})
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    assert main(train_argv(run_dir)) == 1
    assert f"The run had ended, and what it came to is in {run_dir}; `agps report" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("told", "given", "shown"),
    [
        ("usb_insertion", {}, 0),
        ("usb_insertion --demos 4", {"demos": 4}, 6),
        ("usb_insertion --demos 0", {"demos": 0}, 10),
        ("usb_insertion --demos 20 --agent-demos 3", {"demos": 20, "agent_demos": 3}, 3),
        ("towel_folding", {}, 0),
        ("towel_folding --demos 10", {"demos": 10}, 20),
        ("towel_folding --demos 0 --agent-demos 5", {"demos": 0, "agent_demos": 5}, 5),
        ("usb_insertion --method serl --demos 0", {"method": "serl", "demos": 0}, 0),
    ],
)
def test_agent_gives_what_is_missing_on_the_command_line_as_in_python(told, given, shown):
    """The agent folds a towel in its own way: its demonstrations beside forty of the expert's teach neither."""
    task = told.split()[0]
    assert read_options(told.split()).config.agent_demos == shown == RunConfig(task=task, **given).agent_demos


def test_agent_that_helps_by_boxes_alone_shows_nothing_unless_told_to():
    boxes = ["usb_insertion", "--demos", "0", "--mode", "prune"]
    assert read_options(boxes).config.agent_demos == 0
    assert RunConfig(task="usb_insertion", demos=0, mode="prune").agent_demos == 0
    assert read_options([*boxes, "--agent-demos", "3"]).config.agent_demos == 3
