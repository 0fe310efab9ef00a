"""A fleet on Ray whose processes are killed: what comes back takes part again, and each episode counts once."""

import asyncio
import importlib.util
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agps_agent.fleet.cluster import open_cluster
from agps_agent.fleet.fleet_file import robots_of
from agps_agent.fleet.link import LinkDown, Weights
from agps_agent.fleet.training import Fleet, _remote, _Watched
from agps_agent.report import write_report
from agps_agent.run.build import load_policy
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from agps_agent.run.training import train
from rl.errors import AgpsError
from tests.agps_agent.fleet.counted import check_that_each_episode_counts_once
from tests.agps_agent.fleet.local import configure

# Not imported here: Ray reads when it is imported whether tokens are wanted.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'agps[distributed]'"
)
psutil: Any = pytest.importorskip("psutil", reason="psutil finds the processes to kill")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One cluster for all tests of this file: it takes seconds to start."""
    with open_cluster() as ray:
        yield ray


def process_of(kind: str) -> int | None:
    """The process of an actor of this program's cluster; None while there is none."""
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith("ray::") and kind in " ".join(process.cmdline()):
                return int(process.pid)
        except psutil.Error:
            continue
    return None


def kill_at_random(run: RunDirectory, kinds: list[str], *, seed: int) -> list[str]:
    """Kill one process of each kind, in this order, at random moments once episodes are being taken."""
    rng, killed = np.random.default_rng(seed), []
    for kind in kinds:
        before = len(run.read_metrics())
        while len(run.read_metrics()) < before + 2:  # it takes part: others' kills are survived
            time.sleep(0.05)
        time.sleep(float(rng.uniform(0.0, 1.0)))
        if (process := process_of(kind)) is not None:
            os.kill(process, signal.SIGKILL)
            killed.append(kind)
    return killed


@pytest.mark.timeout(600)
def test_fleet_whose_processes_are_killed_counts_each_episode_once(ray: Any, tmp_path: Path) -> None:
    config = configure(
        robots=2, method="agps", demos=1, max_env_steps=500, task_options={"horizon": 15}, checkpoint_every=60
    )
    run = RunDirectory.create(tmp_path / "run")
    fleet = Fleet(config, run, robots_of(config), SilentProgress())
    killed: list[str] = []
    kinds = ["LearnerActor", "RobotActor", "PoolActor"]
    killing = threading.Thread(target=lambda: killed.extend(kill_at_random(run, kinds, seed=0)), daemon=True)
    try:
        fleet.start(resume=False, report=write_report)
        killing.start()
        summary = fleet.watch()
    finally:
        fleet.close()
    assert killed == kinds
    assert summary["env_steps"] >= 500 and summary["learner_steps"] > 10
    lives = check_that_each_episode_counts_once(run)
    assert {robot for robot, _, _ in lives} == {"r0", "r1"} and len(lives) > 2  # who was killed came back
    assert "Robots" in run.report.read_text()


def test_pool_that_comes_back_while_the_memorys_server_is_down_is_gone_a_while_longer(ray: Any, tmp_path: Path) -> None:
    from agps_agent.fleet.actors import PoolActor  # imports Ray

    config = configure(robots=2, method="agps", memory="http://127.0.0.1:1")
    pool = PoolActor(config, RunDirectory.create(tmp_path / "run").path)
    with pytest.raises(AgpsError, match="No Chroma server") as refused:  # whoever starts a run is told
        asyncio.run(pool.open())
    assert not isinstance(refused.value, LinkDown)
    for _ in range(2):  # a robot goes on without an answer
        with pytest.raises(LinkDown):
            asyncio.run(pool.records("r0"))


def test_fleet_of_one_in_lockstep_over_ray_gives_the_weights_of_the_plain_run(ray: Any, tmp_path: Path) -> None:
    short = {"max_env_steps": 40, "task_options": {"horizon": 15}}
    train(configure(**short), RunDirectory.create(tmp_path / "plain"), SilentProgress())
    config = configure(robots=1, learner="lockstep", **short)
    fleet = Fleet(config, RunDirectory.create(tmp_path / "fleet"), robots_of(config), SilentProgress())
    try:
        fleet.start(resume=False, report=write_report)
        fleet.watch()
    finally:
        fleet.close()
    plain, one = (load_policy(RunDirectory(tmp_path / name)) for name in ("plain", "fleet"))
    assert plain.n_updates == one.n_updates > 10
    for name, weights in plain.policy.state_dict().items():
        assert torch.equal(weights, one.policy.state_dict()[name]), name


def test_closed_terminal_does_not_end_the_cluster_before_the_run_is_saved(ray: Any) -> None:
    names = ("raylet", "gcs_server")
    parts = [process for process in psutil.Process().children(recursive=True) if process.name() in names]
    assert {process.name() for process in parts} == set(names)
    for process in parts:
        status = Path(f"/proc/{process.pid}/status").read_text()
        ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")), 16)
        assert ignored >> (signal.SIGHUP - 1) & 1, process.name()


class Unfit:
    """An actor whose machine lacks something."""

    def __init__(self) -> None:
        raise ImportError("No module named 'agps_agent'")

    def run(self) -> None:
        """Never reached."""


def test_robot_whose_process_cannot_begin_is_out_with_the_reason(ray: Any, tmp_path: Path) -> None:
    config = configure(robots=2)
    fleet = Fleet(config, RunDirectory(tmp_path), robots_of(config), SilentProgress())
    actor = _remote(Unfit).remote()
    fleet._ended(_Watched(name="r1", actor=actor, again=actor.run.remote, ref=actor.run.remote()))
    assert "cannot begin" in str(fleet._faults["r1"]) and "No module named" in str(fleet._faults["r1"])


def test_robot_that_fails_in_a_way_nobody_thought_of_is_out_and_the_others_go_on(ray: Any, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0)
    def fails() -> None:
        raise ZeroDivisionError("period of 0 s")

    config = configure(robots=2)
    fleet = Fleet(config, RunDirectory(tmp_path), robots_of(config), SilentProgress())
    fleet._ended(_Watched(name="r0", actor=None, again=fails.remote, ref=fails.remote()))
    assert "ZeroDivisionError: period of 0 s" in str(fleet._faults["r0"])
    assert not fleet._all_robots_are_out


class Stored:
    """What stands for an object in shared memory."""


def test_learner_holds_one_version_of_its_weights_in_shared_memory(ray: Any) -> None:
    from agps_agent.fleet.actors import Shared  # imports Ray

    made: list[weakref.ref[Stored]] = []

    def put(weights: Weights) -> Stored:
        stored = Stored()
        made.append(weakref.ref(stored))
        return stored

    shared = Shared(put)
    for version in range(50):
        for _ in range(3):  # each robot asks
            shared.reference(Weights(version=version, env_steps=0, arrays={}))
        assert sum(stored() is not None for stored in made) == 1
    assert len(made) == 50
