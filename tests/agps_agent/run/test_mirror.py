"""What TensorBoard gets goes to Weights & Biases too, without a network."""

import json
import sys
from pathlib import Path

import pytest

from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.mirror import WandbWriter, open_mirror
from agps_agent.run.training import train
from rl.drq import DrQConfig
from rl.errors import ConfigError

SMALL = DrQConfig(batch_size=16, learning_starts=20, hidden_size=32, channels=8, feature_size=16, buffer_capacity=2_000)


class Silent:
    """Hears nothing."""

    def update(self, progress: object) -> None:
        """Do nothing."""


class Told:
    """A run of Weights & Biases that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, told: dict[str, float], *, step: int) -> None:
        self.rows.append((step, told))


def test_scalars_are_sent_as_tensorboard_gets_them() -> None:
    told = Told()
    values = {"train/loss": 0.5, "eval/success_rate": 1, "time/words": "slow", "time/fps": 10}
    WandbWriter(told).write(values, {"time/fps": ("tensorboard",)}, step=7)
    assert told.rows == [(7, {"train/loss": 0.5, "eval/success_rate": 1.0})]


def test_short_run_leaves_its_files_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    short = {"demos": 0, "max_env_steps": 60, "eval_every": 30, "eval_episodes": 1, "curve_episodes": 1, "threads": 1}
    few = {"record_every": 0, "stop_when_solved": False, "drq": SMALL}
    config = RunConfig(task="usb_insertion", method="serl", **short, **few, wandb="agps-test")
    run = RunDirectory.create(tmp_path / "run")
    train(config, run, Silent())
    wandb.teardown()  # its own process writes the last of it when it ends
    (file,) = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert b"eval/success_rate" in content and b"final_eval/success_rate" in content
    assert json.loads(run.summary.read_text())["env_steps"] == 60


def test_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = RunConfig(task="usb_insertion", wandb="mine")
    asked = r"--wandb mine needs the wandb package; install it with: pip install 'agps\[wandb\]'"
    with pytest.raises(ConfigError, match=asked):
        open_mirror(config, RunDirectory.create(tmp_path / "run"))
