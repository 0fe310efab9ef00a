"""What must hold of a fleet's run, whatever died meanwhile: no acknowledged episode is lost, none is doubled."""

from collections import Counter
from typing import Any

import numpy as np
import torch

from agps_agent.run.directory import RunDirectory
from rl.checkpoint import recorded_episodes


def check_that_each_episode_counts_once(run: RunDirectory) -> list[tuple[str, str, int]]:
    """Return (robot, process, episodes) of each process of a robot that the last checkpoint has learned from."""
    last = run.checkpoints / "last"
    extra: dict[str, Any] = torch.load(last / "state.pt", weights_only=False)["extra"]
    taken = extra["supervisor"]["ledger"]["taken"]
    # A robot sends its episodes in order, the next one after the one before is acknowledged: a gap is a lost one.
    assert all(stretches == [[0, stretches[-1][1]]] for _, _, stretches in taken)
    entered = sum(stretches[-1][1] + 1 for _, _, stretches in taken)
    stored = [path for path, given in recorded_episodes(last) if not given]
    rows = [row for row in run.read_metrics() if row["kind"] == "episode"]
    assert len(stored) == entered == len(rows)
    first_images = Counter()
    for path in stored:
        with np.load(path) as episode:
            first_images[episode["action"].tobytes()] += 1
    assert set(first_images.values()) == {1}
    return [(robot, process, stretches[-1][1] + 1) for robot, process, stretches in taken]
