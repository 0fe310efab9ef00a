"""A fleet on Ray whose processes are killed: what comes back takes part again, and each episode counts once."""

import asyncio
import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.fleet.cluster import open_cluster
from agps_agent.fleet.fleet_file import robots_of
from agps_agent.fleet.link import LinkDown
from agps_agent.fleet.training import Fleet
from agps_agent.report import write_report
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
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
