"""Film strips: a few frames of each demonstration side by side, one PNG per episode."""

from pathlib import Path

import numpy as np
from PIL import Image

from rl.demonstrations import read_episode

FRAMES = 8
"""Frames per strip, evenly spaced, first and last included."""


def write_strips(folder: Path) -> list[Path]:
    """Write `episode_NNN.png` beside each `episode_NNN.npz`: one row per camera, time from left to right.

    Raises:
        ConfigError: If an episode is damaged.
    """
    pictures = []
    for episode in sorted(folder.glob("episode_*.npz")):
        arrays = read_episode(episode)
        cameras = [arrays[name] for name in sorted(arrays) if arrays[name].ndim == 4]
        rows = [np.concatenate(list(frames[_spread(len(frames))]), axis=1) for frames in cameras]
        picture = episode.with_suffix(".png")
        Image.fromarray(np.concatenate(rows, axis=0)).save(picture)
        pictures.append(picture)
    return pictures


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int))
