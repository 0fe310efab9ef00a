"""One learner of several robots, without Ray: who is cut off goes on, and each episode counts once."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agps_agent.fleet.build import open_learner
from agps_agent.fleet.learner import FleetLearner
from agps_agent.fleet.link import LinkDown, RobotReport, Weights
from agps_agent.fleet.message import EpisodeMessage, Key, from_bytes, to_bytes
from agps_agent.fleet.robot import STATE, Place, RobotRun
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from agps_agent.run.simulation import Simulation
from rl.buffers import NStep
from rl.envs.factory import make_env
from rl.errors import AgpsError, ConfigError
from rl.types import EpisodeOutcome
from tests.agps_agent.fleet.counted import check_that_each_episode_counts_once
from tests.agps_agent.fleet.local import LocalLink, configure, run_fleet


@pytest.fixture(autouse=True)
def fake_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm that obeys at once in place of the simulated one."""
    monkeypatch.setattr(Simulation, "open", lambda self, config, **_: make_env(config.task, robot="fake"))


def message_of(learning: FleetLearner, robot: str, number: int, *, steps: int = 5) -> bytes:
    """An episode of random actions that fits the learner."""
    store, rng = learning._algorithm.store, np.random.default_rng(number)
    last = np.arange(steps) == steps - 1
    images = {name: rng.integers(0, 256, (steps + 1, *shape), np.uint8) for name, shape in store.image_shapes.items()}
    episode = {
        **images,
        "state": rng.normal(size=(steps + 1, store.state_size)).astype(np.float32),
        "action": rng.uniform(-1, 1, (steps, store.action_size)).astype(np.float32),
        "reward": last.astype(np.float32),
        "terminated": last,
        "truncated": np.zeros(steps, bool),
        "guided": np.zeros(steps, bool),
    }
    outcome = EpisodeOutcome(
        episode=number,
        success=True,
        terminated=True,
        truncated=False,
        steps=steps,
        guided_steps=0,
        pruned_steps=0,
        final_robot=None,
    )
    return to_bytes(EpisodeMessage(key=Key(robot, "a", number), episode=episode, outcome=outcome, info={}, noted={}))


@pytest.fixture
def learning(tmp_path: Path):
    config = configure(robots=2, demos=0, pretrain_steps=0)
    run = RunDirectory.create(tmp_path / "run")
    with open_learner(config, run, ["r0", "r1"], SilentProgress(), evaluates=True) as learning:
        learning.prepare(resume=False)
        yield learning


def test_episode_that_comes_twice_is_learned_from_once(learning: FleetLearner):
    for number in (0, 1, 0, 1, 1):
        learning.deliver(message_of(learning, "r0", number))
    assert learning._algorithm.num_timesteps == learning._algorithm.store.size() == 10


def test_n_step_returns_do_not_go_from_one_robot_to_the_other(learning: FleetLearner):
    for number in range(4):
        learning.deliver(message_of(learning, f"r{number % 2}", number))
    algorithm = learning._algorithm
    slots = algorithm.online.slots
    ahead: NStep = algorithm.store.n_step(slots, n=50, gamma=1.0)
    assert (ahead.rewards == 1.0).all()
    np.testing.assert_array_equal(algorithm.store.episode_of(ahead.last), algorithm.store.episode_of(slots))


def test_episode_of_another_image_size_is_refused_with_its_robot(learning: FleetLearner):
    content = message_of(learning, "r1", 0)
    learning._algorithm.store.image_shapes = dict.fromkeys(learning._algorithm.store.image_shapes, (32, 32, 3))
    with pytest.raises(ConfigError, match="robot r1"):
        learning.deliver(content)


def test_episode_that_there_is_no_room_for_is_refused_before_it_waits_on_disk(learning: FleetLearner):
    store = learning._algorithm.store
    store.keep(store.add_episode(from_bytes(message_of(learning, "r0", 0)).episode))
    store.capacity = 10  # 6 observations of 10 are kept for good: there is room for 4
    with pytest.raises(ConfigError, match="An episode of robot r1 has 6 observations, more than the 4"):
        learning.deliver(message_of(learning, "r1", 0))
    assert learning._inbox.waiting() == []


