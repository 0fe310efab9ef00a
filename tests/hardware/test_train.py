"""The complete loop: franky to the emulated FR3, frames through librealsense, policy, agent, guard, learner."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import Progress
from rl.checkpoint import latest_checkpoint
from rl.drq import DrQConfig
from rl.errors import HardwareFault
from rl.robots.station import load_station
from tests.agps_agent.trained import train_with_report
from tests.clocks import until

pytest.importorskip("franky", reason="needs the extra robot")
pytest.importorskip("franky_sim", reason="needs the extra emulator")
pytest.importorskip("pyrealsense2", reason="needs the extra realsense")
pytestmark = pytest.mark.emulated

SMALL = DrQConfig(batch_size=32, learning_starts=20, buffer_capacity=2_000)


class Saboteur:
    """Does something to the station at a control step."""

    def __init__(self, at=None, action=None):
        self.at, self.action = at, action

    def update(self, progress: Progress) -> None:
        if self.action is not None and progress.phase == "train" and progress.env_steps == self.at:
            action, self.action = self.action, None
            action()


def configure(station, **changes):
    alone = {"agent_demos": 0, "pretrain_steps": 0}  # the agent helps, it does not begin
    fixed = {"eval_episodes": 1, "eval_every": 0, "drq": SMALL, "record_every": 0, **alone}
    quick = {"supervisor": {"help_share": 1.0}, "task_options": {"horizon": 45}}
    return RunConfig(task="usb_insertion", robot="franka", station=station, **{**fixed, **quick, **changes})


def test_hundred_steps_with_a_reflex_leave_what_a_simulated_run_leaves(fresh_emulator, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    plant = threading.Thread(target=fresh_emulator.fault, args=("reflex",))  # its answer must not hold up the loop
    saboteur = Saboteur(at=60, action=plant.start)
    summary = train_with_report(configure(fresh_emulator.station, max_env_steps=100), run, saboteur)
    robot = summary["robot"]
    print({name: robot[name] for name in ("tick_p50_ms", "tick_p99_ms", "watchdog_freezes", "watchdog_stops")})
    assert summary["env_steps"] == 100
    assert summary["learner_steps"] > 0
    assert summary["agent_calls"] > 0
    assert robot["faults"] >= 1 and robot["recoveries"] >= 1
    rows = [row for row in run.read_metrics() if row["kind"] == "episode"]
    assert any("reflex" in row.get("fault", "").lower() for row in rows)
    assert sum(row["guided_steps"] for row in rows) > 0
    page = run.report.read_text()
    assert "<h2>Robot</h2>" in page and "Success over environment steps" in page
    assert saved_steps(run) == 100


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_control_box_that_dies_leaves_every_step_that_was_taken(fresh_emulator, tmp_path):
    run = RunDirectory.create(tmp_path / "run")

    def kill():
        with contextlib.suppress(HardwareFault):  # it dies before it answers
            fresh_emulator.fault("die")

    saboteur = Saboteur(at=30, action=threading.Thread(target=kill).start)
    with pytest.raises(HardwareFault, match="does not come back"):
        train_with_report(configure(fresh_emulator.station, max_env_steps=100), run, saboteur)
    taken = run.read_summary()["env_steps"]
    assert 30 <= taken < 100
    assert saved_steps(run) == taken
    assert run.report.is_file()


def test_terminated_run_saves_everything_and_leaves_the_arm_at_rest(emulator, tmp_path):
    arguments = ["train", "usb_insertion", "--robot", "franka", "--station", str(emulator.station)]
    where = ["--run-dir", str(tmp_path / "run"), "--max-env-steps", "500", "--eval-every", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "agps_agent.cli", *arguments, *where],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )
    run = RunDirectory(tmp_path / "run")
    try:
        until(lambda: bool(run.read_metrics()), timeout_s=600.0)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=600.0)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "--resume" in said.splitlines()[-1]
    assert run.has_checkpoint and run.report.is_file()
    assert _speed(emulator) < 0.01


def test_station_answers_the_agent_without_a_motion(fresh_emulator, tmp_path, capsys):
    from agps_agent.cli.main import main

    before = _joints(fresh_emulator)
    where = ["--robot", "franka", "--station", str(fresh_emulator.station), "--out", str(tmp_path / "asked"), "--json"]
    assert main(["ask", "usb_insertion", *where]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] in ("guide", "prune")
    assert (tmp_path / "asked" / "answer.png").is_file()
    run = ["--run-dir", str(tmp_path / "run"), "--dry-run", "--json"]
    assert main(["train", "usb_insertion", "--robot", "franka", "--station", str(fresh_emulator.station), *run]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["steps"] > 50 and list((tmp_path / "run-dry-run").glob("step_*.png"))
    assert abs(_joints(fresh_emulator) - before).max() < 1e-3


def saved_steps(run):
    """Return the control steps in the replay memory of a run's last checkpoint: `episodes/NUMBER_STEPS.npz`."""
    saved = latest_checkpoint(run.checkpoints) / "episodes"
    return sum(int(episode.stem.split("_")[1]) for episode in saved.iterdir())


def _state(emulator):
    from rl.robots.franka.arm import FrankaArm

    station = load_station(emulator.station)
    with FrankaArm(station.arm, station.workspace, clock=station.clock) as arm:
        return arm.measure()


def _joints(emulator):
    return _state(emulator).q


def _speed(emulator):
    return abs(_state(emulator).twist[:3]).max()
