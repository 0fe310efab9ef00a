"""Training on a robot, with an arm that obeys at once in place of the real one."""

import json
from pathlib import Path

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.run import hardware
from agps_agent.run.build import build_session
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from agps_agent.run.training import train
from rl.checkpoint import latest_checkpoint, load_checkpoint
from rl.drq import DrQConfig
from rl.envs.judged import JudgedEnv
from rl.envs.robot import RobotEnv
from rl.errors import ConfigError, HardwareFault
from rl.supervisor import Hand
from tests.agps_agent.run.test_training import Listening
from tests.agps_agent.stations import STATION
from tests.agps_agent.trained import train_with_report
from tests.rl.envs.robots import FailingBackend, SimulatedArm

SMALL = DrQConfig(batch_size=16, learning_starts=20, hidden_size=32, channels=8, feature_size=16, buffer_capacity=2_000)


@pytest.fixture
def station(tmp_path):
    path = tmp_path / "station.toml"
    path.write_text(f"{STATION}[task]\nhorizon = 20\n")
    return path


@pytest.fixture
def arm(monkeypatch):
    """Take a fake arm for the real one; what it shall do wrong goes into the dictionary."""
    how = {}

    def open_backend(config, task, station, **_):
        kind = how.get("kind", FailingBackend)
        how["backend"] = kind(task, **{key: how[key] for key in how.keys() - {"backend", "kind"}})
        return how["backend"]

    monkeypatch.setattr(hardware, "_open_backend", open_backend)
    return how


def configure(station: Path, **changes) -> RunConfig:
    small = {
        "max_env_steps": 44,
        "agent_demos": 0,
        "pretrain_steps": 0,
        "eval_episodes": 1,
        "eval_every": 0,
        "drq": SMALL,
        "record_every": 0,
    }
    return RunConfig(task="usb_insertion", robot="franka", station=station, **{**small, **changes})


def stored_steps(config: RunConfig, run: RunDirectory) -> int:
    with build_session(config, run) as session:
        load_checkpoint(latest_checkpoint(run.checkpoints), session.algorithm)
        return len(session.algorithm.online)


def test_robot_changes_the_defaults(station):
    config = RunConfig(task="usb_insertion", robot="franka", station=station)
    assert (config.learner, config.demos, config.reward, config.confirm) == ("threaded", 0, "truth", False)
    assert config.eval_episodes < RunConfig(task="usb_insertion").eval_episodes
    assert (RunConfig(task="usb_insertion").eval_acting, config.eval_acting) == ("mean", "unstuck")


def test_station_without_truth_is_judged_by_keys_and_asks_before_waypoints(station):
    station.write_text(STATION.replace('truth = "emulator://127.0.0.1:1"', ""))
    config = RunConfig(task="usb_insertion", robot="franka", station=station)
    assert (config.reward, config.confirm) == ("keys", True)


def test_command_line_takes_the_robots_defaults(station):
    from agps_agent.cli.train import read_options

    options = read_options(["usb_insertion", "--robot", "franka", "--station", str(station), "--robot-ip", "1.2.3.4"])
    assert (options.config.learner, options.config.robot_ip, options.config.confirm) == ("threaded", "1.2.3.4", False)
    options = read_options(["usb_insertion", "--robot", "franka", "--station", str(station), "--confirm"])
    assert options.config.confirm


