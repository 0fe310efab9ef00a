"""One learner of several robots, without Ray: who is cut off goes on, and each episode counts once."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agps_agent.fleet.build import open_learner
from agps_agent.fleet.learner import FleetLearner
from agps_agent.fleet.link import LinkDown
from agps_agent.fleet.message import EpisodeMessage, Key, to_bytes
from agps_agent.fleet.robot import RobotRun
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from agps_agent.run.simulation import Simulation
from rl.buffers import NStep
from rl.envs.factory import make_env
from rl.errors import ConfigError
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


def test_fleet_that_is_resumed_goes_on_with_what_its_robots_kept(tmp_path: Path):
    config = configure(robots=2, max_env_steps=80, task_options={"horizon": 20})
    run_fleet(config, tmp_path / "run")
    longer = config.model_copy(update={"max_env_steps": 160})
    summary = run_fleet(longer, tmp_path / "run", resume=True)
    assert summary["env_steps"] >= 160
    assert [row["lives"] for row in summary["robots"]] == [2, 2]
    check_that_each_episode_counts_once(RunDirectory(tmp_path / "run"))
