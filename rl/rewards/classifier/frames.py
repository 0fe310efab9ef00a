"""Labelled frames: what `agps reward collect` leaves on disk and what a classifier is fitted on.

A folder holds `frames.json` and one `episode_NNN.npz` per episode, as demonstrations do. Each episode belongs to one
split as a whole: neighbouring frames look alike, and a frame in training beside its twin in the test tests nothing.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from rl.demonstrations import read_episode
from rl.errors import ConfigError
from rl.files import quoted
from rl.finite import not_finite_at
from rl.growing_folder import is_in_use, keep_episode
from rl.types import ByteArray

if TYPE_CHECKING:
    from rl.envs.manipulation import ManipulationEnv

MANIFEST = "frames.json"
Split = Literal["train", "validation", "held_out"]
BoolArray = npt.NDArray[np.bool_]

HELD_OUT, VALIDATION = 0.25, 0.2
"""Shares of the episodes that no fit may see, and that choose threshold and stopping time."""
_PER_FRAME = ("state", "success", "step", "source")
_PER_EPISODE = ("seed", "episode", "split")


@dataclass(frozen=True, kw_only=True)
class FrameEpisode:
    """The frames that were kept of one episode, in order of time."""

    images: Mapping[str, ByteArray]
    """Per policy camera, (K, H, W, 3)."""
    state: npt.NDArray[np.float32]
    """Proprioception. Shape (K, P)."""
    success: BoolArray
    """What the simulator says, or an operator. Shape (K,)."""
    step: npt.NDArray[np.int64]
    """Control step of the rollout, counting from 0. Shape (K,)."""
    source: npt.NDArray[np.str_]
    """What the arm was doing (see `rl.rewards.classifier.collecting`). Shape (K,)."""
    seed: int
    """Seed of the start."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """Frames of many episodes in a row."""

    task: str
    images: Mapping[str, ByteArray]
    """Per camera, in the task's order, (N, H, W, 3)."""
    state: npt.NDArray[np.float32]
    """Shape (N, P)."""
    success: BoolArray
    """Shape (N,)."""
    source: npt.NDArray[np.str_]
    """Shape (N,)."""
    step: npt.NDArray[np.int64]
    """Shape (N,)."""
    seed: npt.NDArray[np.int64]
    """Seed of the episode's start. Shape (N,)."""
    episode: npt.NDArray[np.str_]
    """Name of the episode, `folder/episode_NNN`. Shape (N,)."""
    split: npt.NDArray[np.str_]
    """Split of the episode. Shape (N,)."""
    actions: int | None = None
    """Size of the task's action; None in folders of before it was written down: that of the registered task."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(self.images)

    @property
    def image_size(self) -> int:
        """Side of the images, [px]."""
        return int(next(iter(self.images.values())).shape[1])

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.success)

    def take(self, chosen: npt.NDArray[Any]) -> "LabelledFrames":
        """Return the frames of a mask or of indices."""
        arrays = {name: getattr(self, name)[chosen] for name in (*_PER_FRAME, *_PER_EPISODE)}
        images = {camera: frames[chosen] for camera, frames in self.images.items()}
        return dataclasses.replace(self, images=images, **arrays)

    def of(self, split: Split) -> "LabelledFrames":
        """Return the frames of one split."""
        return self.take(self.split == split)

    def digest(self) -> str:
        """Return a hash of everything that a fit can depend on."""
        content = hashlib.sha256()
        for array in (*self.images.values(), self.state, self.success, self.seed, self.split):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()[:16]


def assign_splits(
    groups: Sequence[str], *, held_out: float, validation: float, rng: np.random.Generator
) -> list[Split]:
    """Draw a split for each episode, in the same proportions within each group.

    Args:
        groups: What each episode is, e.g. `success`; every group of three or more is in every split.
        held_out: Share of the episodes that no fit may see.
        validation: Share that chooses threshold and stopping time.
        rng: Source of the draw.
    """
    splits: list[Split] = ["train"] * len(groups)
    for group in sorted(set(groups)):
        members = rng.permutation([index for index, name in enumerate(groups) if name == group])
        least = int(len(members) >= 3)
        out, check = (max(least, round(share * len(members))) for share in (held_out, validation))
        for index in members[:out]:
            splits[index] = "held_out"
        for index in members[out : out + check]:
            splits[index] = "validation"
    return splits


class FrameFolder:
    """Labelled frames that are kept as they are made: whatever ends a recording, those before it are on disk."""

    def __init__(self, folder: Path, *, env: "ManipulationEnv", seed: int, robot: str = "sim") -> None:
        """Begin a folder of `frames.json` and one `episode_NNN.npz` each, which appears with the first episode.

        Args:
            folder: Folder to make.
            env: Environment that the episodes are recorded in.
            seed: Seed of the draw of the splits.
            robot: Where they are recorded, as `--robot` says it.

        Raises:
            ConfigError: If the folder is in use.
        """
        if is_in_use(folder):
            raise ConfigError(f"{folder} already exists; name another folder for the episodes.")
        self.episodes: list[FrameEpisode] = []
        """What is on disk."""
        self._folder, self._env, self._seed, self._robot = folder, env, seed, robot

    def keep(self, episode: FrameEpisode) -> None:
        """Put one more episode on disk, and draw the splits anew.

        Raises:
            AgpsError: If the disk refuses; the others are still there.
        """
        grown = [*self.episodes, episode]
        keep_episode(
            self._folder / MANIFEST,
            _arrays(episode),
            number=len(self.episodes),
            before=_manifest(self.episodes, env=self._env, seed=self._seed, robot=self._robot),
            after=_manifest(grown, env=self._env, seed=self._seed, robot=self._robot),
        )
        self.episodes = grown


def _arrays(episode: FrameEpisode) -> dict[str, npt.NDArray[Any]]:
    per_frame = {name: getattr(episode, name) for name in _PER_FRAME}
    return {**episode.images, **per_frame, "seed": np.array(episode.seed)}


def _manifest(
    episodes: Sequence[FrameEpisode],
    *,
    env: "ManipulationEnv",
    seed: int,
    robot: str,
) -> dict[str, Any]:
    groups = ["success" if episode.success.any() else str(episode.source[-1]) for episode in episodes]
    splits = assign_splits(groups, held_out=HELD_OUT, validation=VALIDATION, rng=np.random.default_rng(seed))
    return {
        "task": env.task.name,
        "actions": env.task.actions,
        "robot": robot,
        "config": dataclasses.asdict(env.task),
        "cameras": [camera.name for camera in env.task.policy_cameras],
        "image_size": env.image_size,
        "seed": seed,
        "count": len(episodes),
        "positive": int(sum(episode.success.sum() for episode in episodes)),
        "negative": int(sum((~episode.success).sum() for episode in episodes)),
        "splits": {f"episode_{number:03d}": split for number, split in enumerate(splits)},
    }


def recorded_on(folders: Sequence[Path], *, task: str) -> set[str]:
    """Return where the frames of some folders were recorded, as `--robot` says it.

    Raises:
        ConfigError: If a folder holds no frames of the task.
    """
    return {str(_read_manifest(Path(folder), task).get("robot", "sim")) for folder in folders}


def load_frames(folders: Sequence[Path], *, task: str) -> LabelledFrames:
    """Return the frames of one folder or several, which must agree in task, cameras and image size.

    Raises:
        ConfigError: If there are none, they are of another task or do not agree, or a file is damaged.
    """
    if not folders:
        raise ConfigError("No folder of frames was named; name one that `agps reward collect` wrote.")
    manifests = [_read_manifest(Path(folder), task) for folder in folders]
    for folder, manifest in zip(folders[1:], manifests[1:], strict=True):
        for key in ("cameras", "image_size"):
            if manifest[key] != manifests[0][key]:
                raise ConfigError(
                    f"{folder} has {key} {manifest[key]}, {folders[0]} has {manifests[0][key]}; fit them apart."
                )
    cameras: list[str] = manifests[0]["cameras"]
    parts: dict[str, list[Any]] = {name: [] for name in (*cameras, *_PER_FRAME, *_PER_EPISODE)}
    for folder, manifest in zip(folders, manifests, strict=True):
        for path in _episode_files(Path(folder), manifest):
            episode = _read_checked(path, cameras, manifest["image_size"])
            split = manifest["splits"][path.stem]
            for name in (*cameras, *_PER_FRAME):
                parts[name].append(episode[name])
            for name, value in zip(_PER_EPISODE, (episode["seed"], f"{folder}/{path.stem}", split), strict=True):
                parts[name].append(np.full(len(episode["success"]), value))
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    images = {camera: arrays.pop(camera) for camera in cameras}
    return LabelledFrames(task=task, images=images, actions=manifests[0].get("actions"), **arrays)


def _read_manifest(folder: Path, task: str) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There are no labelled frames in {folder}; `agps reward collect {task} --out {quoted(folder)}` makes some."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read {folder / MANIFEST}: {error}; collect anew.") from error
    wanted = ("task", "cameras", "image_size", "splits")
    if not isinstance(manifest, dict) or any(key not in manifest for key in wanted):
        raise ConfigError(f"{folder / MANIFEST} lacks some of {', '.join(wanted)}; collect anew.")
    if manifest["task"] != task:
        raise ConfigError(f"The frames in {folder} are of task {manifest['task']!r}, not {task!r}; name other frames.")
    return manifest


def _episode_files(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    files = sorted(folder.glob("episode_*.npz"))
    if len(files) == len(manifest["splits"]) + 1:  # a recording was cut before the newest was counted
        files.pop()
    if not files or {path.stem for path in files} != manifest["splits"].keys():
        raise ConfigError(
            f"{folder} has {len(files)} episodes, its {MANIFEST} names {len(manifest['splits'])}; collect anew."
        )
    return files


def _read_checked(path: Path, cameras: Sequence[str], image_size: int) -> Mapping[str, npt.NDArray[Any]]:
    episode = read_episode(path)
    missing = [name for name in (*cameras, *_PER_FRAME, "seed") if name not in episode]
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}; collect anew.")
    count = len(episode["success"])
    for camera in cameras:
        if episode[camera].shape != (count, image_size, image_size, 3):
            raise ConfigError(
                f"{path} holds {camera!r} of shape {episode[camera].shape}, "
                f"not {(count, image_size, image_size, 3)}; collect anew."
            )
    # Floats between 0 and 1 would look black, and a label that is not a bool would index frames instead of choosing.
    for name, kind in (*((camera, np.uint8) for camera in cameras), ("success", np.bool_)):
        if episode[name].dtype != kind:
            raise ConfigError(
                f"{path} holds {name!r} of type {episode[name].dtype}, not {np.dtype(kind)}; collect anew."
            )
    if not_finite_at(episode["state"]) is not None:
        raise ConfigError(f"{path} holds a 'state' that is no finite number; collect anew.")
    return episode
