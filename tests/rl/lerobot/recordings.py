"""Episodes of usb_insertion's layout without a simulator, and what an export is told of them."""

from pathlib import Path
from typing import Any

import numpy as np

from rl.demonstrations import made_for, write_episodes
from rl.envs.datasheet import STATE, action_components
from rl.lerobot import About, Recorded
from rl.tasks import get_task

INSTRUCTION = "Insert the USB plug held by the gripper into the USB port."


def recorded(steps: int, *, number: int = 0, side: int = 64, guided: bool = False) -> dict[str, np.ndarray]:
    """An episode that succeeds: blocks of colour that move, numbers that no two steps share."""
    rng = np.random.default_rng(number)
    blocks = rng.integers(0, 256, (2, steps + 1, 4, 4, 3), np.uint8)
    images = np.kron(blocks, np.ones((1, 1, side // 4, side // 4, 1), np.uint8))
    last = np.arange(steps) == steps - 1
    episode = {
        "wrist_1": images[0],
        "wrist_2": images[1],
        "state": rng.normal(size=(steps + 1, 19)).astype(np.float32),
        "action": rng.uniform(-1, 1, (steps, 6)).astype(np.float32),
        "reward": last.astype(np.float32),
        "terminated": last,
        "truncated": np.zeros(steps, bool),
        "seed": np.array(100 + number),
    }
    return {**episode, "guided": rng.random(steps) > 0.5} if guided else episode


def folder_of(episodes: list[dict[str, Any]], folder: Path) -> Path:
    """A folder as `agps demos record` leaves it."""
    about = {**made_for(get_task("usb_insertion"), image_size=64), "robot": "sim", "seed": 100, "by": "expert"}
    seeds = [int(episode["seed"]) for episode in episodes]
    write_episodes(folder, "demos.json", {**about, "seeds": seeds, "count": len(episodes)}, episodes)
    return folder


def files_of(folder: Path, *, actor: str = "expert", guide: str = "agent") -> list[Recorded]:
    return [Recorded(path=path, actor=actor, guide=guide) for path in sorted(folder.glob("episode_*.npz"))]


def about() -> About:
    return About(
        task="usb_insertion",
        instruction=INSTRUCTION,
        robot="sim",
        fps=10,
        state=STATE,
        action=action_components(6, translation_m=0.01, rotation_rad=0.06),
        source="a test",
        manifest={"seed": 100},
    )
