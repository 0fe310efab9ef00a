"""Recorded episodes into a LeRobotDataset v3.0."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.demonstrations import sound_episodes
from rl.envs.datasheet import Component
from rl.episodes import GUIDED, STATE, Episode, Layout, layout_of
from rl.errors import ConfigError
from rl.files import new_folder
from rl.lerobot.card import card
from rl.lerobot.colour import measure
from rl.lerobot.layout import (
    ACTION_KEY,
    ACTOR_KEY,
    ACTORS,
    BESIDE,
    CARD,
    DATA,
    DONE,
    INTERVENTION,
    REWARD,
    STATE_KEY,
    SUCCESS,
    TRUNCATED,
    VERSION,
    VIDEO,
    Limits,
    camera_key,
)
from rl.lerobot.recorded import About, Exported, Recorded
from rl.lerobot.video import ENCODERS, PIXELS, choose_encoder
from rl.lerobot.writer import DatasetWriter, counted, features


def export_dataset(
    recorded: Sequence[Recorded], about: About, folder: Path, *, limits: Limits | None = None
) -> Exported:
    """Write a dataset; the folder appears complete or not at all.

    Args:
        recorded: Its episodes, in their order.
        about: What they are of.
        folder: Folder to make.
        limits: When a new file is begun.

    Raises:
        ConfigError: If there are none, one is damaged, has unsound values or other arrays than the first, the folder
            is in use, or something is not installed.
        AgpsError: If the disk refuses, or a codec has lost a frame.
    """
    if not recorded:
        raise ConfigError(f"There are no episodes in {about.source}; nothing was exported.")
    encoder = choose_encoder()
    with new_folder(folder, purpose="the dataset") as unfinished:
        writer = DatasetWriter(unfinished, fps=about.fps, instruction=about.instruction, encoder=encoder, limits=limits)
        ends = _Ends()
        successes = 0
        for record, episode, layout in _checked(recorded):
            columns = _columns(episode, record)
            writer.add(columns, {camera_key(name): episode[name][:-1] for name in layout.images})
            ends.add(episode, layout)
            successes += bool(columns[SUCCESS].any())
        writer.finish(_info(about, layout, encoder, writer.limits))
        ends.write(unfinished / BESIDE)
        exported = Exported(
            episodes=len(recorded),
            successes=successes,
            frames=writer.total_frames,
            codec=ENCODERS[encoder],
            colour_error=measure(unfinished, recorded, writer.episodes, layout, fps=about.fps),
        )
        text = card(about, layout, exported)
        (unfinished / CARD).write_text(text, encoding="utf-8")
    return exported


def _checked(recorded: Sequence[Recorded]) -> Iterator[tuple[Recorded, Episode, Layout]]:
    """Yield each episode with its origin and layout.

    Raises:
        ConfigError: If a video cannot hold its images.
    """
    episodes = sound_episodes(record.path for record in recorded)
    for record, (path, episode) in zip(recorded, episodes, strict=True):
        layout = layout_of(episode, where=str(path))
        for name, (height, width, channels) in layout.images.items():
            if channels != 3 or height % 2 or width % 2:
                raise ConfigError(
                    f"'{name}' of {path} has images of shape {(height, width, channels)}; {PIXELS} videos hold three "
                    "channels and even sides only."
                )
        yield record, episode, layout


def _columns(episode: Episode, record: Recorded) -> dict[str, npt.NDArray[Any]]:
    """Return an episode's rows: what was seen, what was done then, and what came of it."""
    steps = len(episode["action"])
    terminated, truncated = episode["terminated"], episode["truncated"]
    return {
        STATE_KEY: episode[STATE][:-1].astype(np.float32),
        ACTION_KEY: episode["action"].astype(np.float32),
        REWARD: episode["reward"].astype(np.float32),
        DONE: terminated | truncated,
        TRUNCATED: truncated,
        SUCCESS: terminated & (episode["reward"] > 0),
        INTERVENTION: episode.get(GUIDED, np.zeros(steps, np.bool_)).astype(np.float32),
        ACTOR_KEY: record.actors(episode),
    }


class _Ends:
    """What a LeRobotDataset has no place for: see `BESIDE`."""

    def __init__(self) -> None:
        self._kept: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, episode: Episode, layout: Layout) -> None:
        last = {camera_key(name): episode[name][-1] for name in layout.images}
        last |= {STATE_KEY: episode[STATE][-1].astype(np.float32)}
        last |= {"length": np.array(len(episode["action"])), "seed": np.asarray(episode.get("seed", -1), np.int64)}
        for key, value in last.items():
            self._kept.setdefault(key, []).append(value)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        stacked: dict[str, Any] = {key: np.stack(values) for key, values in self._kept.items()}
        np.savez_compressed(path, **stacked)


def _info(about: About, layout: Layout, encoder: str, limits: Limits) -> dict[str, Any]:
    """Return info.json without the totals."""
    sizes = {STATE_KEY: ("float32", layout.state), ACTION_KEY: ("float32", layout.action), REWARD: ("float32", 1)}
    sizes |= dict.fromkeys((DONE, TRUNCATED, SUCCESS), ("bool", 1))
    sizes |= {INTERVENTION: ("float32", 1), ACTOR_KEY: ("int64", 1), **dict(counted())}
    cameras = {camera_key(name): shape for name, shape in layout.images.items()}
    described = features(sizes, cameras, about.fps)
    for key, components in ((STATE_KEY, about.state), (ACTION_KEY, about.action)):
        described[key] |= _names(components)
    described[ACTOR_KEY]["info"] = {"values": list(ACTORS)}
    for key in cameras:
        described[key]["info"]["video.codec"] = ENCODERS[encoder]
    return {
        "codebase_version": VERSION,
        "robot_type": about.robot,
        "chunks_size": limits.chunks_size,
        "data_files_size_in_mb": limits.data_mb,
        "video_files_size_in_mb": limits.video_mb,
        "fps": about.fps,
        "data_path": DATA,
        "video_path": VIDEO,
        "features": described,
        "agps": {"task": about.task, **about.manifest},
    }


def _names(components: Sequence[Component]) -> dict[str, Any]:
    about = [asdict(component) for component in components]
    info = {f"{field}s": [each[field] for each in about] for field in ("unit", "frame")}
    return {"names": [each["name"] for each in about], "info": info}
