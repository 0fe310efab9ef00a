"""Learning runs of minutes: `make slow`."""

from pathlib import Path

import pytest

from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import save_config
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from agps_agent.run.training import train


@pytest.mark.slow
@pytest.mark.timeout(20_000)
@pytest.mark.parametrize("demos", [0, 1, 20])
def test_policy_learns_to_insert_the_plug_with_the_agent(tmp_path: Path, demos: int):
    config = RunConfig(task="usb_insertion", demos=demos, seed=3, max_env_steps=8_000, max_minutes=300, threads=1)
    run = RunDirectory.create(tmp_path / "run")
    save_config(config, run)
    summary = train(config, run, SilentProgress())
    assert summary["success_rate"] >= 0.9
    assert summary["agent_calls"] <= 40
