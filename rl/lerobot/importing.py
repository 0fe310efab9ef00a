"""A LeRobotDataset into a folder of demonstrations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.demonstrations import BY, MANIFEST, made_for, write_episode, write_manifest
from rl.envs.datasheet import STATE, action_components
from rl.envs.manipulation import STATE_SIZE
from rl.errors import ConfigError
from rl.files import new_folder
from rl.lerobot.dataset import Dataset
from rl.lerobot.fitting import Wanted, fitted_episodes
from rl.lerobot.layout import ACTION_KEY, ACTORS, STATE_KEY
from rl.lerobot.recorded import ACTOR
from rl.tasks.base import Task
from rl.types import CONTROL_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Demonstrations that were made of a dataset."""

    count: int
    left_out: int
    """Episodes of the dataset that did not succeed."""


def wanted_by(task: Task, *, image_size: int, renamed: Mapping[str, str], last_frame_succeeds: bool = False) -> Wanted:
    """Return what a dataset must be like to hold demonstrations of a task.

    Args:
        task: What is demonstrated.
        image_size: Side of the images, [px].
        renamed: Keys of the dataset by camera, where they are not `observation.images.CAMERA`.
        last_frame_succeeds: Every episode ends in success, whatever the dataset says.
    """
    return Wanted(
        task=task.name,
        cameras=tuple(camera.name for camera in task.policy_cameras),
        image_size=image_size,
        state=STATE_SIZE,
        action=task.actions,
        rate_hz=CONTROL_RATE_HZ,
        renamed=renamed,
        last_frame_succeeds=last_frame_succeeds,
    )


def import_dataset(dataset: Dataset, task: Task, wanted: Wanted, folder: Path) -> Imported:
    """Write the successful episodes of a dataset as demonstrations; the folder appears complete or not at all.

    Raises:
        ConfigError: If the folder is in use, the dataset does not fit, or no episode succeeded.
        AgpsError: If the disk refuses.
    """
    total = len(dataset.episodes)
    about: dict[str, Any] = {**made_for(task, image_size=wanted.image_size), "seed": 0}
    about |= {"robot": str(dataset.info.get("robot_type") or "unknown")}
    with new_folder(folder, purpose="the episodes") as unfinished:
        seeds, actors, count = [], set[int](), 0
        for episode in fitted_episodes(dataset, wanted):
            write_episode(unfinished, count, episode)
            seeds += [int(episode["seed"])] if "seed" in episode else []
            actors |= set(episode[ACTOR].tolist()) if ACTOR in episode else {ACTORS.index("unknown")}
            count += 1
        if count == 0:
            raise ConfigError(f"None of the {total} episodes of {dataset.folder} succeeded; nothing was imported.")
        about[BY] = ACTORS[actors.pop()] if len(actors) == 1 else "unknown"
        about["imported"] = {"dataset": str(dataset.folder), "episodes": total, "left_out": total - count}
        write_manifest(unfinished / MANIFEST, {**about, "seeds": seeds, "count": count})
    return Imported(count=count, left_out=total - count)


def called_otherwise(dataset: Dataset, task: Task) -> list[tuple[str, tuple[str, ...]]]:
    """Return the vectors whose components a dataset does not call as we do, and what it calls them, if anything."""
    ours = {STATE_KEY: STATE, ACTION_KEY: action_components(task.actions, translation_m=1.0, rotation_rad=1.0)}
    theirs = {key: dataset.features[key].names for key in ours}
    return [(key, theirs[key]) for key in ours if theirs[key] != tuple(each.name for each in ours[key])]