def test_run_on_a_robot_is_reported_like_one_in_simulation(station, arm, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    summary = train_with_report(configure(station), run, SilentProgress())
    assert summary["env_steps"] == 44
    assert summary["robot"]["faults"] == 0
    assert summary["robot"]["ticks"] > 40
    assert "<h2>Robot</h2>" in run.report.read_text()
    rows = [row for row in run.read_metrics() if row["kind"] == "episode"]
    assert rows and all("robot" in row for row in rows)
    assert load_config(run).robot == "franka"


def test_arm_is_stopped_when_the_training_ends(station, arm, tmp_path):
    train(configure(station), RunDirectory.create(tmp_path / "run"), SilentProgress())
    assert arm["backend"].log[-1] == "stop"


def test_one_environment_serves_training_and_evaluation(station, arm, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    train(configure(station, eval_every=20, curve_episodes=1, stop_when_solved=False), run, SilentProgress())
    kinds = [row["kind"] for row in run.read_metrics()]
    assert kinds.count("eval") == 2
    assert kinds.index("eval") > kinds.index("episode")
    numbers = [row["episode"] for row in run.read_metrics() if row["kind"] == "episode"]
    assert numbers == list(range(len(numbers)))


def test_fault_costs_its_episode_only(station, arm, tmp_path):
    arm["fail_at"] = [30]
    config, run = configure(station), RunDirectory.create(tmp_path / "run")
    summary = train(config, run, SilentProgress())
    assert summary["env_steps"] == 44
    assert (summary["robot"]["faults"], summary["robot"]["recoveries"]) == (1, 1)
    [faulty] = [row for row in run.read_metrics() if "fault" in row]
    assert faulty["truncated"] and not faulty["success"]
    assert stored_steps(config, run) == 44


def test_arm_that_stays_broken_ends_the_run_with_everything_saved(station, arm, tmp_path):
    arm |= {"fail_at": [30], "unrecoverable": True}
    config, run = configure(station), RunDirectory.create(tmp_path / "run")
    with pytest.raises(HardwareFault, match="3 times"):
        train_with_report(config, run, SilentProgress())
    assert arm["backend"].log[-1] == "stop"
    assert run.report.is_file() and run.read_summary()["env_steps"] == 30
    assert run.read_summary()["ended_by"] == "fault" and "Ended by a fault after 30 of 44" in run.report.read_text()
    assert stored_steps(config, run) == 30


def test_broken_arm_exits_with_one_sentence(station, arm, tmp_path, capsys):
    arm |= {"fail_at": [30], "unrecoverable": True}
    small = ["--drq.batch-size", "16", "--drq.hidden-size", "32", "--drq.channels", "8", "--drq.feature-size", "16"]
    where = ["--robot", "franka", "--station", str(station), "--run-dir", str(tmp_path / "run")]
    assert main(["train", "usb_insertion", *where, *small, "--max-env-steps", "40", "--json"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("agps: The arm was recovered 3 times")
    assert (tmp_path / "run" / "report.html").is_file()


def test_error_of_ours_stops_the_arm_before_anything_is_saved(station, arm, tmp_path, monkeypatch):
    config, run = configure(station), RunDirectory.create(tmp_path / "run")
    from agps_agent.run import log as training_log

    saved = training_log.save_checkpoint

    def save(*arguments):
        arm["backend"].log.append("saved")
        saved(*arguments)

    def fail(self, step):
        if self.session.algorithm.num_timesteps == 30:
            raise ValueError("a mistake")

    monkeypatch.setattr(training_log, "save_checkpoint", save)
    monkeypatch.setattr(training_log.TrainingLog, "record", fail)
    with pytest.raises(ValueError, match="a mistake"):
        train(config, run, SilentProgress())
    log = arm["backend"].log
    assert log.index("stop") < log.index("saved")
    assert stored_steps(config, run) == 30


def test_interruption_stops_the_arm_and_can_be_resumed(station, arm, tmp_path):
    config, run = configure(station), RunDirectory.create(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, run, Listening(interrupt_at=30))
    assert arm["backend"].log[-1] == "stop"
    assert train(config, run, SilentProgress(), resume=True)["env_steps"] == 44


def test_agents_waypoints_wait_for_somebody_to_agree(station, arm, tmp_path):
    arm["kind"] = SimulatedArm
    run = RunDirectory.create(tmp_path / "run")
    changes = {"task_options": {"horizon": 40}, "supervisor": {"help_share": 1.0}}
    summary = train(configure(station, confirm=True, **changes), run, SilentProgress())
    assert summary["robot"]["confirm/asked"] == summary["robot"]["confirm/no_terminal"] > 0
    assert summary["counters"]["declined/not_confirmed"] == summary["robot"]["confirm/asked"]
    assert not any(row.get("guided_steps") for row in run.read_metrics())


def test_demonstrations_come_from_a_folder(station, arm, tmp_path):
    from agps_agent.run.demonstrations import record

    # The fake arm's cameras show one colour, but it obeys: the expert on the truth succeeds.
    record("usb_insertion", tmp_path / "demos", n=2, robot="franka", station=station, by="expert")
    config = configure(station, demos_dir=tmp_path / "demos")
    assert config.demos == 2
    run = RunDirectory.create(tmp_path / "run")
    train(config, run, SilentProgress())
    assert json.loads((run.demos / "demos.json").read_text())["count"] == 2


def test_real_table_has_no_scripted_expert_and_that_is_said_before_anything_opens(station, arm, tmp_path, capsys):
    station.write_text(STATION.replace('truth = "emulator://127.0.0.1:1"', ""))
    argv = ["train", "usb_insertion", "--robot", "franka", "--station", str(station), "--demos", "5"]
    assert main([*argv, "--run-dir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("agps: --demos 5: a real table tells nobody where things are; record them with `agps demos")
    assert err.endswith("name their folder with --demos-dir.\n")
    assert "backend" not in arm and not (tmp_path / "run").exists()


def test_conrft_on_a_robot_says_where_demonstrations_come_from(station, capsys):
    argv = ["train", "towel_folding", "--robot", "franka", "--station", str(station), "--method", "conrft"]
    assert main(argv) == 2
    assert "and name their folder with --demos-dir" in capsys.readouterr().err


@pytest.mark.parametrize(("reward", "who"), [("truth", "classifier"), ("keys", "terminal")])
def test_reward_that_nobody_gives_is_refused(station, arm, reward, who):
    station.write_text(STATION.replace('truth = "emulator://127.0.0.1:1"', ""))
    with pytest.raises(ConfigError, match=who):
        hardware.open_robot(configure(station, reward=reward))


def test_evaluation_asks_for_the_station(station, arm, tmp_path, capsys):
    run = RunDirectory.create(tmp_path / "run")
    train(configure(station), run, SilentProgress())
    assert main(["eval", str(run.path)]) == 2
    assert "--station" in capsys.readouterr().err
    assert main(["eval", str(run.path), "--station", str(station), "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_episodes"] == 1
    assert arm["backend"].log[-1] == "stop"


def test_policy_of_a_simulated_run_is_evaluated_on_the_arm_whose_station_is_named(station, arm, tmp_path, capsys):
    run = RunDirectory.create(tmp_path / "run")
    train(configure(station), run, SilentProgress())
    saved = json.loads(run.config.read_text())
    saved["config"]["robot"] = "sim"
    run.config.write_text(json.dumps(saved))
    assert main(["eval", str(run.path), "--speed", "0.5"]) == 2
    assert "name its file with --station" in capsys.readouterr().err
    assert main(["eval", str(run.path), "--station", str(station), "--episodes", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["eval_episodes"], told["acting"]) == (1, "unstuck")
    assert arm["backend"].log[-1] == "stop"


def test_dry_run_needs_a_robot(capsys):
    assert main(["train", "usb_insertion", "--dry-run"]) == 2
    assert "--robot station" in capsys.readouterr().err


def test_session_rewards_by_what_the_run_says(station, arm, tmp_path):
    with build_session(configure(station), RunDirectory.create(tmp_path / "run")) as session:
        assert isinstance(session.env, RobotEnv)
        assert session.eval_env is session.env
        assert not isinstance(session.eval_env, JudgedEnv)


def test_arm_is_held_while_demonstrations_are_learned_from(station, arm, tmp_path):
    train(configure(station, demos=1, max_env_steps=25), RunDirectory.create(tmp_path / "run"), SilentProgress())
    log = arm["backend"].log
    assert log[log.index("command") + 1] == "pause"


class Device(Hand):
    """A hand that holds the device for the first five control steps of each episode."""

    def read(self, observation):
        return np.full(6, 0.1, np.float32) if observation.step < 5 else None


def test_hand_on_a_device_takes_the_arm(station, arm, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "open_hand", lambda *_: Device())
    summary = train(configure(station, method="hil-serl"), RunDirectory.create(tmp_path / "run"), SilentProgress())
    assert summary["human_interventions"] == 3
    assert summary["human_s"] == pytest.approx(1.4)


def test_simulated_human_needs_a_scene_that_tells_the_truth(station, arm):
    station.write_text(STATION.replace('truth = "emulator://127.0.0.1:1"', ""))
    with pytest.raises(ConfigError, match="spacemouse or gamepad"):
        hardware.open_robot(configure(station, method="hil-serl", teleop="simulated", reward="classifier"))


def test_camera_that_fails_the_agent_costs_the_episode_only(station, arm, tmp_path):
    arm |= {"kind": SimulatedArm, "blind": True}
    run = RunDirectory.create(tmp_path / "run")
    changes = {"task_options": {"horizon": 30}, "supervisor": {"help_share": 1.0}}
    summary = train(configure(station, **changes), run, SilentProgress())
    assert summary["env_steps"] == 44
    assert summary["counters"]["declined/hardware_fault"] == summary["robot"]["faults"] == 1


def test_run_of_before_it_could_be_chosen_was_evaluated_by_its_mean(station, arm, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    train(configure(station), run, SilentProgress())
    saved = json.loads(run.config.read_text())
    assert saved["config"].pop("eval_acting") == "unstuck"
    run.config.write_text(json.dumps(saved))
    assert load_config(run).eval_acting == "mean"
