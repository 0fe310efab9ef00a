"""Frames of two cameras that show a bright square where there is success and a dim one where there is not."""

import numpy as np

from rl.rewards.classifier.frames import LabelledFrames


def synthetic_frames(episodes: int = 30, per_episode: int = 6, seed: int = 0, size: int = 32) -> LabelledFrames:
    rng = np.random.default_rng(seed)
    count = episodes * per_episode
    success = rng.random(count) < 0.4
    images = {}
    for camera in ("left", "right"):
        frames = rng.integers(0, 60, (count, size, size, 3), dtype=np.uint8)
        for n in range(count):
            row, column = rng.integers(4, size - 12, 2)
            frames[n, row : row + 8, column : column + 8] = 200 if success[n] else 90
        images[camera] = frames
    splits = np.array(["train", "validation", "held_out"])[np.arange(episodes) * 3 // episodes]
    return LabelledFrames(
        task="usb_insertion",
        images=images,
        state=rng.normal(size=(count, 19)).astype(np.float32),
        success=success,
        source=np.full(count, "miss"),
        step=np.tile(np.arange(per_episode), episodes),
        seed=np.repeat(np.arange(episodes), per_episode),
        episode=np.repeat([f"frames/episode_{n:03d}" for n in range(episodes)], per_episode),
        split=np.repeat(splits, per_episode),
    )
