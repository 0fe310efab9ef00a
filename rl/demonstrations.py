"""Demonstrations: recorded by an expert, kept as a folder of episodes."""

import dataclasses
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from rl.buffers import Episode
from rl.errors import AgpsError, ConfigError
from rl.types import Expert, FloatArray

logger = logging.getLogger(__name__)

MANIFEST = "demos.json"


class DemonstratedTask(Protocol):
    """A task as a folder of demonstrations knows it: a dataclass with a name."""

    @property
    def name(self) -> str:
        """What the folder is of."""


class DemonstratedEnv(Protocol):
    """An environment that can be demonstrated in."""

    @property
    def task(self) -> DemonstratedTask:
        """What is done in it."""

    @property
    def image_size(self) -> int:
        """Side of the images, [px]."""

    @property
    def observation_space(self) -> gymnasium.spaces.Dict:
        """What an observation holds."""

    def reset(self, *, seed: int | None = None) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Start an episode; the info holds what the expert sees as `observation`."""

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Take a control step; the info holds `observation` and `executed_action`."""

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points that only a simulator knows, base frame, (3,), [m]."""

    def expert(self) -> Expert:
        """Return the scripted expert.

        Raises:
            ConfigError: If there is none.
        """


def record_demos(env: DemonstratedEnv, expert: Expert | None = None, *, n: int, seed: int) -> list[Episode]:
    """Return `n` successful episodes of an expert; failed ones are counted in the log and left out.

    Episode k starts from the seed `seed + k`, which it carries under `seed`.

    Args:
        env: Environment to act in.
        expert: The environment's scripted expert if None.
        n: Episodes to keep.
        seed: Seed of the first attempt.

    Raises:
        ConfigError: If the expert fails more often than it succeeds.
    """
    expert = expert or env.expert()
    episodes: list[Episode] = []
    attempts = 0
    while len(episodes) < n:
        if attempts >= 2 * n + 10:
            raise ConfigError(f"The expert succeeded in {len(episodes)} of {attempts} episodes; make the task easier.")
        episode = _rollout(env, expert, seed=seed + attempts)
        attempts += 1
        if episode["reward"][-1] > 0:
            episodes.append(episode)
    logger.info("Recorded %d demonstrations; %d attempts failed.", n, attempts - n)
    return episodes


def _rollout(env: DemonstratedEnv, expert: Expert, *, seed: int) -> Episode:
    observation, info = env.reset(seed=seed)
    observations, steps = [observation], []
    done = False
    while not done:
        action = expert(info["observation"], env.truth())
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        steps.append((info["executed_action"], reward, terminated, truncated))
        done = terminated or truncated
    actions, rewards, terminations, truncations = zip(*steps, strict=True)
    return {
        **{key: np.stack([frame[key] for frame in observations]) for key in observation},
        "action": np.stack(actions).astype(np.float32),
        "reward": np.array(rewards, np.float32),
        "terminated": np.array(terminations, np.bool_),
        "truncated": np.array(truncations, np.bool_),
        "seed": np.array(seed, np.int64),
    }


def save_demos(folder: Path, episodes: Sequence[Episode], *, env: DemonstratedEnv, seed: int) -> None:
    """Write `demos.json` and one `episode_NNN.npz` each; the folder appears complete or not at all.

    Args:
        folder: Folder to make.
        episodes: As `record_demos` returns them.
        env: Environment they were recorded in.
        seed: Seed they were recorded with.

    Raises:
        ConfigError: If the folder is in use.
        AgpsError: If the disk refuses.
    """
    manifest = {
        "task": env.task.name,
        "config": dataclasses.asdict(env.task),  # type: ignore[call-overload]  # no protocol says dataclass
        "image_size": env.image_size,
        "seed": seed,
        "seeds": [int(episode["seed"]) for episode in episodes if "seed" in episode],
        "count": len(episodes),
    }
    write_episodes(folder, MANIFEST, manifest, episodes)


def write_episodes(folder: Path, name: str, manifest: Mapping[str, Any], episodes: Sequence[Episode]) -> None:
    """Write a manifest called `name` and one `episode_NNN.npz` each; the folder appears complete or not at all.

    Raises:
        ConfigError: If the folder is in use.
        AgpsError: If the disk refuses.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} already exists; name another folder for the episodes.")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir(parents=True)
        for number, episode in enumerate(episodes):
            np.savez_compressed(unfinished / f"episode_{number:03d}.npz", **dict[str, Any](episode))
        (unfinished / name).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = error.strerror or str(error)
        raise AgpsError(f"Cannot save {folder}: {reason}; make room, or name another folder.") from error


def load_demos(folder: Path, *, env: DemonstratedEnv) -> list[Episode]:
    """Return the demonstrations in a folder, for the task and image size of an environment.

    Raises:
        ConfigError: If there are none, or they are of another task, image size or camera, or a file is damaged.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    for what, wanted in (("task", env.task.name), ("image_size", env.image_size)):
        if manifest.get(what) != wanted:
            raise ConfigError(
                f"The demonstrations in {folder} are of {what} {manifest.get(what)!r}, not {wanted!r}; "
                "record them with `agps demos record`."
            )
    files = sorted(folder.glob("episode_*.npz"))
    if len(files) != manifest.get("count"):
        raise ConfigError(
            f"{folder} has {len(files)} episodes, its {MANIFEST} says {manifest.get('count')}; record anew."
        )
    return [_read_fitting(path, env) for path in files]


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There are no demonstrations in {folder}; record some with `agps demos record`.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read {folder / MANIFEST}: {error}; record the demonstrations anew.") from error
    if not isinstance(manifest, dict):
        raise ConfigError(f"{folder / MANIFEST} is not a JSON object; record the demonstrations anew.")
    return manifest


def recorded_count(folder: Path) -> int:
    """Return the number of demonstrations in a folder, by its manifest; 0 where there is none."""
    try:
        return int(_read_manifest(Path(folder)).get("count", 0))
    except (ConfigError, TypeError, ValueError):
        return 0


def read_episode(path: Path) -> Episode:
    """Return the arrays of one recorded episode, by name.

    Raises:
        ConfigError: If the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            episode: dict[str, npt.NDArray[Any]] = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise ConfigError(f"{path} is damaged ({error}); record the demonstrations anew.") from error
    return episode


def _read_fitting(path: Path, env: DemonstratedEnv) -> Episode:
    """Return a recorded episode that has this environment's cameras and state."""
    episode = read_episode(path)
    steps = len(episode.get("action", ()))
    for key, space in env.observation_space.spaces.items():
        expected = (steps + 1, *(space.shape or ()))
        found = episode[key].shape if key in episode else None
        if found != expected:
            raise ConfigError(f"{path} holds {key!r} of shape {found}, not {expected}; record with these cameras.")
    return episode
