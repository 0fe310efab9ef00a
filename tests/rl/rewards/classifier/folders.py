"""Folders of labelled frames, written in one go."""

from collections.abc import Sequence
from pathlib import Path

from rl.envs.manipulation import ManipulationEnv
from rl.rewards.classifier.frames import FrameEpisode, FrameFolder


def keep_frames(
    folder: Path, episodes: Sequence[FrameEpisode], *, env: ManipulationEnv, seed: int, robot: str = "sim"
) -> None:
    """Make a folder of these episodes."""
    kept = FrameFolder(folder, env=env, seed=seed, robot=robot)
    for episode in episodes:
        kept.keep(episode)