def test_what_was_acknowledged_after_the_last_checkpoint_is_there_after_a_kill(tmp_path: Path):
    config, run = configure(robots=1, demos=0, pretrain_steps=0), RunDirectory.create(tmp_path / "run")
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as before:
        before.prepare(resume=False)
        contents = [message_of(before, "r0", number) for number in range(4)]
        before.deliver(contents[0])
        before._checkpoint()
        for content in contents[1:3]:
            before.deliver(content)
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as after:
        after.prepare(resume=True)
        after._take_inbox()
        for content in contents:  # the robot had not heard that the third was acknowledged
            after.deliver(content)
        assert after._algorithm.num_timesteps == after._algorithm.store.size() == 20
        after._checkpoint()
        assert after._inbox.waiting() == []
    assert check_that_each_episode_counts_once(run) == [("r0", "a", 4)]


def test_run_that_goes_on_from_the_best_policy_counts_each_episode_once(tmp_path: Path):
    config, run = configure(robots=1, demos=0, pretrain_steps=0), RunDirectory.create(tmp_path / "run")
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as before:
        before.prepare(resume=False)
        for number in range(3):
            before.deliver(message_of(before, "r0", number))
            if number == 0:
                before._checkpoint()
        before._log.checkpoint("best")  # as an evaluation does; then it is killed
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as after:
        after.prepare(resume=True)
        after._take_inbox()
        assert after._algorithm.num_timesteps == 15
        after._checkpoint()
    assert check_that_each_episode_counts_once(run) == [("r0", "a", 3)]


def test_episode_that_the_disk_has_lost_does_not_keep_a_run_from_going_on(tmp_path: Path):
    config, run = configure(robots=1, demos=0, pretrain_steps=0), RunDirectory.create(tmp_path / "run")
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as before:
        before.prepare(resume=False)
        before._checkpoint()
        for number in range(3):
            before.deliver(message_of(before, "r0", number))
        lost = before._inbox.folder / Key("r0", "a", 1).file
        lost.write_bytes(lost.read_bytes()[:-200])
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as after:
        after.prepare(resume=True)
        after._take_inbox()
        assert after._algorithm.num_timesteps == 10


def test_learner_whose_disk_refuses_ends_and_leaves_episodes_with_their_robots(learning: FleetLearner):
    shutil.rmtree(learning._inbox.folder)
    with pytest.raises(LinkDown):  # not the robot's fault: it tries again, and is not out
        learning.deliver(message_of(learning, "r0", 0))
    learning._inbox.folder.mkdir()
    with pytest.raises(AgpsError, match=r"Make room, and resume"):
        learning.run()
    assert learning._algorithm.num_timesteps == 0


def test_robots_make_no_more_steps_than_the_run_has_while_its_policy_is_evaluated(learning: FleetLearner):
    assert learning.news(RobotReport(robot="r0")).stage != "over"
    for number in range(2):
        learning.deliver(message_of(learning, "r0", number, steps=60))
    assert learning.news(RobotReport(robot="r0")).stage == "over"
    with pytest.raises(LinkDown):
        learning.deliver(message_of(learning, "r0", 2, steps=60))
    assert learning._algorithm.num_timesteps == 120


def test_what_robots_said_of_showing_before_a_resume_does_not_count(learning: FleetLearner):
    fleet = learning._log.fleet
    said = [RobotReport(robot=name) for name in ("r0", "r1")]
    before = type(fleet)(["r0", "r1"], model=None)
    for report in said:
        before.hear(report, updates=0)
    fleet.load_state_dict(before.state_dict())
    assert not learning._have_shown()
    for report in said:
        learning.news(report)
    assert learning._have_shown()


def robot_in(folder: Path) -> RobotRun:
    place = Place(name="r0", folder=folder, number=0, fleet_size=1)
    link: Any = None
    return RobotRun(configure(robots=1), place, link)


def test_arm_is_held_before_its_robot_waits_for_the_learner(tmp_path: Path):
    robot, happened = robot_in(tmp_path), list[str]()
    parts: Any = robot
    parts._env = SimpleNamespace(pause=lambda: happened.append("pause"))
    parts._uploader = SimpleNamespace(flush=lambda timeout_s: happened.append("flush"))
    parts._algorithm = SimpleNamespace(updates_per_step=1.0)
    robot.stop()
    robot._await_updates()
    assert happened[:2] == ["pause", "flush"]


