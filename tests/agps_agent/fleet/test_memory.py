"""What a learner of many robots takes of memory: as much after 100,000 control steps as when its replay was full."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agps_agent.fleet.build import open_learner
from agps_agent.run.directory import RunDirectory
from agps_agent.run.progress import SilentProgress
from tests.agps_agent.fleet.local import SMALL, configure
from tests.agps_agent.fleet.test_learner import message_of

psutil: Any = pytest.importorskip("psutil", reason="psutil measures the memory")

STEPS, PER_EPISODE, EVERY = 100_000, 50, 5_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_is_flat_once_the_replay_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configure(
        robots=4, demos=0, pretrain_steps=0, max_env_steps=STEPS, drq=replace(SMALL, buffer_capacity=20_000)
    )
    used: dict[int, float] = {}
    with open_learner(
        config, RunDirectory.create(tmp_path / "run"), ["r0"], SilentProgress(), evaluates=True
    ) as learner:
        learner.prepare(resume=False)
        learner._log.start_clock()
        for number in range(STEPS // PER_EPISODE):
            learner.deliver(message_of(learner, f"r{number % 4}", number, steps=PER_EPISODE))
            steps = (number + 1) * PER_EPISODE
            if steps % EVERY == 0:
                learner._checkpoint()
                used[steps] = psutil.Process().memory_info().rss / 1e9
        with capsys.disabled():
            print({steps: f"{gigabytes:.2f} GB" for steps, gigabytes in used.items()})
        assert used[STEPS] < 1.05 * used[30_000]
