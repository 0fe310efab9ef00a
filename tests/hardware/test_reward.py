"""A reward classifier from frames of the arm: recorded, fitted, and trained with."""

import json
import time

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.run.demonstrations import open_moved_arm
from rl.envs import make_env
from rl.rewards.classifier.collecting import DemonstratesAndUndoes, collect_episodes, run_actor
from rl.tasks.expert import make_expert
from tests.rl.rewards.classifier.folders import keep_frames

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")
pytest.importorskip("pyrealsense2", reason="needs the extra realsense")
pytestmark = pytest.mark.emulated

NAME = "usb_insertion"


def test_frames_of_the_arm_become_the_reward_of_a_run(emulator, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    began_s = time.monotonic()
    where = {"station": emulator.station, "robot_ip": None, "speed": 1.0}
    with open_moved_arm(NAME, None, seed=0, image_size=64, **where, task_options={}) as arm:
        assert arm.by == "expert"
        expert, rng = make_expert(arm.env.task), np.random.default_rng(0)
        shown = run_actor(arm.env, DemonstratesAndUndoes(expert, rng), seed=0)
        arm.env.halt()
        keep_frames(tmp_path / "seen", [shown], env=arm.env, seed=0, robot="franka")
    assert shown.success.any() and not shown.success.all() and shown.images["wrist_1"].std() > 10.0
    shown_s = time.monotonic() - began_s

    env = make_env(NAME, robot="fake")  # a few frames of the arm are no data set
    keep_frames(tmp_path / "more", list(collect_episodes(env, positive=30, negative=90, seed=9)), env=env, seed=0)
    tiny = ["--width", "8", "--updates", "20", "--least-positives", "3", "--data", "seen", "more", "--json"]
    assert main(["reward", "fit", NAME, "--robot", "franka", *tiny]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == f"runs/reward/franka-{NAME}/classifier.pt"

    small = ["--drq.batch-size", "32", "--drq.learning-starts", "10", "--drq.buffer-capacity", "1000"]
    short = ["--max-env-steps", "24", "--eval-every", "0", "--eval-episodes", "1", "--task-options.horizon", "25"]
    reward = ["--method", "serl", "--reward", "classifier", "--run-dir", "run", "--json"]
    assert main(["train", NAME, "--robot", "franka", "--station", str(emulator.station), *reward, *small, *short]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["env_steps"] == 24 and summary["robot"]["faults"] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["reward"] == "classifier"
    print(f"{len(shown.success)} frames after {shown_s:.1f} s, trained after {time.monotonic() - began_s:.1f} s")
