"""The command that runs a fleet is killed: nothing of it stays, and the run goes on with every episode it had taken."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from agps_agent.fleet.learner import INBOX
from agps_agent.fleet.message import Key
from agps_agent.run.directory import RunDirectory
from tests.agps_agent.fleet.counted import check_that_each_episode_counts_once

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'agps[distributed]'"
)
psutil: Any = pytest.importorskip("psutil", reason="psutil sees what is left running")

AGPS = (sys.executable, "-m", "agps_agent.cli", "train")
SMALL = ("--drq.batch-size=16", "--drq.learning-starts=20", "--drq.hidden-size=32", "--drq.channels=8")
FLEET = ("usb_insertion", "--robots=2", "--method=serl", "--demos=1", "--pretrain-steps=10", "--eval-every=0", *SMALL)
TINY = ("--eval-episodes=1", "--record-every=0", "--checkpoint-every=30", "--task-options.horizon=15")


def acknowledged(run: RunDirectory) -> set[Key]:
    """The episodes that the learner has taken: those of the last checkpoint, and those in its inbox."""
    extra: dict[str, Any] = torch.load(run.checkpoints / "last" / "state.pt", weights_only=False)["extra"]
    taken = extra["supervisor"]["ledger"]["taken"]
    learned = {
        Key(robot, process, number)
        for robot, process, stretches in taken
        for first, last in stretches
        for number in range(first, last + 1)
    }
    waiting = (Key.of_file(file.name) for file in (run.path / "fleet" / INBOX).iterdir())
    return learned | {key for key in waiting if key is not None}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run_whose_command_is_killed_goes_on_with_every_episode_that_was_acknowledged(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    first = subprocess.Popen([*AGPS, *FLEET, *TINY, "--max-env-steps=100000", f"--run-dir={run.path}"])
    while not (run.has_checkpoint and len(run.read_metrics()) >= 6):
        assert first.poll() is None
        time.sleep(0.1)
    others = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(others, timeout=120.0)
    assert [process.name() for process in alive] == []
    before = acknowledged(run)
    steps = 60 + sum(row["steps"] for row in run.read_metrics() if row["kind"] == "episode")
    resume = (f"--run-dir={run.path}", "--resume", f"--max-env-steps={steps}")
    subprocess.run([*AGPS, *resume], check=True)
    assert run.read_summary()["env_steps"] >= steps
    check_that_each_episode_counts_once(run)
    assert before and before <= acknowledged(run)
