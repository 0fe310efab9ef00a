"""`agps reward` on a robot, with an arm that obeys at once in place of the real one."""

import json
import os
import signal

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.run import demonstrations, hardware
from rl.rewards.classifier import load_frames
from tests.rl.envs.robots import FailingBackend

NAME = "usb_insertion"
KEPT = f"runs/reward/franka-{NAME}/frames"
TRUTH = 'truth = "emulator://127.0.0.1:1"'
STATION = f"""
{TRUTH}
[arm]
ip = "127.0.0.1"
[workspace]
lower = [0.30, -0.20, 0.00]
upper = [0.70, 0.20, 0.40]
"""
HORIZON = 40


class Operator:
    """Presses s at the 15th control step of each episode."""

    available = True

    def __init__(self):
        self.reads = -1

    def read(self):
        self.reads += 1
        return "success" if self.reads % (HORIZON + 1) == 15 else None

    def watch(self, on_stop):
        pass


class Pushing:
    """A hand that pushes the arm slowly aside."""

    def read(self, observation):
        return np.full(6, 0.02, np.float32)

    def close(self):
        pass


@pytest.fixture
def station(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "station.toml"
    path.write_text(STATION)
    return path


@pytest.fixture
def table(station):
    """A station whose table tells nobody where things are."""
    station.write_text(STATION.replace(TRUTH, ""))
    return station


@pytest.fixture
def arm(monkeypatch):
    """Take a fake arm for the real one; what it shall do wrong goes into the dictionary."""
    how = {}

    def open_backend(config, task, station, **_):
        how["backend"] = FailingBackend(task, **{key: how[key] for key in how.keys() - {"backend"}})
        return how["backend"]

    monkeypatch.setattr(hardware, "_open_backend", open_backend)
    return how


@pytest.fixture
def operator(monkeypatch):
    monkeypatch.setattr(demonstrations, "open_keys", lambda opened: Operator())
    monkeypatch.setattr(demonstrations, "open_hand", lambda config, task: Pushing())


def collect(*more):
    return main(["reward", "collect", NAME, "--robot", "franka", *more])


def complaint(capsys, *argv):
    assert main(["reward", *argv]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_emulated_scene_labels_what_scripted_behaviour_shows(station, arm):
    assert collect("--positive", "6", "--negative", "30") == 0
    frames = load_frames([station.parent / KEPT], task=NAME)
    assert frames.success.sum() == 6 and (~frames.success).sum() == 30
    assert {"approach", "hold", "miss"} <= set(frames.source)
    assert json.loads((station.parent / KEPT / "frames.json").read_text())["robot"] == "franka"
    assert arm["backend"].log[-1] == "stop"


def test_operator_labels_what_a_hand_shows_on_a_table(table, arm, operator, capsys):
    asked = ["--positive", "20", "--negative", "40", "--task-options.horizon", str(HORIZON)]
    assert collect("--by", "spacemouse", *asked) == 0
    out, err = capsys.readouterr()
    assert "Keys: s when it is done" in err and "now: DONE" in err and "20 of 20 successes" in err
    assert "20 frames of success and 40 of failure" in out
    frames = load_frames([table.parent / KEPT], task=NAME)
    assert set(frames.source) == {"hand"}
    assert frames.step[frames.success].min() == 15 and frames.step[~frames.success].max() == 4


def test_arm_that_stays_broken_leaves_what_was_recorded(table, arm, operator, capsys):
    arm |= {"fail_at": [3 * HORIZON + 5], "unrecoverable": True}
    assert collect("--by", "gamepad", "--task-options.horizon", str(HORIZON)) == 1
    err = capsys.readouterr().err
    assert f"is kept in {KEPT}" in err and err.splitlines()[-1].startswith("agps: The arm was recovered 3 times")
    assert len(set(load_frames([table.parent / KEPT], task=NAME).episode)) == 3


def test_ended_program_keeps_the_episodes_that_were_finished(table, arm, operator, capsys, monkeypatch):
    class Leaving(Operator):
        def read(self):
            if self.reads == 2 * HORIZON + 20:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().read()

    monkeypatch.setattr(demonstrations, "open_keys", lambda opened: Leaving())
    assert collect("--by", "spacemouse", "--task-options.horizon", str(HORIZON)) == 1
    assert f"is kept in {KEPT}" in capsys.readouterr().err
    assert len(set(load_frames([table.parent / KEPT], task=NAME).episode)) == 2
    assert arm["backend"].log[-1] == "stop"


def test_frames_of_an_episode_are_on_disk_before_the_next_begins(table, arm, operator, monkeypatch):
    on_disk = []

    class Looking(Operator):
        def read(self):
            if self.reads == 2 * (HORIZON + 1) + 5:
                on_disk.append(load_frames([table.parent / KEPT], task=NAME))
            return super().read()

    monkeypatch.setattr(demonstrations, "open_keys", lambda opened: Looking())
    asked = ["--positive", "60", "--negative", "20", "--task-options.horizon", str(HORIZON)]
    assert collect("--by", "spacemouse", *asked) == 0
    whole = load_frames([table.parent / KEPT], task=NAME)
    assert len(set(on_disk[0].episode)) == 2
    np.testing.assert_array_equal(on_disk[0].state, whole.state[: len(on_disk[0])])


def test_default_mover_is_who_can_be_there(table, arm, monkeypatch):
    asked = []
    monkeypatch.setattr(demonstrations, "open_keys", lambda opened: Operator())
    monkeypatch.setattr(demonstrations, "open_hand", lambda config, task: asked.append(config.teleop) or Pushing())
    assert collect("--positive", "1", "--negative", "1", "--task-options.horizon", str(HORIZON)) == 0
    assert asked == ["spacemouse"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--by", "expert"], "tells nobody where things are"),
        (["--by", "policy"], "Name its run directory with --run"),
        (["--by", "spacemouse", "--speed", "2"], "--speed is 2.0"),
        (["--by", "spacemouse", "--station", "none.toml"], "none.toml"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(argv, words, table, arm, capsys):
    assert words in complaint(capsys, "collect", NAME, "--robot", "franka", *argv)
    assert not (table.parent / "runs").exists()


def test_table_without_a_terminal_has_nobody_to_judge(table, arm, capsys, monkeypatch):
    monkeypatch.setattr(demonstrations, "open_hand", lambda config, task: Pushing())
    assert "no terminal" in complaint(capsys, "collect", NAME, "--robot", "franka")


def test_simulation_has_no_hands(station, capsys):
    assert "needs a robot" in complaint(capsys, "collect", NAME, "--by", "gamepad")


def test_whole_rollouts_are_watched_where_somebody_knows_the_truth(station, arm, capsys):
    assert collect("--positive", "30", "--negative", "90") == 0
    quick = ["--width", "8", "--updates", "20", "--least-positives", "3"]
    assert main(["reward", "fit", NAME, "--robot", "franka", *quick]) == 0
    capsys.readouterr()
    assert main(["reward", "eval", NAME, "--robot", "franka"]) == 0
    assert "No whole rollouts were watched" in capsys.readouterr().out
    arm["fail_at"] = [1]
    assert main(["reward", "eval", NAME, "--robot", "franka", "--rollouts", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdicts"][0]["rollouts"] == 3
    named = ["--data", KEPT, "--file", f"runs/reward/franka-{NAME}/classifier.pt", "--rollouts", "3"]
    assert "the simulation looks different" in complaint(capsys, "eval", NAME, *named)
    station.write_text(STATION.replace(TRUTH, ""))
    assert "a real table tells nobody" in complaint(capsys, "eval", NAME, "--robot", "franka", "--rollouts", "3")