def test_robot_keeps_no_weights_beside_those_that_it_acts_with(tmp_path: Path, learning: FleetLearner):
    robot = robot_in(tmp_path)
    weights = Weights(version=7, env_steps=3, arrays={})
    robot.hear(replace(learning.news(RobotReport(robot="r0")), weights=weights))
    assert robot._news is not None and robot._news.weights is None and robot._weights == (7, 3)


def test_damaged_state_of_a_robot_is_told_in_one_sentence(tmp_path: Path):
    (tmp_path / STATE).write_bytes(b"PK\x03\x04 half of it")
    with pytest.raises(ConfigError, match=r"state\.pt is damaged.*delete it"):
        robot_in(tmp_path)._restore()


def test_learner_that_is_over_leaves_episodes_with_their_robots(learning: FleetLearner):
    learning._stage = "over"
    with pytest.raises(LinkDown):
        learning.deliver(message_of(learning, "r0", 0))
    assert learning._inbox.waiting() == [] and learning._algorithm.num_timesteps == 0


def cut_at_random(learning: FleetLearner, links: list[LocalLink], robots: list[RobotRun]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        link = links[rng.integers(len(links))]
        time.sleep(rng.uniform(0.0, 0.4))
        link.is_cut = True
        time.sleep(rng.uniform(0.0, 0.4))
        link.is_cut = False


@pytest.mark.parametrize("during", [None, cut_at_random])
def test_two_robots_learn_one_policy_though_their_links_are_cut(during: Callable[..., None] | None, tmp_path: Path):
    config = configure(robots=2, max_env_steps=260, task_options={"horizon": 20})
    summary = run_fleet(config, tmp_path / "run", during=during)
    run = RunDirectory(tmp_path / "run")
    due = 10 + (summary["env_steps"] - 20) // 2
    # They hold between rollouts while more than ten steps are not learned from: all are but the last rollouts.
    assert summary["env_steps"] >= 260 and due - 5 - 40 <= summary["learner_steps"] <= due
    assert {robot for robot, _, _ in check_that_each_episode_counts_once(run)} == {"r0", "r1"}
    rows = {row["robot_name"]: row for row in summary["robots"]}
    assert all(row["steps"] >= row["taken_steps"] > 0 for row in rows.values())
    assert sum(row["taken_steps"] for row in rows.values()) == summary["env_steps"]


def test_updates_that_a_killed_learner_owed_are_owed_by_the_next_one(tmp_path: Path):
    """Some for episodes that came between the last update and the checkpoint, others for those that came after it."""
    config, run = configure(robots=1, demos=0, pretrain_steps=0), RunDirectory.create(tmp_path / "run")
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as before:
        before.prepare(resume=False)
        algorithm = before._algorithm
        algorithm.stage = "online"
        contents = [message_of(before, "r0", number, steps=40) for number in range(3)]
        algorithm.learning_starts = 0
        before.deliver(contents[0])
        before._threaded._thread = threading.current_thread()  # one that has come to nothing yet
        before._checkpoint()
        before._threaded._thread = None
        for content in contents[1:]:
            before.deliver(content)
    with open_learner(config, run, ["r0"], SilentProgress(), evaluates=True) as after:
        after.prepare(resume=True)
        after._take_inbox()
        assert after._algorithm.updates_owed == 120 * after._algorithm.updates_per_step


def test_fleet_that_is_resumed_goes_on_with_what_its_robots_kept(tmp_path: Path):
    config = configure(robots=2, max_env_steps=80, task_options={"horizon": 20})
    run_fleet(config, tmp_path / "run")
    longer = config.model_copy(update={"max_env_steps": 160})
    summary = run_fleet(longer, tmp_path / "run", resume=True)
    assert summary["env_steps"] >= 160
    assert [row["lives"] for row in summary["robots"]] == [2, 2]
    check_that_each_episode_counts_once(RunDirectory(tmp_path / "run"))
