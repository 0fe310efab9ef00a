"""A fleet of one in lockstep is the plain run."""

from pathlib import Path

import pytest
import torch

from agps_agent.run.build import load_policy
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from agps_agent.run.simulation import Simulation
from agps_agent.run.training import train
from rl.envs.factory import make_env
from tests.agps_agent.fleet.local import configure, run_fleet


@pytest.fixture(autouse=True)
def fake_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm that obeys at once in place of the simulated one."""
    monkeypatch.setattr(Simulation, "open", lambda self, config, **_: make_env(config.task, robot="fake"))


@pytest.mark.parametrize("helper", ["nobody", "agent"])
def test_fleet_of_one_in_lockstep_gives_the_weights_of_the_plain_run(helper: str, tmp_path: Path):
    method = {"nobody": "serl", "agent": "agps"}[helper]
    train(configure(method=method), RunDirectory.create(tmp_path / "plain"), SilentProgress())
    summary = run_fleet(configure(method=method, robots=1, learner="lockstep"), tmp_path / "fleet")
    assert (summary["agent_calls"] > 0) == (helper == "agent")  # it was asked
    plain, fleet = (load_policy(RunDirectory(tmp_path / name)) for name in ("plain", "fleet"))
    assert (summary["env_steps"], summary["learner_steps"]) == (120, plain.n_updates)
    for name, weights in plain.policy.state_dict().items():
        assert torch.equal(weights, fleet.policy.state_dict()[name]), name
